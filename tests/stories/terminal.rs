//! What a run looks like: on terminals of three widths, where nothing runs over the edge, and in a pipe.

use std::fs::File;
use std::io::Read;
use std::os::fd::FromRawFd;

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
    // Whatever another story starts at this moment must not hold the terminal open.
    for end in [ours, theirs] {
        // SAFETY: a plain system call on a descriptor of ours.
        unsafe { libc::fcntl(end, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
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

/// Calls the program on a terminal: what it wrote, and its exit code.
fn call_on(project: &Project, columns: u16, arguments: &[&str]) -> (Vec<String>, Option<i32>) {
    let (theirs, ours) = terminal(columns);
    let mut command = project.command(arguments);
    command.env("TERM", "xterm").stdout(theirs.try_clone().unwrap()).stderr(theirs);
    let mut child = command.spawn().unwrap();
    drop(command);
    let lines = lines(ours);
    (lines, child.wait().unwrap().code())
}

/// Runs the pipeline of a project on a terminal.
fn run_on(project: &Project, columns: u16) -> Vec<String> {
    let (lines, code) = call_on(project, columns, &["run", "pipeline.toml", "--jobs", "1"]);
    assert_eq!(code, Some(0));
    lines
}

/// What stays on a terminal of some width when a plan, a run, its state and a check were asked for, with the rows of the
/// live view left out, and times and ids of runs made alike.
fn whole_session(columns: u16) -> String {
    let project = chain();
    project.edit("wc -l < {inputs.text} >", "echo 'no such thing as a very long explanation' >&2; exit 3 >");
    let calls: [&[&str]; 4] = [
        &["plan", "pipeline.toml"],
        &["run", "pipeline.toml", "--jobs", "1", "--strict-sync"],
        &["status", "pipeline.toml"],
        &["check", "pipeline.toml", "--set", "sufix=2"],
    ];
    let mut told = Vec::new();
    for call in calls {
        told.push(format!("$ pacer {}", call.join(" ")));
        let (lines, _) = call_on(&project, columns, call);
        let is_live = |line: &String| {
            line.contains(" of 3 done") || line == "0s" || line.chars().any(|it| ('⠀'..='⣿').contains(&it))
        };
        told.extend(lines.into_iter().filter(|line| !is_live(line)));
    }
    let folder = project.path("").display().to_string();
    without_ids(&without_times(&told.join("\n")).replace(&folder, "/HERE/"))
}

/// Ids of runs and dates are others each time, of the same form; the process at the end of an id has some digits.
fn without_ids(text: &str) -> String {
    let words = |line: &str| {
        let mut out = String::new();
        for piece in line.split_inclusive(|it: char| !(it.is_ascii_digit() || "-.:".contains(it))) {
            let body = piece.trim_end_matches(|it: char| !(it.is_ascii_digit() || "-.:".contains(it)));
            let is_id = body.len() > 18 && body.starts_with("20") && body.contains('.');
            out.push_str(if is_id { "RUN" } else { body });
            out.push_str(&piece[body.len()..]);
        }
        out
    };
    // Columns are as wide as their times, so that what lies between is made alike in lines that tell of one.
    let alike = |line: String| match line.split_once('#') {
        Some((before, after)) => {
            format!(
                "{} #{}",
                before.trim_end(),
                after.split_whitespace().map(|it| format!(" {it}")).collect::<String>()
            )
        }
        None if line.contains("stands") => line.split_whitespace().collect::<Vec<_>>().join(" "),
        None => line,
    };
    text.lines().map(words).map(alike).collect::<Vec<_>>().join("\n")
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

#[test]
fn a_whole_session_at_60_columns() {
    assert_snapshot!(whole_session(60), @r"
    $ pacer plan pipeline.toml
    stage   would be                 why
    first   ▸ run                    no earlier result
    second  ? run, unless its input  reads from `first`,
            comes out unchanged      which runs first
    third   ? run, unless its input  reads from `second`,
            comes out unchanged      which runs first
    0 reused, 1 to run, 2 to run unless unchanged; time unknown
    $ pacer run pipeline.toml --jobs 1 --strict-sync
    first   ▸ runs     no earlier result
    first   ✓ ran # s
    second  ▸ runs     no earlier result
    second  ✓ ran # s
    third   ▸ runs     no earlier result
    third   ✗ failed   `sh` ended with exit status: 3
        log: /HERE/store/runs/RUN/logs/third.log
    failed in # s: 2 ran, 0 reused, 1 failed
    what is finished is kept; when the cause is mended: pacer run pipeline.toml
    $ pacer status pipeline.toml
    stage stands took size
    first   ✓ done # s 2 B
    second  ✓ done # s 6 B
    third   ▸ to run
    newest run RUN failed after # s
    $ pacer check pipeline.toml --set sufix=2
    error: no parameter is called `sufix`
     --> command line:1:7
      |
    1 | --set sufix=2
      |       ^^^^^ unknown parameter
      |
      = help: did you mean `suffix`?
    1 fault in pipeline.toml; nothing was run
    ");
}

#[test]
fn a_whole_session_at_80_columns() {
    assert_snapshot!(whole_session(80), @r"
    $ pacer plan pipeline.toml
    stage   would be                           why
    first   ▸ run                              no earlier result
    second  ? run, unless its input comes out  reads from `first`, which runs
            unchanged                          first
    third   ? run, unless its input comes out  reads from `second`, which runs
            unchanged                          first
    0 reused, 1 to run, 2 to run unless unchanged; time unknown
    $ pacer run pipeline.toml --jobs 1 --strict-sync
    first   ▸ runs     no earlier result
    first   ✓ ran # s
    second  ▸ runs     no earlier result
    second  ✓ ran # s
    third   ▸ runs     no earlier result
    third   ✗ failed   `sh` ended with exit status: 3
        log: /HERE/store/runs/RUN/logs/third.log
    failed in # s: 2 ran, 0 reused, 1 failed
    what is finished is kept; when the cause is mended: pacer run pipeline.toml
    $ pacer status pipeline.toml
    stage stands took size
    first   ✓ done # s 2 B
    second  ✓ done # s 6 B
    third   ▸ to run
    newest run RUN failed after # s
    $ pacer check pipeline.toml --set sufix=2
    error: no parameter is called `sufix`
     --> command line:1:7
      |
    1 | --set sufix=2
      |       ^^^^^ unknown parameter
      |
      = help: did you mean `suffix`?
    1 fault in pipeline.toml; nothing was run
    ");
}

#[test]
fn a_whole_session_at_120_columns() {
    assert_snapshot!(whole_session(120), @r"
    $ pacer plan pipeline.toml
    stage   would be                                     why
    first   ▸ run                                        no earlier result
    second  ? run, unless its input comes out unchanged  reads from `first`, which runs first
    third   ? run, unless its input comes out unchanged  reads from `second`, which runs first
    0 reused, 1 to run, 2 to run unless unchanged; time unknown
    $ pacer run pipeline.toml --jobs 1 --strict-sync
    first   ▸ runs     no earlier result
    first   ✓ ran # s
    second  ▸ runs     no earlier result
    second  ✓ ran # s
    third   ▸ runs     no earlier result
    third   ✗ failed   `sh` ended with exit status: 3
        log: /HERE/store/runs/RUN/logs/third.log
    failed in # s: 2 ran, 0 reused, 1 failed
    what is finished is kept; when the cause is mended: pacer run pipeline.toml
    $ pacer status pipeline.toml
    stage stands took size
    first   ✓ done # s 2 B
    second  ✓ done # s 6 B
    third   ▸ to run
    newest run RUN failed after # s
    $ pacer check pipeline.toml --set sufix=2
    error: no parameter is called `sufix`
     --> command line:1:7
      |
    1 | --set sufix=2
      |       ^^^^^ unknown parameter
      |
      = help: did you mean `suffix`?
    1 fault in pipeline.toml; nothing was run
    ");
}

#[test]
fn a_narrow_terminal_lists_runs_with_fewer_columns_and_whole_names() {
    let project = chain();
    let run = project.run(&[])["run"].as_str().unwrap().to_owned();
    let (lines, _) = call_on(&project, 60, &["ls"]);
    assert!(lines.iter().all(|line| line.chars().count() <= 60), "{lines:#?}");
    assert!(lines[1].starts_with(&run) && lines[1].contains("done"), "{lines:#?}");
    assert!(lines[2].starts_with("no room for date (UTC), of"), "{lines:#?}");
    let (lines, _) = call_on(&project, 200, &["ls"]);
    assert!(lines.len() == 2 && lines[0].ends_with("best mae  data  split  of"), "{lines:#?}");
}

#[test]
fn no_width_of_a_terminal_shows_an_error_without_the_data_that_it_rests_on() {
    let project = Project::new(
        "[stages.scored]\nkind = \"command\"\noutputs = { figures = \"metrics\" }\nrun = [\"sh\", \"-c\", \"\"\"\n\
         echo '{\"net\": {\"mae\": 5.0, \"part\": \"test\", \"data\": \"synthetic\", \"split\": \"user\"}}' > {outputs.figures}\"\"\"]\n",
    );
    assert_eq!(project.run(&[])["failed"], 0);
    let shown = [60, 80, 200].map(|columns| {
        let (lines, _) = call_on(&project, columns, &["ls"]);
        assert!(lines[..2].iter().all(|line| line.chars().count() <= usize::from(columns)), "{lines:#?}");
        ["5.00", "synthetic", "user"].map(|word| lines[1].contains(word))
    });
    assert_eq!(shown, [[false, true, false], [true, true, false], [true; 3]]);
}
