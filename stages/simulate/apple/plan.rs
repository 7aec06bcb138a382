//! Which workout takes place on which day, and what is special about it. Unaware of what is recorded.

use rand_chacha::ChaCha8Rng;

use crate::simulate::apple::clock::new_year;
use crate::simulate::apple::view::AppleView;
use crate::simulate::noise::{bernoulli, uniform};

/// A workout that will take place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Planned {
    /// Local day, counted from 1970; no other workout has it.
    pub day: i64,
    /// Place in the history, from 0 to 1.
    pub progress: f64,
    /// The sport.
    pub activity: Activity,
    /// What is special about it.
    pub traits: Traits,
}

/// A sport of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// A run.
    Running,
    /// A walk.
    Walking,
    /// A ride.
    Cycling,
}

/// What may be special about a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traits {
    /// A second app recorded it too.
    pub twice: bool,
    /// It was paused.
    pub paused: bool,
    /// It has no route.
    pub indoor: bool,
    /// The sensor counted steps for a while.
    pub locked: bool,
}

/// Plans all workouts in the order of time; shares are met as closely as whole numbers can.
pub fn plan(rng: &mut ChaCha8Rng, view: &AppleView) -> Vec<Planned> {
    let count = view.workouts() as usize;
    let days = days(rng, view, count);
    let others = chosen(rng, count, count - view.runs as usize);
    let runs = view.runs as usize;
    let mut share = |share: f64| chosen(rng, runs, (share * runs as f64).round() as usize);
    let [twice, paused, indoor, locked] =
        [view.duplicates, view.pauses, view.indoor, view.cadence_lock].map(&mut share);
    let first = new_year(view.first_year);
    let span = (new_year(view.first_year + view.years as i16) - first) as f64;
    let mut run = 0;
    let planned = days.into_iter().zip(others).map(|(day, other)| {
        let progress = (day - first) as f64 / span;
        if other {
            let activity = if bernoulli(rng, 0.6) { Activity::Walking } else { Activity::Cycling };
            return Planned { day, progress, activity, traits: Traits::default() };
        }
        let traits = Traits { twice: twice[run], paused: paused[run], indoor: indoor[run], locked: locked[run] };
        run += 1;
        Planned { day, progress, activity: Activity::Running, traits }
    });
    planned.collect()
}

/// How likely a workout is on each day of the week, Monday first, as multiples of the mean.
const WEEK: [f64; 7] = [0.4, 1.1, 0.8, 1.1, 0.4, 1.3, 1.9];

/// Draws as many different days, spread over all years, more of them in spring and autumn and at weekends.
fn days(rng: &mut ChaCha8Rng, view: &AppleView, count: usize) -> Vec<i64> {
    let (first, end) = (new_year(view.first_year), new_year(view.first_year + view.years as i16));
    let weight = |day: i64| {
        let season = 1.0 - 0.25 * ((day - first) as f64 / 365.25 * 2.0 * std::f64::consts::TAU).cos();
        // 1970 began on a Thursday.
        WEEK[(day + 3).rem_euclid(7) as usize] * season
    };
    let total: f64 = (first..end).map(weight).sum();
    let mut days = Vec::with_capacity(count);
    let (mut sum, mut day) = (0.0, first);
    for place in 0..count {
        let wanted = (place as f64 + uniform(rng, 0.1, 0.9)) / count as f64 * total;
        while day < end - 1 && sum + weight(day) < wanted {
            sum += weight(day);
            day += 1;
        }
        days.push(day);
    }
    part(&mut days, end);
    days
}

/// Moves days apart until no two are the same: first on, then back from the end. There are more days than workouts.
fn part(days: &mut [i64], end: i64) {
    let mut least = i64::MIN;
    for day in days.iter_mut() {
        *day = (*day).max(least);
        least = *day + 1;
    }
    let mut most = end - 1;
    for day in days.iter_mut().rev() {
        *day = (*day).min(most);
        most = *day - 1;
    }
}

/// Chooses exactly so many of a number of things, each as likely as any other.
fn chosen(rng: &mut ChaCha8Rng, of: usize, count: usize) -> Vec<bool> {
    let mut left = count;
    let choose = |place: usize| {
        let take = bernoulli(rng, left as f64 / (of - place) as f64);
        left -= usize::from(take);
        take
    };
    (0..of).map(choose).collect()
}

#[cfg(test)]
mod tests {
    use super::{Activity, Planned, plan};
    use crate::simulate::apple::clock::year;
    use crate::simulate::apple::view::AppleView;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng as _;

    fn planned(view: &AppleView) -> Vec<Planned> {
        plan(&mut ChaCha8Rng::seed_from_u64(3), view)
    }

    #[test]
    fn every_share_is_met_and_no_day_has_two_workouts() {
        let planned = planned(&AppleView::default());
        assert!(planned.windows(2).all(|pair| pair[0].day < pair[1].day));
        let count = |holds: fn(&&Planned) -> bool| planned.iter().filter(holds).count();
        assert_eq!((planned.len(), count(|it| it.activity == Activity::Running)), (335, 285));
        let traits = [
            count(|it| it.traits.twice),
            count(|it| it.traits.paused),
            count(|it| it.traits.indoor),
            count(|it| it.traits.locked),
        ];
        assert_eq!(traits, [17, 57, 14, 9]);
        assert_eq!((year(planned[0].day), year(planned[334].day)), (2019, 2025));
    }

    #[test]
    fn a_week_has_a_rhythm_and_a_full_calendar_still_has_a_day_for_each() {
        let sundays = |planned: &[Planned]| planned.iter().filter(|it| (it.day + 3) % 7 == 6).count();
        let mondays = |planned: &[Planned]| planned.iter().filter(|it| (it.day + 3) % 7 == 0).count();
        let usual = planned(&AppleView::default());
        assert!(sundays(&usual) > 2 * mondays(&usual));
        let full = planned(&AppleView { runs: 292, years: 1, other_workouts: 0.0, ..AppleView::default() });
        assert!(full.windows(2).all(|pair| pair[0].day < pair[1].day));
        assert!(full.iter().all(|it| year(it.day) == 2019));
    }
}
