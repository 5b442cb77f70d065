//! A trigger's `filter`: the part of the Common Expression Language that filters of triggers are written in.
//!
//! `_TAG.matches("^v") && _ACTION == "INSERT"`: substitutions by their names and the event as `body`, texts, whole
//! numbers, truth values and lists, `== != < <= > >= in && || !`, `matches startsWith endsWith contains size has`.
//! All else of the language is refused when the trigger is made.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde_json::Value;

use super::filters;

/// More characters no filter has.
const LONGEST: usize = 4096;
/// So deep expressions stand in each other.
const DEEPEST: usize = 32;

/// A filter that was read.
#[derive(Debug, PartialEq)]
pub(super) struct Filter(Node);

#[derive(Debug, PartialEq)]
enum Node {
    Literal(Value),
    Name(String),
    List(Vec<Node>),
    Field(Box<Node>, String),
    Index(Box<Node>, Box<Node>),
    Not(Box<Node>),
    Both(Box<Node>, Box<Node>),
    Either(Box<Node>, Box<Node>),
    Compare(Comparison, Box<Node>, Box<Node>),
    Call(Function, Vec<Node>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    Unequal,
    Less,
    AtMost,
    More,
    AtLeast,
    In,
}

const COMPARISONS: [(&str, Comparison); 7] = [
    ("==", Comparison::Equal),
    ("!=", Comparison::Unequal),
    ("<", Comparison::Less),
    ("<=", Comparison::AtMost),
    (">", Comparison::More),
    (">=", Comparison::AtLeast),
    ("in", Comparison::In),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Function {
    Matches,
    StartsWith,
    EndsWith,
    Contains,
    Size,
    Has,
}

/// The functions by their names, with how many arguments each takes, the one before its dot included.
const FUNCTIONS: [(&str, Function, usize); 6] = [
    ("matches", Function::Matches, 2),
    ("startsWith", Function::StartsWith, 2),
    ("endsWith", Function::EndsWith, 2),
    ("contains", Function::Contains, 2),
    ("size", Function::Size, 1),
    ("has", Function::Has, 1),
];

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Literal(Value),
    Sign(&'static str),
}

const SIGNS: [&str; 18] = [
    "==", "!=", "<=", ">=", "&&", "||", "<", ">", "!", "(", ")", "[", "]", ".", ",", "-", "+", "?",
];

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(c) = rest.chars().next() {
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if c == '"' || c == '\'' {
            let (literal, behind) = quoted(&rest[1..], c)?;
            tokens.push(Token::Literal(literal.into()));
            rest = behind;
        } else if word(c) {
            let end = rest.find(|c| !word(c)).unwrap_or(rest.len());
            let (found, behind) = rest.split_at(end);
            if matches!(found, "r" | "b" | "R" | "B") && behind.starts_with(['"', '\'']) {
                return Err(format!("this emulator has no {found}\"…\" in filters"));
            }
            tokens.push(match found {
                "true" => Token::Literal(true.into()),
                "false" => Token::Literal(false.into()),
                "null" => Token::Literal(Value::Null),
                number if c.is_ascii_digit() => {
                    let number: i64 = number
                        .parse()
                        .map_err(|_| format!("{number} is no whole number"))?;
                    Token::Literal(number.into())
                }
                name => Token::Word(name.to_owned()),
            });
            rest = behind;
        } else if let Some(sign) = SIGNS.into_iter().find(|sign| rest.starts_with(sign)) {
            tokens.push(Token::Sign(sign));
            rest = &rest[sign.len()..];
        } else {
            return Err(format!("{c} has no meaning there"));
        }
        rest = rest.trim_start();
    }
    Ok(tokens)
}

/// A text up to its closing mark, and what stands behind.
fn quoted(text: &str, mark: char) -> Result<(String, &str), String> {
    let mut literal = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            c if c == mark => return Ok((literal, &text[at + c.len_utf8()..])),
            '\\' => match chars.next().map(|(_, c)| c) {
                Some('n') => literal.push('\n'),
                Some('t') => literal.push('\t'),
                Some('r') => literal.push('\r'),
                Some(c @ ('\\' | '"' | '\'' | '?' | '`')) => literal.push(c),
                Some(c) => return Err(format!("this emulator has no \\{c} in filters")),
                None => break,
            },
            c => literal.push(c),
        }
    }
    Err("a text has no closing mark".to_owned())
}

struct Parser {
    /// In reverse: the next is the last.
    tokens: Vec<Token>,
    depth: usize,
}

impl Parser {
    fn takes(&mut self, sign: &str) -> bool {
        let found = matches!(self.tokens.last(), Some(Token::Sign(next)) if *next == sign);
        if found {
            self.tokens.pop();
        }
        found
    }

    fn wants(&mut self, sign: &str) -> Result<(), String> {
        match self.takes(sign) {
            true => Ok(()),
            false => Err(format!("{sign} is missing")),
        }
    }

    fn either(&mut self) -> Result<Node, String> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(format!("it is more than {DEEPEST} expressions deep"));
        }
        let mut node = self.both()?;
        while self.takes("||") {
            node = Node::Either(Box::new(node), Box::new(self.both()?));
        }
        self.depth -= 1;
        Ok(node)
    }

    fn both(&mut self) -> Result<Node, String> {
        let mut node = self.comparison()?;
        while self.takes("&&") {
            node = Node::Both(Box::new(node), Box::new(self.comparison()?));
        }
        Ok(node)
    }

    fn comparison(&mut self) -> Result<Node, String> {
        let node = self.not()?;
        let word = match self.tokens.last() {
            Some(Token::Sign(sign)) => sign,
            Some(Token::Word(word)) => word.as_str(),
            _ => return Ok(node),
        };
        let found = COMPARISONS.into_iter().find(|(name, _)| *name == word);
        let Some((_, comparison)) = found else {
            return Ok(node);
        };
        self.tokens.pop();
        let right = self.not()?;
        if comparison == Comparison::Equal || comparison == Comparison::Unequal {
            let chained = matches!(self.tokens.last(), Some(Token::Sign("==" | "!=")));
            if chained {
                return Err("a comparison of a comparison needs parentheses here".to_owned());
            }
        }
        Ok(Node::Compare(comparison, Box::new(node), Box::new(right)))
    }

    fn not(&mut self) -> Result<Node, String> {
        let mut nots = 0;
        while self.takes("!") {
            nots += 1;
        }
        let node = match self.takes("-") {
            true => match self.tokens.pop() {
                Some(Token::Literal(Value::Number(number))) => {
                    Node::Literal(number.as_i64().map_or(0, |n| -n).into())
                }
                _ => return Err("- stands before no number".to_owned()),
            },
            false => self.member()?,
        };
        // An even number of them wants a truth value all the same.
        let nots = if nots > 2 { 2 - nots % 2 } else { nots };
        Ok((0..nots).fold(node, |node, _| Node::Not(Box::new(node))))
    }

    fn member(&mut self) -> Result<Node, String> {
        let mut node = self.primary()?;
        let mut parts = 0;
        loop {
            parts += 1;
            if parts > DEEPEST {
                return Err(format!("a path has more than {DEEPEST} parts"));
            }
            if self.takes("[") {
                let index = self.either()?;
                self.wants("]")?;
                node = Node::Index(Box::new(node), Box::new(index));
            } else if self.takes(".") {
                let Some(Token::Word(name)) = self.tokens.pop() else {
                    return Err("no name stands behind a dot".to_owned());
                };
                node = match self.takes("(") {
                    true => {
                        let mut arguments = vec![node];
                        arguments.extend(self.list(")")?);
                        call(&name, arguments)?
                    }
                    false => Node::Field(Box::new(node), name),
                };
            } else {
                return Ok(node);
            }
        }
    }

    fn primary(&mut self) -> Result<Node, String> {
        match self.tokens.pop() {
            Some(Token::Literal(value)) => Ok(Node::Literal(value)),
            Some(Token::Word(name)) => match self.takes("(") {
                true => call(&name, self.list(")")?),
                false => Ok(Node::Name(name)),
            },
            Some(Token::Sign("(")) => {
                let node = self.either()?;
                self.wants(")")?;
                Ok(node)
            }
            Some(Token::Sign("[")) => Ok(Node::List(self.list("]")?)),
            Some(Token::Sign(sign)) => Err(format!("{sign} has no meaning there")),
            None => Err("it ends too early".to_owned()),
        }
    }

    fn list(&mut self, end: &str) -> Result<Vec<Node>, String> {
        let mut items = Vec::new();
        if self.takes(end) {
            return Ok(items);
        }
        loop {
            items.push(self.either()?);
            if self.takes(end) {
                return Ok(items);
            }
            self.wants(",")?;
        }
    }
}

fn call(name: &str, arguments: Vec<Node>) -> Result<Node, String> {
    let found = FUNCTIONS.into_iter().find(|(known, ..)| *known == name);
    let Some((_, function, count)) = found else {
        let known: Vec<&str> = FUNCTIONS.iter().map(|(name, ..)| *name).collect();
        return Err(format!(
            "this emulator has no function {name} in filters, only {}",
            known.join(", ")
        ));
    };
    if arguments.len() != count {
        return Err(format!("{name} takes another number of arguments"));
    }
    match (function, arguments.as_slice()) {
        (Function::Has, [Node::Field(..)]) => {}
        (Function::Has, _) => return Err("has takes a field, as in has(body.a)".to_owned()),
        (Function::Matches, [_, Node::Literal(Value::String(pattern))]) => {
            filters::expression(pattern)?;
        }
        _ => {}
    }
    Ok(Node::Call(function, arguments))
}

impl Filter {
    /// Reads a filter. `is_known` says of which names there will be values.
    ///
    /// # Errors
    /// In a sentence, for what is no filter or is none that this emulator reads.
    pub(super) fn parse(text: &str, is_known: impl Fn(&str) -> bool) -> Result<Self, String> {
        if text.len() > LONGEST {
            return Err(format!("it has more than {LONGEST} bytes"));
        }
        let mut tokens = tokens(text)?;
        tokens.reverse();
        let mut parser = Parser { tokens, depth: 0 };
        let node = parser.either()?;
        if let Some(token) = parser.tokens.last() {
            let shown = match token {
                Token::Word(word) => word.clone(),
                Token::Literal(value) => value.to_string(),
                Token::Sign(sign) => (*sign).to_owned(),
            };
            return Err(format!("{shown} has no meaning there"));
        }
        let mut names = Vec::new();
        node.names(&mut names);
        match names.into_iter().find(|name| !is_known(name)) {
            Some(name) => Err(format!("undeclared reference to '{name}'")),
            None => Ok(Self(node)),
        }
    }

    /// Whether an event passes.
    ///
    /// # Errors
    /// In a sentence, where the expression has no truth value.
    pub(super) fn admits(
        &self,
        substitutions: &BTreeMap<String, String>,
        payload: &Value,
    ) -> Result<bool, String> {
        let lookup = |name: &str| match substitutions.get(name) {
            Some(text) => Some(Value::from(text.clone())),
            None => payload.get(name).cloned(),
        };
        truth(self.0.value(&lookup)?)
    }
}

fn truth(value: Value) -> Result<bool, String> {
    let wrong = || format!("{value} is no truth value");
    value.as_bool().ok_or_else(wrong)
}

impl Node {
    fn names<'a>(&'a self, names: &mut Vec<&'a str>) {
        match self {
            Self::Literal(_) => {}
            Self::Name(name) => names.push(name),
            Self::Field(of, _) | Self::Not(of) => of.names(names),
            Self::Index(a, b) | Self::Both(a, b) | Self::Either(a, b) | Self::Compare(_, a, b) => {
                a.names(names);
                b.names(names);
            }
            Self::List(items) | Self::Call(_, items) => {
                for item in items {
                    item.names(names);
                }
            }
        }
    }

    fn value(&self, lookup: &impl Fn(&str) -> Option<Value>) -> Result<Value, String> {
        match self {
            Self::Literal(value) => Ok(value.clone()),
            Self::Name(name) => lookup(name).ok_or_else(|| format!("there is no {name}")),
            Self::List(items) => {
                let items = items.iter().map(|item| item.value(lookup));
                items.collect::<Result<Vec<_>, _>>().map(Value::from)
            }
            Self::Field(of, name) => {
                let of = of.value(lookup)?;
                let found = of.get(name).cloned();
                found.ok_or_else(|| format!("no such key: {name}"))
            }
            Self::Index(of, at) => index(&of.value(lookup)?, &at.value(lookup)?),
            Self::Not(node) => Ok((!truth(node.value(lookup)?)?).into()),
            // What decides by itself hides the other side's error, on either side.
            Self::Both(a, b) => {
                joined(false, [a, b].map(|node| node.value(lookup).and_then(truth)))
            }
            Self::Either(a, b) => {
                joined(true, [a, b].map(|node| node.value(lookup).and_then(truth)))
            }
            Self::Compare(comparison, a, b) => {
                compare(*comparison, &a.value(lookup)?, &b.value(lookup)?).map(Value::from)
            }
            Self::Call(Function::Has, arguments) => match arguments.as_slice() {
                [Self::Field(of, name)] => Ok(of.value(lookup)?.get(name).is_some().into()),
                _ => Err("has takes a field".to_owned()),
            },
            Self::Call(function, arguments) => {
                let values = arguments.iter().map(|argument| argument.value(lookup));
                let values = values.collect::<Result<Vec<_>, _>>()?;
                apply(*function, &values)
            }
        }
    }
}

fn joined(decides: bool, sides: [Result<bool, String>; 2]) -> Result<Value, String> {
    if sides.contains(&Ok(decides)) {
        return Ok(decides.into());
    }
    let [a, b] = sides;
    a.and(b).map(Value::from)
}

fn index(of: &Value, at: &Value) -> Result<Value, String> {
    let found = match (of, at) {
        (Value::Array(items), at) => {
            let at = at.as_u64().and_then(|at| usize::try_from(at).ok());
            at.and_then(|at| items.get(at))
        }
        (of, Value::String(key)) => of.get(key),
        _ => None,
    };
    found.cloned().ok_or_else(|| format!("no such key: {at}"))
}

fn compare(comparison: Comparison, a: &Value, b: &Value) -> Result<bool, String> {
    let mismatch = || format!("{a} and {b} cannot be compared in this way");
    if comparison == Comparison::In {
        return match b {
            Value::Array(items) => Ok(items.iter().any(|item| equal(item, a))),
            Value::Object(fields) => Ok(a.as_str().is_some_and(|key| fields.contains_key(key))),
            _ => Err(mismatch()),
        };
    }
    let same_kind = std::mem::discriminant(a) == std::mem::discriminant(b);
    match comparison {
        Comparison::Equal | Comparison::Unequal if same_kind || a.is_null() || b.is_null() => {
            return Ok(equal(a, b) == (comparison == Comparison::Equal));
        }
        _ => {}
    }
    let order = match (a, b) {
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        (Value::Number(a), Value::Number(b)) => a.as_f64().partial_cmp(&b.as_f64()),
        _ => None,
    };
    let order = order.ok_or_else(mismatch)?;
    Ok(match comparison {
        Comparison::Less => order == Ordering::Less,
        Comparison::AtMost => order != Ordering::Greater,
        Comparison::More => order == Ordering::Greater,
        _ => order != Ordering::Less,
    })
}

fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (a, b) => a == b,
    }
}

fn apply(function: Function, arguments: &[Value]) -> Result<Value, String> {
    let count = |n: usize| Value::from(u64::try_from(n).unwrap_or(u64::MAX));
    match (function, arguments) {
        (Function::Size, [Value::String(text)]) => Ok(count(text.chars().count())),
        (Function::Size, [Value::Array(items)]) => Ok(count(items.len())),
        (Function::Size, [Value::Object(fields)]) => Ok(count(fields.len())),
        (Function::Matches, [Value::String(text), Value::String(pattern)]) => {
            Ok(filters::expression(pattern)?.is_match(text).into())
        }
        (Function::StartsWith, [Value::String(text), Value::String(part)]) => {
            Ok(text.starts_with(part.as_str()).into())
        }
        (Function::EndsWith, [Value::String(text), Value::String(part)]) => {
            Ok(text.ends_with(part.as_str()).into())
        }
        (Function::Contains, [Value::String(text), Value::String(part)]) => {
            Ok(text.contains(part.as_str()).into())
        }
        _ => Err("no such overload: a function is given another kind of value".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn filters_judge_substitutions_and_the_event() {
        let texts = [("_TAG", "v1.2"), ("_ACTION", "INSERT"), ("_EMPTY", "")];
        let texts = texts.map(|(key, text)| (key.to_owned(), text.to_owned()));
        let substitutions = BTreeMap::from(texts);
        let payload =
            json!({"body": {"n": 3, "list": ["a", "b"], "deep": {"x": true}, "a-b": null}});
        let known = |name: &str| substitutions.contains_key(name) || name == "body";
        let judge = |text: &str| {
            let filter = Filter::parse(text, known).unwrap_or_else(|e| panic!("{text}: {e}"));
            filter.admits(&substitutions, &payload)
        };
        for (text, admitted) in [
            ("_ACTION == \"INSERT\"", true),
            ("_ACTION != 'INSERT'", false),
            ("_TAG.matches(\"^v[0-9]\") && _EMPTY == ''", true),
            ("!_TAG.startsWith('v')", false),
            ("!!(_TAG.endsWith('2') || _TAG.contains('x'))", true),
            ("_TAG in ['v1.2', 'v2']", true),
            ("'a' in body.list && body.list[1] == 'b'", true),
            ("size(body.list) >= 2 && _TAG.size() < 5", true),
            ("body.n > -1 && body.n <= 3", true),
            ("has(body.deep.x) && !has(body.deep.y)", true),
            ("body['a-b'] == null", true),
            ("'deep' in body", true),
            // Decided without the side that fails.
            ("body.none == 1 || true", true),
            ("false && body.none == 1", false),
            ("true || false && false", true),
            ("(_TAG == 'x') == false", true),
        ] {
            assert_eq!(judge(text), Ok(admitted), "{text}");
        }
        for text in [
            "body.none",
            "_TAG",
            "body.n == 'x'",
            "_TAG < 1",
            "_TAG && true",
            "size(body.n) == 1",
        ] {
            assert!(judge(text).is_err(), "{text}");
        }
    }

    #[test]
    fn all_else_of_the_language_is_refused() {
        let deep = format!("{}true{}", "(".repeat(40), ")".repeat(40));
        let long = "true || ".repeat(1000) + "true";
        for text in [
            "",
            "_X",
            "a ? b : c",
            "1 + 1 == 2",
            "_T == 1.5",
            "_T.all(x, x == 1)",
            "timestamp('x')",
            "_T ==",
            "== _T",
            "(_T",
            "_T)",
            "'open",
            "_T == \"\\d\"",
            "r'x' == _T",
            "_T.matches('(')",
            "has(_T)",
            "_T.matches()",
            "_T = 1",
            "_T == 1 == true",
            "{'a': 1}",
            "_T.",
            "[1,]",
            &deep,
            &long,
        ] {
            assert!(Filter::parse(text, |name| name == "_T").is_err(), "{text}");
        }
    }
}
