//! The rules of the house, held by a machine: first lines, sizes, imports, words that must not stay.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Lines that a file may have.
const FILE_LINES: usize = 500;

/// Lines that a function may have.
const FUNCTION_LINES: usize = 70;

/// What each module of the engine may import; data flows one way.
const IMPORTS: &[(&str, &[&str])] = &[
    ("digest", &[]),
    ("fresh", &[]),
    ("diagnostic", &[]),
    ("graph", &["search"]),
    ("lock", &[]),
    ("search", &[]),
    ("event", &["digest", "graph"]),
    ("hash", &["digest"]),
    ("key", &["digest"]),
    ("spec", &["diagnostic"]),
    ("leakage", &["digest", "graph", "store"]),
    ("resolve", &["diagnostic", "graph", "leakage", "search", "spec"]),
    ("schema", &[]),
    ("store", &["digest", "hash", "lock"]),
    ("stat_cache", &["digest", "hash", "store"]),
    ("profile", &["diagnostic", "graph", "spec"]),
    ("remote", &["digest", "fresh", "profile"]),
    ("cache", &["digest", "hash", "key", "lock", "remote", "stat_cache", "store"]),
    ("journal", &["digest", "event", "store"]),
    ("index", &["cache", "digest", "journal", "store"]),
    ("lockfile", &["cache", "digest"]),
    ("executor", &["stat_cache", "store"]),
    ("cluster", &["cache", "digest", "executor", "fresh", "lock", "profile", "remote", "stat_cache"]),
    ("care", &["cache", "cluster", "digest", "hash", "journal", "lock", "remote", "store"]),
    ("export", &["cache", "event", "journal", "store"]),
    (
        "engine",
        &[
            "cache",
            "cluster",
            "digest",
            "event",
            "executor",
            "graph",
            "hash",
            "index",
            "journal",
            "key",
            "lock",
            "remote",
            "search",
            "stat_cache",
            "store",
        ],
    ),
    ("compare", &["cache", "digest", "key"]),
    ("history", &["cache", "digest", "journal", "store"]),
    ("recipe", &["executor", "graph", "journal", "leakage", "store"]),
    (
        "report",
        &[
            "cache", "compare", "digest", "event", "graph", "history", "journal", "leakage", "lockfile", "recipe",
            "store",
        ],
    ),
    ("ui", &["compare", "diagnostic", "event", "graph", "history"]),
    ("serve", &["cache", "compare", "event", "history", "journal", "report", "ui"]),
    (
        "cli",
        &[
            "cache",
            "care",
            "cluster",
            "compare",
            "diagnostic",
            "digest",
            "engine",
            "event",
            "executor",
            "export",
            "graph",
            "history",
            "index",
            "journal",
            "key",
            "leakage",
            "lockfile",
            "profile",
            "remote",
            "recipe",
            "report",
            "resolve",
            "schema",
            "serve",
            "stat_cache",
            "store",
            "ui",
        ],
    ),
];

/// Words that must not stay outside tests.
const FORBIDDEN: [&str; 5] = ["dbg!(", "todo!(", "unimplemented!(", ".unwrap()", "FIXME"];

/// A source file with its path below the project's top.
struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    /// The file without its tests, which stand at its end.
    fn code(&self) -> &str {
        self.text.split("#[cfg(test)]\nmod tests").next().unwrap_or(&self.text)
    }

    /// Whether the file is compiled for tests alone.
    fn is_test(&self, all: &[Source]) -> bool {
        let stem = self.path.file_stem().unwrap_or_default().to_string_lossy();
        let declared = ["mod", "pub mod"].map(|word| format!("#[cfg(test)]\n{word} {stem};"));
        let is_declared = |other: &Source| declared.iter().any(|text| other.text.contains(text));
        self.path.iter().any(|part| part == "tests") || all.iter().any(is_declared)
    }
}

fn sources() -> Vec<Source> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Vec::new();
    for folder in ["src", "stages", "tests", "benches"] {
        collect(top, &top.join(folder), &mut sources);
    }
    assert!(sources.len() > 40, "the sources were not found");
    sources
}

fn collect(top: &Path, folder: &Path, sources: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && entry.file_name() != "target" {
            collect(top, &path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a source can be read");
            let path = path.strip_prefix(top).expect("it lies below").to_owned();
            sources.push(Source { path, text });
        }
    }
}

/// Fails with every fault at once.
fn none(faults: Vec<String>) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn every_file_begins_by_saying_what_it_is() {
    let silent = sources().into_iter().filter(|source| !source.text.starts_with("//! "));
    none(silent.map(|source| format!("{}: the first line is no `//!`", source.path.display())).collect());
}

#[test]
fn files_and_functions_are_short() {
    let mut faults = Vec::new();
    for source in sources() {
        let lines: Vec<_> = source.text.lines().collect();
        if lines.len() > FILE_LINES {
            faults.push(format!("{}: {} lines", source.path.display(), lines.len()));
        }
        for (at, line) in lines.iter().enumerate() {
            let indent = line.len() - line.trim_start().len();
            let is_function = line.split_whitespace().take(5).any(|word| word == "fn");
            if !is_function || line.trim_start().starts_with("//") || line.trim_end().ends_with([';', '}']) {
                continue;
            }
            let end = format!("{}}}", " ".repeat(indent));
            let length = lines[at..].iter().position(|line| *line == end).map_or(0, |length| length + 1);
            if length > FUNCTION_LINES {
                faults.push(format!("{}:{}: a function of {length} lines", source.path.display(), at + 1));
            }
        }
    }
    none(faults);
}

#[test]
fn nothing_provisional_stays() {
    let mut faults = Vec::new();
    let sources = sources();
    for source in sources.iter().filter(|source| !source.is_test(&sources)) {
        for (at, line) in source.code().lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for word in FORBIDDEN.iter().filter(|word| code.contains(**word)) {
                faults.push(format!("{}:{}: `{word}`", source.path.display(), at + 1));
            }
        }
    }
    none(faults);
}

#[test]
fn no_test_is_ignored_and_no_module_is_called_util() {
    let mut faults = Vec::new();
    for source in sources() {
        let marker = ["#[", "ignore"].concat();
        if source.text.contains(&marker) {
            faults.push(format!("{}: an ignored test", source.path.display()));
        }
        let stem = source.path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if ["util", "utils", "common", "helpers", "misc"].contains(&stem.as_str()) {
            faults.push(format!("{}: a name that says nothing", source.path.display()));
        }
    }
    none(faults);
}

#[test]
fn the_engine_imports_as_its_table_allows() {
    let allowed: BTreeMap<_, _> = IMPORTS.iter().copied().collect();
    let mut faults = Vec::new();
    for source in sources().into_iter().filter(|source| source.path.starts_with("src")) {
        let module = module(&source.path, "src");
        if ["lib", "main"].contains(&module.as_str()) {
            continue;
        }
        let Some(allowed) = allowed.get(module.as_str()) else {
            faults.push(format!("{}: `{module}` is not in the table of imports", source.path.display()));
            continue;
        };
        for import in imports(source.code(), "crate::") {
            if import != module && !allowed.contains(&import.as_str()) {
                faults.push(format!("{}: `{module}` must not import `{import}`", source.path.display()));
            }
        }
    }
    none(faults);
}

#[test]
fn the_stages_import_in_no_circle_and_a_kind_never_uses_another() {
    for root in ["stages", "stages/torch/src"] {
        let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut faults = Vec::new();
        let own = |source: &Source| {
            source.path.starts_with(root) && (root != "stages" || !source.path.starts_with("stages/torch"))
        };
        let sources = sources();
        for source in sources.iter().filter(|source| own(source) && !source.is_test(&sources)) {
            let name = module(&source.path, root);
            if ["lib", "main", "build"].contains(&name.as_str()) {
                continue;
            }
            let kinds = source.path.starts_with("stages/kinds");
            let own_kind = source.path.strip_prefix("stages/kinds").map(|path| module(path, ""));
            for path in source.code().split("crate::kinds::").skip(1) {
                if kinds && !own_kind.as_ref().is_ok_and(|own| path.starts_with(own.as_str())) {
                    faults.push(format!("{}: a kind uses another kind", source.path.display()));
                }
            }
            edges.entry(name.clone()).or_default().extend(imports(source.code(), "crate::"));
            edges.entry(name.clone()).or_default().remove(&name);
        }
        none(faults);
        if let Some(circle) = circle(&edges) {
            panic!("{root}: modules import in a circle: {}", circle.join(" → "));
        }
    }
}

/// The top module that a file belongs to.
fn module(path: &Path, root: &str) -> String {
    let within = path.strip_prefix(root).expect("it lies below").with_extension("");
    within.iter().next().unwrap_or_default().to_string_lossy().into_owned()
}

/// The top modules that a text names after a prefix.
fn imports(code: &str, prefix: &str) -> BTreeSet<String> {
    let name = |rest: &str| rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let outside_comments = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    outside_comments.flat_map(|line| line.split(prefix).skip(1).map(name)).filter(|name| !name.is_empty()).collect()
}

fn circle(edges: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    fn visit(
        at: &str,
        edges: &BTreeMap<String, BTreeSet<String>>,
        path: &mut Vec<String>,
        done: &mut BTreeSet<String>,
    ) -> Option<Vec<String>> {
        if let Some(first) = path.iter().position(|name| name == at) {
            return Some(path[first..].iter().cloned().chain([at.to_owned()]).collect());
        }
        if !done.insert(at.to_owned()) {
            return None;
        }
        path.push(at.to_owned());
        let found = edges.get(at).into_iter().flatten().find_map(|next| visit(next, edges, path, done));
        path.pop();
        found
    }
    let mut done = BTreeSet::new();
    edges.keys().find_map(|start| visit(start, edges, &mut Vec::new(), &mut done))
}
