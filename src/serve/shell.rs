//! The frame of every page, its style and its script. Unaware of what stands in it.

use std::path::Path;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use pacer_stages::escape::escape;

use crate::report::style;

/// Where the style lies.
pub const STYLE_PATH: &str = "/style.css";

/// Where the script lies.
pub const SCRIPT_PATH: &str = "/live.js";

/// The script: it puts in what the server tells of a run, and keeps what a reader has opened.
pub const SCRIPT: &str = include_str!("live.js");

/// What pages need beside the style of reports.
const MORE: &str = include_str!("pages.css");

/// A page.
pub struct Page<'a> {
    /// Its title.
    pub title: &'a str,
    /// What stands below the title, as HTML.
    pub lead: &'a str,
    /// The rest, as HTML.
    pub body: &'a str,
    /// Whether it changes while it is shown, and how wide it is.
    pub sort: Sort,
}

/// What sort of page it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// Stands as it is.
    Still,
    /// Stands as it is, and is wide.
    Wide,
    /// Loads the script.
    Live,
}

/// The style sheet.
pub fn style() -> String {
    format!("{}{MORE}", style::STYLE)
}

/// An HTML answer.
pub fn html(text: String) -> Response {
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], text).into_response()
}

/// A page as HTML.
pub fn page(page: &Page<'_>, store: &Path) -> String {
    framed(page, "<p class=\"home\"><a href=\"/\">← All runs</a></p>\n", &footer(store))
}

/// The first page as HTML, from which no link leads to itself.
pub fn first_page(page: &Page<'_>, store: &Path) -> String {
    framed(page, "", &footer(store))
}

fn footer(store: &Path) -> String {
    let (version, store) = (env!("CARGO_PKG_VERSION"), escape(&store.display().to_string()));
    format!("Served by pacer {version} from {store}. This server only reads.")
}

/// The page that asks for the token.
pub fn login(wrong: Option<&str>) -> String {
    let wrong = wrong.map_or_else(String::new, |words| format!("<p class=\"wrong\" role=\"alert\">{words}</p>\n"));
    let body = format!(
        "{wrong}<form class=\"filter\" method=\"post\" action=\"/login\">\n<label>Token <input type=\"password\" \
         name=\"token\" autocomplete=\"current-password\" required autofocus></label>\n<button>Open</button>\n</form>\n\
         <p class=\"hint\">It stands on the terminal in which <code>pacer serve</code> was started, or is what PACER_TOKEN \
         was there.</p>\n"
    );
    framed(&Page { title: "pacer", lead: "", body: &body, sort: Sort::Still }, "", "This server only reads.")
}

fn framed(page: &Page<'_>, home: &str, footer: &str) -> String {
    let Page { title, lead, body, sort } = page;
    let title = escape(title);
    let script = match sort {
        Sort::Live => format!("<script src=\"{SCRIPT_PATH}\" defer></script>\n"),
        Sort::Still | Sort::Wide => String::new(),
    };
    let class = if *sort == Sort::Wide { "page wide" } else { "page" };
    // An empty icon, so that no browser asks for one.
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n\
         <link rel=\"icon\" href=\"data:,\">\n<link rel=\"stylesheet\" href=\"{STYLE_PATH}\">\n{script}</head>\n\
         <body>\n<div class=\"{class}\">\n<header>\n{home}<h1>{title}</h1>\n{lead}</header>\n<main>\n{body}</main>\n\
         <footer>\n{footer}\n</footer>\n</div>\n</body>\n</html>\n"
    )
}
