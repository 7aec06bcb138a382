//! A bucket of S3 as a remote, over plain requests that are signed one by one. Unaware of what objects mean, and of
//! what comes after a fault.

use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::path::Path;
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use ring::digest;
use ureq::http::Response;
use ureq::{Agent, Body, SendBody};

use crate::remote::answer::{age_by_header, age_of, field, rows, time_of};
use crate::remote::credentials;
use crate::remote::sign::{self, Credentials, encoded, hex, sha256};
use crate::remote::{Content, Existing, Fault, INTERRUPTED, Listed, Meter, Reading, Seen};

/// How long a connection may take.
const CONNECTING: Duration = Duration::from_secs(2);

/// How long a server may be silent.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a server may be silent in the midst of what is large, and after it: a disk that is busy takes seconds.
const TRANSFER_PATIENCE: Duration = Duration::from_secs(30);

/// How long a server may take to put the parts of an object together, or to copy one.
const LONG_PATIENCE: Duration = Duration::from_secs(120);

/// So long after an object was read it is believed that others could be read if they were there.
const BELIEVED: Duration = Duration::from_secs(2);

/// Bytes that are read of a file at a time.
const BUFFER: usize = 1 << 18;

/// A bucket, and a prefix within it.
pub struct Bucket {
    /// Made when it is first needed: to read whom the system believes takes 10 ms.
    agent: OnceLock<Agent>,
    /// `http://` or `https://`.
    scheme: String,
    pub(super) host: String,
    /// Before the key in a path: `/BUCKET/` or `/`.
    root: String,
    pub(super) name: String,
    prefix: String,
    region: String,
    /// Who asks; found anew when the server does not believe it any more.
    credentials: Mutex<Option<Credentials>>,
    /// When an object was last read.
    read: Mutex<Option<Instant>>,
}

/// Where a bucket is.
pub struct Address<'a> {
    /// `BUCKET/PREFIX`.
    pub place: &'a str,
    /// The server, where it is not Amazon's.
    pub endpoint: Option<&'a str>,
    /// The region.
    pub region: &'a str,
    /// Whether the bucket is part of the path.
    pub path_style: bool,
}

/// What goes along with a request.
#[derive(Clone, Copy)]
pub(super) enum Payload<'a> {
    Bytes(&'a [u8]),
    Part(&'a Path, u64, u64, &'a Meter),
}

/// A request, but for what all have in common.
pub(super) struct Asked<'a> {
    pub method: &'a str,
    /// The object's key; empty for the bucket.
    pub key: &'a str,
    pub query: &'a [(&'a str, String)],
    pub headers: &'a [(&'a str, String)],
    pub payload: Option<Payload<'a>>,
    pub patience: Duration,
}

impl<'a> Asked<'a> {
    pub(super) fn new(method: &'a str, key: &'a str) -> Self {
        Self { method, key, query: &[], headers: &[], payload: None, patience: PATIENCE }
    }

    pub(super) fn slowly(self) -> Self {
        Self { patience: LONG_PATIENCE, ..self }
    }

    fn with_a_transfer(self) -> Self {
        Self { patience: TRANSFER_PATIENCE, ..self }
    }
}

impl std::fmt::Debug for Bucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bucket({} at {})", self.name, self.host)
    }
}

impl Bucket {
    /// A client of a bucket; nothing is asked yet.
    pub fn new(address: &Address<'_>, credentials: Option<Credentials>) -> Self {
        let (name, prefix) = address.place.split_once('/').unwrap_or((address.place, ""));
        let amazon = format!("https://s3.{}.amazonaws.com", address.region);
        let endpoint = address.endpoint.unwrap_or(&amazon);
        let (scheme, host) = endpoint.split_once("://").unwrap_or(("https", endpoint));
        let default_port = if scheme == "https" { ":443" } else { ":80" };
        let host = host.trim_end_matches('/').trim_end_matches(default_port);
        let (host, root) = match address.path_style {
            true => (host.to_owned(), format!("/{name}/")),
            false => (format!("{name}.{host}"), "/".to_owned()),
        };
        let (scheme, region) = (format!("{scheme}://"), address.region.to_owned());
        Self {
            agent: OnceLock::new(),
            scheme,
            host,
            root,
            name: name.into(),
            prefix: prefix.into(),
            region,
            credentials: Mutex::new(credentials),
            read: Mutex::new(None),
        }
    }

    fn agent(&self) -> &Agent {
        self.agent.get_or_init(|| self.new_agent())
    }

    fn new_agent(&self) -> Agent {
        let config = Agent::config_builder().http_status_as_error(false).max_redirects(0);
        // A look-up that may be given up takes a thread each time; an address needs none.
        let is_address = self.host.parse::<SocketAddr>().is_ok() || self.host.parse::<IpAddr>().is_ok();
        let config = config.timeout_resolve((!is_address).then_some(CONNECTING)).timeout_connect(Some(CONNECTING));
        let config = config.max_idle_connections(64).max_idle_connections_per_host(64);
        #[cfg(feature = "tls")]
        let config = if self.scheme == "https://" { config.tls_config(believing_the_system()) } else { config };
        config.input_buffer_size(BUFFER).output_buffer_size(BUFFER).build().new_agent()
    }

    pub(super) fn key(&self, name: &str) -> String {
        if self.prefix.is_empty() { name.to_owned() } else { format!("{}/{name}", self.prefix) }
    }

    /// Who asks now.
    pub(super) fn credentials(&self) -> Option<Credentials> {
        self.credentials.lock().expect("nothing panics with it").clone()
    }

    /// Sends a request and returns the answer, whatever its status.
    pub(super) fn send(&self, asked: &Asked<'_>) -> Result<Response<Body>, Fault> {
        let used = self.credentials();
        let answer = self.send_as(used.as_ref(), asked)?;
        // A key of a session ends in the midst of a long run, and servers say so in several ways.
        match answer.status().as_u16() {
            400 | 401 | 403 if self.is_renewed(used.as_ref()) => self.send_as(self.credentials().as_ref(), asked),
            _ => Ok(answer),
        }
    }

    fn note_read(&self) {
        *self.read.lock().expect("nothing panics with it") = Some(Instant::now());
    }

    /// Whether an object was read so lately that its reader is still believed.
    pub(super) fn has_read_just_now(&self) -> bool {
        self.read.lock().expect("nothing panics with it").is_some_and(|read| read.elapsed() < BELIEVED)
    }

    /// Whether there are other credentials by now than those that were used.
    fn is_renewed(&self, used: Option<&Credentials>) -> bool {
        let mut known = self.credentials.lock().expect("nothing panics with it");
        // Another thread may have found them already.
        if used.is_some() && known.as_ref() == used {
            *known = credentials::find_again().or(known.take());
        }
        known.as_ref() != used
    }

    fn send_as(&self, who: Option<&Credentials>, asked: &Asked<'_>) -> Result<Response<Body>, Fault> {
        let hash = match asked.payload {
            _ if self.scheme == "https://" => sign::UNSIGNED.to_owned(),
            None => sha256(b""),
            Some(Payload::Bytes(bytes)) => sha256(bytes),
            Some(Payload::Part(path, from, bytes, _)) => hash_of(path, from, bytes).map_err(|error| gone(&error))?,
        };
        let path = encoded(&format!("{}{}", self.root, asked.key), true);
        let query = sign::query(asked.query);
        let mark = if query.is_empty() { "" } else { "?" };
        let address = format!("{}{}{path}{mark}{query}", self.scheme, self.host);
        let mut request = ureq::http::Request::builder().method(asked.method).uri(address);
        for (name, value) in self.headers(who, asked, &path, &hash).iter().filter(|(name, _)| name != "host") {
            request = request.header(name, value);
        }
        match asked.payload {
            None => self.answer(request.body(()), asked.patience),
            Some(Payload::Bytes(bytes)) => self.answer(request.body(bytes), asked.patience),
            Some(Payload::Part(path, from, bytes, meter)) => {
                let mut part = Metered { part: open(path, from, bytes).map_err(|error| gone(&error))?, meter };
                let request = request.header("content-length", bytes.to_string());
                let answer = self.answer(request.body(SendBody::from_reader(&mut part)), asked.patience);
                answer.map_err(|fault| if meter.is_ended() { Fault::Passing(INTERRUPTED.into()) } else { fault })
            }
        }
    }

    fn answer<B: ureq::AsSendBody>(
        &self,
        request: Result<ureq::http::Request<B>, ureq::http::Error>,
        patience: Duration,
    ) -> Result<Response<Body>, Fault> {
        let request = request.map_err(|error| Fault::Refused(error.to_string()))?;
        let request = self.agent().configure_request(request).timeout_recv_response(Some(patience));
        let request = request.timeout_per_read(Some(patience)).timeout_per_write(Some(patience));
        self.agent().run(request.build()).map_err(|error| self.fault(&error))
    }

    /// The headers of a request, and the signature over them.
    fn headers(&self, who: Option<&Credentials>, asked: &Asked<'_>, path: &str, hash: &str) -> Vec<(String, String)> {
        let time = Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
        let mut headers = vec![
            ("host".to_owned(), self.host.clone()),
            ("x-amz-content-sha256".to_owned(), hash.to_owned()),
            ("x-amz-date".to_owned(), time.clone()),
        ];
        headers.extend(asked.headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        let Some(credentials) = who else { return headers };
        headers.extend(credentials.token.clone().map(|token| ("x-amz-security-token".to_owned(), token)));
        let request = sign::Request {
            method: asked.method,
            path,
            query: asked.query,
            headers: &headers,
            payload: hash,
            time: &time,
            region: &self.region,
        };
        headers.push(("authorization".to_owned(), sign::authorization(&request, credentials)));
        headers
    }

    /// Opens an object from some byte on; a server that knows no ranges begins at the start.
    pub fn get(&self, name: &str, from: u64) -> Result<Option<Reading>, Fault> {
        self.open(name, from, (from > 0).then(|| format!("bytes={from}-")), TRANSFER_PATIENCE)
    }

    /// Opens a small object, for which nobody waits long.
    pub fn get_small(&self, name: &str) -> Result<Option<Reading>, Fault> {
        self.open(name, 0, None, PATIENCE)
    }

    /// Opens a range of an object, or the whole of it where the server knows no ranges.
    pub fn get_range(&self, name: &str, range: Range<u64>) -> Result<Option<Reading>, Fault> {
        self.open(name, range.start, Some(format!("bytes={}-{}", range.start, range.end - 1)), TRANSFER_PATIENCE)
    }

    fn open(&self, name: &str, from: u64, range: Option<String>, patience: Duration) -> Result<Option<Reading>, Fault> {
        let range: Vec<_> = range.into_iter().map(|range| ("range", range)).collect();
        let key = self.key(name);
        let asked = Asked { headers: &range, patience, ..Asked::new("GET", &key) };
        let answer = self.send(&asked)?;
        match answer.status().as_u16() {
            200 | 206 => {
                self.note_read();
                let from = if answer.status() == 206 { from } else { 0 };
                let body = answer.into_body().into_with_config().limit(u64::MAX).reader();
                Ok(Some(Reading { from, body: Box::new(body) }))
            }
            // What is there is not longer than what was read before.
            416 => self.get(name, 0),
            404 => self.absent(answer),
            403 => self.denied(answer),
            _ => Err(self.status_fault(answer)),
        }
    }

    /// What is told of an object.
    pub fn look(&self, name: &str) -> Result<Option<Seen>, Fault> {
        let answer = self.send(&Asked::new("HEAD", &self.key(name)))?;
        match answer.status().as_u16() {
            404 => return Ok(None),
            403 => return self.denied(answer),
            200 => self.note_read(),
            _ => return Err(self.status_fault(answer)),
        }
        let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
        let bytes = header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
        Ok(Some(Seen { bytes, age: age_by_header(&answer) }))
    }

    /// Puts an object; whether one that was there was left.
    pub fn put(&self, name: &str, content: Content<'_>, existing: Existing) -> Result<bool, Fault> {
        let key = self.key(name);
        let payload = match content {
            Content::Bytes(bytes) => Payload::Bytes(bytes),
            Content::File { path, bytes, meter } if bytes >= self.large() => {
                return self.put_in_parts(&key, path, bytes, meter).map(|()| false);
            }
            Content::File { path, bytes, meter } => Payload::Part(path, 0, bytes, meter),
        };
        let condition = [("if-none-match", "*".to_owned())];
        let is_conditional = existing == Existing::Keep;
        let asked = Asked { payload: Some(payload), ..Asked::new("PUT", &key) };
        let asked = if let Payload::Part(..) = payload { asked.with_a_transfer() } else { asked };
        let answer = self.send(&Asked { headers: &condition[..usize::from(is_conditional)], ..asked })?;
        match answer.status().as_u16() {
            412 if is_conditional => Ok(true),
            400 | 501 if is_conditional => self.put(name, content, Existing::Replace),
            _ => self.text(answer).map(|_| false),
        }
    }

    /// Makes an object young again by a copy onto itself; false where the server cannot.
    pub fn touch(&self, name: &str) -> Result<bool, Fault> {
        let key = self.key(name);
        let source = encoded(&format!("/{}/{key}", self.name), true);
        let headers = [("x-amz-copy-source", source), ("x-amz-metadata-directive", "REPLACE".to_owned())];
        let payload = Some(Payload::Bytes(&[]));
        let answer = self.send(&Asked { headers: &headers, payload, ..Asked::new("PUT", &key) }.slowly())?;
        Ok(self.text(answer).is_ok())
    }

    /// Every object below a prefix.
    pub fn list(&self, prefix: &str) -> Result<Vec<Listed>, Fault> {
        self.list_few(prefix, usize::MAX).map(Option::unwrap_or_default)
    }

    /// Every object below a prefix; none where there are more than this.
    pub fn list_few(&self, prefix: &str, most: usize) -> Result<Option<Vec<Listed>>, Fault> {
        let (mut listed, mut next) = (Vec::new(), None::<String>);
        loop {
            let mut query = vec![("list-type", "2".to_owned()), ("prefix", self.key(prefix))];
            query.extend(next.take().map(|token| ("continuation-token", token)));
            let answer = self.send(&Asked { query: &query, ..Asked::new("GET", "") }.slowly())?;
            let now = time_of(&answer);
            let text = self.text(answer)?;
            let own = if self.prefix.is_empty() { 0 } else { self.prefix.len() + 1 };
            for row in rows(&text, "Contents") {
                let (Some(key), Some(bytes)) = (field(row, "Key"), field(row, "Size")) else { continue };
                let Some(name) = key.get(own..).map(str::to_owned) else { continue };
                listed.push(Listed {
                    name,
                    seen: Seen { bytes: bytes.parse().unwrap_or(0), age: age_of(row, "LastModified", now) },
                });
            }
            next = field(&text, "NextContinuationToken");
            match (field(&text, "IsTruncated").as_deref(), &next) {
                _ if listed.len() > most => return Ok(None),
                (Some("true"), Some(_)) => {}
                // Whoever frees what is not listed must not take a part for the whole.
                (Some("true"), None) => return Err(Fault::Refused(format!("{} lists but a part", self.host))),
                _ => return Ok(Some(listed)),
            }
        }
    }

    /// Removes an object; one that is gone is no fault.
    pub fn delete(&self, name: &str) -> Result<(), Fault> {
        let answer = self.send(&Asked::new("DELETE", &self.key(name)))?;
        if answer.status() == 404 { Ok(()) } else { self.text(answer).map(drop) }
    }
}

/// TLS that believes the authorities that this system believes, an institute's own among them.
#[cfg(feature = "tls")]
fn believing_the_system() -> ureq::tls::TlsConfig {
    // Once a process; a second time changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let known = rustls_native_certs::load_native_certs().certs;
    let known = known.iter().map(|certificate| ureq::tls::Certificate::from_der(certificate).to_owned());
    ureq::tls::TlsConfig::builder().root_certs(ureq::tls::RootCerts::from(known)).build()
}

/// A part of a file that tells how far it was sent.
struct Metered<'a> {
    part: io::Take<File>,
    meter: &'a Meter,
}

impl Read for Metered<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.meter.is_ended() {
            return Err(io::Error::other(INTERRUPTED));
        }
        let read = self.part.read(buffer)?;
        self.meter.add(read as u64);
        Ok(read)
    }
}

fn open(path: &Path, from: u64, bytes: u64) -> io::Result<io::Take<File>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(from))?;
    Ok(file.take(bytes))
}

fn hash_of(path: &Path, from: u64, bytes: u64) -> io::Result<String> {
    let (mut part, mut hasher) = (open(path, from, bytes)?, digest::Context::new(&digest::SHA256));
    let mut buffer = vec![0; BUFFER];
    loop {
        match part.read(&mut buffer)? {
            0 => return Ok(hex(hasher.finish().as_ref())),
            read => hasher.update(&buffer[..read]),
        }
    }
}

/// What was to be sent cannot be read here.
fn gone(error: &io::Error) -> Fault {
    Fault::Refused(format!("what was to be sent cannot be read: {error}"))
}
