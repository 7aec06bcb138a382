//! A pipeline written anew in another order, with other quotes, tables, comments and white space. Knows TOML's
//! grammar; unaware of what the values mean.

use toml::{Table, Value};

use crate::properties::{ALL_HERE, Random, STAGES, all_here};

/// Writings that are tried.
const WRITINGS: u64 = 40;

#[test]
fn no_way_of_writing_a_pipeline_reruns_a_stage() {
    let project = all_here();
    assert_eq!(project.run(&[])["ran"], STAGES.len());
    let document: Table = ALL_HERE.parse().unwrap();
    let all_reused = |rows: &[String]| rows.len() == STAGES.len() && rows.iter().all(|row| row.ends_with(" reused"));
    for seed in 0..WRITINGS {
        let text = written(&renamed(&document, seed), seed);
        project.write("pipeline.toml", &text);
        let said = project.pacer(&["plan", "pipeline.toml"]);
        assert_eq!(said.code, 0, "writing {seed}: {}\n{text}", said.err);
        let rows = project.plan(&[]);
        assert!(all_reused(&rows), "writing {seed}: {rows:?}\n{text}");
    }
    // That all this would be seen: another value does rerun.
    let mut other = document;
    other["stages"]["grid"]["grid"]["step_s"] = Value::from(10.5);
    project.write("pipeline.toml", &written(&other, 1));
    assert!(project.plan(&[]).contains(&"grid run".to_owned()));
}

/// The document with a stage renamed wherever it is named; not in the first writing.
fn renamed(document: &Table, seed: u64) -> Table {
    let mut document = document.clone();
    if seed == 0 {
        return document;
    }
    let stages = document["stages"].as_table_mut().unwrap();
    let grid = stages.remove("grid").unwrap();
    stages.insert(format!("steps-{seed}"), grid);
    for (_, stage) in stages.iter_mut() {
        if let Some(reads) = stage.get_mut("inputs").and_then(|inputs| inputs.get_mut("sequences")) {
            *reads = Value::from(format!("steps-{seed}.sequences"));
        }
    }
    document
}

fn written(document: &Table, seed: u64) -> String {
    let mut random = Random(seed);
    let end = if random.one_in(3) { "\r\n" } else { "\n" };
    let mut writer = Writer { random, end, out: String::new() };
    writer.section(&mut Vec::new(), document);
    writer.out
}

/// Writes values of one meaning in ways that chance chooses.
struct Writer {
    random: Random,
    end: &'static str,
    out: String,
}

impl Writer {
    /// A table under a header of its own, and the tables in it that get one too.
    fn section(&mut self, path: &mut Vec<String>, table: &Table) {
        if !path.is_empty() {
            let path = self.joined(path);
            self.line(&format!("[{path}]"));
        }
        let entries = self.random.shuffled(table);
        let below = |value: &Value, random: &mut Random| value.is_table() && !random.one_in(3);
        let (sections, own): (Vec<_>, Vec<_>) =
            entries.into_iter().partition(|(_, value)| below(value, &mut self.random));
        own.into_iter().for_each(|(key, value)| self.entry(&mut vec![key.clone()], value));
        for (key, value) in sections {
            path.push(key.clone());
            self.section(path, value.as_table().expect("it was chosen as a table"));
            path.pop();
        }
    }

    /// One entry, or the entries of a table with dotted keys.
    fn entry(&mut self, path: &mut Vec<String>, value: &Value) {
        match value.as_table() {
            Some(table) if !table.is_empty() && self.random.one_in(2) => {
                for (key, value) in self.random.shuffled(table) {
                    path.push(key.clone());
                    self.entry(path, value);
                    path.pop();
                }
            }
            _ => {
                let (space, more) = (self.space(), self.space());
                let line = format!("{}{space}={more}{}", self.joined(path), self.value(value));
                self.line(&line);
            }
        }
    }

    fn joined(&mut self, path: &[String]) -> String {
        let keys: Vec<_> = path.iter().map(|key| self.key(key)).collect();
        keys.join(*self.random.pick(&[".", " . "]))
    }

    fn key(&mut self, key: &str) -> String {
        let is_bare = key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
        match self.random.below(4) {
            0 => format!("'{key}'"),
            1 => format!("\"{}\"", self.escaped(key)),
            _ if is_bare => key.to_owned(),
            _ => format!("\"{key}\""),
        }
    }

    fn value(&mut self, value: &Value) -> String {
        match value {
            Value::String(text) => self.text(text),
            Value::Integer(number) => self.integer(*number),
            Value::Float(number) => match self.random.below(3) {
                0 => format!("{number:e}"),
                1 => format!("+{number:?}0"),
                _ => format!("{number:?}"),
            },
            Value::Boolean(truth) => truth.to_string(),
            Value::Datetime(time) => time.to_string(),
            Value::Array(items) => self.array(items),
            Value::Table(table) => {
                let mut entries = Vec::new();
                for (key, value) in self.random.shuffled(table) {
                    entries.push(format!("{}{}={}", self.key(key), self.space(), self.value(value)));
                }
                format!("{{{}{}}}", self.space(), entries.join(", "))
            }
        }
    }

    fn integer(&mut self, number: i64) -> String {
        match self.random.below(5) {
            0 if number >= 0 => format!("{number:#x}"),
            1 if number >= 0 => format!("0b{number:b}"),
            2 if number > 9 => format!("{}_{}", number / 10, number % 10),
            3 if number >= 0 => format!("+{number}"),
            _ => number.to_string(),
        }
    }

    fn text(&mut self, text: &str) -> String {
        let is_plain = !text.chars().any(|c| c.is_control() || c == '\'');
        match self.random.below(4) {
            0 if is_plain => format!("'{text}'"),
            1 if is_plain => format!("'''{}{text}'''", self.end),
            2 => ["\"\"\"", self.end, &self.escaped(text), "\"\"\""].concat(),
            _ => format!("\"{}\"", self.escaped(text)),
        }
    }

    /// A text as it stands between double quotes, some letters as escapes.
    fn escaped(&mut self, text: &str) -> String {
        let mut out = String::new();
        for letter in text.chars() {
            let code = u32::from(letter);
            match letter {
                '"' | '\\' => out.push_str(&format!("\\{letter}")),
                _ if letter.is_control() || self.random.one_in(9) => out.push_str(&format!("\\u{code:04X}")),
                _ => out.push(letter),
            }
        }
        out
    }

    fn array(&mut self, items: &[Value]) -> String {
        let apart = if self.random.one_in(2) { self.end } else { " " };
        let comment = if apart == self.end && self.random.one_in(2) { "# why\t[not" } else { "" };
        let items: Vec<_> = items.iter().map(|item| self.value(item)).collect();
        let last = if self.random.one_in(2) && !items.is_empty() { "," } else { "" };
        format!("[{comment}{apart}{}{last}{apart}]", items.join(&format!(",{apart}")))
    }

    fn space(&mut self) -> &'static str {
        ["", " ", "  ", "\t"][self.random.below(4)]
    }

    /// A line, at times with a comment or with others around it.
    fn line(&mut self, text: &str) {
        let before = *self.random.pick(&["", "", "# a = 1", " \t"]);
        let after = *self.random.pick(&["", "", " # é", "\t#"]);
        let indent = self.space();
        self.out.push_str(&[before, self.end, indent, text, after, self.end].concat());
    }
}
