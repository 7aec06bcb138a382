//! The kind `inspect`: a page that shows recorded series as they are, for people who judge data. Unaware of models.

use std::path::Path;

use anyhow::{Context as _, Result};
use jiff::civil::Date;
use rayon::prelude::{IntoParallelRefIterator as _, ParallelIterator as _};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::artifact::{Arity, ArtifactType, InputPort, OutputPort};
use crate::kinds::inspect::chosen::{Chooser, Chosen, Wanted};
use crate::kinds::inspect::sheet::Sheet;
use crate::quality::{Quality, Tier};
use crate::stage::{Context, Metrics, ParameterFault, Run, Stage};
use crate::statistics::rounded;
use crate::table::{Column, Table};
use crate::workouts::{Workout, WorkoutReader};

pub mod chart;
pub mod chosen;
pub mod figures;
pub mod labels;
pub mod legend;
pub mod markup;
pub mod page;
pub mod panel;
pub mod panels;
pub mod sheet;
pub mod style;
pub mod traces;
pub mod words;

/// Shows workouts on a page: facts, heart rate, speed, altitude and grade over time, and what may be wrong.
///
/// Reads `workouts`; writes `page` (one HTML file that needs no network and no script), `picture` (the charts of the
/// first workout as SVG) and `summary` (one row a workout). Series are drawn as recorded, nothing is repaired or
/// filled in: real heart-rate samples are dots, averages over a time are strokes, lines break at gaps. Speed derived
/// from positions (15 s window) stands beside the device's own. Without `ids` and `dates` it shows the six workouts
/// of the lowest quality score. A number or a day that is not there fails the stage, and its neighbours are named.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Inspect {
    /// Numbers of workouts to show, whatever their sport.
    #[serde(default)]
    pub ids: Vec<i64>,
    /// Days such as `2025-11-23`: every workout that starts on one of them, in its local time or in UTC.
    #[serde(default)]
    pub dates: Vec<String>,
    /// How many workouts of the lowest quality score to show; 6 where neither `ids` nor `dates` are given, else 0.
    #[serde(default)]
    pub worst: Option<usize>,
    /// How many workouts of the highest quality score to show.
    #[serde(default)]
    pub best: usize,
    /// The source's words for sports that `dates`, `worst` and `best` look at; empty for all.
    #[serde(default = "run")]
    pub sports: Vec<String>,
    /// The most workouts that are shown.
    #[serde(default = "forty")]
    pub most: usize,
}

fn run() -> Vec<String> {
    vec!["run".into()]
}

const fn forty() -> usize {
    40
}

/// Workouts shown where nothing says which.
const USUAL: usize = 6;

/// Workouts that a page may show; it would be too large for a browser beyond.
const PAGES: usize = 500;

const PAGE: OutputPort = OutputPort::fixed("page", ArtifactType::Page, "the page, to be opened in a browser");
const PICTURE: OutputPort =
    OutputPort::fixed("picture", ArtifactType::Picture, "the charts of the first workout on the page");
const SUMMARY: OutputPort =
    OutputPort::fixed("summary", ArtifactType::Table, "one row a workout: figures, score and findings");

impl Stage for Inspect {
    const NAME: &'static str = "inspect";
    const PARALLEL: bool = true;
    const INPUTS: &'static [InputPort] = &[InputPort {
        name: "workouts",
        accepts: &[ArtifactType::Workouts],
        arity: Arity::One,
        doc: "workouts as imported or filtered",
    }];
    const OUTPUTS: &'static [OutputPort] = &[PAGE, PICTURE, SUMMARY];

    fn check(&self) -> Vec<ParameterFault> {
        let mut faults = Vec::new();
        for (place, date) in self.dates.iter().enumerate() {
            if date.parse::<Date>().is_err() {
                faults.push(ParameterFault::new(format!("dates[{place}]"), "must be a day such as `2025-11-23`"));
            }
        }
        if !(1..=PAGES).contains(&self.most) {
            faults.push(ParameterFault::new("most", format!("must lie between 1 and {PAGES}")));
        }
        if self.ids.is_empty() && self.dates.is_empty() && self.worst() + self.best == 0 {
            faults.push(ParameterFault::new("worst", "must be above 0 where nothing else says which workouts to show"));
        }
        faults
    }
}

impl Run for Inspect {
    fn run(&self, context: &Context<'_>) -> Result<Metrics> {
        let threads = rayon::ThreadPoolBuilder::new().num_threads(context.job.threads.max(1)).build()?;
        threads.install(|| self.inspect(context))
    }
}

impl Inspect {
    fn worst(&self) -> usize {
        self.worst.unwrap_or(if self.ids.is_empty() && self.dates.is_empty() { USUAL } else { 0 })
    }

    fn inspect(&self, context: &Context<'_>) -> Result<Metrics> {
        let reader = WorkoutReader::open(context.job.input("workouts")?)?;
        let total = reader.total();
        let Chosen { workouts, left_out } = self.choose(reader, context)?;
        if left_out > 0 {
            let shown = workouts.len();
            context.warn(format!("`most`: {shown} workouts are shown, {left_out} more were asked for; raise it"));
        }
        let sheets: Vec<Sheet> = workouts.par_iter().map(|(why, workout)| Sheet::of(*why, workout)).collect();
        write(&context.output(&PAGE), &page::html(&sheets, total, left_out))?;
        write(&context.output(&PICTURE), &page::picture(&sheets[0]))?;
        summary(&sheets)?.write(&context.output(&SUMMARY))?;
        let scores = sheets.iter().map(|sheet| sheet.score);
        let findings: usize = sheets.iter().map(|sheet| sheet.remarks.len()).sum();
        let figures = [
            ("workouts", json!(total)),
            ("shown", json!(sheets.len())),
            ("synthetic", json!(sheets.iter().filter(|sheet| sheet.synthetic).count())),
            ("findings", json!(findings)),
            ("lowest_score", json!(rounded(scores.fold(f64::INFINITY, f64::min)))),
        ];
        Ok(figures.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    fn choose(&self, reader: WorkoutReader, context: &Context<'_>) -> Result<Chosen> {
        let total = reader.total() as u64;
        let mut chooser = Chooser::new(Wanted {
            ids: self.ids.clone(),
            dates: self.dates.iter().map(|date| date.parse()).collect::<Result<_, _>>()?,
            worst: self.worst(),
            best: self.best,
            sports: self.sports.clone(),
            most: self.most,
        });
        let mut done = 0;
        for batch in reader {
            context.check_cancelled()?;
            let batch = batch?;
            let score = |workout: &Workout| chooser.needs_score(workout).then(|| Quality::of(workout).score());
            let scores: Vec<Option<f64>> = batch.par_iter().map(score).collect();
            batch.iter().zip(scores).for_each(|(workout, score)| chooser.offer(workout, score));
            done += batch.len() as u64;
            context.progress(done, Some(total), "workouts", "");
        }
        Ok(chooser.chosen()?)
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("`{}` cannot be written", path.display()))
}

fn summary(sheets: &[Sheet]) -> Result<Table> {
    let float = |name: &str, value: fn(&Sheet) -> Option<f64>| {
        Column::float(name, sheets.iter().map(|sheet| value(sheet).map(rounded)).collect::<Vec<_>>())
    };
    let mut columns = vec![
        Column::int("workout", sheets.iter().map(|sheet| sheet.id)),
        Column::text("start", sheets.iter().map(|sheet| sheet.when.as_str())),
        Column::text("why", sheets.iter().map(|sheet| sheet.why.words())),
        Column::flag("synthetic", sheets.iter().map(|sheet| sheet.synthetic)),
        Column::text("sport", sheets.iter().map(|sheet| sheet.sport.as_str())),
        Column::text("source", sheets.iter().map(|sheet| sheet.source.as_str())),
        Column::optional_text("device", sheets.iter().map(|sheet| sheet.device.as_deref())),
        float("duration (s)", |sheet| sheet.quality.duration_s),
        float("moving (s)", |sheet| sheet.quality.moving_s),
        float("distance (m)", |sheet| sheet.figures.distance),
        float("mean heart rate (BPM)", |sheet| sheet.figures.heart_mean),
        float("highest heart rate (BPM)", |sheet| sheet.figures.heart_max),
        float("samples a minute", |sheet| sheet.quality.density),
        float("score", |sheet| Some(sheet.score)),
    ];
    let tiers = sheets.iter().map(|sheet| sheet.quality.tier.map(Tier::name));
    columns.push(Column::optional_text("tier", tiers));
    columns.push(Column::int("finding count", sheets.iter().map(|sheet| sheet.remarks.len() as i64)));
    columns.push(Column::text("findings", sheets.iter().map(Sheet::findings)));
    Table::new(columns)
}
