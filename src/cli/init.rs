//! `pacer init`: a pipeline for somebody's recordings, after asking or by flags. Unaware of how recordings are read.

mod look;
mod template;

use std::fs;
use std::io::{BufRead, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};

use crate::cli::project;
use crate::cli::{Exit, PipelineArgs, Session};
use crate::resolve::{self, Overrides};
use crate::schema;
use crate::ui::output;

/// The arguments of `pacer init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// The pipeline file to write
    #[arg(default_value = "runs.toml")]
    file: PathBuf,
    /// Your recordings: an Apple Health export, a FitRec file, or a folder or a glob of FIT, TCX, GPX and CSV files
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// What you want to know
    #[arg(long, value_enum)]
    goal: Option<Goal>,
    /// Share of the runs, or of the runners, that is held out for the test
    #[arg(long, value_name = "SHARE", value_parser = share)]
    test: Option<f64>,
}

/// What somebody wants to know of recordings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Goal {
    /// What the recordings are worth; trains nothing
    Look,
    /// How well the heart rate of later runs is told, when the runner's earlier runs are known
    LaterRuns,
    /// How well it is told of runners whom no model has seen; needs recordings of many
    Strangers,
}

/// Writes a pipeline.
pub fn init(args: &InitArgs, session: &Session) -> Result<Exit> {
    if args.file.exists() {
        bail!("`{}` is there already: give another name, `pacer init NAME.toml`", args.file.display());
    }
    if args.file.to_str().is_none() {
        bail!("`{}` is not UTF-8: give another name", args.file.display());
    }
    let is_asked = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    let mut answers = is_asked.then(|| std::io::stdin().lock());
    let data = match &args.data {
        Some(path) => path.clone(),
        None => ask_path(answers.as_mut())?,
    };
    let found = look::at(&data)?;
    output::say(&format!("found {}", found.words));
    let goal = match args.goal {
        Some(goal) => goal,
        None => ask_goal(found.sort, answers.as_mut())?,
    };
    if goal == Goal::Strangers && found.sort != look::Sort::FitRec {
        bail!(
            "`--goal strangers` needs recordings of many runners, and {} is of one: take `later-runs`",
            data.display()
        );
    }
    let text = template::pipeline(&args.file, &data, &found, goal, args.test)?;
    if let Err(faults) = resolve::resolve(&args.file, &text, &Overrides::default()) {
        project::draw(&faults, &args.file, &text);
        return Ok(Exit::Fault);
    }
    write(&args.file, &text)?;
    tell_next(args, goal, session);
    Ok(Exit::Done)
}

fn write(path: &Path, text: &str) -> Result<()> {
    let written = fs::File::create_new(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.with_context(|| format!("`{}` cannot be written", path.display()))?;
    let beside = path.with_file_name(template::SCHEMA_FILE);
    let schema = serde_json::to_string_pretty(&schema::pipeline())? + "\n";
    fs::write(&beside, schema).with_context(|| format!("`{}` cannot be written", beside.display()))?;
    output::say(&format!("wrote {}, and {} for editors", path.display(), beside.display()));
    Ok(())
}

fn tell_next(args: &InitArgs, goal: Goal, session: &Session) {
    let pipeline = PipelineArgs { file: args.file.clone(), set: Vec::new(), seed: None, executor: None };
    let again = |command: &str, tail: &[String]| project::again(command, &pipeline, session, tail);
    output::say(&format!("run it with: {}", again("run", &[])));
    output::say(&format!("then look at it with: {}", again("show", &[template::answer(goal).to_owned()])));
}

/// Asks where the recordings are.
fn ask_path(answers: Option<&mut impl BufRead>) -> Result<PathBuf> {
    let Some(answers) = answers else {
        bail!("which recordings? Say `--data PATH`: an Apple Health export, a FitRec file, or a folder of recordings");
    };
    output::say("Where are your recordings? An Apple Health export (zip or folder), a FitRec file, or a folder or a");
    output::say("glob of FIT, TCX, GPX and CSV files:");
    let answer = line(answers)?;
    let home = std::env::var_os("HOME").map(PathBuf::from);
    Ok(match (answer.strip_prefix("~/"), home) {
        (Some(below), Some(home)) => home.join(below),
        _ => PathBuf::from(answer),
    })
}

/// Asks what somebody wants to know; what the recordings cannot tell is not offered.
fn ask_goal(sort: look::Sort, answers: Option<&mut impl BufRead>) -> Result<Goal> {
    let offered = match sort {
        look::Sort::FitRec => &[Goal::Look, Goal::LaterRuns, Goal::Strangers][..],
        look::Sort::Apple | look::Sort::Files => &[Goal::Look, Goal::LaterRuns],
    };
    let name = |goal: &Goal| goal.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
    let Some(answers) = answers else {
        let names: Vec<_> = offered.iter().map(name).collect();
        bail!("what do you want to know? Say `--goal`: {}", names.join(", "));
    };
    output::say("What do you want to know?");
    for (number, goal) in offered.iter().enumerate() {
        let help = goal.to_possible_value().and_then(|value| value.get_help().map(ToString::to_string));
        output::say(&format!("  {}  {}", number + 1, help.unwrap_or_default()));
    }
    loop {
        let answer = line(answers)?;
        let by_number = answer.parse::<usize>().ok().and_then(|number| offered.get(number.wrapping_sub(1)));
        match by_number.or_else(|| offered.iter().find(|goal| name(goal) == answer)) {
            Some(goal) => return Ok(*goal),
            None => output::say(&format!("a number from 1 to {}, please", offered.len())),
        }
    }
}

/// The next answer that is not empty.
fn line(answers: &mut impl BufRead) -> Result<String> {
    loop {
        let mut text = String::new();
        if answers.read_line(&mut text)? == 0 {
            bail!("no answer came; nothing was written");
        }
        if !text.trim().is_empty() {
            return Ok(text.trim().to_owned());
        }
    }
}

fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| format!("`{text}` is no number"))?;
    match share > 0.0 && share <= 0.8 {
        true => Ok(share),
        false => Err("a share lies above 0 and is at most 0.8".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_taken_by_number_or_by_name_and_only_what_can_be_known_is_offered() {
        let goal = |sort, answers: &str| ask_goal(sort, Some(&mut answers.as_bytes()));
        assert_eq!(goal(look::Sort::Files, "\n2\n").unwrap(), Goal::LaterRuns);
        assert_eq!(goal(look::Sort::FitRec, "7\nstrangers\n").unwrap(), Goal::Strangers);
        assert_eq!(goal(look::Sort::Apple, "3\nlook\n").unwrap(), Goal::Look, "of one runner there are no strangers");
        assert!(goal(look::Sort::Apple, "").unwrap_err().to_string().contains("nothing was written"));
        assert!(ask_goal(look::Sort::Apple, None::<&mut &[u8]>).unwrap_err().to_string().contains("look, later-runs"));
    }

    #[test]
    fn a_path_may_begin_at_home() {
        assert_eq!(ask_path(Some(&mut " runs \n".as_bytes())).unwrap(), Path::new("runs"));
        let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
        assert_eq!(ask_path(Some(&mut "~/runs\n".as_bytes())).unwrap(), home.join("runs"));
        assert!(ask_path(None::<&mut &[u8]>).unwrap_err().to_string().contains("--data"));
    }
}
