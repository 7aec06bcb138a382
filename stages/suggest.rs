//! The name that was probably meant by one that does not exist. Unaware of what is named.

/// The candidate most like a word, if any is like it at all.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let alike = |name: &str| strsim::jaro_winkler(&word.to_lowercase(), &name.to_lowercase());
    candidates
        .into_iter()
        .map(|name| (alike(name), name))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

/// A remedy to append to an error: `; did you mean `x`?`, or nothing.
pub fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, candidates).map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_recognised_and_a_stranger_is_not() {
        assert_eq!(nearest("spede", ["altitude", "speed", "power"]), Some("speed"));
        assert_eq!(nearest("Power", ["altitude", "speed", "power"]), Some("power"));
        assert_eq!(nearest("qqq", ["altitude", "speed", "power"]), None);
        assert_eq!(did_you_mean("qqq", ["speed"]), "");
    }
}
