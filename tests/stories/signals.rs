//! Signals and a closed terminal during a training: it stops in order, keeps what it has, and the next run goes on
//! from there to the same bytes.

use std::fs::File;
use std::os::fd::FromRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};

use crate::harness::{Digests, Project, TRAINING, signal, wait_for, within_a_moment};

const PLAIN: [&str; 1] = ["pipeline.toml"];

/// A training that has come some way, and how it would end.
fn undisturbed() -> Digests {
    let project = Project::new(TRAINING);
    assert_eq!(project.run(&[])["failed"], 0);
    project.digests(&PLAIN)
}

/// Starts a run and waits until a training has come some way.
fn training() -> (Project, Child) {
    let project = Project::new(TRAINING);
    let mut runner = project.start(&["pipeline.toml", "--jobs", "1"]);
    wait_for(&mut runner, &["progress", "epoch 10 of"]);
    (project, runner)
}

/// The first news of the interrupted training in the next run is of an epoch beyond its beginning.
fn assert_goes_on(project: &Project, expected: &Digests, what: &str) {
    assert!(!project.stored("partial").is_empty(), "{what}: nothing was kept");
    project.assert_workers_die(what);
    let said = project.pacer(&["run", "pipeline.toml", "--jobs", "1", "--format", "json"]);
    assert_eq!(said.code, 0, "{what}: {}", said.err);
    let news = said.out.lines().find(|line| line.contains("progress") && line.contains("epoch")).unwrap();
    assert!(!news.contains("epoch 1 of"), "{what}: the training began anew: {news}");
    project.assert_heals(&PLAIN, expected, what);
}

#[test]
fn a_signal_lets_a_training_keep_what_it_has_and_the_next_run_goes_on() {
    let expected = undisturbed();
    for (name, number) in [("SIGINT", libc::SIGINT), ("SIGTERM", libc::SIGTERM), ("SIGHUP", libc::SIGHUP)] {
        let (project, mut runner) = training();
        signal(runner.id() as i32, number);
        assert_eq!(runner.wait().unwrap().code(), Some(130), "{name}");
        assert_goes_on(&project, &expected, name);
    }
}

#[test]
fn a_second_signal_kills_and_the_next_run_ends_with_the_same_bytes() {
    let expected = undisturbed();
    let (project, mut runner) = training();
    for _ in 0..2 {
        signal(runner.id() as i32, libc::SIGINT);
        // Signals do not queue: the second must find the first one seen.
        within_a_moment("the first signal is not seen", || !is_pending(runner.id(), libc::SIGINT));
    }
    assert_eq!(runner.wait().unwrap().code(), Some(130));
    project.assert_workers_die("two signals");
    project.assert_heals(&PLAIN, &expected, "two signals");
}

/// Whether a signal was sent to a process that has not taken it yet.
fn is_pending(process: u32, number: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let pending = status.lines().find_map(|line| line.strip_prefix("ShdPnd:"));
    let set = pending.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0);
    set >> (number - 1) & 1 == 1
}

#[test]
fn a_closed_terminal_lets_a_training_keep_what_it_has_and_the_next_run_goes_on() {
    let expected = undisturbed();
    let project = Project::new(TRAINING);
    let (master, slave) = terminal();
    let mut command = project.command(&["run", "pipeline.toml", "--jobs", "1"]);
    command.stdin(slave.try_clone().unwrap()).stdout(slave.try_clone().unwrap()).stderr(Stdio::from(slave));
    // SAFETY: between fork and exec only system calls are made.
    unsafe { command.pre_exec(take_terminal) };
    let mut runner = command.spawn().unwrap();
    // The command holds the terminal's other end open, too.
    drop(command);
    let mut screen = String::new();
    let mut bytes = [0; 4096];
    while !screen.contains("epoch 10 of") {
        let read = std::io::Read::read(&mut &master, &mut bytes).expect("the run still writes");
        screen.push_str(&String::from_utf8_lossy(&bytes[..read]));
    }
    drop(master);
    assert_eq!(runner.wait().unwrap().code(), Some(130));
    assert_goes_on(&project, &expected, "a closed terminal");
}

/// The two ends of a new terminal.
fn terminal() -> (File, File) {
    let (mut master, mut slave) = (-1, -1);
    let null = std::ptr::null_mut();
    // SAFETY: both places are valid; a name, modes and a size are not asked for.
    let outcome = unsafe { libc::openpty(&raw mut master, &raw mut slave, null, null.cast(), null.cast()) };
    assert_eq!(outcome, 0, "{}", std::io::Error::last_os_error());
    for end in [master, slave] {
        // SAFETY: a plain system call. The program must not hold the ends open beside its own three.
        unsafe { libc::fcntl(end, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
    // SAFETY: both are open and owned by nobody else.
    unsafe { (File::from_raw_fd(master), File::from_raw_fd(slave)) }
}

/// Makes the terminal on stdin the one of a new session, whose leader hears when it is closed.
fn take_terminal() -> std::io::Result<()> {
    // SAFETY: plain system calls.
    let outcome = unsafe { if libc::setsid() < 0 { -1 } else { libc::ioctl(0, libc::TIOCSCTTY, 0) } };
    if outcome < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}
