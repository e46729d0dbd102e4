//! The last lines of files, read from their ends.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use evergate_control::snapshot::LogLine;
use memchr::memchr;

use super::lines;

/// Read at a time.
const CHUNK_BYTES: u64 = 64 * 1024;
/// Most bytes that are read for one answer.
const READ_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// The last `lines_max` lines that are `wanted` in `files`, oldest first. The newest file comes
/// first, each with the number of its bytes that count. What cannot be read is left out.
pub(super) fn last(
    files: Vec<(File, u64)>,
    lines_max: usize,
    wanted: impl Fn(&LogLine) -> bool,
) -> Vec<LogLine> {
    let mut found = Vec::new();
    let mut bytes_left = READ_BYTES_MAX;
    for (file, length) in files {
        let mut backwards = Backwards { file, end: length, begun: Vec::new() };
        while found.len() < lines_max && backwards.end > 0 && bytes_left > 0 {
            let Ok(text) = backwards.chunk() else { break };
            bytes_left = bytes_left.saturating_sub(text.len() as u64);
            let room = lines_max - found.len();
            found.extend(lines::read(&text).rev().filter(|line| wanted(line)).take(room));
        }
    }
    found.reverse();
    found
}

/// A file that is read from its end.
struct Backwards {
    file: File,
    /// What is before this is not read yet.
    end: u64,
    /// Of the line whose beginning is not read yet.
    begun: Vec<u8>,
}

impl Backwards {
    /// Whole lines before those that were read.
    fn chunk(&mut self) -> io::Result<Vec<u8>> {
        let start = self.end.saturating_sub(CHUNK_BYTES);
        let mut text = vec![0; usize::try_from(self.end - start).unwrap_or(0)];
        self.file.read_exact_at(&mut text, start)?;
        text.append(&mut self.begun);
        self.end = start;
        if start > 0 {
            let first = memchr(b'\n', &text).map_or(text.len(), |feed| feed + 1);
            let whole = text.split_off(first);
            self.begun = std::mem::replace(&mut text, whole);
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use evergate_control::link::Run;

    use super::*;

    fn file(text: &[u8]) -> (File, u64) {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text).unwrap();
        (file, text.len() as u64)
    }

    fn line(number: u32, text: &str) -> String {
        let run = Run { app: "shop".into(), number: (number % 2) as u16, generation: number };
        lines::head(&run, 1_795_230_300_000) + text + "\n"
    }

    fn numbers(lines: &[LogLine]) -> Vec<u32> {
        lines.iter().map(|line| line.generation).collect()
    }

    #[test]
    fn lines_are_read_across_chunks_and_files() {
        let long = "x".repeat(lines::LINE_BYTES_MAX);
        let text = |range: std::ops::Range<u32>| {
            range.map(|number| line(number, &long[number as usize..])).collect::<String>()
        };
        let (older, newer) = (text(0..20), text(20..40));
        let files = || vec![file(newer.as_bytes()), file(older.as_bytes())];
        let all = last(files(), 100, |_| true);
        assert_eq!(numbers(&all), (0..40).collect::<Vec<_>>());
        assert!(all.iter().all(|line| line.text == long[line.generation as usize..]));
        assert_eq!(numbers(&last(files(), 25, |_| true)), (15..40).collect::<Vec<_>>());
        let odd = last(files(), 3, |line| line.instance == 1);
        assert_eq!(numbers(&odd), [35, 37, 39]);
    }

    #[test]
    fn what_was_written_later_does_not_count() {
        let (first, second) = (line(1, "a"), line(2, "b"));
        let (written, _) = file((first.clone() + &second).as_bytes());
        assert_eq!(numbers(&last(vec![(written, first.len() as u64)], 9, |_| true)), [1]);
    }

    #[test]
    fn a_file_without_lines_has_none() {
        let junk = vec![0; 3 * CHUNK_BYTES as usize];
        assert!(last(vec![file(&junk), file(b"")], 5, |_| true).is_empty());
    }
}
