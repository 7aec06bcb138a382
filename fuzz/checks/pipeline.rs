//! Arbitrary text as a pipeline: read, resolved twice, drawn. A line `#--set name=value` is an argument of the
//! command line as well.

use std::path::Path;

use pacer::diagnostic::{Diagnostic, Place};
use pacer::graph::{Graph, Origin};
use pacer::resolve::{Overrides, resolve};
use pacer::ui::{diagnostics, draw};
use pacer::{key, spec};

/// Stages of the largest graph that is drawn as a picture, which takes long.
const DRAWN: usize = 6;

/// Checks one input.
pub fn check(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Err(faults) = spec::parse(&text) {
        check_faults(&faults, &text);
    }
    let set: Vec<String> = text.lines().filter_map(|line| line.strip_prefix("#--set ")).map(str::to_owned).collect();
    for argument in &set {
        let _ = spec::parse_argument(argument, &Place::Whole).json();
    }
    let overrides = Overrides { set, ..Overrides::default() };
    // The folder holds one file that a pipeline can name: `Cargo.toml`.
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipeline.toml");
    match (resolve(&path, &text, &overrides), resolve(&path, &text, &overrides)) {
        (Ok(graph), Ok(again)) => {
            assert_eq!(described(&graph), described(&again));
            check_graph(&graph, &text);
        }
        (Err(faults), Err(again)) => {
            assert_eq!(faults, again);
            check_faults(&faults, &text);
        }
        _ => panic!("a pipeline is right once and wrong once"),
    }
}

fn check_faults(faults: &[Diagnostic], text: &str) {
    assert!(!faults.is_empty(), "refused without a fault");
    for fault in faults {
        assert!(!fault.message.is_empty());
        let (source, span) = match &fault.place {
            Place::File(span) => (text, span),
            Place::Argument { text, span } => (text.as_str(), span),
            Place::Whole => continue,
        };
        assert!(source.get(span.clone()).is_some(), "`{}` lies outside: {span:?}", fault.message);
    }
    let drawn = diagnostics::render(faults, "pipeline.toml", text, false);
    assert!(drawn.contains("nothing was run"));
}

fn check_graph(graph: &Graph, text: &str) {
    let lines = text.split('\n').count();
    let mut seen = vec![false; graph.stages.node_count()];
    for &id in &graph.order {
        let stage = &graph.stages[id];
        assert!(graph.producers(id).all(|producer| seen[producer.index()]), "`{}` comes too early", stage.name);
        assert!(!std::mem::replace(&mut seen[id.index()], true), "`{}` comes twice", stage.name);
        let decoded = (stage.kind.decode)(&stage.params).expect("decoded parameters decode again");
        assert!(decoded.faults.is_empty() && decoded.outputs == stage.outputs);
        assert_eq!(
            key::encode(&decoded.params),
            key::encode(&stage.params),
            "`{}` decodes to something else",
            stage.name
        );
        assert!(is_plain(&stage.name) && stage.outputs.iter().all(|output| is_plain(&output.name)));
        let inside = |origin: &Origin| !matches!(origin, Origin::Line(line) if !(1..=lines).contains(line));
        assert!(
            stage.origins.iter().map(|(_, origin)| origin).all(inside),
            "`{}` comes from outside the file",
            stage.name
        );
    }
    assert!(seen.iter().all(|seen| *seen), "a stage is not in the order");
    let drawings = [draw::text(graph), draw::dot(graph), draw::mermaid(graph)];
    assert!(drawings.iter().all(|drawing| !drawing.is_empty() || seen.is_empty()));
    if seen.len() <= DRAWN {
        let _ = draw::svg(graph);
    }
}

fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

/// All that a graph says.
fn described(graph: &Graph) -> String {
    let mut out = format!("{:?} {:?} {:?}\n", graph.name, graph.path, graph.order);
    for stage in graph.stages.node_weights() {
        let own = (&stage.name, stage.kind.name, &stage.params, &stage.inputs, &stage.outputs);
        out.push_str(&format!("{own:?} {:?}\n", (stage.seed, &stage.resources, &stage.origins)));
    }
    out
}
