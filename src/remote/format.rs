//! The mark by which a remote is known, and what its layout is. Unaware of what lies there.
//!
//! It is written before anything else. So what has none is no remote, however much its names look like those of one.

use anyhow::{Result, bail};

use crate::remote::{Content, Existing, Failed, Remote};

/// Where the layout of a remote is written.
pub(super) const NAME: &str = "FORMAT";

/// The layout of a remote.
const LAYOUT: &str = "1\n";

impl Remote {
    /// Makes a place a remote, unless it is one; one of an unknown layout is a fault. Each put sees to it.
    pub fn ensure_format(&self) -> Result<()> {
        // The others wait, so that nothing is put before it.
        let mut is_known = self.has_format.lock().expect("nothing panics with it");
        if *is_known {
            return Ok(());
        }
        let put = || self.put_as_it_is(NAME, Content::Bytes(LAYOUT.as_bytes()), Existing::Keep);
        match self.has_known_format() {
            Ok(true) => {}
            Ok(false) => drop(put()?),
            // What was just put is there, and can be read by whoever can read anything.
            Err(error) if Failed::is_hidden(&error) => {
                put()?;
                self.require_format()?;
            }
            Err(error) => return Err(error),
        }
        *is_known = true;
        Ok(())
    }

    /// A fault where there is no remote.
    pub fn require_format(&self) -> Result<()> {
        if !self.has_known_format()? {
            bail!(
                "there is no `{NAME}` in `{url}`, which a pacer writes there before anything else: name in `pacer.toml` \
                 the very folder or prefix where results are shared, or, if they are shared there, `pacer push` first",
                url = self.url()
            );
        }
        Ok(())
    }

    fn has_known_format(&self) -> Result<bool> {
        match self.read(NAME, 64)? {
            Some(text) if text == LAYOUT.as_bytes() => Ok(true),
            Some(_) => bail!("the remote `{}` was written in a layout that this pacer does not know", self.url()),
            None => Ok(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::profile::RemoteSettings;

    #[test]
    fn whatever_is_put_first_makes_a_remote_and_an_unknown_layout_takes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let open = |name: &str| {
            let url = folder.path().join(name).display().to_string();
            Remote::open(&RemoteSettings { url, ..RemoteSettings::default() }).unwrap()
        };
        let put = |remote: &Remote| remote.put("letters/a", Content::Bytes(b"1"), Existing::Replace);
        let remote = open("new");
        assert!(remote.require_format().unwrap_err().to_string().contains("`pacer push` first"));
        assert!(!folder.path().join("new").exists(), "who only asks makes nothing");
        put(&remote).unwrap();
        assert_eq!(fs::read_to_string(folder.path().join("new/FORMAT")).unwrap(), LAYOUT);
        remote.require_format().unwrap();
        fs::write(folder.path().join("new/FORMAT"), "2\n").unwrap();
        assert!(put(&remote).is_ok(), "it is asked for once");
        assert!(put(&open("new")).is_err() && open("new").require_format().is_err());
    }
}
