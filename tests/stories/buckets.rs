//! Results are shared through a bucket of S3: a server of the Python package `moto`, behind a proxy of our own that
//! breaks connections, answers that it is busy, and hides conditions from the server.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::Child;
use std::sync::{Arc, Mutex};

use crate::harness::{Project, Said, within_a_moment};
use crate::python;

/// What nobody must see.
const SECRET: &str = "a-secret-that-nobody-sees";

/// A small stage, and one whose blob is so large that it goes in parts.
const PIPELINE: &str = r#"
[stages.large]
kind = "command"
run = ["sh", "-c", "yes 0123456789 | head -c 40000000 > {outputs.data}"]
outputs = { data = "file" }

[stages.small]
kind = "command"
inputs.files.data = "large"
run = ["sh", "-c", "wc -c < {inputs.data} > {outputs.count}"]
outputs = { count = "file" }
"#;

/// A server with a bucket; it ends with the story.
struct Server {
    process: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Starts a server; `None` where there is none on this machine.
fn server(story: &str) -> Option<Server> {
    let python = python::with("moto", story)?;
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let process = python.start(folder.path(), &["-m", "moto.server", "-p", &port.to_string()]);
    let server = Server { process, port, _folder: folder };
    within_a_moment("the server does not start", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    put(&server, "", b"");
    Some(server)
}

/// Puts an object past pacer; without a name, makes the bucket.
fn put(server: &Server, name: &str, bytes: &[u8]) {
    let answer = ureq::put(format!("http://127.0.0.1:{}/lab/{name}", server.port)).send(bytes);
    assert!(answer.expect("the server takes it").status().is_success());
}

/// What a proxy does to those who go through it.
#[derive(Default)]
struct Mischief {
    /// The next answers that say that the server is busy.
    busy: usize,
    /// The next answers with objects that break off in the middle.
    broken: usize,
    /// The next parts of uploads that do not get through.
    lost_parts: usize,
    /// First lines of the requests so far.
    seen: Vec<String>,
}

/// A proxy before a server, and what it is to do.
fn proxy(server: &Server) -> (u16, Arc<Mutex<Mischief>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, upstream) = (listener.local_addr().unwrap().port(), server.port);
    let mischief = Arc::new(Mutex::new(Mischief::default()));
    let shared = Arc::clone(&mischief);
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let shared = Arc::clone(&shared);
            // One request a connection; a client that is gone is no fault of the story.
            std::thread::spawn(move || pass_on(client, upstream, &shared).unwrap_or_default());
        }
    });
    (port, mischief)
}

fn pass_on(mut client: TcpStream, upstream: u16, mischief: &Mutex<Mischief>) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let lines: Vec<&str> = head.trim_end().split("\r\n").collect();
    let of = |name: &str| lines.iter().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
    let is_part = lines[0].contains("partNumber=");
    let is_blob = lines[0].starts_with("GET") && lines[0].contains("/objects/");
    let take = |count: &mut usize, applies: bool| {
        let taken = applies && *count > 0;
        *count -= usize::from(taken);
        taken
    };
    let (busy, broken, lost) = {
        let mut mischief = mischief.lock().unwrap();
        mischief.seen.push(lines[0].to_owned());
        let Mischief { busy, broken, lost_parts, .. } = &mut *mischief;
        (take(busy, true), take(broken, is_blob), take(lost_parts, is_part))
    };
    let length = of("content-length: ").and_then(|length| length.parse().ok()).unwrap_or(0_u64);
    if busy || lost {
        std::io::copy(&mut (&client).take(if lost { length / 2 } else { length }), &mut std::io::sink())?;
        let answer = b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        return if lost { client.shutdown(Shutdown::Both) } else { client.write_all(answer) };
    }
    let mut server = TcpStream::connect(("127.0.0.1", upstream))?;
    let kept = lines.iter().filter(|line| !line.starts_with("if-none-match") && !line.starts_with("connection"));
    let head: String = kept.map(|line| format!("{line}\r\n")).collect();
    server.write_all(format!("{head}connection: close\r\n\r\n").as_bytes())?;
    std::io::copy(&mut (&client).take(length), &mut server)?;
    std::io::copy(&mut (&server).take(if broken { 1 << 20 } else { u64::MAX }), &mut client)?;
    client.shutdown(Shutdown::Both)
}

/// A project that shares its results in the bucket of a server behind this port.
fn sharing(port: u16) -> Project {
    let project = Project::new(PIPELINE);
    let text = format!("[remote]\nurl = \"s3://lab/a team/x\"\nendpoint = \"http://127.0.0.1:{port}\"\n");
    project.write("pacer.toml", &text);
    project
}

/// Calls the program with credentials, and sees that it keeps them to itself.
fn pacer(project: &Project, arguments: &[&str]) -> Said {
    let mut command = project.command(arguments);
    command.env("AWS_ACCESS_KEY_ID", "key").env("AWS_SECRET_ACCESS_KEY", SECRET);
    for other in ["AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"] {
        command.env_remove(other);
    }
    let said = crate::harness::said(&command.output().expect("pacer can be started"));
    assert!(!said.out.contains(SECRET) && !said.err.contains(SECRET), "the secret was printed");
    said
}

fn holds_secret(folder: &Path) -> bool {
    let is_told = |path: &Path| fs::read(path).is_ok_and(|text| String::from_utf8_lossy(&text).contains(SECRET));
    fs::read_dir(folder).into_iter().flatten().flatten().any(|entry| match entry.path() {
        path if path.is_dir() => holds_secret(&path),
        path => is_told(&path),
    })
}

#[test]
fn a_bucket_is_shared_like_a_folder_and_no_secret_is_told() {
    let Some(server) = server("results in a bucket") else { return };
    let (first, second) = (sharing(server.port), sharing(server.port));
    let said = pacer(&first, &["run", "pipeline.toml", "--push"]);
    assert!(said.code == 0 && said.err.contains("pushed 2 results, 40.0 MB"), "{}", said.err);
    let said = pacer(&second, &["run", "pipeline.toml"]);
    assert!(said.code == 0 && said.err.contains("0 ran, 2 reused"), "{}", said.err);
    assert_eq!(second.stored("objects").len(), 0);
    let said = pacer(&second, &["pull", "pipeline.toml", "small", "--format", "json"]);
    assert!(said.code == 0 && said.out.contains("\"moved\": 9"), "{}{}", said.out, said.err);
    let said = pacer(&second, &["pull", "pipeline.toml"]);
    assert!(said.code == 0 && said.out.starts_with("pulled 1 blob, 40.0 MB"), "{}{}", said.out, said.err);
    assert_eq!(second.pacer(&["verify"]).code, 0);
    let said = pacer(&second, &["push", "--format", "json"]);
    assert!(said.code == 0 && said.out.contains("\"blobs\": 0") && said.out.contains("\"there\": 2"), "{}", said.out);

    // Somebody changes a blob; whoever needs it names it, and makes it anew.
    let digest = first.show("large")["artifacts"][0]["digest"].as_str().unwrap().to_owned();
    put(&server, &format!("a%20team/x/objects/{}/{}", &digest[..2], &digest[2..]), &vec![b'x'; 40_000_000]);
    let third = sharing(server.port);
    third.edit("wc -c", "wc -l");
    let said = pacer(&third, &["run", "pipeline.toml", "--push"]);
    assert!(said.err.contains(&digest[2..]) && said.err.contains("not those of its name"), "{}", said.err);
    assert!(said.code == 0 && said.err.contains("2 ran"), "{}", said.err);
    assert_eq!(pacer(&sharing(server.port), &["pull", "pipeline.toml"]).code, 0);

    put(&server, "a%20team/x/objects/ab/loose", b"12345");
    let said = pacer(&first, &["gc", "--remote", "--grace", "0s", "--format", "json"]);
    assert!(said.out.contains("\"blobs\": 1") && said.out.contains("\"kept\": 3"), "{}{}", said.out, said.err);
    assert!(!holds_secret(&first.path("")), "the secret was written down");
}

#[test]
fn transfers_go_on_where_they_broke_off() {
    let Some(server) = server("broken transfers") else { return };
    let (port, mischief) = proxy(&server);
    let (first, second) = (sharing(port), sharing(port));
    assert_eq!(first.run(&["--no-remote"])["ran"], 2);
    mischief.lock().unwrap().lost_parts = 1;
    let said = pacer(&first, &["push"]);
    assert_eq!(said.code, 0, "{}", said.err);
    let parts = mischief.lock().unwrap().seen.iter().filter(|line| line.contains("partNumber=")).count();
    assert_eq!(parts, 4, "three parts, and one of them again");
    {
        let mut mischief = mischief.lock().unwrap();
        (mischief.busy, mischief.broken) = (2, 3);
        mischief.seen.clear();
    }
    let said = pacer(&second, &["pull", "pipeline.toml", "--format", "json"]);
    assert_eq!(said.code, 0, "{}", said.err);
    // Each byte came once, though the answers broke off.
    assert!(said.out.contains("\"moved\": 40000009"), "{}", said.out);
    let gets =
        mischief.lock().unwrap().seen.iter().filter(|line| line.contains("GET") && line.contains("/objects/")).count();
    assert!(gets >= 4, "{gets} requests for two blobs, though some broke off");
    assert_eq!(second.pacer(&["verify"]).code, 0);
}

#[test]
fn a_server_that_keeps_no_first_result_does_no_harm() {
    let Some(server) = server("a server without conditions") else { return };
    let (port, _) = proxy(&server);
    let hidden = tempfile::NamedTempFile::new().unwrap();
    let projects = ["one", "other"].map(|text| {
        // The stage's result depends on a file that its key does not know.
        fs::write(hidden.path(), text).unwrap();
        let project = sharing(port);
        project.edit("wc -c < {inputs.data}", &format!("cat {}", hidden.path().display()));
        assert_eq!(project.run(&["--no-remote"])["ran"], 2);
        project
    });
    std::thread::scope(|scope| {
        for project in &projects {
            scope.spawn(|| assert_eq!(pacer(project, &["push"]).code, 0));
        }
    });
    let third = sharing(port);
    third.edit("wc -c < {inputs.data}", &format!("cat {}", hidden.path().display()));
    let said = pacer(&third, &["pull", "pipeline.toml"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert_eq!(third.pacer(&["verify"]).code, 0);
    let digest = |project: &Project| project.show("small")["artifacts"][0]["digest"].clone();
    assert!(projects.iter().any(|project| digest(project) == digest(&third)));
}
