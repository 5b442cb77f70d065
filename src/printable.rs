//! Text of others, made harmless for a terminal, for JSON that is read on one, and for a command that
//! is pasted into one.
//!
//! A config, a table, a job's log or a container can hold bytes that a terminal obeys: escape sequences
//! that move the cursor, set its title or write its clipboard, and characters that turn the direction
//! of text, so that a line reads as another. They are shown as escapes, as in `\u{1b}`, and lose their
//! power. [`println!`](crate::println) and [`eprintln!`](crate::eprintln) are serin's own, which do that
//! to all that they print; who writes to a stream by other means calls [`text`] or [`line`] itself.
//! Colours are put around text that was made harmless, never let through: those of others can hide it.

use std::borrow::Cow;
use std::fmt::{self, Display, Write as _};

/// Whether a character is not shown as itself: it is a control character, or one that turns the
/// direction of text, breaks lines or has no width and no use in a line.
///
/// The joiners U+200C and U+200D stay: Persian, the scripts of India and emoji are written with them.
pub(crate) fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            // The direction of text.
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
            // Ends of lines and paragraphs.
            | '\u{2028}' | '\u{2029}'
            // No width: soft hyphen, space, word joiner and invisible operators, old format characters.
            | '\u{ad}' | '\u{200b}' | '\u{2060}'..='\u{2065}' | '\u{206a}'..='\u{206f}' | '\u{feff}'
            // Annotations and tags.
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// A text of any lines: line feeds and tabs stay.
pub(crate) fn text(text: &str) -> Cow<'_, str> {
    escaped(text, |c| is_hidden(c) && !matches!(c, '\n' | '\t'))
}

/// A text that must stay on its line: line feeds and tabs are shown as escapes too.
pub(crate) fn line(text: &str) -> Cow<'_, str> {
    escaped(text, is_hidden)
}

/// How many characters of a text a message repeats.
const SHOWN: usize = 40;

/// A text of others as a message repeats it: on its line, and cut after 40 characters.
pub(crate) fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", line(text.get(..end).unwrap_or_default())),
        None => line(text).into_owned(),
    }
}

fn escaped(text: &str, hides: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.chars().any(&hides) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if hides(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// JSON with the same value: what its writer left as it is (DEL, C1 and the rest of [`is_hidden`]) is
/// escaped as JSON escapes it. White space between its parts stays.
pub(crate) fn json(json: &str) -> Cow<'_, str> {
    let hides = |c: char| is_hidden(c) && !c.is_ascii_whitespace();
    if !json.chars().any(hides) {
        return Cow::Borrowed(json);
    }
    let mut shown = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if hides(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a string cannot fail.
                let _written = write!(shown, "\\u{unit:04x}");
            }
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// A share in percent, with one decimal and below 1% with two; never 0% or 100% for what only comes near.
pub(crate) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent > 0.0 && percent < 0.01 {
        return "<0.01%".to_owned();
    }
    if percent < 100.0 && percent > 99.9 {
        return ">99.9%".to_owned();
    }
    let scale = if percent < 1.0 { 100.0 } else { 10.0 };
    format!("{}%", (percent * scale).round() / scale)
}

/// A word as a shell takes it back: in quotes where it needs them. Where it holds what is not shown, it
/// stands in the `$'…'` of bash, zsh and POSIX.1-2024, so that the command can be printed.
pub(crate) fn word(text: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
    if !text.is_empty() && text.chars().all(bare) {
        return text.to_owned();
    }
    quoted_word(text)
}

/// The same, in quotes whatever it holds.
pub(crate) fn quoted_word(text: &str) -> String {
    if !text.chars().any(is_hidden) {
        return sh_word(text);
    }
    let mut word = String::from("$'");
    for c in text.chars() {
        match c {
            '\'' | '\\' => word.extend(['\\', c]),
            c if is_hidden(c) => {
                // By its bytes: `\u` depends on the locale. Three octal digits, which no digit after
                // them can lengthen.
                for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                    let _written = write!(word, "\\{byte:03o}");
                }
            }
            c => word.push(c),
        }
    }
    word + "'"
}

/// A word for any sh, whatever it holds: for a text that a shell evaluates and nobody reads.
pub(crate) fn sh_word(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// Shows a value as [`text`].
pub(crate) struct Printable<T>(pub T);

impl<T: Display> Display for Printable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        struct Escaping<'a, 'b>(&'a mut fmt::Formatter<'b>);
        impl fmt::Write for Escaping<'_, '_> {
            fn write_str(&mut self, part: &str) -> fmt::Result {
                self.0.write_str(&text(part))
            }
        }
        write!(Escaping(f), "{}", self.0)
    }
}

/// What [`println!`](crate::println) does.
pub(crate) fn print_line(line: fmt::Arguments<'_>) {
    #[cfg(test)]
    if tests::keep(line) {
        return;
    }
    ::std::println!("{}", Printable(line));
}

/// As the standard library's, and harmless for a terminal.
#[macro_export]
macro_rules! println {
    () => { ::std::println!() };
    ($($arguments:tt)*) => { $crate::printable::print_line(::std::format_args!($($arguments)*)) };
}

/// As the standard library's, and harmless for a terminal.
#[macro_export]
macro_rules! eprintln {
    () => { ::std::eprintln!() };
    ($($arguments:tt)*) => {
        ::std::eprintln!("{}", $crate::printable::Printable(::std::format_args!($($arguments)*)))
    };
}

#[cfg(test)]
pub(crate) use tests::printed;

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    thread_local! {
        static KEPT: RefCell<Option<String>> = const { RefCell::new(None) };
    }

    /// What a function gives, and the lines that it prints on this thread.
    pub(crate) fn printed<T>(run: impl FnOnce() -> T) -> (T, String) {
        KEPT.set(Some(String::new()));
        let value = run();
        (value, KEPT.take().unwrap_or_default())
    }

    /// Whether the line was kept instead of printed.
    pub(super) fn keep(line: fmt::Arguments<'_>) -> bool {
        KEPT.with_borrow_mut(|kept| match kept {
            Some(kept) => writeln!(kept, "{}", Printable(line)).is_ok(),
            None => false,
        })
    }

    #[test]
    fn what_a_terminal_obeys_is_shown_and_the_rest_stays() {
        for (raw, shown) in [
            ("a\u{1b}[2J\u{7}", "a\\u{1b}[2J\\u{7}"),
            ("\u{1b}]52;c;eA==\u{1b}\\", "\\u{1b}]52;c;eA==\\u{1b}\\"),
            ("\u{9b}31m\u{7f}\u{8}", "\\u{9b}31m\\u{7f}\\u{8}"),
            ("10%\r20%", "10%\\r20%"),
            (
                "\u{202e}txt\u{2066}\u{200f}\u{61c}",
                "\\u{202e}txt\\u{2066}\\u{200f}\\u{61c}",
            ),
            (
                "a\u{200b}b\u{feff}\u{2028}",
                "a\\u{200b}b\\u{feff}\\u{2028}",
            ),
            (
                "two\nlines\tö 👩\u{200d}🚀 می\u{200c}خواهم \\",
                "two\nlines\tö 👩\u{200d}🚀 می\u{200c}خواهم \\",
            ),
        ] {
            assert_eq!(text(raw), shown);
            assert_eq!(Printable(raw).to_string(), shown);
            assert_eq!(
                format!("{}", Printable(format_args!("{raw}!"))),
                format!("{shown}!")
            );
        }
        assert_eq!(line("two\nlines\t"), "two\\nlines\\t");
    }

    #[test]
    fn json_stays_the_same_value() {
        let value = serde_json::json!({"a\u{7f}": "\u{9b}2J \u{202e} \u{e0041} \n ä"});
        for written in [
            serde_json::to_string(&value).unwrap(),
            serde_json::to_string_pretty(&value).unwrap(),
        ] {
            let shown = json(&written);
            assert!(!shown.chars().any(|c| is_hidden(c) && c != '\n'), "{shown}");
            assert_eq!(
                serde_json::from_str::<serde_json::Value>(&shown).unwrap(),
                value
            );
        }
    }

    #[test]
    fn a_shell_takes_words_back() {
        assert_eq!(word("data/a.csv"), "data/a.csv");
        assert_eq!(word(""), "''");
        assert_eq!(word("it's"), "'it'\\''s'");
        assert_eq!(quoted_word("c"), "'c'");
        for text in [
            "a b",
            "$(id)",
            "`id`",
            "a\nb",
            "\u{1b}[2J1",
            "\\\u{7}'",
            "x\u{202e}9\\n",
        ] {
            let word = word(text);
            assert!(!word.chars().any(is_hidden), "{word}");
            // Where there is no bash, the words stand as they are written above.
            if let Ok(printed) = Command::new("bash")
                .args(["-c", &format!("printf %s {word}")])
                .output()
            {
                assert_eq!(String::from_utf8(printed.stdout).unwrap(), text, "{word}");
            }
        }
    }

    #[test]
    fn a_share_near_an_end_is_not_rounded_to_it() {
        for (share, text) in [
            (0.0, "0%"),
            (0.000_01, "<0.01%"),
            (0.0002, "0.02%"),
            (0.005, "0.5%"),
            (1.0 / 3.0, "33.3%"),
            (0.5, "50%"),
            (0.99996, ">99.9%"),
            (1.0, "100%"),
        ] {
            assert_eq!(percent(share), text);
        }
    }

    #[test]
    fn a_shown_text_is_short_and_on_one_line() {
        assert_eq!(shown("a\r\nb \"c\" é"), "a\\r\\nb \"c\" é");
        assert_eq!(shown(&"x".repeat(50)), format!("{}…", "x".repeat(40)));
        assert_eq!(shown(&"é".repeat(40)), "é".repeat(40));
    }

    proptest! {
        #[test]
        fn nothing_that_is_hidden_is_printed(any in any::<String>()) {
            prop_assert!(!line(&any).chars().any(is_hidden));
            prop_assert!(!text(&any).chars().any(|c| is_hidden(c) && !matches!(c, '\n' | '\t')));
            prop_assert!(!word(&any).chars().any(is_hidden));
        }
    }
}
