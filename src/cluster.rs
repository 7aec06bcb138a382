//! Runs jobs on a cluster of Slurm: a run offers jobs in the [`spool`], *pilots* that Slurm started take them one after
//! another, do them as a worker would and leave outcomes; the run commits. For nodes that do not see the store a
//! [`relay`] takes offers from the spool and sends them by way of the remote to an [`outpost`]. Unaware of the graph, of
//! keys and of the terminal.
//!
//! Slurm knows of pilots alone. It never decides an order and is never waited for by a job of its own, so what is
//! submitted is right whatever became of earlier jobs. A job that is done twice does no harm, for each try writes into
//! a folder of its own and whoever holds the key commits one of them.

pub mod batch;
mod complaint;
mod following;
pub mod mail;
pub mod outpost;
pub mod pilot;
pub mod policy;
pub mod probing;
pub mod relay;
pub mod runner;
pub mod slurm;
pub mod spool;
mod supply;
pub mod tidy;

use pacer_stages::{fingerprint, kinds};

use crate::cluster::spool::SPOOL_VERSION;
use crate::digest::Digest;

/// What the code of all kinds comes to; a pilot of other code would make other results.
pub fn code() -> String {
    let parts = kinds::KINDS.iter().map(|kind| fingerprint::of(kind.name).unwrap_or_default());
    let text = parts.fold(format!("{SPOOL_VERSION}"), |text, part| text + " " + part);
    Digest::of(text.as_bytes()).to_string()
}
