//! Speed of a workout that lacks it, from its positions or its distance. Unaware of files and of kinds.

/// Mean radius of the Earth in metres (IUGG).
const EARTH_RADIUS: f64 = 6_371_008.8;

/// Speed in m/s at each time, from positions.
///
/// `time` in seconds, `latitude` and `longitude` in degrees, all of one length. Distances are great circles
/// (haversine); see [`from_distance`] for the window. Points without a finite position are bridged. `None` when
/// lengths differ or fewer than two points at different times are left.
pub fn from_positions(time: &[f64], latitude: &[f64], longitude: &[f64], window: f64) -> Option<Vec<f32>> {
    if time.len() != latitude.len() || time.len() != longitude.len() {
        return None;
    }
    let mut track = Track::default();
    let mut before: Option<(f64, f64)> = None;
    for ((&t, &lat), &lon) in time.iter().zip(latitude).zip(longitude) {
        if !lat.is_finite() || !lon.is_finite() || !track.admits(t) {
            continue;
        }
        let step = before.map_or(0.0, |(lat0, lon0)| haversine(lat0, lon0, lat, lon));
        track.push(t, step);
        before = Some((lat, lon));
    }
    track.speeds(time, window)
}

/// Speed in m/s at each time, from the metres covered since the start.
///
/// At each time it is the distance covered within `window` seconds around it over the time that took: over the two
/// neighbours where the window holds no other point, over more where times repeat. Points that go back in time or
/// are not finite are bridged. `None` when lengths differ, fewer than two points at different times are left, or
/// the distance shrinks, as then it is not counted from the start.
pub fn from_distance(time: &[f64], distance: &[f64], window: f64) -> Option<Vec<f32>> {
    if time.len() != distance.len() {
        return None;
    }
    let mut track = Track::default();
    let mut before: Option<f64> = None;
    for (&t, &metres) in time.iter().zip(distance) {
        if !metres.is_finite() || !track.admits(t) {
            continue;
        }
        let step = before.map_or(0.0, |metres0| metres - metres0);
        if step < 0.0 {
            return None;
        }
        track.push(t, step);
        before = Some(metres);
    }
    track.speeds(time, window)
}

/// Distance in metres between two points given in degrees.
pub fn haversine(latitude0: f64, longitude0: f64, latitude1: f64, longitude1: f64) -> f64 {
    let (phi0, phi1) = (latitude0.to_radians(), latitude1.to_radians());
    let half_phi = (phi1 - phi0) / 2.0;
    let half_lambda = (longitude1 - longitude0).to_radians() / 2.0;
    let chord = half_phi.sin().powi(2) + phi0.cos() * phi1.cos() * half_lambda.sin().powi(2);
    2.0 * EARTH_RADIUS * chord.sqrt().min(1.0).asin()
}

/// Metres since the start at times that never go back.
#[derive(Default)]
struct Track {
    time: Vec<f64>,
    metres: Vec<f64>,
}

impl Track {
    fn admits(&self, time: f64) -> bool {
        time.is_finite() && self.time.last().is_none_or(|&last| time >= last)
    }

    fn push(&mut self, time: f64, step: f64) {
        self.metres.push(self.metres.last().unwrap_or(&0.0) + step);
        self.time.push(time);
    }

    fn speeds(&self, time: &[f64], window: f64) -> Option<Vec<f32>> {
        let (first, last) = (self.time.first()?, self.time.last()?);
        (last > first).then(|| time.iter().map(|&t| self.speed(t, window / 2.0)).collect())
    }

    /// Speed around a time; NaN where the time is.
    fn speed(&self, time: f64, half: f64) -> f32 {
        if !time.is_finite() {
            return f32::NAN;
        }
        let end = self.time.len() - 1;
        let at = self.time.partition_point(|&t| t < time);
        let (mut low, mut high) = (at.saturating_sub(1), (at + 1).min(end));
        low = low.min(self.time.partition_point(|&t| t < time - half));
        high = high.max(self.time.partition_point(|&t| t <= time + half).saturating_sub(1));
        while self.time[high] <= self.time[low] {
            low = low.saturating_sub(1);
            high = (high + 1).min(end);
        }
        ((self.metres[high] - self.metres[low]) / (self.time[high] - self.time[low])) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::{from_distance, from_positions, haversine};

    fn close(speeds: &[f32], wanted: f32) -> bool {
        speeds.iter().all(|speed| (speed - wanted).abs() < 1e-3)
    }

    #[test]
    fn a_degree_of_latitude_is_111_kilometres_and_the_date_line_is_no_wall() {
        assert!((haversine(10.0, 2.0, 11.0, 2.0) - 111_195.0).abs() < 1.0);
        assert!((haversine(0.0, 179.9, 0.0, -179.9) - 0.2 * 111_195.0).abs() < 1.0);
    }

    #[test]
    fn an_even_run_has_its_speed_at_irregular_times() {
        let time: Vec<f64> = (0..60).map(|step| f64::from(step * 7 + (step % 3) * 2)).collect();
        let latitude: Vec<f64> = time.iter().map(|t| 48.0 + 3.0 * t / 111_195.08).collect();
        let longitude = vec![2.0; 60];
        for window in [0.0, 10.0, 60.0] {
            assert!(close(&from_positions(&time, &latitude, &longitude, window).unwrap(), 3.0), "{window}");
        }
    }

    #[test]
    fn repeated_times_and_steps_back_in_time_divide_nothing_by_zero() {
        let time = [0.0, 0.0, 0.0, 4.0, 4.0, 2.0, 8.0, 8.0];
        let distance = [0.0, 0.0, 0.0, 12.0, 12.0, 12.0, 24.0, 24.0];
        assert!(close(&from_distance(&time, &distance, 1.0).unwrap(), 3.0));
        assert_eq!(from_distance(&[5.0, 5.0], &[0.0, 3.0], 10.0), None);
    }

    #[test]
    fn points_without_a_position_are_bridged() {
        let time = [0.0, 10.0, 20.0, 30.0, 40.0];
        let mut latitude = time.map(|t| 48.0 + 3.0 * t / 111_195.08);
        latitude[2] = f64::NAN;
        assert!(close(&from_positions(&time, &latitude, &[2.0; 5], 10.0).unwrap(), 3.0));
    }

    #[test]
    fn a_longer_window_smooths() {
        let time: Vec<f64> = (0..100).map(f64::from).collect();
        let distance: Vec<f64> = time.iter().map(|t| 3.0 * t + (t % 3.0)).collect();
        let spread = |window| {
            let speeds = from_distance(&time, &distance, window).unwrap();
            speeds[20..80].iter().map(|speed| (speed - 3.0).abs()).fold(0.0, f32::max)
        };
        assert!(spread(21.0) < spread(0.0) / 4.0, "{} {}", spread(21.0), spread(0.0));
    }

    #[test]
    fn what_is_not_a_distance_from_the_start_gives_no_speed() {
        assert_eq!(from_distance(&[0.0, 1.0, 2.0], &[3.0, 2.0, 4.0], 10.0), None);
        assert_eq!(from_distance(&[0.0, 1.0], &[0.0], 10.0), None);
        assert_eq!(from_positions(&[], &[], &[], 10.0), None);
    }
}
