//! The differential equation of demand and heart rate over one workout, and the gradient of its solution, worked out
//! by hand. Unaware of tensors and of what its parameters follow from.
//!
//! Nazaret et al. (npj Digital Medicine 2023): with heart rate h and demand d in BPM, and w the demand that is wanted,
//!
//! - dh/dt = eᴬ · (|h − low|/60)^α · (|high − h|/60)^β · (d − h)/60
//! - dd/dt = eᴮ · (w − d)/60
//!
//! with t in seconds. What is wanted holds over a step, so that demand is known in closed form; the heart rate is
//! stepped by Runge and Kutta's method of order four. So that it can neither overflow nor oscillate whatever the
//! parameters, no step is longer than [`LONGEST`] and no rate higher than its inverse: then every step leads from h
//! towards d and never beyond. Distances to the bounds below 1 BPM count as 1 BPM.

/// Longest step of the method, s; longer steps of a grid are divided.
const LONGEST: f64 = 10.0;

/// No time constant of the heart is shorter than that of [`LONGEST`], 1/s.
const FASTEST: f64 = 1.0 / LONGEST;

/// Over gaps longer than this the heart has long arrived, s.
const ARRIVED: f64 = 600.0;

/// How a heart answers, and where it begins.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Body {
    /// A, the logarithm of how fast the heart follows demand.
    pub heart: f64,
    /// B, the logarithm of how fast demand follows what is wanted.
    pub demand: f64,
    /// α, how it slows near the lowest heart rate.
    pub alpha: f64,
    /// β, how it slows near the highest.
    pub beta: f64,
    /// The lowest heart rate, BPM.
    pub low: f64,
    /// The highest heart rate, BPM.
    pub high: f64,
    /// The heart rate at the first step, BPM.
    pub first_rate: f64,
    /// The demand at the first step, BPM.
    pub first_demand: f64,
}

impl Body {
    /// Numbers of a body.
    pub const NUMBERS: usize = 8;

    /// A body from its numbers in the order of the fields.
    pub fn of(numbers: [f64; Self::NUMBERS]) -> Self {
        let [heart, demand, alpha, beta, low, high, first_rate, first_demand] = numbers;
        Self { heart, demand, alpha, beta, low, high, first_rate, first_demand }
    }

    /// Its numbers in the order of the fields.
    pub fn numbers(&self) -> [f64; Self::NUMBERS] {
        let Self { heart, demand, alpha, beta, low, high, first_rate, first_demand } = *self;
        [heart, demand, alpha, beta, low, high, first_rate, first_demand]
    }

    /// The slope of the heart rate at a heart rate and a demand.
    fn slope(&self, rate: f64, demand: f64) -> Slope {
        let (above, below) = (rate - self.low, self.high - rate);
        let logarithms = [above, below].map(|distance| (distance.abs().max(1.0) / 60.0).ln());
        let free = (self.heart + self.alpha * logarithms[0] + self.beta * logarithms[1]).exp() / 60.0;
        let inverse = |distance: f64| if distance.abs() > 1.0 { 1.0 / distance } else { 0.0 };
        let speed = free.min(FASTEST);
        Slope {
            speed,
            left: demand - rate,
            moves: if free < FASTEST { speed * (demand - rate) } else { 0.0 },
            logarithms,
            near: [self.alpha * inverse(above), self.beta * inverse(below)],
        }
    }

    /// The logarithm of what is left, after half a step of the method, between demand and what is wanted.
    fn exponent(&self, seconds: f64) -> f64 {
        -self.demand.exp() / 60.0 * 0.5 * seconds
    }
}

/// The slope of the heart rate at a point, with what its gradient is made of.
#[derive(Clone, Copy)]
struct Slope {
    /// How fast the heart follows, 1/s.
    speed: f64,
    /// Demand less heart rate.
    left: f64,
    /// The slope as far as the parameters move it: 0 where it is as fast as can be.
    moves: f64,
    /// Of the distances to both bounds.
    logarithms: [f64; 2],
    /// α and β over the distances to their bounds.
    near: [f64; 2],
}

impl Slope {
    fn value(&self) -> f64 {
        self.speed * self.left
    }

    /// Its derivative by the heart rate.
    fn by_rate(&self) -> f64 {
        self.moves * (self.near[0] - self.near[1]) - self.speed
    }

    /// Adds its gradient by the body, `weight` times.
    fn add_to(&self, sum: &mut Body, weight: f64) {
        let moves = weight * self.moves;
        sum.heart += moves;
        sum.alpha += moves * self.logarithms[0];
        sum.beta += moves * self.logarithms[1];
        sum.low -= moves * self.near[0];
        sum.high += moves * self.near[1];
    }
}

/// Where heart rate and demand stand, BPM.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct State {
    rate: f64,
    demand: f64,
}

/// One step of the method: its slopes and the demand in its middle and at its end.
struct Step {
    seconds: f64,
    /// What is left, after half of it, between demand and what is wanted.
    closing: f64,
    slopes: [Slope; 4],
    end: State,
}

impl Step {
    fn new(body: &Body, from: State, wanted: f64, seconds: f64, closing: f64) -> Self {
        let middle = wanted + (from.demand - wanted) * closing;
        let end = wanted + (from.demand - wanted) * closing * closing;
        let first = body.slope(from.rate, from.demand);
        let second = body.slope(from.rate + 0.5 * seconds * first.value(), middle);
        let third = body.slope(from.rate + 0.5 * seconds * second.value(), middle);
        let fourth = body.slope(from.rate + seconds * third.value(), end);
        let mean = (first.value() + 2.0 * (second.value() + third.value()) + fourth.value()) / 6.0;
        let end = State { rate: from.rate + seconds * mean, demand: end };
        Self { seconds, closing, slopes: [first, second, third, fourth], end }
    }

    /// From the gradient by the state at its end that by the state before, and by what was wanted; adds that by the
    /// body.
    fn back(&self, body: &Body, from: State, wanted: f64, by_end: State, sum: &mut Body) -> (State, f64) {
        let (slopes, h, e) = (&self.slopes, self.seconds, self.closing);
        // The weight of each slope, the last first: that in the mean and that in the point of the next.
        let fourth = by_end.rate * h / 6.0;
        let third = by_end.rate * h / 3.0 + h * fourth * slopes[3].by_rate();
        let second = by_end.rate * h / 3.0 + 0.5 * h * third * slopes[2].by_rate();
        let first = by_end.rate * h / 6.0 + 0.5 * h * second * slopes[1].by_rate();
        let weights = [first, second, third, fourth];
        let mut by_rate = by_end.rate;
        for (slope, weight) in slopes.iter().zip(weights) {
            by_rate += weight * slope.by_rate();
            slope.add_to(sum, weight);
        }
        let by_middle = second * slopes[1].speed + third * slopes[2].speed;
        let by_last = by_end.demand + fourth * slopes[3].speed;
        let by_demand = first * slopes[0].speed + by_middle * e + by_last * e * e;
        let by_wanted = by_middle * (1.0 - e) + by_last * (1.0 - e * e);
        let by_exponent = (from.demand - wanted) * (by_middle * e + 2.0 * by_last * e * e);
        // The exponent is also its own derivative by B.
        sum.demand += by_exponent * body.exponent(h);
        (State { rate: by_rate, demand: by_demand }, by_wanted)
    }
}

/// Steps of the method within a step of the grid: how many and how long, s.
fn divided(seconds: f64) -> (usize, f64) {
    let seconds = seconds.clamp(0.0, ARRIVED);
    let count = (seconds / LONGEST).ceil();
    (count as usize, if count > 0.0 { seconds / count } else { 0.0 })
}

/// A workout as the equation sees it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Course {
    /// Seconds since the step before.
    pub seconds: Vec<f64>,
    /// The demand that is wanted from the step before to each step, BPM.
    pub wanted: Vec<f64>,
}

/// The gradient by all that a solution follows from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gradient {
    /// By the body.
    pub body: Body,
    /// By what is wanted at each step.
    pub wanted: Vec<f64>,
}

impl Course {
    /// The heart rate at each step, BPM.
    pub fn solve(&self, body: &Body) -> Vec<f64> {
        self.states(body).into_iter().map(|state| state.rate).collect()
    }

    fn states(&self, body: &Body) -> Vec<State> {
        let mut state = State { rate: body.first_rate, demand: body.first_demand };
        let mut known = (0.0, 1.0);
        let each = self.seconds.iter().zip(&self.wanted).map(|(seconds, wanted)| {
            let (count, long) = divided(*seconds);
            if known.0 != long {
                known = (long, body.exponent(long).exp());
            }
            for _ in 0..count {
                state = Step::new(body, state, *wanted, long, known.1).end;
            }
            state
        });
        each.collect()
    }

    /// The gradient of a scalar whose gradient by the heart rates is `by_rates`.
    pub fn back(&self, body: &Body, by_rates: &[f64]) -> Gradient {
        let states = self.states(body);
        let mut gradient = Gradient { body: Body::default(), wanted: vec![0.0; self.wanted.len()] };
        let mut by_state = State::default();
        let mut within = Vec::new();
        for at in (0..states.len()).rev() {
            by_state.rate += by_rates[at];
            let (count, long) = divided(self.seconds[at]);
            let mut state = match at {
                0 => State { rate: body.first_rate, demand: body.first_demand },
                _ => states[at - 1],
            };
            let closing = body.exponent(long).exp();
            within.clear();
            for _ in 0..count {
                let step = Step::new(body, state, self.wanted[at], long, closing);
                let end = step.end;
                within.push((state, step));
                state = end;
            }
            for (from, step) in within.iter().rev() {
                let (by, wanted) = step.back(body, *from, self.wanted[at], by_state, &mut gradient.body);
                by_state = by;
                gradient.wanted[at] += wanted;
            }
        }
        gradient.body.first_rate = by_state.rate;
        gradient.body.first_demand = by_state.demand;
        gradient
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body() -> Body {
        Body {
            heart: 0.4,
            demand: 0.9,
            alpha: 0.7,
            beta: 0.5,
            low: 55.0,
            high: 188.0,
            first_rate: 95.0,
            first_demand: 120.0,
        }
    }

    /// Uneven steps, one of them long, and a demand that goes up and down.
    fn course() -> Course {
        let seconds = (0..40).map(|at| match at {
            0 => 0.0,
            17 => 47.0,
            _ => 3.0 + 9.0 * (f64::from(at) * 0.7).sin().abs(),
        });
        Course {
            seconds: seconds.collect(),
            wanted: (0..40).map(|at| 145.0 + 40.0 * (f64::from(at) * 0.31).sin()).collect(),
        }
    }

    /// Both equations as they are written, by the same method at steps of some 10 ms.
    fn finely(body: &Body, course: &Course) -> Vec<f64> {
        let slopes = |[h, d]: [f64; 2], wanted: f64| {
            let near = ((h - body.low).abs() / 60.0).powf(body.alpha) * ((body.high - h).abs() / 60.0).powf(body.beta);
            [body.heart.exp() * near * (d - h) / 60.0, body.demand.exp() * (wanted - d) / 60.0]
        };
        let along = |from: [f64; 2], slope: [f64; 2], by: f64| [from[0] + by * slope[0], from[1] + by * slope[1]];
        let mut at = [body.first_rate, body.first_demand];
        let each = course.seconds.iter().zip(&course.wanted).map(|(seconds, wanted)| {
            let count = (seconds * 100.0).ceil();
            let step = seconds / count.max(1.0);
            for _ in 0..count as usize {
                let a = slopes(at, *wanted);
                let b = slopes(along(at, a, step / 2.0), *wanted);
                let c = slopes(along(at, b, step / 2.0), *wanted);
                let d = slopes(along(at, c, step), *wanted);
                let mean = [0, 1].map(|i| (a[i] + 2.0 * b[i] + 2.0 * c[i] + d[i]) / 6.0);
                at = along(at, mean, step);
            }
            at[0]
        });
        each.collect()
    }

    #[test]
    fn the_solution_is_that_of_tiny_steps() {
        let fine = finely(&body(), &course());
        assert!(fine.iter().any(|rate| (rate - fine[0]).abs() > 40.0), "the course is too easy: {fine:?}");
        for (found, expected) in course().solve(&body()).iter().zip(&fine) {
            assert!((found - expected).abs() < 1e-3, "{found} instead of {expected}");
        }
    }

    #[test]
    fn the_gradient_is_that_of_small_differences() {
        let weights: Vec<f64> = (0..40).map(|at| (f64::from(at) * 1.3).cos()).collect();
        let value = |body: &Body, course: &Course| {
            course.solve(body).iter().zip(&weights).map(|(rate, weight)| rate * weight).sum::<f64>()
        };
        let found = course().back(&body(), &weights);
        let check = |found: f64, value: &dyn Fn(f64) -> f64, what: usize| {
            let expected = (value(1e-4) - value(-1e-4)) / 2e-4;
            assert!((found - expected).abs() < 1e-5 * expected.abs().max(1.0), "{what}: {found} for {expected}");
        };
        for (at, found) in found.body.numbers().into_iter().enumerate() {
            let moved = |by: f64| {
                let mut numbers = body().numbers();
                numbers[at] += by;
                value(&Body::of(numbers), &course())
            };
            assert!(found.abs() > 1e-6, "{at} moves nothing");
            check(found, &moved, at);
        }
        for (at, found) in found.wanted.iter().enumerate() {
            let moved = |by: f64| {
                let mut course = course();
                course.wanted[at] += by;
                value(&body(), &course)
            };
            check(*found, &moved, 100 + at);
        }
    }

    #[test]
    fn whatever_the_body_the_heart_stays_between_what_it_was_and_what_is_wanted() {
        let course = Course { seconds: vec![0.0, 10.0, 1e5, 4.0, 10.0], wanted: vec![30.0, 250.0, 30.0, 250.0, 250.0] };
        for extreme in 0..1 << 8 {
            let pick = |bit: usize, low: f64, high: f64| if extreme >> bit & 1 == 0 { low } else { high };
            let body = Body {
                heart: pick(0, -3.0, 5.0),
                demand: pick(1, -3.0, 5.0),
                alpha: pick(2, 0.1, 3.0),
                beta: pick(3, 0.1, 3.0),
                low: pick(4, 40.0, 90.0),
                high: pick(5, 140.0, 210.0),
                first_rate: pick(6, 40.0, 210.0),
                first_demand: pick(7, 30.0, 250.0),
            };
            let rates = course.solve(&body);
            assert!(rates.iter().all(|rate| (30.0..=250.0).contains(rate)), "{body:?}: {rates:?}");
            let gradient = course.back(&body, &[1.0; 5]);
            assert!(gradient.body.numbers().iter().chain(&gradient.wanted).all(|number| number.is_finite()));
        }
    }
}
