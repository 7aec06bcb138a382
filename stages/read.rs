//! The readers of formats. Unaware of kinds and of stages.

pub mod apple;
pub mod csv;
pub mod dict;
pub mod fit;
pub mod fitrec;
pub mod format;
pub mod gpx;
pub mod instant;
pub mod lines;
pub mod number;
pub mod record;
pub mod samples;
pub mod sport;
pub mod tcx;
pub mod utf8;
pub mod xml;
