//! Rows of the workouts file: a frame of columns from workouts and back. Unaware of files.

use anyhow::{Context as _, Result, bail};
use polars::prelude::{
    ChunkedArray, Column, DataFrame, DataType, Float32Type, Float64Type, IntoColumn, ListBuilderTrait, ListChunked,
    ListPrimitiveChunkedBuilder, NamedFrom, PolarsNumericType, Series, StringChunked,
};

use crate::workouts::{Origin, Workout};

/// The columns of the file, in their order.
pub fn columns() -> [(&'static str, DataType); 21] {
    let single = || DataType::List(Box::new(DataType::Float32));
    let double = || DataType::List(Box::new(DataType::Float64));
    [
        ("id", DataType::Int64),
        ("user", DataType::Int64),
        ("sport", DataType::String),
        ("gender", DataType::String),
        ("source", DataType::String),
        ("device", DataType::String),
        ("time_zone", DataType::String),
        ("indoor", DataType::Boolean),
        ("time", double()),
        ("heart_rate", single()),
        ("heart_rate_time", double()),
        ("heart_rate_span", single()),
        ("speed", single()),
        ("altitude", single()),
        ("latitude", double()),
        ("longitude", double()),
        ("speed_source", DataType::String),
        ("altitude_source", DataType::String),
        ("pauses", double()),
        ("unconvertible", DataType::String),
        ("synthetic", DataType::Boolean),
    ]
}

/// A frame with a row for each workout.
pub fn frame(workouts: &[Workout]) -> DataFrame {
    fn scalar<'a, T, S>(workouts: &'a [Workout], name: &str, get: impl Fn(&'a Workout) -> T) -> Column
    where
        Series: NamedFrom<Vec<T>, S>,
        S: ?Sized,
    {
        Series::new(name.into(), workouts.iter().map(get).collect::<Vec<T>>()).into_column()
    }
    let columns = vec![
        scalar(workouts, "id", |w| w.id),
        scalar(workouts, "user", |w| w.user),
        scalar(workouts, "sport", |w| w.sport.as_str()),
        scalar(workouts, "gender", |w| w.gender.as_deref()),
        scalar(workouts, "source", |w| w.source.as_str()),
        scalar(workouts, "device", |w| w.device.as_deref()),
        scalar(workouts, "time_zone", |w| w.time_zone.as_deref()),
        scalar(workouts, "indoor", |w| w.indoor),
        lists::<Float64Type>(workouts, "time", |w| w.time.as_deref()),
        lists::<Float32Type>(workouts, "heart_rate", |w| w.heart_rate.as_deref()),
        lists::<Float64Type>(workouts, "heart_rate_time", |w| w.heart_rate_time.as_deref()),
        lists::<Float32Type>(workouts, "heart_rate_span", |w| w.heart_rate_span.as_deref()),
        lists::<Float32Type>(workouts, "speed", |w| w.speed.as_deref()),
        lists::<Float32Type>(workouts, "altitude", |w| w.altitude.as_deref()),
        lists::<Float64Type>(workouts, "latitude", |w| w.latitude.as_deref()),
        lists::<Float64Type>(workouts, "longitude", |w| w.longitude.as_deref()),
        scalar(workouts, "speed_source", |w| w.speed_source.name()),
        scalar(workouts, "altitude_source", |w| w.altitude_source.name()),
        lists::<Float64Type>(workouts, "pauses", |w| Some(&w.pauses)),
        scalar(workouts, "unconvertible", |w| w.unconvertible.as_deref()),
        scalar(workouts, "synthetic", |w| w.synthetic),
    ];
    DataFrame::new_infer_height(columns).expect("every column has one row for each workout")
}

fn lists<'a, T: PolarsNumericType>(
    workouts: &'a [Workout],
    name: &str,
    get: impl Fn(&'a Workout) -> Option<&'a [T::Native]>,
) -> Column {
    let points = workouts.iter().map(|w| get(w).map_or(0, <[T::Native]>::len)).sum();
    let mut builder = ListPrimitiveChunkedBuilder::<T>::new(name.into(), workouts.len(), points, T::get_static_dtype());
    for workout in workouts {
        builder.append_opt_slice(get(workout));
    }
    builder.finish().into_column()
}

/// The workouts of a frame that has the columns of [`columns`].
///
/// Fails when a number that every workout has is empty, or a word for the source of speed is unknown.
pub fn workouts(frame: &DataFrame) -> Result<Vec<Workout>> {
    let (id, user) = (frame.column("id")?.i64()?, frame.column("user")?.i64()?);
    let [sport, gender, source, device] = texts(frame, ["sport", "gender", "source", "device"])?;
    let [time_zone, speed_source, unconvertible] = texts(frame, ["time_zone", "speed_source", "unconvertible"])?;
    let [altitude_source] = texts(frame, ["altitude_source"])?;
    let list = |name| frame.column(name).and_then(Column::list);
    let (time, heart_rate, speed) = (list("time")?, list("heart_rate")?, list("speed")?);
    let (heart_rate_time, heart_rate_span) = (list("heart_rate_time")?, list("heart_rate_span")?);
    let (altitude, latitude, longitude) = (list("altitude")?, list("latitude")?, list("longitude")?);
    let (pauses, indoor) = (list("pauses")?, frame.column("indoor")?.bool()?);
    let synthetic = frame.column("synthetic")?.bool()?;
    let word = |column: &StringChunked, row| column.get(row).map(str::to_owned);
    let row = |row: usize| {
        Ok(Workout {
            id: id.get(row).with_context(|| format!("column `id` is empty in row {row}"))?,
            user: user.get(row),
            sport: word(sport, row).unwrap_or_default(),
            gender: word(gender, row),
            source: word(source, row).unwrap_or_default(),
            device: word(device, row),
            time_zone: word(time_zone, row),
            indoor: indoor.get(row),
            time: series::<Float64Type>(time, row)?,
            heart_rate: series::<Float32Type>(heart_rate, row)?,
            heart_rate_time: series::<Float64Type>(heart_rate_time, row)?,
            heart_rate_span: series::<Float32Type>(heart_rate_span, row)?,
            speed: series::<Float32Type>(speed, row)?,
            altitude: series::<Float32Type>(altitude, row)?,
            latitude: series::<Float64Type>(latitude, row)?,
            longitude: series::<Float64Type>(longitude, row)?,
            speed_source: origin(speed_source, row)?,
            altitude_source: origin(altitude_source, row)?,
            pauses: series::<Float64Type>(pauses, row)?.unwrap_or_default(),
            unconvertible: word(unconvertible, row),
            synthetic: synthetic.get(row).with_context(|| format!("column `synthetic` is empty in row {row}"))?,
        })
    };
    (0..frame.height()).map(row).collect()
}

fn texts<'a, const N: usize>(frame: &'a DataFrame, names: [&str; N]) -> Result<[&'a StringChunked; N]> {
    let columns = names.iter().map(|name| Ok(frame.column(name)?.str()?)).collect::<Result<Vec<_>>>()?;
    Ok(columns.try_into().expect("as many as names"))
}

fn series<T: PolarsNumericType>(column: &ListChunked, row: usize) -> Result<Option<Vec<T::Native>>> {
    let Some(list) = column.get_as_series(row) else { return Ok(None) };
    let values: &ChunkedArray<T> = list.unpack()?;
    let values = values
        .cont_slice()
        .with_context(|| format!("column `{}` has an empty value within the list of row {row}", column.name()))?;
    Ok(Some(values.to_vec()))
}

fn origin(column: &StringChunked, row: usize) -> Result<Origin> {
    let word = column.get(row).unwrap_or_default();
    match Origin::ALL.into_iter().find(|source| source.name() == word) {
        Some(source) => Ok(source),
        None => bail!("column `{}` holds the unknown word `{word}` in row {row}", column.name()),
    }
}
