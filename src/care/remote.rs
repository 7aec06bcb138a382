//! Frees what a remote holds and no result reaches. Unaware of stores.
//!
//! Nobody can be kept from putting something there meanwhile. So only what has been there for the time of grace goes:
//! who puts a result makes blobs that were there before young again first. The list of blobs is made before the
//! results are read, so that a blob that comes with a new result is not on it.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::cache::afar::{blob_name, checked};
use crate::cache::{RESULT_BYTES, is_newer};
use crate::digest::Digest;
use crate::remote::{Listed, Remote, side_by_side};

/// Results that are read at once.
const READERS: usize = 16;

/// What may go.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// What was put there within this time stays.
    pub grace: Duration,
    /// Results that were put there longer ago than this go.
    pub older_than: Option<Duration>,
    /// Only say what would go.
    pub dry_run: bool,
}

/// What went, or would go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Freed {
    /// Results.
    pub results: usize,
    /// Results among them that were damaged.
    pub damaged: usize,
    /// Blobs that no result that stays reaches.
    pub blobs: usize,
    /// Puts that were begun and not finished.
    pub unfinished: usize,
    /// What runs and nodes that do not see their store wrote to each other and nobody reads any more.
    pub letters: usize,
    /// Bytes of the results and the blobs.
    pub bytes: u64,
    /// Results that stay.
    pub kept: usize,
    /// Bytes of blobs that stay.
    pub kept_bytes: u64,
    /// Blobs that no result reaches, and which are too young to go.
    pub young: usize,
}

/// How a result stands.
enum Standing {
    Stays(Vec<String>),
    Old,
    Damaged,
}

/// Frees what no result reaches.
pub fn collect(remote: &Remote, policy: Policy) -> Result<Freed> {
    remote.check_format(false)?;
    let survey = || -> Result<_> {
        let (blobs, results) = (remote.list("objects/")?, remote.list("results/")?);
        let standings = side_by_side(&results, READERS, |listed| standing(remote, listed, policy));
        Ok((blobs, standings.into_iter().collect::<Result<Vec<_>>>()?, results))
    };
    let (blobs, standings, results) = survey().context("nothing was freed")?;
    let mut freed = Freed::default();
    let (mut named, mut doomed) = (BTreeSet::new(), Vec::new());
    for (listed, standing) in results.iter().zip(standings) {
        match standing {
            Standing::Stays(blobs) => {
                named.extend(blobs);
                freed.kept += 1;
                continue;
            }
            Standing::Old => {}
            Standing::Damaged => freed.damaged += 1,
        }
        freed.results += 1;
        doomed.push(listed);
    }
    // The results first, so that none names a blob that is gone.
    let (kept, loose): (Vec<_>, Vec<_>) = blobs.iter().partition(|blob| named.contains(&blob.name));
    let (old, young): (Vec<_>, Vec<_>) = loose.into_iter().partition(|blob| blob.seen.age >= policy.grace);
    (freed.blobs, freed.young) = (old.len(), young.len());
    freed.kept_bytes = kept.iter().chain(&young).map(|blob| blob.seen.bytes).sum();
    freed.bytes = doomed.iter().chain(&old).map(|listed| listed.seen.bytes).sum();
    if !policy.dry_run {
        // A good one may have taken the place of one that was damaged.
        remove(remote, &doomed, policy.grace)?;
        remove(remote, &old, policy.grace)?;
    }
    let letters = remote.list("cluster/")?;
    let letters = unread(&letters, policy.grace);
    freed.letters = letters.len();
    if !policy.dry_run {
        remove(remote, &letters, policy.grace)?;
    }
    freed.unfinished = remote.give_up_unfinished(policy.grace, policy.dry_run)?;
    Ok(freed)
}

/// All letters of sessions in which nobody has written within the time of grace.
fn unread(letters: &[Listed], grace: Duration) -> Vec<&Listed> {
    let session = |listed: &Listed| listed.name.split('/').nth(1).unwrap_or_default().to_owned();
    let alive: BTreeSet<String> = letters.iter().filter(|it| it.seen.age < grace).map(session).collect();
    letters.iter().filter(|listed| !alive.contains(&session(listed))).collect()
}

fn standing(remote: &Remote, listed: &Listed, policy: Policy) -> Result<Standing> {
    let name = &listed.name;
    let age = listed.seen.age;
    let stem = name.rsplit('/').next().and_then(|name| name.strip_suffix(".json"));
    let key = stem.and_then(|stem| stem.parse::<Digest>().ok());
    let bytes = remote.read(name, RESULT_BYTES)?;
    if bytes.as_deref().is_some_and(is_newer) {
        bail!("a newer pacer shares its results there, such as `{name}`, and this one cannot know what they need");
    }
    let result = match (key, &bytes) {
        // Another collection was faster.
        (_, None) => return Ok(Standing::Stays(Vec::new())),
        (Some(key), Some(bytes)) => checked(bytes, &key).ok(),
        (None, Some(_)) => None,
    };
    Ok(match result {
        // Somebody may be about to put it right.
        None if age < policy.grace => Standing::Stays(Vec::new()),
        None => Standing::Damaged,
        Some(_) if age >= policy.grace && policy.older_than.is_some_and(|limit| age > limit) => Standing::Old,
        Some(result) => Standing::Stays(result.artifacts.iter().map(|it| blob_name(&it.digest)).collect()),
    })
}

/// Removes objects that have not become younger than some age meanwhile.
fn remove(remote: &Remote, doomed: &[&Listed], grace: Duration) -> Result<()> {
    let removed = side_by_side(doomed, READERS, |listed| match remote.look(&listed.name)? {
        Some(seen) if seen.age >= grace => remote.delete(&listed.name),
        _ => Ok(()),
    });
    removed.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::sync::{Arc, Mutex};

    use jiff::Timestamp;

    use super::*;
    use crate::cache::afar::result_name;
    use crate::profile::RemoteSettings;
    use crate::remote::Seen;

    /// A bucket whose server gives to each request, by its first line, more headers and an answer; with the first
    /// lines so far.
    fn bucket(answer: impl Fn(&str) -> (String, String) + Send + 'static) -> (Remote, Arc<Mutex<Vec<String>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&asked);
        std::thread::spawn(move || {
            for mut client in listener.incoming().flatten() {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    client.read_exact(&mut byte).unwrap();
                    head.extend(byte);
                }
                let first = String::from_utf8_lossy(&head).lines().next().unwrap_or_default().to_owned();
                let ((headers, body), length) = (answer(&first), "content-length");
                noted.lock().unwrap().push(first);
                let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\n{length}: {}\r\n{headers}", body.len());
                client.write_all(format!("{head}\r\n{body}").as_bytes()).unwrap();
            }
        });
        let settings = RemoteSettings { url: "s3://lab/x".into(), endpoint: Some(endpoint), ..Default::default() };
        (Remote::open(&settings).unwrap(), asked)
    }

    #[test]
    fn a_result_that_takes_the_place_of_a_damaged_one_meanwhile_stays() {
        let name = result_name(&Digest::of(b"key"));
        let row = format!("<Key>x/{name}</Key><Size>2</Size><LastModified>2020-01-01T00:00:00.000Z</LastModified>");
        let listed = format!("<R><Contents>{row}</Contents></R>");
        let (remote, asked) = bucket(move |first| match first {
            _ if first.contains("prefix=x%2Fresults") => (String::new(), listed.clone()),
            _ if first.contains("FORMAT") => (String::new(), "1\n".into()),
            _ if first.contains("/results/") && first.starts_with("GET") => (String::new(), "{}".into()),
            // Since it was read.
            _ if first.starts_with("HEAD") => {
                let now = Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S GMT");
                (format!("last-modified: {now}\r\ndate: {now}\r\n"), String::new())
            }
            _ => (String::new(), "<R></R>".into()),
        });
        let policy = Policy { grace: Duration::from_secs(3600), older_than: None, dry_run: false };
        assert_eq!(collect(&remote, policy).unwrap().damaged, 1);
        let asked = asked.lock().unwrap();
        assert!(asked.iter().any(|line| line.starts_with("HEAD")), "{asked:?}");
        assert!(!asked.iter().any(|line| line.starts_with("DELETE")), "{asked:?}");
    }

    #[test]
    fn letters_of_a_session_stay_as_long_as_anybody_writes_there() {
        let letter = |name: &str, days: u64| {
            let age = Duration::from_secs(days * 86_400);
            Listed { name: name.to_owned(), seen: Seen { bytes: 1, age } }
        };
        let all = [letter("cluster/a/jobs/p/1", 9), letter("cluster/a/pilots/p", 0), letter("cluster/b/ends/p/1", 9)];
        let unread = unread(&all, Duration::from_secs(7 * 86_400));
        assert_eq!(unread.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["cluster/b/ends/p/1"]);
    }
}
