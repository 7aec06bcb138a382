//! `pacer serve` as a child process, and requests to it, written by hand so that they can be wrong. Unaware of what is
//! served.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::time::Duration;

use crate::harness::{Project, signal, within_a_moment};

/// A server of a project's store.
pub struct Server {
    child: Child,
    /// Where it listens.
    pub port: u16,
    /// The token that it made, where it made one.
    pub token: Option<String>,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

/// Events as they come.
pub struct Events(BufReader<TcpStream>);

/// An event: its name, its id and its data.
#[derive(Debug)]
pub struct Told {
    pub name: String,
    pub id: String,
    pub data: String,
}

impl Server {
    /// Starts it on a port that is free.
    pub fn start(project: &Project, arguments: &[&str]) -> Self {
        let mut command = project.command(&[&["serve", "--port", "0"], arguments].concat());
        command.env_remove("PACER_TOKEN").stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("pacer can be started");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().trim_end_matches('/').rsplit(':').next().unwrap();
        let port = port.parse().unwrap_or_else(|_| panic!("no address: {line:?}"));
        let mut said = String::new();
        BufReader::new(child.stderr.take().unwrap()).read_line(&mut said).unwrap();
        let token = said.strip_prefix("token: ").map(|token| token.trim().to_owned());
        assert!(token.as_ref().is_none_or(|token| !line.contains(token)), "{line}");
        Self { child, port, token }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).expect("the server is there");
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }

    /// Sends a request as it stands; `HOST` becomes the server's own name.
    pub fn send(&self, text: &str) -> Answer {
        let mut stream = self.connect();
        let host = format!("127.0.0.1:{}", self.port);
        stream.write_all(text.replace("HOST", &host).as_bytes()).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{text:?}: {answer:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    /// Asks by a method for a path, with lines of headers.
    pub fn ask(&self, method: &str, path: &str, headers: &str) -> Answer {
        self.send(&format!("{method} {path} HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n{headers}\r\n"))
    }

    /// A page that must be there.
    pub fn page(&self, path: &str) -> String {
        let answer = self.ask("GET", path, "");
        assert_eq!(answer.status, 200, "{path}\n{}", answer.body);
        answer.body
    }

    /// Listens to a run, from the event after `last` on.
    pub fn listen(&self, run: &str, last: &str) -> Events {
        let mut stream = self.connect();
        let host = format!("127.0.0.1:{}", self.port);
        let last = if last.is_empty() { String::new() } else { format!("Last-Event-ID: {last}\r\n") };
        let text = format!("GET /runs/{run}/events HTTP/1.1\r\nHost: {host}\r\n{last}\r\n");
        stream.write_all(text.as_bytes()).unwrap();
        Events(BufReader::new(stream))
    }

    /// Asks it to end, and returns how it did.
    pub fn end(mut self) -> Option<i32> {
        signal(self.child.id().cast_signed(), libc::SIGINT);
        within_a_moment("the server does not end", || self.child.try_wait().unwrap().is_some());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Events {
    /// The next event; none when no more come.
    pub fn next(&mut self) -> Option<Told> {
        let mut told = Told { name: String::new(), id: String::new(), data: String::new() };
        loop {
            let mut line = String::new();
            // The last chunk has no length.
            if self.0.read_line(&mut line).unwrap() == 0 || line == "0\r\n" {
                return None;
            }
            let value = |name: &str| line.strip_prefix(name).map(|value| value.trim_start().trim_end_matches('\n'));
            if let Some(name) = value("event:") {
                name.clone_into(&mut told.name);
            } else if let Some(id) = value("id:") {
                id.clone_into(&mut told.id);
            } else if let Some(data) = value("data:") {
                told.data += data;
                told.data.push('\n');
            } else if line == "\n" && !told.name.is_empty() {
                return Some(told);
            }
        }
    }

    /// The first event from here on that holds all of some texts.
    pub fn until(&mut self, texts: &[&str]) -> Told {
        let holds = |told: &Told| texts.iter().all(|text| told.data.contains(text));
        std::iter::from_fn(|| self.next()).find(holds).expect("it is told")
    }

    /// All events from here to the last.
    pub fn rest(&mut self) -> Vec<Told> {
        std::iter::from_fn(|| self.next()).collect()
    }
}
