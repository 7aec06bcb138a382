//! The list of runs, with filters and ticks. Unaware of how it is asked for.

use anyhow::Result;
use pacer_stages::escape::escape;

use crate::cache::Cache;
use crate::history::{self, Filter, Past, Stands};
use crate::serve::shell::{self, Page, Sort};
use crate::ui::{output, runs};

/// Runs that are listed unless all are asked for.
const LISTED: usize = 100;

/// Every state that a run can be asked for by.
const STATES: [Stands; 5] = [Stands::Running, Stands::Done, Stands::Failed, Stands::Interrupted, Stands::Killed];

/// What is asked for: names and values of a query.
pub type Asked = [(String, String)];

/// The last value of a name that holds anything.
pub fn value<'a>(asked: &'a Asked, name: &str) -> Option<&'a str> {
    asked.iter().rev().find(|(other, value)| other == name && !value.trim().is_empty()).map(|(_, value)| value.trim())
}

/// The page.
pub fn page(cache: &Cache, asked: &Asked) -> Result<String> {
    let stands = value(asked, "state").and_then(|name| STATES.into_iter().find(|state| state.name() == name));
    let since = value(asked, "since").map(history::since).transpose();
    let filter = Filter {
        pipeline: value(asked, "pipeline").map(str::to_owned),
        stands,
        since: since.as_ref().ok().cloned().flatten(),
        limit: None,
    };
    let all = value(asked, "all").is_some();
    // Words may be anywhere in a row, also in what a limit would leave out.
    let text = value(asked, "text").map(str::to_lowercase);
    let limit = if all { usize::MAX } else { LISTED };
    let (mut found, mut more) = history::runs(cache, &Filter { limit: text.is_none().then_some(limit), ..filter });
    if let Some(text) = &text {
        found.retain(|run| holds(run, text));
        more = found.len().saturating_sub(limit);
        found.truncate(limit);
    }
    let wrong = since.err().map(|words| format!("<p class=\"wrong\" role=\"alert\">Since {}.</p>\n", escape(&words)));
    let body = format!("{}{}{}", form(asked), wrong.unwrap_or_default(), table(&found, more, asked));
    Ok(shell::first_page(&Page { title: "Runs", lead: "", body: &body, sort: Sort::Wide }, cache.store.root()))
}

fn holds(run: &Past, text: &str) -> bool {
    let path = run.summary.path.to_string_lossy().to_lowercase();
    path.contains(text) || runs::row(run).iter().any(|cell| cell.to_lowercase().contains(text))
}

fn form(asked: &Asked) -> String {
    let field = |name: &str, label: &str, hint: &str| {
        let value = escape(value(asked, name).unwrap_or_default());
        format!("<label>{label} <input name=\"{name}\" value=\"{value}\" placeholder=\"{hint}\" size=\"14\"></label>\n")
    };
    let chosen = value(asked, "state").unwrap_or_default();
    let option = |state: Stands| {
        let selected = if state.name() == chosen { " selected" } else { "" };
        format!("<option{selected}>{}</option>", state.name())
    };
    let options: String = STATES.into_iter().map(option).collect();
    format!(
        "<form class=\"filter\" method=\"get\" action=\"/\">\n{}<label>State <select name=\"state\"><option \
         value=\"\">any</option>{options}</select></label>\n{}{}<button>Filter</button>\n<a href=\"/\">Clear</a>\n</form>\n",
        field("pipeline", "Pipeline", "its name"),
        field("since", "Since", "7d or 2026-11-30"),
        field("text", "Text", "anywhere in a row"),
    )
}

fn table(found: &[Past], more: usize, asked: &Asked) -> String {
    if found.is_empty() {
        let filtered = asked.iter().any(|(_, value)| !value.is_empty());
        let words = if filtered { "No run is like this." } else { "There is no run yet: make one with pacer run." };
        return format!("<p>{words}</p>\n");
    }
    let [_, rest @ ..] = runs::HEADER;
    let head: String = rest.iter().map(|name| format!("<th scope=\"col\">{name}</th>")).collect();
    let rows: String = found.iter().map(row).collect();
    let more = match more {
        0 => String::new(),
        more => {
            let kept = ["pipeline", "state", "since", "text"].map(|name| (name, value(asked, name)));
            let kept: String =
                kept.iter().filter_map(|(name, value)| Some(format!("{name}={}&amp;", encoded((*value)?)))).collect();
            format!("<p><a href=\"/?{kept}all=1\">… and {} more: show all</a></p>\n", output::count(more))
        }
    };
    format!(
        "<form method=\"get\" action=\"/compare\">\n<div class=\"scroll\" tabindex=\"0\"><table class=\"runs\">\n<thead><tr>\
         <th scope=\"col\">tick</th><th scope=\"col\">run</th>{head}</tr></thead>\n\
         <tbody>\n{rows}</tbody>\n</table></div>\n{more}<p class=\"bar\"><button>Compare the ticked runs</button> \
         <button formaction=\"/report\">Report of the ticked runs</button> <a href=\"\">Refresh</a></p>\n</form>\n"
    )
}

fn row(past: &Past) -> String {
    let [id, date, pipeline, state, took, reused, ran, failed, mae, data, split, of] =
        runs::row(past).map(|cell| escape(&cell));
    let sign = match past.stands {
        Stands::Running => "▸",
        Stands::Done => "✓",
        Stands::Failed | Stands::Killed => "✗",
        Stands::Interrupted => "–",
    };
    let class = past.stands.name();
    let labelled = |label: &str, cell: String| format!("<td class=\"number\" data-label=\"{label}\">{cell}</td>");
    format!(
        "<tr><td><input type=\"checkbox\" name=\"run\" value=\"{id}\" aria-label=\"run {id}\"></td>\
         <td class=\"id\"><a href=\"/runs/{id}\">{id}</a></td><td>{date}</td><td>{pipeline}</td>\
         <td class=\"{class}\">{sign} {state}</td>{}{}{}{}{}<td data-label=\"data\">{data}</td><td data-label=\"split\">{split}</td><td>{of}</td></tr>\n",
        labelled("took", took),
        labelled("reused", reused),
        labelled("ran", ran),
        labelled("failed", failed),
        labelled("best mae", mae),
    )
}

/// A text as it can stand in an address and in HTML.
pub fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    let sign = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(sign).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_addresses_that_lead_nowhere_else() {
        assert_eq!(encoded("lstm[batch_size=4,seed=1]"), "lstm%5Bbatch_size%3D4%2Cseed%3D1%5D");
        assert_eq!(encoded("../é\"<"), "..%2F%C3%A9%22%3C");
    }

    #[test]
    fn an_empty_field_asks_for_nothing() {
        let asked = [("state".to_owned(), " ".to_owned()), ("text".to_owned(), " a ".to_owned())];
        assert_eq!((value(&asked, "state"), value(&asked, "text"), value(&asked, "since")), (None, Some("a"), None));
    }
}
