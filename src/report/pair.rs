//! Two artifacts side by side as a page: predictions over each other, drawings beside each other. Unaware of how they
//! were found and compared.

use crate::compare::artifacts::{Artifacts, Content};
use crate::compare::traces::{Trace, Traced};
use crate::report::figures::traces::{self, trace};
use crate::report::figures::two;
use crate::report::{Block, Grid, Report, Section, VERSION};

/// The page's content. It does not know whether data was synthetic; the reports of the runs say so.
pub fn report(artifacts: &Artifacts) -> Report {
    let [one, other] = &artifacts.names;
    let title = format!("{one} and {other}");
    let told = match &artifacts.difference {
        Some(difference) => difference.to_string(),
        None => "The two are the same, byte for byte.".to_owned(),
    };
    let mut blocks = vec![Block::Code { text: told }];
    match &artifacts.content {
        Content::Traces(traces) => {
            blocks.push(Block::Table(overview(&traces.both)));
            blocks.extend(traces.both.iter().flat_map(drawn));
        }
        Content::Drawings(drawings) => {
            let drawing = |(title, svg): (&String, &String)| Block::Drawing { title: title.clone(), svg: svg.clone() };
            blocks.extend(artifacts.names.iter().zip(drawings).map(drawing));
        }
        Content::Lines(lines) => blocks.push(Block::Code { text: lines.told.join("\n") }),
        Content::Figures(_) | Content::Cells(_) | Content::Tensors(_) | Content::Bytes => {
            blocks.push(Block::words("What they hold is told by the same command without --page."));
        }
    }
    let section = Section { id: "difference", title: "What differs", blocks };
    Report { v: VERSION, title, synthetic: false, sections: vec![section] }
}

fn overview(both: &[Traced]) -> Grid {
    let header = ["first", "second", "workouts", "samples", "MAE, first", "MAE, second", "apart (BPM)"];
    let mut grid = Grid::new(header);
    for traced in both {
        let [one, other] = traced.models.clone();
        let [mae_one, mae_other] = traced.mae.map(two);
        let (workouts, samples) = (traced.workouts.to_string(), traced.samples.to_string());
        grid.push([one, other, workouts, samples, mae_one, mae_other, two(traced.apart)]);
    }
    grid
}

fn drawn(traced: &Traced) -> Vec<Block> {
    let [one, other] = &traced.models;
    let names =
        if one == other { [format!("{one}, first"), format!("{other}, second")] } else { traced.models.clone() };
    let figure = |told: &Trace| {
        let Trace { workout, user, apart, .. } = told;
        let title = format!("{one}: workout {workout} of user {user}, {} BPM apart on average", two(*apart));
        let predictions = names.iter().zip(&told.predicted).map(|(name, values)| (name.as_str(), values.as_slice()));
        let predictions = predictions.collect();
        trace(&traces::Trace { title, time: &told.time_s, truth: &told.truth, predictions }).map(Block::Figure)
    };
    traced.furthest.iter().filter_map(figure).collect()
}
