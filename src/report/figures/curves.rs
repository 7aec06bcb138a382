//! Training curves: the error on the validation part by epoch, with a band where several seeds were trained. Unaware of
//! stores.

use crate::report::draw::{self, Canvas, Frame};
use crate::report::figures::two;
use crate::report::{Figure, Grid};

/// A configuration with the validation MAE of each of its trainings, BPM, by epoch.
pub struct Curves {
    /// Its name.
    pub name: String,
    /// Epochs and errors of each training.
    pub trainings: Vec<Vec<[f64; 2]>>,
}

impl Curves {
    /// At each epoch: mean, least and greatest over the trainings that came so far.
    fn band(&self) -> Vec<[f64; 4]> {
        let longest = self.trainings.iter().max_by_key(|training| training.len());
        let at = |epoch: f64| {
            let values = self.trainings.iter().filter_map(|line| line.iter().find(|point| point[0] == epoch));
            let values: Vec<f64> = values.map(|point| point[1]).filter(|value| value.is_finite()).collect();
            let [low, high] = draw::range(values.iter().copied())?;
            Some([epoch, values.iter().sum::<f64>() / values.len() as f64, low, high])
        };
        longest.into_iter().flatten().filter_map(|point| at(point[0])).collect()
    }
}

/// How far above the worst start the picture reaches, by the height below it.
const BEYOND: f64 = 0.15;

/// The figure; none where nothing was trained.
pub fn curves(title: &str, all: &[Curves]) -> Option<Figure> {
    let bands: Vec<Vec<[f64; 4]>> = all.iter().map(Curves::band).collect();
    let x = draw::range(bands.iter().flatten().map(|point| point[0]))?;
    let [low, high] = draw::range(bands.iter().flatten().flat_map(|point| [point[2], point[3]]))?;
    // What diverges leaves the picture, so that the others can be seen.
    let worst_start = bands.iter().filter_map(|band| Some(band.first()?[3])).fold(f64::NEG_INFINITY, f64::max);
    let y = [low, high.min(worst_start + BEYOND * (worst_start - low).max(1.0))];
    let mut canvas = Canvas::new(330.0);
    let name = |curves: &Curves| match curves.trainings.len() {
        1 => curves.name.clone(),
        n => format!("{} ({n} seeds)", curves.name),
    };
    let top = canvas.legend(&all.iter().map(name).collect::<Vec<_>>());
    let axes = canvas.axes(&Frame { x, y, across: draw::EPOCHS, up: "validation MAE (BPM)" }, top);
    let mut table = Grid::new(["training", "seeds", "epochs", "best epoch", "best MAE (BPM)", "last MAE (BPM)"]);
    for (place, (curves, band)) in all.iter().zip(&bands).enumerate() {
        let tone = draw::tone(place);
        if curves.trainings.len() > 1 {
            let edge = |end: usize| band.iter().map(move |point| (point[0], point[end]));
            let outline = edge(2).chain(edge(3).collect::<Vec<_>>().into_iter().rev());
            canvas.area(outline.map(|(x, y)| [axes.x.at(x), axes.y.at(y)]), &format!("{tone} area"));
        }
        let points = || band.iter().map(|point| [axes.x.at(point[0]), axes.y.at(point[1])]);
        canvas.path(points(), &format!("{tone} line d{}", place % draw::TONES));
        points().for_each(|point| canvas.mark(point, place, 2.6));
        let Some(best) = band.iter().min_by(|a, b| a[1].total_cmp(&b[1])) else { continue };
        let last = band.last().map_or(f64::NAN, |point| point[1]);
        let numbers = [curves.trainings.len().to_string(), last_epoch(band), format!("{:.0}", best[0])];
        let [seeds, epochs, epoch] = numbers;
        table.push([curves.name.clone(), seeds, epochs, epoch, two(best[1]), two(last)]);
    }
    let told = "The mean absolute error on the validation part after each epoch. Where several seeds were trained, the \
                line is their mean and the band reaches from the least to the greatest. What diverges runs along the \
                upper edge.";
    let svg = canvas.finish(Figure::ID, title, told);
    Some(Figure { title: title.to_owned(), told: told.into(), svg, table })
}

fn last_epoch(band: &[[f64; 4]]) -> String {
    band.last().map_or_else(String::new, |point| format!("{:.0}", point[0]))
}
