//! Keys of S3 that end in the midst of a transfer, and keys that may not do all.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Child;

use super::proxy::{Mischief, proxy};
use super::{Key, command, pacer, server, sharing, until_held};
use crate::harness::{Project, Said, said};

fn end(child: Child) -> Said {
    said(&child.wait_with_output().expect("it was started"))
}

/// Writes a key into the file where clients of S3 look for it.
fn write_key(project: &Project, id: &str) {
    let text = format!("[default]\naws_access_key_id = {id}\naws_secret_access_key = secret-of-{id}\n");
    project.write("credentials", &text);
    std::fs::set_permissions(project.path("credentials"), std::fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn a_key_that_ends_in_the_midst_of_a_push_is_looked_for_again_where_it_was_found() {
    let Some(server) = server("a key that ends") else { return };
    let (port, mischief) = proxy(&server);
    let project = sharing(port);
    assert_eq!(project.run(&["--no-remote"])["ran"], 2);
    write_key(&project, "FIRST");
    let push = || {
        let mut command = command(&project, &["push"], &Key::default());
        command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
        command.env("AWS_SHARED_CREDENTIALS_FILE", project.path("credentials"));
        command
    };
    let child = until_held(push(), "partNumber=3", &mischief);
    write_key(&project, "SECOND");
    {
        let mut mischief = mischief.lock().unwrap();
        mischief.expired = Some("Credential=FIRST/");
        mischief.hold(None);
    }
    let said = end(child);
    assert!(said.code == 0 && said.out.starts_with("pushed 2 results"), "{}{}", said.out, said.err);
    // One that is not renewed is told of.
    mischief.lock().unwrap().expired = Some("Credential=SECOND/");
    let said = end(push().stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap());
    assert!(said.code == 2 && said.err.contains("ExpiredToken"), "{}{}", said.out, said.err);
    assert!(!said.err.contains("secret-of"), "{}", said.err);
}

#[test]
fn a_key_that_may_not_list_what_is_there_pushes_runs_and_pulls() {
    let Some(server) = server("a key that may not list") else { return };
    let (port, mischief) = proxy(&server);
    *mischief.lock().unwrap() = Mischief { denies_lists: true, hides_absence: true, ..Mischief::default() };
    let [first, second, third] = [(); 3].map(|()| sharing(port));
    // The remote is empty: it is not told that nothing is there, but what is put can be read.
    let said = pacer(&first, &["run", "pipeline.toml", "--push"]);
    assert!(said.code == 0 && said.err.contains("pushed 2 results"), "{}", said.err);
    assert!(said.err.contains("s3:ListBucket"), "{}", said.err);
    second.edit("wc -c", "wc -l");
    let said = pacer(&second, &["run", "pipeline.toml"]);
    assert!(said.code == 0 && said.err.contains("1 ran, 1 reused"), "{}", said.err);
    assert!(!said.err.contains("going on without it"), "{}", said.err);
    let said = pacer(&second, &["push"]);
    assert!(said.code == 0 && said.out.starts_with("pushed 1 result"), "{}{}", said.out, said.err);
    let said = pacer(&third, &["pull", "pipeline.toml"]);
    assert!(said.code == 0 && said.out.starts_with("pulled 2 blobs"), "{}{}", said.out, said.err);
    assert_eq!(third.pacer(&["verify"]).code, 0);
}

#[test]
fn a_first_push_of_a_key_that_may_not_list_makes_the_remote() {
    let Some(server) = server("a first push of a key that may not list") else { return };
    let (port, mischief) = proxy(&server);
    *mischief.lock().unwrap() = Mischief { denies_lists: true, hides_absence: true, ..Mischief::default() };
    let project = sharing(port);
    assert_eq!(project.run(&["--no-remote"])["ran"], 2);
    let said = pacer(&project, &["push"]);
    assert!(said.code == 0 && said.out.starts_with("pushed 2 results"), "{}{}", said.out, said.err);
}
