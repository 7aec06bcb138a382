//! Graphs for the tests of what only looks at who reads from whom. Unaware of what stages do.

use std::path::PathBuf;
use std::sync::Arc;

use pacer_stages::job::Checkpoints;
use pacer_stages::kinds;
use petgraph::graph::DiGraph;

use crate::graph::{DeviceWish, Graph, Input, Resources, Source, Stage, StageId};

/// A graph of so many stages; `gathering` ones do without producers that fail.
pub fn graph(count: usize, edges: &[(usize, usize)], gathering: &[usize]) -> Graph {
    let mut stages = DiGraph::new();
    for at in 0..count {
        let input = |(from, _): &(usize, usize)| Input {
            slot: "files",
            name: None,
            source: Source::Output(StageId::new(*from), "x".into()),
            gathered: gathering.contains(&at).then(|| "all".into()),
        };
        stages.add_node(Stage {
            name: at.to_string(),
            kind: kinds::find("command").unwrap(),
            params: Arc::default(),
            inputs: edges.iter().filter(|(_, to)| *to == at).map(input).collect(),
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
    for (from, to) in edges {
        stages.add_edge(StageId::new(*from), StageId::new(*to), ());
    }
    Graph::new("g".into(), PathBuf::new(), stages).unwrap()
}
