//! What people see: colours if they can be seen, and one write for each view.

use std::io::{self, IsTerminal, Write};

/// Whether the screen shows colours.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Palette {
    /// Text only.
    Plain,
    /// ANSI colours.
    Colour,
}

/// What a piece of text means.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Paint {
    /// Nothing special.
    Normal,
    /// Works.
    Good,
    /// Works, but look at it.
    Warn,
    /// Does not work.
    Bad,
    /// Beside the point.
    Dim,
    /// A heading.
    Bold,
}

impl Palette {
    /// Colours on a terminal, unless `NO_COLOR` is set (no-color.org) or the terminal is dumb.
    pub(crate) fn of_stdout() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        if !refused && io::stdout().is_terminal() { Self::Colour } else { Self::Plain }
    }

    /// `text`, painted. Control characters, which could paint by themselves, are replaced.
    pub(crate) fn paint(self, paint: Paint, text: &str) -> String {
        let text: String = text
            .chars()
            .map(|letter| if letter.is_control() { '\u{fffd}' } else { letter })
            .collect();
        let code = match (self, paint) {
            (Self::Plain, _) | (Self::Colour, Paint::Normal) => return text,
            (Self::Colour, Paint::Good) => "32",
            (Self::Colour, Paint::Warn) => "33",
            (Self::Colour, Paint::Bad) => "31",
            (Self::Colour, Paint::Dim) => "2",
            (Self::Colour, Paint::Bold) => "1",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// `text`, line by line, so that only its line feeds stay.
    pub(crate) fn lines(self, paint: Paint, indent: &str, text: &str) -> String {
        let lines = text.lines().map(|line| format!("{indent}{}", self.paint(paint, line)));
        lines.map(|line| format!("{}\n", line.trim_end())).collect()
    }
}

/// Whether views may be drawn over each other.
pub(crate) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Writes `text` to standard output.
pub(crate) fn show(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Draws `view` over the one before, without a flicker: each line is cleared as it is written.
pub(crate) fn redraw(view: &str) -> io::Result<()> {
    show(&format!("\x1b[H{}\x1b[J", view.replace('\n', "\x1b[K\n")))
}

/// A view below what was shown before, to be drawn over itself again and again.
#[derive(Debug, Default)]
pub(crate) struct Block {
    /// Lines that it has on the screen.
    height: usize,
}

impl Block {
    /// Draws `view` in place of the one before. Lines are cut at the edge of the screen: one that
    /// went on below would be counted wrong.
    pub(crate) fn draw(&mut self, view: &str) -> io::Result<()> {
        show(&self.frame(view))
    }

    fn frame(&mut self, view: &str) -> String {
        let up = match std::mem::replace(&mut self.height, view.lines().count()) {
            0 => String::new(),
            height => format!("\x1b[{height}A"),
        };
        format!("\x1b[?7l{up}\r{}\x1b[J\x1b[?7h", view.replace('\n', "\x1b[K\n"))
    }
}

/// Writes `value` as one line of JSON.
pub(crate) fn show_json(value: &impl serde::Serialize) -> io::Result<()> {
    let mut text = serde_json::to_string(value)?;
    text.push('\n');
    show(&text)
}

/// How a state is painted.
pub(crate) fn paint_of(state: &str) -> Paint {
    match state {
        "up" | "ready" | "healthy" | "info" | "done" => Paint::Good,
        "down" | "backoff" | "fatal" | "stuck" | "unhealthy" | "error" | "failed" => Paint::Bad,
        "stopped" => Paint::Dim,
        _ => Paint::Warn,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_drawn_over_itself_whatever_its_height() {
        let mut block = Block::default();
        assert_eq!(block.frame("a\nb\n"), "\x1b[?7l\ra\x1b[K\nb\x1b[K\n\x1b[J\x1b[?7h");
        assert_eq!(block.frame("c\n"), "\x1b[?7l\x1b[2A\rc\x1b[K\n\x1b[J\x1b[?7h");
        assert_eq!(block.frame(""), "\x1b[?7l\x1b[1A\r\x1b[J\x1b[?7h");
    }

    #[test]
    fn nothing_a_node_says_reaches_the_terminal_as_a_command() {
        let evil = "a\x1b]0;owned\x07\nb";
        assert_eq!(Palette::Plain.paint(Paint::Bad, evil), "a\u{fffd}]0;owned\u{fffd}\u{fffd}b");
        let painted = Palette::Colour.paint(Paint::Bad, evil);
        assert_eq!(painted.matches('\x1b').count(), 2, "{painted:?}");
        assert_eq!(
            Palette::Plain.lines(Paint::Normal, "  ", evil),
            "  a\u{fffd}]0;owned\u{fffd}\n  b\n"
        );
    }
}
