//! Shows a run while it goes on: a live view on a terminal, a line for each event in a pipe, JSON for programs.
//! Stages that are reused are counted, for of thousands only what happens to the others is news. Unaware of how
//! stages are run.

use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use pacer_stages::stage::Notice;

use crate::event::Event;
use crate::ui::columns;
use crate::ui::groups::Sweeps;
use crate::ui::output::{self, BAD, FAINT, GOOD, ODD, paint};
use crate::ui::standing::Standing;
use crate::ui::transfer;

/// Rows of running stages shown at once, below which one more says how the run stands.
const LIVE_ROWS: usize = 19;

/// In a pipe a stage tells its progress no more often than this.
const PLAIN_INTERVAL: Duration = Duration::from_secs(10);

/// No column of names is wider.
const WIDEST: usize = 40;

/// So many reused stages are named; of more, the number is told.
const NAMED: usize = 3;

/// How a run is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Live on a terminal, plain in a pipe.
    Human,
    /// One JSON event on each line of stdout.
    Json,
    /// Failures alone.
    Quiet,
}

/// Shows events as they come.
pub struct Progress {
    style: Style,
    live: Option<MultiProgress>,
    rows: BTreeMap<String, Row>,
    width: usize,
    waiting: BTreeSet<String>,
    reused: Reused,
    sweeps: Sweeps,
    standing: Standing,
    /// The row that says how the run stands.
    last_row: Option<ProgressBar>,
}

/// Stages that were reused and are not told yet.
#[derive(Default)]
struct Reused {
    count: usize,
    /// The first of them.
    names: Vec<String>,
    /// Whether another line followed; until then nothing is told.
    begun: bool,
    /// Whether some were told.
    told: bool,
    /// Those whose artifacts are in the remote.
    afar: usize,
}

/// A running stage.
struct Row {
    bar: Option<ProgressBar>,
    began: Instant,
    told: Instant,
}

impl Progress {
    /// Begins to show a run.
    pub fn new(style: Style) -> Self {
        let live = style == Style::Human && std::io::stderr().is_terminal();
        let live = live.then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10)));
        Self {
            style,
            live,
            rows: BTreeMap::new(),
            width: 0,
            waiting: BTreeSet::new(),
            reused: Reused::default(),
            sweeps: Sweeps::default(),
            standing: Standing::default(),
            last_row: None,
        }
    }

    /// Shows one event.
    pub fn show(&mut self, event: &Event) {
        match self.style {
            Style::Json => output::print(&(event.line() + "\n")),
            Style::Quiet => {
                if let Event::Failed { .. } = event {
                    self.human(event);
                }
            }
            Style::Human => {
                self.standing.heed(event);
                if let Event::Done { .. } = event {
                    self.last_row.take().iter().for_each(ProgressBar::finish_and_clear);
                }
                self.human(event);
                self.tell_standing(event);
            }
        }
    }

    /// Keeps the last row of the live view true.
    fn tell_standing(&mut self, event: &Event) {
        let Some(live) = &self.live else { return };
        if let Event::Started { .. } = event {
            let row = live.add(ProgressBar::new_spinner());
            row.set_style(ProgressStyle::with_template("{elapsed}  {wide_msg}").expect("the template is right"));
            row.enable_steady_tick(Duration::from_millis(200));
            self.last_row = Some(row);
        }
        if let (Some(row), Event::Pushing { results, bytes }) = (&self.last_row, event) {
            let (results, bytes) = (output::number(*results, "result"), output::bytes(*bytes));
            row.set_message(format!("pushing: {bytes} so far, {results} left; Ctrl-C leaves them"));
        } else if let Some(row) = &self.last_row {
            let shown = self.rows.values().filter(|row| row.bar.is_some()).count();
            row.set_message(self.standing.words(shown));
        }
    }

    /// The columns of the terminal; `None` in a pipe, which has no edge.
    fn columns(&self) -> Option<usize> {
        self.live.as_ref().and_then(|_| columns::of_terminal())
    }

    /// A stage's name in its column.
    fn name(&self, stage: &str) -> String {
        match self.columns() {
            Some(columns) => columns::name(stage, columns::for_names(self.width, Some(columns))),
            None => format!("{stage:width$}", width = self.width),
        }
    }

    fn human(&mut self, event: &Event) {
        let is_news = !matches!(
            event,
            Event::Started { .. }
                | Event::Reused { .. }
                | Event::Pushing { .. }
                | Event::Pushed { .. }
                | Event::Done { .. }
        );
        if is_news && !self.reused.begun {
            self.reused.begun = true;
            self.tell_reused();
        }
        match event {
            Event::Started { stages, trials, .. } => {
                self.sweeps = Sweeps::of(trials);
                let width = |stage: &String| self.sweeps.name(stage).chars().count().min(WIDEST);
                self.width = stages.iter().map(width).max().unwrap_or(0);
            }
            Event::Running { stage, .. } | Event::Finished { stage, .. } if self.sweeps.is_large(stage) => {
                self.trial(event);
            }
            // That it waits was told, so its end is told too.
            Event::Reused { stage, .. } if self.waiting.remove(stage) => {
                self.end(stage, GOOD, "✓ reused", String::new());
            }
            Event::Reused { stage, afar, .. } => self.reused.add(stage, *afar),
            Event::Brought { .. } | Event::Pushing { .. } | Event::Pushed { .. } => self.sharing(event),
            Event::Running { stage, reason, device, .. } => self.begin(stage, reason, device),
            Event::Waiting { stage, process } => {
                let who = process.map_or_else(|| "another process".into(), |process| format!("process {process}"));
                self.waiting.insert(stage.clone());
                self.line(
                    stage,
                    ODD,
                    "… waits",
                    &format!("for {who}, which makes the same result, or trains along the same course"),
                );
            }
            Event::Queued { stage, because } => self.queued(stage, because),
            Event::Placed { stage, node, job } => self.placed(stage, node, job),
            // Goes to the stage's log alone.
            Event::Notice { notice: Notice::Log { .. }, .. } => {}
            Event::Notice { stage, notice: Notice::Warning { message } } => {
                self.line(stage, ODD, "! warns", message);
            }
            Event::Notice { stage, notice: Notice::Progress { done, total, unit, message } } => {
                self.advance(stage, *done, *total, unit, message);
            }
            Event::Finished { stage, seconds, metrics, .. } => {
                let detail = format!("{}  {}", output::seconds(*seconds), paint(FAINT, &brief(metrics)));
                self.end(stage, GOOD, "✓ ran", detail);
            }
            Event::Failed { .. } => self.failed(event),
            Event::Skipped { stage, because } => self.end(stage, FAINT, "- skipped", because.clone()),
            Event::Done { .. } => {
                // Where nothing else happened, the last line of the run says it all.
                if self.reused.begun {
                    self.tell_reused();
                }
                self.sharing(event);
                if let Some(live) = &self.live {
                    // The rows are gone by now; nothing is lost if the terminal is.
                    let _ = live.clear();
                }
            }
        }
    }

    /// Tells why a stage waits on a cluster: in its row each time, in a pipe once.
    fn queued(&mut self, stage: &str, because: &str) {
        if let Some(bar) = self.rows.get(stage).and_then(|row| row.bar.as_ref()) {
            bar.set_message(format!("queued: {because}"));
        } else if self.live.is_none() && !self.sweeps.is_large(stage) && self.waiting.insert(stage.to_owned()) {
            self.line(stage, FAINT, "… queued", because);
        }
    }

    /// Tells which node began with a stage; in a pipe where it was told that it waits.
    fn placed(&mut self, stage: &str, node: &str, job: &str) {
        let waited = self.waiting.remove(stage);
        if let Some(bar) = self.rows.get(stage).and_then(|row| row.bar.as_ref()) {
            bar.set_message(format!("on {node}, job {job}"));
        } else if self.live.is_none() && waited {
            self.line(stage, FAINT, "  began", &format!("on {node}, job {job}"));
        }
    }

    fn failed(&mut self, event: &Event) {
        let Event::Failed { stage, message, place, log, earlier_run, .. } = event else { return };
        self.sweeps.ended(stage);
        let mut text = message.clone();
        if let Some(run) = earlier_run {
            text = format!("before, in run {run}, and is not tried again (--retry-failed): {text}");
        }
        if let Some(place) = place {
            text.push_str(&format!("\n    set at {place}"));
        }
        if let Some(log) = log {
            text.push_str(&format!("\n    log: {log}"));
        }
        self.end(stage, BAD, "✗ failed", text);
    }

    /// Tells what came from the remote, went there or stays there.
    fn sharing(&self, event: &Event) {
        match event {
            Event::Brought { stage, artifacts, bytes, seconds } => {
                let moved = transfer::in_words(*bytes, *seconds);
                let inputs = output::number(*artifacts, "input");
                self.line(stage, FAINT, "↓ brought", &format!("{inputs} from the remote, {moved}"));
            }
            Event::Pushed { results, bytes, left } => {
                let put = format!("pushed {}, {}", output::number(*results, "result"), output::bytes(*bytes));
                output::say(&match left {
                    0 => put,
                    left => format!("{put}; {} were not pushed, `pacer push` goes on", output::count(*left)),
                });
            }
            Event::Done { .. } if self.reused.afar > 0 => {
                let afar = output::count(self.reused.afar);
                output::say(&format!("{afar} reused from the remote; `pacer pull` brings their artifacts"));
            }
            _ => {}
        }
    }

    /// Tells in one line which stages were reused since it was told last.
    fn tell_reused(&mut self) {
        if let Some((subject, names)) = self.reused.take() {
            self.line(&subject, GOOD, "✓ reused", &names);
        }
    }

    /// Tells of a trial of a large sweep no more than how many of its siblings have ended.
    fn trial(&mut self, event: &Event) {
        match event {
            Event::Running { stage, .. } => self.open_row(stage),
            Event::Finished { stage, .. } => {
                self.close_row(stage);
                if let Some((group, words)) = self.sweeps.ended(stage) {
                    self.line(&group, GOOD, "✓ trials", &words);
                }
            }
            _ => {}
        }
    }

    fn begin(&mut self, stage: &str, reason: &str, device: &str) {
        let place = if device == "cpu" { String::new() } else { format!(", on {device}") };
        self.line(stage, anstyle::Style::new(), "▸ runs", &format!("{reason}{place}"));
        self.open_row(stage);
    }

    fn open_row(&mut self, stage: &str) {
        let shown = self.rows.values().filter(|row| row.bar.is_some()).count();
        let bar = self.live.as_ref().filter(|_| shown < LIVE_ROWS).map(|live| {
            let bar = match &self.last_row {
                Some(last) => live.insert_before(last, ProgressBar::new_spinner()),
                None => live.add(ProgressBar::new_spinner()),
            };
            bar.set_style(row_style(None));
            bar.set_prefix(self.name(stage));
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        let now = Instant::now();
        self.rows.insert(stage.to_owned(), Row { bar, began: now, told: now });
    }

    fn advance(&mut self, stage: &str, done: u64, total: Option<u64>, unit: &str, message: &str) {
        let Some(row) = self.rows.get_mut(stage) else { return };
        if let Some(bar) = &row.bar {
            if let Some(total) = total.filter(|_| bar.length().is_none()) {
                bar.set_length(total);
                bar.set_style(row_style(Some(columns::for_bar(columns::of_terminal()))));
            }
            bar.set_position(done);
            let counted = if total.is_none() { format!("{done} ") } else { String::new() };
            bar.set_message(format!("{counted}{unit}  {message}"));
        } else if self.live.is_none() && row.told.elapsed() >= PLAIN_INTERVAL {
            row.told = Instant::now();
            let of = total.map_or_else(String::new, |total| format!("/{total}"));
            let left = time_left(row.began.elapsed().as_secs_f64(), done, total);
            self.line(stage, FAINT, "  at", &format!("{done}{of} {unit}  {message}{left}"));
        }
    }

    fn end(&mut self, stage: &str, style: anstyle::Style, word: &str, detail: String) {
        self.close_row(stage);
        self.line(stage, style, word, &detail);
    }

    fn close_row(&mut self, stage: &str) {
        if let Some(bar) = self.rows.remove(stage).and_then(|row| row.bar) {
            bar.finish_and_clear();
        }
    }

    fn line(&self, stage: &str, style: anstyle::Style, word: &str, detail: &str) {
        let name = self.name(stage);
        // Why something failed is told whole.
        let room = columns::for_details(name.chars().count(), self.columns()).filter(|_| style != BAD);
        let detail = room.map_or_else(|| detail.to_owned(), |room| columns::cut(detail, room));
        let text = format!("{name}  {}  {detail}", paint(style, &format!("{word:9}")));
        match &self.live {
            Some(live) => {
                // A terminal that was closed takes no drawing any more, over which `suspend` would panic.
                if live.clear().is_err() {
                    live.set_draw_target(ProgressDrawTarget::hidden());
                }
                // Between two drawings of the live rows, so that they do not mix.
                live.suspend(|| output::say(text.trim_end()));
            }
            None => output::say(text.trim_end()),
        }
    }
}

impl Reused {
    fn add(&mut self, stage: &str, afar: bool) {
        self.count += 1;
        self.afar += usize::from(afar);
        if self.names.len() < NAMED {
            self.names.push(stage.to_owned());
        }
    }

    /// What is to be told, in two columns, and forgets it.
    fn take(&mut self) -> Option<(String, String)> {
        let (count, names) = (std::mem::take(&mut self.count), std::mem::take(&mut self.names));
        let again = self.told;
        self.told |= count > 0;
        match count {
            0 => None,
            1 => Some((names.concat(), String::new())),
            _ => {
                let subject = format!("{} {}", output::count(count), if again { "more" } else { "stages" });
                Some((subject, if count > NAMED { String::new() } else { names.join(", ") }))
            }
        }
    }
}

/// The style of a row; `bar` is the width of its bar where the work is counted, 0 for none.
fn row_style(bar: Option<usize>) -> ProgressStyle {
    let template = match bar {
        None => "{prefix}  {spinner} {elapsed}  {wide_msg}".to_owned(),
        Some(0) => "{prefix}  {pos}/{len} {eta} left {wide_msg}".to_owned(),
        Some(width) => format!("{{prefix}}  {{bar:{width}}} {{pos}}/{{len}}  {{eta}} left  {{wide_msg}}"),
    };
    ProgressStyle::with_template(&template).expect("the template is right").progress_chars("━╸─")
}

fn time_left(elapsed: f64, done: u64, total: Option<u64>) -> String {
    match total.filter(|&total| done > 0 && total >= done) {
        Some(total) => {
            let left = elapsed / done as f64 * (total - done) as f64;
            format!("  {} left", output::seconds(left))
        }
        None => String::new(),
    }
}

/// The figures of a stage in one line: the first few plain numbers.
pub fn brief(metrics: &pacer_stages::stage::Metrics) -> String {
    let plain = metrics.iter().filter_map(|(name, value)| {
        let number = value.as_f64()?;
        let text = match value.is_f64() {
            true => format!("{number:.3}"),
            false => value.to_string(),
        };
        Some(format!("{} {text}", name.replace('_', " ")))
    });
    plain.take(4).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(reused: &mut Reused, stages: usize) -> Option<(String, String)> {
        (0..stages).for_each(|stage| reused.add(&format!("s{stage}"), false));
        reused.take()
    }

    #[test]
    fn few_reused_stages_are_named_and_many_are_counted() {
        let mut reused = Reused::default();
        let line = |subject: &str, names: &str| Some((subject.to_owned(), names.to_owned()));
        assert_eq!(told(&mut reused, 0), None);
        assert_eq!(told(&mut reused, 1), line("s0", ""));
        assert_eq!(told(&mut reused, 9_998), line("9,998 more", ""));
        assert_eq!(told(&mut reused, 0), None);
        assert_eq!(told(&mut Reused::default(), 3), line("3 stages", "s0, s1, s2"));
    }
}
