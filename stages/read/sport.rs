//! Words for sports, put into those of FitRec. Unaware of files and of formats.

/// A sport's name as FitRec has it: `run`, `bike`, `walk`, `hike` or `swim`; any other in lower case as it is.
pub fn normal(name: &str) -> String {
    let name = name.trim().to_lowercase();
    let word = name.split(|c: char| !c.is_alphanumeric()).find_map(known);
    word.map_or(name, str::to_owned)
}

fn known(word: &str) -> Option<&'static str> {
    let ends = |ends: &[&str]| ends.iter().any(|end| word.ends_with(end));
    match word {
        "jog" | "runner" => Some("run"),
        "cycling" | "cyclist" => Some("bike"),
        "walker" | "stroll" => Some("walk"),
        "hiker" | "trekking" | "trek" => Some("hike"),
        _ if ends(&["run", "running", "jogging"]) => Some("run"),
        _ if ends(&["bike", "biking", "ride"]) => Some("bike"),
        _ if ends(&["walk", "walking"]) => Some("walk"),
        _ if ends(&["hike", "hiking"]) => Some("hike"),
        _ if ends(&["swim", "swimming"]) => Some("swim"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sports_of_other_programs_get_the_words_of_fitrec() {
        let pairs = [
            ("Running", "run"),
            ("trail_running", "run"),
            ("VirtualRun", "run"),
            ("Treadmill running", "run"),
            ("Biking", "bike"),
            ("road cycling", "bike"),
            ("Walking", "walk"),
            ("hiking", "hike"),
            ("open_water_swimming", "swim"),
            ("Motorcycling", "motorcycling"),
            ("Other", "other"),
            (" Cross Country Skiing ", "cross country skiing"),
            ("", ""),
        ];
        for (name, word) in pairs {
            assert_eq!(normal(name), word, "{name}");
        }
    }
}
