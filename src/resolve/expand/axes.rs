//! Swept parameters and their values, variants of stages over them, and the names that these get. Unaware of where
//! they come from.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use crate::resolve::expand::Template;
use crate::spec::Node;

/// The longest text of a value within a name.
const VALUE_CHARS: usize = 32;

/// Values of axes, by their numbers, sorted by axis.
pub type Variant = Vec<(usize, usize)>;

/// The swept parameters.
#[derive(Default)]
pub struct Axes {
    all: Vec<Axis>,
}

struct Axis {
    stage: usize,
    path: String,
    values: Vec<(String, Node)>,
    by_text: HashMap<String, usize>,
}

impl Axes {
    /// The number of a parameter of a stage.
    pub fn axis(&mut self, stage: usize, path: &str) -> usize {
        let known = self.all.iter().position(|axis| axis.stage == stage && axis.path == path);
        known.unwrap_or_else(|| {
            self.all.push(Axis { stage, path: path.to_owned(), values: Vec::new(), by_text: HashMap::new() });
            self.all.len() - 1
        })
    }

    /// The number of a value.
    pub fn value(&mut self, axis: usize, node: &Node) -> usize {
        let axis = &mut self.all[axis];
        let json = node.json();
        let next = axis.values.len();
        let number = *axis.by_text.entry(json.to_string()).or_insert(next);
        if number == next {
            axis.values.push((text(&json), node.clone()));
        }
        number
    }

    /// The stage that an axis belongs to.
    pub fn stage(&self, axis: usize) -> usize {
        self.all[axis].stage
    }

    /// The parameter's path within that stage.
    pub fn path(&self, axis: usize) -> &str {
        &self.all[axis].path
    }

    /// A value.
    pub fn node(&self, axis: usize, value: usize) -> &Node {
        &self.all[axis].values[value].1
    }

    /// The parameter as it is called at a stage.
    fn key(&self, templates: &[Template], at: usize, axis: usize) -> String {
        let Axis { stage, path, .. } = &self.all[axis];
        if *stage == at { path.clone() } else { format!("{}.{path}", templates[*stage].name) }
    }

    fn bracketed<'a>(
        &self,
        templates: &[Template],
        at: usize,
        values: impl Iterator<Item = &'a (usize, usize)>,
    ) -> String {
        let pair = |(axis, value): &(usize, usize)| {
            format!("{}={}", self.key(templates, at, *axis), self.all[*axis].values[*value].0)
        };
        let pairs: Vec<_> = values.map(pair).collect();
        if pairs.is_empty() { String::new() } else { format!("[{}]", pairs.join(",")) }
    }

    /// The name of a stage's variant, such as `lstm[batch_size=8,seed=1]`.
    pub fn name(&self, templates: &[Template], at: usize, variant: &Variant) -> String {
        format!("{}{}", templates[at].name, self.bracketed(templates, at, variant.iter()))
    }

    /// The values of a variant that another has not, bracketed.
    pub fn rest(&self, templates: &[Template], at: usize, variant: &Variant, without: &Variant) -> String {
        self.bracketed(templates, at, variant.iter().filter(|pair| !without.contains(pair)))
    }

    /// The values of a variant, by their parameters as the stage calls them.
    pub fn coordinates(&self, templates: &[Template], at: usize, variant: &Variant) -> Vec<(String, Value)> {
        variant.iter().map(|(axis, value)| (self.key(templates, at, *axis), self.node(*axis, *value).json())).collect()
    }

    /// Whether a variant has these values.
    pub fn meets(&self, templates: &[Template], at: usize, variant: &Variant, selection: &[(String, String)]) -> bool {
        let has = |(key, wanted): &(String, String)| {
            variant.iter().any(|(axis, value)| {
                self.key(templates, at, *axis) == *key && self.all[*axis].values[*value].0 == *wanted
            })
        };
        selection.iter().all(has)
    }
}

/// A value as it stands in names; what would be long or hold the signs of names is a digest.
fn text(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let is_plain = |c: char| c.is_alphanumeric() || "._-+ ".contains(c);
    match !text.is_empty() && text.len() <= VALUE_CHARS && text.chars().all(is_plain) {
        true => text,
        false => format!("#{}", &blake3::hash(text.as_bytes()).to_hex()[..8]),
    }
}

/// Whether two variants have the same value on every axis that both have.
pub fn agree(one: &Variant, other: &Variant) -> bool {
    let value = |axis: usize| other.iter().find(|(known, _)| *known == axis).map(|(_, value)| *value);
    one.iter().all(|(axis, mine)| value(*axis).is_none_or(|theirs| theirs == *mine))
}

/// Adds what variants have on some axes to those that are known, each once.
pub fn project(variants: &[Variant], axes: &[usize], known: &mut Vec<Variant>) {
    let mut seen: HashSet<Variant> = known.iter().cloned().collect();
    for variant in variants {
        let kept: Variant = variant.iter().filter(|(axis, _)| axes.contains(axis)).copied().collect();
        if seen.insert(kept.clone()) {
            known.push(kept);
        }
    }
}

/// Every pair that agrees, or how many there are at least where they are more than `most`.
pub fn join(left: &[Variant], right: &[Variant], most: usize) -> Result<Vec<Variant>, usize> {
    let axes = |variants: &[Variant]| -> Vec<usize> {
        variants.first().map(|variant| variant.iter().map(|(axis, _)| *axis).collect()).unwrap_or_default()
    };
    let shared: Vec<usize> = axes(left).into_iter().filter(|axis| axes(right).contains(axis)).collect();
    if shared.is_empty() && left.len().saturating_mul(right.len()) > most {
        return Err(left.len().saturating_mul(right.len()));
    }
    let part =
        |variant: &Variant| -> Variant { variant.iter().filter(|(axis, _)| shared.contains(axis)).copied().collect() };
    let mut by_shared: HashMap<Variant, Vec<&Variant>> = HashMap::new();
    right.iter().for_each(|variant| by_shared.entry(part(variant)).or_default().push(variant));
    let mut joined = Vec::new();
    for one in left {
        for other in by_shared.get(&part(one)).into_iter().flatten() {
            let mut both: Variant = one.iter().chain(other.iter()).copied().collect();
            both.sort_unstable();
            both.dedup();
            joined.push(both);
        }
        if joined.len() > most {
            return Err(joined.len());
        }
    }
    Ok(joined)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variants_join_where_they_agree_and_cross_where_they_share_nothing() {
        let left: Vec<Variant> = vec![vec![(0, 0), (1, 0)], vec![(0, 0), (1, 1)], vec![(0, 1), (1, 0)]];
        let right: Vec<Variant> = vec![vec![(0, 0), (2, 5)], vec![(0, 2), (2, 6)]];
        assert_eq!(join(&left, &right, 10).unwrap(), [vec![(0, 0), (1, 0), (2, 5)], vec![(0, 0), (1, 1), (2, 5)]]);
        assert_eq!(join(&left, &[vec![(3, 0)], vec![(3, 1)]], 10).unwrap().len(), 6);
        assert_eq!(join(&left, &[vec![(3, 0)], vec![(3, 1)]], 5), Err(6));
    }

    #[test]
    fn values_are_named_plainly_or_by_a_digest() {
        assert_eq!(text(&serde_json::json!(0.0001)), "0.0001");
        assert_eq!(text(&serde_json::json!("gru")), "gru");
        assert_eq!(text(&serde_json::json!("a,b")).len(), 9);
        assert!(text(&serde_json::json!(["speed", "grade"])).starts_with('#'));
    }
}
