//! Nodes to typed fields: every name known, every type right, every place kept.

use std::borrow::Cow;
use std::rc::Rc;
use std::time::Duration;

use super::schema::{Field, Kind, Message};
use crate::cloudbuild::problem::Problem;
use crate::settings::did_you_mean;
use crate::settings::yaml::{Key, Mark, Node, Scalar, Value};

/// A value whose type was checked against the schema.
#[derive(Clone)]
pub(in crate::cloudbuild) struct Item {
    pub(in crate::cloudbuild) mark: Mark,
    pub(in crate::cloudbuild) data: Data,
}

#[derive(Clone)]
pub(in crate::cloudbuild) enum Data {
    Text(String),
    /// A string that takes substitutions.
    Template(String),
    /// As it was written, and what it says.
    Duration(String, Duration),
    Bool(bool),
    Int32(i32),
    Int64(i64),
    List(Vec<Item>),
    /// In the order of the file; each key with its place.
    Map(Vec<(String, Mark, String)>),
    Object(Vec<(&'static str, Item)>),
}

/// Reads a message of the schema from a node.
pub(super) fn read(
    node: &Node,
    message: &'static Message,
    warnings: &mut Vec<Problem>,
) -> Result<Item, Problem> {
    Reader {
        path: Vec::new(),
        warnings,
    }
    .message(node, message)
}

/// A part of the path to a field, as in `.steps[0].args`.
enum Part {
    Name(&'static str),
    Index(usize),
}

struct Reader<'a> {
    path: Vec<Part>,
    warnings: &'a mut Vec<Problem>,
}

impl Reader<'_> {
    fn path(&self) -> String {
        let mut path = String::new();
        for part in &self.path {
            match part {
                Part::Name(name) => path.push_str(&format!(".{name}")),
                Part::Index(i) => path.push_str(&format!("[{i}]")),
            }
        }
        if path.is_empty() {
            path.push('.');
        }
        path
    }

    fn message(&mut self, node: &Node, message: &'static Message) -> Result<Item, Problem> {
        let Value::Map(entries) = &node.value else {
            return Err(self.wrong_type(node, &format!("{}, a mapping of fields", message.name)));
        };
        let mut members: Vec<(&'static str, Item)> = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            let field = self.field(key, message)?;
            if value.is_null() {
                continue;
            }
            self.path.push(Part::Name(field.name));
            if members.iter().any(|(name, _)| *name == field.name) {
                let path = self.path();
                return Err(Problem::new(
                    key.mark,
                    format!("`{path}` is here twice, once in camelCase and once in snake_case"),
                ));
            }
            match field.kind {
                Kind::Output => {}
                Kind::Refused(why) => {
                    return Err(Problem::new(key.mark, format!("`{}`: {why}", self.path())));
                }
                _ => members.push((field.name, self.field_value(value, field)?)),
            }
            self.path.pop();
        }
        Ok(Item {
            mark: node.mark,
            data: Data::Object(members),
        })
    }

    fn field(&self, key: &Key, message: &'static Message) -> Result<&'static Field, Problem> {
        let name = &key.text;
        if key.scalar != Scalar::Text {
            let what = key.scalar.describe(name);
            return Err(Problem::new(
                key.mark,
                format!("a field's name must be a string, not {what}"),
            ));
        }
        let known = |field: &&Field| field.name == name || snake_case(field.name) == **name;
        message.fields.iter().find(known).ok_or_else(|| {
            let name: String = name.chars().take(80).collect();
            let path = format!("{}.{name}", self.path().trim_end_matches('.'));
            let problem = Problem::new(key.mark, format!("`{path}`: unknown field `{name}`"));
            match did_you_mean(&name, message.fields.iter().map(|field| field.name)) {
                Some(hint) => problem.hint(hint),
                None => problem,
            }
        })
    }

    fn field_value(&mut self, node: &Rc<Node>, field: &'static Field) -> Result<Item, Problem> {
        if !field.list {
            return self.value(node, field.kind);
        }
        let nodes = match &node.value {
            Value::List(nodes) => nodes.as_slice(),
            Value::Map(_) if !matches!(field.kind, Kind::Message(_)) => {
                return Err(self.wrong_type(node, "a list"));
            }
            _ => {
                let item = self.value(node, field.kind)?;
                let path = self.path();
                self.warnings.push(Problem::new(
                    node.mark,
                    format!("`{path}` is a list; gcloud takes this as a list of one, a build that a trigger starts refuses it"),
                ));
                return Ok(Item {
                    mark: node.mark,
                    data: Data::List(vec![item]),
                });
            }
        };
        let mut items = Vec::with_capacity(nodes.len());
        for (i, node) in nodes.iter().enumerate() {
            self.path.push(Part::Index(i));
            items.push(self.value(node, field.kind)?);
            self.path.pop();
        }
        Ok(Item {
            mark: node.mark,
            data: Data::List(items),
        })
    }

    fn value(&mut self, node: &Node, kind: Kind) -> Result<Item, Problem> {
        let data = match kind {
            Kind::Text => Data::Text(self.text(node)?.to_owned()),
            Kind::Template => Data::Template(self.text(node)?.to_owned()),
            Kind::Duration => self.duration(node)?,
            Kind::Bool => match node.value {
                Value::Scalar(Scalar::Bool(value), _) => Data::Bool(value),
                _ => return Err(self.wrong_type(node, "true or false, without quotes")),
            },
            Kind::Int32 => Data::Int32(self.int(node, "an integer of 32 bits")?),
            Kind::Int64 => Data::Int64(self.int(node, "an integer")?),
            Kind::Enum(words) => Data::Text(self.word(node, words)?),
            Kind::Map => Data::Map(self.map(node)?),
            Kind::Message(message) => return self.message(node, message),
            Kind::Output | Kind::Refused(_) => Data::Object(Vec::new()),
        };
        Ok(Item {
            mark: node.mark,
            data,
        })
    }

    fn text<'n>(&self, node: &'n Node) -> Result<&'n str, Problem> {
        match &node.value {
            Value::Scalar(Scalar::Text, text) => Ok(text),
            _ => Err(self.wrong_type(node, "a string")),
        }
    }

    fn int<T: TryFrom<i64>>(&self, node: &Node, expected: &str) -> Result<T, Problem> {
        let value = match &node.value {
            Value::Scalar(Scalar::Int(value), _) => Some(*value),
            Value::Scalar(Scalar::Text, text) => text.parse().ok(),
            _ => None,
        };
        value
            .and_then(|value| T::try_from(value).ok())
            .ok_or_else(|| self.wrong_type(node, expected))
    }

    fn word(&self, node: &Node, words: &'static [&'static str]) -> Result<String, Problem> {
        let text = self.text(node)?;
        if words.contains(&text) {
            return Ok(text.to_owned());
        }
        let text: String = text.chars().take(80).collect();
        let problem = Problem::new(node.mark, format!("`{}` cannot be `{text}`", self.path()));
        Err(
            problem.hint(match did_you_mean(&text, words.iter().copied()) {
                Some(hint) => hint,
                None => format!("it takes one of {}", words.join(", ")),
            }),
        )
    }

    fn map(&self, node: &Node) -> Result<Vec<(String, Mark, String)>, Problem> {
        let Value::Map(entries) = &node.value else {
            return Err(self.wrong_type(node, "a mapping of names to strings"));
        };
        let mut map = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            let name = &key.text;
            if key.scalar != Scalar::Text {
                let what = key.scalar.describe(name);
                return Err(self.wrong(key.mark, Some(key.scalar), &what, "a string"));
            }
            let value = match &value.value {
                // A key left empty loads; nothing says what it means but the empty string.
                Value::Scalar(Scalar::Null, _) => "",
                Value::Scalar(Scalar::Text, text) => text,
                _ => {
                    let (path, what) = (self.path(), value.describe());
                    return Err(Problem::new(
                        value.mark,
                        format!("`{path}.{name}` must be a string, not {what}"),
                    )
                    .hint("put quotes around it"));
                }
            };
            map.push((name.to_owned(), key.mark, value.to_owned()));
        }
        Ok(map)
    }

    fn duration(&self, node: &Node) -> Result<Data, Problem> {
        let text = match &node.value {
            Value::Scalar(Scalar::Text, text) => text,
            _ => {
                let hint = "write seconds, as in `600s`";
                return Err(self.wrong_type(node, "a duration").hint(hint));
            }
        };
        let value = duration(text).ok_or_else(|| {
            let shown: String = text.chars().take(40).collect();
            Problem::new(
                node.mark,
                format!("`{}`: illegal duration `{shown}`", self.path()),
            )
            .hint("a duration is in seconds and ends with `s`, as in `600s`")
        })?;
        Ok(Data::Duration(text.clone(), value))
    }

    fn wrong_type(&self, node: &Node, expected: &str) -> Problem {
        let scalar = match node.value {
            Value::Scalar(scalar, _) => Some(scalar),
            _ => None,
        };
        self.wrong(node.mark, scalar, &node.describe(), expected)
    }

    /// The error that `what` stands where something else is expected; `scalar` is its type, where it has one.
    fn wrong(&self, mark: Mark, scalar: Option<Scalar>, what: &str, expected: &str) -> Problem {
        let path = self.path();
        let problem = Problem::new(mark, format!("`{path}` must be {expected}, not {what}"));
        match scalar {
            Some(scalar)
                if expected == "a string" && !matches!(scalar, Scalar::Null | Scalar::Text) =>
            {
                problem.hint("put quotes around it")
            }
            _ => problem,
        }
    }
}

/// Seconds with up to nine fractional digits and an `s` at the end; none where it is anything else.
fn duration(text: &str) -> Option<Duration> {
    let number = text.strip_suffix('s')?;
    let (whole, fraction) = match number.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (number, None),
    };
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !fraction.is_none_or(|f| digits(f) && f.len() <= 9) {
        return None;
    }
    let nanos = format!("{:0<9}", fraction.unwrap_or_default());
    Some(Duration::new(whole.parse().ok()?, nanos.parse().ok()?))
}

fn snake_case(name: &str) -> Cow<'_, str> {
    if !name.contains(|c: char| c.is_ascii_uppercase()) {
        return Cow::Borrowed(name);
    }
    let mut snake = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    Cow::Owned(snake)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_seconds() {
        for (text, expected) in [
            ("600s", Some(Duration::from_secs(600))),
            ("3.5s", Some(Duration::from_millis(3500))),
            ("0.000000001s", Some(Duration::from_nanos(1))),
            ("0s", Some(Duration::ZERO)),
            ("10m", None),
            ("1h30m", None),
            ("600", None),
            ("600 s", None),
            ("-5s", None),
            ("+5s", None),
            (".5s", None),
            ("5.s", None),
            ("1.0000000001s", None),
            ("s", None),
            ("99999999999999999999999s", None),
            ("١s", None),
        ] {
            assert_eq!(duration(text), expected, "{text}");
        }
    }

    #[test]
    fn names_have_one_snake_case_form() {
        assert_eq!(snake_case("automapSubstitutions"), "automap_substitutions");
        assert_eq!(snake_case("name"), "name");
    }
}
