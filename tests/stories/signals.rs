//! Signals and a closed terminal during a training: it stops in order, keeps what it has, and the next run goes on
//! from there to the same bytes.

use std::ffi::CStr;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::FromRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};

use crate::harness::{Digests, Project, TRAINING, signal, undisturbed_training, wait_for};

const PLAIN: [&str; 1] = ["pipeline.toml"];

/// Starts a run and waits until a training has come some way.
fn training() -> (Project, Child) {
    let project = Project::new(TRAINING);
    let mut runner = project.start(&["pipeline.toml", "--jobs", "1"]);
    wait_for(&mut runner, &["progress", "epoch 5 of"]);
    (project, runner)
}

/// The first news of the interrupted training in the next run is of an epoch beyond its beginning. On a busy machine the
/// signal may come when the first training is done and the second one in its first epoch, where that one rightly goes on.
fn assert_goes_on(project: &Project, expected: &Digests, what: &str) {
    assert!(!project.stored("partial").is_empty(), "{what}: nothing was kept");
    project.assert_workers_die(what);
    let said = project.pacer(&["run", "pipeline.toml", "--jobs", "1", "--format", "json"]);
    assert_eq!(said.code, 0, "{what}: {}", said.err);
    let news = said.out.lines().find(|line| line.contains("progress") && line.contains("epoch")).unwrap();
    let first = news.contains("\"stage\":\"lstm\"");
    assert!(!(first && news.contains("epoch 1 of")), "{what}: the training began anew: {news}");
    project.assert_heals(&PLAIN, expected, what);
}

#[test]
fn a_signal_lets_a_training_keep_what_it_has_and_the_next_run_goes_on() {
    let expected = undisturbed_training();
    for (name, number) in [("SIGINT", libc::SIGINT), ("SIGTERM", libc::SIGTERM), ("SIGHUP", libc::SIGHUP)] {
        let (project, mut runner) = training();
        signal(runner.id() as i32, number);
        assert_eq!(runner.wait().unwrap().code(), Some(130), "{name}");
        assert_goes_on(&project, expected, name);
    }
}

#[test]
fn a_second_signal_kills_and_the_next_run_ends_with_the_same_bytes() {
    let project = Project::new(TRAINING);
    let mut command = project.command(&["run", "pipeline.toml", "--jobs", "1", "--format", "json"]);
    let mut runner = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for(&mut runner, &["progress", "epoch 5 of"]);
    let mut words = BufReader::new(runner.stderr.take().unwrap()).lines().map_while(Result::ok);
    signal(runner.id() as i32, libc::SIGINT);
    assert!(words.any(|line| line.contains("stopping")), "the first signal is not told");
    signal(runner.id() as i32, libc::SIGINT);
    assert_eq!(runner.wait().unwrap().code(), Some(130));
    project.assert_workers_die("two signals");
    project.assert_heals(&PLAIN, undisturbed_training(), "two signals");
}

#[test]
fn a_closed_terminal_lets_a_training_keep_what_it_has_and_the_next_run_goes_on() {
    let expected = undisturbed_training();
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
    while !has_come_some_way(&screen) {
        let read = std::io::Read::read(&mut &master, &mut bytes).expect("the run still writes");
        screen.push_str(&String::from_utf8_lossy(&bytes[..read]));
    }
    drop(master);
    assert_eq!(runner.wait().unwrap().code(), Some(130));
    assert_goes_on(&project, expected, "a closed terminal");
}

/// Whether a screen tells of an epoch after the first; not every one is drawn.
fn has_come_some_way(screen: &str) -> bool {
    let numbers = screen.split("epoch ").filter_map(|rest| rest.split_once(" of")?.0.parse::<u32>().ok());
    numbers.into_iter().any(|epoch| epoch > 1)
}

/// The two ends of a new terminal, which no program gets but by its own stdin, stdout and stderr.
fn terminal() -> (File, File) {
    let mut name = [0; 64];
    // SAFETY: plain system calls; the name has room for as many bytes as is said.
    let master = unsafe {
        let master = libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC);
        assert!(master >= 0 && libc::grantpt(master) == 0 && libc::unlockpt(master) == 0);
        assert_eq!(libc::ptsname_r(master, name.as_mut_ptr(), name.len()), 0);
        File::from_raw_fd(master)
    };
    let name = name.map(|byte| byte as u8);
    let name = CStr::from_bytes_until_nul(&name).unwrap().to_str().unwrap();
    let slave = File::options().read(true).write(true).custom_flags(libc::O_NOCTTY).open(name).unwrap();
    (master, slave)
}

/// Makes the terminal on stdin the one of a new session, whose leader hears when it is closed.
fn take_terminal() -> std::io::Result<()> {
    // SAFETY: plain system calls.
    let outcome = unsafe { if libc::setsid() < 0 { -1 } else { libc::ioctl(0, libc::TIOCSCTTY, 0) } };
    if outcome < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}
