//! The kind `command`: any program as a stage. Unaware of what the program does.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command as Process, ExitStatus, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group, set_parent_process_death_signal};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::artifact::{Arity, ArtifactType, InputPort, OutputPort};
use crate::stage::{Context, Interrupted, Metrics, Notice, ParameterFault, Run, Stage};

/// How often a stage looks whether its program ended or shall stop.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// A program that was asked to stop has this long before it is killed.
const GRACE: Duration = Duration::from_secs(5);

/// The longest line of a log; what a program prints without an end of line is cut into such pieces.
const LOG_LINE_BYTES: u64 = 64 << 10;

/// The largest file of figures: they are kept in the result and in every journal.
const METRICS_BYTES: u64 = 1 << 20;

/// How deep lists and objects of figures may nest.
const METRICS_DEPTH: usize = 16;

/// The longest name of an output: its file is called so.
const NAME_CHARS: usize = 100;

/// Variables that every program gets, for it could hardly start without; they are no part of the key.
const PASSED_ON: [&str; 5] = ["PATH", "HOME", "LANG", "TMPDIR", "USER"];

/// Runs any program, so that a pipeline can hold what no kind does.
///
/// The program's arguments may hold `{inputs.NAME}` and `{outputs.NAME}`, which become paths; it must write
/// every declared output there. It starts in an empty folder that is thrown away afterwards, and sees only the
/// environment variables that are declared, beside PATH, HOME, LANG, TMPDIR and USER. Files that it reads and
/// that are not wired as inputs are not part of the key: wire the script itself as an input too. An output of
/// type `metrics` (a JSON object) becomes the stage's figures. What it prints goes to the stage's log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// The program and its arguments; no shell stands between, write `["sh", "-c", "…"]` for one.
    pub run: Vec<String>,
    /// Outputs by name, each with its type, such as `{ totals = "table" }`.
    pub outputs: BTreeMap<String, ArtifactType>,
    /// Names of environment variables that the program sees; their values belong to the key.
    #[serde(default)]
    pub environment: Vec<String>,
}

impl Stage for Command {
    const NAME: &'static str = "command";
    const RUNS_PROGRAMS: bool = true;
    const INPUTS: &'static [InputPort] = &[InputPort {
        name: "files",
        accepts: &ArtifactType::ALL,
        arity: Arity::NamedOptional,
        doc: "what the program reads, each by the name that `{inputs.NAME}` uses",
    }];
    const OUTPUTS: &'static [OutputPort] = &[];

    fn outputs(&self) -> Vec<OutputPort> {
        let port = |(name, artifact): (&String, &ArtifactType)| OutputPort {
            name: name.clone().into(),
            artifact: *artifact,
            doc: "declared by the stage".into(),
        };
        self.outputs.iter().map(port).collect()
    }

    fn check(&self) -> Vec<ParameterFault> {
        let mut faults = Vec::new();
        if self.run.is_empty() {
            faults.push(ParameterFault::new("run", "the program is missing"));
        }
        if self.outputs.is_empty() {
            faults.push(ParameterFault::new("outputs", "a stage must write something: declare at least one output"));
        }
        for name in self.outputs.keys().filter(|name| !is_plain(name)) {
            let message =
                format!("`{name}` is no name for an output: use up to {NAME_CHARS} letters, digits, `_` and `-`");
            faults.push(ParameterFault::new("outputs", message));
        }
        for placeholder in self.run.iter().flat_map(|argument| placeholders(argument)) {
            let known = match placeholder.split_once('.') {
                Some(("outputs", name)) => self.outputs.contains_key(name),
                Some(("inputs", _)) => true,
                _ => continue,
            };
            if !known {
                faults.push(ParameterFault::new("run", format!("`{{{placeholder}}}` is not declared under `outputs`")));
            }
        }
        faults
    }
}

impl Run for Command {
    fn run(&self, context: &Context<'_>) -> Result<Metrics> {
        let mut arguments = Vec::new();
        for argument in &self.run {
            arguments.push(self.fill_in(argument, context)?);
        }
        let (program, rest) = arguments.split_first().context("the program is missing")?;
        // A folder of its own, so that stray files never lie among the outputs.
        let folder = context.job.out.join("work");
        std::fs::create_dir_all(&folder).with_context(|| format!("`{}` cannot be made", folder.display()))?;
        let variables = PASSED_ON.iter().copied().chain(self.environment.iter().map(String::as_str));
        let variables = variables.filter_map(|name| Some((name, std::env::var_os(name)?)));
        let mut process = Process::new(program);
        process
            .args(rest)
            .current_dir(&folder)
            .env_clear()
            .envs(variables)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A group of its own, so that all that it starts can be stopped with it.
            .process_group(0);
        die_with_the_runner(&mut process);
        let child = process.spawn();
        let child =
            child.with_context(|| format!("`{program}` cannot be started: is it installed and on the PATH?"))?;
        attend(child, program, context)?;
        self.collect(context)
    }
}

impl Command {
    /// Puts paths where an argument names inputs and outputs.
    fn fill_in(&self, argument: &str, context: &Context<'_>) -> Result<String> {
        let mut out = argument.to_owned();
        for placeholder in placeholders(argument) {
            let path = match placeholder.split_once('.') {
                Some(("inputs", name)) => {
                    let mut files = context.job.named_inputs("files");
                    let found = files.find(|(input, _)| *input == name).map(|(_, path)| path.to_owned());
                    found.with_context(|| format!("`{{{placeholder}}}` is not wired: add `inputs.files.{name}`"))?
                }
                Some(("outputs", name)) => {
                    let port = Stage::outputs(self).into_iter().find(|port| port.name == name);
                    context.output(&port.with_context(|| format!("`{{{placeholder}}}` is not declared"))?)
                }
                _ => continue,
            };
            let path = path.to_str().with_context(|| format!("`{}` is not UTF-8", path.display()))?;
            out = out.replace(&format!("{{{placeholder}}}"), path);
        }
        Ok(out)
    }

    /// Sees that every output is there, and reads the figures.
    fn collect(&self, context: &Context<'_>) -> Result<Metrics> {
        let mut metrics = Metrics::new();
        for port in Stage::outputs(self) {
            let path = context.output(&port);
            match std::fs::metadata(&path) {
                Ok(metadata) if metadata.is_file() => {}
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("`{}` cannot be read", path.display()));
                }
                _ => bail!(
                    "the program ended well but wrote no output `{}`: let it write to `{{outputs.{}}}`",
                    port.name,
                    port.name
                ),
            }
            if port.artifact == ArtifactType::Metrics {
                metrics.extend(read_metrics(&path)?);
            }
        }
        Ok(metrics)
    }
}

fn read_metrics(path: &Path) -> Result<Metrics> {
    let mut text = Vec::new();
    let read = File::open(path).and_then(|file| file.take(METRICS_BYTES + 1).read_to_end(&mut text));
    read.with_context(|| format!("`{}` cannot be read", path.display()))?;
    if text.len() as u64 > METRICS_BYTES {
        bail!(
            "an output of type `metrics` is larger than {} kB: write figures alone, and the rest as a `table` or `file`",
            METRICS_BYTES >> 10
        );
    }
    match serde_json::from_slice(&text) {
        Ok(metrics) if depth(&metrics) > METRICS_DEPTH => {
            bail!("an output of type `metrics` nests deeper than {METRICS_DEPTH} levels: write it flatter")
        }
        Ok(Value::Object(metrics)) => Ok(metrics),
        Ok(_) => bail!("an output of type `metrics` must be a JSON object"),
        Err(error) => bail!("an output of type `metrics` must be a JSON object: {error}"),
    }
}

/// How many lists and objects lie in each other.
fn depth(value: &Value) -> usize {
    let below = match value {
        Value::Array(items) => items.iter().map(depth).max(),
        Value::Object(entries) => entries.values().map(depth).max(),
        _ => return 0,
    };
    1 + below.unwrap_or(0)
}

/// Waits for the program's end, hands what it prints to the log, stops it on request.
fn attend(mut child: Child, program: &str, context: &Context<'_>) -> Result<()> {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let status = std::thread::scope(|scope| {
        scope.spawn(|| pass_on(stdout, context));
        scope.spawn(|| pass_on(stderr, context));
        let status = wait(&mut child, context);
        // What it left running would hold its pipes open, and could still write into its outputs.
        signal(&child, Signal::KILL);
        status
    });
    let status = status.map_err(|error: std::io::Error| anyhow::anyhow!("`{program}` was lost: {error}"))?;
    if context.cancelled.load(Ordering::Relaxed) && !status.success() {
        return Err(Interrupted.into());
    }
    if !status.success() {
        bail!("`{program}` ended with {status}");
    }
    Ok(())
}

fn pass_on(stream: Option<impl Read>, context: &Context<'_>) {
    let Some(stream) = stream else { return };
    let mut stream = BufReader::new(stream);
    let mut line = Vec::new();
    while (&mut stream).take(LOG_LINE_BYTES).read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        (context.sink)(Notice::Log { message: String::from_utf8_lossy(text).into_owned() });
        line.clear();
    }
}

/// Waits for the end; asks once to stop where the run shall stop, and kills when that is not heeded.
fn wait(child: &mut Child, context: &Context<'_>) -> std::io::Result<ExitStatus> {
    let mut asked: Option<Instant> = None;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        match asked {
            None if context.cancelled.load(Ordering::Relaxed) => {
                signal(child, Signal::TERM);
                asked = Some(Instant::now());
            }
            Some(since) if since.elapsed() > GRACE => signal(child, Signal::KILL),
            _ => {}
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
}

fn signal(child: &Child, signal: Signal) {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // It may have ended this very moment, and then there is nobody to tell.
        let _ = kill_process_group(group, signal);
    }
}

/// Lets the kernel kill the program when the thread that waits for it dies, so that nothing outlives a killed run.
fn die_with_the_runner(process: &mut Process) {
    // SAFETY: between fork and exec only a system call is made, which takes no lock and allocates nothing.
    unsafe {
        process.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?));
    }
}

/// The texts between braces in an argument.
fn placeholders(argument: &str) -> Vec<&str> {
    argument.split('{').skip(1).filter_map(|rest| rest.split_once('}').map(|(inside, _)| inside)).collect()
}

fn is_plain(name: &str) -> bool {
    (1..=NAME_CHARS).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(run: &[&str], outputs: &[&str]) -> Command {
        Command {
            run: run.iter().map(|&word| word.to_owned()).collect(),
            outputs: outputs.iter().map(|&name| (name.to_owned(), ArtifactType::File)).collect(),
            environment: Vec::new(),
        }
    }

    #[test]
    fn a_placeholder_for_an_undeclared_output_is_a_fault() {
        let faults = command(&["cp", "{inputs.a}", "{outputs.b}"], &["c"]).check();
        assert_eq!(faults.len(), 1);
        assert!(faults[0].message.contains("{outputs.b}"), "{faults:?}");
    }

    #[test]
    fn braces_of_a_shell_script_are_left_alone() {
        assert_eq!(command(&["sh", "-c", "awk '{print $1}' > {outputs.c}"], &["c"]).check(), []);
    }

    #[test]
    fn figures_are_limited_in_size_and_depth() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("figures.json");
        let read = |text: String| {
            std::fs::write(&path, text).unwrap();
            read_metrics(&path).map_err(|error| error.to_string())
        };
        let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1));
        assert!(read(nested(METRICS_DEPTH)).is_ok());
        assert!(read(nested(METRICS_DEPTH + 1)).unwrap_err().contains("nests deeper than 16 levels"));
        assert!(read(nested(100_000)).unwrap_err().contains("recursion limit"));
        assert!(read(format!("{{\"a\":\"{}\"}}", "x".repeat(1 << 20))).unwrap_err().contains("larger than 1024 kB"));
        assert!(read("{\"a\": 1e999}".into()).unwrap_err().contains("out of range"));
    }

    #[test]
    fn a_log_without_an_end_of_line_comes_in_pieces() {
        let job = serde_json::json!({"v": 1, "kind": "command", "code": "", "params": null, "inputs": {}, "out": "",
            "partial": "", "seed": 0, "device": "cpu", "threads": 1});
        let lengths = std::sync::Mutex::new(Vec::new());
        let sink = |notice| match notice {
            Notice::Log { message } => lengths.lock().unwrap().push(message.len()),
            other => panic!("{other:?}"),
        };
        let cancelled = std::sync::atomic::AtomicBool::new(false);
        let context = Context { job: &serde_json::from_value(job).unwrap(), sink: &sink, cancelled: &cancelled };
        let text = [b"one\n\n".to_vec(), vec![b'x'; 100_000], b"\nlast".to_vec()].concat();
        pass_on(Some(text.as_slice()), &context);
        assert_eq!(*lengths.lock().unwrap(), [3, 0, 65_536, 34_464, 4]);
    }

    #[test]
    fn an_output_cannot_name_a_path() {
        assert_eq!(command(&["true"], &["../evil"]).check().len(), 1);
        assert_eq!(command(&["true"], &[&"x".repeat(NAME_CHARS + 1)]).check().len(), 1);
    }
}
