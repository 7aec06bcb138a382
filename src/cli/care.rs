//! `pacer verify`, `pacer gc` and `pacer pin`.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use jiff::Timestamp;
use pacer_stages::worker::FailureClass;
use serde_json::json;

use crate::care::collect::{Doomed, Policy, collect};
use crate::care::{self, Damage};
use crate::cli::plan::in_format;
use crate::cli::project::{self, Project, store_folder};
use crate::cli::{Exit, Format, PipelineArgs, Session, run, share};
use crate::engine::plan::{self, Wishes};
use crate::engine::rerun::{Compared, rerun};
use crate::event::Event;
use crate::executor::Stop;
use crate::journal;
use crate::store::Store;
use crate::ui::output::{self, BAD, GOOD, paint};
use crate::ui::progress::{Progress, Style};
use crate::ui::tables::Rows;

/// Runs that `pacer pin` lists.
const LISTED_RUNS: usize = 20;

/// The arguments of `pacer gc`.
#[derive(Debug, Args)]
pub struct GcArgs {
    /// Recent runs whose results all stay
    #[arg(long, default_value_t = 10)]
    keep_runs: usize,
    /// Free only what was finished longer ago than this: 12h, 30d, 8w
    #[arg(long, value_name = "AGE", value_parser = age)]
    older_than: Option<Duration>,
    /// Free no more than it takes to bring the store down to this: 500MB, 20GB
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    max_size: Option<u64>,
    /// Only say what would be freed
    #[arg(long)]
    dry_run: bool,
    /// Of the remote, free what no result there reaches; with --older-than also results that were put there longer ago
    #[arg(long, conflicts_with_all = ["keep_runs", "max_size"])]
    remote: bool,
    /// Of the remote, leave what was put there within this time
    #[arg(long, value_name = "AGE", value_parser = age, default_value = "7d", requires = "remote")]
    grace: Duration,
}

/// The arguments of `pacer pin`.
#[derive(Debug, Args)]
pub struct PinArgs {
    /// Runs whose results stay whatever is collected [default: list the runs]
    runs: Vec<String>,
    /// Let go of them again
    #[arg(long)]
    remove: bool,
}

/// The arguments of `pacer verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The pipeline of the stage to run again [default: hash the whole store]
    #[arg(requires = "rerun")]
    file: Option<PathBuf>,
    /// Run this stage again in a folder of its own and compare what it writes with its result
    #[arg(long, value_name = "STAGE", requires = "file")]
    rerun: Option<String>,
    /// Set a parameter of [params]
    #[arg(long, value_name = "NAME=VALUE", requires = "rerun")]
    set: Vec<String>,
    /// Seed of stages that name none
    #[arg(long, requires = "rerun")]
    seed: Option<u64>,
}

/// Verifies the store, or one stage by running it again.
pub fn verify(args: &VerifyArgs, session: &Session) -> Result<Exit> {
    if let (Some(file), Some(stage)) = (&args.file, &args.rerun) {
        let pipeline = PipelineArgs { file: file.clone(), set: args.set.clone(), seed: args.seed, executor: None };
        return rerun_stage(&pipeline, stage, session);
    }
    let cache = project::cache(session, None)?;
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

/// Runs a stage again and says whether it writes the same bits.
fn rerun_stage(pipeline: &PipelineArgs, stage: &str, session: &Session) -> Result<Exit> {
    let Project { graph, cache, machine, .. } = match project::open(pipeline, session)? {
        Ok(project) => project,
        Err(exit) => return Ok(exit),
    };
    let id = match project::target(&graph, stage)? {
        Ok(id) => id,
        Err(exit) => return Ok(exit),
    };
    let plan = plan::plan(&graph, &graph.needed(&[id]), Wishes::default(), &cache, &machine)?;
    if !plan.results.contains_key(&id) {
        let command = project::again("run", pipeline, session, &[stage.to_owned()]);
        bail!("`{stage}` has no result to compare with; make it with: {command}");
    }
    let stop = Arc::new(Stop::default());
    run::heed_signals(&stop)?;
    let progress = Mutex::new(Progress::new(if session.quiet { Style::Quiet } else { Style::Human }));
    let show = |event: &Event| progress.lock().unwrap_or_else(PoisonError::into_inner).show(event);
    let (kind, key) = (graph.stages[id].kind.name.to_owned(), plan.results[&id].key);
    let (device, reason) = ("cpu".to_owned(), "again, to compare".to_owned());
    if session.format != Format::Json {
        show(&Event::Running { stage: stage.to_owned(), kind, key, reason, device });
    }
    let sink = |notice| match session.format {
        Format::Json => {}
        _ => show(&Event::Notice { stage: stage.to_owned(), notice }),
    };
    let compared = match rerun(&graph, id, &plan.results, &cache, &machine, &stop, &sink)? {
        Ok(compared) => compared,
        Err(failure) if failure.class == FailureClass::Interrupted => return Ok(Exit::Interrupted),
        Err(failure) => bail!("`{stage}` failed when it was run again, though it has a result: {}", failure.message),
    };
    drop(progress);
    let differs = compared.iter().any(|compared| compared.difference.is_some());
    if session.format == Format::Json {
        let row = |it: &Compared| json!({"artifact": it.artifact, "difference": it.difference.as_ref().map(ToString::to_string)});
        let rows: Vec<_> = compared.iter().map(row).collect();
        output::print_json(&json!({"v": 1, "stage": stage, "key": key, "artifacts": rows}))?;
    } else {
        for Compared { artifact, difference } in &compared {
            output::print(&match difference {
                None => format!("{} {stage}.{artifact}\n", paint(GOOD, "✓ same bits")),
                Some(difference) => format!("{} {stage}.{artifact}: {difference}\n", paint(BAD, "✗ differs")),
            });
        }
    }
    Ok(if differs { Exit::Failed } else { Exit::Done })
}

fn in_words(damage: &Damage) -> String {
    match damage {
        Damage::Blob(path) => format!("blob {} (removed)", path.display()),
        Damage::Unreadable(why) => format!("blob that cannot be read: {why} (it stays)"),
        Damage::Result(path) => format!("result {} (removed)", path.display()),
        Damage::Missing { key, artifact } => {
            format!("result {}…: its artifact `{artifact}` is missing (removed)", key.short())
        }
    }
}

/// Frees what is not needed.
pub fn gc(args: &GcArgs, session: &Session) -> Result<Exit> {
    if args.remote {
        return share::gc(args.grace, args.older_than, args.dry_run, session);
    }
    let cache = project::cache(session, None)?;
    let policy = Policy {
        keep_runs: args.keep_runs,
        older_than: args.older_than,
        max_bytes: args.max_size,
        dry_run: args.dry_run,
    };
    let freed = collect(&cache, policy)?;
    if session.format == Format::Json {
        let result = |doomed: &Doomed| {
            json!({
                "key": doomed.key, "kind": doomed.kind, "bytes": doomed.bytes, "seconds": doomed.seconds,
                "finished": doomed.finished,
            })
        };
        output::print_json(&json!({
            "v": 2, "results": freed.results.iter().map(result).collect::<Vec<_>>(), "blobs": freed.blobs,
            "leftovers": freed.leftovers, "bytes": freed.bytes, "kept": freed.kept, "kept_bytes": freed.kept_bytes,
            "dry_run": args.dry_run,
        }))?;
        return Ok(Exit::Done);
    }
    if args.dry_run && !freed.results.is_empty() {
        let mut rows = Rows::new(["result", "kind", "finished", "size", "took"]);
        for doomed in &freed.results {
            let finished = i64::try_from(doomed.finished).ok().and_then(|second| Timestamp::from_second(second).ok());
            let finished = finished.map_or_else(String::new, |time| time.strftime("%Y-%m-%d %H:%M").to_string());
            let (size, took) = (output::bytes(doomed.bytes), output::seconds(doomed.seconds));
            rows.push([doomed.key.short(), doomed.kind.clone(), finished, size, took]);
        }
        output::print(&in_format(&rows, session.format));
    }
    // An empty sum is -0.
    let seconds = 0.0 + freed.results.iter().map(|doomed| doomed.seconds).sum::<f64>();
    output::print(&format!(
        "{} {}: {} results that took {}, {} blobs, {} leftovers; {} results of {} stay\n",
        if args.dry_run { "would free" } else { "freed" },
        output::bytes(freed.bytes),
        freed.results.len(),
        output::seconds(seconds),
        freed.blobs,
        freed.leftovers,
        freed.kept,
        output::bytes(freed.kept_bytes),
    ));
    if let Some(limit) = args.max_size.filter(|limit| freed.kept_bytes > *limit) {
        let (kept, limit) = (output::bytes(freed.kept_bytes), output::bytes(limit));
        output::say(&format!(
            "{kept} is more than {limit}: recent and pinned runs reach the rest (`--keep-runs`, `pacer pin`)"
        ));
    }
    Ok(Exit::Done)
}

/// Pins runs, lets go of them, or lists the runs.
pub fn pin(args: &PinArgs, session: &Session) -> Result<Exit> {
    let store = Store::open(&store_folder(session, None))?;
    for run in &args.runs {
        journal::pin(&store, run, !args.remove)?;
    }
    let runs = journal::runs(&store);
    let runs = runs.iter().filter_map(|run| journal::summary(&store, run));
    let runs: Vec<_> = runs.map(|run| (journal::is_pinned(&store, &run.run), run)).collect();
    if session.format == Format::Json {
        let row = |(pinned, run): &(bool, journal::Summary)| json!({"run": run.run, "pipeline": run.pipeline, "pinned": pinned});
        output::print_json(&json!({"v": 1, "runs": runs.iter().map(row).collect::<Vec<_>>()}))?;
        return Ok(Exit::Done);
    }
    let mut rows = Rows::new(["run", "pipeline", "ran", "reused", "pinned"]);
    for (pinned, run) in
        runs.iter().filter(|(pinned, _)| *pinned).chain(runs.iter().filter(|(pinned, _)| !pinned)).take(LISTED_RUNS)
    {
        let pinned = if *pinned { "pinned" } else { "" };
        rows.push([run.run.clone(), run.pipeline.clone(), run.ran.to_string(), run.reused.to_string(), pinned.into()]);
    }
    output::print(&in_format(&rows, session.format));
    Ok(Exit::Done)
}

/// Reads an age such as `12h`, `30d` or `8w`.
fn age(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.find(|c: char| c.is_alphabetic()).unwrap_or(text.len()));
    let seconds = match unit {
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86400.0,
        "w" => 7.0 * 86400.0,
        _ => return Err("write a number with s, min, h, d or w, such as 30d".into()),
    };
    let number: f64 = number.parse().map_err(|_| format!("`{number}` is no number"))?;
    Duration::try_from_secs_f64(number * seconds).map_err(|error| error.to_string())
}

/// Reads a size such as `500MB` or `2GB`.
pub fn bytes(text: &str) -> Result<u64, String> {
    let (number, unit) = text.split_at(text.find(|c: char| c.is_alphabetic()).unwrap_or(text.len()));
    let factor = match unit.to_ascii_uppercase().as_str() {
        "" | "B" => 1.0,
        "K" | "KB" => 1e3,
        "M" | "MB" => 1e6,
        "G" | "GB" => 1e9,
        "T" | "TB" => 1e12,
        _ => return Err("write a number with B, kB, MB, GB or TB, such as 20GB".into()),
    };
    let number: f64 = number.trim().parse().map_err(|_| format!("`{number}` is no number"))?;
    if !(number >= 0.0) {
        return Err("a size is at least 0".into());
    }
    Ok((number * factor) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_and_sizes_are_read_as_people_write_them() {
        assert_eq!(age("30d"), Ok(Duration::from_secs(30 * 86400)));
        assert_eq!(age("1.5h"), Ok(Duration::from_secs(5400)));
        assert_eq!((bytes("2GB"), bytes("500 kB"), bytes("7")), (Ok(2_000_000_000), Ok(500_000), Ok(7)));
        for wrong in ["", "d", "3x", "-1d"] {
            assert!(age(wrong).is_err(), "{wrong}");
        }
        assert!(bytes("-1").is_err() && bytes("GB").is_err() && bytes("1XB").is_err());
    }
}
