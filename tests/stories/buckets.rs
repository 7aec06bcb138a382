//! Results are shared through a bucket of S3: a server of the Python package `moto`, behind a proxy of our own that
//! breaks connections, answers that it is busy, holds requests back, and hides conditions and ranges from the server.

mod keys;
mod patience;
mod proxy;

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::buckets::proxy::{Mischief, proxy, seen};
use crate::harness::{Project, Said, not_checked, within_a_moment};
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
pub struct Server {
    process: Child,
    pub port: u16,
    _folder: tempfile::TempDir,
}

impl Server {
    /// Waits until somebody accepts; Python on a busy machine takes its time.
    fn wait(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(120);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let ended = self.process.try_wait().expect("it is our child");
            assert!(ended.is_none() && Instant::now() < deadline, "the server does not start: {ended:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Starts a server; `None` where there is none on this machine.
pub fn server(story: &str) -> Option<Server> {
    let python = python::with("moto", story)?;
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let process = python.start(folder.path(), &["-m", "moto.server", "-p", &port.to_string()]);
    let mut server = Server { process, port, _folder: folder };
    server.wait();
    put(&server, "", b"");
    Some(server)
}

/// Makes a bucket and a user who may do everything, and prints the user's key; four acts that nobody checks.
const SET_UP: &str = r#"
import boto3, sys
of = lambda name: boto3.client(name, endpoint_url="http://127.0.0.1:" + sys.argv[1], region_name="us-east-1",
                               aws_access_key_id="x", aws_secret_access_key="x")
of("s3").create_bucket(Bucket="lab")
of("iam").create_user(UserName="u")
all = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}'
of("iam").put_user_policy(UserName="u", PolicyName="all", PolicyDocument=all)
key = of("iam").create_access_key(UserName="u")["AccessKey"]
print(key["AccessKeyId"], key["SecretAccessKey"])
"#;

/// Cuts an object short as one who may write.
const CUT: &str = r#"
import boto3, sys
client = boto3.client("s3", endpoint_url="http://127.0.0.1:" + sys.argv[1], region_name="us-east-1",
                      aws_access_key_id="x", aws_secret_access_key="x")
client.put_object(Bucket="lab", Key=sys.argv[2], Body=b"3")
"#;

/// Up to 5.2.1 moto checks the signature of another address than was sent, where that has anything encoded.
const READS_ENCODED: &str = "import moto; print(tuple(map(int, moto.__version__.split('.')[:3])) > (5, 2, 1))";

/// Starts a server that checks every signature, a key that it knows, and whether it checks those of encoded addresses.
fn strict_server(story: &str) -> Option<(Server, Key, bool)> {
    let python = python::with("moto", story)?;
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let start = "import os, sys; os.environ['INITIAL_NO_AUTH_ACTION_COUNT'] = '4'; import moto.server; \
                 moto.server.main(['-p', sys.argv[1]])";
    let process = python.start(folder.path(), &["-c", start, &port.to_string()]);
    let mut server = Server { process, port, _folder: folder };
    server.wait();
    let told = python.run(&["-c", SET_UP, &port.to_string()]);
    let (id, secret) = told.trim().split_once(' ').expect("a key is told");
    let reads_encoded = python.run(&["-c", READS_ENCODED]).trim() == "True";
    Some((server, Key { id: id.to_owned(), secret: secret.to_owned() }, reads_encoded))
}

/// Puts an object past pacer; without a name, makes the bucket.
fn put(server: &Server, name: &str, bytes: &[u8]) {
    let answer = ureq::put(format!("http://127.0.0.1:{}/lab/{name}", server.port)).send(bytes);
    assert!(answer.expect("the server takes it").status().is_success());
}

/// Starts the program, and kills it when two parts or ranges got through and nothing else can.
fn kill_in_the_midst(project: &Project, arguments: &[&str], held: &'static str, mischief: &Mutex<Mischief>) {
    let mut child = start_until_held(project, arguments, held, mischief);
    child.kill().unwrap();
    child.wait().unwrap();
    mischief.lock().unwrap().hold(None);
}

/// Starts the program, and waits until two parts or ranges got through and nothing else can.
fn start_until_held(project: &Project, arguments: &[&str], held: &'static str, mischief: &Mutex<Mischief>) -> Child {
    until_held(command(project, arguments, &Key::default()), held, mischief)
}

fn until_held(mut command: Command, held: &'static str, mischief: &Mutex<Mischief>) -> Child {
    mischief.lock().unwrap().hold(Some(held));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("pacer can be started");
    within_a_moment("two of three do not get through", || mischief.lock().unwrap().answered == 2);
    assert!(child.try_wait().unwrap().is_none(), "it does not wait for the third");
    child
}

/// A project that shares its results in the bucket of a server behind this port.
fn sharing(port: u16) -> Project {
    sharing_in("a team/x", port)
}

fn sharing_in(folder: &str, port: u16) -> Project {
    let project = Project::new(PIPELINE);
    let text = format!("[remote]\nurl = \"s3://lab/{folder}\"\nendpoint = \"http://127.0.0.1:{port}\"\n");
    project.write("pacer.toml", &text);
    project
}

/// A key of S3.
struct Key {
    id: String,
    secret: String,
}

impl Default for Key {
    fn default() -> Self {
        Self { id: "key".into(), secret: SECRET.into() }
    }
}

fn command(project: &Project, arguments: &[&str], key: &Key) -> Command {
    let mut command = project.command(arguments);
    command.env("AWS_ACCESS_KEY_ID", &key.id).env("AWS_SECRET_ACCESS_KEY", &key.secret);
    for other in ["AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"] {
        command.env_remove(other);
    }
    command
}

/// Calls the program with credentials, and sees that it keeps them to itself.
fn pacer(project: &Project, arguments: &[&str]) -> Said {
    pacer_with(&Key::default(), project, arguments)
}

fn pacer_with(key: &Key, project: &Project, arguments: &[&str]) -> Said {
    let said = crate::harness::said(&command(project, arguments, key).output().expect("pacer can be started"));
    assert!(!said.out.contains(&key.secret) && !said.err.contains(&key.secret), "the secret was printed");
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

    put(&server, &format!("a%20team/x/objects/ab/{}", "0".repeat(62)), b"12345");
    put(&server, "a%20team/x/objects/ab/of-somebody", b"12345");
    let said = pacer(&first, &["gc", "--remote", "--grace", "0s", "--format", "json"]);
    assert!(said.out.contains("\"blobs\": 1") && said.out.contains("\"kept\": 3"), "{}{}", said.out, said.err);
    assert!(said.out.contains("\"foreign\": 1"), "{}{}", said.out, said.err);
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

#[test]
fn a_push_in_parts_that_is_killed_is_believed_by_nobody_and_goes_on() {
    let Some(server) = server("a killed push") else { return };
    let (port, mischief) = proxy(&server);
    let (first, second) = (sharing(port), sharing(port));
    assert_eq!(first.run(&["--no-remote"])["ran"], 2);
    kill_in_the_midst(&first, &["push"], "partNumber=3", &mischief);
    let said = pacer(&second, &["pull", "pipeline.toml", "large"]);
    assert!(said.code == 1 && said.err.contains("neither here nor in"), "{}{}", said.out, said.err);
    assert_eq!(second.stored("objects").len(), 0);
    let said = pacer(&first, &["push"]);
    assert_eq!((said.code, seen(&mischief, "partNumber=")), (0, 1), "two parts were there: {}", said.err);
    let said = pacer(&second, &["pull", "pipeline.toml"]);
    assert_eq!((said.code, second.pacer(&["verify"]).code), (0, 0), "{}", said.err);
}

#[test]
fn what_a_killed_run_began_to_push_is_given_up_by_a_collection_of_the_remote() {
    let Some(server) = server("a killed run that pushes") else { return };
    let (port, mischief) = proxy(&server);
    let project = sharing(port);
    kill_in_the_midst(&project, &["run", "pipeline.toml", "--push"], "partNumber=3", &mischief);
    let unfinished = |arguments: &[&str]| {
        let said = pacer(&project, &[&["gc", "--remote", "--format", "json"], arguments].concat());
        let told: serde_json::Value = serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{}", said.err));
        told["unfinished"].as_u64().expect("it is counted")
    };
    // This server says of every upload that it was begun in 2010, so none has any grace.
    assert_eq!(unfinished(&["--grace", "0s", "--dry-run"]), 1);
    assert_eq!(unfinished(&["--grace", "0s"]), 1);
    assert_eq!(unfinished(&["--grace", "0s"]), 0, "it is gone");
    mischief.lock().unwrap().seen.clear();
    let said = pacer(&project, &["run", "pipeline.toml", "--push"]);
    assert!(said.code == 0 && said.err.contains("0 ran, 2 reused"), "{}", said.err);
    // A run puts what it makes; what it found made is put by a push.
    let said = pacer(&project, &["push"]);
    assert_eq!((said.code, seen(&mischief, "partNumber=")), (0, 3), "{}", said.err);
    assert_eq!(pacer(&sharing(port), &["pull", "pipeline.toml"]).code, 0);
}

#[test]
fn a_pull_in_ranges_that_is_killed_goes_on_where_each_of_them_stood() {
    let Some(server) = server("a killed pull") else { return };
    let (port, mischief) = proxy(&server);
    let (first, second) = (sharing(port), sharing(port));
    assert_eq!(pacer(&first, &["run", "pipeline.toml", "--push"]).code, 0);
    kill_in_the_midst(&second, &["pull", "pipeline.toml", "large"], "range: bytes=16777216-", &mischief);
    let said = pacer(&second, &["pull", "pipeline.toml", "large", "--format", "json"]);
    assert_eq!((said.code, second.pacer(&["verify"]).code), (0, 0), "{}", said.err);
    let told: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    // The one that was held, and perhaps the end of what was under way.
    let moved = told["moved"].as_u64().unwrap();
    assert!((16 << 20..40_000_000).contains(&moved), "{told}");
}

#[test]
fn a_server_that_knows_no_ranges_gives_a_large_blob_in_one_piece() {
    let Some(server) = server("a server without ranges") else { return };
    let (port, mischief) = proxy(&server);
    let (first, second) = (sharing(port), sharing(port));
    assert_eq!(pacer(&first, &["run", "pipeline.toml", "--push"]).code, 0);
    mischief.lock().unwrap().hides_ranges = true;
    let said = pacer(&second, &["pull", "pipeline.toml"]);
    assert_eq!((said.code, second.stored("objects").len()), (0, 2), "{}", said.err);
    assert_eq!(second.pacer(&["verify"]).code, 0);
}

#[test]
fn every_request_is_signed_as_a_server_checks_it_and_a_wrong_secret_harms_no_run() {
    let Some((server, key, reads_encoded)) = strict_server("signatures that are checked") else { return };
    let folder = if reads_encoded { "a team/x" } else { "team/x" };
    let [first, second, third] = [(); 3].map(|()| sharing_in(folder, server.port));
    let said = pacer_with(&key, &first, &["run", "pipeline.toml", "--push"]);
    assert!(said.code == 0 && said.err.contains("pushed 2 results, 40.0 MB"), "{}", said.err);
    let said = pacer_with(&key, &second, &["pull", "pipeline.toml"]);
    assert!(said.code == 0 && said.out.starts_with("pulled 2 blobs"), "{}{}", said.out, said.err);
    if reads_encoded {
        let said = pacer_with(&key, &second, &["gc", "--remote", "--grace", "0s", "--older-than", "0s"]);
        assert!(said.code == 0 && said.out.contains("2 results"), "{}{}", said.out, said.err);
        let said = pacer_with(&key, &first, &["push"]);
        assert!(said.code == 0 && said.out.starts_with("pushed 2 results, 2 blobs"), "{}{}", said.out, said.err);
    } else {
        not_checked("signatures of lists: moto is older than 5.2.2");
    }

    let wrong = Key { id: key.id, ..Key::default() };
    let said = pacer_with(&wrong, &third, &["run", "pipeline.toml", "--push"]);
    assert!(said.code == 0 && said.err.contains("2 ran"), "{}", said.err);
    assert_eq!(said.err.matches("going on without it").count(), 1, "{}", said.err);
    let said = pacer_with(&wrong, &third, &["push"]);
    assert!(said.code == 2 && said.err.contains("signature"), "{}", said.err);
}

#[test]
fn many_results_are_pushed_by_a_list_of_what_is_there_where_that_may_be_had() {
    let Some(server) = server("a push of many") else { return };
    let (port, mischief) = proxy(&server);
    let project = sharing(port);
    let stage = |number| {
        let run = format!("run = [\"sh\", \"-c\", \"echo {number} > {{outputs.text}}\"]");
        format!("[stages.s{number}]\nkind = \"command\"\n{run}\noutputs = {{ text = \"file\" }}\n")
    };
    project.write("pipeline.toml", &(0..10).map(stage).collect::<String>());
    assert_eq!(project.run(&["--no-remote"])["ran"], 10);
    let push = || {
        mischief.lock().unwrap().seen.clear();
        let said = pacer(&project, &["push", "--format", "json"]);
        let told: serde_json::Value = serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{}", said.err));
        let asked = [seen(&mischief, "list-type=2"), seen(&mischief, "HEAD ")];
        (told["results"].as_u64().unwrap(), told["blobs"].as_u64().unwrap(), asked)
    };
    assert_eq!(push(), (10, 10, [2, 0]));
    assert_eq!(push(), (0, 0, [2, 0]));
    // What somebody cut short is seen in the list.
    let digest = project.show("s3")["artifacts"][0]["digest"].as_str().unwrap().to_owned();
    let key = format!("a team/x/objects/{}/{}", &digest[..2], &digest[2..]);
    let python = python::with("moto", "a blob that was cut short").expect("the server runs on it");
    let cut = || drop(python.run(&["-c", CUT, &server.port.to_string(), &key]));
    cut();
    assert_eq!(push(), (0, 1, [2, 0]));
    mischief.lock().unwrap().denies_lists = true;
    cut();
    assert_eq!(push(), (0, 1, [1, 10]), "each is asked for");
}
