//! Finds the credentials of S3 where its other clients find them: in the environment, and in the files of `~/.aws`.
//! They are kept in memory alone. Unaware of requests.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use crate::remote::sign::Credentials;

/// What the usual places say.
#[derive(Debug, Default)]
pub struct Found {
    /// Who asks; nobody in particular where none is named.
    pub credentials: Option<Credentials>,
    /// The region.
    pub region: Option<String>,
    /// The server.
    pub endpoint: Option<String>,
}

/// Looks in the environment first, then in the files.
pub fn find() -> Found {
    let (found, file) = look();
    file.iter().for_each(|path| warn_of_readers(path));
    found
}

/// Looks once more for who asks: keys of a session are renewed where they were found.
pub fn find_again() -> Option<Credentials> {
    look().0.credentials
}

/// What the usual places say, and the file that holds the secret, where one does.
fn look() -> (Found, Option<PathBuf>) {
    let variable = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    let profile = variable("AWS_PROFILE").unwrap_or_else(|| "default".to_owned());
    let place = |name: &str, file: &str| {
        variable(name).map(PathBuf::from).or_else(|| Some(PathBuf::from(variable("HOME")?).join(".aws").join(file)))
    };
    let read = |path: Option<PathBuf>, section: &str| path.map(|path| section_of(&path, section)).unwrap_or_default();
    let secrets_file = place("AWS_SHARED_CREDENTIALS_FILE", "credentials");
    let secrets = read(secrets_file.clone(), &profile);
    let section = if profile == "default" { profile } else { format!("profile {profile}") };
    let config = read(place("AWS_CONFIG_FILE", "config"), &section);
    let of_environment = credentials(|name| variable(&name.to_uppercase()));
    // A key that is named with AWS_PROFILE is meant, whatever else stands in the environment.
    let of_files = credentials(|name| secrets.get(name).or_else(|| config.get(name)).cloned());
    let credentials = match variable("AWS_PROFILE") {
        Some(_) => of_files.clone().or(of_environment.clone()),
        None => of_environment.clone().or(of_files.clone()),
    };
    let is_of_file = credentials.is_some() && credentials == of_files && credentials != of_environment;
    let region = variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION"));
    let endpoint = variable("AWS_ENDPOINT_URL_S3").or_else(|| variable("AWS_ENDPOINT_URL"));
    let found = Found {
        credentials,
        region: region.or_else(|| config.get("region").cloned()),
        endpoint: endpoint.or_else(|| config.get("endpoint_url").cloned()),
    };
    (found, secrets_file.filter(|_| is_of_file))
}

fn credentials(value: impl Fn(&str) -> Option<String>) -> Option<Credentials> {
    let (id, secret) = (value("aws_access_key_id")?, value("aws_secret_access_key")?);
    Some(Credentials { id, secret, token: value("aws_session_token") })
}

/// The values of a section of an INI file; none where the file cannot be read.
fn section_of(path: &Path, section: &str) -> BTreeMap<String, String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let mut values = BTreeMap::new();
    let mut within = false;
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';'])) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            within = name.trim() == section;
        } else if let Some((name, value)) = line.split_once('=').filter(|_| within) {
            values.insert(name.trim().to_lowercase(), value.trim().to_owned());
        }
    }
    values
}

fn warn_of_readers(path: &Path) {
    let mode = fs::metadata(path).map_or(0, |metadata| metadata.permissions().mode());
    if mode & 0o077 != 0 {
        let path = path.display();
        tracing::warn!("`{path}` holds a secret and others may read it: chmod 600 {path}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_read_and_the_others_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials");
        let text = "[default]\naws_access_key_id = A\n# aws_secret_access_key = X\n[lab]\n AWS_ACCESS_KEY_ID=B\n\
                    aws_secret_access_key = s/=+\n";
        fs::write(&path, text).unwrap();
        let of = |section: &str| {
            let values = section_of(&path, section);
            credentials(|name| values.get(name).cloned())
        };
        assert_eq!(of("default"), None);
        let lab = of("lab").unwrap();
        assert_eq!((lab.id.as_str(), lab.secret.as_str(), lab.token), ("B", "s/=+", None));
        assert_eq!(section_of(&folder.path().join("none"), "lab").len(), 0);
    }
}
