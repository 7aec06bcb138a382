//! Models as functions of one flat tensor of parameters. Unaware of training.

pub mod recurrent;
