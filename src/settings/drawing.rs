//! The line of a settings file that a message is about, drawn as compilers do.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::yaml::Mark;

/// How much of a line is shown on each side of where the marked part begins, in bytes.
const SHOWN: usize = 160;

/// Draws the marked part of its line, of a long one what stands around it.
pub(crate) fn draw(text: &str, mark: &Mark) -> String {
    let start = text.floor_char_boundary(mark.start);
    let (before, rest) = text.split_at(start);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let line_start = line_start.max(text.ceil_char_boundary(start.saturating_sub(SHOWN)));
    let rest = rest
        .get(..rest.floor_char_boundary(SHOWN))
        .unwrap_or_default();
    let rest = rest.split(['\r', '\n']).next().unwrap_or_default();
    let marked = mark.end.saturating_sub(start).min(rest.len());
    let line = text.get(line_start..start + rest.len());
    let from = start - line_start;
    let snippet = Snippet::source(line.unwrap_or_default())
        .line_start(mark.line)
        .annotation(AnnotationKind::Primary.span(from..from + marked));
    Renderer::plain().render(&[Group::with_level(Level::ERROR).element(snippet)])
}
