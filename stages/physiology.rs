//! Equations of running: what a slope costs, how the body follows demand, and how a slope is read from noisy
//! altitude. Unaware of workouts and files.

use std::ops::Range;

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
    let [average] = ema_each(time, values, [tau]);
    average
}

/// As [`ema`] for several time constants: each step of one waits for the step before, so that several at once take
/// hardly longer than one.
pub fn ema_each<const N: usize>(time: &[f64], values: &[f64], taus: [f64; N]) -> [Vec<f64>; N] {
    let mut averages = taus.map(|_| Vec::with_capacity(time.len()));
    let mut state = [values.first().copied().unwrap_or_default(); N];
    let mut before = time.first().copied().unwrap_or_default();
    let gains = |dt: f64| taus.map(|tau| -(-dt / tau).exp_m1());
    // Most recordings step by whole seconds: the gains of each such step are computed once.
    let mut known = [None; 64];
    for (&now, &value) in time.iter().zip(values) {
        let dt = now - before;
        let gains = match known.get_mut(dt as usize) {
            Some(known) if (dt as usize) as f64 == dt => *known.get_or_insert_with(|| gains(dt)),
            _ => gains(dt),
        };
        for (lane, average) in averages.iter_mut().enumerate() {
            state[lane] += gains[lane] * (value - state[lane]);
            average.push(state[lane]);
        }
        before = now;
    }
    averages
}

/// Distance covered since the first sample in metres: speed (m/s) integrated by trapezoids.
pub fn distance(time: &[f64], speed: &[f64]) -> Vec<f64> {
    let mut covered = 0.0;
    let steps = time.windows(2).zip(speed.windows(2));
    let on = steps.map(|(time, speed)| {
        covered += 0.5 * (speed[1] + speed[0]) * (time[1] - time[0]);
        covered
    });
    time.first().map(|_| 0.0).into_iter().chain(on).collect()
}

/// The slope (rise over run) at each sample: the least-squares line of altitude over distance through the
/// samples within half a `window` (s) on either side, at least the two neighbours, clipped to ±0.3.
///
/// A line through a window smooths and differentiates in one (Savitzky and Golay). Where the runner is slower
/// than 0.5 m/s over the window the slope is 0: noise over no distance is no slope.
///
/// Sums over windows are differences of running sums, each kept over a stretch of some windows, so that the time does
/// not grow with the window; a slope differs from one that is summed for itself by less than 1e-10.
pub fn grade(time: &[f64], speed: &[f64], altitude: &[f64], window: f64) -> Vec<f64> {
    let distance = distance(time, speed);
    let windows = windows(time, window);
    let mut slopes = Vec::with_capacity(time.len());
    while let Some(next) = windows.get(slopes.len()) {
        let together = &windows[slopes.len()..][..STRETCH.max(next.len()).min(windows.len() - slopes.len())];
        let all = next.start..together[together.len() - 1].end;
        let sums = RunningSums::of(all.start, &distance[all.clone()], &altitude[all]);
        slopes.extend(together.iter().map(|window| {
            let covered = distance[window.end - 1] - distance[window.start];
            if covered <= 0.0 || covered < SLOWEST * (time[window.end - 1] - time[window.start]) {
                return 0.0;
            }
            let slope = sums.slope(window);
            slope.unwrap_or_else(|| plain_slope(&distance[window.clone()], &altitude[window.clone()]))
        }));
    }
    slopes
}

/// Windows whose sums are kept together, at least.
const STRETCH: usize = 32;

/// For each sample those within half a window on either side, at least the two neighbours.
fn windows(time: &[f64], window: f64) -> Vec<Range<usize>> {
    let (mut first, mut end) = (0, 0);
    let around = |i: usize| {
        while time[first] < time[i] - 0.5 * window {
            first += 1;
        }
        while end < time.len() && time[end] <= time[i] + 0.5 * window {
            end += 1;
        }
        first.min(i.saturating_sub(1))..end.max((i + 2).min(time.len()))
    };
    (0..time.len()).map(around).collect()
}

/// The least-squares slope of y over x, clipped.
fn plain_slope(x: &[f64], y: &[f64]) -> f64 {
    let n = x.len() as f64;
    let (mean_x, mean_y) = (x.iter().sum::<f64>() / n, y.iter().sum::<f64>() / n);
    let spread: f64 = x.iter().map(|x| (x - mean_x).powi(2)).sum();
    let common: f64 = x.iter().zip(y).map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    (common / spread).clamp(-STEEPEST, STEEPEST)
}

/// Running sums of x, y, x² and x y of points, about the point in their middle.
struct RunningSums {
    first: usize,
    sums: Vec<[f64; 4]>,
    /// The sums of sizes, which say how large rounding may be.
    size: f64,
}

impl RunningSums {
    /// The sums over points of which the first has the number `first`.
    fn of(first: usize, x: &[f64], y: &[f64]) -> Self {
        let about = [x[x.len() / 2], y[y.len() / 2]];
        let (mut sum, mut size) = ([0.0; 4], 0.0);
        let mut sums = Vec::with_capacity(x.len() + 1);
        sums.push(sum);
        for (x, y) in x.iter().zip(y) {
            let (x, y) = (x - about[0], y - about[1]);
            let terms = [x, y, x * x, x * y];
            (0..4).for_each(|i| sum[i] += terms[i]);
            size += terms[2] + terms[3].abs();
            sums.push(sum);
        }
        Self { first, sums, size }
    }

    /// The clipped slope of a window; none where so little is left of the sums that rounding could show.
    #[inline]
    fn slope(&self, window: &Range<usize>) -> Option<f64> {
        let (before, after) = (&self.sums[window.start - self.first], &self.sums[window.end - self.first]);
        let [x, y, xx, xy] = [0, 1, 2, 3].map(|i| after[i] - before[i]);
        let mean = x / window.len() as f64;
        let spread = xx - mean * x;
        (spread > 1e-4 * self.size).then(|| ((xy - mean * y) / spread).clamp(-STEEPEST, STEEPEST))
    }
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
    fn running_sums_give_the_slope_of_every_window_summed_for_itself() {
        for (step, window) in [(1.0, 30.0), (1.0, 300.0), (7.3, 30.0), (40.0, 10.0), (0.2, 2.0), (1.0, 0.0)] {
            let n = 3000;
            let wave = |i: usize, rate: f64| (i as f64 * rate).sin();
            let time: Vec<f64> = (0..n).map(|i| step * (i as f64 + 0.4 * wave(i, 1.7))).collect();
            // Walks, stands for a while, and jumps as a lost position does.
            let speed = |i: usize| {
                if i % 700 > 600 { 0.0 } else { 3.0 + wave(i, 0.01) + if i % 997 == 5 { 300.0 } else { 0.0 } }
            };
            let speed: Vec<f64> = (0..n).map(speed).collect();
            let altitude: Vec<f64> = (0..n).map(|i| 2500.0 + 40.0 * wave(i, 0.003) + wave(i, 0.9)).collect();
            let distance = distance(&time, &speed);
            for (i, slope) in grade(&time, &speed, &altitude, window).into_iter().enumerate() {
                let near = |t: &f64| (t - time[i]).abs() <= 0.5 * window;
                let from = time.iter().position(near).unwrap().min(i.saturating_sub(1));
                let to = (time.iter().rposition(near).unwrap() + 1).max((i + 2).min(n));
                let (along, over) = (&distance[from..to], time[to - 1] - time[from]);
                let covered = along[along.len() - 1] - along[0];
                let moves = covered > 0.0 && covered >= SLOWEST * over;
                let plain = if moves { plain_slope(along, &altitude[from..to]) } else { 0.0 };
                assert!((slope - plain).abs() < 1e-9, "{step}, {window}, {i}: {slope} is not {plain}");
            }
        }
    }

    #[test]
    fn several_averages_at_once_are_the_same_as_one_by_one() {
        let time = [0.0, 1.0, 4.0, 4.5, 31.0, 90.0, 200.0, 201.0];
        let values = [3.0, -1.0, 2.5, 7.0, 7.0, 0.0, 1.0, 4.0];
        let [a, b, c] = ema_each(&time, &values, [20.0, 60.0, 7.5]);
        assert_eq!([a, b, c], [20.0, 60.0, 7.5].map(|tau| ema(&time, &values, tau)));
    }

    #[test]
    fn distance_adds_trapezoids() {
        assert_eq!(distance(&[0.0, 2.0, 3.0], &[0.0, 2.0, 2.0]), [0.0, 2.0, 4.0]);
    }
}
