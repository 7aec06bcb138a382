//! `pacer report`: runs as one page, or as Markdown or JSON.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Args;

use crate::cli::ls::run_beginning;
use crate::cli::project;
use crate::cli::{Exit, Format, Session};
use crate::journal;
use crate::report::{markdown, page, sections};
use crate::store::Store;
use crate::ui::output;

/// The arguments of `pacer report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// The runs, by id or its beginning [default: the newest]; several are compared
    runs: Vec<String>,
    /// Where to write the page [default: `reports/RUN.html` in the store; Markdown and JSON are printed]
    #[arg(long, value_name = "PATH")]
    out: Option<PathBuf>,
    /// The model that others are held against [default: the constant]
    #[arg(long, value_name = "NAME")]
    baseline: Option<String>,
}

/// Writes a report.
pub fn report(args: &ReportArgs, session: &Session) -> Result<Exit> {
    let cache = project::cache(session, None)?;
    let store = &cache.store;
    let ids = match args.runs.as_slice() {
        [] => journal::runs(store).into_iter().take(1).collect(),
        named => named.iter().map(|text| one(store, text)).collect::<Result<Vec<_>>>()?,
    };
    let first = ids.first().context("the store holds no run: make one with `pacer run`")?.clone();
    let report = sections::report(&cache, &ids, args.baseline.as_deref())?;
    let (text, printed) = match session.format {
        Format::Table | Format::Csv => (page::html(&report), false),
        Format::Markdown => (markdown::text(&report), true),
        Format::Json => (serde_json::to_string_pretty(&report)? + "\n", true),
    };
    let path = match &args.out {
        Some(path) => path.clone(),
        None if printed => {
            output::print(&text);
            return Ok(Exit::Done);
        }
        None => cache.store.path("reports").join(format!("{first}.html")),
    };
    write(&path, &text)?;
    if !session.quiet {
        output::say(&format!("wrote {}", path.display()));
    }
    Ok(Exit::Done)
}

fn one(store: &Store, text: &str) -> Result<String> {
    run_beginning(store, text)?.with_context(|| format!("there is no run `{text}`: `pacer ls` lists them"))
}

/// Writes a page whole or not at all.
pub fn write(path: &Path, text: &str) -> Result<()> {
    try_write(path, text).with_context(|| format!("`{}` cannot be written", path.display()))
}

fn try_write(path: &Path, text: &str) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    // A page is made to be shown to others; the usual mask of the user applies.
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    let mut file = tempfile::Builder::new().permissions(permissions).tempfile_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.persist(path)?;
    Ok(())
}
