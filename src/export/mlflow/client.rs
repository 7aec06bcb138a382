//! Speaks to an MLflow server over plain HTTP. Unaware of what is said. A token comes from the environment alone, is
//! printed nowhere, and goes to this machine alone.

use std::env;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use ureq::http::{Response, Uri};
use ureq::{Agent, Body};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The largest answer.
const ANSWER_BYTES: u64 = 16 << 20;

/// The environment variables of the official client.
const TOKEN: &str = "MLFLOW_TRACKING_TOKEN";
const USERNAME: &str = "MLFLOW_TRACKING_USERNAME";
const PASSWORD: &str = "MLFLOW_TRACKING_PASSWORD";

/// A server that can be asked.
pub struct Client {
    agent: Agent,
    root: String,
    authorization: Option<String>,
}

impl Client {
    /// A client of the server at a URI such as `http://127.0.0.1:5000`.
    pub fn new(uri: &str) -> Result<Self> {
        let parsed: Uri = uri.parse().map_err(|_| anyhow::anyhow!("`--uri` is no URI: http://HOST:PORT"))?;
        let host = parsed.host().unwrap_or_default();
        if parsed.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            bail!("`--uri` must hold no password, which others would see: set {USERNAME} and {PASSWORD}");
        }
        if parsed.scheme_str() != Some("http") || host.is_empty() {
            bail!("`--uri` must be http://HOST:PORT: pacer speaks no TLS; a tunnel such as `ssh -L` reaches others");
        }
        let authorization = authorization();
        if authorization.is_some() && !is_this_machine(host) {
            bail!(
                "a token or password would go to `{host}` over a line that anybody can read: reach the server through \
                 a tunnel such as `ssh -L 5000:localhost:5000 {host}`, or unset {TOKEN} and {USERNAME}"
            );
        }
        let config = Agent::config_builder();
        let config = config.timeout_global(Some(PATIENCE)).http_status_as_error(false).max_redirects(0);
        let root = format!("{}/api/2.0/mlflow", uri.trim_end_matches('/'));
        Ok(Self { agent: config.build().new_agent(), root, authorization })
    }

    /// Asks for something; `None` where the server has no such thing.
    pub fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Option<Value>> {
        let mut request = self.agent.get(format!("{}/{path}", self.root));
        for (name, value) in query {
            request = request.query(*name, *value);
        }
        if let Some(authorization) = &self.authorization {
            request = request.header("Authorization", authorization);
        }
        let answer = request.call().with_context(|| self.unreachable())?;
        if answer.status() == 404 {
            return Ok(None);
        }
        understood(path, answer).map(Some)
    }

    /// Says something and returns the answer.
    pub fn post(&self, path: &str, body: &Value) -> Result<Value> {
        let mut request = self.agent.post(format!("{}/{path}", self.root)).content_type("application/json");
        if let Some(authorization) = &self.authorization {
            request = request.header("Authorization", authorization);
        }
        let answer = request.send(body.to_string()).with_context(|| self.unreachable())?;
        understood(path, answer)
    }

    fn unreachable(&self) -> String {
        format!("the MLflow server `{}` does not answer", self.root.trim_end_matches("/api/2.0/mlflow"))
    }
}

fn understood(path: &str, mut answer: Response<Body>) -> Result<Value> {
    let status = answer.status();
    let text = answer.body_mut().with_config().limit(ANSWER_BYTES).read_to_string();
    let text = text.with_context(|| format!("the answer to `{path}` breaks off"))?;
    let value: Option<Value> = serde_json::from_str(&text).ok();
    if !status.is_success() {
        let why = value
            .as_ref()
            .and_then(|value| value["message"].as_str())
            .unwrap_or("it is no MLflow server, or wants a token");
        let why: String = why.chars().take(300).collect();
        bail!("the MLflow server refused `{path}` ({}): {why}", status.as_u16());
    }
    value.with_context(|| format!("the answer to `{path}` is no JSON: is this an MLflow server?"))
}

fn authorization() -> Option<String> {
    let variable = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    // As in the official client, a name goes before a token.
    match (variable(USERNAME), variable(PASSWORD), variable(TOKEN)) {
        (Some(name), password, _) => {
            Some(format!("Basic {}", base64(format!("{name}:{}", password.unwrap_or_default()).as_bytes())))
        }
        (None, _, Some(token)) => Some(format!("Bearer {token}")),
        (None, _, None) => None,
    }
}

fn is_this_machine(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// Base64 of RFC 4648, with `=` at the end.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let quad = |three: &[u8]| {
        let at = |place: usize| u32::from(three.get(place).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        let letter = move |place: usize| match place <= three.len() {
            true => char::from(LETTERS[(bits >> (18 - 6 * place) & 63) as usize]),
            false => '=',
        };
        (0..4).map(letter).collect::<String>()
    };
    bytes.chunks(3).map(quad).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 4648, section 10.
    #[test]
    fn base64_is_that_of_the_standard() {
        let encoded = ["", "f", "fo", "foo", "foob", "fooba", "foobar"].map(|text| base64(text.as_bytes()));
        assert_eq!(encoded, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"]);
    }

    #[test]
    fn addresses_that_cannot_or_must_not_be_spoken_to_are_refused() {
        for (uri, word) in [("https://x", "TLS"), ("http://a:b@x", "password"), ("nonsense", "http://"), ("", "URI")] {
            let told = Client::new(uri).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(told.contains(word), "{uri}: {told}");
        }
        assert!(is_this_machine("127.0.0.1") && is_this_machine("[::1]") && is_this_machine("localhost"));
        assert!(!is_this_machine("10.0.0.1") && !is_this_machine("localhost.example.org"));
    }
}
