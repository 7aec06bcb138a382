//! What must hold of every workout that a reader gives, whatever the file was.

use pacer_stages::read::record::Found;
use pacer_stages::workouts::{Origin, Workout};

/// Fails where something a reader found does not hold together.
pub fn hold(found: &Found) {
    assert!(!found.records.is_empty() || !found.set_aside.is_empty(), "a file vanishes without a word");
    assert!(found.set_aside.iter().all(|note| !note.detail.is_empty()));
    for record in &found.records {
        let workout = &record.workout;
        let time = workout.time.as_deref().expect("a workout has times");
        assert!(!time.is_empty() && rises(time));
        let lengths = [
            workout.speed.as_ref().map(Vec::len),
            workout.altitude.as_ref().map(Vec::len),
            workout.latitude.as_ref().map(Vec::len),
            workout.longitude.as_ref().map(Vec::len),
            record.distance.as_ref().map(Vec::len),
        ];
        assert!(lengths.into_iter().flatten().all(|length| length == time.len()));
        assert!(workout.speed.is_some() == (workout.speed_source != Origin::Missing));
        assert!(workout.altitude.is_some() == (workout.altitude_source != Origin::Missing));
        hold_heart(workout, time);
        hold_pauses(workout, time);
    }
}

fn hold_heart(workout: &Workout, time: &[f64]) {
    let beats = workout.heart_rate.as_deref().unwrap_or_default();
    assert!(workout.heart_rate.is_none() || !beats.is_empty());
    assert!(beats.iter().all(|beat| (1.0..=254.0).contains(beat)));
    let times = workout.heart_rate_time.as_deref();
    assert!(times.is_none_or(|times| times.len() < time.len() && rises(times)));
    assert!(beats.is_empty() || times.unwrap_or(time).len() == beats.len());
}

fn hold_pauses(workout: &Workout, time: &[f64]) {
    assert!(workout.pauses.len().is_multiple_of(2) && rises(&workout.pauses));
    for pause in workout.pauses.chunks(2) {
        assert!(time.iter().all(|time| *time <= pause[0] || *time >= pause[1]), "a sample lies within a pause");
    }
}

/// Whether times are finite and each is later than the one before.
fn rises(times: &[f64]) -> bool {
    times.iter().all(|time| time.is_finite()) && times.is_sorted_by(|one, next| one < next)
}
