//! The stages of a run as a graph, from what each read, with how each ended. Unaware of stores and of pipelines' text.

use std::collections::BTreeMap;

use crate::report::draw::{Anchor, Canvas, WIDTH};
use crate::report::figures::forest::shortened;
use crate::report::{Figure, Grid};

/// A stage.
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// How it ended: a class of the style sheet and a word; of trials, the gravest.
    pub state: &'static str,
    /// How many stages it stands for, by state: one, or the trials of a sweep.
    pub counts: Vec<(&'static str, usize)>,
    /// The places of the stages that it read from.
    pub reads: Vec<usize>,
}

const ROW: f64 = 74.0;
const BOX: [f64; 2] = [112.0, 38.0];

/// The most nodes that are drawn; the table holds all.
const DRAWN: usize = 120;

/// The figure; none where no stage is known. Producers come before consumers.
pub fn graph(nodes: &[Node]) -> Option<Figure> {
    nodes.first()?;
    let drawn = &nodes[..nodes.len().min(DRAWN)];
    let depth = depths(drawn);
    let mut lines: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    depth.iter().enumerate().for_each(|(at, depth)| lines.entry(*depth).or_default().push(at));
    // Wide levels are broken into several lines.
    let most = (WIDTH / (BOX[0] + 12.0)) as usize;
    let lines: Vec<Vec<usize>> =
        lines.into_values().flat_map(|line| line.chunks(most).map(<[usize]>::to_vec).collect::<Vec<_>>()).collect();
    let mut places = vec![[0.0; 2]; drawn.len()];
    for (row, line) in lines.iter().enumerate() {
        let width = WIDTH / line.len() as f64;
        for (column, at) in line.iter().enumerate() {
            places[*at] = [width * (column as f64 + 0.5), 34.0 + ROW * row as f64];
        }
    }
    let mut canvas = Canvas::new(34.0 + ROW * lines.len() as f64 - 20.0);
    legend(&mut canvas);
    for (at, node) in drawn.iter().enumerate() {
        for read in node.reads.iter().filter(|read| **read < drawn.len()) {
            let ([x, y], [to_x, to_y]) = (places[*read], places[at]);
            canvas.line([x, y + BOX[1]], [to_x, to_y], "c5 thin");
        }
    }
    for (node, [x, y]) in drawn.iter().zip(&places) {
        let left = x - BOX[0] / 2.0;
        canvas.rect([left, *y], BOX, "box", 1.0);
        canvas.rect([left, *y], [6.0, BOX[1]], node.state, 1.0);
        let count: usize = node.counts.iter().map(|(_, count)| count).sum();
        let (name, kind) = match count {
            0 | 1 => (shortened(&node.name, 14), shortened(&node.kind, 14)),
            n => (shortened(&format!("{} × {n}", node.name), 14), shares(&node.counts)),
        };
        let kind = if count > 1 { kind } else { format!("{} {kind}", sign(node.state)) };
        canvas.text([left + 11.0, y + 16.0], "strong", Anchor::Start, &name);
        canvas.text([left + 11.0, y + 31.0], "tick", Anchor::Start, &kind);
    }
    let mut table = Grid::new(["stage", "kind", "state", "reads from"]);
    for node in nodes {
        let reads: Vec<&str> = node.reads.iter().map(|read| nodes[*read].name.as_str()).collect();
        let states = match node.counts.as_slice() {
            [(state, 1)] => (*state).to_owned(),
            counts => counts.iter().map(|(state, count)| format!("{count} {state}")).collect::<Vec<_>>().join(", "),
        };
        table.push([node.name.clone(), node.kind.clone(), states, reads.join(", ")]);
    }
    let told = match nodes.len() > DRAWN {
        true => format!(
            "The first {DRAWN} of {} stages; the table holds all. Stages read from those above them.",
            nodes.len()
        ),
        false => {
            "Each stage with its kind and how it ended; stages read from those above them. Trials of a sweep are one \
                  box, with how many ended how."
                .to_owned()
        }
    };
    let title = "The graph".to_owned();
    let svg = canvas.finish(Figure::ID, &title, &told);
    Some(Figure { title, told, svg, table })
}

/// How far below the first stages each lies.
fn depths(nodes: &[Node]) -> Vec<usize> {
    let mut depth = vec![0_usize; nodes.len()];
    // Stages stand in order mostly; groups of trials may not, so that it is gone through until nothing moves.
    for _ in 0..nodes.len() {
        let mut moved = false;
        for (at, node) in nodes.iter().enumerate() {
            let above = node.reads.iter().filter(|read| **read < nodes.len()).map(|read| depth[*read] + 1).max();
            let below = above.unwrap_or(0).min(nodes.len());
            moved |= below > depth[at];
            depth[at] = depth[at].max(below);
        }
        if !moved {
            break;
        }
    }
    depth
}

/// How many trials ended how: `▸18 ✗2`.
fn shares(counts: &[(&'static str, usize)]) -> String {
    counts.iter().map(|(state, count)| format!("{} {count}", sign(state))).collect::<Vec<_>>().join("  ")
}

const fn sign(state: &str) -> &'static str {
    match state.as_bytes() {
        b"ran" => "▸",
        b"reused" => "=",
        b"failed" => "✗",
        b"skipped" => "–",
        _ => "?",
    }
}

/// What the colours and signs of states mean.
pub fn legend(canvas: &mut Canvas) {
    for (at, state) in ["ran", "reused", "failed", "skipped", "unended"].into_iter().enumerate() {
        let x = 4.0 + 100.0 * at as f64;
        canvas.rect([x, 4.0], [6.0, 14.0], state, 1.0);
        canvas.text([x + 12.0, 15.0], "tick", Anchor::Start, &format!("{} {state}", sign(state)));
    }
}
