//! Signs requests as S3 wants them (AWS Signature Version 4, in a header, so that no address holds a signature).
//! Unaware of connections.

use std::fmt;

use sha2::{Digest as _, Sha256};

/// The hash of a body that is not signed, for a line that is encrypted.
pub const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// The block of SHA-256.
const BLOCK: usize = 64;

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
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex(&Sha256::digest(canonical.as_bytes())));
    let mut key = format!("AWS4{}", credentials.secret).into_bytes();
    for part in [day, region, "s3", "aws4_request"] {
        key = hmac(&key, part.as_bytes()).to_vec();
    }
    let signature = hex(&hmac(&key, text.as_bytes()));
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

/// HMAC of RFC 2104 with SHA-256.
fn hmac(key: &[u8], text: &[u8]) -> [u8; 32] {
    let mut block = [0_u8; BLOCK];
    match key.len() > BLOCK {
        true => block[..32].copy_from_slice(&Sha256::digest(key)),
        false => block[..key.len()].copy_from_slice(key),
    }
    let keyed = |pad: u8| block.map(|byte| byte ^ pad);
    let inner = Sha256::new().chain_update(keyed(0x36)).chain_update(text).finalize();
    Sha256::new().chain_update(keyed(0x5c)).chain_update(inner).finalize().into()
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231, test cases 2 and 6.
    #[test]
    fn hmac_is_that_of_the_standard() {
        let short = hex(&hmac(b"Jefe", b"what do ya want for nothing?"));
        assert_eq!(short, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        let long = hex(&hmac(&[0xaa; 131], b"Test Using Larger Than Block-Size Key - Hash Key First"));
        assert_eq!(long, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    }

    /// "GET Object" of Amazon's documentation of signatures in headers.
    #[test]
    fn a_request_is_signed_as_in_the_documentation() {
        let credentials = Credentials {
            id: "AKIAIOSFODNN7EXAMPLE".into(),
            secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
            token: None,
        };
        let payload = hex(&Sha256::digest(b""));
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
