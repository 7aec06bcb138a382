//! Counts what is free: of this machine processor slots, shares of GPUs and memory, of clusters places. Unaware of
//! stages.

/// A share of a GPU smaller than this is none.
const GRAIN: f64 = 1e-9;

/// What is free.
#[derive(Debug)]
pub struct Slots {
    all_threads: usize,
    threads: usize,
    /// Each GPU by its index, and how much of it is free.
    gpus: Vec<(usize, f64)>,
    /// Bytes that jobs may hold together, where that is known.
    all_memory: Option<u64>,
    held_memory: u64,
    /// Free places of each cluster.
    places: Vec<usize>,
}

/// What a job asks for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wish {
    /// The cluster on which it takes a place, and nothing of this machine.
    pub cluster: Option<usize>,
    /// Processor slots; `None` takes a fair share of those that are free.
    pub threads: Option<usize>,
    /// The share of a GPU, where it runs on one.
    pub gpu: Option<f64>,
    /// Bytes that it is expected to take at most; 0 where that is not known.
    pub memory: u64,
}

/// What a job holds until it is given back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Held {
    /// The cluster on which it has a place.
    pub cluster: Option<usize>,
    /// Processor slots.
    pub threads: usize,
    /// The GPU and the share of it.
    pub gpu: Option<(usize, f64)>,
    /// Bytes that it is expected to take at most, by what earlier jobs of its sort took; 0 where none did.
    pub memory: u64,
}

impl Slots {
    /// All slots of a machine, free; its GPUs by index.
    pub fn new(threads: usize, gpus: &[usize], memory: Option<u64>) -> Self {
        let (gpus, places) = (gpus.iter().map(|gpu| (*gpu, 1.0)).collect(), Vec::new());
        Self { all_threads: threads, threads, gpus, all_memory: memory, held_memory: 0, places }
    }

    /// With so many places on each of some clusters.
    pub fn and_places(self, places: Vec<usize>) -> Self {
        Self { places, ..self }
    }

    /// Whether any job at all could start on a cluster, or here.
    pub fn has_room(&self, cluster: Option<usize>) -> bool {
        cluster.map_or(self.threads, |cluster| self.places[cluster]) > 0
    }

    /// Takes what a job asks for; a job that asks for more than there is gets all of it. `waiting` other jobs
    /// want a share of what is free too. A job that is expected to take more memory than is left waits, unless nothing
    /// else of known size runs.
    pub fn take(&mut self, wish: &Wish, waiting: usize) -> Option<Held> {
        if let Some(cluster) = wish.cluster {
            let free = &mut self.places[cluster];
            *free = free.checked_sub(1)?;
            let (threads, gpu) = (wish.threads.unwrap_or(1), wish.gpu.map(|share| (0, share)));
            return Some(Held { cluster: wish.cluster, threads, gpu, memory: 0 });
        }
        let memory = wish.memory;
        let together = self.held_memory.saturating_add(memory);
        if self.held_memory > 0 && memory > 0 && self.all_memory.is_some_and(|all| together > all) {
            return None;
        }
        let fair_share = self.threads / (waiting + 1);
        let threads = wish.threads.unwrap_or(fair_share).clamp(1, self.all_threads);
        if threads > self.threads {
            return None;
        }
        let gpu = match wish.gpu {
            None => None,
            Some(share) => {
                let share = share.clamp(GRAIN, 1.0);
                // The fullest that still has room, so that a whole one stays free for those who want it whole.
                let fitting = self.gpus.iter_mut().filter(|(_, free)| *free + GRAIN >= share);
                let (gpu, free) = fitting.min_by(|(_, a), (_, b)| a.total_cmp(b))?;
                *free -= share;
                Some((*gpu, share))
            }
        };
        self.threads -= threads;
        self.held_memory = together;
        Some(Held { cluster: None, threads, gpu, memory })
    }

    /// Gives back what a job held.
    pub fn give_back(&mut self, held: Held) {
        if let Some(cluster) = held.cluster {
            self.places[cluster] += 1;
            return;
        }
        self.threads += held.threads;
        self.held_memory -= held.memory;
        if let Some((gpu, share)) = held.gpu {
            self.gpus.iter_mut().filter(|(other, _)| *other == gpu).for_each(|(_, free)| *free += share);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF: Wish = Wish { cluster: None, threads: Some(1), gpu: Some(0.5), memory: 0 };

    /// Wants some processor slots, or what is fair.
    fn wish(threads: impl Into<Option<usize>>, memory: u64) -> Wish {
        Wish { cluster: None, threads: threads.into(), gpu: None, memory }
    }

    #[test]
    fn two_halves_share_a_gpu_and_a_third_waits() {
        let mut slots = Slots::new(8, &[0], None);
        let first = slots.take(&HALF, 0).unwrap();
        assert_eq!(slots.take(&HALF, 0).unwrap().gpu, Some((0, 0.5)));
        assert_eq!(slots.take(&HALF, 0), None);
        slots.give_back(first);
        assert!(slots.take(&HALF, 0).is_some());
    }

    #[test]
    fn gpus_are_given_out_and_taken_back_by_their_indices() {
        let mut slots = Slots::new(8, &[1, 3], None);
        let whole = Wish { gpu: Some(1.0), ..HALF };
        let first = slots.take(&whole, 0).unwrap();
        assert_eq!(first.gpu, Some((1, 1.0)));
        assert_eq!(slots.take(&HALF, 0).unwrap().gpu, Some((3, 0.5)));
        assert_eq!(slots.take(&whole, 0), None);
        slots.give_back(first);
        assert_eq!(slots.take(&whole, 0).unwrap().gpu, Some((1, 1.0)));
    }

    #[test]
    fn a_job_that_can_use_all_that_is_free_shares_it_with_those_that_wait() {
        let threads = |all: usize, waiting| Slots::new(all, &[], None).take(&wish(None, 0), waiting).unwrap().threads;
        assert_eq!((threads(8, 0), threads(8, 3), threads(2, 3)), (8, 2, 1));
    }

    #[test]
    fn a_job_that_asks_for_more_threads_than_there_are_gets_all() {
        let mut slots = Slots::new(2, &[], None);
        assert_eq!(slots.take(&wish(16, 0), 0).unwrap().threads, 2);
        assert_eq!(slots.take(&wish(16, 0), 0), None);
    }

    #[test]
    fn jobs_whose_memory_together_is_too_much_run_one_after_the_other() {
        let mut slots = Slots::new(8, &[], Some(10));
        let large = slots.take(&wish(1, 12), 0).unwrap();
        assert_eq!(slots.take(&wish(1, 1), 0), None, "alone it may be larger than there is");
        assert!(slots.take(&wish(1, 0), 0).is_some(), "of this one nothing is known");
        slots.give_back(large);
        assert!(slots.take(&wish(1, 6), 0).is_some());
        assert_eq!(slots.take(&wish(1, 5), 0), None);
        assert!(slots.take(&wish(1, 4), 0).is_some());
    }

    #[test]
    fn places_on_a_cluster_are_counted_apart_from_this_machine() {
        let mut slots = Slots::new(1, &[], None).and_places(vec![0, 1]);
        let on = |cluster| Wish { cluster, threads: Some(8), gpu: Some(1.0), memory: 0 };
        let here = slots.take(&Wish { gpu: None, ..on(None) }, 0).unwrap();
        assert!(!slots.has_room(None) && !slots.has_room(Some(0)) && slots.take(&on(Some(0)), 0).is_none());
        let there = slots.take(&on(Some(1)), 0).unwrap();
        assert_eq!((there.threads, there.gpu), (8, Some((0, 1.0))));
        assert!(!slots.has_room(Some(1)) && slots.take(&on(Some(1)), 0).is_none());
        slots.give_back(there);
        slots.give_back(here);
        assert!(slots.take(&on(Some(1)), 0).is_some() && slots.has_room(None));
    }
}
