//! The kind `filter`: which workouts are good enough, and which rule took the others. Unaware of features.

use anyhow::Result;
use rayon::prelude::{IntoParallelRefIterator as _, ParallelIterator as _};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::artifact::{Arity, ArtifactType, InputPort, OutputPort};
use crate::kinds::filter::funnel::Funnel;
use crate::kinds::filter::rules::{Field, Rule};
use crate::physiology;
use crate::stage::{Context, Metrics, ParameterFault, Run, Stage};
use crate::track::Track;
use crate::workouts::{Workout, WorkoutReader, WorkoutWriter};

pub mod funnel;
pub mod rules;

/// Keeps the workouts that pass every rule and counts what each rule takes.
///
/// Reads `workouts`; writes `workouts` and `funnel`, a table of the rules in their order with how many came in,
/// how many each removed, one example and the reason. A workout is counted at the first rule that removes it.
/// The first seven rules are those of the original experiment: `sport`, `fields`, `numbers`, `points`, `lengths`,
/// `finite`, `heart_rate`; `off` leaves some out. The later six, `duration`, `distance`, `speed`, `climb`, `flat`
/// and `density`, apply where their parameter is given. Speed counts as present where the import derived it.
/// No rule looks at how heart rate goes with speed: that would choose the easy runs.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// Rules left out, by name.
    #[serde(default)]
    pub off: Vec<Rule>,
    /// Rule `sport`: the source's words for sports that are kept.
    #[serde(default = "run")]
    pub sports: Vec<String>,
    /// Rules `fields` and `numbers`: fields that must be there and hold numbers.
    #[serde(default = "required")]
    pub require: Vec<Field>,
    /// Rule `points`: the fewest samples of a series.
    #[serde(default = "fifty")]
    pub min_points: usize,
    /// Rule `heart_rate`: lowest and highest heart rate in BPM; one sample beyond removes the workout.
    #[serde(default = "plausible")]
    pub heart_rate_bpm: [f32; 2],
    /// Rule `duration`: shortest and longest time from the first sample to the last, in minutes.
    #[serde(default)]
    pub duration_minutes: Option<[f64; 2]>,
    /// Rule `distance`: shortest and longest distance in metres, speed integrated over time.
    #[serde(default)]
    pub distance_m: Option<[f64; 2]>,
    /// Rule `speed`: the highest speed in m/s; one sample above removes the workout.
    #[serde(default)]
    pub max_speed_m_s: Option<f64>,
    /// Rule `climb`: the fastest change of altitude between two samples, up or down, in m/s.
    #[serde(default)]
    pub max_climb_m_s: Option<f64>,
    /// Rule `flat`: the largest share of the samples, 0 to 1, over which heart rate may stand still in one go.
    #[serde(default)]
    pub max_flat_share: Option<f64>,
    /// Rule `density`: the fewest heart rates for each minute, pauses left out.
    #[serde(default)]
    pub min_per_minute: Option<f64>,
}

fn run() -> Vec<String> {
    vec!["run".into()]
}

fn required() -> Vec<Field> {
    vec![Field::Speed, Field::Altitude, Field::HeartRate, Field::Gender, Field::User]
}

fn fifty() -> usize {
    50
}

fn plausible() -> [f32; 2] {
    [50.0, 220.0]
}

const WORKOUTS: OutputPort = OutputPort::fixed("workouts", ArtifactType::Workouts, "the workouts that passed");
const FUNNEL: OutputPort = OutputPort::fixed("funnel", ArtifactType::Table, "what each rule removed");

impl Stage for Filter {
    const NAME: &'static str = "filter";
    const PARALLEL: bool = true;
    const INPUTS: &'static [InputPort] = &[InputPort {
        name: "workouts",
        accepts: &[ArtifactType::Workouts],
        arity: Arity::One,
        doc: "workouts as imported",
    }];
    const OUTPUTS: &'static [OutputPort] = &[WORKOUTS, FUNNEL];

    fn check(&self) -> Vec<ParameterFault> {
        let [low, high] = self.heart_rate_bpm.map(f64::from);
        let ranges = [
            ("heart_rate_bpm", Some([low, high])),
            ("duration_minutes", self.duration_minutes),
            ("distance_m", self.distance_m),
        ];
        let backward = |range: &(_, Option<[f64; 2]>)| {
            range.1.is_some_and(|[low, high]| !low.is_finite() || !high.is_finite() || low > high)
        };
        let range = ranges.into_iter().filter(backward);
        let range = range.map(|(path, _)| ParameterFault::new(path, "must be the lower limit, then the upper"));
        let limits = [
            ("max_speed_m_s", self.max_speed_m_s, f64::INFINITY),
            ("max_climb_m_s", self.max_climb_m_s, f64::INFINITY),
            ("max_flat_share", self.max_flat_share, 1.0),
            ("min_per_minute", self.min_per_minute, f64::INFINITY),
        ];
        let outside = |limit: &(_, Option<f64>, f64)| limit.1.is_some_and(|value| !(value > 0.0 && value <= limit.2));
        let limit = limits.into_iter().filter(outside);
        let limit = limit.map(|(path, _, top)| {
            let top = if top.is_finite() { format!(" and at most {top}") } else { String::new() };
            ParameterFault::new(path, format!("must be above 0{top}"))
        });
        range.chain(limit).collect()
    }
}

impl Run for Filter {
    fn run(&self, context: &Context<'_>) -> Result<Metrics> {
        let threads = rayon::ThreadPoolBuilder::new().num_threads(context.job.threads.max(1)).build()?;
        threads.install(|| self.filter(context))
    }
}

impl Filter {
    fn filter(&self, context: &Context<'_>) -> Result<Metrics> {
        let reader = WorkoutReader::open(context.job.input("workouts")?)?;
        let mut writer = WorkoutWriter::create(&context.output(&WORKOUTS))?;
        let total = reader.total() as u64;
        let mut funnel = Funnel::new(self.rules().map(|rule| (rule, self.reason(rule))));
        for batch in reader {
            context.check_cancelled()?;
            let batch = batch?;
            let verdicts: Vec<Option<Rule>> = batch.par_iter().map(|workout| self.verdict(workout)).collect();
            verdicts.iter().zip(&batch).for_each(|(verdict, workout)| funnel.count(*verdict, workout));
            let kept = batch.into_iter().zip(verdicts).filter(|(_, verdict)| verdict.is_none());
            writer.write(kept.map(|(workout, _)| workout))?;
            context.progress(funnel.came, Some(total), "workouts", format!("{} kept", funnel.kept()));
        }
        writer.finish()?;
        if funnel.kept() == 0 {
            return Err(funnel.nothing_left().into());
        }
        funnel.table()?.write(&context.output(&FUNNEL))?;
        Ok(funnel.metrics())
    }

    /// The rules that apply, in their order.
    fn rules(&self) -> impl Iterator<Item = Rule> {
        let given = |rule: &Rule| match rule {
            Rule::Duration => self.duration_minutes.is_some(),
            Rule::Distance => self.distance_m.is_some(),
            Rule::Speed => self.max_speed_m_s.is_some(),
            Rule::Climb => self.max_climb_m_s.is_some(),
            Rule::Flat => self.max_flat_share.is_some(),
            Rule::Density => self.min_per_minute.is_some(),
            _ => true,
        };
        Rule::ALL.into_iter().filter(move |rule| given(rule) && !self.off.contains(rule))
    }

    /// The first rule that removes a workout.
    fn verdict(&self, workout: &Workout) -> Option<Rule> {
        self.rules().find(|rule| self.removes(*rule, workout))
    }

    fn removes(&self, rule: Rule, workout: &Workout) -> bool {
        match rule {
            Rule::Sport => !self.sports.contains(&workout.sport),
            Rule::Fields => {
                let there = |field: &Field| field.is_in(workout) || field.is_unconvertible(workout);
                !self.require.iter().all(there)
            }
            Rule::Numbers => self.require.iter().any(|field| field.is_unconvertible(workout)),
            Rule::Points => rules::lengths(workout).min().is_none_or(|least| least < self.min_points),
            Rule::Lengths => !rules::even(workout),
            Rule::Finite => !rules::all_finite(workout),
            Rule::HeartRate => {
                let [low, high] = self.heart_rate_bpm;
                let series = workout.heart_rate.as_deref().unwrap_or_default();
                !series.iter().all(|value| (low..=high).contains(value))
            }
            Rule::Density => Track::new(workout).map_or(true, |(track, _)| {
                self.min_per_minute.is_some_and(|fewest| rules::per_minute(&track, workout) < fewest)
            }),
            Rule::Duration | Rule::Distance | Rule::Speed | Rule::Climb | Rule::Flat => {
                Track::new(workout).map_or(true, |(track, _)| self.removes_track(rule, &track))
            }
        }
    }

    /// The later rules; a series that a rule needs and that is missing breaks it.
    fn removes_track(&self, rule: Rule, track: &Track) -> bool {
        let outside = |value: Option<f64>, range: Option<[f64; 2]>| {
            range.is_some_and(|[low, high]| !value.is_some_and(|value| (low..=high).contains(&value)))
        };
        let above = |value: Option<f64>, limit: Option<f64>| outside(value, limit.map(|limit| [0.0, limit]));
        match rule {
            Rule::Duration => outside(Some(track.duration() / 60.0), self.duration_minutes),
            Rule::Distance => {
                let covered = track.speed.as_ref().map(|speed| physiology::distance(&track.elapsed, speed));
                outside(covered.and_then(|metres| metres.last().copied()), self.distance_m)
            }
            Rule::Speed => {
                above(track.speed.as_ref().map(|speed| speed.iter().copied().fold(0.0, f64::max)), self.max_speed_m_s)
            }
            Rule::Climb => above(rules::steepest_climb(track), self.max_climb_m_s),
            Rule::Flat => above(Some(rules::flat_share(&track.heart_rate)), self.max_flat_share),
            _ => false,
        }
    }

    /// Why a rule removes, in words that hold its parameters.
    fn reason(&self, rule: Rule) -> String {
        let range = |range: Option<[f64; 2]>| range.map_or_else(String::new, |[a, b]| format!("{a} to {b}"));
        let limit = |limit: Option<f64>| limit.unwrap_or_default();
        let fields = || self.require.iter().map(|field| field.name()).collect::<Vec<_>>().join(", ");
        match rule {
            Rule::Sport => format!("the sport is not {}", self.sports.join(" or ")),
            Rule::Fields => format!("one of {} is missing", fields()),
            Rule::Numbers => format!("one of {} holds something that is no number", fields()),
            Rule::Points => format!("a series has fewer than {} points", self.min_points),
            Rule::Lengths => "series differ in length".into(),
            Rule::Finite => "a value is NaN or infinite".into(),
            Rule::HeartRate => {
                let [low, high] = self.heart_rate_bpm;
                format!("a heart rate is outside {low} to {high} BPM")
            }
            Rule::Duration => format!("the duration is not {} minutes", range(self.duration_minutes)),
            Rule::Distance => format!("the distance is not {} m", range(self.distance_m)),
            Rule::Speed => format!("a speed is above {} m/s", limit(self.max_speed_m_s)),
            Rule::Climb => format!("altitude changes by more than {} m/s", limit(self.max_climb_m_s)),
            Rule::Density => format!("there are fewer than {} heart rates a minute", limit(self.min_per_minute)),
            Rule::Flat => {
                format!("heart rate stands still for more than {} of the samples", limit(self.max_flat_share))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{Checkpoints, Device, JOB_VERSION, Job, Slot};
    use crate::table::{Table, Values};
    use crate::workouts::read_all;
    use std::path::Path;
    use std::sync::atomic::AtomicBool;

    /// A minute at 3 m/s with a rising heart rate, which every rule lets pass.
    fn good(id: i64) -> Workout {
        Workout {
            id,
            user: Some(1),
            sport: "run".into(),
            gender: Some("male".into()),
            time: Some((0..60).map(f64::from).collect()),
            heart_rate: Some((0..60).map(|i| 100.0 + i as f32).collect()),
            speed: Some(vec![3.0; 60]),
            altitude: Some(vec![50.0; 60]),
            ..Workout::default()
        }
    }

    fn bad(id: i64, spoil: impl FnOnce(&mut Workout)) -> Workout {
        let mut workout = good(id);
        spoil(&mut workout);
        workout
    }

    fn cut(workout: &mut Workout, points: usize) {
        workout.time.as_mut().unwrap().truncate(points);
        for series in [&mut workout.heart_rate, &mut workout.speed, &mut workout.altitude] {
            series.as_mut().unwrap().truncate(points);
        }
    }

    /// One workout for each failure, in the order of the rules, between two good ones.
    fn one_of_each() -> Vec<Workout> {
        vec![
            good(0),
            bad(1, |workout| workout.sport = "bike".into()),
            bad(2, |workout| workout.speed = None),
            bad(3, |workout| {
                workout.altitude = None;
                workout.unconvertible = Some("altitude".into());
            }),
            bad(4, |workout| cut(workout, 49)),
            bad(5, |workout| workout.speed.as_mut().unwrap().truncate(59)),
            bad(6, |workout| workout.altitude.as_mut().unwrap()[3] = f32::NAN),
            bad(7, |workout| workout.heart_rate.as_mut().unwrap()[3] = 221.0),
            bad(8, |workout| workout.time.as_mut().unwrap()[59] = 3700.0),
            bad(9, |workout| workout.speed = Some(vec![0.5; 60])),
            bad(10, |workout| workout.speed.as_mut().unwrap()[7] = 15.0),
            bad(11, |workout| workout.altitude.as_mut().unwrap()[7] = 90.0),
            bad(12, |workout| workout.heart_rate.as_mut().unwrap()[..40].fill(120.0)),
            bad(13, |workout| {
                workout.heart_rate_time = workout.time.as_ref().map(|time| time[..55].to_vec());
                workout.heart_rate.as_mut().unwrap().truncate(55);
            }),
            good(14),
        ]
    }

    fn all_rules() -> Filter {
        Filter {
            duration_minutes: Some([0.5, 60.0]),
            distance_m: Some([100.0, 1000.0]),
            max_speed_m_s: Some(12.0),
            max_climb_m_s: Some(5.0),
            max_flat_share: Some(0.5),
            min_per_minute: Some(58.0),
            ..serde_json::from_str("{}").unwrap()
        }
    }

    fn run(folder: &Path, filter: &Filter, workouts: Vec<Workout>) -> Result<Metrics> {
        let input = folder.join("in.parquet");
        let mut writer = WorkoutWriter::create(&input).unwrap();
        writer.write(workouts).unwrap();
        writer.finish().unwrap();
        let job = Job {
            v: JOB_VERSION,
            kind: "filter".into(),
            code: String::new(),
            params: serde_json::Value::Null,
            inputs: [("workouts".to_owned(), Slot::One(input))].into(),
            out: folder.to_path_buf(),
            partial: folder.to_path_buf(),
            checkpoints: Checkpoints::default(),
            seed: 0,
            device: Device::Cpu,
            threads: 1,
        };
        filter.run(&Context { job: &job, sink: &|_| {}, cancelled: &AtomicBool::new(false) })
    }

    #[test]
    fn each_rule_takes_the_one_workout_that_breaks_it() {
        let folder = tempfile::tempdir().unwrap();
        let metrics = run(folder.path(), &all_rules(), one_of_each()).unwrap();
        assert_eq!((&metrics["in"], &metrics["kept"]), (&15.into(), &2.into()));
        let kept: Vec<i64> = read_all(&folder.path().join("workouts.parquet")).unwrap().iter().map(|w| w.id).collect();
        assert_eq!(kept, [0, 14]);
        let funnel = Table::read(&folder.path().join("funnel.parquet")).unwrap();
        assert_eq!(funnel.column("removed").unwrap(), &Values::Int(vec![Some(1); 13]));
        assert_eq!(funnel.column("example").unwrap(), &Values::Int((1..=13).map(Some).collect()));
        assert_eq!(funnel.column("out").unwrap(), &Values::Int((2..=14).rev().map(Some).collect()));
        assert_eq!(funnel.cells(0)[6], "the sport is not run");
    }

    #[test]
    fn the_first_seven_rules_alone_apply_by_default_and_each_can_be_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let defaults: Filter = serde_json::from_str("{}").unwrap();
        assert_eq!(run(folder.path(), &defaults, one_of_each()).unwrap()["kept"], 8);
        let lenient = Filter { off: vec![Rule::Sport, Rule::HeartRate], ..defaults };
        assert_eq!(run(folder.path(), &lenient, one_of_each()).unwrap()["kept"], 10);
    }

    #[test]
    fn when_nothing_is_left_the_funnel_is_told_in_words() {
        let folder = tempfile::tempdir().unwrap();
        let defaults: Filter = serde_json::from_str("{}").unwrap();
        let error = run(folder.path(), &defaults, one_of_each()[1..3].to_vec()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`workouts`: none of 2 is left: `sport` took 1 (the sport is not run, such as workout 1); `fields` took \
             1 (one of speed, altitude, heart_rate, gender, user is missing, such as workout 2)"
        );
        let blame = error.downcast_ref::<crate::stage::Blame>().unwrap();
        assert_eq!(blame.parameter, "sports", "the first of the equally hungry");
        assert!(run(folder.path(), &defaults, vec![]).is_err());
    }

    #[test]
    fn limits_that_make_no_sense_are_all_found() {
        let filter = Filter {
            heart_rate_bpm: [220.0, 50.0],
            distance_m: Some([f64::NAN, 1.0]),
            max_climb_m_s: Some(-1.0),
            max_flat_share: Some(1.5),
            ..all_rules()
        };
        let paths: Vec<String> = filter.check().into_iter().map(|fault| fault.path).collect();
        assert_eq!(paths, ["heart_rate_bpm", "distance_m", "max_climb_m_s", "max_flat_share"]);
        // A number that is finite as TOML may overflow where it is kept.
        let overflown = Filter { heart_rate_bpm: [50.0, 1e99_f64 as f32], ..all_rules() };
        assert_eq!(overflown.check().len(), 1);
        assert!(all_rules().check().is_empty());
    }
}
