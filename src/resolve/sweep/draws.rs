//! Random draws of a sweep: a value for each trial, from the seed, the trial's number and the parameter's name alone,
//! so that more trials keep the earlier ones. Unaware of stages.

use crate::diagnostic::Diagnostic;
use crate::spec::{Data, Node, Table};

/// Digits that a drawn number keeps: enough to tell trials apart, few enough to read.
const DIGITS: i32 = 4;

/// What a parameter is drawn from.
#[derive(Clone, Debug)]
pub enum Draw {
    /// Evenly between two numbers.
    Uniform(f64, f64),
    /// Evenly in the logarithm, between two numbers above 0.
    LogUniform(f64, f64),
    /// A whole number from the first to the second, both included.
    IntUniform(i64, i64),
    /// One of some values.
    Choice(Vec<Node>),
}

/// The words that name a draw.
pub const WORDS: [&str; 4] = ["uniform", "log_uniform", "int_uniform", "choice"];

/// Whether a table asks for a draw, and is no table of parameters.
pub fn is_draw(table: &Table) -> bool {
    table.len() == 1 && table.keys().all(|key| WORDS.contains(&key.as_str()))
}

impl Draw {
    /// Reads `{ log_uniform = [1e-4, 1e-2] }`.
    pub fn read(table: &Table, faults: &mut Vec<Diagnostic>) -> Option<Self> {
        let (word, entry) = table.first()?;
        let Data::List(items) = &entry.value.data else {
            let fault = Diagnostic::new(format!("`{word}` is {}", entry.value.data.sort())).place(&entry.value.place);
            faults.push(fault.label("must be a list"));
            return None;
        };
        if word == "choice" {
            let fault = Diagnostic::new("`choice` has nothing to choose from").place(&entry.value.place);
            faults.extend(items.is_empty().then_some(fault));
            return (!items.is_empty()).then(|| Self::Choice(items.clone()));
        }
        let whole = |node: &Node| if let Data::Integer(number) = node.data { Some(number) } else { None };
        let number = |node: &Node| match node.data {
            Data::Integer(number) => Some(number as f64),
            Data::Float(number) => Some(number),
            _ => None,
        };
        let draw = match (word.as_str(), items.as_slice()) {
            ("int_uniform", [from, to]) => whole(from).zip(whole(to)).map(|(from, to)| Self::IntUniform(from, to)),
            ("uniform", [from, to]) => number(from).zip(number(to)).map(|(from, to)| Self::Uniform(from, to)),
            (_, [from, to]) => number(from).zip(number(to)).map(|(from, to)| Self::LogUniform(from, to)),
            _ => None,
        };
        let draw = draw.filter(Self::has_room);
        if draw.is_none() {
            let expected = match word.as_str() {
                "int_uniform" => "two whole numbers, the smaller first",
                "uniform" => "two numbers, the smaller first",
                _ => "two numbers above 0, the smaller first",
            };
            let fault = Diagnostic::new(format!("`{word}` cannot be drawn from this")).place(&entry.value.place);
            faults.push(fault.label(format!("must be {expected}")));
        }
        draw
    }

    fn has_room(&self) -> bool {
        match self {
            Self::Uniform(from, to) => from < to,
            Self::LogUniform(from, to) => *from > 0.0 && from < to,
            Self::IntUniform(from, to) => from < to,
            Self::Choice(items) => !items.is_empty(),
        }
    }

    /// The value at a place from 0 to below 1.
    pub fn at(&self, place: f64) -> Data {
        match self {
            Self::Uniform(from, to) => Data::Float(short(from + place * (to - from)).clamp(*from, *to)),
            Self::LogUniform(from, to) => {
                let log = from.ln() + place * (to.ln() - from.ln());
                Data::Float(short(log.exp()).clamp(*from, *to))
            }
            Self::IntUniform(from, to) => {
                let count = (to.abs_diff(*from) as f64) + 1.0;
                Data::Integer(from.saturating_add((place * count) as i64).min(*to))
            }
            Self::Choice(items) => items[((place * items.len() as f64) as usize).min(items.len() - 1)].data.clone(),
        }
    }
}

/// A number from 0 to below 1, from nothing but these three.
pub fn place(draw_seed: u64, trial: u64, parameter: &str) -> f64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&draw_seed.to_le_bytes()).update(&trial.to_le_bytes()).update(parameter.as_bytes());
    let bytes: [u8; 8] = hasher.finalize().as_bytes()[..8].try_into().expect("a digest has 32 bytes");
    (u64::from_le_bytes(bytes) >> 11) as f64 / (1_u64 << 53) as f64
}

/// A number with few digits.
fn short(number: f64) -> f64 {
    format!("{number:.*e}", (DIGITS - 1) as usize).parse().unwrap_or(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_stay_in_their_range_and_fill_it() {
        let draws = [Draw::Uniform(0.0, 0.5), Draw::LogUniform(1e-4, 1e-2), Draw::IntUniform(16, 19)];
        let number = |data: Data| match data {
            Data::Integer(number) => number as f64,
            Data::Float(number) => number,
            _ => f64::NAN,
        };
        for (draw, (low, middle, high)) in draws.iter().zip([(0.0, 0.25, 0.5), (1e-4, 1e-3, 1e-2), (16.0, 18.0, 19.0)])
        {
            let values: Vec<f64> = (0..1000).map(|trial| number(draw.at(place(3, trial, "x")))).collect();
            assert!(values.iter().all(|value| (low..=high).contains(value)), "{draw:?}");
            let below = values.iter().filter(|value| **value < middle).count();
            assert!((430..570).contains(&below), "{draw:?}: {below} of 1000 below the middle");
        }
    }

    #[test]
    fn a_draw_depends_on_seed_trial_and_name_alone_and_reads_shortly() {
        let draw = Draw::LogUniform(1e-4, 1e-2);
        let text = |trial| format!("{:?}", draw.at(place(1, trial, "learning_rate")));
        assert_eq!(text(5), text(5));
        assert_ne!(text(5), text(6));
        assert_ne!(place(1, 5, "a"), place(1, 5, "b"));
        assert_ne!(place(1, 5, "a"), place(2, 5, "a"));
        assert_eq!(short(0.001_234_567), 0.001_235);
    }
}
