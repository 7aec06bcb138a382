//! `pacer sweep`: how the trials of a sweep stand, how its configurations rank, and whether the ranking is noise. Made
//! from stored results alone.

mod figures;

use anyhow::{Result, bail};
use clap::{Args, Subcommand, ValueEnum};
use pacer_stages::ranking::{Better, Noise};
use serde_json::{Value, json};

use crate::cli::plan::in_format;
use crate::cli::project::{self, Project};
use crate::cli::sweep::figures::{Row, Standing, Sweep};
use crate::cli::{Exit, Format, PipelineArgs, Session};
use crate::engine::plan::{self, Wishes};
use crate::engine::rounds;
use crate::graph::Trial;
use crate::ui::output;
use crate::ui::tables::Rows;

/// Columns that say what figures rest on, where no heading does.
const RESTS: [&str; 3] = ["part", "split", "data"];

/// Failed trials that are shown with what they said.
const SHOWN_FAILURES: usize = 12;

/// The arguments of `pacer sweep`.
#[derive(Debug, Args)]
pub struct SweepArgs {
    #[command(subcommand)]
    question: Question,
}

#[derive(Debug, Subcommand)]
enum Question {
    /// How many trials are done, failed or missing, and why they failed
    Status(Asked),
    /// The winner, how many were tried, and its margin against the noise
    Best(Asked),
    /// One row for each configuration, trials that differ in seeds alone together, the best first
    Table(Asked),
}

#[derive(Debug, Args)]
struct Asked {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// The swept stage [default: every one]
    stage: Option<String>,
    /// The figure to rank by [default: validation_mae, or mae]
    #[arg(long, value_name = "NAME")]
    metric: Option<String>,
    /// Take the figure from this stage, which gathers the trials, rather than from the trials' own; figures of the test
    /// part are taken in no other way
    #[arg(long, value_name = "STAGE")]
    from: Option<String>,
    /// Which figure is better [default: by its name]
    #[arg(long, value_enum)]
    better: Option<Wanted>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Wanted {
    Lowest,
    Highest,
}

/// Answers a question about sweeps.
pub fn sweep(args: &SweepArgs, session: &Session) -> Result<Exit> {
    let (Question::Status(asked) | Question::Best(asked) | Question::Table(asked)) = &args.question;
    let project = match project::open(&asked.pipeline, session)? {
        Ok(project) => project,
        Err(exit) => return Ok(exit),
    };
    let (sweeps, doubts) = sweeps(&project, asked)?;
    if session.format == Format::Table {
        doubts.iter().for_each(|doubt| output::say(doubt));
    }
    match &args.question {
        Question::Status(_) => status(&sweeps, session.format)?,
        Question::Best(_) => best(&sweeps, asked, session.format)?,
        Question::Table(_) => table(&sweeps, asked, session.format)?,
    }
    Ok(Exit::Done)
}

/// The sweeps that are asked about, and what cannot be relied on of their searches.
fn sweeps(project: &Project, asked: &Asked) -> Result<(Vec<Sweep>, Vec<String>)> {
    let Project { graph, cache, machine, .. } = project;
    let groups: Vec<&str> = match &asked.stage {
        Some(stage) if graph.stages.node_weights().any(|it| it.trial.is_some() && it.written_name() == stage) => {
            vec![stage]
        }
        Some(stage) => bail!("`{stage}` is no swept stage of this pipeline: give it a `[stages.{stage}.sweep]`"),
        None => {
            let is_swept = |name: &&str| graph.find(name).is_none();
            graph.names().into_iter().filter(is_swept).collect()
        }
    };
    if groups.is_empty() {
        bail!("no stage of this pipeline is swept: add a `[stages.NAME.sweep]` with lists of values");
    }
    if let Some(from) = asked.from.as_ref().filter(|from| graph.named(from).is_empty()) {
        bail!("there is no stage `{from}` to take figures from");
    }
    let plan = plan::plan(graph, &graph.needed(&[]), Wishes::default(), cache, machine)?;
    let wish = figures::Wish { metric: asked.metric.as_deref(), from: asked.from.as_deref() };
    let sweeps = groups.into_iter().map(|group| figures::gather(project, &plan, group, &wish)).collect();
    Ok((sweeps, rounds::doubts(graph, &plan, cache)))
}

impl Asked {
    fn better(&self, metric: &str) -> Better {
        match self.better {
            None => Better::of(metric),
            Some(Wanted::Lowest) => Better::Lowest,
            Some(Wanted::Highest) => Better::Highest,
        }
    }
}

fn status(sweeps: &[Sweep], format: Format) -> Result<()> {
    if format == Format::Json {
        let trial = |row: &Row| json!({"trial": row.name, "state": row.standing.word(), "class": row.class, "message": row.message});
        let sweep =
            |sweep: &Sweep| json!({"sweep": sweep.group, "trials": sweep.rows.iter().map(trial).collect::<Vec<_>>()});
        return output::print_json(&json!({"v": 1, "sweeps": sweeps.iter().map(sweep).collect::<Vec<_>>()}));
    }
    let mut rows = Rows::new(["sweep", "trials", "done", "failed", "missing", "took"]);
    for sweep in sweeps {
        let count = |standing| sweep.rows.iter().filter(|row| row.standing == standing).count().to_string();
        let took: f64 = sweep.rows.iter().filter_map(|row| row.seconds).sum();
        rows.push([
            sweep.group.clone(),
            sweep.rows.len().to_string(),
            count(Standing::Done),
            count(Standing::Failed),
            count(Standing::Missing),
            output::seconds(took),
        ]);
    }
    output::print(&in_format(&rows, format));
    let failed = || sweeps.iter().flat_map(|sweep| &sweep.rows).filter(|row| row.standing == Standing::Failed);
    if format != Format::Table || failed().next().is_none() {
        return Ok(());
    }
    let mut rows = Rows::new(["failed trial", "class", "what happened"]);
    failed().take(SHOWN_FAILURES).for_each(|row| rows.push([row.name.clone(), row.class.clone(), row.message.clone()]));
    output::print(&format!("\n{}", rows.text()));
    let more = failed().count().saturating_sub(SHOWN_FAILURES);
    let more = if more == 0 { String::new() } else { format!("… and {more} more; ") };
    output::print(&format!("{more}failed trials are tried again with `pacer run … --retry-failed`\n"));
    Ok(())
}

/// The sweeps that have a figure to rank by; none of them having one is an error.
fn ranked<'a>(sweeps: &'a [Sweep], asked: &Asked) -> Result<Vec<&'a Sweep>> {
    let (ranked, others): (Vec<&Sweep>, Vec<_>) = sweeps.iter().partition(|sweep| sweep.metric.is_some());
    let lacks: Vec<_> = others.iter().map(|sweep| sweep.lack(asked.metric.as_deref())).collect();
    if ranked.is_empty() {
        bail!("{}", lacks.first().map_or("nothing is swept", String::as_str));
    }
    lacks.iter().for_each(|lack| output::say(lack));
    Ok(ranked)
}

/// What a ranking is of: the sweep, the figure, where that comes from and what it rests on.
fn heading(sweep: &Sweep) -> String {
    let rests = sweep.rests();
    let metric = sweep.metric.as_deref().unwrap_or_default();
    let caution = rests.caution().map_or_else(String::new, |caution| format!("{caution}\n"));
    format!("{} ({metric}, {}): {}\n{caution}", sweep.group, sweep.source, rests.words())
}

fn table(sweeps: &[Sweep], asked: &Asked, format: Format) -> Result<()> {
    let sweeps = ranked(sweeps, asked)?;
    if format == Format::Json {
        let sweeps: Vec<_> = sweeps.iter().map(|sweep| in_json(sweep, asked)).collect();
        return output::print_json(&json!({"v": 1, "sweeps": sweeps}));
    }
    for (at, sweep) in sweeps.iter().enumerate() {
        if at > 0 {
            output::print("\n");
        }
        let metric = sweep.metric.as_deref().unwrap_or_default();
        let ranking = sweep.ranking(asked.better(metric));
        let keys = sweep.keys();
        let columns = ["n", metric, "sd", "epochs", "s/epoch", "took"].map(str::to_owned);
        let rests = if format == Format::Csv { RESTS.map(str::to_owned).to_vec() } else { Vec::new() };
        let mut rows = Rows { header: [keys.clone(), columns.to_vec(), rests].concat(), rows: Vec::new() };
        let or_nothing =
            |value: Option<f64>, digits: usize| value.map_or_else(String::new, |it| format!("{it:.digits$}"));
        for configuration in &ranking {
            let members = sweep.members(configuration);
            let mut row: Vec<String> = keys.iter().map(|key| members[0].value(key)).collect();
            let took: f64 = members.iter().filter_map(|row| row.seconds).sum();
            row.extend([
                configuration.trials.len().to_string(),
                format!("{:.3}", configuration.mean),
                or_nothing(configuration.sd, 3),
                or_nothing(figures::mean(members.iter().map(|row| row.epochs)), 1),
                or_nothing(figures::mean(members.iter().map(|row| row.seconds_per_epoch())), 3),
                output::seconds(took),
            ]);
            if format == Format::Csv {
                row.extend(figures::rests_of(&members).cells());
            }
            rows.rows.push(row);
        }
        if format != Format::Csv {
            output::print(&format!("{}\n", heading(sweep)));
        }
        output::print(&in_format(&rows, format));
        if format == Format::Table {
            output::print(&format!("\n{}\n{}", Noise::of(&ranking).sentence(), left_out(sweep)));
        }
    }
    Ok(())
}

/// A line about trials that stand in no row.
fn left_out(sweep: &Sweep) -> String {
    let missing = sweep.rows.iter().filter(|row| row.figure.is_none()).count();
    match missing {
        0 => String::new(),
        _ => format!("{missing} of {} trials have no figure: `pacer sweep status` says why\n", sweep.rows.len()),
    }
}

fn best(sweeps: &[Sweep], asked: &Asked, format: Format) -> Result<()> {
    let sweeps = ranked(sweeps, asked)?;
    if format == Format::Json {
        let best = |sweep: &&Sweep| {
            let mut told = in_json(sweep, asked);
            let first = told["configurations"][0].take();
            let count = told["configurations"].as_array().map_or(0, Vec::len);
            told["best"] = first;
            told["configurations"] = json!(count);
            told
        };
        let sweeps: Vec<_> = sweeps.iter().map(best).collect();
        return output::print_json(&json!({"v": 1, "sweeps": sweeps}));
    }
    let header = ["sweep", "best", "metric", "mean", "sd", "n", "tried", "second", "margin", "alike"];
    // Below a table they are said in words.
    let rests = if format == Format::Table { &RESTS[..0] } else { &RESTS };
    let mut rows = Rows { header: header.iter().chain(rests).map(ToString::to_string).collect(), rows: Vec::new() };
    let mut words = String::new();
    for sweep in &sweeps {
        let metric = sweep.metric.clone().unwrap_or_default();
        let ranking = sweep.ranking(asked.better(&metric));
        let (Some(first), noise) = (ranking.first(), Noise::of(&ranking)) else { continue };
        let figure = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.3}"));
        let told = [
            sweep.group.clone(),
            first.name.clone(),
            metric,
            figure(Some(first.mean)),
            figure(first.sd),
            first.trials.len().to_string(),
            ranking.len().to_string(),
            ranking.get(1).map_or_else(String::new, |second| second.name.clone()),
            figure(noise.margin),
            noise.alike.to_string(),
        ];
        rows.rows.push(told.into_iter().chain(sweep.rests().cells().into_iter().take(rests.len())).collect());
        words.push_str(&format!("{}{}\n{}", heading(sweep), noise.sentence(), left_out(sweep)));
        if ranking.len() > 1 {
            words.push_str("as the best of several its own figure flatters it: report another part, once\n");
        }
    }
    if format == Format::Markdown {
        let cautions = sweeps.iter().filter_map(|sweep| sweep.rests().caution());
        cautions.for_each(|caution| output::print(&format!("{caution}\n\n")));
    }
    output::print(&in_format(&rows, format));
    if format == Format::Table {
        output::print(&format!("\n{words}"));
    }
    Ok(())
}

fn in_json(sweep: &Sweep, asked: &Asked) -> Value {
    let metric = sweep.metric.as_deref().unwrap_or_default();
    let ranking = sweep.ranking(asked.better(metric));
    let rows: Vec<_> = ranking
        .iter()
        .map(|configuration| {
            let members = sweep.members(configuration);
            let own = members[0].coordinates.iter().filter(|(key, _)| !Trial::is_seed(key)).cloned();
            json!({
                "configuration": configuration.name,
                "coordinates": own.collect::<serde_json::Map<_, _>>(),
                "n": configuration.trials.len(),
                "mean": configuration.mean,
                "sd": configuration.sd,
                "epochs": figures::mean(members.iter().map(|row| row.epochs)),
                "seconds_per_epoch": figures::mean(members.iter().map(|row| row.seconds_per_epoch())),
                "seconds": members.iter().filter_map(|row| row.seconds).sum::<f64>(),
                "trials": members.iter().map(|row| json!({"trial": row.name, "figure": row.figure})).collect::<Vec<_>>(),
            })
        })
        .collect();
    let noise = Noise::of(&ranking);
    let mut told = sweep.rests().json();
    told["sweep"] = json!(sweep.group);
    told["metric"] = json!(metric);
    told["from"] = json!(sweep.source);
    told["configurations"] = json!(rows);
    told["noise"] = json!(noise);
    told["sentence"] = json!(noise.sentence());
    told
}
