//! What computes with LibTorch: models, the training loop, and the kinds `pretrain`, `finetune`,
//! `evaluate` and `forecast`.
//!
//! Reading order: [`worker`] (a job comes in, events go out), [`device`] (what is computed with), [`models`]
//! (functions of flat parameters) and [`kernels`] (what of them is worked out by hand), [`training`] (the one loop
//! and its parts), then the kinds [`pretrain`], [`finetune`], [`evaluate`] and [`forecast`], which
//! `pacer-stages` declares.
//!
//! Invariants: every random draw takes its seed from the job; on the CPU the same job gives the same bytes,
//! also after an interruption; the heart rate is read by the loss, the score and the histories of users' earlier
//! workouts, and by nothing else but `forecast`, which is given the beginning of a run's.

pub mod device;
pub mod evaluate;
pub mod finetune;
pub mod forecast;
pub mod kernels;
pub mod models;
pub mod pretrain;
pub mod random;
pub mod training;
pub mod worker;
