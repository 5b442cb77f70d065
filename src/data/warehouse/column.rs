//! The columns of a warehouse's table, and SQL for what their cells mean: the same as [`crate::data::cell`] makes of
//! a file's.

use super::identifier;
use crate::data::table::Kind;
use crate::workspace::records::ColumnType;
use crate::workspace::table_profile::ValueType;

/// A type of GoogleSQL whose values a profile counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SqlType {
    String,
    Int64,
    Float64,
    Numeric,
    BigNumeric,
    Bool,
    Date,
    DateTime,
    Timestamp,
    Time,
    Bytes,
    Json,
}

impl SqlType {
    /// By its name in a schema of BigQuery, old or new; `None` for what serin does not count.
    pub(crate) fn of(name: &str) -> Option<Self> {
        Some(match name {
            "STRING" => Self::String,
            "INT64" | "INTEGER" => Self::Int64,
            "FLOAT64" | "FLOAT" => Self::Float64,
            "NUMERIC" => Self::Numeric,
            "BIGNUMERIC" => Self::BigNumeric,
            "BOOL" | "BOOLEAN" => Self::Bool,
            "DATE" => Self::Date,
            "DATETIME" => Self::DateTime,
            "TIMESTAMP" => Self::Timestamp,
            "TIME" => Self::Time,
            "BYTES" => Self::Bytes,
            "JSON" => Self::Json,
            _ => return None,
        })
    }

    /// What all of its values are; `None` where they are texts, which may all read as something else.
    pub(crate) fn value_type(self) -> Option<ValueType> {
        match self {
            Self::Int64 | Self::Float64 | Self::Numeric | Self::BigNumeric => {
                Some(ValueType::Number)
            }
            Self::Bool => Some(ValueType::Boolean),
            Self::Date | Self::DateTime | Self::Timestamp => Some(ValueType::Time),
            Self::Time | Self::Bytes | Self::Json => Some(ValueType::Text),
            Self::String => None,
        }
    }
}

/// A column, or a field of a STRUCT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WarehouseColumn {
    /// As records and the snapshot call it: of a field the names of its path with `_` between them.
    pub name: String,
    /// Its path, each name in back-quotes.
    pub sql: String,
    pub sql_type: SqlType,
}

impl WarehouseColumn {
    /// A column of a table, or of a query.
    pub(crate) fn new(name: &str, sql_type: SqlType) -> Self {
        Self {
            name: name.to_owned(),
            sql: identifier(name),
            sql_type,
        }
    }

    /// The column with what its cells are taken for.
    pub(crate) fn taken_for(&self, kind: Kind) -> TypedColumn<'_> {
        TypedColumn { column: self, kind }
    }

    /// A STRING of the cell as a CSV file has it, before anything is made of it; NULL where it is NULL or NaN.
    ///
    /// A number is the shortest one that reads as the same double, a time is RFC 3339 in UTC, and a date alone
    /// where `dates` says that all times are. Bytes are hexadecimal.
    pub(crate) fn text(&self, dates: bool) -> String {
        let sql = &self.sql;
        match self.sql_type {
            SqlType::String => sql.clone(),
            SqlType::Int64 => format!("CAST({sql} AS STRING)"),
            SqlType::Float64 => number_text(sql),
            // All digits: ids of more than a double holds may be kept as texts.
            SqlType::Numeric | SqlType::BigNumeric => format!(
                r"REGEXP_REPLACE(CAST({sql} AS STRING), r'\.0*$|(\.[0-9]*[1-9])0+$', r'\1')"
            ),
            SqlType::Bool => format!("IF({sql}, 'true', IF(NOT {sql}, 'false', NULL))"),
            SqlType::Date => format!("CAST({sql} AS STRING)"),
            SqlType::DateTime | SqlType::Timestamp if dates => {
                format!("CAST(DATE({sql}) AS STRING)")
            }
            SqlType::DateTime => time_text(sql),
            SqlType::Timestamp => time_text(&format!("DATETIME({sql}, 'UTC')")),
            SqlType::Time => {
                let text = format!("FORMAT_TIME('%H:%M:%E6S', {sql})");
                format!("REGEXP_REPLACE({text}, r'\\.?0+$', '')")
            }
            SqlType::Bytes => format!("TO_HEX({sql})"),
            SqlType::Json => format!("TO_JSON_STRING({sql})"),
        }
    }

    /// A FLOAT64 of a column of numbers.
    fn number(&self) -> String {
        match self.sql_type {
            SqlType::Float64 => self.sql.clone(),
            _ => format!("CAST({} AS FLOAT64)", self.sql),
        }
    }

    /// A TIMESTAMP of a column of times.
    fn timestamp(&self) -> String {
        match self.sql_type {
            SqlType::Timestamp => self.sql.clone(),
            _ => format!("TIMESTAMP({})", self.sql),
        }
    }
}

/// A column whose cells are taken for a type, as [`Kind`] says: that of the column, or one that its texts read as.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TypedColumn<'a> {
    pub column: &'a WarehouseColumn,
    pub kind: Kind,
}

impl TypedColumn<'_> {
    /// What the cells are; texts where no cell holds a value.
    pub(crate) fn value_type(self) -> ValueType {
        self.kind.values.unwrap_or(ValueType::Text)
    }

    /// Whether the column has numbers, booleans or times, not texts.
    pub(crate) fn is_typed(self) -> bool {
        !self.holds_texts()
    }

    /// Whether the column holds texts.
    fn holds_texts(self) -> bool {
        self.column.sql_type.value_type().unwrap_or(ValueType::Text) == ValueType::Text
    }

    /// Whether the cells are texts that are read as something else.
    fn reads_texts(self) -> bool {
        self.holds_texts() && self.value_type() != ValueType::Text
    }

    /// Whether the schema says one type and the column has another, so that no cell fits.
    fn fits_nothing(self) -> bool {
        let own = self.column.sql_type.value_type();
        !self.holds_texts()
            && self.value_type() != ValueType::Text
            && own != Some(self.value_type())
    }

    /// A STRING of the cell as a CSV file has it; NULL where it is NULL or NaN.
    pub(crate) fn text(self) -> String {
        self.column.text(self.kind.dates)
    }

    /// The value: a FLOAT64 that is no NaN, a BOOL, a TIMESTAMP or a STRING that is not empty; NULL where the cell
    /// has no value, or one that does not fit.
    pub(crate) fn value(self) -> String {
        let column = self.column;
        match self.value_type() {
            ValueType::Text => format!("NULLIF({}, '')", self.text()),
            ValueType::Number if self.fits_nothing() => "CAST(NULL AS FLOAT64)".to_owned(),
            ValueType::Boolean if self.fits_nothing() => "CAST(NULL AS BOOL)".to_owned(),
            ValueType::Time if self.fits_nothing() => "CAST(NULL AS TIMESTAMP)".to_owned(),
            ValueType::Number if self.reads_texts() => {
                number_of_text(&self.text(), self.kind.declared)
            }
            ValueType::Number if column.sql_type == SqlType::Float64 => {
                format!("IF(IS_NAN({sql}), NULL, {sql})", sql = column.sql)
            }
            ValueType::Number => column.number(),
            ValueType::Boolean if self.reads_texts() => boolean_of_text(&self.text()),
            ValueType::Boolean => column.sql.clone(),
            ValueType::Time if self.reads_texts() => time_of_text(&self.text()),
            ValueType::Time => column.timestamp(),
        }
    }

    /// The cell as the snapshot has it: a FLOAT64, a BOOL, or a STRING, of a time its text. NULL where it is missing
    /// or does not fit.
    pub(crate) fn kept(self) -> String {
        match self.value_type() {
            ValueType::Number | ValueType::Boolean => self.value(),
            ValueType::Text | ValueType::Time => format!("NULLIF({}, '')", self.text()),
        }
    }

    /// Whether the cell is empty: never NULL.
    pub(crate) fn is_empty(self) -> String {
        match (self.holds_texts(), self.reads_texts()) {
            (_, true) => format!("IFNULL({} = '', FALSE)", trimmed(&self.text())),
            (true, false) => format!("IFNULL({} = '', FALSE)", self.text()),
            (false, false) => "FALSE".to_owned(),
        }
    }

    /// Whether the cell is NaN: never NULL.
    pub(crate) fn is_nan(self) -> String {
        match self.column.sql_type {
            SqlType::Float64 if self.value_type() != ValueType::Text => {
                format!("IFNULL(IS_NAN({}), FALSE)", self.column.sql)
            }
            _ if self.reads_texts() => {
                format!("IFNULL({} IN ({NANS}), FALSE)", trimmed(&self.text()))
            }
            _ => "FALSE".to_owned(),
        }
    }

    /// Whether the cell is NULL, or a word for it where no text belongs: never NULL itself.
    pub(crate) fn is_null(self) -> String {
        let sql = &self.column.sql;
        match self.column.sql_type {
            SqlType::Float64 if self.value_type() == ValueType::Text => {
                format!("({sql} IS NULL OR IFNULL(IS_NAN({sql}), FALSE))")
            }
            _ if self.reads_texts() => {
                let text = trimmed(&self.text());
                format!("({sql} IS NULL OR {text} IN ({NULLS}))")
            }
            _ => format!("({sql} IS NULL)"),
        }
    }

    /// Whether the cell has no value as a schema, a join and a label see it, which is
    /// [`crate::data::types::is_missing`]: never NULL.
    pub(crate) fn is_missing(self) -> String {
        match self.kind.column_type() {
            ColumnType::Category if self.holds_texts() => {
                format!("(IFNULL({}, '') = '')", self.text())
            }
            ColumnType::Category => self.is_null(),
            ColumnType::Number | ColumnType::Boolean => {
                let missing = [self.is_null(), self.is_empty(), self.is_nan()];
                format!("({})", missing.join(" OR "))
            }
        }
    }

    /// The cell's text as a key; NULL where it is missing, so that it matches nothing.
    pub(crate) fn key(self) -> String {
        format!("IF({}, NULL, {})", self.is_missing(), self.text())
    }

    /// Whether the cell holds something that does not fit the type: never NULL.
    pub(crate) fn is_misfit(self) -> String {
        if !self.reads_texts() && !self.fits_nothing() {
            return "FALSE".to_owned();
        }
        let missing = [self.is_null(), self.is_empty(), self.is_nan()].join(" OR ");
        format!("(NOT ({missing}) AND {} IS NULL)", self.value())
    }
}

/// Words for no value where no text belongs, and spellings of NaN.
pub(super) const NULLS: &str = "'NA', 'N/A', 'null', 'NULL', 'None'";
pub(super) const NANS: &str = "'NaN', 'nan', '-NaN', '-nan'";

/// A text without the spaces around it.
pub(super) fn trimmed(text: &str) -> String {
    format!("TRIM({text}, ' \\t\\n\\r\\f')")
}

/// A FLOAT64 of a text that reads as a number, else NULL; `inf` where it has digits beyond what a double holds. With
/// zeros in front it is a name, unless the schema says `declared`.
pub(super) fn number_of_text(text: &str, declared: bool) -> String {
    let text = trimmed(text);
    let number = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$|^[+-]?(?i:inf|infinity)$";
    let padded = match declared {
        true => String::new(),
        false => format!(" AND NOT REGEXP_CONTAINS({text}, r'^[+-]?0[0-9]')"),
    };
    let beyond =
        format!("IF(STARTS_WITH({text}, '-'), CAST('-inf' AS FLOAT64), CAST('inf' AS FLOAT64))");
    format!(
        "IF(REGEXP_CONTAINS({text}, r'{number}'){padded}, IFNULL(SAFE_CAST({text} AS FLOAT64), {beyond}), NULL)"
    )
}

/// A BOOL of a text that reads as one, else NULL.
pub(super) fn boolean_of_text(text: &str) -> String {
    let text = trimmed(text);
    format!(
        "CASE WHEN {text} IN ('true', 'True', 'TRUE') THEN TRUE WHEN {text} IN ('false', 'False', 'FALSE') THEN FALSE END"
    )
}

/// A TIMESTAMP of a text that reads as a date or a time, else NULL.
pub(super) fn time_of_text(text: &str) -> String {
    let text = trimmed(text);
    let form = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}([Tt ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,9})?)?([Zz]|[+-][0-9]{2}:?[0-9]{2})?)?$";
    // BigQuery wants seconds, at most six digits behind them, and a colon in the offset.
    let seconds = format!(
        r"REGEXP_REPLACE({text}, r'^(.{{10}}[Tt ][0-9]{{2}}:[0-9]{{2}})($|[Zz+-])', r'\1:00\2')"
    );
    let micros = format!(r"REGEXP_REPLACE({seconds}, r'(\.[0-9]{{6}})[0-9]+', r'\1')");
    let offset = format!(
        r"REGEXP_REPLACE({micros}, r'(:[0-9]{{2}}[.0-9]*[+-][0-9]{{2}})([0-9]{{2}})$', r'\1:\2')"
    );
    format!("IF(REGEXP_CONTAINS({text}, r'{form}'), SAFE_CAST(UPPER({offset}) AS TIMESTAMP), NULL)")
}

/// The shortest text of a FLOAT64, as [`crate::data::cell_text::number`] writes it; NULL for NaN, and without the sign
/// of a zero.
fn number_text(number: &str) -> String {
    // Of 15 digits any is told apart, with 17 every double is; a cast writes 17 where 16 would do.
    let digits = |n: u32| format!("FORMAT('%.{n}g', {number})");
    let reads = |n: u32| format!("SAFE_CAST({} AS FLOAT64) = {number}", digits(n));
    let text = format!(
        "IF({}, {}, IF({}, {}, {}))",
        reads(15),
        digits(15),
        reads(16),
        digits(16),
        digits(17)
    );
    // 1e+16 and 1e-07 are 1e16 and 1e-7, 1e-05 is 0.00001, and 17 digits are 1.2345678901234567e16.
    let exponent = format!(r"REGEXP_REPLACE({text}, r'e\+?(-?)0*([0-9])', r'e\1\2')");
    let small =
        format!(r"REGEXP_REPLACE({exponent}, r'^(-?)([0-9])\.?([0-9]*)e-5$', r'\10.0000\2\3')");
    let large = format!(r"REGEXP_REPLACE({small}, r'^(-?[0-9])([0-9]{{16}})$', r'\1.\2e16')");
    format!(
        "CASE WHEN IS_NAN({number}) THEN NULL \
         WHEN {number} = TRUNC({number}) AND ABS({number}) < 1e16 THEN CAST(CAST({number} AS INT64) AS STRING) \
         ELSE {large} END"
    )
}

/// The text of a DATETIME in RFC 3339, without zeros at the end of its fraction.
fn time_text(time: &str) -> String {
    // Of `%Y` a year before 1000 would have fewer than four digits.
    let date = format!("CAST(DATE({time}) AS STRING)");
    let clock = format!("FORMAT_DATETIME('%H:%M:%E6S', {time})");
    format!(r"CONCAT({date}, 'T', REGEXP_REPLACE({clock}, r'\.?0+$', ''), 'Z')")
}

#[cfg(test)]
mod tests;
