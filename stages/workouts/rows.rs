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

/// The workouts of a frame that has the columns of [`columns`]; a series whose column it lacks is none.
///
/// Fails when a number that every workout has is empty, or a word for the source of speed is unknown.
pub fn workouts(frame: &DataFrame) -> Result<Vec<Workout>> {
    let (id, user) = (frame.column("id")?.i64()?, frame.column("user")?.i64()?);
    let [sport, gender, source, device] = texts(frame, ["sport", "gender", "source", "device"])?;
    let [time_zone, speed_source, unconvertible] = texts(frame, ["time_zone", "speed_source", "unconvertible"])?;
    let [altitude_source] = texts(frame, ["altitude_source"])?;
    let indoor = frame.column("indoor")?.bool()?;
    let synthetic = frame.column("synthetic")?.bool()?;
    let (mut time, mut heart_rate) =
        (lists_of::<Float64Type>(frame, "time")?, lists_of::<Float32Type>(frame, "heart_rate")?);
    let mut heart_rate_time = lists_of::<Float64Type>(frame, "heart_rate_time")?;
    let mut heart_rate_span = lists_of::<Float32Type>(frame, "heart_rate_span")?;
    let (mut speed, mut altitude) =
        (lists_of::<Float32Type>(frame, "speed")?, lists_of::<Float32Type>(frame, "altitude")?);
    let (mut latitude, mut longitude) =
        (lists_of::<Float64Type>(frame, "latitude")?, lists_of::<Float64Type>(frame, "longitude")?);
    let mut pauses = lists_of::<Float64Type>(frame, "pauses")?;
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
            time: time[row].take(),
            heart_rate: heart_rate[row].take(),
            heart_rate_time: heart_rate_time[row].take(),
            heart_rate_span: heart_rate_span[row].take(),
            speed: speed[row].take(),
            altitude: altitude[row].take(),
            latitude: latitude[row].take(),
            longitude: longitude[row].take(),
            speed_source: origin(speed_source, row)?,
            altitude_source: origin(altitude_source, row)?,
            pauses: pauses[row].take().unwrap_or_default(),
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

/// The lists of a series, row by row, cut from the column's values as they lie end to end.
fn lists_of<T: PolarsNumericType>(frame: &DataFrame, name: &str) -> Result<Vec<Option<Vec<T::Native>>>> {
    let Ok(column) = frame.column(name) else { return Ok(vec![None; frame.height()]) };
    let lists = column.list()?.rechunk();
    let inner = lists.get_inner();
    let inner: &ChunkedArray<T> = inner.unpack()?;
    let values = inner.cont_slice();
    let Some((values, list)) = values.ok().zip(lists.downcast_iter().next()) else {
        // Something within a list is empty, or there is no row.
        return (0..lists.len()).map(|row| list_of::<T>(&lists, row)).collect();
    };
    let there = |row: usize| list.validity().is_none_or(|validity| validity.get_bit(row));
    let ends = list.offsets().as_slice().windows(2).enumerate();
    let row = |(row, ends): (usize, &[i64])| there(row).then(|| values[ends[0] as usize..ends[1] as usize].to_vec());
    Ok(ends.map(row).collect())
}

/// The list of one row.
fn list_of<T: PolarsNumericType>(lists: &ListChunked, row: usize) -> Result<Option<Vec<T::Native>>> {
    let Some(list) = lists.get_as_series(row) else { return Ok(None) };
    let values: &ChunkedArray<T> = list.unpack()?;
    let values = values
        .cont_slice()
        .with_context(|| format!("column `{}` has an empty value within the list of row {row}", lists.name()))?;
    Ok(Some(values.to_vec()))
}

fn origin(column: &StringChunked, row: usize) -> Result<Origin> {
    let word = column.get(row).unwrap_or_default();
    match Origin::ALL.into_iter().find(|source| source.name() == word) {
        Some(source) => Ok(source),
        None => bail!("column `{}` holds the unknown word `{word}` in row {row}", column.name()),
    }
}
