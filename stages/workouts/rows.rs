//! Rows of the workouts file: a frame of columns from workouts and back. Unaware of files.

use anyhow::{Context as _, Result, bail};
use polars::prelude::{
    ChunkedArray, Column, DataFrame, DataType, Float32Type, Float64Type, IntoColumn, ListBuilderTrait, ListChunked,
    ListPrimitiveChunkedBuilder, NamedFrom, PolarsNumericType, Series, StringChunked,
};

use crate::workouts::{SpeedSource, Workout};

/// The columns of the file, in their order.
pub fn columns() -> [(&'static str, DataType); 13] {
    let single = || DataType::List(Box::new(DataType::Float32));
    let double = || DataType::List(Box::new(DataType::Float64));
    [
        ("id", DataType::Int64),
        ("user", DataType::Int64),
        ("sport", DataType::String),
        ("gender", DataType::String),
        ("time", double()),
        ("heart_rate", single()),
        ("speed", single()),
        ("altitude", single()),
        ("latitude", double()),
        ("longitude", double()),
        ("speed_source", DataType::String),
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
        lists::<Float64Type>(workouts, "time", |w| w.time.as_deref()),
        lists::<Float32Type>(workouts, "heart_rate", |w| w.heart_rate.as_deref()),
        lists::<Float32Type>(workouts, "speed", |w| w.speed.as_deref()),
        lists::<Float32Type>(workouts, "altitude", |w| w.altitude.as_deref()),
        lists::<Float64Type>(workouts, "latitude", |w| w.latitude.as_deref()),
        lists::<Float64Type>(workouts, "longitude", |w| w.longitude.as_deref()),
        scalar(workouts, "speed_source", |w| w.speed_source.name()),
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
    let (sport, gender) = (frame.column("sport")?.str()?, frame.column("gender")?.str()?);
    let list = |name| frame.column(name).and_then(Column::list);
    let (time, heart_rate, speed) = (list("time")?, list("heart_rate")?, list("speed")?);
    let (altitude, latitude, longitude) = (list("altitude")?, list("latitude")?, list("longitude")?);
    let (source, unconvertible) = (frame.column("speed_source")?.str()?, frame.column("unconvertible")?.str()?);
    let synthetic = frame.column("synthetic")?.bool()?;
    let row = |row: usize| {
        Ok(Workout {
            id: id.get(row).with_context(|| format!("column `id` is empty in row {row}"))?,
            user: user.get(row),
            sport: sport.get(row).unwrap_or_default().to_owned(),
            gender: gender.get(row).map(str::to_owned),
            time: series::<Float64Type>(time, row)?,
            heart_rate: series::<Float32Type>(heart_rate, row)?,
            speed: series::<Float32Type>(speed, row)?,
            altitude: series::<Float32Type>(altitude, row)?,
            latitude: series::<Float64Type>(latitude, row)?,
            longitude: series::<Float64Type>(longitude, row)?,
            speed_source: speed_source(source, row)?,
            unconvertible: unconvertible.get(row).map(str::to_owned),
            synthetic: synthetic.get(row).with_context(|| format!("column `synthetic` is empty in row {row}"))?,
        })
    };
    (0..frame.height()).map(row).collect()
}

fn series<T: PolarsNumericType>(column: &ListChunked, row: usize) -> Result<Option<Vec<T::Native>>> {
    let Some(list) = column.get_as_series(row) else { return Ok(None) };
    let values: &ChunkedArray<T> = list.unpack()?;
    let values = values
        .cont_slice()
        .with_context(|| format!("column `{}` has an empty value within the list of row {row}", column.name()))?;
    Ok(Some(values.to_vec()))
}

fn speed_source(column: &StringChunked, row: usize) -> Result<SpeedSource> {
    let word = column.get(row).unwrap_or_default();
    match SpeedSource::ALL.into_iter().find(|source| source.name() == word) {
        Some(source) => Ok(source),
        None => bail!("column `speed_source` holds the unknown word `{word}` in row {row}"),
    }
}
