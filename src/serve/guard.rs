//! Who is answered: nobody by another name than ours on loopback, nobody without the token elsewhere. Unaware of
//! pages.
//!
//! A page of a foreign site can make a browser ask a server on loopback under that site's own name (DNS rebinding), and
//! then read the answer; so the name that was asked for must be one of loopback. The token is never part of an address,
//! where histories and logs would keep it.

use std::fs::File;
use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use axum::extract::{Request, State};
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use crate::serve::{Served, shell};

/// Tokens shorter than this could be guessed.
const FEWEST_SIGNS: usize = 16;

/// The cookie that a browser keeps instead of the token.
const COOKIE: &str = "pacer_session";

/// What the cookie is made for.
const CONTEXT: &str = "pacer serve 2026 the cookie of a browser that gave the token";

/// What a browser may do with any answer: show it, load our own style and script, and listen to our own events.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src data:; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The rules.
pub struct Guard {
    /// The names by which it may be asked for; none where any will do, for then there is a token.
    hosts: Option<Vec<String>>,
    token: Option<Token>,
}

/// A token, known by its digest, whose comparison takes the same time wherever it differs.
struct Token {
    digest: blake3::Hash,
    cookie: String,
}

/// A token that nobody can guess.
pub fn new_token() -> Result<String> {
    let mut bytes = [0_u8; 32];
    let read = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    read.context("`/dev/urandom` gives no random bytes for a token")?;
    Ok(blake3::Hash::from_bytes(bytes).to_hex().to_string())
}

impl Guard {
    /// The rules for a server at this address.
    ///
    /// Fails for a token that could be guessed, and where there is none beyond loopback.
    pub fn new(address: SocketAddr, token: Option<&str>) -> Result<Self> {
        let is_near = address.ip().is_loopback();
        if !is_near && token.is_none() {
            bail!("a server at {address} needs a token");
        }
        if token.is_some_and(|token| token.len() < FEWEST_SIGNS || !token.bytes().all(|byte| byte.is_ascii_graphic())) {
            bail!("PACER_TOKEN must have {FEWEST_SIGNS} signs or more, and no spaces: leave it out, and one is made");
        }
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned(), "[::1]".to_owned(), host(address)];
        let hosts = names.map(|name| format!("{name}:{}", address.port()));
        let token = token.map(|token| Token {
            digest: blake3::hash(token.as_bytes()),
            cookie: blake3::Hash::from_bytes(blake3::derive_key(CONTEXT, token.as_bytes())).to_hex().to_string(),
        });
        Ok(Self { hosts: is_near.then(|| hosts.to_vec()), token })
    }

    /// The cookie for who gave the token; none where it is not the token.
    pub fn cookie(&self, given: &str) -> Option<String> {
        let token = self.token.as_ref().filter(|token| token.is(given))?;
        Some(format!("{COOKIE}={}; Path=/; HttpOnly; SameSite=Strict", token.cookie))
    }

    fn is_our_name(&self, headers: &HeaderMap) -> bool {
        let Some(hosts) = &self.hosts else { return true };
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        host.is_some_and(|host| hosts.iter().any(|known| known.eq_ignore_ascii_case(host)))
    }

    fn is_let_in(&self, headers: &HeaderMap) -> bool {
        let Some(token) = &self.token else { return true };
        let values = |name: HeaderName| headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
        let mut bearer = values(header::AUTHORIZATION).filter_map(|value| value.strip_prefix("Bearer "));
        let cookies = values(header::COOKIE).flat_map(|value| value.split(';'));
        let mut ours = cookies.filter_map(|cookie| cookie.trim().strip_prefix(COOKIE)?.strip_prefix('='));
        bearer.any(|given| token.is(given)) || ours.any(|given| same(given, &token.cookie))
    }
}

impl Token {
    fn is(&self, given: &str) -> bool {
        // Hashes compare in constant time.
        blake3::hash(given.trim().as_bytes()) == self.digest
    }
}

fn same(one: &str, other: &str) -> bool {
    blake3::hash(one.as_bytes()) == blake3::hash(other.as_bytes())
}

/// An address as it stands in a URL, without its port.
pub fn host(address: SocketAddr) -> String {
    match address {
        SocketAddr::V4(address) => address.ip().to_string(),
        SocketAddr::V6(address) => format!("[{}]", address.ip()),
    }
}

/// Answers who may ask what; adds what keeps browsers from doing more with any answer than show it.
pub async fn check(State(served): State<Arc<Served>>, request: Request, next: Next) -> Response {
    let guard = &served.guard;
    let path = request.uri().path();
    let is_login = path == "/login";
    let reads = [Method::GET, Method::HEAD].contains(request.method());
    let mut response = if !guard.is_our_name(request.headers()) {
        let told = "This server is for this machine: ask for it as localhost or 127.0.0.1, with its port.\n";
        (StatusCode::FORBIDDEN, told).into_response()
    } else if !reads && !(is_login && request.method() == Method::POST) {
        let told = "This server only reads: GET and HEAD are all that it does.\n";
        (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET, HEAD")], told).into_response()
    } else if is_login || path == shell::STYLE_PATH || guard.is_let_in(request.headers()) {
        next.run(request).await
    } else {
        let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
        (StatusCode::UNAUTHORIZED, challenge, shell::html(shell::login(None))).into_response()
    };
    let fixed = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ];
    for (name, value) in fixed {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    fn headers(name: HeaderName, value: &str) -> HeaderMap {
        [(name, HeaderValue::from_str(value).unwrap())].into_iter().collect()
    }

    #[test]
    fn only_names_of_loopback_reach_a_server_on_loopback() {
        let guard = Guard::new("127.0.0.1:7223".parse().unwrap(), None).unwrap();
        for (host, is_ours) in [
            ("127.0.0.1:7223", true),
            ("LOCALHOST:7223", true),
            ("[::1]:7223", true),
            ("localhost", false),
            ("localhost:80", false),
            ("evil.example:7223", false),
            ("127.0.0.1:7223.evil.example", false),
        ] {
            assert_eq!(guard.is_our_name(&headers(header::HOST, host)), is_ours, "{host}");
        }
        assert!(!guard.is_our_name(&HeaderMap::new()));
    }

    #[test]
    fn elsewhere_the_token_or_its_cookie_lets_in_and_nothing_else() {
        let far = "0.0.0.0:7223".parse().unwrap();
        assert!(Guard::new(far, None).is_err());
        assert!(Guard::new(far, Some("short")).is_err());
        let guard = Guard::new(far, Some(TOKEN)).unwrap();
        let cookie = guard.cookie(TOKEN).unwrap();
        let kept = cookie.split(';').next().unwrap();
        assert!(!cookie.contains(TOKEN), "{cookie}");
        assert!(guard.cookie("0123456789abcdeF").is_none());
        assert!(guard.is_let_in(&headers(header::AUTHORIZATION, &format!("Bearer {TOKEN}"))));
        assert!(guard.is_let_in(&headers(header::COOKIE, &format!("other=1; {kept}"))));
        for wrong in ["", COOKIE, "pacer_session=", "pacer_session=0123456789abcdef"] {
            assert!(!guard.is_let_in(&headers(header::COOKIE, wrong)), "{wrong}");
        }
        assert!(!guard.is_let_in(&headers(header::AUTHORIZATION, TOKEN)));
        assert!(!guard.is_let_in(&HeaderMap::new()));
    }

    #[test]
    fn two_tokens_differ() {
        let (one, other) = (new_token().unwrap(), new_token().unwrap());
        assert!(one.len() == 64 && one != other, "{one} {other}");
    }
}
