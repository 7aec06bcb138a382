//! A server of S3 that goes away for a while ends no transfer, and who is told to stop does not wait for it.

use std::io::BufRead as _;
use std::process::Child;
use std::sync::Mutex;

use super::proxy::{Mischief, proxy};
use super::{pacer, server, sharing, start_until_held};
use crate::harness::{Said, said, signal};

/// Takes the server away from a transfer, and lets the story go on when that says that it waits.
fn wait_without_server(child: &mut Child, mischief: &Mutex<Mischief>) {
    {
        let mut mischief = mischief.lock().unwrap();
        (mischief.away, mischief.held) = (true, None);
    }
    let mut lines = std::io::BufReader::new(child.stderr.take().expect("it is piped")).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("waiting for it")), "it does not say that it waits");
    std::thread::spawn(move || lines.count());
}

fn end(child: Child) -> Said {
    said(&child.wait_with_output().expect("it was started"))
}

#[test]
fn a_push_and_a_pull_go_on_when_a_server_comes_back_that_went_away_in_the_midst_of_them() {
    let Some(server) = server("a server that goes away") else { return };
    let (port, mischief) = proxy(&server);
    let (first, second) = (sharing(port), sharing(port));
    assert_eq!(first.run(&["--no-remote"])["ran"], 2);
    let transfers =
        [(&first, &["push"][..], "partNumber=3"), (&second, &["pull", "pipeline.toml"], "range: bytes=16777216-")];
    for (project, arguments, held) in transfers {
        let mut child = start_until_held(project, arguments, held, &mischief);
        wait_without_server(&mut child, &mischief);
        mischief.lock().unwrap().away = false;
        assert_eq!(end(child).code, 0, "{arguments:?}");
    }
    assert_eq!((second.stored("objects").len(), second.pacer(&["verify"]).code), (2, 0));
}

#[test]
fn who_waits_for_a_server_stops_at_once_when_told_to() {
    let Some(server) = server("an interrupted wait") else { return };
    let (port, mischief) = proxy(&server);
    let project = sharing(port);
    assert_eq!(project.run(&["--no-remote"])["ran"], 2);
    let mut child = start_until_held(&project, &["push"], "partNumber=3", &mischief);
    wait_without_server(&mut child, &mischief);
    let told = std::time::Instant::now();
    signal(child.id() as i32, libc::SIGINT);
    assert_eq!(end(child).code, 130);
    // A pause would soon be longer than that.
    assert!(told.elapsed().as_secs() < 5, "{:?}", told.elapsed());
}

#[test]
fn who_is_told_to_stop_does_not_hear_out_a_server_that_is_silent() {
    let Some(server) = server("an interrupted silence") else { return };
    let (port, mischief) = proxy(&server);
    let project = sharing(port);
    assert_eq!(project.run(&["--no-remote"])["ran"], 2);
    let child = start_until_held(&project, &["push"], "partNumber=3", &mischief);
    let told = std::time::Instant::now();
    signal(child.id() as i32, libc::SIGINT);
    assert_eq!(end(child).code, 130);
    // A server may be silent for two minutes after a part.
    assert!(told.elapsed().as_secs() < 30, "{:?}", told.elapsed());
    mischief.lock().unwrap().hold(None);
    // What is there is whole all the same.
    assert_eq!(pacer(&project, &["push"]).code, 0);
}
