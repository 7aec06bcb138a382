//! What `plan` and `run` do about leaks: they tell them, and one that is not meant stops the run.

pub mod watch;

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::cache::{Artifact, Cache};
use crate::engine::plan::{Plan, PlanState};
use crate::graph::{Graph, Source};
use crate::leakage::evidence::{Content, Evidence, Findings};
use crate::leakage::{self, Check, Lack, Verdict};
use crate::stat_cache::StatCache;
use crate::ui::output::{self, BAD, FAINT, GOOD, ODD, paint};

/// Reasons that are told for which checks could not be made.
const REASONS: usize = 3;

/// Contents by their digests: of artifacts, and of files that no stage made.
struct Contents<'a> {
    cache: &'a Cache,
    /// Loaded when a file is first asked for.
    stats: OnceCell<RefCell<StatCache>>,
}

impl<'a> Contents<'a> {
    const fn of(cache: &'a Cache) -> Self {
        Self { cache, stats: OnceCell::new() }
    }

    fn artifact(&self, Artifact { digest, bytes, .. }: &Artifact) -> Content {
        let store = &self.cache.store;
        let path = if store.has(digest, *bytes) { Ok(store.object_path(digest)) } else { Err("only the remote has") };
        Content { digest: *digest, path }
    }

    fn file(&self, path: &Path) -> Option<Content> {
        let stats = self.stats.get_or_init(|| RefCell::new(StatCache::load(&self.cache.store)));
        let (digest, _) = stats.borrow_mut().digest(path).ok()?;
        Some(Content { digest, path: Ok(path.to_owned()) })
    }
}

/// What the checks of a plan come to, from the graph and from the data that is here.
pub fn of_plan(graph: &Graph, needed: &[bool], plan: &Plan, cache: &Cache) -> Vec<Check> {
    let contents = Contents::of(cache);
    let find = |source: &Source| match source {
        Source::Output(id, name) => Some(contents.artifact(plan.results.get(id)?.artifact(name).ok()?)),
        Source::File(path) => contents.file(path),
    };
    let failed = plan.stages.iter().filter(|planned| planned.state == PlanState::Failed);
    let gone: BTreeSet<_> = failed.map(|planned| planned.id).collect();
    let findings = Findings::load(&cache.store);
    let checks = leakage::checks(graph, needed, &Evidence { find: &find, gone: &gone, findings: &findings });
    findings.save(&cache.store);
    checks
}

/// Tells on stdout what the checks of a plan came to: each that is not in order, and how many are.
pub fn tell_plan(checks: &[Check]) {
    if checks.is_empty() {
        return;
    }
    let of = |verdict: Verdict| checks.iter().filter(move |check| check.verdict == verdict);
    let lacking = |lack: Lack| of(Verdict::NotChecked).filter(move |check| check.lacks == Some(lack));
    let lines: String = of(Verdict::Leak).chain(lacking(Lack::Lineage)).map(|check| line(check) + "\n").collect();
    let (tight, leak) = (of(Verdict::Tight).count(), of(Verdict::Leak).count());
    let (untold, later) = (lacking(Lack::Lineage).count(), lacking(Lack::Data).count());
    let mut sum = format!("{tight} tight, {leak} leak");
    if untold > 0 {
        sum.push_str(&format!(", {untold} that nobody can tell"));
    }
    if later > 0 {
        sum.push_str(&format!(", {later} when the data is there"));
    }
    let style = if leak > 0 { BAD } else { GOOD };
    output::print(&format!("{lines}{}: {sum}\n", paint(style, "leakage")));
}

/// Whether the graph alone shows a leak that is not meant. Each is told once.
pub fn stopped_by_graph(graph: &Graph, needed: &[bool], told: &mut Vec<Check>) -> bool {
    let checks = leakage::of_graph(graph, needed);
    for check in checks.iter().filter(|check| check.verdict == Verdict::Leak) {
        if !told.contains(check) {
            tell(check);
            told.push(check.clone());
        }
    }
    checks.iter().any(Check::stops)
}

/// Tells in a line which checks a run could not make, and why.
pub fn tell_not_made(checks: &[Check]) {
    let mut reasons: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for check in checks.iter().filter(|check| check.verdict == Verdict::NotChecked) {
        reasons.entry(&check.words).or_default().push(format!("{} in `{}`", check.name.name(), check.about));
    }
    if reasons.is_empty() {
        return;
    }
    let number = output::number(reasons.values().map(Vec::len).sum(), "check");
    let reason = |(words, of): (&&str, &Vec<String>)| match of.as_slice() {
        [first] => format!("{words} ({first})"),
        [first, more @ ..] => format!("{words} ({first} and {} more)", output::count(more.len())),
        [] => (*words).to_owned(),
    };
    let mut told: Vec<String> = reasons.iter().take(REASONS).map(reason).collect();
    if reasons.len() > REASONS {
        told.push("`pacer plan --format json` lists all".to_owned());
    }
    output::say(&format!("{number} for leaks could not be made: {}", told.join("; ")));
}

fn tell(check: &Check) {
    output::say(&line(check));
    if check.stops() {
        let remedy =
            format!("where that is meant, say why: [pipeline] allow_leak = {{ {} = \"…\" }}", check.name.name());
        output::say(&format!("  {}", paint(FAINT, &remedy)));
    }
}

fn line(check: &Check) -> String {
    let (name, Check { about, words, .. }) = (check.name.name(), check);
    match (check.verdict, &check.allowed) {
        (Verdict::NotChecked, _) => format!("{} ({name}) in `{about}`: {words}", paint(ODD, "? not checked")),
        (_, Some(reason)) => format!("{} ({name}) in `{about}`: {words}; allowed: {reason}", paint(ODD, "! leak")),
        (_, None) => format!("{} ({name}) in `{about}`: {words}", paint(BAD, "✗ leak")),
    }
}
