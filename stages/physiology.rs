//! Equations of running: what a slope costs, how the body follows demand, and how a slope is read from noisy
//! altitude. Unaware of workouts and files.

/// Slopes beyond this are measurement errors or no running; Minetti's curve is used within.
pub const STEEPEST: f64 = 0.3;

/// Below this speed a slope cannot be read from a recording, m/s.
const SLOWEST: f64 = 0.5;

/// Metabolic cost of running on a slope (rise over run), J/kg/m; the slope is clipped to ±0.3.
///
/// Minetti et al., J Appl Physiol 93 (2002): 155.4 i⁵ − 30.4 i⁴ − 43.3 i³ + 46.3 i² + 19.5 i + 3.6.
pub fn cost_of_running(grade: f64) -> f64 {
    let i = grade.clamp(-STEEPEST, STEEPEST);
    ((((155.4 * i - 30.4) * i - 43.3) * i + 46.3) * i + 19.5) * i + 3.6
}

/// Metabolic demand of running at a speed (m/s) on a slope, W/kg.
pub fn power(speed: f64, grade: f64) -> f64 {
    speed * cost_of_running(grade)
}

/// Exponential moving average with time constant `tau` of values at irregular times (s, rising).
///
/// A value holds from the sample before to its own, for which y += (1 − exp(−dt/τ)) (x − y) is the exact answer
/// of dy/dt = (x − y)/τ. It starts at the first value: before the recording nothing is known.
pub fn ema(time: &[f64], values: &[f64], tau: f64) -> Vec<f64> {
    let mut state = values.first().copied().unwrap_or_default();
    let mut before = time.first().copied().unwrap_or_default();
    let gain = |dt: f64| -(-dt / tau).exp_m1();
    // Most recordings step by whole seconds: the gain of each such step is computed once.
    let mut known = [f64::NAN; 64];
    let step = |(&now, &value): (&f64, &f64)| {
        let dt = now - before;
        let share = match known.get_mut(dt as usize) {
            Some(known) if (dt as usize) as f64 == dt => {
                if known.is_nan() {
                    *known = gain(dt);
                }
                *known
            }
            _ => gain(dt),
        };
        state += share * (value - state);
        before = now;
        state
    };
    time.iter().zip(values).map(step).collect()
}

/// Distance covered since the first sample in metres: speed (m/s) integrated by trapezoids.
pub fn distance(time: &[f64], speed: &[f64]) -> Vec<f64> {
    let mut covered = 0.0;
    let mut distance = Vec::with_capacity(time.len());
    for i in 0..time.len() {
        if i > 0 {
            covered += 0.5 * (speed[i] + speed[i - 1]) * (time[i] - time[i - 1]);
        }
        distance.push(covered);
    }
    distance
}

/// The slope (rise over run) at each sample: the least-squares line of altitude over distance through the
/// samples within half a `window` (s) on either side, at least the two neighbours, clipped to ±0.3.
///
/// A line through a window smooths and differentiates in one (Savitzky and Golay). Where the runner is slower
/// than 0.5 m/s over the window the slope is 0: noise over no distance is no slope.
pub fn grade(time: &[f64], speed: &[f64], altitude: &[f64], window: f64) -> Vec<f64> {
    let distance = distance(time, speed);
    let (mut first, mut end) = (0, 0);
    let at = |i: usize| {
        while time[first] < time[i] - 0.5 * window {
            first += 1;
        }
        while end < time.len() && time[end] <= time[i] + 0.5 * window {
            end += 1;
        }
        let from = first.min(i.saturating_sub(1));
        let to = end.max((i + 2).min(time.len()));
        slope(&time[from..to], &distance[from..to], &altitude[from..to])
    };
    (0..time.len()).map(at).collect()
}

fn slope(time: &[f64], distance: &[f64], altitude: &[f64]) -> f64 {
    let n = time.len() as f64;
    let last = time.len() - 1;
    let covered = distance[last] - distance[0];
    if covered <= 0.0 || covered < SLOWEST * (time[last] - time[0]) {
        return 0.0;
    }
    let (mut x, mut y) = (0.0, 0.0);
    for (d, a) in distance.iter().zip(altitude) {
        x += d;
        y += a;
    }
    (x, y) = (x / n, y / n);
    let (mut spread, mut common) = (0.0, 0.0);
    for (d, a) in distance.iter().zip(altitude) {
        spread += (d - x) * (d - x);
        common += (d - x) * (a - y);
    }
    (common / spread).clamp(-STEEPEST, STEEPEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-9, "{a} is not {b}");
    }

    #[test]
    fn the_cost_of_running_is_minettis() {
        close(cost_of_running(0.0), 3.6);
        // 155.4e-5 - 30.4e-4 - 43.3e-3 + 46.3e-2 + 1.95 + 3.6
        close(cost_of_running(0.1), 5.968214);
        close(cost_of_running(-0.1), 2.151706);
        close(cost_of_running(0.9), cost_of_running(0.3));
        close(power(3.0, 0.0), 10.8);
    }

    #[test]
    fn an_average_over_irregular_steps_equals_the_closed_form() {
        let time = [0.0, 1.0, 4.0, 4.5, 31.0, 90.0];
        let step = [0.0, 2.0, 2.0, 2.0, 2.0, 2.0];
        for (t, y) in time.iter().zip(ema(&time, &step, 20.0)) {
            close(y, 2.0 * (1.0 - (-t / 20.0).exp()));
        }
        assert_eq!(ema(&[], &[], 20.0), Vec::<f64>::new());
    }

    #[test]
    fn a_steady_slope_is_read_at_any_sampling_and_standing_has_none() {
        let time = [0.0, 2.0, 3.0, 7.0, 30.0, 31.0, 80.0];
        let speed = [3.0; 7];
        let altitude: Vec<f64> = time.iter().map(|t| 500.0 + 0.05 * 3.0 * t).collect();
        grade(&time, &speed, &altitude, 20.0).into_iter().for_each(|slope| close(slope, 0.05));
        let standing = grade(&time, &[0.1; 7], &altitude, 20.0);
        assert_eq!(standing, [0.0; 7]);
        let cliff: Vec<f64> = time.iter().map(|t| 10.0 * t).collect();
        assert_eq!(grade(&time, &speed, &cliff, 20.0), [STEEPEST; 7]);
    }

    #[test]
    fn distance_adds_trapezoids() {
        assert_eq!(distance(&[0.0, 2.0, 3.0], &[0.0, 2.0, 2.0]), [0.0, 2.0, 4.0]);
    }
}
