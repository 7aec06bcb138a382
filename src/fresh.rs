//! Paths as they are by now. A client of NFS goes on for up to a minute with what it knows of a path, also that nothing is
//! there; it asks the server when a file is opened, and about the names in a folder when that is opened. Unaware of what
//! files hold.

use std::fs::File;
use std::io;
use std::path::Path;

/// Opens a file or a folder.
pub fn open(path: &Path) -> io::Result<File> {
    look(path, |path| File::open(path))
}

/// Does something with what is at a path; where nothing seems to be there, once more after its folder was opened.
pub fn look<T>(path: &Path, act: impl Fn(&Path) -> io::Result<T>) -> io::Result<T> {
    match (act(path), path.parent()) {
        (Err(error), Some(folder)) if error.kind() == io::ErrorKind::NotFound => {
            File::open(folder)?;
            act(path)
        }
        (done, _) => done,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn what_seems_not_to_be_there_is_looked_for_once_more_and_nothing_else_is() {
        let (folder, times) = (tempfile::tempdir().unwrap(), Cell::new(0));
        let looks = |path: &Path, kind: io::ErrorKind| {
            times.set(0);
            let act = |_: &Path| -> io::Result<()> {
                times.set(times.get() + 1);
                if times.get() == 2 { Ok(()) } else { Err(kind.into()) }
            };
            (look(path, act).is_ok(), times.get())
        };
        let path = folder.path().join("x");
        assert_eq!(looks(&path, io::ErrorKind::NotFound), (true, 2));
        assert_eq!(looks(&path, io::ErrorKind::PermissionDenied), (false, 1));
        assert_eq!(looks(&path.join("y"), io::ErrorKind::NotFound), (false, 1), "nor is there a folder");
    }
}
