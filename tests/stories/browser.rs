//! A headless Chromium, spoken to over a pipe by its DevTools protocol. Unaware of what its pages show.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

/// How long one answer may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A browser with one page, whose network is off.
pub struct Browser {
    child: Child,
    to: File,
    from: Receiver<Value>,
    calls: u64,
    session: Option<String>,
    /// Events that came and were not asked for yet.
    events: Vec<Value>,
    _profile: TempDir,
}

/// A place on a page, in pixels.
#[derive(Clone, Copy, Debug)]
pub struct Clip {
    /// From the left.
    pub x: f64,
    /// From the top.
    pub y: f64,
    /// Across.
    pub width: f64,
    /// Down.
    pub height: f64,
}

impl Browser {
    /// Starts the first browser on the path; none where there is none, which is said.
    pub fn start() -> Option<Self> {
        let Some(program) = find() else {
            let words = "NOT CHECKED: there is no chromium, chromium-browser or google-chrome\n";
            let _ = std::io::stderr().write_all(words.as_bytes());
            return None;
        };
        let profile = tempfile::tempdir().expect("a temporary folder can be made");
        let (hears, to) = std::io::pipe().expect("a pipe can be made");
        let (from, speaks) = std::io::pipe().expect("a pipe can be made");
        let (hears, speaks) = (OwnedFd::from(hears), OwnedFd::from(speaks));
        let ends = [hears.as_raw_fd(), speaks.as_raw_fd()];
        let mut command = Command::new(program);
        command
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
            .args([
                "--hide-scrollbars",
                "--remote-debugging-pipe",
                "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // SAFETY: between fork and exec only descriptors are copied, by calls that are safe there.
        unsafe {
            command.pre_exec(move || {
                // Out of the way first, as one of them may be what the other shall become.
                let high = ends.map(|end| libc::fcntl(end, libc::F_DUPFD, 10));
                let placed = [libc::dup2(high[0], 3), libc::dup2(high[1], 4)];
                match placed {
                    [3, 4] => Ok(()),
                    _ => Err(std::io::Error::last_os_error()),
                }
            });
        }
        let child = command.spawn().expect("the browser can be started");
        drop((hears, speaks));
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            for message in BufReader::new(from).split(0).map_while(Result::ok) {
                let Ok(message) = serde_json::from_slice(&message) else { continue };
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        let to = File::from(OwnedFd::from(to));
        let mut browser =
            Self { child, to, from: receiver, calls: 0, session: None, events: Vec::new(), _profile: profile };
        browser.new_page();
        Some(browser)
    }

    fn new_page(&mut self) {
        let target = self.call("Target.createTarget", json!({"url": "about:blank"}))["targetId"].clone();
        let attached = self.call("Target.attachToTarget", json!({"targetId": target, "flatten": true}));
        self.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network", "DOM"] {
            self.call(&format!("{domain}.enable"), json!({}));
        }
        let offline = json!({"offline": true, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0});
        self.call("Network.emulateNetworkConditions", offline);
    }

    /// Calls a method and returns its result.
    pub fn call(&mut self, method: &str, params: Value) -> Value {
        self.calls += 1;
        let mut call = json!({"id": self.calls, "method": method, "params": params});
        if let Some(session) = &self.session {
            call["sessionId"] = session.clone().into();
        }
        self.to.write_all(format!("{call}\0").as_bytes()).expect("the browser listens");
        loop {
            let message = self.from.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no answer to `{method}`"));
            if message["id"] == self.calls {
                assert!(message["error"].is_null(), "{method}: {}", message["error"]);
                return message["result"].clone();
            }
            self.events.push(message);
        }
    }

    /// Opens a file and waits until it is loaded.
    pub fn open(&mut self, file: &Path) {
        self.open_address(&format!("file://{}", file.display()));
    }

    /// Opens an address and waits until it is loaded.
    pub fn open_address(&mut self, address: &str) {
        self.events.clear();
        self.call("Page.navigate", json!({ "url": address }));
        while !self.events.iter().any(|event| event["method"] == "Page.loadEventFired") {
            let event = self.from.recv_timeout(PATIENCE).expect("the page is loaded");
            self.events.push(event);
        }
    }

    /// Waits until the page that was opened has loaded itself anew. Meanwhile it cannot be asked anything.
    pub fn wait_for_reload(&mut self) {
        while self.events.iter().filter(|event| event["method"] == "Page.loadEventFired").count() < 2 {
            let event = self.from.recv_timeout(PATIENCE).expect("the page is loaded anew");
            self.events.push(event);
        }
    }

    /// Sets the width of the window and the scheme of colours.
    pub fn look(&mut self, width: u32, scheme: &str, media: &str) {
        let size = json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500});
        self.call("Emulation.setDeviceMetricsOverride", size);
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.call("Emulation.setEmulatedMedia", json!({"media": media, "features": features}));
    }

    /// What an expression comes to on the page.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let params = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let result = self.call("Runtime.evaluate", params);
        assert!(result["exceptionDetails"].is_null(), "{}", result["exceptionDetails"]);
        result["result"]["value"].clone()
    }

    /// What the console was told of errors and warnings since the page was opened.
    pub fn complaints(&self) -> Vec<String> {
        let is_complaint = |event: &&Value| match event["method"].as_str() {
            Some("Log.entryAdded") => event["params"]["entry"]["level"] != "info",
            Some("Runtime.exceptionThrown") => true,
            Some("Runtime.consoleAPICalled") => event["params"]["type"] != "log",
            _ => false,
        };
        self.events.iter().filter(is_complaint).map(|event| event["params"].to_string()).collect()
    }

    /// The addresses that were asked for since the page was opened.
    pub fn requests(&self) -> Vec<String> {
        let sent = self.events.iter().filter(|event| event["method"] == "Network.requestWillBeSent");
        sent.filter_map(|event| event["params"]["request"]["url"].as_str().map(str::to_owned)).collect()
    }

    /// A picture of a part of the page, as PNG.
    pub fn picture(&mut self, clip: Clip) -> Vec<u8> {
        use base64::Engine as _;
        let Clip { x, y, width, height } = clip;
        let clip = json!({"x": x, "y": y, "width": width, "height": height, "scale": 1});
        let params = json!({"format": "png", "clip": clip, "captureBeyondViewport": true});
        let picture = self.call("Page.captureScreenshot", params);
        let text = picture["data"].as_str().expect("a picture is text");
        base64::engine::general_purpose::STANDARD.decode(text).expect("the text is base64")
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn find() -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let mut paths = std::env::split_paths(&folders).flat_map(|folder| names.map(|name| folder.join(name)));
    paths.find(|path| path.is_file())
}
