//! Python where a story wants to read with other programs what was written here. Where it, or a package, is not
//! installed, the story says so and is not told.

use std::process::{Child, Command, Stdio};

use crate::harness::not_checked;

/// The environment variable that names the Python of stories; else it is `python3`.
const VARIABLE: &str = "PACER_TEST_PYTHON";

/// A Python that has a package; `None`, told on stderr, where there is none.
pub fn with(package: &str, story: &str) -> Option<Python> {
    let program = std::env::var(VARIABLE).unwrap_or_else(|_| "python3".into());
    // Not imported: that takes seconds for large ones.
    let test = "import importlib.util, sys; sys.exit(importlib.util.find_spec(sys.argv[1]) is None)";
    let status = Command::new(&program).args(["-c", test, package]).stderr(Stdio::null()).status();
    if status.is_ok_and(|status| status.success()) {
        return Some(Python { program });
    }
    not_checked(&format!("{story}: `{program}` has no package `{package}` ({VARIABLE} names another Python)"));
    None
}

/// A Python.
pub struct Python {
    program: String,
}

impl Python {
    /// What a program prints; it must end well.
    pub fn run(&self, arguments: &[&str]) -> String {
        let output = Command::new(&self.program).args(arguments).output().expect("it was there a moment ago");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A program in a folder that goes on beside the story.
    pub fn start(&self, folder: &std::path::Path, arguments: &[&str]) -> Child {
        let mut command = Command::new(&self.program);
        command.args(arguments).current_dir(folder).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().expect("it was there a moment ago")
    }
}
