//! Which workouts are shown: by number, by day, and those of the lowest or highest score. Unaware of how a score
//! comes about.
//!
//! Workouts pass by one at a time; only those that may be shown are kept, so that memory does not grow with them.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::kinds::inspect::traces;
use crate::kinds::inspect::words;
use crate::stage::Blame;
use crate::workouts::Workout;

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Numbers of workouts, whatever their sport.
    pub ids: Vec<i64>,
    /// Days of their start, in local time or UTC.
    pub dates: Vec<Date>,
    /// How many of the lowest score.
    pub worst: usize,
    /// How many of the highest score.
    pub best: usize,
    /// Sports that days and scores look at; empty for all.
    pub sports: Vec<String>,
    /// The most that are shown.
    pub most: usize,
}

/// Why a workout is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// Its number was asked for.
    Number,
    /// Its day was asked for.
    Day,
    /// Its score is among the lowest.
    Worst,
    /// Its score is among the highest.
    Best,
}

impl Why {
    /// The words for it.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Number => "asked for by number",
            Self::Day => "asked for by date",
            Self::Worst => "among the lowest scores",
            Self::Best => "among the highest scores",
        }
    }
}

/// What was chosen.
#[derive(Debug)]
pub struct Chosen {
    /// The workouts in the order they are shown.
    pub workouts: Vec<(Why, Workout)>,
    /// How many more were asked for than are shown.
    pub left_out: usize,
}

/// Workouts kept by rank, the first of them at most.
#[derive(Default)]
struct Ranked {
    most: usize,
    kept: BTreeMap<Rank, Workout>,
    offered: usize,
}

/// A value, then the place in the file.
#[derive(Clone, Copy, PartialEq)]
struct Rank(f64, usize);

impl Eq for Rank {}

impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Rank {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0).then(self.1.cmp(&other.1))
    }
}

impl Ranked {
    fn new(most: usize) -> Self {
        Self { most, ..Self::default() }
    }

    fn offer(&mut self, rank: Rank, workout: &Workout) {
        self.offered += 1;
        let is_beyond = self.kept.len() >= self.most && self.kept.last_key_value().is_none_or(|(last, _)| rank > *last);
        if !is_beyond {
            self.kept.insert(rank, workout.clone());
            if self.kept.len() > self.most {
                self.kept.pop_last();
            }
        }
    }
}

/// The nearest to something that may not be there.
#[derive(Clone, Copy, Debug)]
struct Near<T> {
    wanted: T,
    is_there: bool,
    below: Option<T>,
    above: Option<T>,
}

impl<T: Ord + Copy + std::fmt::Display> Near<T> {
    fn new(wanted: T) -> Self {
        Self { wanted, is_there: false, below: None, above: None }
    }

    fn see(&mut self, value: T) {
        match value.cmp(&self.wanted) {
            Ordering::Equal => self.is_there = true,
            Ordering::Less => self.below = self.below.max(Some(value)),
            Ordering::Greater => self.above = Some(self.above.map_or(value, |above| above.min(value))),
        }
    }

    /// `2025-11-24 is not there (nearest: 2025-11-23 and 2025-11-30)`.
    fn missing(&self, what: &str) -> Option<String> {
        let near: Vec<String> = self.below.iter().chain(&self.above).map(T::to_string).collect();
        let near = if near.is_empty() { String::new() } else { format!(" (nearest: {})", near.join(" and ")) };
        (!self.is_there).then(|| format!("{what} {} is not there{near}", self.wanted))
    }
}

/// Chooses among workouts that pass by.
pub struct Chooser {
    wanted: Wanted,
    seen: usize,
    ids: Vec<Near<i64>>,
    days: Vec<Near<Date>>,
    numbered: Ranked,
    dated: Ranked,
    worst: Ranked,
    best: Ranked,
    sports: BTreeSet<String>,
    candidates: usize,
}

/// Missing numbers or days that a fault names.
const NAMED: usize = 5;

impl Chooser {
    /// Chooses nothing yet.
    pub fn new(wanted: Wanted) -> Self {
        Self {
            seen: 0,
            ids: wanted.ids.iter().map(|id| Near::new(*id)).collect(),
            days: wanted.dates.iter().map(|day| Near::new(*day)).collect(),
            numbered: Ranked::new(wanted.most),
            dated: Ranked::new(wanted.most),
            worst: Ranked::new(wanted.worst.min(wanted.most)),
            best: Ranked::new(wanted.best.min(wanted.most)),
            sports: BTreeSet::new(),
            candidates: 0,
            wanted,
        }
    }

    /// Whether the score of this workout matters.
    pub fn needs_score(&self, workout: &Workout) -> bool {
        self.wanted.worst + self.wanted.best > 0 && self.is_candidate(workout)
    }

    fn is_candidate(&self, workout: &Workout) -> bool {
        self.wanted.sports.is_empty() || self.wanted.sports.contains(&workout.sport)
    }

    /// Looks at the next workout of the file, with its score where that matters.
    pub fn offer(&mut self, workout: &Workout, score: Option<f64>) {
        let place = self.seen;
        self.seen += 1;
        self.ids.iter_mut().for_each(|near| near.see(workout.id));
        if let Some(order) = self.wanted.ids.iter().position(|id| *id == workout.id) {
            self.numbered.offer(Rank(order as f64, place), workout);
        }
        if !self.is_candidate(workout) {
            self.sports.insert(workout.sport.clone());
            return;
        }
        self.candidates += 1;
        if !self.days.is_empty() {
            self.offer_day(workout, place);
        }
        if let Some(score) = score {
            self.worst.offer(Rank(score, place), workout);
            self.best.offer(Rank(-score, place), workout);
        }
    }

    fn offer_day(&mut self, workout: &Workout, place: usize) {
        let Some(start) = traces::start(workout) else { return };
        let days = [workout.time_zone.as_deref(), None].map(|zone| day(start, zone));
        for day in days.into_iter().flatten() {
            self.days.iter_mut().for_each(|near| near.see(day));
        }
        if days.iter().flatten().any(|day| self.wanted.dates.contains(day)) {
            self.dated.offer(Rank(start, place), workout);
        }
    }

    /// What was chosen; fails with the parameter to blame where something asked for is not there.
    pub fn chosen(self) -> Result<Chosen, Blame> {
        self.missing()?;
        let mut places = BTreeSet::new();
        let mut workouts = Vec::new();
        let mut left_out = 0;
        let lists =
            [(Why::Number, self.numbered), (Why::Day, self.dated), (Why::Worst, self.worst), (Why::Best, self.best)];
        for (why, list) in lists {
            if matches!(why, Why::Number | Why::Day) {
                left_out += list.offered - list.kept.len();
            }
            let new = list.kept.into_iter().filter(|(rank, _)| places.insert(rank.1));
            workouts.extend(new.map(|(_, workout)| (why, workout)));
        }
        left_out += workouts.len().saturating_sub(self.wanted.most);
        workouts.truncate(self.wanted.most);
        Ok(Chosen { workouts, left_out })
    }

    fn missing(&self) -> Result<(), Blame> {
        let blame = |parameter: &str, missing: Vec<String>| match missing.len() {
            0 => Ok(()),
            n => {
                let more = if n > NAMED { format!("; and {} more", n - NAMED) } else { String::new() };
                let named = missing.into_iter().take(NAMED).collect::<Vec<_>>().join("; ");
                Err(Blame { parameter: parameter.to_owned(), message: format!("`{parameter}`: {named}{more}") })
            }
        };
        blame("ids", self.ids.iter().filter_map(|near| near.missing("workout")).collect())?;
        let needs_candidates = !self.days.is_empty() || self.wanted.worst + self.wanted.best > 0;
        if needs_candidates && self.candidates == 0 {
            return Err(self.no_candidate());
        }
        let sports = self.wanted.sports.join(", ");
        let what = if sports.is_empty() { "a workout of".to_owned() } else { format!("a workout ({sports}) of") };
        blame("dates", self.days.iter().filter_map(|near| near.missing(&what)).collect())
    }

    fn no_candidate(&self) -> Blame {
        let sports = self.wanted.sports.join(", ");
        let there: Vec<&str> = self.sports.iter().map(String::as_str).collect();
        let message = match self.seen {
            0 => "`workouts`: there is no workout to show; look at what the stage before kept".to_owned(),
            n => format!("`sports`: none of {n} workouts is of {sports}; there are: {}", there.join(", ")),
        };
        Blame { parameter: "sports".to_owned(), message }
    }
}

/// The day of an instant, in its zone or in UTC; none where the zone is not known.
fn day(start: f64, zone: Option<&str>) -> Option<Date> {
    let zone = match zone {
        Some(zone) => words::place(zone)?,
        None => TimeZone::UTC,
    };
    words::moment(start, None).map(|moment| moment.with_time_zone(zone).date())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workout(id: i64, start: f64) -> Workout {
        Workout { id, sport: "run".into(), time: Some(vec![start, start + 60.0]), ..Workout::default() }
    }

    fn choose(wanted: Wanted, workouts: &[(Workout, f64)]) -> Result<Vec<(i64, Why)>, Blame> {
        let mut chooser = Chooser::new(Wanted { most: if wanted.most == 0 { 40 } else { wanted.most }, ..wanted });
        for (workout, score) in workouts {
            let score = chooser.needs_score(workout).then_some(*score);
            chooser.offer(workout, score);
        }
        chooser.chosen().map(|chosen| chosen.workouts.iter().map(|(why, workout)| (workout.id, *why)).collect())
    }

    /// Five runs, a day apart from 2025-11-23T23:30:00Z on, and a ride.
    fn some() -> Vec<(Workout, f64)> {
        let start = |i: i64| 1_763_940_600.0 + 86_400.0 * i as f64;
        let mut workouts: Vec<_> = [0.9, 0.2, 0.5, 0.2, 1.0]
            .into_iter()
            .enumerate()
            .map(|(i, score)| (workout(10 * (i as i64 + 1), start(i as i64)), score))
            .collect();
        workouts.push((Workout { sport: "bike".into(), ..workout(7, start(9)) }, 0.0));
        workouts
    }

    #[test]
    fn the_lowest_scores_come_first_and_equal_ones_in_the_order_of_the_file() {
        let wanted = Wanted { worst: 3, best: 1, sports: vec!["run".into()], ..Wanted::default() };
        let expected = [(20, Why::Worst), (40, Why::Worst), (30, Why::Worst), (50, Why::Best)];
        assert_eq!(choose(wanted.clone(), &some()).unwrap(), expected);
        let all = choose(Wanted { worst: 9, best: 9, ..Wanted::default() }, &some()).unwrap();
        assert_eq!((all.len(), all[0]), (6, (7, Why::Worst)), "no sport asked for is every sport, each workout once");
        assert_eq!(choose(Wanted { most: 2, ..wanted }, &some()).unwrap(), expected[..2]);
    }

    #[test]
    fn numbers_come_in_the_order_asked_for_whatever_the_sport() {
        let wanted = Wanted { ids: vec![30, 7, 10], sports: vec!["run".into()], ..Wanted::default() };
        let chosen = choose(wanted, &some()).unwrap();
        assert_eq!(chosen, [(30, Why::Number), (7, Why::Number), (10, Why::Number)]);
    }

    #[test]
    fn a_number_that_is_not_there_is_named_with_its_neighbours() {
        let fault = choose(Wanted { ids: vec![20, 24, 99], ..Wanted::default() }, &some()).unwrap_err();
        assert_eq!(fault.parameter, "ids");
        let expected = "`ids`: workout 24 is not there (nearest: 20 and 30); workout 99 is not there (nearest: 50)";
        assert_eq!(fault.message, expected);
    }

    #[test]
    fn a_day_is_the_local_one_or_that_of_utc() {
        let mut workouts = some();
        workouts[0].0.time_zone = Some("Europe/Paris".into());
        let on = |day: &str| choose(Wanted { dates: vec![day.parse().unwrap()], ..Wanted::default() }, &workouts);
        assert_eq!(on("2025-11-23").unwrap(), [(10, Why::Day)]);
        assert_eq!(on("2025-11-24").unwrap(), [(10, Why::Day), (20, Why::Day)], "half past midnight in Paris");
        let fault = on("2025-11-29").unwrap_err();
        let expected = "`dates`: a workout of 2025-11-29 is not there (nearest: 2025-11-27 and 2025-12-02)";
        assert_eq!((fault.parameter.as_str(), fault.message.as_str()), ("dates", expected));
    }

    #[test]
    fn where_no_workout_is_of_the_sport_the_others_are_named() {
        let wanted = Wanted { worst: 6, sports: vec!["run".into()], ..Wanted::default() };
        let fault = choose(wanted.clone(), &some()[5..]).unwrap_err();
        assert_eq!(fault.message, "`sports`: none of 1 workouts is of run; there are: bike");
        assert!(choose(wanted, &[]).unwrap_err().message.starts_with("`workouts`: there is no workout to show"));
    }

    #[test]
    fn more_than_the_most_are_left_out_and_counted() {
        let wanted = Wanted { ids: vec![50, 40, 30, 20], most: 3, ..Wanted::default() };
        let mut chooser = Chooser::new(wanted);
        some().iter().for_each(|(workout, _)| chooser.offer(workout, None));
        let chosen = chooser.chosen().unwrap();
        let ids: Vec<i64> = chosen.workouts.iter().map(|(_, workout)| workout.id).collect();
        assert_eq!((ids, chosen.left_out), (vec![50, 40, 30], 1));
    }
}
