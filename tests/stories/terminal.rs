//! What a run looks like: on terminals of three widths, where nothing runs over the edge, and in a pipe.

use std::fs::File;
use std::io::Read;
use std::os::fd::FromRawFd;
use std::process::Stdio;

use insta::assert_snapshot;

use crate::harness::{Project, chain};

/// A terminal of some width: the end that a program writes to, and the one that is looked at.
fn terminal(columns: u16) -> (File, File) {
    let size = libc::winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    let (mut ours, mut theirs) = (0, 0);
    let none = std::ptr::null_mut();
    // SAFETY: both numbers are valid places, the size outlives the call, and names and modes may be null.
    let opened = unsafe { libc::openpty(&raw mut ours, &raw mut theirs, none, none.cast(), &raw const size) };
    assert_eq!(opened, 0, "{}", std::io::Error::last_os_error());
    // SAFETY: the descriptors are new and owned by nobody else.
    unsafe { (File::from_raw_fd(theirs), File::from_raw_fd(ours)) }
}

/// What a terminal was sent, without colours and movements of the cursor, each of which ends a line.
fn lines(mut screen: File) -> Vec<String> {
    let mut bytes = Vec::new();
    // The end of a terminal is an error of its own.
    let _ = screen.read_to_end(&mut bytes);
    let (mut text, mut letters) = (String::new(), String::from_utf8_lossy(&bytes).into_owned());
    letters.push('\n');
    let mut letters = letters.chars();
    while let Some(letter) = letters.next() {
        if letter != '\u{1b}' {
            text.push(if letter == '\r' { '\n' } else { letter });
            continue;
        }
        let end = letters.by_ref().skip(1).find(char::is_ascii_alphabetic);
        if end != Some('m') {
            text.push('\n');
        }
    }
    text.lines().map(|line| line.trim_end().to_owned()).filter(|line| !line.is_empty()).collect()
}

/// Runs the pipeline of a project on a terminal.
fn run_on(project: &Project, columns: u16) -> Vec<String> {
    let (theirs, ours) = terminal(columns);
    let mut command = project.command(&["run", "pipeline.toml", "--jobs", "1"]);
    command.env("TERM", "xterm").stdout(Stdio::null()).stderr(theirs);
    let mut child = command.spawn().unwrap();
    drop(command);
    let lines = lines(ours);
    assert!(child.wait().unwrap().success());
    lines
}

/// Times are another each time.
fn without_times(text: &str) -> String {
    let is_time = |word: &str| word.trim_end_matches(':').parse::<f64>().is_ok();
    let mut words: Vec<String> = Vec::new();
    for line in text.lines() {
        let mut line: Vec<&str> = line.split(' ').collect();
        for at in 1..line.len() {
            if ["ms", "s", "s:", "ms:"].contains(&line[at]) && is_time(line[at - 1]) {
                line[at - 1] = "#";
                line[at] = if line[at].ends_with(':') { "s:" } else { "s" };
            }
        }
        words.push(line.join(" ").trim_end().to_owned());
    }
    words.join("\n")
}

#[test]
fn nothing_runs_over_the_edge_of_a_terminal() {
    for columns in [60, 80, 120] {
        let project = chain();
        let long = "a_stage_with_a_name_that_is_much_longer_than_anybody_would_want_to_read";
        project.edit("[stages.third]", &format!("[stages.{long}]"));
        let lines = run_on(&project, columns);
        // The rows of the live view are filled up to the edge; what stays must end before it.
        let stays = |line: &&String| ["▸ runs", "✓ ran", "done in"].iter().any(|word| line.contains(word));
        let widest = lines.iter().filter(stays).map(|line| line.chars().count()).max().unwrap_or(0);
        assert!((20..=usize::from(columns)).contains(&widest), "{columns}: {lines:#?}");
        assert!(lines.iter().any(|line| line.contains("of 3 done")), "{lines:#?}");
        assert!(lines.iter().any(|line| line.starts_with("a_stage_with_") && line.contains("… ")), "{lines:#?}");
    }
}

#[test]
fn in_a_pipe_each_event_is_a_plain_line() {
    let project = chain();
    let said = project.pacer(&["run", "pipeline.toml", "--jobs", "1", "--strict-sync"]);
    assert_snapshot!(without_times(&said.err), @r"
    first   ▸ runs     no earlier result
    first   ✓ ran      # s
    second  ▸ runs     no earlier result
    second  ✓ ran      # s
    third   ▸ runs     no earlier result
    third   ✓ ran      # s
    done in # s: 3 ran, 0 reused
    look at a result with: pacer show pipeline.toml STAGE
    ");
    project.edit("suffix = \"one\"", "suffix = \"two\"");
    let said = project.pacer(&["run", "pipeline.toml", "--jobs", "1", "--strict-sync"]);
    assert_snapshot!(without_times(&said.err), @r"
    first   ✓ reused
    second  ▸ runs     run.2 cat {inputs.line} > {outputs.text}; echo one >> {outputs.text} → cat {inputs.line} > {outputs.text}; echo two >> {outputs.text} (line 14)
    second  ✓ ran      # s
    third   ▸ runs     input `files.text` changed (from `second`)
    third   ✓ ran      # s
    done in # s: 2 ran, 1 reused
    look at a result with: pacer show pipeline.toml STAGE
    ");
    project.edit("wc -l < {inputs.text} >", "wc -l < nothing-here >");
    let said = project.pacer(&["run", "pipeline.toml", "--jobs", "1"]);
    assert!(said.err.contains("✗ failed") && said.err.contains("when the cause is mended: pacer run"), "{}", said.err);
}
