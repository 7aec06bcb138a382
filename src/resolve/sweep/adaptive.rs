//! Reads `[stages.NAME.sweep.search]`: how a search goes on from the figures of its first trials. Unaware of what it
//! goes on with.

use pacer_stages::ranking::Better;

use crate::diagnostic::{Diagnostic, Place, Span};
use crate::resolve::known_keys;
use crate::spec::{Data, Entry, Node, Table};

/// The figure that a search decides by where none is named: what trainings say of the validation part.
const METRIC: &str = "validation_mae";

/// What a sweep asks of a search.
pub struct Asked {
    /// How it goes on.
    pub way: Way,
    /// The figure of a trial that decides.
    pub metric: String,
    /// Which figure is better.
    pub better: Better,
    /// Where it is written.
    pub place: Place,
    /// Where its figure is named in the pipeline file, or else the search; none where that is on the command line.
    pub named: Option<Span>,
}

/// How a search goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The best of each rung train longer.
    Halving {
        /// Epochs of the first rung.
        min_epochs: u64,
        /// One of so many goes on, to so many times the epochs.
        eta: u64,
    },
    /// Draws near the good ones.
    Parzen {
        /// Trials that are drawn blindly first.
        startup: u64,
        /// Trials that are proposed at once.
        round: u64,
    },
}

/// Reads a search; `None` where it has faults.
pub fn read(entry: &Entry, faults: &mut Vec<Diagnostic>) -> Option<Asked> {
    let before = faults.len();
    let Data::Table(table) = &entry.value.data else {
        let fault = Diagnostic::new(format!("`search` is {}", entry.value.data.sort())).place(&entry.value.place);
        faults.push(fault.help("write `search = { by = \"halving\", min_epochs = 3, eta = 3 }`"));
        return None;
    };
    let by = text(table, "by", faults);
    let way = match by.as_deref() {
        Some("halving") => {
            known_keys(table, &["by", "metric", "better", "min_epochs", "eta"], "a search by halving", faults);
            let (min_epochs, eta) = (whole(table, "min_epochs", 1, 1, faults), whole(table, "eta", 2, 3, faults));
            Some(Way::Halving { min_epochs, eta })
        }
        Some("tpe") => {
            known_keys(table, &["by", "metric", "better", "startup", "round"], "a search by tpe", faults);
            let (startup, round) = (whole(table, "startup", 1, 10, faults), whole(table, "round", 1, 4, faults));
            Some(Way::Parzen { startup, round })
        }
        other => {
            let message = other.map_or_else(
                || "a search says `by` what it goes on".to_owned(),
                |by| format!("there is no search by `{by}`"),
            );
            let place = table.get("by").map_or(&entry.key, |entry| &entry.value.place);
            let help = "\"halving\" (successive halving: the best of each rung train longer, decided when the rung is \
                        done) or \"tpe\" (draws near the good ones)";
            faults.push(Diagnostic::new(message).place(place).help(help));
            None
        }
    };
    let metric = text(table, "metric", faults).unwrap_or_else(|| METRIC.to_owned());
    let better = match text(table, "better", faults).as_deref() {
        None => Better::of(&metric),
        Some("lowest") => Better::Lowest,
        Some("highest") => Better::Highest,
        Some(_) => {
            let place = &table["better"].value.place;
            faults.push(Diagnostic::new("`better` is \"lowest\" or \"highest\"").place(place));
            Better::Lowest
        }
    };
    let named = match table.get("metric").map_or(&entry.key, |entry| &entry.value.place) {
        Place::File(span) => Some(span.clone()),
        Place::Argument { .. } | Place::Whole => None,
    };
    let asked = |way| Asked { way, metric, better, place: entry.key.clone(), named };
    way.map(asked).filter(|_| faults.len() == before)
}

fn text(table: &Table, key: &str, faults: &mut Vec<Diagnostic>) -> Option<String> {
    match table.get(key).map(|entry| &entry.value)? {
        Node { data: Data::Text(text), .. } => Some(text.clone()),
        node => {
            faults.push(Diagnostic::new(format!("`{key}` must be a text")).place(&node.place).label(node.data.sort()));
            None
        }
    }
}

fn whole(table: &Table, key: &str, least: u64, usual: u64, faults: &mut Vec<Diagnostic>) -> u64 {
    match table.get(key).map(|entry| &entry.value) {
        None => usual,
        Some(Node { data: Data::Integer(number), .. }) if u64::try_from(*number).is_ok_and(|it| it >= least) => {
            number.unsigned_abs()
        }
        Some(node) => {
            let fault = Diagnostic::new(format!("`{key}` of a search cannot be this")).place(&node.place);
            faults.push(fault.label(format!("must be a whole number from {least}")));
            usual
        }
    }
}
