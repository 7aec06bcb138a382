//! Which of several recordings of the same stretch of time is kept. Unaware of what they hold.

use std::cmp::Reverse;

/// What decides between recordings.
#[derive(Clone, Copy, Debug)]
pub struct Recording {
    /// Beginning in unix seconds.
    pub start: i64,
    /// End in unix seconds.
    pub end: i64,
    /// Whether an Apple Watch made it.
    pub watch: bool,
    /// How many heart rates it has.
    pub heart_rates: usize,
}

impl Recording {
    /// Whether two overlap by more than half of the shorter.
    fn is_twice(&self, other: &Self) -> bool {
        let shared = self.end.min(other.end) - self.start.max(other.start);
        2 * shared > (self.end - self.start).min(other.end - other.start)
    }
}

/// For each recording the one that is kept in its place, if another is: the Watch's before others, then the one with
/// more heart rates, then the earlier. They are given in order of their beginnings.
pub fn replaced(recordings: &[Recording]) -> Vec<Option<usize>> {
    let mut replaced = vec![None; recordings.len()];
    let mut from = 0;
    while from < recordings.len() {
        // What overlaps, one with the next.
        let mut end = recordings[from].end;
        let more = recordings[from + 1..].iter().take_while(|next| {
            let joined = next.start < end;
            end = end.max(next.end);
            joined
        });
        let to = from + 1 + more.count();
        let mut ranked: Vec<usize> = (from..to).collect();
        ranked.sort_by_key(|&i| (Reverse((recordings[i].watch, recordings[i].heart_rates)), i));
        let mut kept: Vec<usize> = Vec::new();
        for i in ranked {
            replaced[i] = kept.iter().copied().find(|&better| recordings[i].is_twice(&recordings[better]));
            if replaced[i].is_none() {
                kept.push(i);
            }
        }
        from = to;
    }
    replaced
}

#[cfg(test)]
mod tests {
    use super::{Recording, replaced};

    fn recording(start: i64, end: i64, watch: bool, heart_rates: usize) -> Recording {
        Recording { start, end, watch, heart_rates }
    }

    #[test]
    fn the_watch_comes_first_then_more_heart_rates_then_the_earlier() {
        assert_eq!(replaced(&[recording(0, 100, false, 900), recording(10, 90, true, 1)]), [Some(1), None]);
        assert_eq!(replaced(&[recording(0, 100, true, 5), recording(10, 90, true, 6)]), [Some(1), None]);
        assert_eq!(replaced(&[recording(0, 100, true, 5), recording(10, 90, true, 5)]), [None, Some(0)]);
    }

    #[test]
    fn half_of_the_shorter_is_not_enough() {
        assert_eq!(replaced(&[recording(0, 100, true, 5), recording(80, 120, true, 5)]), [None, None]);
        assert_eq!(replaced(&[recording(0, 100, true, 5), recording(79, 119, true, 5)]), [None, Some(0)]);
        assert_eq!(replaced(&[recording(0, 100, true, 5), recording(100, 120, true, 5)]), [None, None]);
    }

    #[test]
    fn what_overlaps_only_with_a_replaced_one_is_kept() {
        let chain = [recording(0, 100, true, 9), recording(40, 140, false, 8), recording(100, 180, false, 7)];
        assert_eq!(replaced(&chain), [None, Some(0), None]);
        assert_eq!(replaced(&[]), []);
    }
}
