//! `pacer export` and `pacer unpack`: results for other programs and other machines. Unaware of their formats.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};
use pacer_stages::artifact::ArtifactType;
use pacer_stages::spreadsheet;

use crate::cache::{Artifact, Cache, StageResult};
use crate::cli::project;
use crate::cli::{Exit, PipelineArgs, Session, show};
use crate::export::archive::{self, Extent, Moved};
use crate::export::reached::{self, Reached};
use crate::export::{mlflow, tensorboard};
use crate::store::Store;
use crate::ui::output;

/// The arguments of `pacer export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Scored points, one row each: truth and prediction in BPM (.parquet or .csv)
    #[command(after_help = "Example:\n  pacer export predictions pipelines/quickstart.toml evaluate --out p.parquet")]
    Predictions(ArtifactArgs),
    /// A table (.parquet or .csv)
    #[command(after_help = "Example:\n  pacer export table pipelines/quickstart.toml filter.funnel --out funnel.csv")]
    Table(ArtifactArgs),
    /// A model for Python (.safetensors): the names are those of a PyTorch state dict, `rnn.*` and `head.*`; scaler and
    /// features stand as JSON under the metadata key `pacer`
    #[command(after_help = "Example:\n  pacer export model pipelines/quickstart.toml lstm --out lstm.safetensors\n\n\
        scripts/load_model.py loads one into PyTorch and predicts with it.")]
    Model(ArtifactArgs),
    /// A run as event files of TensorBoard: curves of trainings, figures, parameters
    #[command(after_help = "Example:\n  pacer export tensorboard latest --out tb\n  tensorboard --logdir tb")]
    Tensorboard(TensorboardArgs),
    /// A run as runs of an MLflow server; a token comes from MLFLOW_TRACKING_TOKEN, or from MLFLOW_TRACKING_USERNAME
    /// and MLFLOW_TRACKING_PASSWORD
    #[command(after_help = "Example:\n  pacer export mlflow latest --uri http://127.0.0.1:5000")]
    Mlflow(MlflowArgs),
    /// A run with all that it reached as one zip archive, for `pacer unpack` on another machine
    #[command(after_help = "Example:\n  pacer export archive latest --out run.zip --light")]
    Archive(ArchiveArgs),
}

/// An artifact and where it goes.
#[derive(Debug, Args)]
struct ArtifactArgs {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// The stage, or STAGE.ARTIFACT where it has several that fit
    stage: String,
    /// The file to write; its ending says the form
    #[arg(long, value_name = "PATH")]
    out: PathBuf,
}

#[derive(Debug, Args)]
struct TensorboardArgs {
    /// The run: its name, the beginning of it, or `latest`
    run: String,
    /// The folder to write to; each stage becomes RUN/STAGE in it
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

#[derive(Debug, Args)]
struct MlflowArgs {
    /// The run: its name, the beginning of it, or `latest`
    run: String,
    /// The server, http://HOST:PORT
    #[arg(long)]
    uri: String,
    /// The experiment, made where it is missing [default: the pipeline's name]
    #[arg(long, value_name = "NAME")]
    experiment: Option<String>,
}

#[derive(Debug, Args)]
struct ArchiveArgs {
    /// The run: its name, the beginning of it, or `latest`
    run: String,
    /// The archive to write
    #[arg(long, value_name = "PATH")]
    out: PathBuf,
    /// Leave out raw files, workouts and sequences, which no report needs
    #[arg(long)]
    light: bool,
}

/// The arguments of `pacer unpack`.
#[derive(Debug, Args)]
pub struct UnpackArgs {
    /// The archive
    archive: PathBuf,
}

/// Exports something.
pub fn export(args: &ExportArgs, session: &Session) -> Result<Exit> {
    match &args.what {
        What::Predictions(args) => artifact(args, &[ArtifactType::Predictions], session),
        What::Table(args) => artifact(args, &[ArtifactType::Table, ArtifactType::Split], session),
        What::Model(args) => artifact(args, &[ArtifactType::Model], session),
        What::Tensorboard(args) => {
            let (cache, run) = reach(&args.run, session)?;
            let written = tensorboard::write(&cache, &run, &args.out)?;
            let tensorboard::Written { folder, files, scalars } = written;
            output::say(&format!(
                "wrote {files} files with {} numbers into {}",
                output::count(scalars),
                folder.display()
            ));
            output::say(&format!(
                "look at them with: tensorboard --logdir {}",
                project::quoted(&args.out.display().to_string())
            ));
            Ok(Exit::Done)
        }
        What::Mlflow(args) => {
            let (cache, run) = reach(&args.run, session)?;
            let experiment = args.experiment.as_ref().unwrap_or(&run.summary.pipeline);
            let mlflow::Logged { id, trainings, metrics } = mlflow::log(&cache, &run, &args.uri, experiment)?;
            let metrics = output::count(metrics);
            output::say(&format!(
                "logged the run as `{id}` in `{experiment}`, {trainings} trainings, {metrics} numbers"
            ));
            Ok(Exit::Done)
        }
        What::Archive(args) => {
            let (cache, run) = reach(&args.run, session)?;
            let extent = if args.light { Extent::Light } else { Extent::All };
            let moved = archive::pack(&cache, &run, extent, &args.out)?;
            output::say(&format!("wrote {} with {}", args.out.display(), in_words(moved)));
            Ok(Exit::Done)
        }
    }
}

/// Puts an archive into a store. Which store has to be said: what stands in one is believed.
pub fn unpack(args: &UnpackArgs, session: &Session) -> Result<Exit> {
    let Some(folder) = &session.store else {
        bail!("into which store? `--store DIR`: a folder of its own, for what stands in a store is believed");
    };
    let store = Store::open(folder)?;
    let (runs, moved) = archive::unpack(&args.archive, &store)?;
    output::say(&format!("{} is in {}: {}", runs.join(", "), folder.display(), in_words(moved)));
    Ok(Exit::Done)
}

fn in_words(moved: Moved) -> String {
    format!("{} results, {} blobs, {}", moved.results, moved.blobs, output::bytes(moved.bytes))
}

fn reach(run: &str, session: &Session) -> Result<(Cache, Reached)> {
    let cache = project::cache(session, None)?;
    let run = reached::find(&cache, run)?;
    if !run.gone.is_empty() {
        output::say(&format!("results that are not in the store any more are left out: {}", run.gone.join(", ")));
    }
    Ok((cache, run))
}

/// Writes an artifact of one of some types.
fn artifact(args: &ArtifactArgs, types: &[ArtifactType], session: &Session) -> Result<Exit> {
    let project = match project::open(&args.pipeline, session)? {
        Ok(project) => project,
        Err(exit) => return Ok(exit),
    };
    let (stage, name) = args.stage.split_once('.').map_or((args.stage.as_str(), None), |(a, b)| (a, Some(b)));
    let id = match project::targets(&project.graph, &[stage.to_owned()]) {
        Ok(targets) => targets[0],
        Err(exit) => return Ok(exit),
    };
    let result = show::current_result(&project, id, &args.pipeline, session)?;
    let artifact = fitting(&result, stage, name, types)?;
    let object = project.cache.blob(artifact)?;
    write(artifact.artifact, &object, &args.out)?;
    output::say(&format!("wrote {}", args.out.display()));
    Ok(Exit::Done)
}

fn fitting<'a>(
    result: &'a StageResult,
    stage: &str,
    name: Option<&str>,
    types: &[ArtifactType],
) -> Result<&'a Artifact> {
    let fits = |artifact: &&Artifact| types.contains(&artifact.artifact);
    let fitting: Vec<_> = result.artifacts.iter().filter(fits).collect();
    let named: Vec<_> = fitting.iter().filter(|artifact| name.is_none_or(|name| artifact.name == name)).collect();
    match named.as_slice() {
        [one] => Ok(one),
        _ => {
            let sort = types[0];
            let names: Vec<_> = fitting.iter().map(|artifact| format!("{stage}.{}", artifact.name)).collect();
            match (names.is_empty(), name) {
                (true, _) => bail!("`{stage}` writes no {sort}; `pacer show FILE {stage}` lists what it writes"),
                (false, Some(name)) => bail!("`{stage}.{name}` is no {sort}; there is {}", names.join(", ")),
                (false, None) => bail!("`{stage}` writes several: say which of {}", names.join(", ")),
            }
        }
    }
}

/// Writes a file in the form that the ending of its name says.
fn write(artifact: ArtifactType, object: &Path, out: &Path) -> Result<()> {
    let ending = out.extension().map(|ending| ending.to_string_lossy().to_lowercase()).unwrap_or_default();
    let unwritable = || format!("`{}` cannot be written", out.display());
    match (artifact.extension(), ending.as_str()) {
        ("parquet", "csv") => spreadsheet::write(object, out).map(drop),
        (own, ending) if own == ending => {
            // Read and written anew: a copy would be read-only like the blob.
            let mut from = fs::File::open(object).with_context(|| format!("`{}` is gone", object.display()))?;
            let mut to = fs::File::create(out).with_context(unwritable)?;
            std::io::copy(&mut from, &mut to).map(drop).with_context(unwritable)
        }
        ("parquet", _) => bail!("`{}` must end in .parquet or .csv", out.display()),
        (own, _) => bail!("`{}` must end in .{own}", out.display()),
    }
}
