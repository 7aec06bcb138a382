//! Which address shows what. What is async ends here: pages are made on threads of their own.

use std::convert::Infallible;
use std::sync::Arc;

use anyhow::Result;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Form, Path, Query, State};
use axum::http::StatusCode;
use axum::http::header::{self, HeaderMap};
use axum::middleware;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use futures_util::stream;
use pacer_stages::escape::escape;
use tokio::sync::watch::Receiver;

use crate::serve::live::{Phase, Told};
use crate::serve::shell::{self, Page, Sort};
use crate::serve::{Served, comparison, guard, list, run};

/// No form is larger.
const FORM_BYTES: usize = 4 << 10;

const HTML: &str = "text/html; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";
const MARKDOWN: &str = "text/markdown; charset=utf-8";
const JSON: &str = "application/json";

type Shared = State<Arc<Served>>;
type Pairs = Vec<(String, String)>;

/// All addresses.
pub fn app(served: Served) -> Router {
    let served = Arc::new(served);
    Router::new()
        .route("/", get(all_runs))
        .route("/compare", get(compare))
        .route("/report", get(together))
        .route("/runs/{run}", get(one_run))
        .route("/runs/{run}/events", get(events))
        .route("/runs/{run}/log/{stage}", get(log))
        .route("/runs/{run}/report.md", get(markdown))
        .route("/runs/{run}/report.json", get(json))
        .route("/login", get(ask_for_token).post(login))
        .route(shell::STYLE_PATH, get(style))
        .route(shell::SCRIPT_PATH, get(script))
        .fallback(missing)
        .layer(DefaultBodyLimit::max(FORM_BYTES))
        .layer(middleware::from_fn_with_state(Arc::clone(&served), guard::check))
        .with_state(served)
}

/// Makes an answer on a thread that may read: none where what was asked for is not there.
async fn made(
    sort: &'static str,
    served: Arc<Served>,
    make: impl FnOnce(&Served) -> Result<Option<String>> + Send + 'static,
) -> Response {
    let store = served.cache.store.root().to_owned();
    let outcome = tokio::task::spawn_blocking(move || make(&served)).await;
    let told = |status: StatusCode, words: &str| {
        let body = format!("<p>{}</p>\n", escape(words));
        let page = shell::page(&Page { title: "pacer", lead: "", body: &body, sort: Sort::Still }, &store);
        (status, shell::html(page)).into_response()
    };
    match outcome {
        Ok(Ok(Some(text))) => ([(header::CONTENT_TYPE, sort)], text).into_response(),
        Ok(Ok(None)) => told(StatusCode::NOT_FOUND, "There is nothing here. A run may have been collected."),
        Ok(Err(error)) => {
            tracing::warn!("a page cannot be made: {error:#}");
            told(StatusCode::INTERNAL_SERVER_ERROR, &format!("This cannot be shown: {error:#}"))
        }
        Err(_) => told(StatusCode::INTERNAL_SERVER_ERROR, "This cannot be shown: the server broke over it."),
    }
}

async fn all_runs(State(served): Shared, Query(asked): Query<Pairs>) -> Response {
    made(HTML, served, move |served| list::page(&served.cache, &asked).map(Some)).await
}

async fn compare(State(served): Shared, Query(asked): Query<Pairs>) -> Response {
    made(HTML, served, move |served| comparison::page(&served.cache, &asked)).await
}

async fn together(State(served): Shared, Query(asked): Query<Pairs>) -> Response {
    let runs: Vec<String> = asked.into_iter().filter(|(name, _)| name == "run").map(|(_, run)| run).collect();
    made(HTML, served, move |served| run::together(&served.cache, &runs)).await
}

async fn one_run(State(served): Shared, Path(run): Path<String>) -> Response {
    made(HTML, served, move |served| run::page(&served.cache, &run)).await
}

async fn log(State(served): Shared, Path((run, stage)): Path<(String, String)>) -> Response {
    made(TEXT, served, move |served| Ok(run::log(&served.cache, &run, &stage))).await
}

async fn markdown(State(served): Shared, Path(run): Path<String>) -> Response {
    made(MARKDOWN, served, move |served| run::as_markdown(&served.cache, &run)).await
}

async fn json(State(served): Shared, Path(run): Path<String>) -> Response {
    made(JSON, served, move |served| run::as_json(&served.cache, &run)).await
}

async fn style() -> Response {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], shell::style()).into_response()
}

async fn script() -> Response {
    ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], shell::SCRIPT).into_response()
}

async fn ask_for_token() -> Response {
    shell::html(shell::login(None))
}

async fn login(State(served): Shared, Form(given): Form<Pairs>) -> Response {
    let cookie = list::value(&given, "token").and_then(|token| served.guard.cookie(token));
    match cookie {
        Some(cookie) => ([(header::SET_COOKIE, cookie)], Redirect::to("/")).into_response(),
        None => (StatusCode::UNAUTHORIZED, shell::html(shell::login(Some("This is not the token.")))).into_response(),
    }
}

async fn missing(State(served): Shared) -> Response {
    made(HTML, served, |_| Ok(None)).await
}

/// One who listens to a run.
struct Listener {
    told: Receiver<Told>,
    /// The state that it has.
    has: Option<String>,
    is_over: bool,
}

/// What goes on in a run, as it comes. Each event tells all that a page shows; who comes back with the last one's name
/// gets nothing twice.
async fn events(State(served): Shared, Path(run): Path<String>, headers: HeaderMap) -> Response {
    let has = headers.get("last-event-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
    let listen = move || match run::is_known(&served.cache, &run) {
        true => served.live.listen(&served.cache, &run),
        false => None,
    };
    let Ok(Some(told)) = tokio::task::spawn_blocking(listen).await else {
        return (StatusCode::NOT_FOUND, "There is no such run.\n").into_response();
    };
    let listener = Listener { told, has, is_over: false };
    Sse::new(stream::unfold(listener, next)).keep_alive(KeepAlive::default()).into_response()
}

async fn next(mut listener: Listener) -> Option<(Result<Event, Infallible>, Listener)> {
    while !listener.is_over {
        let told = listener.told.borrow_and_update().clone();
        let event = Event::default().id(&told.id);
        if told.phase == Phase::Closing {
            return None;
        }
        if listener.has.as_ref() != Some(&told.id) {
            listener.has = Some(told.id);
            return Some((Ok(event.event("live").data(&told.html)), listener));
        }
        if told.phase == Phase::Ended {
            listener.is_over = true;
            return Some((Ok(event.event("end").data("the run has ended")), listener));
        }
        listener.told.changed().await.ok()?;
    }
    None
}
