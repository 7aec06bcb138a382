//! The bottom of the house: what a stage is, which kinds there are, and the kinds that need no LibTorch.
//!
//! Reading order: [`artifact`] and [`job`] (what flows), [`stage`] and [`kind`] (the contract), [`workouts`],
//! [`split`], [`sequences`], [`model`] (with [`scaler`], [`head`] and [`about`]), [`predictions`]
//! and [`table`] (the files between stages; [`parquet`] and [`tensors`] fix how they are written; [`scale`],
//! [`escape`] and [`plot`] draw), [`track`], [`physiology`], [`features`], [`statistics`], [`past`], [`score`],
//! [`ranking`], [`quality`], [`history`] and [`mixed`] (the science), [`simulate`] (made-up runners, with [`floor`], what
//! nobody could say better about them), [`read`] (formats), [`recipe`] (what trainings share), [`kinds`] (the table),
//! [`fingerprint`] (the code behind each kind), [`worker`] (what a worker process says), [`compare`] (where two artifacts
//! differ), [`spreadsheet`] (any table as CSV), [`inference`], [`comparison`] and [`leakage`] (what may be concluded
//! from results).
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
pub mod floor;
pub mod head;
pub mod history;
pub mod inference;
pub mod job;
pub mod kind;
pub mod kinds;
pub mod leakage;
pub mod mixed;
pub mod model;
pub mod parquet;
pub mod past;
pub mod physiology;
pub mod plot;
pub mod predictions;
pub mod quality;
pub mod ranking;
pub mod read;
pub mod recipe;
pub mod scale;
pub mod scaler;
pub mod score;
pub mod sequences;
pub mod simulate;
pub mod split;
pub mod spreadsheet;
pub mod stage;
pub mod statistics;
pub mod suggest;
pub mod table;
pub mod tensors;
pub mod track;
pub mod worker;
pub mod workouts;
