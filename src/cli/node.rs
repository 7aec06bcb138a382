//! `pacer node` and `pacer probe`: what Slurm starts on a node; people do not call them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::cache::Cache;
use crate::cli::{Exit, Session, project};
use crate::cluster::mail::Secret;
use crate::cluster::pilot::{self, Post};
use crate::cluster::{outpost, probing};
use crate::remote::Remote;
use crate::store::Store;
use crate::ui::output;

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
    #[arg(long)]
    architecture: Option<String>,
    #[arg(long)]
    libtorch: Option<String>,
    #[arg(long, requires = "session")]
    remote: Option<String>,
    #[arg(long)]
    session: Option<String>,
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
        architecture: args.architecture.clone(),
        libtorch: args.libtorch.clone(),
    };
    match (&args.remote, &args.session) {
        (Some(settings), Some(session)) => {
            let remote = Arc::new(Remote::open(&serde_json::from_str(settings)?)?);
            let cache = Cache { store: Store::open(&post.store)?, remote: Some(remote) };
            let secret = std::env::var(outpost::SECRET).ok().and_then(|secret| Secret::parse(&secret));
            let secret = secret.with_context(|| format!("`{}` is not set", outpost::SECRET))?;
            outpost::serve(&post, &cache, session, &secret)?;
        }
        _ => pilot::serve(&post)?,
    }
    Ok(Exit::Done)
}

/// Says what this machine computes with.
pub fn probe() -> Result<Exit> {
    output::print(&(probing::answer()? + "\n"));
    Ok(Exit::Done)
}
