//! Draws a graph of stages: as text, DOT, Mermaid or SVG. Unaware of whether they run.

use layout::backends::svg::SVGWriter;
use layout::gv;

use crate::graph::{Graph, Source, StageId};

/// The graph as indented text: each stage under the first stage that it reads from.
pub fn text(graph: &Graph) -> String {
    let width = graph.stages.node_weights().map(|stage| stage.name.chars().count()).max().unwrap_or(0);
    let mut out = String::new();
    for &id in &graph.order {
        let stage = &graph.stages[id];
        let reads: Vec<_> = stage.inputs.iter().map(|input| source_name(graph, &input.source)).collect();
        let arrow = if reads.is_empty() { String::new() } else { format!("← {}", reads.join(", ")) };
        let line = format!("{:width$}  {:<10}  {arrow}", stage.name, stage.kind.name);
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

fn source_name(graph: &Graph, source: &Source) -> String {
    match source {
        Source::File(path) => path.display().to_string(),
        Source::Output(id, artifact) => format!("{}.{artifact}", graph.stages[*id].name),
    }
}

/// The graph in the DOT language.
pub fn dot(graph: &Graph) -> String {
    let mut out = format!("digraph {} {{\n", quoted(&graph.name));
    for &id in &graph.order {
        let stage = &graph.stages[id];
        let label = format!("{}\\n{}", stage.name, stage.kind.name);
        out.push_str(&format!("  {} [shape=box, label=\"{label}\"];\n", quoted(&stage.name)));
    }
    for (from, to) in edges(graph) {
        out.push_str(&format!("  {} -> {};\n", quoted(name(graph, from)), quoted(name(graph, to))));
    }
    out + "}\n"
}

/// The graph as a Mermaid flow chart, which many Markdown viewers draw.
pub fn mermaid(graph: &Graph) -> String {
    let mut out = String::from("flowchart TD\n");
    for &id in &graph.order {
        let stage = &graph.stages[id];
        out.push_str(&format!("  s{}[\"{}<br/>{}\"]\n", id.index(), stage.name, stage.kind.name));
    }
    for (from, to) in edges(graph) {
        out.push_str(&format!("  s{} --> s{}\n", from.index(), to.index()));
    }
    out
}

/// The graph as a picture.
pub fn svg(graph: &Graph) -> anyhow::Result<String> {
    let mut parser = gv::DotParser::new(&dot(graph));
    let parsed = parser.process().map_err(|error| anyhow::anyhow!("the graph cannot be drawn: {error}"))?;
    let mut builder = gv::GraphBuilder::new();
    builder.visit_graph(&parsed);
    let mut picture = builder.get();
    let mut writer = SVGWriter::new();
    picture.do_it(false, false, false, &mut writer);
    Ok(writer.finalize())
}

fn edges(graph: &Graph) -> Vec<(StageId, StageId)> {
    let mut edges: Vec<_> = graph.stages.edge_indices().filter_map(|edge| graph.stages.edge_endpoints(edge)).collect();
    edges.sort();
    edges
}

fn name(graph: &Graph, id: StageId) -> &str {
    &graph.stages[id].name
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
