//! Heart rates and distances of a whole export, kept in twelve bytes each until it is known which of them lie within
//! workouts. Unaware of how they are written.

use std::collections::HashMap;

/// Samples in a block; blocks grow in number, so that nothing large is ever moved.
const BLOCK: usize = 1 << 16;

/// A heart rate in BPM or a distance in metres, and when it was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Beginning in unix seconds.
    pub start: u32,
    /// Seconds to its end; 0 for an instant.
    pub span: u16,
    /// The source's number in a [`Sources`].
    pub source: u16,
    /// BPM or metres.
    pub value: f32,
}

impl Sample {
    /// Puts a sample together; none where a time does not fit or the value is not finite.
    #[inline]
    pub fn new(start: i64, end: i64, source: u16, value: f64) -> Option<Self> {
        let value = value as f32;
        let (start, span) = (u32::try_from(start).ok()?, u16::try_from(end - start).ok()?);
        value.is_finite().then_some(Self { start, span, source, value })
    }

    /// Its end in unix seconds.
    pub fn end(self) -> f64 {
        f64::from(self.start) + f64::from(self.span)
    }

    /// Its middle in unix seconds.
    pub fn middle(self) -> f64 {
        f64::from(self.start) + f64::from(self.span) / 2.0
    }

    /// What samples are sorted by: time first; equal ones are told by all they hold.
    fn key(self) -> (u32, u16, u16, u32) {
        (self.start, self.span, self.source, self.value.to_bits())
    }
}

/// Who measured: names, and whether each is an Apple Watch, numbered in the order in which they were met.
#[derive(Debug, Default)]
pub struct Sources {
    known: Vec<Source>,
    numbers: HashMap<Source, u16>,
}

/// The name of a source as it is written, and whether it is an Apple Watch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Source {
    /// The name, its entities unresolved.
    pub name: Vec<u8>,
    /// Whether the name or the device says so.
    pub watch: bool,
}

impl Sources {
    /// The number of a source; beyond the 65,535th all share one.
    pub fn number(&mut self, source: Source) -> u16 {
        if let Some(number) = self.numbers.get(&source) {
            return *number;
        }
        let number = u16::try_from(self.known.len()).unwrap_or(u16::MAX);
        if number < u16::MAX {
            self.numbers.insert(source.clone(), number);
            self.known.push(source);
        }
        number
    }

    /// The source of a number.
    pub fn get(&self, number: u16) -> Option<&Source> {
        self.known.get(usize::from(number))
    }

    /// Every source, in order of number.
    pub fn all(self) -> Vec<Source> {
        self.known
    }
}

/// Samples while they are gathered.
#[derive(Default)]
pub struct Store {
    blocks: Vec<Vec<Sample>>,
    count: u64,
}

impl Store {
    /// Appends samples.
    pub fn extend(&mut self, samples: impl IntoIterator<Item = Sample>) {
        for sample in samples {
            match self.blocks.last_mut() {
                Some(block) if block.len() < BLOCK => block.push(sample),
                _ => {
                    let mut block = Vec::with_capacity(BLOCK);
                    block.push(sample);
                    self.blocks.push(block);
                }
            }
            self.count += 1;
        }
    }

    /// How many there are.
    pub fn len(&self) -> u64 {
        self.count
    }

    /// Those that touch one of the stretches of time, in order of time, equal ones once: a correlation repeats
    /// what stands elsewhere. `stretches` are begins and ends in order of their begins.
    pub fn within(self, stretches: &[(i64, i64)]) -> Sorted {
        let merged = merge(stretches);
        let touches = |sample: &Sample| {
            let (start, end) = (i64::from(sample.start), i64::from(sample.start) + i64::from(sample.span));
            let next = merged.partition_point(|(_, stretch_end)| *stretch_end < start);
            merged.get(next).is_some_and(|(stretch_start, _)| *stretch_start <= end)
        };
        let mut samples: Vec<Sample> = Vec::new();
        for block in self.blocks {
            samples.extend(block.into_iter().filter(touches));
        }
        samples.sort_unstable_by_key(|sample| sample.key());
        samples.dedup_by_key(|sample| sample.key());
        let longest = samples.iter().map(|sample| sample.span).max().unwrap_or_default();
        Sorted { samples, longest }
    }
}

/// Stretches that overlap or touch become one.
fn merge(stretches: &[(i64, i64)]) -> Vec<(i64, i64)> {
    let mut merged: Vec<(i64, i64)> = Vec::new();
    for &(start, end) in stretches {
        match merged.last_mut().filter(|last| start <= last.1) {
            Some(last) => last.1 = last.1.max(end),
            None => merged.push((start, end)),
        }
    }
    merged
}

/// Samples in order of time.
#[derive(Default)]
pub struct Sorted {
    samples: Vec<Sample>,
    longest: u16,
}

impl Sorted {
    /// Samples of which at least half lies between two times, both included, in order of their beginnings.
    pub fn between(&self, start: i64, end: i64) -> impl Iterator<Item = Sample> {
        let earliest = start - i64::from(self.longest);
        let first = self.samples.partition_point(|sample| i64::from(sample.start) < earliest);
        let from = self.samples[first..].iter().take_while(move |sample| i64::from(sample.start) <= end);
        from.copied().filter(move |sample| {
            let (own_start, span) = (i64::from(sample.start), i64::from(sample.span));
            let shared = end.min(own_start + span) - start.max(own_start);
            shared >= 0 && 2 * shared >= span
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{BLOCK, Sample, Source, Sources, Store};

    fn sample(start: i64, end: i64, value: f64) -> Sample {
        Sample::new(start, end, 0, value).unwrap()
    }

    fn starts(samples: impl Iterator<Item = Sample>) -> Vec<u32> {
        samples.map(|sample| sample.start).collect()
    }

    #[test]
    fn a_sample_takes_twelve_bytes_and_refuses_what_does_not_fit() {
        assert_eq!(size_of::<Sample>(), 12);
        assert_eq!(sample(100, 175, 60.0).middle(), 137.5);
        assert_eq!(Sample::new(-1, 0, 0, 60.0), None);
        assert_eq!(Sample::new(100, 99, 0, 60.0), None);
        assert_eq!(Sample::new(100, 70_000, 0, 60.0), None);
        assert_eq!(Sample::new(100, 100, 0, 1e300), None);
    }

    #[test]
    fn only_what_touches_a_workout_is_kept_in_order_and_once() {
        let mut store = Store::default();
        let beside = (0..2 * BLOCK as i64).map(|at| sample(1_000_000 + at, 1_000_000 + at, 1.0));
        store.extend([sample(30, 30, 3.0), sample(20, 25, 2.0), sample(20, 25, 2.0), sample(26, 29, 1.0)]);
        store.extend(beside);
        store.extend([sample(1, 10, 9.0), sample(1, 9, 9.0), sample(30, 30, 3.5), sample(25, 25, 4.0)]);
        assert_eq!(store.len(), 8 + 2 * BLOCK as u64);
        let sorted = store.within(&[(10, 12), (20, 25), (22, 23), (30, 31)]);
        assert_eq!(starts(sorted.samples.into_iter()), [1, 20, 25, 30, 30]);
    }

    #[test]
    fn a_span_belongs_to_where_at_least_half_of_it_lies() {
        let mut store = Store::default();
        store.extend([sample(0, 20, 1.0), sample(5, 14, 1.0), sample(12, 18, 1.0), sample(15, 26, 1.0)]);
        store.extend([sample(16, 24, 1.0), sample(20, 20, 1.0), sample(21, 21, 1.0)]);
        let sorted = store.within(&[(0, 100)]);
        assert_eq!(starts(sorted.between(10, 20)), [0, 12, 16, 20]);
        assert_eq!(starts(sorted.between(200, 300)), Vec::<u32>::new());
    }

    #[test]
    fn sources_without_number_share_the_last() {
        let mut sources = Sources::default();
        let source = |name: u32| Source { name: name.to_le_bytes().to_vec(), watch: false };
        assert_eq!((0..70_000).map(|name| sources.number(source(name))).max(), Some(u16::MAX));
        assert_eq!(sources.number(source(7)), 7);
        assert!(sources.get(u16::MAX).is_none());
        assert_eq!(sources.all().len(), usize::from(u16::MAX));
    }
}
