//! Apache Parquet.

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_cast::cast;
use arrow_schema::{DataType, TimeUnit};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::reader::ChunkReader;

use super::value::{cost, epoch, measured};
use super::{Collector, Columns, flag, is_cut, missing_column, time_ms};
use crate::cost::log::{Cost, LogError, Rejection, Statement};

/// Reads a file, batch after batch. Columns are those of the top level.
///
/// # Errors
/// It is no Parquet, a column is missing or of another type.
pub fn read(file: impl ChunkReader + 'static, columns: &Columns, into: &mut Collector<'_>) -> Result<(), LogError> {
    let failed =
        |name: &str, error: &dyn std::fmt::Display| LogError(format!("{name} can't be read as Parquet: {error}"));
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| failed(&into.file, &error))?;
    let schema = builder.schema().clone();
    let names: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
    let numeric =
        schema.fields().iter().filter(|field| field.data_type().is_numeric()).map(|field| field.name().clone());
    if let Some(column) = columns.all().find(|column| !names.iter().any(|name| name == column)) {
        return Err(LogError(missing_column(&into.file, column, &names, &numeric.collect::<Vec<_>>())));
    }
    let wanted: Vec<usize> =
        names.iter().enumerate().filter(|(_, name)| columns.all().any(|c| c == *name)).map(|(at, _)| at).collect();
    let mask = ProjectionMask::roots(builder.parquet_schema(), wanted);
    let batches =
        builder.with_projection(mask).with_batch_size(BATCH).build().map_err(|error| failed(&into.file, &error))?;
    let mut row = 0;
    for batch in batches {
        let batch = batch.map_err(|error| failed(&into.file, &format!("{error} (behind row {row})")))?;
        take(&batch, columns, row, into)?;
        row += batch.num_rows() as u64;
    }
    Ok(())
}

/// Rows that are in memory at once: statements of a megabyte are statements.
const BATCH: usize = 256;

fn take(batch: &RecordBatch, columns: &Columns, before: u64, into: &mut Collector<'_>) -> Result<(), LogError> {
    let file = into.file.clone();
    let column = |name: &str, kind: DataType| -> Result<ArrayRef, LogError> {
        let Some(found) = batch.column_by_name(name) else {
            return Err(LogError(format!("{file} has no column {name:?} in a part of it")));
        };
        cast(found, &kind).map_err(|error| {
            LogError(format!(
                "{file}: column {name:?} is {}, which can't be read as {kind}: {error}",
                found.data_type()
            ))
        })
    };
    let texts = column(&columns.query, DataType::LargeUtf8)?;
    let texts = texts.as_string::<i64>();
    let times = match &columns.time {
        None => None,
        Some(name) => Some(times(batch, name, &column)?),
    };
    let numbers = |name: &String| column(name, DataType::Float64);
    let costs = |name: &String| {
        let kind = batch.column_by_name(name).map(|found| found.data_type().clone());
        match kind {
            // `1.23s`, which a cast to a number makes nothing.
            Some(kind) if is_text(&kind) => column(name, DataType::LargeUtf8).map(Costs::Texts),
            _ => numbers(name).map(Costs::Numbers),
        }
    };
    let costs: Vec<Costs> = columns.targets.iter().map(costs).collect::<Result<_, _>>()?;
    let weights = columns.weight.as_ref().map(numbers).transpose()?;
    let failures = columns.failed.as_ref().map(|name| column(name, DataType::LargeUtf8)).transpose()?;
    let plan =
        columns.plan.as_ref().map(|(cost, rows)| Ok::<_, LogError>((numbers(cost)?, numbers(rows)?))).transpose()?;
    let at = |array: &ArrayRef, row: usize| {
        let array = array.as_primitive::<Float64Type>();
        (!array.is_null(row)).then(|| array.value(row))
    };
    for row in 0..batch.num_rows() {
        let number = before + row as u64 + 1;
        if texts.is_null(row) {
            into.reject(number, Rejection::NoQuery, "");
            continue;
        }
        let query = texts.value(row).to_owned();
        let time_ms = times.as_ref().map(|times| times[row]);
        if time_ms == Some(None) {
            into.reject(number, Rejection::NoTime, &query);
            continue;
        }
        let failed = failures.as_ref().is_some_and(|array| {
            let array = array.as_string::<i64>();
            !array.is_null(row) && flag(array.value(row))
        });
        let told = |costs: &Costs| match costs {
            Costs::Numbers(array) => at(array, row).map_or(Ok(Cost::Unknown), |number| measured(number, failed)),
            Costs::Texts(array) => {
                let array = array.as_string::<i64>();
                if array.is_null(row) { Ok(Cost::Unknown) } else { cost(array.value(row), failed) }
            }
        };
        let told: Result<Vec<Cost>, Rejection> = costs.iter().map(told).collect();
        let plan = plan.as_ref().and_then(|(cost, rows)| at(cost, row).zip(at(rows, row)));
        let weight =
            weights.as_ref().and_then(|array| at(array, row)).filter(|weight| *weight > 0.0).unwrap_or(1.0) as f32;
        match told {
            Err(rejection) => into.reject(number, rejection, &query),
            Ok(costs) => into.accept(
                number,
                Statement {
                    truncated: is_cut(&query),
                    query,
                    time_ms: time_ms.flatten(),
                    costs,
                    weight,
                    plan: plan.map(|(cost, rows)| (cost as f32, rows as f32)),
                },
            ),
        }
    }
    Ok(())
}

/// The costs of a target.
enum Costs {
    Numbers(ArrayRef),
    /// With units, as in a table.
    Texts(ArrayRef),
}

fn is_text(kind: &DataType) -> bool {
    match kind {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, values) => is_text(values),
        _ => false,
    }
}

/// Times, from timestamps, dates, texts or counts since 1970.
fn times(
    batch: &RecordBatch,
    name: &str,
    column: &impl Fn(&str, DataType) -> Result<ArrayRef, LogError>,
) -> Result<Vec<Option<i64>>, LogError> {
    let kind = batch.column_by_name(name).map(|found| found.data_type().clone());
    Ok(match kind {
        Some(kind) if is_text(&kind) => {
            let array = column(name, DataType::LargeUtf8)?;
            array.as_string::<i64>().iter().map(|text| text.and_then(time_ms)).collect()
        }
        Some(kind) if kind.is_numeric() => {
            let array = column(name, DataType::Float64)?;
            array.as_primitive::<Float64Type>().iter().map(|number| number.and_then(epoch)).collect()
        }
        _ => {
            let array = column(name, DataType::Timestamp(TimeUnit::Millisecond, None))?;
            let array = cast(&array, &DataType::Int64).map_err(|error| LogError(error.to_string()))?;
            array.as_primitive::<Int64Type>().iter().collect()
        }
    })
}
