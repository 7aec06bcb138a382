//! How a run that goes on stands, as a piece of HTML. Unaware of who sees it.

use std::fmt::Write as _;

use pacer_stages::escape::escape;

use crate::history::Stands;
use crate::report::figures::curves::{Curves, curves};
use crate::report::page;
use crate::serve::follow::{Far, Follower, Running};
use crate::serve::list::encoded;
use crate::ui::output;

/// Stages that run and have a row of their own.
const ROWS: usize = 20;

/// Trainings whose curves are drawn.
const CURVES: usize = 6;

/// Stages whose logs are shown.
const LOGS: usize = 3;

/// Lines of a log, and the bytes among which they are sought.
const LOG_LINES: usize = 10;
const LOG_BYTES: u64 = 8 << 10;

/// Failed stages that are named.
const FAILURES: usize = 5;

/// Figures of the live part have numbers beyond those of the report below it.
const FIRST_FIGURE: usize = 1000;

/// The live part.
pub fn html(follower: &Follower) -> String {
    let course = &follower.course;
    let shown = course.running.len().min(ROWS);
    let words = course.standing.words(shown);
    let state = match follower.stands {
        Stands::Running => "Running",
        _ => "Ended",
    };
    let (done, all) = (course.ended, course.stages.max(1));
    let mut out = format!(
        "<p><strong>{state}</strong>: {words}</p>\n<progress class=\"whole\" max=\"{all}\" value=\"{done}\" \
         aria-label=\"stages that ended\"></progress>\n"
    );
    if !course.running.is_empty() {
        out.push_str(&rows(follower));
    }
    for (stage, message) in course.failed.iter().take(FAILURES) {
        let first = message.lines().next().unwrap_or_default();
        writeln!(
            out,
            "<p class=\"check bad\"><span class=\"sign\">✗</span><a href=\"{}\">{}</a> failed: {}</p>",
            log_address(&follower.run, stage),
            escape(stage),
            escape(first)
        )
        .expect("a string takes it");
    }
    out.push_str(&drawn(follower));
    out.push_str(&logs(follower));
    out
}

/// Where the log of a stage is shown.
pub fn log_address(run: &str, stage: &str) -> String {
    format!("/runs/{}/log/{}", encoded(run), encoded(stage))
}

fn rows(follower: &Follower) -> String {
    let rows: String = follower.course.running.iter().take(ROWS).map(|(name, running)| row(name, running)).collect();
    format!(
        "<div class=\"scroll\" tabindex=\"0\"><table class=\"going\">\n<thead><tr><th scope=\"col\">stage</th><th \
         scope=\"col\">progress</th><th scope=\"col\">latest</th><th scope=\"col\">kind</th><th scope=\"col\">on</th></tr>\
         </thead>\n<tbody>\n{rows}</tbody>\n</table></div>\n"
    )
}

fn row(name: &str, running: &Running) -> String {
    let Running { kind, device, place, far } = running;
    let (how, message) = match far {
        None => ("runs".to_owned(), ""),
        Some(far) => (how(far), far.message.as_str()),
    };
    let [name, message, kind, device] = [name, message, kind.as_str(), place.as_ref().unwrap_or(device)].map(escape);
    format!(
        "<tr><td>{name}</td><td class=\"how\">{how}</td><td class=\"long\">{message}</td><td>{kind}</td>\
         <td>{device}</td></tr>\n"
    )
}

fn how(far: &Far) -> String {
    let unit = escape(&far.unit);
    let number = |number: u64| output::count(usize::try_from(number).unwrap_or(usize::MAX));
    match far.total.filter(|total| *total > 0) {
        Some(total) => {
            let (done, words) = (far.done.min(total), format!("{} of {} {unit}", number(far.done), number(total)));
            format!("<progress max=\"{total}\" value=\"{done}\" aria-label=\"{words}\"></progress> {words}")
        }
        None => format!("{} {unit}", number(far.done)),
    }
}

/// The learning curves, those of running trainings first.
fn drawn(follower: &Follower) -> String {
    let course = &follower.course;
    let is_running = |name: &String| course.running.contains_key(name);
    let mut all: Vec<_> = course.curves.iter().filter(|(_, points)| points.len() > 1).collect();
    all.sort_by_key(|(name, _)| !is_running(name));
    let curve = |(name, points): &(&String, &Vec<[f64; 2]>)| Curves {
        name: (*name).clone(),
        trainings: vec![(*points).clone()],
    };
    let shown: Vec<Curves> = all.iter().take(CURVES).map(curve).collect();
    let mut number = FIRST_FIGURE;
    curves("Learning curves", &shown).map_or_else(String::new, |figure| page::drawn(&figure, &mut number))
}

fn logs(follower: &Follower) -> String {
    let mut out = String::new();
    let tails = follower.course.running.keys().map(|stage| (stage, follower.log(stage, LOG_BYTES)));
    for (stage, text) in tails.filter(|(_, text)| !text.trim().is_empty()).take(LOGS) {
        let lines: Vec<String> = text.lines().map(escape).collect();
        let last = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n");
        let (name, address) = (escape(stage), log_address(&follower.run, stage));
        write!(out, "<h3><a href=\"{address}\">Log of {name}</a></h3>\n<pre tabindex=\"0\">{last}</pre>\n")
            .expect("a string takes it");
    }
    out
}
