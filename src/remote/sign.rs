//! Signs requests as S3 wants them (AWS Signature Version 4, in a header, so that no address holds a signature).
//! Unaware of connections.

use std::fmt;

use ring::{digest, hmac};

/// The hash of a body that is not signed, for a line that is encrypted.
pub const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// Who asks. Its secrets are printed nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The name of the key.
    pub id: String,
    /// The secret.
    pub secret: String,
    /// The token of a session, where the key is of one.
    pub token: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(hidden)")
    }
}

/// What of a request is signed.
pub struct Request<'a> {
    /// GET, PUT, ….
    pub method: &'a str,
    /// The path, encoded.
    pub path: &'a str,
    /// The query, in any order, not encoded.
    pub query: &'a [(&'a str, String)],
    /// The headers that are signed, by lower-case names; `host` must be among them.
    pub headers: &'a [(String, String)],
    /// The SHA-256 of the body, or [`UNSIGNED`].
    pub payload: &'a str,
    /// `YYYYMMDDTHHMMSSZ`.
    pub time: &'a str,
    /// The region.
    pub region: &'a str,
}

/// The header `Authorization`.
pub fn authorization(request: &Request<'_>, credentials: &Credentials) -> String {
    let mut headers: Vec<_> = request.headers.iter().collect();
    headers.sort();
    let names = headers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(";");
    let lines: String = headers.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
    let Request { method, path, payload, time, region, .. } = request;
    let canonical = format!("{method}\n{path}\n{}\n{lines}\n{names}\n{payload}", query(request.query));
    let day = &time[..8];
    let scope = format!("{day}/{region}/s3/aws4_request");
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", sha256(canonical.as_bytes()));
    let mut key = format!("AWS4{}", credentials.secret).into_bytes();
    for part in [day, region, "s3", "aws4_request"] {
        key = keyed(&key, part.as_bytes()).as_ref().to_vec();
    }
    let signature = hex(keyed(&key, text.as_bytes()).as_ref());
    let id = &credentials.id;
    format!("AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}")
}

/// A query as it is sent: sorted and encoded.
pub fn query(pairs: &[(&str, String)]) -> String {
    let mut pairs: Vec<_> = pairs.iter().map(|(name, value)| (encoded(name, false), encoded(value, false))).collect();
    pairs.sort();
    pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

/// A text with all but letters, digits and `-._~` written as `%XX`; slashes stay in paths.
pub fn encoded(text: &str, is_path: bool) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || (is_path && byte == b'/');
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// HMAC with SHA-256.
fn keyed(key: &[u8], text: &[u8]) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text)
}

/// The SHA-256 of some bytes, as hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// "GET Object" of Amazon's documentation of signatures in headers.
    #[test]
    fn a_request_is_signed_as_in_the_documentation() {
        let credentials = Credentials {
            id: "AKIAIOSFODNN7EXAMPLE".into(),
            secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
            token: None,
        };
        let payload = sha256(b"");
        let headers = [
            ("host", "examplebucket.s3.amazonaws.com"),
            ("range", "bytes=0-9"),
            ("x-amz-content-sha256", payload.as_str()),
            ("x-amz-date", "20130524T000000Z"),
        ];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let (query, time, region) = (&[][..], "20130524T000000Z", "us-east-1");
        let request =
            Request { method: "GET", path: "/test.txt", query, headers: &headers, payload: &payload, time, region };
        let signed = authorization(&request, &credentials);
        let expected = "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41";
        assert!(signed.ends_with(expected), "{signed}");
        assert!(!format!("{credentials:?}").contains("wJalr"));
    }
}
