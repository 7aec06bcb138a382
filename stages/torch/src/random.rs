//! Counter-based random numbers: every draw is a function of the job's seed, of what it is for, and of a count,
//! so that nothing need be remembered to resume. Unaware of LibTorch.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

/// What numbers are drawn for; each purpose has its own streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The weights at the start.
    Weights,
    /// The order of the workouts in an epoch.
    Order,
    /// LibTorch's own generator in a step, which dropout draws from.
    Dropout,
    /// The futures of a workout at a step after its warm-up.
    Future,
}

/// The generator for a purpose and a count of it.
pub fn stream(seed: u64, purpose: Purpose, count: u64) -> ChaCha8Rng {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    generator.set_stream(((purpose as u64 + 1) << 56) | count);
    generator
}

/// The places `0..n` in random order.
pub fn shuffled(n: usize, generator: &mut ChaCha8Rng) -> Vec<usize> {
    let mut places: Vec<usize> = (0..n).collect();
    for last in (1..n).rev() {
        places.swap(last, below(last + 1, generator));
    }
    places
}

/// A number from `-bound` to `bound`, on a grid of 2⁻²³ of the bound.
pub fn uniform(bound: f32, generator: &mut ChaCha8Rng) -> f32 {
    let fraction = (generator.next_u32() >> 8) as f32 / (1u32 << 23) as f32;
    bound * (fraction - 1.0)
}

/// A number above 0 and at most 1, on a grid of 2⁻⁵³.
pub fn fraction(generator: &mut ChaCha8Rng) -> f64 {
    ((generator.next_u64() >> 11) + 1) as f64 / (1u64 << 53) as f64
}

/// A number of `0..n`; the bias of the multiplication is below n / 2⁶⁴.
fn below(n: usize, generator: &mut ChaCha8Rng) -> usize {
    ((u128::from(generator.next_u64()) * n as u128) >> 64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shuffle_is_a_permutation_that_depends_on_seed_purpose_and_count() {
        let order = |seed, purpose, count| shuffled(50, &mut stream(seed, purpose, count));
        let first = order(1, Purpose::Order, 0);
        let mut sorted = first.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..50).collect::<Vec<_>>());
        assert_eq!(first, order(1, Purpose::Order, 0));
        for other in [order(2, Purpose::Order, 0), order(1, Purpose::Weights, 0), order(1, Purpose::Order, 1)] {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn uniform_numbers_fill_their_interval_evenly() {
        let mut generator = stream(7, Purpose::Weights, 0);
        let draws: Vec<f32> = (0..20_000).map(|_| uniform(0.5, &mut generator)).collect();
        assert!(draws.iter().all(|draw| (-0.5..0.5).contains(draw)));
        let mean = draws.iter().sum::<f32>() / draws.len() as f32;
        let square = draws.iter().map(|draw| draw * draw).sum::<f32>() / draws.len() as f32;
        assert!(mean.abs() < 0.01, "mean {mean}");
        assert!((square - 1.0 / 12.0).abs() < 0.002, "variance {square}");
    }
}
