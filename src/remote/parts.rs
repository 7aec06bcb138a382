//! Large objects of S3 in parts, side by side, and what is left of uploads that were never finished. Unaware of what
//! objects mean.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use crate::remote::answer::{age_of, field, rows, time_of};
use crate::remote::s3::{Asked, Bucket, Payload};
use crate::remote::{Fault, Meter, side_by_side};

/// The size of a part; larger where an object would have too many.
const PART: u64 = 16 << 20;

/// The most parts of an object are 10,000.
const MOST_PARTS: u64 = 9_000;

/// Parts that are sent at once.
const AT_ONCE: usize = 4;

/// A part as a server names it, and its size.
type Sent = BTreeMap<u64, (String, u64)>;

/// Puts that were begun and never finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// Those that were given up.
    pub given_up: usize,
    /// Those of others than pacer, which stay.
    pub foreign: usize,
}

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
        let away = Mutex::new(None);
        let sent = side_by_side(&numbers, AT_ONCE, |number| {
            // Of many thousand parts not each has to find out that nobody is there.
            if let Some(fault) = away.lock().expect("nothing panics with it").clone() {
                return Err(fault);
            }
            if let Some((tag, _)) = there.get(number).filter(|(_, known)| *known == length(*number)) {
                meter.add(length(*number));
                return Ok(tag.clone());
            }
            let payload = Some(Payload::Part(path, (number - 1) * size, length(*number), meter));
            let query = [("partNumber", number.to_string()), ("uploadId", upload.clone())];
            let answer = self.send(&Asked { query: &query, payload, ..Asked::new("PUT", key) }.slowly());
            let tag = answer.and_then(|answer| {
                let tag = answer.headers().get("etag").and_then(|tag| tag.to_str().ok()).unwrap_or_default().to_owned();
                self.text(answer).map(|_| tag)
            });
            if let Err(fault @ (Fault::Unreachable(_) | Fault::Slow(_) | Fault::Busy(..))) = &tag {
                *away.lock().expect("nothing panics with it") = Some(fault.clone());
            }
            tag
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

    /// Uploads that were begun and not finished below a prefix: key, id and age. A server tells 1,000 at a time.
    fn uploads(&self, prefix: &str) -> Result<Vec<(String, String, Duration)>, Fault> {
        let (mut uploads, mut after) = (Vec::new(), None);
        loop {
            let mut query = vec![("uploads", String::new()), ("prefix", prefix.to_owned())];
            if let Some((key, id)) = after.clone() {
                query.extend([("key-marker", key), ("upload-id-marker", id)]);
            }
            let answer = self.send(&Asked { query: &query, ..Asked::new("GET", "") }.slowly())?;
            let now = time_of(&answer);
            let upload =
                |row: &&str| Some((field(row, "Key")?, field(row, "UploadId")?, age_of(row, "Initiated", now)));
            let text = self.text(answer)?;
            uploads.extend(rows(&text, "Upload").iter().filter_map(upload));
            let next = field(&text, "NextKeyMarker").zip(field(&text, "NextUploadIdMarker"));
            // A server that names the same place again would be asked for ever.
            let is_cut = field(&text, "IsTruncated").as_deref() == Some("true") && next != after;
            match next.filter(|_| is_cut) {
                Some(next) => after = Some(next),
                None => return Ok(uploads),
            }
        }
    }

    /// Ends uploads that were begun longer ago than some age, of objects whose names are one's own: others may use the
    /// bucket too.
    pub fn give_up_unfinished(
        &self,
        age: Duration,
        only_count: bool,
        is_own: &dyn Fn(&str) -> bool,
    ) -> Result<Unfinished, Fault> {
        let root = self.key("");
        let all = self.uploads(&root)?.into_iter();
        let (own, foreign): (Vec<_>, Vec<_>) = all.partition(|(key, ..)| key.strip_prefix(&root).is_some_and(is_own));
        let old: Vec<_> = own.iter().filter(|(.., begun)| *begun >= age).collect();
        for (key, upload, _) in old.iter().filter(|_| !only_count) {
            let query = [("uploadId", upload.clone())];
            let answer = self.send(&Asked { query: &query, ..Asked::new("DELETE", key) })?;
            if answer.status() != 404 {
                self.text(answer)?;
            }
        }
        Ok(Unfinished { given_up: old.len(), foreign: foreign.len() })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;
    use crate::remote::s3::Address;

    /// What the clock of the server shows, which is not ours.
    const DATE: &str = "Wed, 01 Jan 2020 00:01:00 GMT";

    /// A server that gives these answers one after another; it ends with the first lines of what it was asked.
    fn server(answers: Vec<String>) -> (u16, std::thread::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = move |answer: String| {
            let (mut client, _) = listener.accept().unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                client.read_exact(&mut byte).unwrap();
                asked.extend(byte);
            }
            let length = answer.len();
            let head = format!("HTTP/1.1 200 OK\r\ndate: {DATE}\r\nconnection: close\r\ncontent-length: {length}");
            write!(client, "{head}\r\n\r\n{answer}").unwrap();
            String::from_utf8_lossy(&asked).lines().next().unwrap_or_default().to_owned()
        };
        (port, std::thread::spawn(move || answers.into_iter().map(asked).collect()))
    }

    fn bucket(port: u16) -> Bucket {
        let endpoint = format!("http://127.0.0.1:{port}");
        let address = Address { place: "lab/x", endpoint: Some(&endpoint), region: "us-east-1", path_style: true };
        Bucket::new(&address, None)
    }

    #[test]
    fn ages_are_told_by_the_clock_of_the_server() {
        let object = "<R><Contents><Key>x/a</Key><LastModified>2020-01-01T00:00:20.000Z</LastModified>\
                      <Size>1</Size></Contents></R>";
        let upload = "<R><Upload><Key>x/a</Key><Initiated>2020-01-01T00:00:20.000Z</Initiated>\
                      <UploadId>i</UploadId></Upload></R>";
        let (port, _) = server([object, upload, upload].map(str::to_owned).to_vec());
        let (bucket, age) = (bucket(port), Duration::from_secs(40));
        assert_eq!(bucket.list("").unwrap()[0].seen.age, age);
        let given_up = |age| bucket.give_up_unfinished(age, true, &|_| true).map(|unfinished| unfinished.given_up);
        assert_eq!(given_up(age), Ok(1));
        assert_eq!(given_up(age + Duration::from_secs(1)), Ok(0));
    }

    #[test]
    fn who_is_there_and_silent_is_slow_and_who_is_not_there_cannot_be_reached() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let bucket = bucket(listener.local_addr().unwrap().port());
        let ask = || bucket.send(&Asked { patience: Duration::from_millis(50), ..Asked::new("GET", "x") });
        assert!(matches!(ask(), Err(Fault::Slow(_))));
        drop(listener);
        assert!(matches!(ask(), Err(Fault::Unreachable(_))));
    }

    #[test]
    fn a_list_that_does_not_go_on_where_it_is_cut_is_none() {
        let page = |rest: &str| format!("<R><Contents><Key>x/a</Key><Size>1</Size></Contents>{rest}</R>");
        let (cut, token) = ("<IsTruncated>true</IsTruncated>", "<NextContinuationToken>t</NextContinuationToken>");
        let (port, asked) = server(vec![page(&format!("{cut}{token}")), page("")]);
        assert_eq!(bucket(port).list("a/").map(|listed| listed.len()), Ok(2));
        assert!(asked.join().unwrap()[1].contains("continuation-token=t"));
        let (port, _) = server(vec![page(cut)]);
        assert!(matches!(bucket(port).list("a/"), Err(Fault::Refused(_))));
    }

    #[test]
    fn unfinished_uploads_beyond_the_first_thousand_are_seen_too() {
        let page = |id: &str, rest: &str| {
            let upload = "<Initiated>2020-01-01T00:00:00.000Z</Initiated>";
            format!("<R><Upload><Key>x/{id}</Key><UploadId>{id}</UploadId>{upload}</Upload>{rest}</R>")
        };
        let cut = "<NextKeyMarker>x/a</NextKeyMarker><NextUploadIdMarker>a</NextUploadIdMarker>\
                   <IsTruncated>true</IsTruncated>";
        let (port, asked) = server(vec![page("a", cut), page("b", "<IsTruncated>false</IsTruncated>")]);
        let given_up = bucket(port).give_up_unfinished(Duration::from_secs(1), true, &|_| true);
        assert_eq!(given_up, Ok(Unfinished { given_up: 2, foreign: 0 }));
        let asked = asked.join().unwrap();
        assert!(asked[1].contains("key-marker=x%2Fa&") && asked[1].contains("upload-id-marker=a&"), "{asked:?}");
    }

    #[test]
    fn uploads_of_other_programs_in_the_bucket_go_on() {
        let upload = |key: &str| {
            let begun = "<Initiated>2020-01-01T00:00:00.000Z</Initiated>";
            format!("<Upload><Key>{key}</Key><UploadId>of-{key}</UploadId>{begun}</Upload>")
        };
        let listed = format!("<R>{}{}</R>", upload("film.mp4"), upload("own"));
        let (port, asked) = server(vec![listed, String::new()]);
        let endpoint = format!("http://127.0.0.1:{port}");
        let address = Address { place: "lab", endpoint: Some(&endpoint), region: "us-east-1", path_style: true };
        let given_up = Bucket::new(&address, None).give_up_unfinished(Duration::ZERO, false, &|name| name == "own");
        assert_eq!(given_up, Ok(Unfinished { given_up: 1, foreign: 1 }));
        assert!(asked.join().unwrap()[1].starts_with("DELETE /lab/own?uploadId=of-own "));
    }
}
