//! The changes that tables ask of a `schema.yaml`, made in its text at the places of its nodes, so that
//! everything else stays as people wrote it.
//!
//! Only what data grows out of is changed: values of a domain, ranges, lengths, shares of missing cells,
//! columns and tables that came, and columns that went. Types, patterns and keys are for people to change.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::path::Path;
use std::rc::Rc;

use anyhow::{Context as _, Result};

use super::infer::{Known, Seen, block, line, missing_margin, number, quoted};
use super::{ColumnRule, Schema, TableRule};
use crate::data::cell::{self, Cell};
use crate::data::table::{Column, Table};
use crate::data::types;
use crate::settings::yaml::{self, Key, Node, Rules, Value};
use crate::workspace::records::ColumnType;

/// With more new values than this a column has no domain, and it is left to people to say so.
const MOST_NEW_VALUES: usize = 50;

/// The text of a schema with what the tables ask for; the same text where they ask for nothing.
///
/// # Errors
/// [`crate::error::Input`] when the text is no schema.
pub(crate) fn update(
    path: &Path,
    text: &str,
    tables: &[Table],
    seen: &[Seen],
    known: &Known,
) -> Result<String> {
    let schema = Schema::parse(path, text)?;
    // It was read as a schema, so it is YAML, and what is not found here is not there.
    let Ok(Some(root)) = yaml::read(text, Rules::Strict).map(|document| document.root) else {
        return Ok(text.to_owned());
    };
    let mut edits = Edits {
        text,
        list: Vec::new(),
    };
    let Some((_, described)) = field(&root, "tables") else {
        return Ok(text.to_owned());
    };
    for seen in seen {
        let rules = schema.table(seen.name);
        let table = tables.iter().find(|table| table.name == seen.name);
        if let (Some(rules), Some(table), Some((_, node))) =
            (rules, table, field(described, seen.name))
        {
            edits.table(rules, node, table, seen, known);
        }
    }
    // Behind what was put into the last table.
    for seen in seen.iter().filter(|seen| schema.table(seen.name).is_none()) {
        edits.new_table(described, seen, known);
    }
    let new = edits.made();
    Schema::parse(path, &new).context("reading the schema that the changes gave")?;
    Ok(new)
}

/// An entry of a mapping.
fn field<'a>(node: &'a Node, name: &str) -> Option<(&'a Key, &'a Node)> {
    let entry = entries(node).iter().find(|(key, _)| key.text == name)?;
    Some((&entry.0, &entry.1))
}

fn entries(node: &Node) -> &[(Key, Rc<Node>)] {
    match &node.value {
        Value::Map(entries) => entries,
        _ => &[],
    }
}

struct Edits<'a> {
    text: &'a str,
    /// What stands where; those at one place in their order.
    list: Vec<(Range<usize>, String)>,
}

impl Edits<'_> {
    fn put(&mut self, range: Range<usize>, text: String) {
        self.list.push((range, text));
    }

    fn made(mut self) -> String {
        self.list.sort_by_key(|(range, _)| range.start);
        let mut new = String::with_capacity(self.text.len());
        let mut at = 0;
        for (range, text) in self.list {
            new.push_str(self.text.get(at..range.start).unwrap_or_default());
            new.push_str(&text);
            at = range.end;
        }
        new.push_str(self.text.get(at..).unwrap_or_default());
        new
    }

    /// Whether a mapping or a list is written in brackets.
    fn is_flow(&self, node: &Node) -> bool {
        let rest = self.text.get(node.mark.start..).unwrap_or_default();
        rest.starts_with(['{', '['])
    }

    fn line_end(&self, at: usize) -> usize {
        let rest = self.text.get(at..).unwrap_or_default();
        let length = rest.find('\n').unwrap_or(rest.len());
        let line = rest.get(..length).unwrap_or_default();
        at + line.trim_end_matches('\r').len()
    }

    /// What stands in front of a place on its line.
    fn line_start(&self, at: usize) -> &str {
        let before = self.text.get(..at).unwrap_or_default();
        before.rsplit('\n').next().unwrap_or_default()
    }

    /// Puts an entry behind the last one of a mapping, whose entries are `indented` in the text.
    fn append(&mut self, map: &Node, flow: &str, lines: &[String]) {
        let open = map.mark.start + 1;
        let last = entries(map).last();
        if self.is_flow(map) {
            match last {
                Some((_, node)) => self.put(node.end..node.end, format!(", {flow}")),
                None => self.put(open..open, flow.to_owned()),
            }
        } else if let Some((key, node)) = last {
            let end = self.line_end(node.end.max(key.mark.end));
            let indent = self.line_start(key.mark.start).to_owned();
            let lines = lines.iter().map(|line| format!("\n{indent}{line}"));
            self.put(end..end, lines.collect());
        }
    }

    fn new_table(&mut self, described: &Node, seen: &Seen, known: &Known) {
        let columns = &seen.profile.columns;
        let rules = columns
            .iter()
            .map(|column| line(seen, column, known).rule());
        let rules = rules.collect::<Vec<_>>().join(", ");
        let flow = format!("{}: {{columns: {{{rules}}}}}", quoted(seen.name));
        let block = block(seen, known, "");
        let lines: Vec<String> = block.lines().map(str::to_owned).collect();
        self.append(described, &flow, &lines);
    }

    fn table(&mut self, rules: &TableRule, node: &Node, table: &Table, seen: &Seen, known: &Known) {
        let Some((_, described)) = field(node, "columns") else {
            return;
        };
        let entries = entries(described).iter();
        let written: HashMap<&str, (&Key, &Node)> = entries
            .map(|(key, node)| (key.text.as_str(), (key, &**node)))
            .collect();
        let columns: HashMap<&str, &Column> = (table.columns.iter())
            .map(|column| (column.name.as_str(), column))
            .collect();
        for rule in &rules.columns {
            let Some((key, node)) = written.get(rule.name.as_str()).copied() else {
                continue;
            };
            match columns.get(rule.name.as_str()) {
                Some(column) => self.column(rule, node, column),
                None if !rule.optional => self.set_optional(key, node),
                None => {}
            }
        }
        for column in &seen.profile.columns {
            if rules.column(&column.name).is_none() {
                let line = line(seen, column, known);
                self.append(described, &line.rule(), &[line.text()]);
            }
        }
    }

    /// A column that is gone need not be there.
    fn set_optional(&mut self, key: &Key, rule: &Node) {
        const FIELD: &str = "presence: optional";
        if let Some((_, told)) = field(rule, "presence") {
            return self.put(told.mark.start..told.end, "optional".to_owned());
        }
        let start = rule.mark.start;
        match (&rule.value, entries(rule).first()) {
            (Value::Map(_), None) => self.put(start + 1..start + 1, FIELD.to_owned()),
            (Value::Map(_), Some(_)) if self.is_flow(rule) => {
                self.put(start + 1..start + 1, format!("{FIELD}, "));
            }
            (_, Some((first, _))) => {
                let at = first.mark.start;
                let indent = self.line_start(at).to_owned();
                self.put(at..at, format!("{FIELD}\n{indent}"));
            }
            (_, None) => {
                // A rule that is left out, or `~`.
                let behind = self.text.get(key.mark.end..).unwrap_or_default();
                let colon = behind.find(':').map_or(0, |at| at + 1);
                let from = key.mark.end + colon;
                let written = self.text.get(start..rule.end).unwrap_or_default();
                let to = if written.is_empty() {
                    from
                } else {
                    rule.end.max(from)
                };
                self.put(from..to, format!(" {{{FIELD}}}"));
            }
        }
    }

    fn column(&mut self, rule: &ColumnRule, node: &Node, column: &Column) {
        self.missing(rule, node, column);
        let found = Values::of(rule, column);
        let (low, high) = (
            found.low.map(|(_, text)| text),
            found.high.map(|(_, text)| text),
        );
        let (short, long) = (found.shortest, found.longest);
        let bounds = [
            ("min", low),
            ("max", high),
            ("min_length", short.map(|n| n.to_string())),
            ("max_length", long.map(|n| n.to_string())),
        ];
        for (name, bound) in bounds {
            if let (Some(bound), Some((_, told))) = (bound, field(node, name)) {
                self.put(told.mark.start..told.end, bound);
            }
        }
        if let Some((_, list)) = field(node, "domain")
            && found.new.len() <= MOST_NEW_VALUES
        {
            for value in &found.new {
                let number = rule.kind == Some(ColumnType::Number);
                let value = if number { value.clone() } else { quoted(value) };
                self.add_value(list, &value);
            }
        }
    }

    fn add_value(&mut self, list: &Node, value: &str) {
        let Value::List(items) = &list.value else {
            return;
        };
        let Some(last) = items.last() else { return };
        if self.is_flow(list) {
            self.put(last.end..last.end, format!(", {value}"));
        } else {
            let end = self.line_end(last.end);
            let before = self.line_start(last.mark.start).to_owned();
            self.put(end..end, format!("\n{before}{value}"));
        }
    }

    /// More missing cells than the rule allows.
    fn missing(&mut self, rule: &ColumnRule, node: &Node, column: &Column) {
        let (missing, rows) = (rule.missing(column) as u64, column.rows() as u64);
        let limit = match rule.required {
            true => 0.0,
            false => rule.missing_at_most.unwrap_or(1.0),
        };
        if missing as f64 <= limit * rows as f64 {
            return;
        }
        let share = number(missing_margin(missing, rows).unwrap_or(1.0));
        let told = field(node, "missing").and_then(|(_, node)| field(node, "at_most"));
        let required = field(node, "required").filter(|_| rule.required);
        match (required, told) {
            (Some((_, required)), Some((_, told))) => {
                self.put(required.mark.start..required.end, "false".to_owned());
                self.put(told.mark.start..told.end, share);
            }
            (Some((key, required)), None) => {
                let range = key.mark.start..required.end;
                self.put(range, format!("missing: {{at_most: {share}}}"));
            }
            (None, Some((_, told))) => self.put(told.mark.start..told.end, share),
            (None, None) => {}
        }
    }
}

/// What lies outside of a column's rules.
#[derive(Default)]
struct Values {
    /// The least value below the range and the greatest above it, times in microseconds, and as text.
    low: Option<(f64, String)>,
    high: Option<(f64, String)>,
    shortest: Option<u64>,
    longest: Option<u64>,
    /// Values that the domain does not have; one more than are added at most.
    new: BTreeSet<String>,
}

impl Values {
    fn of(rule: &ColumnRule, column: &Column) -> Self {
        let mut found = Self::default();
        let known = rule.known_values();
        for value in (0..column.rows()).filter_map(|row| rule.value(column, row)) {
            let value = &*value;
            if rule.out_of_bounds(value).is_some() {
                found.add_bound(rule, value);
            }
            if rule.out_of_length(value).is_some() {
                let length = value.chars().count() as u64;
                if rule.min_length.is_some_and(|min| length < min) {
                    found.shortest = Some(found.shortest.map_or(length, |n| n.min(length)));
                } else {
                    found.longest = Some(found.longest.map_or(length, |n| n.max(length)));
                }
            }
            let fits = rule.matches.as_ref().is_none_or(|p| p.is_match(value))
                && (rule.kind != Some(ColumnType::Number) || types::number(value).is_some());
            let comparable = rule.comparable(value);
            if fits
                && found.new.len() <= MOST_NEW_VALUES
                && known.as_ref().is_some_and(|known| !known.contains(&comparable))
                // The schema's own texts are not blank.
                && !value.trim().is_empty()
            {
                found.new.insert(comparable.into_owned());
            }
        }
        found
    }

    fn add_bound(&mut self, rule: &ColumnRule, value: &str) {
        let (x, text, below) = if rule.time {
            let Cell::Value(time) = cell::time(value.as_bytes()) else {
                return;
            };
            let below = rule
                .earliest
                .as_ref()
                .is_some_and(|b| time.micros < b.micros);
            (time.micros as f64, value.trim().to_owned(), below)
        } else {
            let Some(x) = types::number(value) else {
                return;
            };
            (x, number(x), rule.min.is_some_and(|min| x < min))
        };
        if below {
            if self.low.as_ref().is_none_or(|(low, _)| x < *low) {
                self.low = Some((x, text));
            }
        } else if self.high.as_ref().is_none_or(|(high, _)| x > *high) {
            self.high = Some((x, text));
        }
    }
}

#[cfg(test)]
mod tests;
