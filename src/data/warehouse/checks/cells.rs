//! Which cells a check finds, as conditions of SQL. Each says what the check of its code says of a file's cells.

use anyhow::Result;

use crate::data::schema::ColumnRule;
use crate::data::table::Kind;
use crate::data::types;
use crate::data::warehouse::column::{NANS, NULLS, SqlType, TypedColumn, trimmed};
use crate::data::warehouse::{literal, pattern};
use crate::error::Input;
use crate::workspace::records::ColumnType;
use crate::workspace::table_profile::ValueType;

/// The cells of a column, with what the schema says of them.
pub(super) struct Cell<'a> {
    pub column: TypedColumn<'a>,
    pub rule: Option<&'a ColumnRule>,
}

impl Cell<'_> {
    /// Whether a cell has no value, as the column's rule sees it: never NULL.
    pub(super) fn is_missing(&self) -> String {
        let missing = self.column.is_missing();
        if !self.rule.is_some_and(|rule| rule.time) || self.column.is_typed() {
            return missing;
        }
        let text = trimmed(&self.column.text());
        format!("({missing} OR {text} IN ('', {NULLS}, {NANS}))")
    }

    /// Which cells a check finds, as a condition that is never NULL; none where it finds no cell, or looks at no cells
    /// of columns.
    ///
    /// # Errors
    /// [`Input`] for an expression that BigQuery cannot match.
    pub(super) fn found_by(&self, code: &str) -> Result<Option<String>> {
        Ok(match code {
            "schema.type" => self.misfits(),
            "schema.rounded" => self.rounded(),
            "schema.required" => {
                let required = self.rule.is_some_and(|rule| rule.required);
                required.then(|| self.is_missing())
            }
            "schema.domain" => self.outside_of_domain(),
            "schema.range" => self.out_of_range(),
            "schema.length" => self.of_wrong_length(),
            "schema.pattern" => self.unmatched()?,
            _ => None,
        })
    }

    /// The cells that have a value for which a condition holds.
    fn values(&self, condition: &str) -> String {
        format!("(NOT {} AND IFNULL({condition}, FALSE))", self.is_missing())
    }

    /// The cells as times, where they read as such: a TIMESTAMP.
    fn time(&self) -> String {
        let time = Kind {
            values: Some(ValueType::Time),
            ..self.column.kind
        };
        self.column.column.taken_for(time).value()
    }

    fn misfits(&self) -> Option<String> {
        if self.rule.is_some_and(|rule| rule.time) {
            return Some(self.values(&format!("{} IS NULL", self.time())));
        }
        let kind = self.column.kind;
        let fits = !kind.declared || kind.column_type() == ColumnType::Category;
        let misfits = self.column.is_misfit();
        (!fits && misfits != "FALSE").then_some(misfits)
    }

    fn rounded(&self) -> Option<String> {
        if self.column.kind.column_type() != ColumnType::Number {
            return None;
        }
        let text = match self.column.column.sql_type {
            SqlType::Float64 | SqlType::Bool => return None,
            SqlType::Int64 | SqlType::Numeric | SqlType::BigNumeric => self.column.text(),
            _ => trimmed(&self.column.text()),
        };
        let number = self.column.value();
        // Digits without the zeros around them.
        let digits = format!(
            "CHAR_LENGTH(REGEXP_REPLACE(REGEXP_REPLACE({text}, r'[eE].*$|[^0-9]', ''), r'^0+|0+$', ''))"
        );
        let exact = format!("SAFE_CAST({text} AS BIGNUMERIC) = SAFE_CAST({number} AS BIGNUMERIC)");
        Some(format!(
            "IFNULL({number} IS NOT NULL AND IF(REGEXP_CONTAINS({text}, r'^[+-]?[0-9]+$'), \
             ABS({number}) >= 9007199254740992 AND {digits} > 15 AND NOT IFNULL({exact}, FALSE), \
             NOT IS_INF({number}) AND {digits} > 17), FALSE)"
        ))
    }

    fn outside_of_domain(&self) -> Option<String> {
        let rule = self.rule?;
        let domain = rule.domain.as_ref()?;
        let text = self.column.text();
        let listed = |values: Vec<String>| match values.is_empty() {
            true => "FALSE".to_owned(),
            false => values.join(", "),
        };
        if rule.kind != Some(ColumnType::Number) {
            let values = listed(domain.iter().map(|value| literal(value)).collect());
            return Some(self.values(&format!("{text} NOT IN ({values})")));
        }
        // All of it are numbers, as the schema's reader sees to.
        let numbers = domain.iter().filter_map(|value| types::number(value));
        let numbers = listed(numbers.map(float).collect());
        let number = self.column.value();
        Some(self.values(&format!("NOT IFNULL({number} IN ({numbers}), FALSE)")))
    }

    fn out_of_range(&self) -> Option<String> {
        let rule = self.rule?;
        let mut conditions = Vec::new();
        let micros = format!("UNIX_MICROS({})", self.time());
        if let Some(earliest) = &rule.earliest {
            conditions.push(self.values(&format!("{micros} < {}", earliest.micros)));
        }
        if let Some(latest) = &rule.latest {
            conditions.push(self.values(&format!("{micros} > {}", latest.micros)));
        }
        if self.column.kind.column_type() == ColumnType::Number {
            let number = self.column.value();
            let condition =
                |sign: &str, bound: f64| format!("IFNULL({number} {sign} {}, FALSE)", float(bound));
            conditions.extend(rule.min.map(|min| condition("<", min)));
            conditions.extend(rule.max.map(|max| condition(">", max)));
        }
        (!conditions.is_empty()).then(|| format!("({})", conditions.join(" OR ")))
    }

    fn of_wrong_length(&self) -> Option<String> {
        let rule = self.rule?;
        let length = format!("CHAR_LENGTH({})", self.column.text());
        let least = rule.min_length.map(|least| format!("{length} < {least}"));
        let most = rule.max_length.map(|most| format!("{length} > {most}"));
        let conditions: Vec<String> = least.into_iter().chain(most).collect();
        (!conditions.is_empty()).then(|| self.values(&conditions.join(" OR ")))
    }

    fn unmatched(&self) -> Result<Option<String>> {
        let Some((rule, matches)) = self.rule.and_then(|r| Some((r, r.matches.as_ref()?))) else {
            return Ok(None);
        };
        let expression = pattern::whole(&matches.text).map_err(|why| {
            Input::new(format!(
                "column `{}`: BigQuery cannot match `{}`: it does not know {why}",
                rule.name.value, matches.text
            ))
            .at(rule.name.place.clone())
            .hint("write `matches` as RE2 has it, or leave it out")
        })?;
        let text = self.column.text();
        let matched = format!("REGEXP_CONTAINS({text}, {})", literal(&expression));
        Ok(Some(self.values(&format!("NOT {matched}"))))
    }
}

/// A FLOAT64 of SQL.
fn float(x: f64) -> String {
    format!("CAST('{x:e}' AS FLOAT64)")
}
