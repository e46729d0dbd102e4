//! The latest lines of an app, in memory.

use std::collections::VecDeque;

use memchr::{memchr, memrchr};

/// Lines, each with its line feed; the oldest go first.
#[derive(Debug, Default)]
pub(super) struct Recent {
    text: VecDeque<u8>,
}

impl Recent {
    /// How many bytes it holds.
    pub(super) fn bytes(&self) -> usize {
        self.text.len()
    }

    /// Adds whole lines, and lets go of old ones past `bytes_max`.
    pub(super) fn push(&mut self, lines: &[u8], bytes_max: usize) {
        if lines.len() >= bytes_max {
            self.text.clear();
            let from = lines.len() - bytes_max;
            // A line that begins right there is whole.
            let from = if from == 0 { 0 } else { next_line(lines, from - 1) };
            self.text.extend(&lines[from..]);
            return;
        }
        self.text.extend(lines);
        self.shrink(bytes_max);
    }

    /// Lets go of old lines past `bytes_max`.
    pub(super) fn shrink(&mut self, bytes_max: usize) {
        let excess = self.text.len().saturating_sub(bytes_max);
        if excess > 0 {
            let text = self.text.make_contiguous();
            let from = next_line(text, excess - 1);
            self.text.drain(..from);
        }
    }

    /// The last `lines` lines, or fewer, and whether there would have been as many.
    pub(super) fn last(&mut self, lines: usize) -> (&[u8], bool) {
        let text: &[u8] = self.text.make_contiguous();
        let mut from = text.len();
        for got in 0..lines {
            if from == 0 {
                return (text, got == lines);
            }
            from = memrchr(b'\n', &text[..from - 1]).map_or(0, |feed| feed + 1);
        }
        (&text[from..], true)
    }
}

/// Where the first line begins that is wholly after `at`.
fn next_line(text: &[u8], at: usize) -> usize {
    memchr(b'\n', &text[at..]).map_or(text.len(), |feed| at + feed + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(recent: &mut Recent) -> String {
        String::from_utf8(recent.last(usize::MAX).0.to_vec()).unwrap()
    }

    #[test]
    fn old_lines_go_whole() {
        let mut recent = Recent::default();
        recent.push(b"one\ntwo\n", 12);
        recent.push(b"three\n", 12);
        assert_eq!(all(&mut recent), "two\nthree\n");
        recent.push(b"four\n", 12);
        assert_eq!(all(&mut recent), "three\nfour\n");
        recent.push(b"a line too long\nfive\nsix\n", 9);
        assert_eq!(all(&mut recent), "five\nsix\n");
        recent.push(b"a line too long by far\n", 9);
        assert_eq!(all(&mut recent), "");
        recent.push(b"exact678\n", 9);
        assert_eq!(all(&mut recent), "exact678\n");
        recent.shrink(0);
        assert_eq!(recent.bytes(), 0);
    }

    #[test]
    fn the_last_lines_are_had_and_it_is_known_whether_that_is_all() {
        let mut recent = Recent::default();
        assert_eq!(recent.last(1), (&b""[..], false));
        assert_eq!(recent.last(0), (&b""[..], true));
        recent.push(b"one\n\nthree\n", 100);
        assert_eq!(recent.last(1), (&b"three\n"[..], true));
        assert_eq!(recent.last(2), (&b"\nthree\n"[..], true));
        assert_eq!(recent.last(3), (&b"one\n\nthree\n"[..], true));
        assert_eq!(recent.last(4), (&b"one\n\nthree\n"[..], false));
    }
}
