//! `pacer serve` as a browser and as an enemy see it: pages, events of a run that goes on, and who is refused. Requests
//! are written by hand, so that they can be wrong.

mod server;

use std::process::Child;

use serde_json::{Value, json};

use crate::browser::{Browser, Clip};
use crate::harness::{Project, TRAINING, chain, signal, within_a_moment};
use crate::serving::server::Server;

/// The ids of a project's runs, newest first.
fn runs(project: &Project) -> Vec<String> {
    let listed: Value = serde_json::from_str(&project.pacer(&["ls", "--format", "json"]).out).unwrap();
    let id = |run: &Value| run["run"].as_str().unwrap().to_owned();
    listed["runs"].as_array().unwrap().iter().map(id).collect()
}

/// A project with a run that goes on until the file `go` is there.
fn slow() -> (Project, Child) {
    let project = Project::new("");
    let go = project.path("go").display().to_string();
    project.write(
        "pipeline.toml",
        &format!(
            "[stages.quick]\nkind = \"command\"\nrun = [\"sh\", \"-c\", \"echo 1 > {{outputs.it}}\"]\noutputs = {{ it = \
             \"file\" }}\n\n[stages.slow]\nkind = \"command\"\ninputs.files.it = \"quick\"\nrun = [\"sh\", \"-c\", \"echo \
             '<b>at work</b>'; while [ ! -e {go} ]; do sleep 0.05; done; cp {{inputs.it}} {{outputs.it}}\"]\noutputs = {{ \
             it = \"file\" }}\n"
        ),
    );
    let child = project.start(&["pipeline.toml"]);
    within_a_moment("the run begins", || !runs(&project).is_empty());
    (project, child)
}

#[test]
fn runs_are_listed_and_filtered_without_a_script() {
    let project = chain();
    project.run(&[]);
    project.edit("wc -l", "false");
    project.run(&[]);
    let [failed, done] = runs(&project).try_into().unwrap();
    let server = Server::start(&project, &[]);
    let all = server.page("/");
    assert!(all.contains(&format!("href=\"/runs/{done}\"")) && all.contains(&format!("value=\"{failed}\"")), "{all}");
    assert!(!all.contains("<script"), "{all}");
    for (query, wanted) in [
        ("state=failed", [true, false]),
        ("state=done&pipeline=&since=1h&text=", [false, true]),
        ("pipeline=pipeline", [true, true]),
        ("pipeline=other", [false, false]),
        (&format!("text={}", done.to_uppercase()), [false, true]),
        ("since=2999-01-01", [false, false]),
    ] {
        let page = server.page(&format!("/?{query}"));
        assert_eq!([&failed, &done].map(|run| page.contains(run.as_str())), wanted, "{query}");
    }
    let wrong = server.page("/?since=%3Cb%3E&text=%22%3E%3Cscript%3E");
    assert!(wrong.contains("role=\"alert\"") && !wrong.contains("<script") && !wrong.contains("<b>"), "{wrong}");
}

#[test]
fn the_page_of_a_run_is_its_report_also_as_markdown_and_json() {
    let project = chain();
    project.edit("head -n 1", "echo told; head -n 1");
    project.edit("wc -l", "echo '<i>wrong</i>' >&2; false");
    project.run(&[]);
    let run = runs(&project).remove(0);
    let server = Server::start(&project, &[]);
    let page = server.page(&format!("/runs/{run}"));
    for part in ["<h2 id=\"run-h\">", "id=\"artifacts\"", "id=\"logs\"", "<svg", "/report.md"] {
        assert!(page.contains(part), "{part}\n{page}");
    }
    assert!(!page.contains("id=\"live\"") && !page.contains("<script") && !page.contains("<style"), "{page}");
    for (form, name) in [("markdown", "md"), ("json", "json")] {
        let said = project.pacer(&["report", &run, "--format", form]).out;
        assert_eq!(server.page(&format!("/runs/{run}/report.{name}")), said);
    }
    let log = server.ask("GET", &format!("/runs/{run}/log/third"), "");
    assert!(log.head.contains("content-type: text/plain; charset=utf-8"), "{}", log.head);
    assert!(log.body.contains("<i>wrong</i>"), "{}", log.body);
    assert_eq!(server.ask("GET", &format!("/runs/{run}/log/none"), "").status, 404);
}

#[test]
fn a_run_that_goes_on_is_told_before_it_ends_and_who_comes_back_misses_and_hears_nothing_twice() {
    let (project, mut child) = slow();
    let run = runs(&project).remove(0);
    let server = Server::start(&project, &[]);
    let mut one = server.listen(&run, "");
    let mut other = server.listen(&run, "");
    let told = one.until(&["&lt;b&gt;at work&lt;/b&gt;", "1 of 2 done, 1 running"]);
    assert_eq!(told.name, "live");
    assert!(child.try_wait().unwrap().is_none(), "the run has ended");
    let page = server.page(&format!("/runs/{run}"));
    assert!(page.contains("id=\"live\"") && page.contains("at work") && page.contains("/live.js"), "{page}");
    // Nothing happened since, so that the first to be told is what happens next.
    let mut back = server.listen(&run, &told.id);
    project.write("go", "");
    for listener in [&mut one, &mut other] {
        let heard = listener.rest();
        assert_eq!(heard.last().unwrap().name, "end");
        assert!(heard.windows(2).all(|pair| pair[0].id != pair[1].id || pair[1].name == "end"), "{heard:?}");
    }
    let heard = back.rest();
    assert!(heard.iter().all(|event| event.data.contains("2 of 2 done") || event.name == "end"), "{heard:?}");
    assert!(heard.len() >= 2 && heard[0].id != told.id, "{heard:?}");
    child.wait().unwrap();
    assert!(!server.page(&format!("/runs/{run}")).contains("id=\"live\""));
    // Of a run that is over there is one state, and its end.
    let mut late = server.listen(&run, &heard.last().unwrap().id);
    assert_eq!(late.next().unwrap().name, "end");
    assert!(late.next().is_none());
}

#[test]
fn progress_and_curves_of_a_training_are_told_while_it_runs() {
    let project = Project::new(TRAINING);
    let mut child = project.start(&["pipeline.toml", "lstm", "--set", "epochs=3000", "--set", "hidden=32"]);
    within_a_moment("the run begins", || !runs(&project).is_empty());
    let run = runs(&project).remove(0);
    let server = Server::start(&project, &[]);
    let mut events = server.listen(&run, "");
    let told = events.until(&["validation MAE (BPM)", " steps</td>"]);
    assert!(told.data.contains("<svg"), "{}", told.data);
    signal(child.id().cast_signed(), libc::SIGINT);
    child.wait().unwrap();
    // What only those need who look on is gone with the run.
    assert_eq!(project.stored("runs").iter().filter(|path| path.ends_with("progress.jsonl")).count(), 0);
    events.until(&["Ended"]);
}

#[test]
fn ticked_runs_are_compared_and_a_refusal_is_told_as_text() {
    let project = Project::new(SCORED);
    let ran = project.run(&[]);
    assert_eq!(ran["failed"], 0);
    project.run(&["--set", "alpha=100.0"]);
    project.run(&["--set", "part=test"]);
    let [test, second, first] = runs(&project).try_into().unwrap();
    let server = Server::start(&project, &[]);
    let page = server.page(&format!("/compare?run={first}&run={second}"));
    let said = project.pacer(&["compare", &first, &second, "--format", "csv"]);
    assert_eq!(said.code, 0, "{}", said.err);
    for line in said.out.lines().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        let mae: f64 = cells[3].parse().unwrap();
        assert!(page.contains(cells[0]) && page.contains(&format!("{mae:.2}")), "{line}\n{page}");
        assert!(page.contains(cells[15]) && cells[16..19] == ["synthetic", "user", "validation"], "{line}");
        assert!(cells[19].starts_with("\"SYNTHETIC data: simulated runners"), "{line}");
    }
    assert!(page.contains("class=\"verdict"), "{page}");
    assert_eq!(server.page("/").matches("<td data-label=\"data\">synthetic</td>").count(), 3);
    let refused = server.page(&format!("/compare?run={first}&run={test}"));
    assert!(refused.contains("cannot be compared"), "{refused}");
    assert!(server.page("/compare").contains("Tick runs"));
    let turned = server.page(&format!("/compare?run={first}&run={second}&first={second}"));
    assert!(turned.contains(&format!("{first}:evaluate:ridge against {second}:evaluate:ridge")), "{turned}");
    assert!(server.page(&format!("/report?run={first}&run={second}")).contains("<svg"));
    assert_eq!(server.ask("GET", &format!("/compare?run={first}&run=../{second}"), "").status, 404);
}

#[test]
fn only_what_belongs_to_runs_is_served_and_only_read() {
    let project = chain();
    project.run(&[]);
    let run = runs(&project).remove(0);
    project.write("store/runs/secret.log", "secret");
    project.write("store/runs/20990101-secret", "secret");
    let server = Server::start(&project, &[]);
    for path in [
        "/runs/../secret.log",
        "/runs/..%2fFORMAT",
        "/runs/%2e%2e",
        "/runs/.",
        "/runs/20990101-secret",
        "/runs/secret.log",
        &format!("/runs/{run}/log/..%2f..%2f..%2fsecret"),
        &format!("/runs/{run}/log/..%2fjournal"),
        &format!("/runs/{run}/journal.jsonl"),
        &format!("/runs/{run}%00/report.md"),
        &format!("/runs/{run}%2f/events"),
        "/runs/../../../../../../etc/passwd",
        "//etc/passwd",
        "/objects",
        "/FORMAT",
    ] {
        let answer = server.ask("GET", path, "");
        assert!([400, 404].contains(&answer.status), "{path}: {answer:?}");
        assert!(!answer.body.contains("secret") && !answer.body.contains("root:"), "{path}: {answer:?}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"] {
        let answer = server.ask(method, &format!("/runs/{run}"), "Content-Length: 0\r\n");
        assert_eq!(answer.status, 405, "{method}");
    }
    let head = server.ask("HEAD", "/", "");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

#[test]
fn a_foreign_name_is_refused_and_browsers_are_held_to_the_page() {
    let project = chain();
    project.run(&[]);
    let server = Server::start(&project, &[]);
    for host in ["evil.example", "evil.example:HOST", "localhost", ""] {
        let answer = server.send(&format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"));
        assert_eq!(answer.status, 403, "{host}: {answer:?}");
        assert!(!answer.body.contains("/runs/"), "{answer:?}");
    }
    let without = server.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(without.status, 403, "{without:?}");
    for path in ["/", "/nothing", "/style.css", "/live.js"] {
        let head = server.ask("GET", path, "").head;
        for line in [
            "content-security-policy: default-src 'none'; style-src 'self'; script-src 'self'; img-src data:; connect-src \
             'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
            "x-content-type-options: nosniff",
            "cache-control: no-store",
            "referrer-policy: no-referrer",
            "cross-origin-resource-policy: same-origin",
        ] {
            assert!(head.contains(line), "{path}: {line}\n{head}");
        }
        assert!(!head.contains("access-control"), "{head}");
    }
}

#[test]
fn beyond_this_machine_a_token_is_asked_for_which_stands_in_no_address_and_no_page() {
    let project = chain();
    project.run(&[]);
    let run = runs(&project).remove(0);
    let server = Server::start(&project, &["--bind", "0.0.0.0"]);
    let token = server.token.clone().expect("it made a token");
    for (path, headers) in [
        ("/".to_owned(), String::new()),
        (format!("/?token={token}"), String::new()),
        (format!("/runs/{run}"), "Authorization: Bearer 0123456789abcdef\r\n".into()),
        (format!("/runs/{run}/events"), format!("Cookie: pacer_{}={token}\r\n", server.port)),
    ] {
        let answer = server.ask("GET", &path, &headers);
        assert_eq!(answer.status, 401, "{path}");
        assert!(answer.body.contains("type=\"password\"") && !answer.body.contains("/runs/"), "{answer:?}");
    }
    let login = |given: &str| {
        let form = format!("token={given}");
        let length = form.len();
        server.send(&format!(
            "POST /login HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {length}\r\n\r\n{form}"
        ))
    };
    assert_eq!(login("0123456789abcdef").status, 401);
    let entered = login(&token);
    assert_eq!(entered.status, 303, "{entered:?}");
    assert!(entered.head.contains("location: /\r\n"), "{}", entered.head);
    let cookie = entered.head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
    assert!(cookie.contains("; httponly; samesite=strict"), "{cookie}");
    let kept = format!("Cookie: {}\r\n", cookie.split(';').next().unwrap());
    for headers in [kept, format!("Authorization: Bearer {token}\r\n")] {
        for path in ["/".to_owned(), format!("/runs/{run}")] {
            let answer = server.ask("GET", &path, &headers);
            assert_eq!(answer.status, 200, "{path}");
            assert!(!answer.body.contains(&token) && !answer.head.contains(&token), "{answer:?}");
        }
    }
    let mut short = project.command(&["serve", "--port", "0", "--bind", "0.0.0.0"]);
    let said = short.env("PACER_TOKEN", "short").output().unwrap();
    assert_eq!(said.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&said.stderr).contains("PACER_TOKEN"), "{said:?}");
}

#[test]
fn it_ends_at_a_signal_while_somebody_listens() {
    let (project, mut child) = slow();
    let run = runs(&project).remove(0);
    let server = Server::start(&project, &[]);
    let mut events = server.listen(&run, "");
    assert_eq!(events.next().unwrap().name, "live");
    assert_eq!(server.end(), Some(130));
    while events.next().is_some() {}
    project.write("go", "");
    child.wait().unwrap();
}

#[test]
fn a_browser_shows_the_list_and_a_run_that_grows() {
    let Some(mut browser) = Browser::start() else { return };
    let online = json!({"offline": false, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1});
    browser.call("Network.emulateNetworkConditions", online);
    let (project, mut child) = slow();
    let run = runs(&project).remove(0);
    let server = Server::start(&project, &[]);
    let address = format!("http://127.0.0.1:{}", server.port);
    for (width, scheme) in [(1200, "light"), (390, "dark")] {
        browser.look(width, scheme, "screen");
        browser.open_address(&address);
        assert_eq!(browser.evaluate("document.querySelectorAll('table.runs tbody tr').length"), 1);
        assert_eq!(browser.complaints(), [""; 0]);
        let overflow = browser.evaluate("document.documentElement.scrollWidth - window.innerWidth").as_f64().unwrap();
        assert!(overflow <= 0.0, "{width}: {overflow} pixels too wide");
        keep_picture(&mut browser, &format!("list_{width}"), width);
    }
    browser.open_address(&format!("{address}/runs/{run}"));
    browser.evaluate("window.same = 1");
    wait_for(&mut browser, "document.getElementById('live').dataset.told >= 1");
    wait_for(&mut browser, "document.getElementById('live').textContent.includes('at work')");
    keep_picture(&mut browser, "live_390", 390);
    assert_eq!(browser.evaluate("window.same"), 1);
    project.write("go", "");
    child.wait().unwrap();
    // The page loads itself anew and is the report.
    browser.wait_for_reload();
    assert_eq!(browser.evaluate("[window.same, document.getElementById('live')].every(it => !it)"), true);
    let drawn = "Array.from(document.querySelectorAll('svg'), it => it.getBoundingClientRect()).every(it => it.width > 100 \
                 && it.height > 20) && document.querySelectorAll('svg').length";
    assert!(browser.evaluate(drawn).as_u64().unwrap() >= 2, "{}", browser.evaluate(drawn));
    assert_eq!(browser.complaints(), [""; 0]);
    let asked = browser.requests();
    assert!(asked.iter().all(|asked| asked.starts_with(&address) || asked.starts_with("data:")), "{asked:?}");
}

fn wait_for(browser: &mut Browser, expression: &str) {
    within_a_moment(expression, || browser.evaluate(&format!("Boolean({expression})")) == true);
}

/// Keeps a picture for a person who asks for them by naming a folder.
fn keep_picture(browser: &mut Browser, name: &str, width: u32) {
    let Some(folder) = std::env::var_os("PACER_TEST_PICTURES") else { return };
    let picture = browser.picture(Clip { x: 0.0, y: 0.0, width: f64::from(width), height: 900.0 });
    std::fs::write(std::path::Path::new(&folder).join(format!("serve_{name}.png")), picture).unwrap();
}

/// Two models that need no training, scored.
const SCORED: &str = r#"
[params]
alpha = 1.0
part = "validation"

[stages.synthesize]
kind = "synthesize"
users = 12
runs_per_user = 6.0

[stages.import]
kind = "import"
inputs.source = "synthesize.raw"

[stages.filter]
kind = "filter"
inputs.workouts = "import"

[stages.resample]
kind = "resample"
inputs.workouts = "filter"
grid = { by = "time", step_s = 30.0, gap_limit_s = 60.0, max_minutes = 60.0 }
features = ["speed", "grade"]

[stages.split]
kind = "split"
inputs.sequences = "resample"
by = "user"
train = 0.5
validation = 0.25
test = 0.25

[stages.constant]
kind = "baseline"
inputs = { sequences = "resample", split = "split" }
model = "constant"

[stages.ridge]
kind = "baseline"
inputs = { sequences = "resample", split = "split" }
model = "ridge"
alphas = ["${alpha}"]
features = ["speed", "grade"]

[stages.evaluate]
kind = "evaluate"
inputs = { sequences = "resample", split = "split", models = { constant = "constant", ridge = "ridge" } }
part = "${part}"
"#;
