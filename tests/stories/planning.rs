//! Runs on a simulated cluster, which `benches/scale.rs` drives at full size: nothing is lost or counted twice whatever
//! befalls the nodes, and the order heeds what others wait for.

// The full size is the bench's.
#[allow(dead_code)]
#[path = "../../benches/scale/simulation.rs"]
mod simulation;
#[allow(dead_code)]
#[path = "../../benches/scale/world.rs"]
mod world;

use pacer::cluster::policy::Loss;

use simulation::Figures;
use world::{HOUR, Job, Ms, SECOND, Work, World};

/// Whatever can befall a small cluster, often.
fn rough() -> World {
    World {
        between_losses: Some(12 * HOUR),
        burst: Some((HOUR, 5)),
        between_preemptions: Some(6 * HOUR),
        stragglers: 0.05,
        limit: HOUR,
        ..World::calm(20)
    }
}

fn all(work: &Work) -> Ms {
    work.jobs.iter().map(|job| job.duration).sum()
}

fn times(figures: &Figures, is: impl Fn(&Loss) -> bool) -> usize {
    figures.again.iter().filter(|(loss, _)| is(loss)).map(|(_, times)| times).sum()
}

#[test]
fn on_a_cluster_that_loses_nodes_each_job_is_done_and_counted_once() {
    let (world, work) = (rough(), world::sweep(200, &rough()));
    let figures = simulation::run(&work, &world);
    assert!(figures.done.iter().all(|times| *times == 1) && figures.failed == 0, "{figures:?}");
    assert_eq!(figures.useful, all(&work));
    assert_eq!(figures.busy, figures.useful + figures.lost, "what nodes did is of use or lost");
    assert!(figures.held > figures.busy && figures.lost > 0);
    let node = times(&figures, |loss| *loss == Loss::Node);
    let limit = times(&figures, |loss| matches!(loss, Loss::Limit { .. }));
    let gave_way = times(&figures, |loss| *loss == Loss::Preempted);
    assert!(node >= 5 && limit > 10 && gave_way > 10, "{:?}", figures.again);
}

#[test]
fn the_same_world_comes_to_the_same_figures() {
    let figures = || format!("{:?}", simulation::run(&world::sweep(100, &rough()), &rough()));
    assert_eq!(figures(), figures());
}

#[test]
fn what_others_wait_for_longest_is_done_first() {
    let (single, chain) = (200, 10);
    let mut producers = vec![None; single + 1];
    producers.extend((single..single + chain - 1).map(Some));
    let jobs = vec![Job { duration: 100 * SECOND, took: None, checkpoints: None }; producers.len()];
    let work = Work { graph: world::graph(&producers), jobs };
    let figures = simulation::run(&work, &World::calm(10));
    // Begun last, the chain alone would take half as long again.
    let over = figures.makespan as f64 / figures.lower_bound as f64;
    assert!(over < 1.15, "{over} of the bound");
}

#[test]
fn what_is_known_to_take_long_is_done_before_what_is_short() {
    let over = |world: World| {
        let figures = simulation::run(&world::sweep(200, &world), &world);
        figures.makespan as f64 / figures.lower_bound as f64
    };
    let [unknown, known] = [World::calm(50), World::calm(50).with_memory()].map(over);
    assert!(known < 1.1 && unknown > known + 0.1, "{unknown} and {known} of the bound");
}

#[test]
fn slurm_is_left_alone_while_a_run_has_the_pilots_that_it_wants() {
    let world = World::calm(20);
    let figures = simulation::run(&world::sweep(200, &world), &world);
    let commands: usize = figures.commands.values().sum();
    assert!(figures.makespan > 2 * HOUR && commands < 100, "{:?}", figures.commands);
}
