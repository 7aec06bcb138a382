//! Stretches of a recording that look wrong, in words. Unaware of how they are found.

/// Something about a recording that a person should look at.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// What it is.
    pub kind: FindingKind,
    /// Where it begins, in seconds since the start of the recording.
    pub from: f64,
    /// Where it ends, in seconds since the start; not before `from`.
    pub to: f64,
    /// What exactly, with its figures.
    pub detail: String,
}

/// What a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FindingKind {
    /// No heart rate for longer than the recording's rhythm explains.
    Gap,
    /// One value for too long.
    FlatLine,
    /// A change faster than a heart can.
    Spike,
    /// The sensor may have counted steps in place of beats.
    CadenceLock,
    /// A heart rate that nobody has.
    OutOfRange,
    /// No position for longer than the recording's rhythm explains.
    PositionGap,
    /// A change of place faster than anybody runs.
    PositionJump,
}

impl FindingKind {
    /// Every kind, those of the heart rate first.
    pub const ALL: [Self; 7] = [
        Self::Gap,
        Self::FlatLine,
        Self::Spike,
        Self::CadenceLock,
        Self::OutOfRange,
        Self::PositionGap,
        Self::PositionJump,
    ];

    /// The words that stand in tables and on pages.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Gap => "gap",
            Self::FlatLine => "flat line",
            Self::Spike => "spike",
            Self::CadenceLock => "suspected cadence lock",
            Self::OutOfRange => "out of range",
            Self::PositionGap => "position gap",
            Self::PositionJump => "position jump",
        }
    }
}

/// Events of one kind this near each other (s) are one finding: nobody looks at them one by one.
const NEAR: f64 = 10.0;

/// Takes an event into the findings: into the last one where that is of its kind and ends shortly before.
pub(in crate::quality) fn join(findings: &mut Vec<Finding>, kind: FindingKind, [from, to]: [f64; 2], detail: String) {
    match findings.last_mut().filter(|last| last.kind == kind && from <= last.to + NEAR) {
        Some(last) => last.to = last.to.max(to),
        None => findings.push(Finding { kind, from, to, detail }),
    }
}

/// All findings in one line, such as `gap ×2 (90 s), spike ×1`; empty for none.
pub fn words(findings: &[Finding]) -> String {
    let of_kind = |kind: FindingKind| {
        let of_kind: Vec<&Finding> = findings.iter().filter(|finding| finding.kind == kind).collect();
        let seconds: f64 = of_kind.iter().map(|finding| finding.to - finding.from).sum();
        let count = of_kind.len();
        (count > 0).then(|| match kind {
            FindingKind::Spike | FindingKind::PositionJump => format!("{} ×{count}", kind.words()),
            _ => format!("{} ×{count} ({seconds:.0} s)", kind.words()),
        })
    };
    FindingKind::ALL.into_iter().filter_map(of_kind).collect::<Vec<String>>().join(", ")
}
