//! What the answers of S3 mean: their times, their lists, and why they are no successes. Unaware of what was asked for
//! and of what comes after a fault.

use std::io;
use std::time::Duration;

use jiff::Timestamp;
use ureq::http::Response;
use ureq::{Body, Timeout};

use crate::remote::s3::{Asked, Bucket};
use crate::remote::{Fault, format};

/// The largest answer that is no object.
const ANSWER_BYTES: u64 = 16 << 20;

impl Bucket {
    pub(super) fn fault(&self, error: &ureq::Error) -> Fault {
        let told = format!("{}: {error}", self.host);
        let refused = |error: &io::Error| {
            matches!(
                error.kind(),
                io::ErrorKind::ConnectionRefused
                    | io::ErrorKind::HostUnreachable
                    | io::ErrorKind::NetworkUnreachable
                    | io::ErrorKind::TimedOut
            )
        };
        match error {
            ureq::Error::Timeout(Timeout::Resolve | Timeout::Connect)
            | ureq::Error::HostNotFound
            | ureq::Error::ConnectionFailed => Fault::Unreachable(told),
            ureq::Error::Timeout(_) => Fault::Slow(told),
            ureq::Error::Io(error) if refused(error) => Fault::Unreachable(told),
            ureq::Error::Io(_) | ureq::Error::Protocol(_) | ureq::Error::BodyStalled => Fault::Passing(told),
            _ => Fault::Refused(told),
        }
    }

    /// What an answer that is no success means.
    pub(super) fn status_fault(&self, answer: Response<Body>) -> Fault {
        self.code_and_fault(answer).1
    }

    /// The code of an answer that is no success, and what it means.
    fn code_and_fault(&self, mut answer: Response<Body>) -> (String, Fault) {
        let (status, rest) = (answer.status().as_u16(), rest_of(&answer));
        let text = answer.body_mut().with_config().limit(ANSWER_BYTES).read_to_string().unwrap_or_default();
        let code = field(&text, "Code").unwrap_or_default();
        let message: String = field(&text, "Message").unwrap_or_default().chars().take(300).collect();
        let told = format!("{} answers {status} {code} {message}", self.host).trim_end().to_owned();
        let fault = match (status, code.as_str()) {
            (408 | 409 | 429 | 500..=599, _) | (_, "RequestTimeout" | "SlowDown" | "NoSuchUpload") => {
                rest.map_or_else(|| Fault::Passing(told.clone()), |rest| Fault::Busy(told.clone(), rest))
            }
            (404, "NoSuchBucket") => Fault::Refused(format!("there is no bucket `{}` at {}", self.name, self.host)),
            (401 | 403, _) if self.credentials().is_none() => Fault::Refused(format!(
                "{told}; no credentials were found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
            )),
            (301 | 307 | 308, _) => Fault::Refused(format!("{told}; is `region` right?")),
            _ => Fault::Refused(told),
        };
        (code, fault)
    }

    /// What it means that an object may not be read: Amazon says so of what is not there, rather than that it is not, to
    /// whoever may not list. It is not there if one that is always there can be read at this moment.
    pub(super) fn denied<T>(&self, answer: Response<Body>) -> Result<Option<T>, Fault> {
        // An answer to HEAD tells no code.
        let is_denial = |code: &str| code.is_empty() || code == "AccessDenied";
        let (code, fault) = self.code_and_fault(answer);
        if !is_denial(&code) {
            return Err(fault);
        }
        if self.has_read_just_now() {
            return Ok(None);
        }
        let sample = self.send(&Asked::new("GET", &self.key(format::NAME)))?;
        match sample.status().as_u16() {
            200 => return Ok(None),
            404 => return Err(fault),
            _ => {}
        }
        let (code, other) = self.code_and_fault(sample);
        match other {
            Fault::Refused(told) if is_denial(&code) && self.credentials().is_some() => {
                Err(Fault::Hidden(format!("{told}; without s3:ListBucket S3 answers so for what is not there, too")))
            }
            other => Err(other),
        }
    }

    /// The answer as text, where it is a success.
    pub(super) fn text(&self, mut answer: Response<Body>) -> Result<String, Fault> {
        if !answer.status().is_success() {
            return Err(self.status_fault(answer));
        }
        let text = answer.body_mut().with_config().limit(ANSWER_BYTES).read_to_string();
        let text = text.map_err(|error| self.fault(&error))?;
        // Some of the long requests answer before they know that they fail.
        match text.contains("<Error>") {
            true => Err(Fault::Passing(format!("{}: {}", self.host, field(&text, "Message").unwrap_or_default()))),
            false => Ok(text),
        }
    }

    pub(super) fn absent<T>(&self, mut answer: Response<Body>) -> Result<Option<T>, Fault> {
        let text = answer.body_mut().with_config().limit(ANSWER_BYTES).read_to_string().unwrap_or_default();
        match field(&text, "Code").as_deref() {
            Some("NoSuchBucket") => Err(Fault::Refused(format!("there is no bucket `{}` at {}", self.name, self.host))),
            _ => Ok(None),
        }
    }
}

/// The elements of a name in an answer. Those of S3 have no attributes, and none holds another of its name.
pub(super) fn rows<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    text.split(&open).skip(1).filter_map(|rest| rest.split_once(&close).map(|(row, _)| row)).collect()
}

/// The text of the first element of a name.
pub(super) fn field(text: &str, name: &str) -> Option<String> {
    let raw = rows(text, name).into_iter().next()?;
    let entities = [("&quot;", "\""), ("&#34;", "\""), ("&apos;", "'"), ("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")];
    Some(entities.iter().fold(raw.to_owned(), |text, (entity, plain)| text.replace(entity, plain)))
}

/// The server's time when it answered, so that no two clocks need agree; ours where it does not tell.
pub(super) fn time_of(answer: &Response<Body>) -> Timestamp {
    time_in(answer, "date").unwrap_or_else(Timestamp::now)
}

/// The time in a header of an answer.
fn time_in(answer: &Response<Body>, header: &str) -> Option<Timestamp> {
    Some(jiff::fmt::rfc2822::parse(answer.headers().get(header)?.to_str().ok()?).ok()?.timestamp())
}

/// How long a server wants not to be asked, in seconds or until a time (RFC 9110, section 10.2.3).
fn rest_of(answer: &Response<Body>) -> Option<Duration> {
    let told = answer.headers().get("retry-after")?.to_str().ok()?.trim();
    match told.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => Some(age(time_in(answer, "retry-after")?, time_of(answer))),
    }
}

/// How old what an answer tells of was when it was given.
pub(super) fn age_by_header(answer: &Response<Body>) -> Duration {
    time_in(answer, "last-modified").map_or(Duration::ZERO, |then| age(time_of(answer), then))
}

/// How old an entry of a list was at some time.
pub(super) fn age_of(row: &str, name: &str, now: Timestamp) -> Duration {
    let then = field(row, name).and_then(|text| text.parse::<Timestamp>().ok());
    then.map_or(Duration::ZERO, |then| age(now, then))
}

fn age(now: Timestamp, then: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(then)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_says_how_long_it_wants_to_rest_in_seconds_or_until_a_time() {
        let rest = |headers: &[(&str, &str)]| {
            let answer = headers.iter().fold(Response::builder(), |answer, (name, value)| answer.header(*name, *value));
            rest_of(&answer.body(Body::builder().data("")).unwrap()).map(|rest| rest.as_secs())
        };
        let date = ("date", "Fri, 27 Nov 2026 10:00:00 GMT");
        assert_eq!(rest(&[date, ("retry-after", "7")]), Some(7));
        assert_eq!(rest(&[date, ("retry-after", "Fri, 27 Nov 2026 10:01:30 GMT")]), Some(90));
        assert_eq!(rest(&[date, ("retry-after", "Fri, 27 Nov 2026 09:00:00 GMT")]), Some(0));
        assert_eq!([rest(&[date]), rest(&[("retry-after", "soon")])], [None, None]);
    }
}
