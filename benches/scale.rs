//! How a run behaves with 10,000 trials on 1,000 nodes: the scheduler on a simulated cluster, and what the spool and the
//! store cost for real with as many offers, pilots and results. `-- simulation` or `-- files` does one of both.

#[path = "scale/files.rs"]
mod files;
#[path = "scale/simulation.rs"]
mod simulation;
#[path = "scale/world.rs"]
mod world;

use std::io::Write as _;

use pacer::cluster::policy::Loss;

use crate::simulation::Figures;
use crate::world::{HOUR, World};

const TRIALS: usize = 10_000;

fn main() {
    if files::publish_if_told() {
        return;
    }
    let wanted: Vec<_> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let is_wanted = |part: &str| wanted.is_empty() || wanted.iter().any(|word| word == part);
    if is_wanted("simulation") {
        simulated();
    }
    if is_wanted("files") {
        files::measure();
    }
}

fn simulated() {
    tell(&format!("{TRIALS} trials, {} jobs; each row is a run on a simulated cluster", jobs()));
    let head = |words: [&str; 9]| {
        let [name, rest @ ..] = words;
        tell(&format!("{name:18}{}", rest.map(|word| format!("{word:>14}")).concat()));
    };
    head(["", "makespan", "over the", "node time", "lost", "offered again:", "longest", "commands", "in busiest"]);
    head(["nodes", "h", "bound", "of use", "h", "lost/late/gave", "queue", "of Slurm", "second"]);
    for nodes in [10, 100, 1_000] {
        let calm = World::calm(nodes);
        let worlds = [
            ("calm", calm),
            ("stragglers", calm.with_stragglers()),
            ("losses", calm.with_losses()),
            ("both", calm.with_losses().with_stragglers()),
            ("calm, known", calm.with_memory()),
            ("both, known", calm.with_losses().with_stragglers().with_memory()),
        ];
        for (name, world) in worlds {
            let work = world::sweep(TRIALS, &world);
            let figures = simulation::run(&work, &world);
            assert!(figures.done.iter().all(|times| *times == 1), "each job is done once");
            tell(&row(&format!("{nodes:5} {name}"), &figures));
        }
    }
}

fn jobs() -> usize {
    world::sweep(TRIALS, &World::calm(1)).jobs.len()
}

fn row(name: &str, figures: &Figures) -> String {
    let hours = |ms: u64| ms as f64 / HOUR as f64;
    let again = |is: fn(&Loss) -> bool| figures.again.iter().filter(|(loss, _)| is(loss)).map(|it| it.1).sum::<usize>();
    let lost = again(|loss| *loss == Loss::Node);
    let limit = again(|loss| matches!(loss, Loss::Limit { .. }));
    let gave_way = again(|loss| *loss == Loss::Preempted);
    let commands: usize = figures.commands.values().sum();
    let cells = [
        format!("{:.2}", hours(figures.makespan)),
        format!("{:.1} %", 100.0 * (figures.makespan as f64 / figures.lower_bound as f64 - 1.0)),
        format!("{:.2} %", 100.0 * figures.useful as f64 / figures.held as f64),
        format!("{:.1}", hours(figures.lost)),
        format!("{lost}/{limit}/{gave_way}"),
        figures.longest_queue.to_string(),
        commands.to_string(),
        figures.most_commands.to_string(),
    ];
    format!("{name:18}{}", cells.map(|cell| format!("{cell:>14}")).concat())
}

fn tell(line: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}
