//! The files of one app: `APP.log`, which is written, and `APP.log.1` and so on, which are older.
//!
//! Together they never have more bytes than is allowed: each gets an equal part, and a line that
//! would exceed it begins the next file. Files are only ever appended to, renamed and removed, so
//! whoever reads one is not disturbed. If somebody moves or removes the one that is written, it is
//! made anew.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use memchr::memrchr;

/// Permissions of a new file.
const FILE_MODE: u32 = 0o640;

/// Where the files of an app are, and what they may take.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Shelf {
    pub(super) directory: PathBuf,
    /// Most bytes of all files together.
    pub(super) bytes_max: u64,
    /// Files beside the one that is written.
    pub(super) keep: u16,
}

/// The files of one app.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    bytes_max: u64,
    keep: u16,
    open: Option<Open>,
}

/// The file that is written.
#[derive(Debug)]
struct Open {
    file: File,
    /// Device and inode.
    identity: (u64, u64),
    length: u64,
}

impl LogFile {
    /// The files of `app`; none is opened yet.
    pub(super) fn new(app: &str, shelf: &Shelf) -> Self {
        let path = shelf.directory.join(format!("{app}.log"));
        Self { path, bytes_max: shelf.bytes_max, keep: shelf.keep, open: None }
    }

    /// The file that is written.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Appends whole lines. Says how many bytes are done with, all of them if there is no error; to
    /// go on later, begin behind them.
    pub(super) fn append(&mut self, text: &[u8]) -> (usize, io::Result<()>) {
        let mut done = 0;
        while done < text.len() {
            match self.append_some(&text[done..]) {
                Ok(more) => done += more,
                Err((more, error)) => return (done + more, Err(error)),
            }
        }
        (done, Ok(()))
    }

    /// Every file opened for reading, with the bytes it has now; the newest first.
    pub(super) fn readers(&self) -> Vec<(File, u64)> {
        let older = (1..=self.keep).map(|number| self.older(number));
        let paths = std::iter::once(self.path.clone()).chain(older);
        let opened = paths.filter_map(|path| {
            // One that is not there, or not to be read, has nothing to tell.
            let file = regular(&path).ok().flatten().and_then(|_| File::open(&path).ok())?;
            let length = file.metadata().ok()?.len();
            Some((file, length))
        });
        opened.collect()
    }

    /// Appends as much as fits into one file, at least something.
    fn append_some(&mut self, text: &[u8]) -> Result<usize, (usize, io::Error)> {
        let limit = self.limit();
        let open = self.opened().map_err(|error| (0, error))?;
        let room = usize::try_from(limit.saturating_sub(open.length)).unwrap_or(usize::MAX);
        let fitting = whole_lines(text, room);
        if fitting == 0 && open.length > 0 {
            self.rotate().map_err(|error| (0, error))?;
            return Ok(0);
        }
        if fitting > 0 {
            write(open, &text[..fitting])?;
            return Ok(fitting);
        }
        // A line that is longer than a file may be: its beginning has to do.
        let end = memchr::memchr(b'\n', text).map_or(text.len(), |feed| feed + 1);
        let mut line = text[..end.min(room.saturating_sub(1))].to_vec();
        line.push(b'\n');
        write(open, &line).map_err(|(_, error)| (0, error))?;
        Ok(end)
    }

    /// Most bytes of one file.
    fn limit(&self) -> u64 {
        (self.bytes_max / (u64::from(self.keep) + 1)).max(1)
    }

    /// The file that is written, if need be made anew.
    fn opened(&mut self) -> io::Result<&mut Open> {
        let found = regular(&self.path)?;
        let current = self.open.take().and_then(|mut open| {
            let (identity, length) = found?;
            // Somebody may have cut it.
            open.length = length;
            (identity == open.identity).then_some(open)
        });
        let open = match current {
            Some(open) => open,
            None => self.open_anew()?,
        };
        Ok(self.open.insert(open))
    }

    fn open_anew(&mut self) -> io::Result<Open> {
        if let Some(directory) = self.path.parent() {
            fs::create_dir_all(directory)?;
        }
        if regular(&self.path)?.is_some_and(|(_, length)| length >= self.limit()) {
            self.rotate()?;
        }
        self.prune()?;
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true).mode(FILE_MODE);
        let file = options.open(&self.path)?;
        let data = file.metadata()?;
        let mut open = Open { file, identity: (data.dev(), data.ino()), length: data.len() };
        let mut last = [b'\n'];
        if open.length > 0 {
            open.file.read_exact_at(&mut last, open.length - 1)?;
        }
        if last != *b"\n" {
            // Its writer was killed in the middle of a line.
            write(&mut open, b"\n").map_err(|(_, error)| error)?;
        }
        Ok(open)
    }

    /// Makes every file the next older one.
    fn rotate(&mut self) -> io::Result<()> {
        self.open = None;
        if self.keep == 0 {
            return absent_is_fine(fs::remove_file(&self.path));
        }
        for number in (1..self.keep).rev() {
            absent_is_fine(fs::rename(self.older(number), self.older(number + 1)))?;
        }
        absent_is_fine(fs::rename(&self.path, self.older(1)))
    }

    /// Removes older files that are too many, or too big beside one that is written.
    fn prune(&self) -> io::Result<()> {
        let mut numbers = self.numbers()?;
        numbers.sort_unstable();
        let mut total = self.limit();
        for number in numbers {
            let path = self.numbered(number);
            let length = fs::metadata(&path).map_or(0, |data| data.len());
            total = total.saturating_add(length);
            if number > u64::from(self.keep) || total > self.bytes_max {
                absent_is_fine(fs::remove_file(path))?;
            }
        }
        Ok(())
    }

    /// The numbers of the older files that are there.
    fn numbers(&self) -> io::Result<Vec<u64>> {
        let (Some(directory), Some(name)) = (self.path.parent(), self.path.file_name()) else {
            return Ok(Vec::new());
        };
        let prefix = format!("{}.", name.to_string_lossy());
        let mut numbers = Vec::new();
        for entry in fs::read_dir(directory)? {
            let name = entry?.file_name();
            let number =
                name.to_str().and_then(|name| name.strip_prefix(&prefix)?.parse::<u64>().ok());
            numbers.extend(number);
        }
        Ok(numbers)
    }

    fn older(&self, number: u16) -> PathBuf {
        self.numbered(u64::from(number))
    }

    fn numbered(&self, number: u64) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(format!(".{number}"));
        path.into()
    }
}

/// How many bytes of whole lines at the front of `text` fit into `room`. A text without its last
/// line feed is whole too.
fn whole_lines(text: &[u8], room: usize) -> usize {
    if text.len() <= room {
        return text.len();
    }
    memrchr(b'\n', &text[..room]).map_or(0, |feed| feed + 1)
}

fn write(open: &mut Open, text: &[u8]) -> Result<(), (usize, io::Error)> {
    let mut written = 0;
    while written < text.len() {
        match open.file.write(&text[written..]) {
            Ok(0) => return Err((written, io::ErrorKind::WriteZero.into())),
            Ok(more) => {
                written += more;
                open.length += more as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err((written, error)),
        }
    }
    Ok(())
}

/// Device and inode, and length of the regular file there; nothing if nothing is there.
fn regular(path: &Path) -> io::Result<Option<((u64, u64), u64)>> {
    match fs::metadata(path) {
        Ok(data) if data.is_file() => Ok(Some(((data.dev(), data.ino()), data.len()))),
        // A pipe would block whoever opens it.
        Ok(_) => Err(io::Error::other("it is no regular file")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn absent_is_fine(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests;
