//! The pages of the store over HTTP: the list of runs, each run's report with what goes on in it, comparisons. It only
//! reads; nothing else needs it. Unaware of pipelines and of the command line.
//!
//! The server is axum on hyper: both are kept by the makers of tokio, which Polars brings along anyway, and of their
//! features only HTTP/1.1, queries, forms and event streams are built. An HTTP parser of our own would be less to
//! build and more to trust. Async ends in [`routes`]: what reads the store is plain code on threads.
//!
//! [`guard`] decides who is answered; [`routes`] says which address shows what; [`list`], [`run`] and [`comparison`]
//! make the pages in the frame of [`shell`]. [`live`] follows runs that go on: [`follow`] reads what they write down,
//! [`view`] shows it.

pub mod comparison;
pub mod follow;
pub mod guard;
pub mod list;
pub mod live;
pub mod routes;
pub mod run;
pub mod shell;
pub mod view;

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::cache::Cache;
use crate::serve::guard::Guard;
use crate::serve::live::Live;

/// How often it looks whether it shall end.
const TICK: Duration = Duration::from_millis(50);

/// Answers under way get so long to end.
const GRACE: Duration = Duration::from_secs(2);

/// Threads that read the store at a time; more questions wait.
const READERS: usize = 8;

/// What is served, and to whom.
pub struct Served {
    /// The store.
    pub cache: Cache,
    /// Who is answered.
    pub guard: Guard,
    /// Runs that are followed.
    pub live: Arc<Live>,
}

/// Answers until `stop` is no longer 0.
pub fn serve(listener: TcpListener, served: Served, stop: &Arc<AtomicUsize>) -> Result<()> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).max_blocking_threads(READERS).enable_all().build();
    let runtime = runtime.context("the server's threads cannot be started")?;
    let live = Arc::clone(&served.live);
    let outcome = runtime.block_on(async {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let server = axum::serve(listener, routes::app(served)).with_graceful_shutdown(stopped(Arc::clone(stop)));
        let server = tokio::spawn(async move { server.await });
        stopped(Arc::clone(stop)).await;
        live.close();
        // Who still reads after that is cut off.
        tokio::time::timeout(GRACE, server).await.map_or(Ok(()), |ended| ended?.map_err(anyhow::Error::from))
    });
    runtime.shutdown_background();
    outcome
}

async fn stopped(stop: Arc<AtomicUsize>) {
    while stop.load(Ordering::Relaxed) == 0 {
        tokio::time::sleep(TICK).await;
    }
}
