//! The bottom of the house: what a stage is, which kinds there are, and the kinds that need no LibTorch.
//!
//! Reading order: [`artifact`] and [`job`] (what flows), [`stage`] and [`kind`] (the contract), [`workouts`],
//! [`split`], [`sequences`], [`model`] (with [`head`] and [`about`], what a network says and is told), [`predictions`] and [`table`] (the files between stages; [`parquet`] and
//! [`tensors`] fix how they are written; [`scale`], [`escape`] and [`plot`] draw), [`track`], [`physiology`], [`features`], [`statistics`], [`score`] and
//! [`quality`] (the science), [`simulate`] (made-up runners), [`read`] (formats), [`recipe`] (what trainings share),
//! [`kinds`] (the table), [`fingerprint`] (the code behind each kind), [`worker`] (what a worker process says),
//! [`compare`] (where two artifacts differ).
//!
//! Invariants: a kind never uses another kind; nothing here prints; every random draw takes its seed from the
//! job; a stage writes nothing but its declared outputs.

pub mod about;
pub mod agreement;
pub mod artifact;
pub mod compare;
pub mod comparison;
pub mod escape;
pub mod features;
pub mod fingerprint;
pub mod head;
pub mod inference;
pub mod job;
pub mod kind;
pub mod kinds;
pub mod model;
pub mod parquet;
pub mod physiology;
pub mod plot;
pub mod predictions;
pub mod quality;
pub mod read;
pub mod recipe;
pub mod scale;
pub mod score;
pub mod sequences;
pub mod simulate;
pub mod split;
pub mod stage;
pub mod statistics;
pub mod suggest;
pub mod table;
pub mod tensors;
pub mod track;
pub mod worker;
pub mod workouts;
