//! Large objects of S3 in parts, side by side, and what is left of uploads that were never finished. Unaware of what
//! objects mean.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use crate::remote::s3::{Asked, Bucket, Payload, age_of, field, rows};
use crate::remote::{Fault, Meter, side_by_side};

/// The size of a part; larger where an object would have too many.
const PART: u64 = 16 << 20;

/// The most parts of an object are 10,000.
const MOST_PARTS: u64 = 9_000;

/// Parts that are sent at once.
const AT_ONCE: usize = 4;

/// A part as a server names it, and its size.
type Sent = BTreeMap<u64, (String, u64)>;

impl Bucket {
    /// Objects of this size and larger go in parts.
    pub(super) fn large(&self) -> u64 {
        2 * PART
    }

    /// Puts an object in parts; those that an earlier try got there are not sent again.
    pub(super) fn put_in_parts(&self, key: &str, path: &Path, bytes: u64, meter: &Meter) -> Result<(), Fault> {
        let size = PART.max(bytes.div_ceil(MOST_PARTS));
        let length = |number: u64| size.min(bytes - (number - 1) * size);
        let (upload, there) = match self.begun(key) {
            Some(begun) => begun,
            None => (self.begin(key)?, Sent::new()),
        };
        let numbers: Vec<u64> = (1..=bytes.div_ceil(size)).collect();
        let sent = side_by_side(&numbers, AT_ONCE, |number| {
            if let Some((tag, _)) = there.get(number).filter(|(_, known)| *known == length(*number)) {
                meter.add(length(*number));
                return Ok(tag.clone());
            }
            let payload = Some(Payload::Part(path, (number - 1) * size, length(*number), meter));
            let query = [("partNumber", number.to_string()), ("uploadId", upload.clone())];
            let answer = self.send(&Asked { query: &query, payload, ..Asked::new("PUT", key) }.slowly())?;
            let tag = answer.headers().get("etag").and_then(|tag| tag.to_str().ok()).unwrap_or_default().to_owned();
            self.text(answer).map(|_| tag)
        });
        let tags = sent.into_iter().collect::<Result<Vec<_>, Fault>>()?;
        let row = |(number, tag): (&u64, &String)| {
            format!("<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>")
        };
        let rows: String = numbers.iter().zip(&tags).map(row).collect();
        let body = format!("<CompleteMultipartUpload>{rows}</CompleteMultipartUpload>");
        let (query, payload) = ([("uploadId", upload)], Some(Payload::Bytes(body.as_bytes())));
        let answer = self.send(&Asked { query: &query, payload, ..Asked::new("POST", key) }.slowly())?;
        self.text(answer).map(drop)
    }

    fn begin(&self, key: &str) -> Result<String, Fault> {
        let query = [("uploads", String::new())];
        let answer =
            self.send(&Asked { query: &query, payload: Some(Payload::Bytes(&[])), ..Asked::new("POST", key) })?;
        let text = self.text(answer)?;
        field(&text, "UploadId").ok_or_else(|| Fault::Refused("the server began no upload in parts".into()))
    }

    /// An upload of an object that was begun before, with the parts that are there. A server that does not tell has none.
    fn begun(&self, key: &str) -> Option<(String, Sent)> {
        let (_, upload, _) = self.uploads(key).ok()?.into_iter().find(|(other, ..)| other == key)?;
        let (mut sent, mut after) = (Sent::new(), String::from("0"));
        loop {
            let query = [("uploadId", upload.clone()), ("part-number-marker", after.clone())];
            let text = self.text(self.send(&Asked { query: &query, ..Asked::new("GET", key) }).ok()?).ok()?;
            for row in rows(&text, "Part") {
                let number = field(row, "PartNumber")?.parse().ok()?;
                sent.insert(number, (field(row, "ETag")?, field(row, "Size")?.parse().ok()?));
            }
            let next = field(&text, "NextPartNumberMarker").filter(|next| *next != after);
            match next.filter(|_| field(&text, "IsTruncated").as_deref() == Some("true")) {
                Some(next) => after = next,
                None => return Some((upload, sent)),
            }
        }
    }

    /// Uploads that were begun and not finished below a prefix: key, id and age.
    fn uploads(&self, prefix: &str) -> Result<Vec<(String, String, Duration)>, Fault> {
        let query = [("uploads", String::new()), ("prefix", prefix.to_owned())];
        let text = self.text(self.send(&Asked { query: &query, ..Asked::new("GET", "") }.slowly())?)?;
        let upload = |row: &&str| Some((field(row, "Key")?, field(row, "UploadId")?, age_of(row, "Initiated")));
        Ok(rows(&text, "Upload").iter().filter_map(upload).collect())
    }

    /// Ends uploads that were begun longer ago than some age; how many.
    pub fn give_up_unfinished(&self, age: Duration, only_count: bool) -> Result<usize, Fault> {
        let old: Vec<_> = self.uploads(&self.key(""))?.into_iter().filter(|(.., begun)| *begun >= age).collect();
        for (key, upload, _) in old.iter().filter(|_| !only_count) {
            let query = [("uploadId", upload.clone())];
            let answer = self.send(&Asked { query: &query, ..Asked::new("DELETE", key) })?;
            if answer.status() != 404 {
                self.text(answer)?;
            }
        }
        Ok(old.len())
    }
}
