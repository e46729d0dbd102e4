//! What an app prints, as lines: `2026-11-21T03:05:00.123Z shop/0.3 text`.
//!
//! The same form is written to files, kept in memory and read back for `evergate logs`. A line that
//! is too long is cut into pieces: `…` ends a piece that goes on and begins the one that follows.

use evergate_control::link::Run;
use evergate_control::snapshot::LogLine;
use evergate_core::time::Calendar;
use memchr::memchr;

/// Longest line, in bytes; a longer one is cut.
pub(super) const LINE_BYTES_MAX: usize = 16 * 1024;
/// A block is full when its text has this many bytes.
const BLOCK_BYTES: usize = 128 * 1024;
/// Says that a line goes on, or that it is not the beginning.
const CUT: &str = "…";

/// Lines of one run, each with its line feed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Block {
    pub(super) text: Vec<u8>,
    pub(super) lines: u64,
}

/// Cuts what one run prints into lines.
#[derive(Debug, Default)]
pub(super) struct Cutter {
    /// The beginning of a line, when it could not stay where it came from.
    carry: Vec<u8>,
    /// Whether the next piece is not the beginning of its line.
    is_amid: bool,
}

/// The beginning of a line that is not in its pipe any more, for whoever goes on with it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::worker) struct Unended {
    /// At most [`LINE_BYTES_MAX`] bytes.
    pub(in crate::worker) text: Vec<u8>,
    /// Whether it is not the beginning of its line.
    pub(in crate::worker) is_amid: bool,
}

/// What becomes of a last line that has no end yet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Rest {
    /// It is left, and will be seen again.
    Leave,
    /// It is kept here.
    Carry,
    /// Nothing follows: it is a line.
    End,
}

impl Cutter {
    /// Goes on where another one stopped.
    pub(super) fn resume(unended: Unended) -> Self {
        Self { carry: unended.text, is_amid: unended.is_amid }
    }

    /// Where another one has to go on; nothing if that is between two lines.
    pub(super) fn stop(self) -> Option<Unended> {
        let Self { carry: text, is_amid } = self;
        (is_amid || !text.is_empty()).then_some(Unended { text, is_amid })
    }

    /// The lines in `bytes`, which follow all that was used before, with `head` before each; and
    /// how many of the bytes are used up. With a full block more lines may be left.
    pub(super) fn cut(&mut self, bytes: &[u8], rest: Rest, head: &[u8]) -> (Block, usize) {
        let carried = std::mem::take(&mut self.carry);
        let held = carried.len();
        if held == 0 {
            return self.cut_whole(bytes, 0, rest, head);
        }
        let mut whole = carried;
        whole.extend_from_slice(bytes);
        self.cut_whole(&whole, held, rest, head)
    }

    /// Cuts `whole`, of which the first `held` bytes were used before.
    fn cut_whole(&mut self, whole: &[u8], held: usize, rest: Rest, head: &[u8]) -> (Block, usize) {
        let mut block = Block::default();
        let mut at = 0;
        while block.text.len() < BLOCK_BYTES {
            let left = &whole[at..];
            let window = &left[..left.len().min(LINE_BYTES_MAX)];
            if let Some(end) = memchr(b'\n', window) {
                self.push(&mut block, head, &left[..end], Goes::No);
                at += end + 1;
            } else if left.len() > LINE_BYTES_MAX {
                let length = boundary(window);
                self.push(&mut block, head, &left[..length], Goes::On);
                at += length;
            } else {
                break;
            }
        }
        let is_full = block.text.len() >= BLOCK_BYTES;
        match rest {
            Rest::End if !is_full && at < whole.len() => {
                self.push(&mut block, head, &whole[at..], Goes::No);
                at = whole.len();
            }
            Rest::Carry if !is_full => {
                self.carry = whole[at..].to_vec();
                at = whole.len();
            }
            Rest::End | Rest::Carry | Rest::Leave if at < held => {
                self.carry = whole[at..held].to_vec();
                at = held;
            }
            Rest::End | Rest::Carry | Rest::Leave => {}
        }
        (block, at - held)
    }

    fn push(&mut self, block: &mut Block, head: &[u8], text: &[u8], goes: Goes) {
        block.text.extend_from_slice(head);
        if self.is_amid {
            block.text.extend_from_slice(CUT.as_bytes());
        }
        match goes {
            Goes::No => block.text.extend_from_slice(text.strip_suffix(b"\r").unwrap_or(text)),
            Goes::On => {
                block.text.extend_from_slice(text);
                block.text.extend_from_slice(CUT.as_bytes());
            }
        }
        block.text.push(b'\n');
        block.lines += 1;
        self.is_amid = goes == Goes::On;
    }
}

/// Whether a line goes on in the next piece.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Goes {
    On,
    No,
}

/// Where to cut `bytes` so that no character of UTF-8 is torn; near the end.
fn boundary(bytes: &[u8]) -> usize {
    let is_inner = |byte: u8| byte & 0b1100_0000 == 0b1000_0000;
    let back = bytes.iter().rev().take_while(|byte| is_inner(**byte)).take(3).count();
    // The first byte of that character goes too, if there is one.
    let first = bytes.len() - back - 1;
    if bytes[first] >= 0b1100_0000 && first > 0 { first } else { bytes.len() }
}

/// What comes before each line that `run` printed at that time, in milliseconds of Unix time.
pub(super) fn head(run: &Run, at_ms: u64) -> String {
    let at = Calendar::of(at_ms / 1000);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z {}/{}.{} ",
        at.year % 10_000,
        at.month,
        at.day,
        at.hour,
        at.minute,
        at.second,
        at_ms % 1000,
        run.app,
        run.number,
        run.generation
    )
}

/// Every line in `text` that has the form, in order.
pub(super) fn read(text: &[u8]) -> impl DoubleEndedIterator<Item = LogLine> {
    text.split(|byte| *byte == b'\n').filter_map(parse)
}

/// A line without its line feed.
pub(super) fn parse(line: &[u8]) -> Option<LogLine> {
    let mut parts = line.splitn(3, |byte| *byte == b' ');
    let at_ms = moment(std::str::from_utf8(parts.next()?).ok()?)?;
    let run = std::str::from_utf8(parts.next()?).ok()?;
    let (app, rest) = run.rsplit_once('/')?;
    let (instance, generation) = rest.split_once('.')?;
    Some(LogLine {
        at_ms,
        app: app.to_owned(),
        instance: instance.parse().ok()?,
        generation: generation.parse().ok()?,
        text: String::from_utf8_lossy(parts.next()?).into_owned(),
    })
}

/// `2026-11-21T03:05:00.123Z`, in milliseconds of Unix time.
fn moment(text: &str) -> Option<u64> {
    let number = |at: std::ops::Range<usize>| text.get(at)?.parse::<u64>().ok();
    let at = Calendar {
        year: number(0..4)?,
        month: number(5..7)?,
        day: number(8..10)?,
        hour: number(11..13)?,
        minute: number(14..16)?,
        second: number(17..19)?,
    };
    let is_formed = text.len() == 24 && text.ends_with('Z');
    Some(at.seconds()? * 1000 + number(20..23).filter(|_| is_formed)?)
}

#[cfg(test)]
mod tests {
    use evergate_core::rng::Rng;

    use super::*;

    const HEAD: &[u8] = b"> ";

    fn text(block: &Block) -> &str {
        std::str::from_utf8(&block.text).unwrap()
    }

    #[test]
    fn a_line_without_end_is_left_kept_or_ended() {
        let mut cutter = Cutter::default();
        let (block, used) = cutter.cut(b"one\r\n\ntwo", Rest::Leave, HEAD);
        assert_eq!((text(&block), block.lines, used), ("> one\n> \n", 2, 6));
        let (block, used) = cutter.cut(b"two", Rest::Carry, HEAD);
        assert_eq!((text(&block), used, cutter.carry.len()), ("", 3, 3));
        let (block, used) = cutter.cut(b" three", Rest::Leave, HEAD);
        assert_eq!((text(&block), used, cutter.carry.len()), ("", 0, 3));
        let (block, used) = cutter.cut(b" three\nfour", Rest::End, HEAD);
        assert_eq!((text(&block), used), ("> two three\n> four\n", 11));
        assert_eq!(cutter.cut(b"", Rest::End, HEAD), (Block::default(), 0));
    }

    #[test]
    fn another_goes_on_where_one_stopped() {
        let mut cutter = Cutter::default();
        let long = "y".repeat(LINE_BYTES_MAX + 10);
        let (block, used) = cutter.cut(format!("one\n{long}").as_bytes(), Rest::Carry, HEAD);
        assert_eq!((block.lines, used), (2, 4 + long.len()));
        let unended = cutter.stop().unwrap();
        assert_eq!((unended.text.len(), unended.is_amid), (10, true));
        let mut cutter = Cutter::resume(unended);
        let (block, _) = cutter.cut(b"z\n", Rest::Leave, HEAD);
        assert_eq!(text(&block), "> …yyyyyyyyyyz\n");
        assert_eq!(cutter.stop(), None);
    }

    #[test]
    fn a_long_line_is_cut_between_characters_and_marked() {
        let line = "ä".repeat(LINE_BYTES_MAX) + "z\nnext\n";
        let mut cutter = Cutter::default();
        let (block, used) = cutter.cut(format!("x{line}").as_bytes(), Rest::Leave, b"");
        assert_eq!(used, line.len() + 1);
        let pieces: Vec<&str> = text(&block).lines().collect();
        assert_eq!(pieces.len(), 4, "{block:?}");
        assert!(pieces[0].starts_with('x') && pieces[0].ends_with("ä…"));
        assert!(pieces[1].starts_with("…ä") && pieces[1].ends_with("ä…"));
        assert!(pieces[2].starts_with("…ä") && pieces[2].ends_with("äz"));
        assert_eq!(pieces[3], "next");
        assert_eq!(text(&block).replace("…\n…", ""), format!("x{line}"));
    }

    #[test]
    fn a_line_as_long_as_allowed_is_whole() {
        let line = "x".repeat(LINE_BYTES_MAX);
        let mut cutter = Cutter::default();
        let (block, used) = cutter.cut(line.as_bytes(), Rest::Leave, b"");
        assert_eq!((block.lines, used), (0, 0), "its end may be next");
        let (block, _) = cutter.cut(line.as_bytes(), Rest::End, b"");
        assert_eq!(text(&block), format!("{line}\n"));
    }

    #[test]
    fn any_way_of_delivery_gives_the_same_lines() {
        let mut rng = Rng::seeded(11);
        let mut bytes = Vec::new();
        for number in 0..2000 {
            let long = if rng.below(100) == 0 { LINE_BYTES_MAX as u32 * 3 } else { 60 };
            bytes.extend(format!("{number} ").into_bytes());
            bytes.extend(vec![b'x'; rng.below(long) as usize]);
            bytes.push(b'\n');
        }
        let mut whole = Cutter::default();
        let mut expected = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let (block, used) = whole.cut(&bytes[at..], Rest::End, HEAD);
            expected.extend(block.text);
            at += used;
        }
        let mut cutter = Cutter::default();
        let (mut got, mut at, mut lines) = (Vec::new(), 0, 0);
        while at < bytes.len() || !cutter.carry.is_empty() {
            let to = bytes.len().min(at + rng.below(90_000) as usize);
            let rest = match rng.below(3) {
                _ if to == bytes.len() => Rest::End,
                0 => Rest::Carry,
                _ => Rest::Leave,
            };
            let (block, used) = cutter.cut(&bytes[at..to], rest, HEAD);
            lines += block.lines;
            got.extend(block.text);
            at += used;
        }
        assert!(got == expected, "the lines differ");
        assert_eq!(lines, memchr::memchr_iter(b'\n', &expected).count() as u64);
    }

    #[test]
    fn a_block_is_bounded_whatever_is_printed() {
        let mut cutter = Cutter::default();
        let feeds = vec![b'\n'; 64 * 1024];
        let head = head(&Run { app: "shop".into(), number: 0, generation: 1 }, 0);
        let (block, used) = cutter.cut(&feeds, Rest::End, head.as_bytes());
        assert!(block.text.len() <= BLOCK_BYTES + head.len());
        assert_eq!(used as u64, block.lines);
    }

    #[test]
    fn a_line_is_read_back_as_it_was_written() {
        let run = Run { app: "shop".into(), number: 12, generation: 3 };
        let head = head(&run, 1_795_230_300_123);
        assert_eq!(head, "2026-11-21T03:05:00.123Z shop/12.3 ");
        let line = LogLine {
            at_ms: 1_795_230_300_123,
            app: "shop".into(),
            instance: 12,
            generation: 3,
            text: "GET / 200 ".into(),
        };
        assert_eq!(parse(format!("{head}GET / 200 ").as_bytes()), Some(line.clone()));
        let text = format!("torn\n{head}GET / 200 \n{head}\n");
        let lines: Vec<_> = read(text.as_bytes()).collect();
        assert_eq!(lines, [line.clone(), LogLine { text: String::new(), ..line }]);
        for text in ["", "x", "2026-11-21T03:05:00.123Z shop/x.3 text", "2026-13-21T03:05:00.123Z"]
        {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }
}
