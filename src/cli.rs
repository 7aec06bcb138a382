//! The command line: what can be asked, and the exit codes. Each command calls one operation of the engine.
//!
//! Exit codes: 0 done; 1 a stage failed; 2 a fault of usage or of the pipeline; 130 interrupted.

mod care;
mod check;
mod cluster;
mod compare;
mod doctor;
mod export;
mod init;
mod kinds;
mod leaks;
mod locked;
mod ls;
mod manual;
mod node;
mod plan;
mod project;
mod report;
mod run;
mod serve;
mod share;
mod show;
mod status;
mod sweep;
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::ui::output::{self, BAD, paint};

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All went well.
    Done = 0,
    /// A stage failed, or damage was found.
    Failed = 1,
    /// The pipeline or its usage has a fault; it was told already.
    Fault = 2,
    /// Interrupted by a signal.
    Interrupted = 130,
}

/// Runs pipelines of cached stages: only what changed runs again, and it says why.
#[derive(Debug, Parser)]
#[command(name = "pacer", version, arg_required_else_help = true, max_term_width = 100)]
struct Cli {
    /// Folder of the store [default: `artifacts` in the project of the pipeline, or PACER_STORE]
    #[arg(long, global = true, value_name = "DIR")]
    store: Option<PathBuf>,
    /// Form of what is printed on stdout
    #[arg(long, global = true, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// When to use colours; NO_COLOR is honoured
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto)]
    color: Color,
    /// Tell failures alone
    #[arg(long, short, global = true)]
    quiet: bool,
    /// Leave the remote of the profile aside
    #[arg(long, global = true)]
    no_remote: bool,
    /// Put nothing into the remote
    #[arg(long, global = true, conflicts_with = "no_remote")]
    remote_only_read: bool,
    #[command(subcommand)]
    command: Command,
}

/// The form of what is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// For programs; has a version field.
    Json,
    /// For documents.
    Markdown,
    /// For spreadsheets.
    Csv,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Color {
    Auto,
    Always,
    Never,
}

/// The pipeline that a command is about.
#[derive(Debug, Args)]
struct PipelineArgs {
    /// The pipeline file
    file: PathBuf,
    /// Set a parameter of [params]
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// Seed of stages that name none
    #[arg(long)]
    seed: Option<u64>,
    /// Run stages that name no executor on a cluster that the profile describes as [executor.NAME]
    #[arg(long, value_name = "NAME")]
    executor: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a commented pipeline for your recordings, after asking or by flags
    #[command(after_help = "Examples:\n  pacer init\n  \
        pacer init runs.toml --data ~/recordings --goal later-runs\n  \
        pacer init --data endomondoHR_proper.json --goal strangers")]
    Init(init::InitArgs),
    /// Check a pipeline: tell every fault, and do nothing else
    #[command(after_help = "Examples:\n  pacer check pipelines/quickstart.toml\n  \
        pacer check pipelines/my_runs.toml --set data.runs=recordings --format json")]
    Check(check::CheckArgs),
    /// Run a pipeline, or the stages named and what they need
    #[command(after_help = "Examples:\n  pacer run pipelines/quickstart.toml\n  \
        pacer run pipelines/personal.toml evaluate --set data.workouts=runs.jsonl --jobs 2")]
    Run(run::RunArgs),
    /// Run a pipeline now, and again whenever it or a file that it reads changes
    #[command(after_help = "Examples:\n  pacer watch pipelines/quickstart.toml\n  \
        pacer watch runs.toml evaluate --set train.epochs=5")]
    Watch(watch::WatchArgs),
    /// Say what a run would do and why, without doing it
    #[command(after_help = "Example:\n  pacer plan pipelines/quickstart.toml --set train.epochs=20")]
    Plan(plan::PlanArgs),
    /// Say why a stage runs or is reused: every leaf that changed, old → new, and its line; or what a change would rerun
    #[command(after_help = "Examples:\n  pacer explain pipelines/quickstart.toml lstm\n  \
        pacer explain pipelines/quickstart.toml --changing resample.grid")]
    Explain(plan::ExplainArgs),
    /// Show how the stages of a pipeline stand
    #[command(after_help = "Example:\n  pacer status pipelines/quickstart.toml")]
    Status(status::StatusArgs),
    /// Draw the graph of a pipeline
    #[command(after_help = "Example:\n  pacer graph pipelines/quickstart.toml --as svg > graph.svg")]
    Graph(plan::GraphArgs),
    /// Show the result of a stage: artifacts, figures, who made it; or export an artifact; or what a run did
    #[command(after_help = "Examples:\n  pacer show pipelines/quickstart.toml evaluate\n  \
        pacer show pipelines/quickstart.toml filter.funnel --export funnel.csv\n  \
        pacer show 20261126-200431.575-32737")]
    Show(show::ShowArgs),
    /// Set configurations side by side, by user and over seeds, with a verdict; or two artifacts
    #[command(
        after_help = "Examples:\n  pacer compare pipelines/quickstart.toml evaluate --baseline ridge_physiology\n  \
        pacer compare pipelines/quickstart.toml evaluate:lstm evaluate:gru\n  \
        pacer compare old.toml new.toml evaluate --fail-on worse\n  \
        pacer compare ../before/artifacts//x.toml:evaluate x.toml:evaluate\n  \
        pacer compare old.toml new.toml filter.funnel"
    )]
    Compare(compare::CompareArgs),
    /// List the runs: when, of what, how they stand, what they took, and the best error they came to
    #[command(
        after_help = "Examples:\n  pacer ls --state failed --since 7d\n  pacer ls --pipeline quickstart --limit 0"
    )]
    Ls(ls::LsArgs),
    /// Write results for other programs and machines: Parquet, CSV, safetensors, TensorBoard, MLflow, an archive
    #[command(after_help = "Examples:\n  \
        pacer export predictions pipelines/quickstart.toml evaluate --out predictions.csv\n  \
        pacer export model pipelines/quickstart.toml lstm --out lstm.safetensors\n  \
        pacer export tensorboard latest --out tb\n  \
        pacer export mlflow latest --uri http://127.0.0.1:5000\n  \
        pacer export archive latest --out run.zip")]
    Export(export::ExportArgs),
    /// Put an archive of a run into a store, to look at it there
    #[command(after_help = "Example:\n  pacer unpack run.zip --store from_the_server")]
    Unpack(export::UnpackArgs),
    /// Print the newest log of a stage
    #[command(after_help = "Example:\n  pacer log pipelines/quickstart.toml lstm")]
    Log(show::LogArgs),
    /// Say how the trials of a sweep stand, which configuration is best, and whether that is more than noise
    #[command(after_help = "Examples:\n  pacer sweep table pipelines/batch_size.toml\n  \
        pacer sweep best pipelines/batch_size.toml lstm --from validate --metric mae")]
    Sweep(sweep::SweepArgs),
    /// List the kinds of stage, or describe one
    #[command(after_help = "Examples:\n  pacer stages\n  pacer stages resample")]
    Stages(kinds::StagesArgs),
    /// Print the JSON Schema of a pipeline, by which editors complete and check while you type
    #[command(after_help = "Example:\n  pacer schema > schema.json\n\nThe first line `#:schema schema.json` of a \
        pipeline then tells an editor of it (Even Better TOML, Taplo, Tombi).")]
    Schema,
    /// Hash everything in the store again: what is damaged is taken out and made again by the next run; or run a
    /// stage again and compare every bit
    #[command(after_help = "Examples:\n  pacer verify\n  pacer verify pipelines/quickstart.toml --rerun lstm")]
    Verify(care::VerifyArgs),
    /// Put results into the remote of the profile, for other machines and people
    #[command(after_help = "Examples:\n  pacer push\n  pacer push pipelines/quickstart.toml\n  \
        pacer push 20261126-081500.123-4711\n\nWhat is there is not sent again, so an interrupted push goes on when it \
        is called again.\nThe remote is named in pacer.toml: [remote] url = \"/shared/folder\" or \"s3://bucket/prefix\"")]
    Push(share::PushArgs),
    /// Bring artifacts from the remote of the profile, all of a pipeline's or those named
    #[command(after_help = "Examples:\n  pacer pull pipelines/quickstart.toml evaluate\n  \
        pacer pull pipelines/quickstart.toml lstm.model filter\n  pacer pull")]
    Pull(share::PullArgs),
    /// Free what no recent, pinned or living run reaches; or, of the remote, what no result reaches
    #[command(
        after_help = "Examples:\n  pacer gc --keep-runs 5 --dry-run\n  pacer gc --older-than 30d --max-size 20GB\n  \
        pacer gc --remote --dry-run\n  pacer gc --remote --older-than 180d --grace 14d"
    )]
    Gc(care::GcArgs),
    /// Keep what a run reached whatever is collected; without a run, list the runs
    #[command(after_help = "Examples:\n  pacer pin\n  pacer pin 20261126-081500.123-4711\n  \
        pacer pin --remove 20261126-081500.123-4711")]
    Pin(care::PinArgs),
    /// Write a page about the newest run or those named: verdicts, agreement, data, what ran; opens without a network
    #[command(
        after_help = "Examples:\n  pacer report\n  pacer report 20261126-2047 --baseline ridge_physiology --out report.html\n  \
        pacer report --format markdown > report.md"
    )]
    Report(report::ReportArgs),
    /// Show the store in a browser: runs, reports, comparisons, and runs that go on, live; it only reads
    #[command(after_help = "Examples:\n  pacer serve\n  pacer serve --port 0 --store from_the_server\n  \
        pacer serve --bind 0.0.0.0\n\n\
        From another machine without opening a port: ssh -L 7223:localhost:7223 HOST, then http://localhost:7223/.")]
    Serve(serve::ServeArgs),
    /// What a cluster starts on its nodes
    #[command(hide = true)]
    Node(node::NodeArgs),
    /// What a cluster asks a node with
    #[command(hide = true)]
    Probe,
    /// Say what this machine has for pacer, and what to do about what is missing
    #[command(after_help = "Example:\n  pacer doctor")]
    Doctor,
    /// A walk from the first run to your own recordings, a sweep, a comparison and a report
    #[command(long_about = manual::tutorial(), after_help = "Example:\n  pacer tutorial")]
    Tutorial,
    /// Print completions for a shell
    #[command(
        after_help = "Examples:\n  pacer completions bash > ~/.local/share/bash-completion/completions/pacer\n  \
        pacer completions zsh > ~/.zfunc/_pacer\n  pacer completions fish > ~/.config/fish/completions/pacer.fish"
    )]
    Completions(manual::CompletionsArgs),
    /// Write the manual as man pages into a folder
    #[command(after_help = "Example:\n  pacer man ~/.local/share/man/man1")]
    Man(manual::ManArgs),
}

/// What every command may need to know.
pub struct Session {
    /// The folder given with `--store`.
    pub store: Option<PathBuf>,
    /// The form of what is printed.
    pub format: Format,
    /// Whether to tell failures alone.
    pub quiet: bool,
    /// What may be done with the remote.
    pub sharing: Sharing,
}

/// What may be done with the remote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// What the profile says.
    AsSet,
    /// Results may be taken from there.
    ReadOnly,
    /// It is left aside.
    Off,
}

/// Runs the command line.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.color {
        Color::Auto => {}
        Color::Always => anstream::ColorChoice::Always.write_global(),
        Color::Never => anstream::ColorChoice::Never.write_global(),
    }
    let log = tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(tracing::Level::WARN);
    // Where stderr cannot be written to any more, the news of that would panic.
    log.without_time().log_internal_errors(false).init();
    let sharing = match (cli.no_remote, cli.remote_only_read) {
        (true, _) => Sharing::Off,
        (false, true) => Sharing::ReadOnly,
        (false, false) => Sharing::AsSet,
    };
    let session = Session { store: cli.store, format: cli.format, quiet: cli.quiet, sharing };
    let outcome = match &cli.command {
        Command::Init(args) => init::init(args, &session),
        Command::Check(args) => check::check(args, &session),
        Command::Run(args) => run::run(args, &session),
        Command::Watch(args) => watch::watch(args, &session),
        Command::Plan(args) => plan::plan(args, &session),
        Command::Explain(args) => plan::explain(args, &session),
        Command::Status(args) => status::status(args, &session),
        Command::Graph(args) => plan::graph(args, &session),
        Command::Show(args) => show::show(args, &session),
        Command::Sweep(args) => sweep::sweep(args, &session),
        Command::Compare(args) => compare::compare(args, &session),
        Command::Ls(args) => ls::ls(args, &session),
        Command::Export(args) => export::export(args, &session),
        Command::Unpack(args) => export::unpack(args, &session),
        Command::Log(args) => show::log(args, &session),
        Command::Stages(args) => kinds::stages(args, &session),
        Command::Schema => check::schema(),
        Command::Verify(args) => care::verify(args, &session),
        Command::Push(args) => share::push(args, &session),
        Command::Pull(args) => share::pull(args, &session),
        Command::Gc(args) => care::gc(args, &session),
        Command::Pin(args) => care::pin(args, &session),
        Command::Report(args) => report::report(args, &session),
        Command::Serve(args) => serve::serve(args, &session),
        Command::Node(args) => node::node(args, &session),
        Command::Probe => node::probe(),
        Command::Doctor => doctor::doctor(&session),
        Command::Tutorial => manual::print_tutorial(),
        Command::Completions(args) => manual::completions(args),
        Command::Man(args) => manual::man(args),
    };
    let exit = outcome.unwrap_or_else(|error| {
        output::say(&format!("{}: {error:#}", paint(BAD, "error")));
        Exit::Fault
    });
    // What could not be printed was not done, whatever else went well.
    let exit = if exit == Exit::Done && output::was_lost() { Exit::Failed } else { exit };
    ExitCode::from(exit as u8)
}
