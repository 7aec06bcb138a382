//! `pacer tutorial`, `pacer completions` and `pacer man`: what there is to read and to type. Unaware of pipelines.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::cli::{Cli, Exit};
use crate::ui::output;

/// The tutorial stands in the README, so that there is one.
const README: &str = include_str!("../../README.md");

/// The heading of the tutorial in the README.
const HEADING: &str = "## Tutorial\n";

/// The arguments of `pacer completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// The arguments of `pacer man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// The folder; it is made where it is missing
    folder: PathBuf,
}

/// The text of the tutorial.
pub fn tutorial() -> &'static str {
    let text = README.split_once(HEADING).map_or("", |(_, rest)| rest);
    text.split_once("\n## ").map_or(text, |(section, _)| section).trim()
}

/// Prints the tutorial.
pub fn print_tutorial() -> Result<Exit> {
    output::print(&format!("{}\n", tutorial()));
    Ok(Exit::Done)
}

/// Prints completions for a shell.
pub fn completions(args: &CompletionsArgs) -> Result<Exit> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "pacer", &mut text);
    output::print(&String::from_utf8_lossy(&text));
    Ok(Exit::Done)
}

/// Writes a man page for each command.
pub fn man(args: &ManArgs) -> Result<Exit> {
    let unwritable = || format!("`{}` cannot be written", args.folder.display());
    fs::create_dir_all(&args.folder).with_context(unwritable)?;
    clap_mangen::generate_to(Cli::command(), &args.folder).with_context(unwritable)?;
    output::say(&format!("wrote the manual into {}; `man -l {0}/pacer.1` opens it", args.folder.display()));
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_an_example_that_it_understands() {
        let program = Cli::command();
        for command in program.get_subcommands().filter(|command| !command.is_hide_set()) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let examples: Vec<_> = help.lines().filter_map(|line| line.trim().strip_prefix("pacer ")).collect();
            assert!(!examples.is_empty(), "`{}` has no example", command.get_name());
            for example in examples {
                let typed = example.split(" > ").next().unwrap_or_default();
                let words = std::iter::once("pacer").chain(typed.split_whitespace());
                let parsed = Cli::command().try_get_matches_from(words);
                let parsed = parsed.unwrap_or_else(|error| panic!("{example}: {error}"));
                assert_eq!(parsed.subcommand_name(), Some(command.get_name()), "{example}");
            }
        }
    }

    #[test]
    fn the_command_line_is_consistent_and_the_tutorial_is_there() {
        Cli::command().debug_assert();
        assert!(tutorial().len() > 1000, "{}", tutorial());
    }
}
