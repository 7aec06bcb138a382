//! Finds the files that `{ path = "…" }` means: one file, those of a folder, or those of a glob. Unaware of slots.

use std::io;
use std::path::{Path, PathBuf};

use glob::{MatchOptions, Pattern};
use walkdir::{DirEntry, WalkDir};

/// What a path means.
#[derive(Debug, PartialEq, Eq)]
pub enum Files {
    /// A file.
    One(PathBuf),
    /// Files by their path within the folder that they were looked for in, sorted, with `/` between its parts.
    Many(Vec<(String, PathBuf)>),
}

/// Why a path means nothing, in words for the place where it is written.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What is wrong, naming the path.
    pub message: String,
    /// What stands at the path.
    pub label: String,
}

/// Characters that make a path a glob where no file bears its name.
const GLOB: [char; 3] = ['*', '?', '['];

/// Hidden files are no recordings: file managers and version control leave them in folders.
const OPTIONS: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// Finds a file.
pub fn one(path: &Path) -> Result<PathBuf, Refusal> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => Ok(path.to_owned()),
        Ok(_) => Err(refusal(format!("`{}` is no file", path.display()), "a folder stands where a file should be")),
        Err(error) => Err(unreadable(path, &error)),
    }
}

/// Finds a file, all files below a folder, or those that a glob such as `runs/**/*.fit` meets.
///
/// Links to files count as files; links to folders are not followed, as they may lead back.
pub fn several(path: &Path) -> Result<Files, Refusal> {
    let text = path.to_str().ok_or_else(|| refusal(format!("`{}` is not UTF-8", path.display()), "rename it"))?;
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => Ok(Files::One(path.to_owned())),
        Ok(_) => below(path, path, None),
        Err(error) if error.kind() == io::ErrorKind::NotFound && text.contains(GLOB) => {
            let pattern = Pattern::new(text).map_err(|error| {
                refusal(format!("`{text}` is no glob"), &format!("{} at byte {}", error.msg, error.pos))
            })?;
            below(literal(path), path, Some(&pattern))
        }
        Err(error) => Err(unreadable(path, &error)),
    }
}

/// The part of a glob before its first special character, as a folder.
fn literal(path: &Path) -> &Path {
    let special = |part: &Path| part.to_str().is_some_and(|text| text.contains(GLOB));
    path.ancestors().find(|part| !special(part)).unwrap_or(Path::new(""))
}

/// The files below a folder, all of them or those that a pattern meets.
fn below(folder: &Path, asked: &Path, pattern: Option<&Pattern>) -> Result<Files, Refusal> {
    let start = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let hidden = |entry: &DirEntry| entry.depth() > 0 && entry.file_name().as_encoded_bytes().starts_with(b".");
    let mut files = Vec::new();
    for entry in WalkDir::new(start).sort_by_file_name().into_iter().filter_entry(|entry| !hidden(entry)) {
        let entry = entry.map_err(|error| {
            let path = error.path().unwrap_or(start).to_owned();
            unreadable(&path, &error.into_io_error().unwrap_or_else(|| io::Error::other("its links go round")))
        })?;
        let within = entry.path().strip_prefix(start).unwrap_or(entry.path());
        let path = folder.join(within);
        let met = pattern.is_none_or(|pattern| pattern.matches_path_with(&path, OPTIONS));
        if !met || !path.is_file() {
            continue;
        }
        let name = within.to_str().ok_or_else(|| refusal(format!("`{}` is not UTF-8", path.display()), "rename it"))?;
        files.push((name.to_owned(), path));
    }
    if files.is_empty() {
        return Err(refusal(format!("`{}` meets no file", asked.display()), "nothing is there, or hidden files alone"));
    }
    files.sort();
    Ok(Files::Many(files))
}

fn unreadable(path: &Path, error: &io::Error) -> Refusal {
    refusal(format!("`{}` cannot be read", path.display()), &error.to_string())
}

fn refusal(message: String, label: &str) -> Refusal {
    Refusal { message, label: label.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(files: Files) -> Vec<String> {
        match files {
            Files::One(path) => vec![path.display().to_string()],
            Files::Many(files) => files.into_iter().map(|(name, _)| name).collect(),
        }
    }

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.fit", "a.gpx", "2024/c [1].fit", ".DS_Store", ".git/config"] {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, name).unwrap();
        }
        folder
    }

    #[test]
    fn a_folder_means_all_its_files_but_hidden_ones() {
        let folder = folder();
        assert_eq!(names(several(folder.path()).unwrap()), ["2024/c [1].fit", "a.gpx", "b.fit"]);
        let slashed = PathBuf::from(format!("{}/", folder.path().display()));
        assert_eq!(names(several(&slashed).unwrap()).len(), 3);
        let odd = folder.path().join("[x]*");
        std::fs::create_dir(&odd).unwrap();
        std::fs::write(odd.join("run"), "").unwrap();
        assert_eq!(names(several(&odd).unwrap()), ["run"], "its name is not taken for a glob");
    }

    #[test]
    fn a_glob_means_the_files_that_it_meets_and_a_name_with_brackets_the_file() {
        let folder = folder();
        assert_eq!(names(several(&folder.path().join("**/*.fit")).unwrap()), ["2024/c [1].fit", "b.fit"]);
        assert_eq!(names(several(&folder.path().join("?.*")).unwrap()), ["a.gpx", "b.fit"]);
        let bracketed = folder.path().join("2024/c [1].fit");
        assert_eq!(several(&bracketed).unwrap(), Files::One(bracketed));
    }

    #[test]
    fn a_link_to_a_folder_above_is_no_endless_tree() {
        let folder = folder();
        std::os::unix::fs::symlink(folder.path(), folder.path().join("again")).unwrap();
        std::os::unix::fs::symlink(folder.path().join("b.fit"), folder.path().join("link.fit")).unwrap();
        assert_eq!(names(several(folder.path()).unwrap()), ["2024/c [1].fit", "a.gpx", "b.fit", "link.fit"]);
    }

    #[test]
    fn what_means_nothing_is_told_with_its_path() {
        let folder = folder();
        let told = |name: &str| several(&folder.path().join(name)).unwrap_err();
        assert!(told("*.tcx").message.ends_with("*.tcx` meets no file"), "{:?}", told("*.tcx"));
        assert!(told("none").label.contains("No such file"), "{:?}", told("none"));
        assert!(told("[").message.contains("is no glob"), "{:?}", told("["));
        assert_eq!(one(folder.path()).unwrap_err().label, "a folder stands where a file should be");
    }
}
