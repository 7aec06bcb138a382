//! The profile: what belongs to a machine or to a project rather than to a pipeline, such as where results are
//! shared and which clusters there are. Knows TOML; unaware of what is done with the settings, and holds no secret.

mod executor;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::diagnostic::{Diagnostic, Place};
pub use crate::profile::executor::{Executors, Slurm};
use crate::spec::{self, Data, Entry, Node, Table};

/// The profile of a project, at its top.
pub const PROJECT_FILE: &str = "pacer.toml";

/// The keys of `[remote]`.
const REMOTE_KEYS: [&str; 5] = ["url", "endpoint", "region", "path_style", "push"];

/// The tables of a profile.
const TABLES: [&str; 2] = ["remote", "executor"];

/// What the profiles say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Profile {
    /// Where results are shared.
    pub remote: Option<RemoteSettings>,
    /// Clusters that stages can run on, by name.
    pub executors: Executors,
}

/// The table `[remote]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteSettings {
    /// A folder, or `s3://BUCKET/PREFIX`.
    pub url: String,
    /// The server of S3, `https://HOST`, where it is not that of Amazon.
    pub endpoint: Option<String>,
    /// The region of S3.
    pub region: Option<String>,
    /// Whether the bucket is part of the path rather than of the host's name.
    pub path_style: Option<bool>,
    /// Whether a run puts what it made there.
    pub push: bool,
}

/// A profile with faults.
#[derive(Debug)]
pub struct Faulty {
    /// The file.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
    /// What is wrong with it.
    pub faults: Vec<Diagnostic>,
}

/// Reads the profile of the user and that of a project; what the project says of a table counts.
pub fn load(user: Option<&Path>, project: Option<&Path>) -> Result<Result<Profile, Faulty>> {
    let mut profile = Profile::default();
    for path in [user, project].into_iter().flatten() {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => {
                return Err(error).with_context(|| format!("the profile `{}` cannot be read", path.display()));
            }
        };
        match parse(&text, path.parent().unwrap_or(Path::new("."))) {
            Ok(Profile { remote, executors }) => {
                profile.remote = remote.or(profile.remote);
                profile.executors.extend(executors);
            }
            Err(faults) => return Ok(Err(Faulty { path: path.to_owned(), text, faults })),
        }
    }
    Ok(Ok(profile))
}

/// Where the user's profile lies.
pub fn of_user() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = variable("XDG_CONFIG_HOME").or_else(|| Some(variable("HOME")?.join(".config")))?;
    Some(folder.join("pacer/profile.toml"))
}

/// The settings of a text; a folder in it is meant from the folder of its file.
fn parse(text: &str, folder: &Path) -> Result<Profile, Vec<Diagnostic>> {
    let tables = spec::parse(text)?;
    let mut faults = Vec::new();
    let mut profile = Profile::default();
    for (name, entry) in &tables {
        match (name.as_str(), &entry.value.data) {
            ("remote", Data::Table(table)) => profile.remote = remote(table, entry, folder, &mut faults),
            ("executor", Data::Table(table)) => profile.executors = executor::executors(table, &mut faults),
            ("remote" | "executor", other) => faults.push(wrong_sort(&entry.value, "a table", other)),
            _ => faults.push(unknown(name, entry, "a profile has no", &TABLES)),
        }
    }
    if faults.is_empty() { Ok(profile) } else { Err(faults) }
}

fn remote(table: &Table, whole: &Entry, folder: &Path, faults: &mut Vec<Diagnostic>) -> Option<RemoteSettings> {
    let mut settings = RemoteSettings::default();
    for (name, entry) in table {
        let node = &entry.value;
        match name.as_str() {
            "url" => settings.url = url(node, folder, faults),
            "endpoint" => settings.endpoint = text(node, faults).and_then(|text| endpoint(text, node, faults)),
            "region" => settings.region = text(node, faults),
            "path_style" => settings.path_style = truth(node, faults),
            "push" => settings.push = truth(node, faults).unwrap_or(false),
            _ => faults.push(unknown(name, entry, "`[remote]` has no", &REMOTE_KEYS)),
        }
    }
    if !table.contains_key("url") {
        let fault = Diagnostic::new("`[remote]` does not say where").place(&whole.key).label("no `url`");
        faults.push(fault.help("url = \"/shared/folder\" or \"s3://bucket/prefix\""));
    }
    Some(settings)
}

/// A bucket, or a folder as an absolute path.
fn url(node: &Node, folder: &Path, faults: &mut Vec<Diagnostic>) -> String {
    let Some(text) = text(node, faults) else { return String::new() };
    let mut refuse = |message: &str, help: &str| {
        faults.push(Diagnostic::new(message).place(&node.place).label("here").help(help));
    };
    match text.split_once("://") {
        Some((_, rest)) if rest.split('/').next().is_some_and(|host| host.contains('@')) => {
            refuse(
                "an address must hold no name and no password, which others would see",
                "they come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or from ~/.aws/credentials",
            );
        }
        Some(("s3", rest)) if !is_bucket(rest.split('/').next().unwrap_or_default()) => {
            refuse("this is no name of a bucket", "s3://bucket/prefix");
        }
        Some(("s3", _)) => return text.trim_end_matches('/').to_owned(),
        Some(_) => refuse("a remote is a folder or s3://…", "name its server as `endpoint = \"https://…\"`"),
        None if text.is_empty() => refuse("an empty path names no folder", "url = \"/shared/folder\""),
        None => return folder.join(&text).to_string_lossy().into_owned(),
    }
    String::new()
}

fn is_bucket(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    (1..=255).contains(&name.len()) && name.chars().all(is_plain) && !name.starts_with('.')
}

fn endpoint(text: String, node: &Node, faults: &mut Vec<Diagnostic>) -> Option<String> {
    let host = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let host = host.map(|rest| rest.trim_end_matches('/'));
    if host.is_some_and(|host| !host.is_empty() && !host.contains(['@', '/', '?', '#'])) {
        return Some(text.trim_end_matches('/').to_owned());
    }
    let fault = Diagnostic::new("an endpoint is http:// or https:// with a host and a port").place(&node.place);
    faults.push(fault.label("here").help("endpoint = \"https://s3.example.org\""));
    None
}

fn text(node: &Node, faults: &mut Vec<Diagnostic>) -> Option<String> {
    match &node.data {
        Data::Text(text) => Some(text.clone()),
        other => {
            faults.push(wrong_sort(node, "a text", other));
            None
        }
    }
}

fn truth(node: &Node, faults: &mut Vec<Diagnostic>) -> Option<bool> {
    match &node.data {
        Data::Bool(truth) => Some(*truth),
        other => {
            faults.push(wrong_sort(node, "true or false", other));
            None
        }
    }
}

fn wrong_sort(node: &Node, wanted: &str, found: &Data) -> Diagnostic {
    Diagnostic::new(format!("{wanted} is wanted here, not {}", found.sort())).place(&node.place).label("here")
}

fn unknown(name: &str, entry: &Entry, what: &str, known: &[&str]) -> Diagnostic {
    let fault = Diagnostic::new(format!("{what} `{name}`")).place(&entry.key as &Place).label("unknown");
    fault.help(format!("it has: {}", known.join(", "))).did_you_mean(name, known.iter().copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        let faults = parse(text, Path::new("/p")).err().unwrap_or_default();
        faults.into_iter().map(|fault| fault.message).collect()
    }

    #[test]
    fn a_folder_is_meant_from_the_profile_and_a_bucket_is_kept() {
        let remote = |text: &str| parse(text, Path::new("/p")).unwrap().remote.unwrap();
        assert_eq!(remote("[remote]\nurl = \"shared\"").url, "/p/shared");
        assert_eq!(remote("[remote]\nurl = \"/nfs/x\"\npush = true").url, "/nfs/x");
        let settings = remote("remote = { url = \"s3://b/a/\", endpoint = \"http://h:1/\", path_style = false }");
        let endpoint = Some("http://h:1".to_owned());
        let expected = RemoteSettings { url: "s3://b/a".into(), endpoint, path_style: Some(false), ..settings.clone() };
        assert_eq!((settings, parse("", Path::new("/p")).unwrap()), (expected, Profile::default()));
    }

    #[test]
    fn what_a_profile_cannot_mean_is_a_fault() {
        assert_eq!(faults("[remote]\nurl = \"s3://a:b@c/d\"")[0], faults("[remote]\nurl = \"http://a:b@c\"")[0]);
        assert_eq!(faults("[remote]\nurl = \"\"").len(), 1);
        assert_eq!(faults("[remote]\nurl = \"ftp://x\""), ["a remote is a folder or s3://…"]);
        assert_eq!(faults("[remote]\nurl = 3\nendpiont = \"x\"").len(), 2);
        assert_eq!(faults("[remote]"), ["`[remote]` does not say where"]);
        assert_eq!(faults("remote = 1"), ["a table is wanted here, not a whole number"]);
        assert_eq!(faults("[remot]"), ["a profile has no `remot`"]);
        assert_eq!(faults("[executor.cluster]\ntype = \"slurm\""), [""; 0]);
        assert!(faults("[remote]\nurl = \"s3://b\"\nendpoint = \"http://h/x\"")[0].starts_with("an endpoint"));
    }
}
