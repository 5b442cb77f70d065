//! A decoded column as values: numbers as `f64`, times as microseconds in UTC, the rest as texts.
//!
//! A batch of integers beyond 2^53, or of decimals with as many digits, is texts: no digit is lost before somebody
//! takes them for numbers. Nanoseconds are cut to microseconds. A time
//! without a zone is taken for UTC. Times of day are texts, as in `13:05:00.250`.

use std::borrow::Cow;
use std::fmt::Write as _;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Date64Type, Decimal32Type, Decimal64Type, Decimal128Type,
    Decimal256Type, DecimalType, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, Time32MillisecondType, Time32SecondType, Time64MicrosecondType,
    Time64NanosecondType, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, StringArray};
use arrow_schema::{DataType, TimeUnit};
use bytes::Bytes;

use crate::data::batch::{NULL, Nulls, Texts, Values};
use crate::data::cell::FIRST_ROUNDED;

/// What is wrong with a column, and in which row of it; the first where it is wrong as a whole.
#[derive(Debug)]
pub(super) struct Unfit {
    pub row: usize,
    pub what: String,
    pub hint: &'static str,
}

/// The values of an array that a Parquet file was decoded to. `uuid`: its bytes are shown as one.
///
/// # Errors
/// [`Unfit`] for bytes that are no text, a time out of range, and types that no flat column has.
pub(super) fn of(array: ArrayRef, uuid: bool) -> Result<Values, Unfit> {
    use TimeUnit::{Microsecond, Millisecond, Nanosecond, Second};
    Ok(match array.data_type() {
        DataType::Float64 => {
            let numbers = array.as_primitive::<Float64Type>().clone();
            // With the last owner of its buffer, the numbers need no copy.
            drop(array);
            let nulls = nulls(&numbers);
            let (_, numbers, _) = numbers.into_parts();
            Values::Numbers(numbers.into(), nulls)
        }
        DataType::Float32 => numbers::<Float32Type>(&array, f64::from),
        DataType::Float16 => numbers::<Float16Type>(&array, f64::from),
        DataType::Int8 => numbers::<Int8Type>(&array, f64::from),
        DataType::Int16 => numbers::<Int16Type>(&array, f64::from),
        DataType::Int32 => numbers::<Int32Type>(&array, f64::from),
        DataType::Int64 => wholes::<Int64Type>(&array, |x| x as f64),
        DataType::UInt8 => numbers::<UInt8Type>(&array, f64::from),
        DataType::UInt16 => numbers::<UInt16Type>(&array, f64::from),
        DataType::UInt32 => numbers::<UInt32Type>(&array, f64::from),
        DataType::UInt64 => wholes::<UInt64Type>(&array, |x| x as f64),
        DataType::Decimal32(_, scale) => {
            decimals::<Decimal32Type>(&array, *scale, |x| Some(x.into()))
        }
        DataType::Decimal64(_, scale) => {
            decimals::<Decimal64Type>(&array, *scale, |x| Some(x.into()))
        }
        DataType::Decimal128(_, scale) => decimals::<Decimal128Type>(&array, *scale, Some),
        DataType::Decimal256(_, scale) => {
            decimals::<Decimal256Type>(&array, *scale, |x| x.to_i128())
        }
        DataType::Boolean => {
            let booleans = array.as_boolean();
            Values::Booleans(booleans.values().iter().collect(), nulls(booleans))
        }
        DataType::Utf8 => texts(array.as_string::<i32>()),
        DataType::Dictionary(..) => dictionary(&array)?,
        DataType::Binary => {
            let cells = array.as_binary::<i32>();
            spelled(cells, |row, text| utf8(cells.value(row), row, text))?
        }
        DataType::FixedSizeBinary(_) => {
            let cells = array.as_fixed_size_binary();
            spelled(cells, |row, text| match uuid {
                true => {
                    spell_uuid(cells.value(row), text);
                    Ok(())
                }
                false => utf8(cells.value(row), row, text),
            })?
        }
        DataType::Date32 => times::<Date32Type>(&array, |x| i64::from(x).checked_mul(DAY))?,
        DataType::Date64 => times::<Date64Type>(&array, |x| x.checked_mul(1000))?,
        DataType::Timestamp(Second, _) => {
            times::<TimestampSecondType>(&array, |x| x.checked_mul(1_000_000))?
        }
        DataType::Timestamp(Millisecond, _) => {
            times::<TimestampMillisecondType>(&array, |x| x.checked_mul(1000))?
        }
        DataType::Timestamp(Microsecond, _) => times::<TimestampMicrosecondType>(&array, Some)?,
        DataType::Timestamp(Nanosecond, _) => {
            times::<TimestampNanosecondType>(&array, |x| Some(x.div_euclid(1000)))?
        }
        DataType::Time32(Second) => clocks::<Time32SecondType>(&array, 1, 0)?,
        DataType::Time32(_) => clocks::<Time32MillisecondType>(&array, 1000, 3)?,
        DataType::Time64(Nanosecond) => clocks::<Time64NanosecondType>(&array, 1_000_000_000, 9)?,
        DataType::Time64(_) => clocks::<Time64MicrosecondType>(&array, 1_000_000, 6)?,
        DataType::Null => Values::Texts(Texts {
            bytes: Bytes::new(),
            spans: vec![NULL; array.len()],
        }),
        other => {
            return Err(Unfit {
                row: 0,
                what: format!("the type {other} is not read"),
                hint: "leave the column out, or write it as a number or a text",
            });
        }
    })
}

/// Microseconds.
const DAY: i64 = 86_400_000_000;

fn nulls(array: &dyn Array) -> Nulls {
    let valid = array.nulls().filter(|nulls| nulls.null_count() > 0)?;
    Some(valid.iter().map(|valid| !valid).collect())
}

fn numbers<T: ArrowPrimitiveType>(array: &ArrayRef, number: impl Fn(T::Native) -> f64) -> Values {
    let array = array.as_primitive::<T>();
    let numbers = array.values().iter().map(|x| number(*x)).collect();
    Values::Numbers(numbers, nulls(array))
}

/// Integers, as texts where one of them may be no `f64`.
fn wholes<T: ArrowPrimitiveType>(array: &ArrayRef, number: impl Fn(T::Native) -> f64) -> Values
where
    T::Native: std::fmt::Display,
{
    let typed = array.as_primitive::<T>();
    let long = |x: &Option<T::Native>| x.is_some_and(|x| number(x).abs() >= FIRST_ROUNDED);
    if typed.iter().any(|x| long(&x)) {
        return written(typed.iter().map(|x| x.map(|x| x.to_string())));
    }
    numbers::<T>(array, number)
}

fn written(cells: impl Iterator<Item = Option<String>>) -> Values {
    let cells = cells.map(|cell| cell.map(Cow::Owned));
    // A batch is far from 4 GiB.
    Values::Texts(Texts::of(cells).unwrap_or_default())
}

/// `whole`: the digits as an integer, where they fit.
fn decimals<T: DecimalType>(
    array: &ArrayRef,
    scale: i8,
    whole: impl Fn(T::Native) -> Option<i128>,
) -> Values
where
    T::Native: std::fmt::Display,
{
    let typed = array.as_primitive::<T>();
    let long = |x: T::Native| whole(x).is_none_or(|x| x.unsigned_abs() as f64 >= FIRST_ROUNDED);
    if typed.iter().flatten().any(long) {
        let precision = T::MAX_PRECISION;
        let digits = |x| {
            let text = T::format_decimal(x, precision, scale);
            match text.contains('.') {
                true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
                false => text,
            }
        };
        return written(typed.iter().map(|x| x.map(digits)));
    }
    // Up to here both are exact, so that their quotient is the nearest number.
    let exact = 0..=22_i8;
    let divisor = 10_f64.powi(scale.into());
    numbers::<T>(array, |x| match whole(x) {
        Some(digits) if digits.unsigned_abs() < 1 << 53 && exact.contains(&scale) => {
            digits as f64 / divisor
        }
        // What is written here always reads as a number.
        _ => format!("{x}e{}", -i32::from(scale))
            .parse()
            .unwrap_or(f64::NAN),
    })
}

/// Microseconds since 1970, where they fit.
fn times<T: ArrowPrimitiveType>(
    array: &ArrayRef,
    micros: impl Fn(T::Native) -> Option<i64>,
) -> Result<Values, Unfit> {
    let array = array.as_primitive::<T>();
    let nulls = nulls(array);
    let mut times = Vec::with_capacity(array.len());
    for (row, value) in array.values().iter().enumerate() {
        match micros(*value) {
            Some(time) => times.push(time),
            None if array.is_null(row) => times.push(0),
            None => {
                return Err(Unfit {
                    row,
                    what: "the time is more than 290,000 years away".to_owned(),
                    hint: "correct it, or write the column as a number",
                });
            }
        }
    }
    Ok(Values::Times(times, nulls))
}

/// Times of day in `units` of a second, with so many digits behind the seconds where there are any.
fn clocks<T: ArrowPrimitiveType>(
    array: &ArrayRef,
    units: i64,
    digits: usize,
) -> Result<Values, Unfit>
where
    T::Native: Into<i64>,
{
    let array = array.as_primitive::<T>();
    spelled(array, |row, text| {
        let time: i64 = array.value(row).into();
        let (second, part) = (time.div_euclid(units), time.rem_euclid(units));
        if !(0..86_400).contains(&second) {
            return Err(Unfit {
                row,
                what: "the time of day is outside of 24 hours".to_owned(),
                hint: "correct it, or write the column as a number",
            });
        }
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        let mut clock = format!("{hour:02}:{minute:02}:{second:02}");
        if part > 0 {
            let _ = write!(clock, ".{part:0digits$}");
        }
        text.extend_from_slice(clock.as_bytes());
        Ok(())
    })
}

fn bytes_of(array: &StringArray) -> Bytes {
    struct Owner(StringArray);
    impl AsRef<[u8]> for Owner {
        fn as_ref(&self) -> &[u8] {
            self.0.value_data()
        }
    }
    Bytes::from_owner(Owner(array.clone()))
}

/// Each text's start and end in the array's bytes.
fn spans(array: &StringArray) -> Vec<(u32, u32)> {
    // Offsets of Arrow are never negative.
    let ends = array.value_offsets().windows(2);
    ends.map(|pair| match pair {
        [start, end] => (start.cast_unsigned(), end.cast_unsigned()),
        _ => NULL,
    })
    .collect()
}

fn texts(array: &StringArray) -> Values {
    let mut spans = spans(array);
    if let Some(valid) = array.nulls().filter(|nulls| nulls.null_count() > 0) {
        for (span, valid) in spans.iter_mut().zip(valid.iter()) {
            if !valid {
                *span = NULL;
            }
        }
    }
    Values::Texts(Texts {
        bytes: bytes_of(array),
        spans,
    })
}

/// Texts that all stand in the dictionary, once each.
fn dictionary(array: &ArrayRef) -> Result<Values, Unfit> {
    let unfit = || Unfit {
        row: 0,
        what: format!("the type {} is not read", array.data_type()),
        hint: "write the column as a text",
    };
    let array = array.as_dictionary_opt::<Int32Type>().ok_or_else(unfit)?;
    let entries = array.values().as_string_opt::<i32>().ok_or_else(unfit)?;
    let entry_spans = spans(entries);
    let keys = array.keys();
    let span = |key: i32| {
        let key = usize::try_from(key).ok();
        key.and_then(|key| entry_spans.get(key))
            .copied()
            .unwrap_or(NULL)
    };
    let spans = match keys.nulls().filter(|nulls| nulls.null_count() > 0) {
        None => keys.values().iter().map(|key| span(*key)).collect(),
        Some(_) => keys.iter().map(|key| key.map_or(NULL, span)).collect(),
    };
    Ok(Values::Texts(Texts {
        bytes: bytes_of(entries),
        spans,
    }))
}

/// Texts that `spell` writes for the rows that are not null.
fn spelled(
    array: &dyn Array,
    spell: impl Fn(usize, &mut Vec<u8>) -> Result<(), Unfit>,
) -> Result<Values, Unfit> {
    let mut bytes = Vec::new();
    let mut spans = Vec::with_capacity(array.len());
    for row in 0..array.len() {
        if array.is_null(row) {
            spans.push(NULL);
            continue;
        }
        let start = bytes.len();
        spell(row, &mut bytes)?;
        match (u32::try_from(start), u32::try_from(bytes.len())) {
            (Ok(start), Ok(end)) if end < u32::MAX => spans.push((start, end)),
            _ => {
                return Err(Unfit {
                    row,
                    what: "the texts of these rows have more than 4 GiB".to_owned(),
                    hint: "write the file with smaller row groups",
                });
            }
        }
    }
    Ok(Values::Texts(Texts {
        bytes: bytes.into(),
        spans,
    }))
}

fn utf8(cell: &[u8], row: usize, text: &mut Vec<u8>) -> Result<(), Unfit> {
    if std::str::from_utf8(cell).is_err() {
        return Err(Unfit {
            row,
            what: "the bytes are no UTF-8 text".to_owned(),
            hint: "leave the column out, or write it as a text",
        });
    }
    text.extend_from_slice(cell);
    Ok(())
}

fn spell_uuid(cell: &[u8], text: &mut Vec<u8>) {
    for (at, byte) in cell.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push(b'-');
        }
        text.extend_from_slice(format!("{byte:02x}").as_bytes());
    }
}
