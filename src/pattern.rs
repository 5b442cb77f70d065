//! The shell's patterns: `*`, `?`, `[a-z]`, `[!a-z]`, and `\` before a character that stands for itself.

/// A compiled pattern. What `*` may cross is up to the caller: it is given one segment or a whole text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Glob(Vec<Token>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Char(char),
    One,
    Many,
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

impl Glob {
    /// Compiles a pattern; every text is one. A `[` without its `]` stands for itself.
    pub(crate) fn new(pattern: &str) -> Self {
        let chars: Vec<char> = pattern.chars().collect();
        let mut tokens = Vec::with_capacity(chars.len());
        let mut i = 0;
        while let Some(&c) = chars.get(i) {
            i += 1;
            match c {
                '*' if tokens.last() == Some(&Token::Many) => {}
                '*' => tokens.push(Token::Many),
                '?' => tokens.push(Token::One),
                '[' => match class(&chars[i..]) {
                    Some((class, length)) => {
                        tokens.push(class);
                        i += length;
                    }
                    None => tokens.push(Token::Char('[')),
                },
                '\\' if i < chars.len() => {
                    tokens.push(Token::Char(chars[i]));
                    i += 1;
                }
                c => tokens.push(Token::Char(c)),
            }
        }
        Self(tokens)
    }

    /// How many parts the pattern has: a bound for the work of matching it.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the pattern covers the whole text.
    pub(crate) fn matches(&self, text: &str) -> bool {
        let chars: Vec<char> = text.chars().collect();
        self.prefixes(&chars).last().copied() == Some(chars.len())
    }

    /// The lengths of the text's beginnings that the pattern covers, from the shortest.
    pub(crate) fn prefixes(&self, text: &[char]) -> Vec<usize> {
        // One bit for each number of tokens that have been matched so far.
        let mut states = vec![false; self.0.len() + 1];
        states[0] = true;
        self.skip_stars(&mut states);
        let mut lengths = Vec::new();
        for length in 0..=text.len() {
            if states[self.0.len()] {
                lengths.push(length);
            }
            let Some(&c) = text.get(length) else { break };
            let mut next = vec![false; states.len()];
            for (i, token) in self.0.iter().enumerate() {
                if !states[i] {
                    continue;
                }
                match token {
                    Token::Many => next[i] = true,
                    token if token.takes(c) => next[i + 1] = true,
                    _ => {}
                }
            }
            self.skip_stars(&mut next);
            if !next.contains(&true) {
                break;
            }
            states = next;
        }
        lengths
    }

    /// A star covers nothing, too.
    fn skip_stars(&self, states: &mut [bool]) {
        for (i, token) in self.0.iter().enumerate() {
            if *token == Token::Many && states[i] {
                states[i + 1] = true;
            }
        }
    }
}

impl Token {
    fn takes(&self, c: char) -> bool {
        match self {
            Self::Char(own) => *own == c,
            Self::One | Self::Many => true,
            Self::Class { negated, ranges } => {
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated
            }
        }
    }
}

/// A class from behind its `[`, and how many characters it takes with its `]`.
fn class(chars: &[char]) -> Option<(Token, usize)> {
    let mut i = 0;
    let negated = matches!(chars.first(), Some('!' | '^'));
    if negated {
        i += 1;
    }
    let first = i;
    let mut ranges = Vec::new();
    loop {
        let mut c = *chars.get(i)?;
        if c == ']' && i > first {
            return Some((Token::Class { negated, ranges }, i + 1));
        }
        if c == '[' && chars.get(i + 1) == Some(&':') {
            let inside = &chars[i + 2..];
            let length = inside.windows(2).position(|w| w == [':', ']'])?;
            let name: String = inside[..length].iter().collect();
            ranges.extend(named(&name)?);
            i += 2 + length + 2;
            continue;
        }
        if c == '\\' {
            i += 1;
            c = *chars.get(i)?;
        }
        i += 1;
        let to = match (chars.get(i), chars.get(i + 1)) {
            (Some('-'), Some('\\')) => chars.get(i + 2).map(|to| (*to, 3)),
            (Some('-'), Some(to)) if *to != ']' => Some((*to, 2)),
            _ => None,
        };
        match to {
            Some((to, length)) => {
                ranges.push((c, to));
                i += length;
            }
            None => ranges.push((c, c)),
        }
    }
}

/// The ASCII characters of a class such as `[:digit:]`.
fn named(name: &str) -> Option<Vec<(char, char)>> {
    let holds: fn(&char) -> bool = match name {
        "alnum" => char::is_ascii_alphanumeric,
        "alpha" => char::is_ascii_alphabetic,
        "blank" => |c| matches!(c, ' ' | '\t'),
        "cntrl" => char::is_ascii_control,
        "digit" => char::is_ascii_digit,
        "graph" => char::is_ascii_graphic,
        "lower" => char::is_ascii_lowercase,
        "print" => |c| matches!(c, ' '..='~'),
        "punct" => char::is_ascii_punctuation,
        "space" => |c| matches!(c, ' ' | '\t'..='\r'),
        "upper" => char::is_ascii_uppercase,
        "xdigit" => char::is_ascii_hexdigit,
        _ => return None,
    };
    Some(('\0'..='\x7f').filter(holds).map(|c| (c, c)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn patterns_are_the_shells() {
        for (pattern, yes, no) in [
            ("*.csv", "a.csv .csv a.b.csv", "a.csvx csv"),
            ("a?c", "abc a?c", "ac abbc"),
            ("[a-c]x", "ax cx", "dx -x"),
            ("[!a-c]x", "dx", "ax x"),
            ("[]a]", "] a", "b"),
            ("[a-]", "a -", "b"),
            ("[[:digit:]_]", "7 _", "a :"),
            ("[ab", "[ab", "a"),
            ("\\*", "*", "a \\*"),
            ("a*b*c", "abc axbxc abcbc", "acb ab"),
            ("a\\", "a\\", "a"),
            ("**", "a", "a/b/"),
        ] {
            let glob = Glob::new(pattern);
            for text in yes.split(' ') {
                assert!(glob.matches(text), "{pattern} {text}");
            }
            for text in no.split(' ').filter(|_| pattern != "**") {
                assert!(!glob.matches(text), "{pattern} {text}");
            }
        }
    }

    #[test]
    fn prefixes_come_from_the_shortest() {
        let text: Vec<char> = "abcabc".chars().collect();
        assert_eq!(Glob::new("*c").prefixes(&text), [3, 6]);
        assert_eq!(Glob::new("").prefixes(&text), [0]);
        assert!(Glob::new("x").prefixes(&text).is_empty());
    }

    #[test]
    fn a_class_name_that_does_not_end_is_no_class() {
        assert!(Glob::new("[[:]").matches("[:"));
        assert!(Glob::new("[[:digit:]x]").matches("7"));
    }

    proptest! {
        #[test]
        fn a_text_without_signs_matches_itself_and_no_pattern_panics(
            text in "[a-z/.]{0,12}", pattern in "[a-c*?\\[\\]!\\\\:-]{0,12}",
        ) {
            prop_assert!(Glob::new(&text).matches(&text));
            prop_assert!(Glob::new("*").matches(&text));
            let _matched = Glob::new(&pattern).matches(&text);
        }
    }
}
