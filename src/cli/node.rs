//! `pacer node`: what Slurm starts on a node; people do not call it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::Args;

use crate::cli::{Exit, Session, project};
use crate::cluster::pilot::{self, Post};

/// The arguments of `pacer node`.
#[derive(Debug, Args)]
pub struct NodeArgs {
    #[arg(long)]
    shape: String,
    #[arg(long)]
    code: String,
    #[arg(long)]
    folder: PathBuf,
    #[arg(long)]
    idle: f64,
    #[arg(long)]
    share: bool,
}

/// Takes jobs of a run until there are none.
pub fn node(args: &NodeArgs, session: &Session) -> Result<Exit> {
    let post = Post {
        store: project::store_folder(session, None),
        shape: args.shape.clone(),
        code: args.code.clone(),
        folder: args.folder.clone(),
        idle: Duration::try_from_secs_f64(args.idle)?,
        share: args.share,
    };
    pilot::serve(&post)?;
    Ok(Exit::Done)
}
