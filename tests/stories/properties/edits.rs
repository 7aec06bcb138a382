//! `pacer plan` foretells the run after it, whatever was edited or damaged before. Programs that only copy lines
//! stand for all kinds.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::harness::Project;
use crate::properties::Random;

/// Edits that the suite tries; the variable `PACER_TEST_EDITS` asks for more.
const EDITS: usize = 60;

/// The files that pipelines read.
const LEAVES: [&str; 2] = ["one.txt", "two.txt"];

/// A stage that copies what it reads and adds a line of its own.
#[derive(Clone)]
struct Copier {
    name: String,
    /// What its own line says; a rename keeps it.
    line: usize,
    /// Names of stages or files.
    reads: Vec<String>,
    /// Whether it copies first lines alone, so that changes further down end here.
    first_lines: bool,
    /// Whether its own line says the value of the parameter.
    takes_parameter: bool,
}

/// A pipeline that is edited again and again.
struct Story {
    project: Project,
    random: Random,
    stages: Vec<Copier>,
    made: usize,
    /// What was done, for the one who must find out what went wrong.
    told: Vec<String>,
}

/// What became of a stage, with its key.
#[derive(Debug)]
enum Fate {
    Ran(String),
    Reused(String),
}

#[test]
fn plan_never_disagrees_with_the_run_after_it() {
    let edits = std::env::var("PACER_TEST_EDITS").ok().and_then(|text| text.parse().ok()).unwrap_or(EDITS);
    let mut story = Story::begin(20);
    let mut met = BTreeMap::new();
    for number in 0..edits {
        // Anew now and then, as pipelines only grow more tangled.
        if number % 100 == 99 {
            story = Story::begin(number as u64);
        }
        let arguments = story.edit();
        for state in story.compare(&arguments) {
            *met.entry(state).or_insert(0) += 1;
        }
    }
    assert!(["reused ", "run ran", "maybe ran", "maybe reused"].iter().all(|case| met.contains_key(*case)), "{met:?}");
}

impl Story {
    fn begin(seed: u64) -> Self {
        let project = Project::new("");
        LEAVES.iter().for_each(|leaf| project.write(leaf, "first\nsecond\n"));
        let mut story = Self { project, random: Random(seed), stages: Vec::new(), made: 0, told: Vec::new() };
        (0..5).for_each(|_| story.add());
        story.compare(&[]);
        story
    }

    /// Adds a stage that reads from earlier ones or from files, at times a twin of another.
    fn add(&mut self) {
        self.made += 1;
        let name = format!("s{}", self.made);
        if self.made > 6 && self.random.one_in(4) {
            let twin = self.random.pick(&self.stages).clone();
            return self.stages.push(Copier { name, ..twin });
        }
        let reads = (0..1 + self.random.below(2)).map(|_| self.some_input(self.stages.len())).collect();
        let (first_lines, takes_parameter) = (self.random.one_in(2), self.random.one_in(3));
        self.stages.push(Copier { name, line: self.made, reads, first_lines, takes_parameter });
    }

    /// A file, or one of the stages before this place.
    fn some_input(&mut self, before: usize) -> String {
        match self.random.below(before + 1) {
            0 => (*self.random.pick(&LEAVES)).to_owned(),
            at => self.stages[at - 1].name.clone(),
        }
    }

    /// Edits something; the arguments of the calls that follow.
    fn edit(&mut self) -> Vec<String> {
        let at = self.random.below(self.stages.len());
        let mut arguments = Vec::new();
        let what = match self.random.below(12) {
            0 | 1 => self.append(),
            2 => self.replace(),
            3 => self.rename(at),
            4 => {
                let place = self.random.below(self.stages[at].reads.len());
                self.stages[at].reads[place] = self.some_input(at);
                format!("rewire {}", self.stages[at].name)
            }
            5 => {
                self.add();
                "add".to_owned()
            }
            6 => self.remove(at),
            7 | 8 => self.damage("objects"),
            9 => self.damage("results"),
            10 => {
                arguments = vec!["--force".to_owned(), self.stages[at].name.clone()];
                format!("force {}", self.stages[at].name)
            }
            _ => "nothing".to_owned(),
        };
        let value = self.random.below(3);
        arguments.extend(["--set".to_owned(), format!("parameter=p{value}")]);
        self.told.push(format!("{what}, p{value}"));
        arguments
    }

    /// Changes a file where only some readers look.
    fn append(&mut self) -> String {
        let leaf = *self.random.pick(&LEAVES);
        let text = fs::read_to_string(self.project.path(leaf)).unwrap();
        self.project.write(leaf, &format!("{text}{}\n", self.random.below(9)));
        format!("append to {leaf}")
    }

    fn replace(&mut self) -> String {
        let leaf = *self.random.pick(&LEAVES);
        self.project.write(leaf, &format!("{}\nsecond\n", self.random.pick(&["first", "other"])));
        format!("replace {leaf}")
    }

    fn rename(&mut self, at: usize) -> String {
        self.made += 1;
        let (old, new) = (self.stages[at].name.clone(), format!("s{}", self.made));
        for read in self.stages.iter_mut().flat_map(|stage| &mut stage.reads).filter(|read| **read == old) {
            read.clone_from(&new);
        }
        self.stages[at].name.clone_from(&new);
        format!("rename {old} to {new}")
    }

    /// Removes a stage; its readers read what it read.
    fn remove(&mut self, at: usize) -> String {
        if self.stages.len() < 4 {
            return "nothing".to_owned();
        }
        let gone = self.stages.remove(at);
        for read in self.stages.iter_mut().flat_map(|stage| &mut stage.reads).filter(|read| **read == gone.name) {
            read.clone_from(&gone.reads[0]);
        }
        format!("remove {}", gone.name)
    }

    /// Cuts a file of the store short, or deletes it.
    fn damage(&mut self, folder: &str) -> String {
        let files = self.project.stored(folder);
        let path = self.random.pick(&files);
        if self.random.one_in(2) {
            fs::remove_file(path).unwrap();
            return format!("delete {}", path.display());
        }
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(path, "{").unwrap();
        format!("damage {}", path.display())
    }

    fn pipeline(&self) -> String {
        let mut text = String::from("[params]\nparameter = \"p0\"\n");
        for Copier { name, line, reads, first_lines, takes_parameter } in &self.stages {
            let copy = if *first_lines { "head -qn 1" } else { "cat" };
            let own = if *takes_parameter { "${parameter}" } else { "" };
            let inputs: Vec<_> = (0..reads.len()).map(|at| format!("{{inputs.i{at}}}")).collect();
            writeln!(
                text,
                "[stages.{name}]\nkind = \"command\"\noutputs = {{ text = \"file\" }}\n\
                 run = [\"sh\", \"-c\", \"{copy} {} > {{outputs.text}}; echo {line}{own} >> {{outputs.text}}\"]",
                inputs.join(" ")
            )
            .unwrap();
            for (at, read) in reads.iter().enumerate() {
                match LEAVES.contains(&read.as_str()) {
                    true => writeln!(text, "inputs.files.i{at} = {{ path = \"{read}\" }}").unwrap(),
                    false => writeln!(text, "inputs.files.i{at} = \"{read}\"").unwrap(),
                }
            }
        }
        text
    }

    /// Plans, runs and plans again; the states foretold with what came of them.
    fn compare(&mut self, arguments: &[String]) -> Vec<&'static str> {
        let pipeline = self.pipeline();
        self.project.write("pipeline.toml", &pipeline);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let plan = self.project.plan(&arguments);
        let events = self.project.events(&arguments);
        let fates = fates(&events);
        let ran: BTreeSet<&String> =
            fates.values().filter_map(|fate| if let Fate::Ran(key) = fate { Some(key) } else { None }).collect();
        let story = || format!("{}\n{pipeline}\n{plan:#?}\n{fates:#?}", self.told.join("\n"));
        assert_eq!(fates.len(), self.stages.len(), "{}", story());
        let mut met = Vec::new();
        for row in &plan {
            let (stage, state) = row.split_once(' ').unwrap();
            met.push(match (state, &fates[stage]) {
                ("reused", Fate::Reused(_)) => "reused ",
                ("run", Fate::Ran(_)) => "run ran",
                // Of stages with one key one runs, and which is first nobody can foretell.
                ("run", Fate::Reused(key)) if ran.contains(key) => "run by a twin",
                ("maybe", Fate::Ran(_)) => "maybe ran",
                ("maybe", Fate::Reused(_)) => "maybe reused",
                (state, fate) => panic!("{stage}: planned {state}, came to {fate:?}\n{}", story()),
            });
        }
        let without_force: Vec<&str> = arguments.iter().skip_while(|word| **word != "--set").copied().collect();
        let after = self.project.plan(&without_force);
        assert!(after.iter().all(|row| row.ends_with(" reused")), "{after:?} after\n{}", story());
        met
    }
}

/// What became of each stage; nothing but running and reusing may happen.
fn fates(events: &[Value]) -> BTreeMap<String, Fate> {
    let mut fates = BTreeMap::new();
    for event in events {
        let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
        let fate = match event["event"].as_str().unwrap() {
            "finished" => Fate::Ran(text("key")),
            "reused" => Fate::Reused(text("key")),
            "started" | "running" | "waiting" | "done" => continue,
            other => panic!("{other}: {event}"),
        };
        assert!(fates.insert(text("stage"), fate).is_none(), "{event} ends twice");
    }
    fates
}
