//! Recordings whose faults are known, judged as a whole. Unaware of files.

use super::*;

const START: f64 = 1.6e9;

/// A run at 1 Hz of so many seconds, whose heart rate and speed are functions of the second.
fn run(seconds: u32, heart_rate: impl Fn(f64) -> f64, speed: impl Fn(f64) -> f64) -> Workout {
    let at: Vec<f64> = (0..=seconds).map(f64::from).collect();
    Workout {
        sport: "run".into(),
        heart_rate: Some(at.iter().map(|t| heart_rate(*t).round() as f32).collect()),
        speed: Some(at.iter().map(|t| speed(*t) as f32).collect()),
        altitude: Some(vec![100.0; at.len()]),
        time: Some(at.iter().map(|t| START + t).collect()),
        speed_source: Origin::Recorded,
        altitude_source: Origin::Recorded,
        ..Workout::default()
    }
}

/// A heart that wanders as hearts do, about this rate.
fn wander(about: f64) -> impl Fn(f64) -> f64 {
    move |t| about + 6.0 * (t / 40.0).sin() + 2.0 * (t / 7.0).sin()
}

fn kinds(quality: &Quality) -> Vec<FindingKind> {
    quality.findings.iter().map(|finding| finding.kind).collect()
}

#[test]
fn a_clean_run_has_no_finding_and_the_best_score() {
    let quality = Quality::of(&run(1200, wander(150.0), |_| 3.0));
    assert_eq!(quality.findings, []);
    assert_eq!((quality.samples, quality.duration_s, quality.moving_s), (Some(1201), Some(1200.0), Some(1200.0)));
    assert_eq!((quality.density, quality.tier), (Some(1201.0 / 20.0), Some(Tier::Good)));
    assert_eq!((quality.gaps, quality.spikes, quality.lock_s), (Some(Gaps::default()), Some(0), Some(0.0)));
    assert_eq!((quality.average_share, quality.longest_span_s), (Some(0.0), Some(0.0)));
    assert!((quality.score() - 1.0).abs() < 1e-12);
}

#[test]
fn a_heart_rate_that_leaps_to_the_cadence_and_stays_there_is_suspected() {
    let locked = |t: f64| if (600.0..=900.0).contains(&t) { 172.0 + (t / 3.0).sin() } else { wander(140.0)(t) };
    let quality = Quality::of(&run(1200, locked, |_| 2.8));
    assert_eq!(quality.lock_s, Some(300.0));
    let lock = quality.findings.iter().find(|finding| finding.kind == FindingKind::CadenceLock).unwrap();
    assert_eq!((lock.from, lock.to), (600.0, 900.0));
    assert!(lock.detail.starts_with("172 BPM for 300 s after a leap from 14"), "{}", lock.detail);
    assert!((quality.score() - 0.75 * 10.0 / (10.0 + 6.0)).abs() < 1e-12, "two spikes in a third of an hour");
}

#[test]
fn a_heart_rate_that_stands_while_the_runner_slows_down_is_suspected() {
    let slows = |t: f64| if t < 300.0 { 3.5 } else { 1.5 };
    let flat = run(600, |t| 170.0 + (t / 5.0).sin(), slows);
    assert_eq!(Quality::of(&flat).lock_s, Some(600.0));
    // Walking a slope of 0.18 at 1.5 m/s takes as much as running at 3.5 m/s on the flat.
    let climb = |t: f64| 100.0 + (0.18 * 1.5 * (t - 300.0)).max(0.0) as f32;
    let uphill = Workout { altitude: Some((0..=600).map(|t| climb(f64::from(t))).collect()), ..flat };
    assert_eq!(Quality::of(&uphill).lock_s, Some(0.0));
}

#[test]
fn a_hard_and_steady_run_is_not_suspected() {
    let hard = |t: f64| 170.0 - 90.0 * (-t / 40.0).exp() + 1.5 * (t / 30.0).sin();
    let quality = Quality::of(&run(2400, hard, |t| 4.0 + 0.2 * (t / 60.0).sin()));
    assert_eq!((quality.lock_s, quality.findings), (Some(0.0), vec![]));
    // Repetitions of four minutes with a heart that answers in 25 s, noise of one beat.
    let repeats = |t: f64| {
        let (phase, hard) = (t % 480.0, t % 480.0 < 240.0);
        let decay = (-(phase % 240.0) / 25.0).exp();
        let rate = if hard { 174.0 - 54.0 * decay } else { 120.0 + 54.0 * decay };
        rate + (t * 1.7).sin()
    };
    let intervals = run(2400, repeats, |t| if t % 480.0 < 240.0 { 4.5 } else { 2.0 });
    assert_eq!(Quality::of(&intervals).lock_s, Some(0.0));
}

#[test]
fn spikes_are_changes_that_no_heart_makes() {
    let spike = |t: f64| if t == 100.0 { 190.0 } else { wander(150.0)(t) };
    let quality = Quality::of(&run(300, spike, |_| 3.0));
    assert_eq!((quality.spikes, kinds(&quality)), (Some(2), vec![FindingKind::Spike]), "up and down, seen as one");
    // From 150 by 10 BPM/s to 180: 30 BPM in 3 s. By 5 BPM/s it is what a heart might do.
    let ramp = |rate: f64| move |t: f64| 150.0 + (rate * (t - 100.0)).clamp(0.0, 30.0) + (t / 9.0).sin();
    assert_eq!(Quality::of(&run(300, ramp(10.0), |_| 3.0)).spikes, Some(1));
    assert_eq!(Quality::of(&run(300, ramp(5.0), |_| 3.0)).spikes, Some(0));
}

#[test]
fn a_flat_line_is_told_only_where_samples_are_near_enough() {
    let held = |t: f64| if (100.0..=250.0).contains(&t) { 141.0 } else { wander(150.0)(t) };
    let dense = run(600, held, |_| 3.0);
    let quality = Quality::of(&dense);
    assert_eq!((quality.flat_s, quality.flat_total_s), (Some(150.0), Some(150.0)));
    assert_eq!(kinds(&quality), [FindingKind::FlatLine]);
    assert_eq!(quality.findings[0].detail, "141 BPM for 150 s");
    let minutes = |values: &[f32]| Workout {
        heart_rate: Some(values.to_vec()),
        heart_rate_time: Some((0..values.len()).map(|i| START + 60.0 * i as f64).collect()),
        ..dense.clone()
    };
    let sparse = Quality::of(&minutes(&[150.0; 11]));
    assert_eq!((sparse.flat_s, sparse.lock_s, sparse.tier), (None, None, Some(Tier::Medium)));
    assert_eq!(sparse.findings, []);
}

#[test]
fn averages_cover_their_spans_and_leave_no_gap() {
    let spans = Workout {
        heart_rate: Some(vec![140.0, 150.0, 145.0]),
        heart_rate_time: Some(vec![START + 100.0, START + 300.0, START + 500.0]),
        heart_rate_span: Some(vec![200.0, 200.0, 0.0]),
        ..run(600, wander(150.0), |_| 3.0)
    };
    let quality = Quality::of(&spans);
    assert_eq!((quality.average_share, quality.longest_span_s), (Some(2.0 / 3.0), Some(200.0)));
    assert_eq!((quality.density, quality.tier), (Some(0.3), Some(Tier::Sparse)));
    assert_eq!(quality.gaps, Some(Gaps::default()), "100 s are within five steps of 200 s");
    assert!((quality.score() - 0.3 / 5.0).abs() < 1e-12);
}

#[test]
fn implausible_values_are_counted_and_leave_gaps() {
    let off = |t: f64| if (200.0..=260.0).contains(&t) { 0.0 } else { wander(150.0)(t) };
    let mut workout = run(600, off, |_| 3.0);
    workout.heart_rate.as_mut().unwrap()[10] = f32::NAN;
    workout.pauses = vec![START + 200.0, START + 210.0];
    let quality = Quality::of(&workout);
    assert_eq!((quality.out_of_range, quality.unusable, quality.samples), (Some(61), Some(1), Some(539)));
    assert_eq!((quality.paused_s, quality.recorded_s), (Some(10.0), Some(590.0)));
    assert_eq!(quality.gaps, Some(Gaps { count: 1, longest_s: 52.0, total_s: 52.0 }));
    assert_eq!(kinds(&quality), [FindingKind::Gap, FindingKind::OutOfRange]);
    assert_eq!(finding::words(&quality.findings), "gap ×1 (62 s), out of range ×1 (60 s)");
}

#[test]
fn positions_that_leap_or_fail_are_found_for_runners_alone() {
    let mut workout = run(300, wander(150.0), |_| 3.0);
    let metre = 1.0 / 111_195.08;
    let leap = |t: f64| if t == 50.0 { 100.0 } else { 0.0 };
    workout.latitude = Some((0..=300).map(|t| metre * (3.0 * f64::from(t) + leap(f64::from(t)))).collect());
    workout.longitude = Some((0..=300).map(|t| if (100..=160).contains(&t) { f64::NAN } else { 2.0 }).collect());
    let quality = Quality::of(&workout);
    assert_eq!(quality.position_gaps, Some(Gaps { count: 1, longest_s: 62.0, total_s: 62.0 }));
    assert_eq!(quality.position_jumps, Some(2));
    assert_eq!(kinds(&quality), [FindingKind::PositionJump, FindingKind::PositionGap]);
    assert_eq!(quality.findings[0].detail, "103 m in 1.0 s");
    let ride = Quality::of(&Workout { sport: "bike".into(), ..workout });
    assert_eq!((ride.position_jumps, ride.position_gaps.map(|gaps| gaps.count)), (None, Some(1)));
}

#[test]
fn what_is_missing_is_none_and_nothing_panics() {
    assert_eq!(Quality::of(&Workout::default()), Quality::default());
    assert_eq!(Quality::default().score(), 0.0);
    let full = run(300, wander(150.0), |_| 3.0);
    let heartless = Quality::of(&Workout { heart_rate: None, ..full.clone() });
    assert_eq!((heartless.density, heartless.gaps, heartless.duration_s), (None, None, Some(300.0)));
    assert_eq!(Quality::of(&Workout { time: None, ..full.clone() }).samples, None);
    let instant = Workout { time: Some(vec![START; 301]), ..full.clone() };
    assert_eq!((Quality::of(&instant).density, Quality::of(&instant).score()), (None, 0.0));
    for odd in [f64::NAN, f64::INFINITY, -1e300, 1e308] {
        let mut spoilt = Workout { latitude: Some(vec![odd; 9]), longitude: Some(vec![odd; 400]), ..full.clone() };
        spoilt.time.as_mut().unwrap()[7] = odd;
        spoilt.heart_rate.as_mut().unwrap().truncate(250);
        spoilt.heart_rate_span = Some(vec![odd as f32; 3]);
        spoilt.pauses = vec![odd, -odd, START];
        assert!((0.0..=1.0).contains(&Quality::of(&spoilt).score()), "{odd}");
    }
}
