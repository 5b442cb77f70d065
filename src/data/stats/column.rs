//! What is counted of a column while its table is read.
//!
//! Two halves: [`Counted`] depends on the cells alone, so every thread keeps its own; [`Ordered`]
//! depends on their order, so it is kept by lane, and a lane's batches come in order.

use crate::data::batch::{Nulls, Texts, Values, is_null};
use crate::data::cell::{self, Cell};
use crate::data::sketch::hash::{hash, mix};
use crate::data::sketch::quantiles::{key_of, key_of_time};
use crate::data::sketch::{DistinctSample, HeavyHitters, Moments, QuantileSketch};
use crate::workspace::table_profile::{EXACT_VALUES, ValueType};

/// How much is kept of a column; less of each where there are many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::data) struct Limits {
    /// Intervals of numbers or times.
    pub(in crate::data) intervals: usize,
    hashes: usize,
    /// Different texts.
    pub(in crate::data) texts: usize,
}

impl Limits {
    pub(in crate::data) fn of(columns: usize) -> Self {
        let scale = columns.div_ceil(64).next_power_of_two();
        Self {
            intervals: (EXACT_VALUES / scale).max(512),
            hashes: (16_384 / scale).max(1024),
            texts: (16_384 / scale).max(256),
        }
    }
}

/// What depends on the cells alone.
#[derive(Clone, Debug)]
pub(in crate::data) struct Counted {
    pub(in crate::data) count: u64,
    pub(in crate::data) null: u64,
    pub(in crate::data) empty: u64,
    pub(in crate::data) nan: u64,
    pub(in crate::data) distinct: DistinctSample,
    /// Of finite numbers and of times.
    pub(in crate::data) quantiles: QuantileSketch,
    pub(in crate::data) min: f64,
    pub(in crate::data) max: f64,
    pub(in crate::data) zeros: u64,
    pub(in crate::data) negatives: u64,
    pub(in crate::data) infinite: u64,
    pub(in crate::data) whole: bool,
    pub(in crate::data) first: i64,
    pub(in crate::data) last: i64,
    pub(in crate::data) dates: bool,
    pub(in crate::data) trues: u64,
    pub(in crate::data) lengths: u64,
    pub(in crate::data) shortest: u64,
    pub(in crate::data) longest: u64,
    pub(in crate::data) like_number: u64,
    pub(in crate::data) like_boolean: u64,
    pub(in crate::data) like_time: u64,
    pub(in crate::data) padded: u64,
}

/// What depends on the order of the cells.
#[derive(Clone, Debug)]
pub(in crate::data) struct Ordered {
    pub(in crate::data) moments: Moments,
    pub(in crate::data) frequent: HeavyHitters,
}

/// A cell that does not fit the type its column is taken for, by its row in the batch.
pub(super) struct Misfit {
    pub(super) row: usize,
}

/// What the columns of a batch work with, kept from batch to batch.
#[derive(Default)]
pub(super) struct Scratch {
    /// The hash of each row so far.
    pub(super) rows: Vec<u64>,
    /// Of the column at hand the finite numbers, the keys of what its quantiles count, and the hashes of its
    /// values. They are gathered first and counted in a loop of their own, which waits for memory far less.
    numbers: Vec<f64>,
    keys: Vec<u64>,
    hashes: Vec<u64>,
    shared: Shared,
    /// The rows that go into the sample, and what the column at hand has there.
    pub(super) picked: Vec<u32>,
    pub(super) values: Vec<u64>,
}

/// The different texts of a batch, each with the number of its cells.
#[derive(Default)]
struct Shared {
    texts: Vec<SharedText>,
    /// Their numbers plus 1, 0 in a free place: by where a text starts in its dictionary, or by its hash
    /// in a power of two of places.
    places: Vec<u32>,
}

struct SharedText {
    span: (u32, u32),
    hash: u64,
    count: u32,
}

/// The hash of a cell without a value.
const NULL: u64 = 0x6e75_6c6c;
const EMPTY: u64 = 0x656d_7074;
const NAN: u64 = 0x6e61_6e21;
/// How the sample writes a number that is missing: a NaN of its own.
pub(in crate::data) const MISSING: u64 = 0x7ff8_0000_6d69_7373;

impl Scratch {
    #[inline]
    fn row(&mut self, row: usize, hash: u64) {
        if let Some(before) = self.rows.get_mut(row) {
            *before = (before.rotate_left(23) ^ hash).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
    }
}

impl Counted {
    pub(in crate::data) fn new(limits: Limits) -> Self {
        Self {
            count: 0,
            null: 0,
            empty: 0,
            nan: 0,
            distinct: DistinctSample::new(limits.hashes),
            quantiles: QuantileSketch::new(limits.intervals),
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            zeros: 0,
            negatives: 0,
            infinite: 0,
            whole: true,
            first: i64::MAX,
            last: i64::MIN,
            dates: true,
            trues: 0,
            lengths: 0,
            shortest: u64::MAX,
            longest: 0,
            like_number: 0,
            like_boolean: 0,
            like_time: 0,
            padded: 0,
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.null += other.null;
        self.empty += other.empty;
        self.nan += other.nan;
        self.distinct.merge(&other.distinct);
        self.quantiles.merge(&other.quantiles);
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.zeros += other.zeros;
        self.negatives += other.negatives;
        self.infinite += other.infinite;
        self.whole &= other.whole;
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.dates &= other.dates;
        self.trues += other.trues;
        self.lengths += other.lengths;
        self.shortest = self.shortest.min(other.shortest);
        self.longest = self.longest.max(other.longest);
        self.like_number += other.like_number;
        self.like_boolean += other.like_boolean;
        self.like_time += other.like_time;
        self.padded += other.padded;
    }

    /// Counts the cells of a batch, taken for `kind`; `None` where no value was seen yet. Stops at a cell
    /// that does not fit.
    pub(super) fn take(
        &mut self,
        values: &Values,
        kind: Option<ValueType>,
        ordered: &mut Ordered,
        scratch: &mut Scratch,
    ) -> Option<Misfit> {
        scratch.values.clear();
        scratch.numbers.clear();
        scratch.keys.clear();
        scratch.hashes.clear();
        if let Values::Texts(texts) = values {
            fetch(texts);
        }
        let misfit = match (values, kind) {
            (Values::Texts(texts), Some(ValueType::Number)) => self.number_texts(texts, scratch),
            (Values::Texts(texts), Some(ValueType::Boolean)) => self.boolean_texts(texts, scratch),
            (Values::Texts(texts), Some(ValueType::Time)) => self.time_texts(texts, scratch),
            (Values::Texts(texts), Some(ValueType::Text)) => {
                self.texts(texts, ordered, scratch);
                None
            }
            (Values::Texts(texts), None) => self.no_texts(texts, scratch),
            (Values::Numbers(numbers, nulls), _) => {
                self.numbers(numbers, nulls, scratch);
                None
            }
            (Values::Booleans(booleans, nulls), _) => {
                for (row, value) in booleans.iter().enumerate() {
                    let hash = if is_null(nulls, row) {
                        self.no_value()
                    } else {
                        self.boolean(*value, scratch)
                    };
                    scratch.row(row, hash);
                }
                scratch.pick(|row| match is_null(nulls, row) {
                    true => MISSING,
                    false => u64::from(booleans.get(row) == Some(&true)),
                });
                None
            }
            (Values::Times(times, nulls), _) => {
                for (row, micros) in times.iter().enumerate() {
                    let date = micros.rem_euclid(86_400_000_000) == 0;
                    let time = cell::Time {
                        micros: *micros,
                        date,
                    };
                    let hash = if is_null(nulls, row) {
                        self.no_value()
                    } else {
                        self.time(time, scratch)
                    };
                    scratch.row(row, hash);
                }
                scratch.pick(|row| match (is_null(nulls, row), times.get(row)) {
                    (false, Some(micros)) => (*micros as f64).to_bits(),
                    _ => MISSING,
                });
                None
            }
        };
        (self.distinct).add_all(scratch.hashes.iter().map(|hash| (*hash, 1)));
        self.finite(&scratch.numbers, &mut scratch.keys);
        self.quantiles.add_all(&scratch.keys);
        ordered.moments.merge(&Moments::of(&scratch.numbers));
        misfit
    }

    #[inline]
    fn no_value(&mut self) -> u64 {
        self.null += 1;
        NULL
    }

    /// Counts a cell without a value; its hash.
    #[inline]
    fn missing<T>(&mut self, cell: &Cell<T>) -> u64 {
        match cell {
            Cell::Empty => {
                self.empty += 1;
                EMPTY
            }
            Cell::NaN => {
                self.nan += 1;
                NAN
            }
            _ => self.no_value(),
        }
    }

    /// Counts a number; its hash is told by the caller.
    #[inline]
    fn number(&mut self, x: f64, hash: u64, scratch: &mut Scratch) -> u64 {
        self.count += 1;
        scratch.hashes.push(hash);
        if x.is_finite() {
            scratch.numbers.push(x);
        } else {
            self.infinite += 1;
        }
        hash
    }

    /// Counts the finite numbers of a batch, and gives their keys.
    fn finite(&mut self, numbers: &[f64], keys: &mut Vec<u64>) {
        for x in numbers {
            // Nearly always false, which the processor learns.
            if *x < self.min {
                self.min = *x;
            }
            if *x > self.max {
                self.max = *x;
            }
        }
        self.zeros += numbers.iter().filter(|x| **x == 0.0).count() as u64;
        self.negatives += numbers.iter().filter(|x| **x < 0.0).count() as u64;
        self.whole = self.whole && numbers.iter().all(|x| is_whole(*x));
        keys.extend(numbers.iter().map(|x| key_of(*x)));
    }

    fn number_texts(&mut self, texts: &Texts, scratch: &mut Scratch) -> Option<Misfit> {
        let mut misfit = None;
        for (row, span) in texts.spans.iter().enumerate() {
            // Nearly all numbers are plain.
            let hash = match cell::plain_number(&texts.bytes, *span) {
                Some(x) => self.number(x, mix(key_of(x)), scratch),
                None => match texts.get(row) {
                    None => self.no_value(),
                    Some(text) => match cell::number(text) {
                        Cell::Value(x) if !cell::is_padded(text) => {
                            self.number(x, number_hash(x, text), scratch)
                        }
                        Cell::Value(_) | Cell::Misfit => {
                            misfit = Some(Misfit { row });
                            break;
                        }
                        missing => self.missing(&missing),
                    },
                },
            };
            scratch.row(row, hash);
        }
        scratch.pick(|row| match texts.get(row).map(cell::number) {
            Some(Cell::Value(x)) => x.to_bits(),
            _ => MISSING,
        });
        misfit
    }

    fn numbers(&mut self, numbers: &[f64], nulls: &Nulls, scratch: &mut Scratch) {
        for (row, x) in numbers.iter().enumerate() {
            let hash = if is_null(nulls, row) {
                self.no_value()
            } else if x.is_nan() {
                self.missing(&Cell::<f64>::NaN)
            } else {
                self.number(*x, mix(key_of(*x)), scratch)
            };
            scratch.row(row, hash);
        }
        scratch.pick(|row| match (is_null(nulls, row), numbers.get(row)) {
            (false, Some(x)) if !x.is_nan() => x.to_bits(),
            _ => MISSING,
        });
    }

    fn boolean(&mut self, value: bool, scratch: &mut Scratch) -> u64 {
        self.count += 1;
        self.trues += u64::from(value);
        let hash = mix(u64::from(value));
        scratch.hashes.push(hash);
        hash
    }

    fn boolean_texts(&mut self, texts: &Texts, scratch: &mut Scratch) -> Option<Misfit> {
        for row in 0..texts.len() {
            let hash = match texts.get(row).map(cell::boolean) {
                None => self.no_value(),
                Some(Cell::Value(value)) => self.boolean(value, scratch),
                Some(Cell::Misfit) => return Some(Misfit { row }),
                Some(missing) => self.missing(&missing),
            };
            scratch.row(row, hash);
        }
        scratch.pick(|row| match texts.get(row).map(cell::boolean) {
            Some(Cell::Value(value)) => u64::from(value),
            _ => MISSING,
        });
        None
    }

    #[inline]
    fn time(&mut self, time: cell::Time, scratch: &mut Scratch) -> u64 {
        self.count += 1;
        self.first = self.first.min(time.micros);
        self.last = self.last.max(time.micros);
        self.dates &= time.date;
        let key = key_of_time(time.micros);
        scratch.keys.push(key);
        let hash = mix(key);
        scratch.hashes.push(hash);
        hash
    }

    fn time_texts(&mut self, texts: &Texts, scratch: &mut Scratch) -> Option<Misfit> {
        for row in 0..texts.len() {
            let hash = match texts.get(row).map(cell::time) {
                None => self.no_value(),
                Some(Cell::Value(time)) => self.time(time, scratch),
                Some(Cell::Misfit) => return Some(Misfit { row }),
                Some(missing) => self.missing(&missing),
            };
            scratch.row(row, hash);
        }
        scratch.pick(|row| match texts.get(row).map(cell::time) {
            Some(Cell::Value(time)) => (time.micros as f64).to_bits(),
            _ => MISSING,
        });
        None
    }

    fn texts(&mut self, texts: &Texts, ordered: &mut Ordered, scratch: &mut Scratch) {
        if is_dictionary(texts) {
            let hash = |shared: &mut Shared, span, text: &[u8]| shared.by_start(span, text);
            self.shared_texts(texts, texts.bytes.len(), hash, ordered, scratch);
        } else if ordered.frequent.error() == 0 {
            // Few different texts so far: most of these come again in the batch too.
            let places = (texts.len() * 2).next_power_of_two();
            let hash = |shared: &mut Shared, span, text: &[u8]| shared.by_hash(span, text);
            self.shared_texts(texts, places, hash, ordered, scratch);
        } else {
            for row in 0..texts.len() {
                let hash = match texts.get(row) {
                    None => self.no_value(),
                    Some(b"") => self.missing(&Cell::<()>::Empty),
                    Some(text) => {
                        let hash = hash(text);
                        self.text(text, 1);
                        scratch.hashes.push(hash);
                        hash
                    }
                };
                scratch.row(row, hash);
            }
            ordered.frequent.add_all(counted(&scratch.hashes, texts));
        }
        scratch.pick(|row| match texts.get(row) {
            None | Some(b"") => MISSING,
            Some(text) => hash(text),
        });
    }

    /// Texts of which many come again: each is looked at once, and counted as often as there are cells with
    /// it. `count` notes a cell, and gives the hash of its text.
    #[inline(always)]
    fn shared_texts(
        &mut self,
        texts: &Texts,
        places: usize,
        count: impl Fn(&mut Shared, (u32, u32), &[u8]) -> u64,
        ordered: &mut Ordered,
        scratch: &mut Scratch,
    ) {
        let mut shared = std::mem::take(&mut scratch.shared);
        shared.places.clear();
        shared.places.resize(places, 0);
        shared.texts.clear();
        for (row, span) in texts.spans.iter().enumerate() {
            let hash = match texts.get(row) {
                None => self.no_value(),
                Some(b"") => self.missing(&Cell::<()>::Empty),
                Some(text) => {
                    let hash = count(&mut shared, *span, text);
                    scratch.hashes.push(hash);
                    hash
                }
            };
            scratch.row(row, hash);
        }
        let text = |(start, end): (u32, u32)| {
            let text = texts.bytes.get(start as usize..end as usize);
            text.unwrap_or_default()
        };
        for known in &shared.texts {
            self.text(text(known.span), known.count.into());
        }
        (self.distinct).add_all(shared.texts.iter().map(|t| (t.hash, t.count)));
        if ordered.frequent.has_room(shared.texts.len()) {
            let all = shared.texts.iter();
            let all = all.map(|t| (t.hash, text(t.span), t.count.into()));
            ordered.frequent.add_all(all);
        } else {
            ordered.frequent.add_all(counted(&scratch.hashes, texts));
        }
        // They are counted.
        scratch.hashes.clear();
        scratch.shared = shared;
    }

    /// Counts what a text looks like, for so many cells.
    #[inline]
    fn text(&mut self, text: &[u8], cells: u64) {
        self.count += cells;
        let length = characters(text) as u64;
        self.lengths += length * cells;
        self.shortest = self.shortest.min(length);
        self.longest = self.longest.max(length);
        let bare = cell::trim(text);
        if matches!(text, [b' ' | b'\t', ..] | [.., b' ' | b'\t']) {
            self.padded += cells;
        }
        match bare.first() {
            Some(b'0'..=b'9' | b'.' | b'-' | b'+' | b'i' | b'I') => {
                if matches!(cell::number(bare), Cell::Value(_)) {
                    self.like_number += cells;
                } else if matches!(cell::time(bare), Cell::Value(_)) {
                    self.like_time += cells;
                }
            }
            Some(b't' | b'T' | b'f' | b'F') if matches!(cell::boolean(bare), Cell::Value(_)) => {
                self.like_boolean += cells;
            }
            _ => {}
        }
    }

    /// A column without a value so far: the first one tells its type.
    fn no_texts(&mut self, texts: &Texts, scratch: &mut Scratch) -> Option<Misfit> {
        for row in 0..texts.len() {
            let hash = match texts.get(row).map(cell::number) {
                None => self.no_value(),
                Some(Cell::Value(_) | Cell::Misfit) => return Some(Misfit { row }),
                Some(missing) => self.missing(&missing),
            };
            scratch.row(row, hash);
        }
        scratch.pick(|_| MISSING);
        None
    }
}

impl Ordered {
    pub(in crate::data) fn new(limits: Limits) -> Self {
        Self {
            moments: Moments::default(),
            frequent: HeavyHitters::new(limits.texts),
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.moments.merge(&other.moments);
        self.frequent.merge(&other.frequent);
    }
}

impl Scratch {
    /// Notes what the column has in the rows of the sample.
    fn pick(&mut self, value: impl Fn(usize) -> u64) {
        let Self { picked, values, .. } = self;
        values.extend(picked.iter().map(|row| value(*row as usize)));
    }
}

impl Shared {
    /// Counts a text of a dictionary, which tells by its place which one it is; its hash.
    #[inline(always)]
    fn by_start(&mut self, span: (u32, u32), text: &[u8]) -> u64 {
        let at = span.0 as usize;
        let number = self.places.get(at).copied().unwrap_or(0);
        if let Some(known) = self.texts.get_mut((number as usize).wrapping_sub(1))
            && known.span == span
        {
            known.count += 1;
            return known.hash;
        }
        let hash = hash(text);
        self.new_text(at, span, hash);
        hash
    }

    /// Counts any text; its hash.
    #[inline(always)]
    fn by_hash(&mut self, span: (u32, u32), text: &[u8]) -> u64 {
        let hash = hash(text);
        let mask = self.places.len() - 1;
        let mut at = hash as usize & mask;
        while let Some(number) = self.places.get(at)
            && let Some(known) = self.texts.get_mut((*number as usize).wrapping_sub(1))
        {
            if known.hash == hash {
                known.count += 1;
                return hash;
            }
            at = (at + 1) & mask;
        }
        self.new_text(at, span, hash);
        hash
    }

    #[inline]
    fn new_text(&mut self, at: usize, span: (u32, u32), hash: u64) {
        let count = 1;
        self.texts.push(SharedText { span, hash, count });
        if let Some(place) = self.places.get_mut(at) {
            *place = self.texts.len() as u32;
        }
    }
}

/// Whether texts stand in a dictionary: together they are longer than what holds them.
fn is_dictionary(texts: &Texts) -> bool {
    let lengths = texts
        .spans
        .iter()
        .map(|(start, end)| u64::from(end - start));
    lengths.sum::<u64>() > texts.bytes.len() as u64
}

/// The texts that are values, one a cell, with their hashes.
fn counted<'a>(hashes: &'a [u64], texts: &'a Texts) -> impl Iterator<Item = (u64, &'a [u8], u64)> {
    let values = (0..texts.len()).filter_map(|row| texts.get(row));
    let values = values.filter(|text| !text.is_empty());
    hashes
        .iter()
        .zip(values)
        .map(|(hash, text)| (*hash, text, 1))
}

/// The characters of a text: its bytes without those that go on with one, counted eight at a time.
#[inline]
fn characters(text: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 0xff;
    // The first bit of such a byte is set, the second is not.
    let continuing =
        |eight: u64| ((eight >> 7 & !(eight >> 6) & ONES).wrapping_mul(ONES) >> 56) as usize;
    let (whole, rest) = text.as_chunks::<8>();
    let whole: usize = whole
        .iter()
        .map(|eight| continuing(u64::from_le_bytes(*eight)))
        .sum();
    let rest = match text.last_chunk::<8>() {
        // What was counted already is pushed out; in two steps, because all of it may be.
        Some(last) => continuing(u64::from_le_bytes(*last) >> 8 >> (8 * (7 - rest.len()))),
        None => rest.iter().filter(|b| **b & 0xc0 == 0x80).count(),
    };
    text.len() - whole - rest
}

/// Asks for the texts of a column, which stand far from each other in a block of CSV: reads that do not
/// wait for each other, so that the column finds them at hand.
fn fetch(texts: &Texts) {
    let bytes: &[u8] = &texts.bytes;
    let starts = texts
        .spans
        .iter()
        .filter_map(|span| bytes.get(span.0 as usize));
    std::hint::black_box(starts.fold(0, |read, byte| read | byte));
}

/// Whether a finite number has no fraction. Without `trunc`, which is a call on processors of no known kind.
#[inline]
fn is_whole(x: f64) -> bool {
    // Doubles as large as this have no bits for a fraction.
    x.abs() >= 4_503_599_627_370_496.0 || x as i64 as f64 == x
}

/// Numbers that a double does not tell apart are told apart by their digits.
#[inline]
fn number_hash(x: f64, text: &[u8]) -> u64 {
    match cell::long_digits(x, text) {
        None => mix(key_of(x)),
        Some(digits) => hash(digits),
    }
}

/// The type that every cell fits; `None` where none holds a value.
pub(super) fn guess<'a>(cells: impl Iterator<Item = Option<&'a [u8]>>) -> Option<ValueType> {
    let (mut numbers, mut booleans, mut times, mut some) = (true, true, true, false);
    for text in cells.flatten() {
        let number = cell::number(text);
        if matches!(number, Cell::Null | Cell::Empty | Cell::NaN) {
            continue;
        }
        some = true;
        numbers = numbers && matches!(number, Cell::Value(_)) && !cell::is_padded(text);
        booleans = booleans && matches!(cell::boolean(text), Cell::Value(_));
        times = times && matches!(cell::time(text), Cell::Value(_));
        if !numbers && !booleans && !times {
            return Some(ValueType::Text);
        }
    }
    match (some, numbers, booleans) {
        (false, ..) => None,
        (_, true, _) => Some(ValueType::Number),
        (_, _, true) => Some(ValueType::Boolean),
        _ => Some(ValueType::Time),
    }
}
