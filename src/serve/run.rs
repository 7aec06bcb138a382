//! The page of a run, or of several together: the report, and on top of it what goes on. Unaware of HTTP.

use anyhow::Result;
use pacer_stages::escape::escape;

use crate::cache::Cache;
use crate::event::Event;
use crate::history::Stands;
use crate::journal;
use crate::report::{Report, markdown, page, sections};
use crate::serve::follow::{self, Follower};
use crate::serve::list::encoded;
use crate::serve::shell::{self, Page, Sort};
use crate::serve::view;

/// Most of a log that is shown.
const LOG_BYTES: u64 = 256 << 10;

/// Logs that are listed.
const LOGS: usize = 200;

/// Whether there is such a run. It is looked for in the list, so that no name can lead out of the store.
pub fn is_known(cache: &Cache, run: &str) -> bool {
    journal::runs(&cache.store).iter().any(|known| known == run)
}

/// The page of a run; none where there is no such run.
pub fn page(cache: &Cache, run: &str) -> Result<Option<String>> {
    let Some(follower) = Some(run).filter(|run| is_known(cache, run)).and_then(|run| Follower::new(cache, run)) else {
        return Ok(None);
    };
    let report = sections::report(cache, &[run.to_owned()], None)?;
    let stands = follower.stands;
    let address = format!("/runs/{}", encoded(run));
    let links = format!(
        "<p class=\"links\"><span>{}</span><a href=\"/compare?run={}\">Compare</a><a href=\"{address}/report.md\">Markdown\
         </a><a href=\"{address}/report.json\">JSON</a><a href=\"{address}\">Refresh</a></p>\n",
        stands.name(),
        encoded(run)
    );
    let live = match stands {
        Stands::Running => {
            let now = view::html(&follower);
            format!("<div id=\"live\" role=\"status\" data-events=\"{address}/events\">\n{now}</div>\n")
        }
        _ => String::new(),
    };
    let body = live + &reported(&report) + &logs(cache, run);
    let sort = if stands == Stands::Running { Sort::Live } else { Sort::Still };
    let lead = links + &top(&report);
    Ok(Some(shell::page(&Page { title: &report.title, lead: &lead, body: &body, sort }, cache.store.root())))
}

/// The report of several runs together; none where one of them is not known.
pub fn together(cache: &Cache, runs: &[String]) -> Result<Option<String>> {
    if runs.iter().any(|run| !is_known(cache, run)) {
        return Ok(None);
    }
    if runs.is_empty() {
        let body = "<p>Tick runs in the list, then ask for their report.</p>\n";
        let page = Page { title: "Report", lead: "", body, sort: Sort::Still };
        return Ok(Some(shell::page(&page, cache.store.root())));
    }
    let report = sections::report(cache, runs, None)?;
    let (lead, body) = (top(&report), reported(&report));
    Ok(Some(shell::page(
        &Page { title: &report.title, lead: &lead, body: &body, sort: Sort::Still },
        cache.store.root(),
    )))
}

/// The report of a run as Markdown; none where there is no such run.
pub fn as_markdown(cache: &Cache, run: &str) -> Result<Option<String>> {
    report(cache, run).map(|report| report.map(|report| markdown::text(&report)))
}

/// The report of a run as JSON; none where there is no such run.
pub fn as_json(cache: &Cache, run: &str) -> Result<Option<String>> {
    let Some(report) = report(cache, run)? else { return Ok(None) };
    Ok(Some(serde_json::to_string_pretty(&report)? + "\n"))
}

fn report(cache: &Cache, run: &str) -> Result<Option<Report>> {
    match is_known(cache, run) {
        true => sections::report(cache, &[run.to_owned()], None).map(Some),
        false => Ok(None),
    }
}

/// The end of a log; none where the run has no such stage, or that stage no log.
pub fn log(cache: &Cache, run: &str, stage: &str) -> Option<String> {
    let is_known = is_known(cache, run) && stages(cache, run).iter().any(|known| known == stage);
    follow::tail(&journal::log_of(&cache.store, run, stage), LOG_BYTES).filter(|_| is_known)
}

/// The stages of a run.
fn stages(cache: &Cache, run: &str) -> Vec<String> {
    let stage = |event| match event {
        Event::Running { stage, .. } => Some(stage),
        _ => None,
    };
    journal::events(&cache.store, run).unwrap_or_default().into_iter().filter_map(stage).collect()
}

/// What stands above the sections: a warning of simulated data, and links to each section.
fn top(report: &Report) -> String {
    let banner = match report.synthetic {
        true => "<p class=\"banner\">SYNTHETIC DATA: simulated runners, which say nothing about real hearts.</p>\n",
        false => "",
    };
    let link = |section: &crate::report::Section| format!("<a href=\"#{}\">{}</a>\n", section.id, section.title);
    let links: String = report.sections.iter().map(link).collect();
    format!("{banner}<nav aria-label=\"Sections\">\n{links}</nav>\n")
}

fn reported(report: &Report) -> String {
    let mut figures = 0;
    report.sections.iter().map(|section| page::one(section, &mut figures)).collect()
}

/// Links to the logs that hold anything.
fn logs(cache: &Cache, run: &str) -> String {
    let has_words = |stage: &String| {
        std::fs::metadata(journal::log_of(&cache.store, run, stage)).is_ok_and(|metadata| metadata.len() > 0)
    };
    let link = |stage: String| format!("<a href=\"{}\">{}</a>\n", view::log_address(run, &stage), escape(&stage));
    let links: String = stages(cache, run).into_iter().filter(has_words).take(LOGS).map(link).collect();
    match links.is_empty() {
        true => String::new(),
        false => format!(
            "<section id=\"logs\" aria-labelledby=\"logs-h\">\n<h2 id=\"logs-h\">Logs</h2>\n<p class=\"links\">{links}</p>\n\
             </section>\n"
        ),
    }
}
