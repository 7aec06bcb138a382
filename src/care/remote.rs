//! Frees what a remote holds and no result reaches. Unaware of stores.
//!
//! Where results are shared, others may keep what is theirs, in a bucket above all. So nothing goes but what has a name
//! that a pacer gives, to the last digit, and nothing at all where no pacer has written its mark.
//!
//! Nobody can be kept from putting something there meanwhile. So only what has been there for the time of grace goes:
//! who puts a result makes blobs that were there before young again first. The list of blobs is made before the
//! results are read, so that a blob that comes with a new result is not on it.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::cache::afar::{blob_name, checked, result_name};
use crate::cache::{RESULT_BYTES, is_newer};
use crate::cluster::mail::is_letter;
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
    pub doomed: Vec<Doomed>,
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
    /// What others than pacer put beside all that, by its names; it stays.
    pub foreign: usize,
}

/// A result that goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doomed {
    /// Its key.
    pub key: Digest,
    /// Its kind; none where it is damaged.
    pub kind: Option<String>,
    /// Bytes of its artifacts, whether or not others need them too.
    pub bytes: u64,
    /// How long ago it was put there.
    pub age: Duration,
}

/// A result of the list.
struct Named {
    key: Digest,
    listed: Listed,
}

/// How a result stands.
enum Standing {
    /// It stays, and so do these blobs.
    Stays(Vec<String>),
    Goes(Doomed),
}

/// What a remote holds.
struct Survey {
    blobs: Vec<Listed>,
    results: Vec<Named>,
    /// Of the results, in their order.
    standings: Vec<Standing>,
    letters: Vec<Listed>,
    foreign: usize,
}

/// Frees what no result reaches.
pub fn collect(remote: &Remote, policy: Policy) -> Result<Freed> {
    let survey = survey(remote, policy).context("nothing was freed")?;
    let mut freed = Freed { foreign: survey.foreign, ..Freed::default() };
    let (mut named, mut doomed) = (BTreeSet::new(), Vec::new());
    for (result, standing) in survey.results.iter().zip(survey.standings) {
        match standing {
            Standing::Stays(blobs) => {
                named.extend(blobs);
                freed.kept += 1;
            }
            Standing::Goes(told) => {
                freed.damaged += usize::from(told.kind.is_none());
                freed.doomed.push(told);
                doomed.push(&result.listed);
            }
        }
    }
    let (kept, loose): (Vec<_>, Vec<_>) = survey.blobs.iter().partition(|blob| named.contains(&blob.name));
    let (old, young): (Vec<_>, Vec<_>) = loose.into_iter().partition(|blob| blob.seen.age >= policy.grace);
    let letters = unread(&survey.letters, policy.grace);
    (freed.blobs, freed.young, freed.letters) = (old.len(), young.len(), letters.len());
    freed.kept_bytes = kept.iter().chain(&young).map(|blob| blob.seen.bytes).sum();
    freed.bytes = doomed.iter().chain(&old).map(|listed| listed.seen.bytes).sum();
    if !policy.dry_run {
        // The results first, so that none names a blob that is gone. A good one may have taken the place of one that was
        // damaged: it is as young as any other.
        [doomed, old, letters].iter().try_for_each(|listed| remove(remote, listed, policy.grace))?;
    }
    let is_own = |name: &str| is_blob(name) || key_of(name).is_some() || is_letter(name);
    let unfinished = remote.give_up_unfinished(policy.grace, policy.dry_run, &is_own)?;
    freed.unfinished = unfinished.given_up;
    freed.foreign += unfinished.foreign;
    Ok(freed)
}

/// Looks at all that a remote holds, the blobs first.
fn survey(remote: &Remote, policy: Policy) -> Result<Survey> {
    remote.require_format()?;
    let mut foreign = 0;
    let mut own = |prefix, is_own: fn(&str) -> bool| -> Result<Vec<Listed>> {
        let (own, others): (Vec<_>, Vec<_>) = remote.list(prefix)?.into_iter().partition(|it| is_own(&it.name));
        foreign += others.len();
        Ok(own)
    };
    let blobs = own("objects/", is_blob)?;
    let results = own("results/", |name| key_of(name).is_some())?.into_iter();
    let results: Vec<_> = results.filter_map(|listed| Some(Named { key: key_of(&listed.name)?, listed })).collect();
    let letters = own("cluster/", is_letter)?;
    let standings = side_by_side(&results, READERS, |result| standing(remote, result, policy));
    let standings = standings.into_iter().collect::<Result<_>>()?;
    Ok(Survey { blobs, results, standings, letters, foreign })
}

/// Whether a name is that of a blob.
fn is_blob(name: &str) -> bool {
    let digest = name.strip_prefix("objects/").and_then(|digest| digest.replacen('/', "", 1).parse().ok());
    digest.is_some_and(|digest| blob_name(&digest) == name)
}

/// The key of the result that has a name.
fn key_of(name: &str) -> Option<Digest> {
    let key = name.rsplit('/').next()?.strip_suffix(".json")?.parse().ok()?;
    (result_name(&key) == name).then_some(key)
}

/// All letters of sessions in which nobody has written within the time of grace.
fn unread(letters: &[Listed], grace: Duration) -> Vec<&Listed> {
    let session = |listed: &Listed| listed.name.split('/').nth(1).unwrap_or_default().to_owned();
    let alive: BTreeSet<String> = letters.iter().filter(|it| it.seen.age < grace).map(session).collect();
    letters.iter().filter(|listed| !alive.contains(&session(listed))).collect()
}

fn standing(remote: &Remote, Named { key, listed }: &Named, policy: Policy) -> Result<Standing> {
    let (name, age) = (&listed.name, listed.seen.age);
    let Some(bytes) = remote.read(name, RESULT_BYTES)? else {
        // Another collection was faster.
        return Ok(Standing::Stays(Vec::new()));
    };
    if is_newer(&bytes) {
        bail!("a newer pacer shares its results there, such as `{name}`, and this one cannot know what they need");
    }
    let doomed = |kind, bytes| Standing::Goes(Doomed { key: *key, kind, bytes, age });
    Ok(match checked(&bytes, key) {
        // Somebody may be about to put it right.
        Err(_) if age < policy.grace => Standing::Stays(Vec::new()),
        Err(_) => doomed(None, listed.seen.bytes),
        Ok(result) if age >= policy.grace && policy.older_than.is_some_and(|limit| age > limit) => {
            let kind = result.record["kind"].as_str().unwrap_or("unknown").to_owned();
            doomed(Some(kind), result.artifacts.iter().map(|artifact| artifact.bytes).sum())
        }
        Ok(result) => Standing::Stays(result.artifacts.iter().map(|it| blob_name(&it.digest)).collect()),
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
    fn names_that_are_only_like_those_of_pacer_are_not_its_own() {
        let digest = Digest::of(b"1");
        let (hex, upper) = (digest.hex(), digest.hex().to_uppercase());
        let (first, rest) = (&hex[..2], &hex[2..]);
        assert!(is_blob(&blob_name(&digest)) && key_of(&result_name(&digest)) == Some(digest));
        for name in [hex.clone(), format!("{first}/{hex}"), format!("{first}/{rest}.png"), "ab/loose".into()] {
            assert!(!is_blob(&format!("objects/{name}")), "{name}");
        }
        assert!(!is_blob(&format!("objects/{}/{}", &upper[..2], &upper[2..])) && !is_blob(&format!("{first}/{rest}")));
        for name in [format!("{hex}.json"), format!("{first}/{hex}"), format!("{first}/{rest}.json"), "a.csv".into()] {
            assert!(key_of(&format!("results/{name}")).is_none(), "{name}");
        }
        assert!(
            key_of(&format!("results/00/{hex}.json")).is_none() && key_of(&format!("x/results/{hex}.json")).is_none()
        );
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
