//! A proxy before a server of S3 that breaks connections, answers that it is busy, holds requests back, goes away, and
//! hides conditions and ranges from the server. Unaware of what is asked for.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::buckets::Server;

/// What a proxy does to those who go through it.
#[derive(Default)]
pub struct Mischief {
    /// The next answers that say that the server is busy.
    pub busy: usize,
    /// The next answers with objects that break off in the middle.
    pub broken: usize,
    /// The next parts of uploads that do not get through.
    pub lost_parts: usize,
    /// Requests whose heads hold this get through to nobody before it is taken away, nor then.
    pub held: Option<&'static str>,
    /// Whether nobody may list what is there.
    pub denies_lists: bool,
    /// Whether it is denied, too, that something is not there.
    pub hides_absence: bool,
    /// Whether the server sees no ranges.
    pub hides_ranges: bool,
    /// Requests whose heads hold this are told that their key has expired.
    pub expired: Option<&'static str>,
    /// Whether nobody is there.
    pub away: bool,
    /// First lines of the requests so far.
    pub seen: Vec<String>,
    /// How many parts and ranges were answered.
    pub answered: usize,
}

impl Mischief {
    /// Holds other requests back than before, and counts anew.
    pub fn hold(&mut self, held: Option<&'static str>) {
        (self.held, self.answered) = (held, 0);
        self.seen.clear();
    }
}

/// A proxy before a server, and what it is to do.
pub fn proxy(server: &Server) -> (u16, Arc<Mutex<Mischief>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, upstream) = (listener.local_addr().unwrap().port(), server.port);
    let mischief = Arc::new(Mutex::new(Mischief::default()));
    let shared = Arc::clone(&mischief);
    std::thread::spawn(move || {
        let (mut listener, is_away) = (Some(listener), || shared.lock().unwrap().away);
        while let Some(open) = listener.take() {
            for client in open.incoming().flatten().take_while(|_| !is_away()) {
                let shared = Arc::clone(&shared);
                // One request a connection; a client that is gone is no fault of the story.
                std::thread::spawn(move || pass_on(client, upstream, &shared).unwrap_or_default());
            }
            drop(open);
            while is_away() {
                std::thread::sleep(Duration::from_millis(5));
            }
            listener = TcpListener::bind(("127.0.0.1", port)).ok();
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
    let is_list = lines[0].contains("list-type=2") || lines[0].contains("?uploads=&prefix");
    if is_list && mischief.lock().unwrap().denies_lists {
        return client.write_all(&refusal(&lines, "403 Forbidden", "AccessDenied"));
    }
    if mischief.lock().unwrap().expired.is_some_and(|key| head.contains(key)) {
        std::io::copy(&mut (&client).take(length), &mut std::io::sink())?;
        return client.write_all(&refusal(&lines, "400 Bad Request", "ExpiredToken"));
    }
    if is_held(&head, mischief) {
        while is_held(&head, mischief) {
            std::thread::sleep(Duration::from_millis(5));
        }
        return client.shutdown(Shutdown::Both);
    }
    let mut server = TcpStream::connect(("127.0.0.1", upstream))?;
    let mut hidden = vec!["if-none-match", "connection"];
    hidden.extend(mischief.lock().unwrap().hides_ranges.then_some("range"));
    let kept = lines.iter().filter(|line| !hidden.iter().any(|name| line.starts_with(name)));
    let head: String = kept.map(|line| format!("{line}\r\n")).collect();
    server.write_all(format!("{head}connection: close\r\n\r\n").as_bytes())?;
    std::io::copy(&mut (&client).take(length), &mut server)?;
    let mut status = [0; "HTTP/1.1 404".len()];
    server.read_exact(&mut status)?;
    if status.ends_with(b"404") && mischief.lock().unwrap().hides_absence {
        return client.write_all(&refusal(&lines, "403 Forbidden", "AccessDenied"));
    }
    client.write_all(&status)?;
    std::io::copy(&mut (&server).take(if broken { 1 << 20 } else { u64::MAX }), &mut client)?;
    mischief.lock().unwrap().answered += usize::from(is_part || of("range: ").is_some());
    client.shutdown(Shutdown::Both)
}

/// An answer that says why there is no other.
fn refusal(lines: &[&str], status: &str, code: &str) -> Vec<u8> {
    let text = format!("<Error><Code>{code}</Code><Message>{code}</Message></Error>");
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", text.len());
    // The answer to HEAD has no body.
    if lines[0].starts_with("HEAD") { head.into_bytes() } else { (head + &text).into_bytes() }
}

fn is_held(head: &str, mischief: &Mutex<Mischief>) -> bool {
    mischief.lock().unwrap().held.is_some_and(|text| head.contains(text))
}

/// How many requests had this in their first lines.
pub fn seen(mischief: &Mutex<Mischief>, text: &str) -> usize {
    mischief.lock().unwrap().seen.iter().filter(|line| line.contains(text)).count()
}
