//! Counts what is free of the machine: processor slots and shares of GPUs. Unaware of stages.

use crate::graph::Resources;

/// A share of a GPU smaller than this is none.
const GRAIN: f64 = 1e-9;

/// What is free.
#[derive(Debug)]
pub struct Slots {
    all_threads: usize,
    threads: usize,
    gpus: Vec<f64>,
}

/// What a job holds until it is given back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Held {
    /// Processor slots.
    pub threads: usize,
    /// The GPU and the share of it.
    pub gpu: Option<(usize, f64)>,
}

impl Slots {
    /// All slots of a machine, free.
    pub fn new(threads: usize, gpus: usize) -> Self {
        Self { all_threads: threads, threads, gpus: vec![1.0; gpus] }
    }

    /// Takes what a job asks for; a job that asks for more than there is gets all of it.
    pub fn take(&mut self, wanted: &Resources, on_gpu: bool) -> Option<Held> {
        let threads = wanted.threads.clamp(1, self.all_threads);
        if threads > self.threads {
            return None;
        }
        let gpu = match on_gpu {
            false => None,
            true => {
                let share = wanted.gpus.clamp(GRAIN, 1.0);
                // The fullest that still has room, so that a whole one stays free for those who want it whole.
                let fitting = (0..self.gpus.len()).filter(|&gpu| self.gpus[gpu] + GRAIN >= share);
                let gpu = fitting.min_by(|&a, &b| self.gpus[a].total_cmp(&self.gpus[b]))?;
                self.gpus[gpu] -= share;
                Some((gpu, share))
            }
        };
        self.threads -= threads;
        Some(Held { threads, gpu })
    }

    /// Gives back what a job held.
    pub fn give_back(&mut self, held: Held) {
        self.threads += held.threads;
        if let Some((gpu, share)) = held.gpu {
            self.gpus[gpu] += share;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::DeviceWish;

    const HALF: Resources = Resources { threads: 1, gpus: 0.5, device: DeviceWish::Auto };

    #[test]
    fn two_halves_share_a_gpu_and_a_third_waits() {
        let mut slots = Slots::new(8, 1);
        let first = slots.take(&HALF, true).unwrap();
        assert_eq!(slots.take(&HALF, true).unwrap().gpu, Some((0, 0.5)));
        assert_eq!(slots.take(&HALF, true), None);
        slots.give_back(first);
        assert!(slots.take(&HALF, true).is_some());
    }

    #[test]
    fn a_job_that_asks_for_more_threads_than_there_are_gets_all() {
        let mut slots = Slots::new(2, 0);
        let wanted = Resources { threads: 16, gpus: 0.0, device: DeviceWish::Cpu };
        assert_eq!(slots.take(&wanted, false).unwrap().threads, 2);
        assert_eq!(slots.take(&wanted, false), None);
    }
}
