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

    /// `text` in one of a few colours that mean nothing but tell things apart.
    pub(crate) fn tint(self, seed: usize, text: &str) -> String {
        const CODES: [&str; 6] = ["36", "33", "32", "35", "34", "96"];
        let text = Self::Plain.paint(Paint::Normal, text);
        match self {
            Self::Plain => text,
            Self::Colour => format!("\x1b[{}m{text}\x1b[0m", CODES[seed % CODES.len()]),
        }
    }

    /// A line of somebody who may have meant it for a terminal: tabs stay, and where we paint its
    /// own colours too; all other control characters are replaced.
    pub(crate) fn foreign(self, line: &str) -> String {
        let mut text = String::with_capacity(line.len());
        let mut left = line;
        let mut is_painted = false;
        while let Some(letter) = left.chars().next() {
            if let Some(length) = colour_length(left) {
                if self == Self::Colour {
                    text.push_str(&left[..length]);
                    is_painted = true;
                }
                left = &left[length..];
                continue;
            }
            let is_shown = !letter.is_control() || letter == '\t';
            text.push(if is_shown { letter } else { '\u{fffd}' });
            left = &left[letter.len_utf8()..];
        }
        if is_painted {
            text.push_str("\x1b[0m");
        }
        text
    }

    /// `text`, line by line, so that only its line feeds stay.
    pub(crate) fn lines(self, paint: Paint, indent: &str, text: &str) -> String {
        let lines = text.lines().map(|line| format!("{indent}{}", self.paint(paint, line)));
        lines.map(|line| format!("{}\n", line.trim_end())).collect()
    }
}

/// How long the change of colours (ECMA-48, 8.3.117) is that `text` begins with, if it does.
fn colour_length(text: &str) -> Option<usize> {
    let parameters = text.strip_prefix("\x1b[")?;
    let length = parameters.find(|letter: char| !letter.is_ascii_digit() && letter != ';')?;
    parameters[length..].starts_with('m').then_some("\x1b[".len() + length + 1)
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

/// Cells of a [`bar`].
const BAR_CELLS: u16 = 24;

/// A bar that shows `done` of `of`.
pub(crate) fn bar(done: u16, of: u16) -> String {
    let filled = u32::from(done) * u32::from(BAR_CELLS) / u32::from(of).max(1);
    (0..u32::from(BAR_CELLS)).map(|cell| if cell < filled { '█' } else { '░' }).collect()
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
    fn an_app_may_paint_its_own_lines_and_do_nothing_else() {
        let line = "\x1b[1;31mno\x1b[0m\t\x1b[2Jyes\x1b[";
        assert_eq!(Palette::Plain.foreign(line), "no\t\u{fffd}[2Jyes\u{fffd}[");
        assert_eq!(
            Palette::Colour.foreign(line),
            "\x1b[1;31mno\x1b[0m\t\u{fffd}[2Jyes\u{fffd}[\x1b[0m"
        );
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
