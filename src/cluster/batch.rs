//! What is asked of `sbatch`: its arguments and its script. Unaware of how it is run, and of its answer.

use crate::profile::Slurm;

/// An array of pilots to be submitted.
pub struct Batch<'a> {
    /// What one of them asks for.
    pub profile: &'a Slurm,
    /// How many.
    pub count: usize,
    /// The name of all jobs of this store.
    pub name: &'a str,
    /// What finds them again.
    pub comment: &'a str,
    /// Where their logs go, up to the number of the job.
    pub logs: &'a str,
    /// The command line of a pilot.
    pub command: &'a [String],
    /// Nodes on which none could serve.
    pub avoided: &'a [String],
}

/// The arguments that submit pilots.
pub fn arguments(batch: &Batch<'_>) -> Vec<String> {
    let Batch { profile, count, name, comment, logs, avoided, .. } = batch;
    let mut arguments = wishes(profile);
    if !avoided.is_empty() {
        // Of two alike the last counts, so it has to hold what the profile leaves out too.
        let nodes: Vec<_> = excluded(&profile.arguments).into_iter().chain(avoided.iter().cloned()).collect();
        arguments.push(format!("--exclude={}", nodes.join(",")));
    }
    // Of two alike the last counts: pilots are found by their name and comment, whatever a profile says beside.
    arguments.extend([
        "--parsable".to_owned(),
        format!("--job-name={name}"),
        format!("--comment={comment}"),
        format!("--array=0-{}", count.saturating_sub(1)),
        format!("--output={logs}%A_%a.log"),
        "--open-mode=append".to_owned(),
        // A pilot that begins again would do so minutes later, and its log would be cut off.
        "--no-requeue".to_owned(),
        // To the shell alone, which the pilot has taken the place of.
        format!("--signal=B:USR1@{}", profile.stop_before.max(1)),
        // A folder that is not there on the node would be no error.
        "--chdir=/".to_owned(),
    ]);
    arguments
}

/// What a profile asks of Slurm for one job, its own arguments last.
pub fn wishes(profile: &Slurm) -> Vec<String> {
    let mut arguments =
        vec!["--ntasks=1".to_owned(), "--nodes=1".to_owned(), format!("--cpus-per-task={}", profile.cpus)];
    let mut add = |name: &str, value: Option<String>| arguments.extend(value.map(|value| format!("--{name}={value}")));
    add("partition", profile.partition.clone());
    add("account", profile.account.clone());
    add("time", profile.minutes.map(|minutes| minutes.to_string()));
    add("gres", profile.gpus.as_ref().map(|gpus| format!("gpu:{gpus}")));
    add("mem", profile.memory.map(|megabytes| format!("{megabytes}M")));
    arguments.extend(profile.arguments.iter().cloned());
    arguments
}

/// The nodes that arguments leave out.
fn excluded(arguments: &[String]) -> Vec<String> {
    let mut rest = arguments.iter();
    let mut nodes = Vec::new();
    while let Some(argument) = rest.next() {
        let named = match argument.as_str() {
            "--exclude" | "-x" => rest.next().map(String::as_str),
            joined => joined.strip_prefix("--exclude=").or_else(|| joined.strip_prefix("-x")),
        };
        nodes.extend(named.map(|named| named.trim().to_owned()));
    }
    nodes
}

/// A word as a shell takes it for itself.
pub fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// The batch script: what the profile sets up, and then the pilot in place of the shell, so that signals reach it.
pub fn script(setup: &[String], command: &[String]) -> String {
    let words: Vec<_> = command.iter().map(|word| quoted(word)).collect();
    let mut lines = vec!["#!/bin/sh".to_owned()];
    lines.extend(setup.iter().cloned());
    lines.push(format!("exec {}", words.join(" ")));
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pilots_are_asked_for_as_the_profile_says_and_never_requeued() {
        let profile = Slurm {
            partition: Some("gpu".into()),
            minutes: Some(90),
            memory: Some(4000),
            gpus: Some("a100:2".into()),
            arguments: vec!["--qos=low".into()],
            setup: vec!["module load x".into()],
            ..Slurm::default()
        };
        let command = ["/it's/pacer".to_owned(), "node".to_owned()];
        let logs = "/store/logs/";
        let batch =
            Batch { profile: &profile, count: 3, name: "n", comment: "c", logs, command: &command, avoided: &[] };
        let arguments = arguments(&batch).join(" ");
        for wanted in
            ["--array=0-2", "--no-requeue", "--partition=gpu", "--time=90", "--mem=4000M", "--gres=gpu:a100:2"]
        {
            assert!(arguments.contains(wanted), "{wanted} in {arguments}");
        }
        let place = |word: &str| arguments.rfind(word).unwrap_or_else(|| panic!("{word} in {arguments}"));
        for own in ["--job-name=", "--comment=", "--array=", "--output=", "--no-requeue", "--signal=", "--chdir="] {
            assert!(place(own) > place("--qos=low"), "of two alike Slurm takes the last");
        }
        assert!(!arguments.contains("--exclude"));
        assert_eq!(script(&profile.setup, &command), "#!/bin/sh\nmodule load x\nexec '/it'\\''s/pacer' 'node'\n");
    }

    #[test]
    fn nodes_on_which_none_could_serve_are_left_out_beside_those_of_the_profile() {
        let avoided = ["n7".to_owned()];
        for own in [&["--exclude=n[1-2]", "--qos=low"][..], &["-x", "n[1-2]"], &["-xn[1-2]"], &["--exclude", "n[1-2]"]]
        {
            let profile = Slurm { arguments: own.iter().map(|word| (*word).to_owned()).collect(), ..Slurm::default() };
            let batch = Batch {
                profile: &profile,
                count: 1,
                name: "n",
                comment: "c",
                logs: "l",
                command: &[],
                avoided: &avoided,
            };
            let arguments = arguments(&batch);
            let last = arguments.iter().rfind(|argument| argument.starts_with("--exclude")).unwrap();
            assert_eq!(last, "--exclude=n[1-2],n7", "{own:?}");
        }
    }
}
