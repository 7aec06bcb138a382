//! What is simulated: sweeps, how long their stages take, and what befalls nodes. Every draw is a function of the seed and
//! of what it is for, so that two worlds that differ in one thing share all else.

use std::path::PathBuf;
use std::sync::Arc;

use pacer::graph::{DeviceWish, Graph, Input, Resources, Source, Stage, StageId};
use pacer_stages::job::Checkpoints;
use pacer_stages::kinds;
use petgraph::graph::DiGraph;

/// Milliseconds, of the fake clock and of durations.
pub type Ms = u64;

/// A second.
pub const SECOND: Ms = 1_000;
/// An hour.
pub const HOUR: Ms = 3_600 * SECOND;
/// A day.
pub const DAY: Ms = 24 * HOUR;

/// What befalls a cluster.
#[derive(Clone, Copy, Debug)]
pub struct World {
    /// Nodes, each with room for one pilot; a run asks for as many.
    pub nodes: usize,
    /// The mean time of a node between two losses.
    pub between_losses: Option<Ms>,
    /// When so many nodes are lost at once.
    pub burst: Option<(Ms, usize)>,
    /// The mean time that a pilot has before it gives way to another job.
    pub between_preemptions: Option<Ms>,
    /// The share of jobs that take five times as long.
    pub stragglers: f64,
    /// The time limit of a pilot.
    pub limit: Ms,
    /// Whether the same stages ran before, undisturbed.
    pub remembers: bool,
    /// The seed of all draws.
    pub seed: u64,
}

impl World {
    /// A cluster on which nothing happens but the ends of time limits.
    pub fn calm(nodes: usize) -> Self {
        let (between_losses, burst, between_preemptions) = (None, None, None);
        Self {
            nodes,
            between_losses,
            burst,
            between_preemptions,
            stragglers: 0.0,
            limit: 4 * HOUR,
            remembers: false,
            seed: 1,
        }
    }

    /// With one loss in 30 days and one preemption in two days a node, and a burst of 50 of 1,000 nodes after an hour.
    pub fn with_losses(self) -> Self {
        let burst = Some((HOUR, self.nodes.div_ceil(20)));
        Self { between_losses: Some(30 * DAY), between_preemptions: Some(2 * DAY), burst, ..self }
    }

    /// With 2 % of jobs that take five times as long.
    pub fn with_stragglers(self) -> Self {
        Self { stragglers: 0.02, ..self }
    }

    /// On which the same stages ran before: how long they take without straggling is known.
    pub fn with_memory(self) -> Self {
        Self { remembers: true, ..self }
    }

    /// A number from 0 to 1 that belongs to a purpose and a place.
    pub fn draw(&self, purpose: &str, place: u64) -> f64 {
        let mut state = self.seed ^ place.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        for byte in purpose.bytes() {
            state = mix(state ^ u64::from(byte));
        }
        (mix(state) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A time that passes before something that happens at random.
    pub fn wait(&self, mean: Ms, purpose: &str, place: u64) -> Ms {
        (-(1.0 - self.draw(purpose, place)).ln() * mean as f64) as Ms + 1
    }

    /// A duration of which half are longer, and which spreads by so much.
    fn lognormal(&self, median: Ms, spread: f64, purpose: &str, place: u64) -> Ms {
        let (radius, angle) = (self.draw(purpose, place), self.draw("angle", place));
        let normal = (-2.0 * (1.0 - radius).ln()).sqrt() * (std::f64::consts::TAU * angle).cos();
        (median as f64 * (spread * normal).exp()) as Ms + 1
    }
}

/// The end of splitmix64.
fn mix(state: u64) -> u64 {
    let state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let state = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    state ^ (state >> 31)
}

/// What a stage needs of a node.
#[derive(Clone, Copy, Debug)]
pub struct Job {
    /// Undisturbed, it takes so long.
    pub duration: Ms,
    /// So long it took another time, where it did.
    pub took: Option<Ms>,
    /// How often it keeps a state that another try goes on from.
    pub checkpoints: Option<Ms>,
}

/// Stages and how long each takes.
pub struct Work {
    /// The stages.
    pub graph: Graph,
    /// Their jobs, by place in the graph.
    pub jobs: Vec<Job>,
}

/// Trials that are trained and evaluated; a hundred each share their preprocessing, and all share one import.
pub fn sweep(trials: usize, world: &World) -> Work {
    const SHARED_BY: usize = 100;
    let (mut producers, mut jobs) = (vec![None], vec![(300 * SECOND, 0.3, None)]);
    let mut add = |producer: usize, median, spread, checkpoints| {
        producers.push(Some(producer));
        jobs.push((median, spread, checkpoints));
        jobs.len() - 1
    };
    for first in (0..trials).step_by(SHARED_BY) {
        let preprocess = add(0, 300 * SECOND, 0.3, None);
        for _ in first..trials.min(first + SHARED_BY) {
            let train = add(preprocess, 1_200 * SECOND, 0.6, Some(30 * SECOND));
            add(train, 30 * SECOND, 0.3, None);
        }
    }
    let job = |(at, (median, spread, checkpoints)): (usize, (Ms, f64, Option<Ms>))| {
        let slow = if world.draw("straggler", at as u64) < world.stragglers { 5 } else { 1 };
        let usual = world.lognormal(median, spread, "duration", at as u64);
        Job { duration: slow * usual, took: world.remembers.then_some(usual), checkpoints }
    };
    Work { jobs: jobs.into_iter().enumerate().map(job).collect(), graph: graph(&producers) }
}

/// Stages of which each reads from one other, or from none.
pub fn graph(producers: &[Option<usize>]) -> Graph {
    let kind = kinds::find("command").expect("it is in the table of kinds");
    let mut stages = DiGraph::new();
    for (at, producer) in producers.iter().enumerate() {
        let input = |from: usize| Input {
            slot: "files",
            name: None,
            source: Source::Output(StageId::new(from), "x".into()),
            gathered: None,
        };
        stages.add_node(Stage {
            name: at.to_string(),
            kind,
            params: Arc::default(),
            inputs: producer.map(input).into_iter().collect(),
            outputs: Vec::new(),
            seed: 0,
            resources: Resources { threads: Some(1), gpus: 0.0, device: DeviceWish::Cpu, executor: None },
            course: None,
            checkpoints: Checkpoints::default(),
            origins: Vec::new(),
            uses: Vec::new(),
            trial: None,
        });
    }
    for (at, producer) in producers.iter().enumerate() {
        if let Some(from) = producer {
            stages.add_edge(StageId::new(*from), StageId::new(at), ());
        }
    }
    Graph::new("simulated".into(), PathBuf::new(), stages).expect("each reads from an earlier one")
}

/// A run cannot end sooner: all work spread evenly over the nodes, or the longest chain.
pub fn lower_bound(work: &Work, nodes: usize) -> Ms {
    let all: Ms = work.jobs.iter().map(|job| job.duration).sum();
    let mut ends = vec![0; work.jobs.len()];
    for id in &work.graph.order {
        let begin = work.graph.producers(*id).map(|producer| ends[producer.index()]).max().unwrap_or(0);
        ends[id.index()] = begin + work.jobs[id.index()].duration;
    }
    (all / nodes as Ms).max(ends.into_iter().max().unwrap_or(0))
}
