//! Hands the workouts of an export over, some at a time, with what is set aside and what is to be told.
//! Unaware of how the text is read.

use std::collections::HashSet;

use anyhow::Result;
use rayon::prelude::{IntoParallelRefIterator as _, ParallelIterator as _};

use crate::read::apple::assemble::{self, Measured, Whose};
use crate::read::apple::gather::{Gathered, place_of};
use crate::read::apple::pauses;
use crate::read::apple::places::{Places, Route};
use crate::read::apple::twice::{self, Recording};
use crate::read::apple::workout::Draft;
use crate::read::apple::{Give, Progress, Tell};
use crate::read::gpx::{self, Point};
use crate::read::record::{Found, Reason, Record, SetAside};

/// Workouts that are handed over at a time; a day of points has some 5 MB.
const AT_A_TIME: usize = 16;

/// Hands over everything that was gathered.
pub fn hand_over(
    places: &Places,
    gathered: Gathered,
    mut warnings: Vec<String>,
    user: i64,
    progress: &mut Tell<'_>,
    give: &mut Give<'_>,
) -> Result<()> {
    warnings.extend(warning_of_records(&gathered));
    let gender = gathered.gender.unwrap_or("unknown");
    let mut first = Found { set_aside: places.set_aside.clone(), ..Found::default() };
    first.set_aside.extend(gathered.set_aside);
    let mut drafts = gathered.drafts;
    drafts.sort_by_key(|draft| (draft.start, draft.end));
    let stretches: Vec<_> = drafts.iter().map(|draft| (draft.start, draft.end)).collect();
    let measured = Measured {
        heart_rates: gathered.heart_rates.within(&stretches),
        distances: gathered.distances.within(&stretches),
        sources: gathered.sources,
    };
    let kept = without_repeats(drafts, &measured, &mut first.set_aside);
    name_file(&mut first, places);
    give(first)?;
    let mut tally = Tally::default();
    let mut ids = HashSet::new();
    for (i, drafts) in kept.chunks(AT_A_TIME).enumerate() {
        let done = i * AT_A_TIME;
        let message = format!("reading routes of workout {} of {}", done + 1, kept.len());
        progress(Progress { bytes: places.total, total: places.total, message })?;
        let numbered: Vec<_> = drafts.iter().map(|draft| (draft, new_id(&mut ids, draft.start))).collect();
        let read = |(draft, id): &(&Draft, i64)| one(draft, &measured, places, Whose { user, gender, id: *id });
        let outcomes: Vec<One> = numbered.par_iter().map(read).collect();
        let mut found = Found::default();
        for one in outcomes {
            tally.add(&one);
            found.records.extend(one.record);
            found.set_aside.extend(one.set_aside);
        }
        name_file(&mut found, places);
        give(found)?;
    }
    warnings.extend(tally.warnings());
    give(Found { warnings, ..Found::default() })
}

fn name_file(found: &mut Found, places: &Places) {
    for note in &mut found.set_aside {
        note.file.clone_from(&places.file);
    }
}

fn warning_of_records(gathered: &Gathered) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(first) = gathered.first_unreadable {
        let count = gathered.unreadable;
        warnings.push(format!(
            "{count} heart rates or distances cannot be read, the first at byte {first}; they are left out"
        ));
    }
    if gathered.drafts.is_empty() && gathered.set_aside.is_empty() {
        let count = gathered.heart_rates.len();
        warnings.push(format!("the export holds no workout; it has {count} heart rates, which belong to none"));
    }
    warnings
}

/// The beginning in unix seconds, or the next number that is free.
fn new_id(ids: &mut HashSet<i64>, start: i64) -> i64 {
    let mut id = start;
    while !ids.insert(id) {
        id += 1;
    }
    id
}

/// Leaves one recording of each stretch of time. The drafts are in order of their beginnings.
fn without_repeats(drafts: Vec<Draft>, measured: &Measured, set_aside: &mut Vec<SetAside>) -> Vec<Draft> {
    let recording = |draft: &Draft| {
        let pauses = pauses::pauses(&draft.events, draft.start, draft.end);
        let heart_rates = measured.heart_rates(draft, &pauses).len();
        Recording { start: draft.start, end: draft.end, watch: draft.watch, heart_rates }
    };
    let recordings: Vec<Recording> = drafts.par_iter().map(recording).collect();
    let replaced = twice::replaced(&recordings);
    for (draft, better) in drafts.iter().zip(&replaced) {
        let Some(better) = *better else { continue };
        let kept = &drafts[better];
        let name = |draft: &Draft| draft.device.clone().unwrap_or_else(|| "an unnamed source".to_owned());
        let metres = kept.distance.map_or_else(String::new, |metres| format!(", {:.2} km", metres / 1000.0));
        let detail = format!(
            "`{}` recorded it too; the {} of `{}` with {} heart rates{metres} is kept",
            name(draft),
            place_of(kept.start),
            name(kept),
            recordings[better].heart_rates,
        );
        set_aside.push(SetAside::new(place_of(draft.start), Reason::RecordedTwice, detail));
    }
    drafts.into_iter().zip(replaced).filter(|(_, better)| better.is_none()).map(|(draft, _)| draft).collect()
}

/// What became of one workout.
#[derive(Default)]
struct One {
    record: Option<Record>,
    set_aside: Vec<SetAside>,
    missing_routes: usize,
    damaged_routes: usize,
    /// Whether its routes have points, but none within it.
    elsewhere: bool,
    /// Whether it is shorter than its start and end say, and no pause tells where.
    unknown_pauses: bool,
}

fn one(draft: &Draft, measured: &Measured, places: &Places, whose: Whose<'_>) -> One {
    let mut one = One::default();
    let mut points = Vec::new();
    for path in &draft.routes {
        one.add_route(draft, places.route(path), path, &mut points);
    }
    let on_the_way = !points.is_empty();
    one.record = assemble::workout(draft, measured, points, whose);
    let workout = one.record.as_ref().map(|record| &record.workout);
    one.elsewhere = on_the_way && workout.is_none_or(|workout| workout.latitude.is_none());
    let pauses = pauses::total(&pauses::pauses(&draft.events, draft.start, draft.end));
    let moving = (draft.end - draft.start - pauses) as f64;
    one.unknown_pauses = draft.duration.is_some_and(|duration| moving - duration > 60.0);
    if one.record.is_none() {
        let detail = "it has neither positions, heart rates nor distances";
        one.set_aside.push(SetAside::new(place_of(draft.start), Reason::NoSamples, detail));
    }
    one
}

impl One {
    fn add_route(&mut self, draft: &Draft, route: Route, path: &str, points: &mut Vec<Point>) {
        let refused = match route {
            Route::Missing => {
                self.missing_routes += 1;
                return;
            }
            Route::Refused(reason, why) => (reason, why),
            Route::Text(text) => match gpx::parse(&text) {
                Ok(gpx) => {
                    self.damaged_routes += usize::from(gpx.damage.is_some());
                    points.extend(gpx.tracks.into_iter().flat_map(|track| track.points));
                    return;
                }
                Err(why) => (Reason::Malformed, format!("`{path}`: {why}")),
            },
        };
        let detail = format!("a route is left out: {}", refused.1);
        self.set_aside.push(SetAside::new(place_of(draft.start), refused.0, detail));
    }
}

/// What is told of all workouts together.
#[derive(Default)]
struct Tally {
    missing_routes: usize,
    damaged_routes: usize,
    elsewhere: usize,
    unknown_pauses: usize,
}

impl Tally {
    fn add(&mut self, one: &One) {
        self.missing_routes += one.missing_routes;
        self.damaged_routes += one.damaged_routes;
        self.elsewhere += usize::from(one.elsewhere);
        self.unknown_pauses += usize::from(one.unknown_pauses);
    }

    fn warnings(&self) -> Vec<String> {
        let told = [
            (
                self.missing_routes,
                "routes are not there; their workouts stay without positions (give the archive or the whole folder)",
            ),
            (self.damaged_routes, "routes are damaged; what stands before is read"),
            (self.elsewhere, "workouts have routes of another time only; they stay without positions"),
            (
                self.unknown_pauses,
                "workouts are shorter than from start to end by pauses that the export does not tell",
            ),
        ];
        told.iter().filter(|(count, _)| *count > 0).map(|(count, words)| format!("{count} {words}")).collect()
    }
}
