//! `pacer verify` and `pacer gc`.

use anyhow::Result;
use clap::Args;
use serde_json::json;

use crate::cache::Cache;
use crate::care::{self, Damage, Policy};
use crate::cli::project::store_folder;
use crate::cli::{Exit, Format, Session};
use crate::store::Store;
use crate::ui::output::{self, BAD, GOOD, paint};

/// The arguments of `pacer gc`.
#[derive(Debug, Args)]
pub struct GcArgs {
    /// Recent runs whose results all stay
    #[arg(long, default_value_t = 10)]
    keep_runs: usize,
    /// Only say what would be freed
    #[arg(long)]
    dry_run: bool,
}

/// Verifies the store.
pub fn verify(session: &Session) -> Result<Exit> {
    let cache = Cache { store: Store::open(&store_folder(session, None))? };
    let verified = care::verify(&cache)?;
    let lines: Vec<_> = verified.damage.iter().map(in_words).collect();
    if session.format == Format::Json {
        output::print_json(&json!({
            "v": 1, "results": verified.results, "blobs": verified.blobs, "bytes": verified.bytes, "damage": lines,
        }))?;
    } else {
        lines.iter().for_each(|line| output::print(&format!("{} {line}\n", paint(BAD, "✗ damaged"))));
        let looked =
            format!("{} results, {} blobs, {}", verified.results, verified.blobs, output::bytes(verified.bytes));
        output::print(&match lines.is_empty() {
            true => format!("{} {looked}\n", paint(GOOD, "✓ whole")),
            false => format!("{looked}; what is damaged is not served, the next run makes it again\n"),
        });
    }
    Ok(if lines.is_empty() { Exit::Done } else { Exit::Failed })
}

fn in_words(damage: &Damage) -> String {
    match damage {
        Damage::Blob(path) => format!("blob {} (removed)", path.display()),
        Damage::Unreadable(why) => format!("blob that cannot be read: {why} (it stays)"),
        Damage::Result(path) => format!("result {} (removed)", path.display()),
        Damage::Missing { key, artifact } => format!("result {}…: its artifact `{artifact}` is missing", key.short()),
    }
}

/// Frees what is not needed.
pub fn gc(args: &GcArgs, session: &Session) -> Result<Exit> {
    let cache = Cache { store: Store::open(&store_folder(session, None))? };
    let freed = care::collect(&cache, Policy { keep_runs: args.keep_runs, dry_run: args.dry_run })?;
    if session.format == Format::Json {
        output::print_json(&json!({
            "v": 1, "results": freed.results, "blobs": freed.blobs, "leftovers": freed.leftovers,
            "bytes": freed.bytes, "kept": freed.kept, "dry_run": args.dry_run,
        }))?;
    } else {
        let word = if args.dry_run { "would free" } else { "freed" };
        output::print(&format!(
            "{word} {}: {} results, {} blobs, {} leftovers; {} results stay\n",
            output::bytes(freed.bytes),
            freed.results,
            freed.blobs,
            freed.leftovers,
            freed.kept,
        ));
    }
    Ok(Exit::Done)
}
