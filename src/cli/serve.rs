//! `pacer serve`: the store's pages over HTTP, on this machine unless told otherwise.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use anyhow::{Context as _, Result};
use clap::Args;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::cli::project;
use crate::cli::{Exit, Session};
use crate::serve::guard::{self, Guard};
use crate::serve::{Served, serve as answer};
use crate::ui::output::{self, FAINT, paint};

/// The environment variable that holds the token.
const TOKEN_VARIABLE: &str = "PACER_TOKEN";

/// The port where none is given: `pace` on a telephone.
const PORT: u16 = 7223;

/// The arguments of `pacer serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// The port; 0 for any that is free
    #[arg(long, value_name = "N", default_value_t = PORT)]
    port: u16,
    /// The address to listen on; beyond this machine a token is asked for: that in PACER_TOKEN, or a new one
    #[arg(long, value_name = "ADDR", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    bind: IpAddr,
}

/// Serves until it is interrupted.
pub fn serve(args: &ServeArgs, session: &Session) -> Result<Exit> {
    let cache = project::cache(session, None)?;
    let given = std::env::var(TOKEN_VARIABLE).ok().filter(|token| !token.is_empty());
    let is_made = given.is_none() && !args.bind.is_loopback();
    let token = if is_made { Some(guard::new_token()?) } else { given };
    let (bind, port) = (args.bind, args.port);
    let listener = TcpListener::bind((bind, port)).with_context(|| {
        format!("`{}` cannot be listened on: another `--port`, or 0 for any", SocketAddr::new(bind, port))
    })?;
    let address = listener.local_addr()?;
    let guard = Guard::new(address, token.as_deref())?;
    let stop = Arc::new(AtomicUsize::new(0));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register_usize(signal, Arc::clone(&stop), signal.unsigned_abs() as usize)?;
    }
    output::print(&format!("http://{}:{}/\n", guard::host(address), address.port()));
    if let Some(token) = token.filter(|_| is_made) {
        output::say(&format!("token: {token}"));
    }
    if !session.quiet {
        let told = format!("serving {}; Ctrl-C ends it", cache.store.root().display());
        output::say(&paint(FAINT, &told));
    }
    answer(listener, Served { cache, guard, live: Arc::default() }, &stop)?;
    Ok(Exit::Interrupted)
}
