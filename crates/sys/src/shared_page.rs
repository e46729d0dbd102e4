//! Memory that one process writes and another reads: a record that is always whole, and a count that
//! shows that the writer goes on.
//!
//! The record is there twice. The writer fills the copy that is not in force and then puts it in
//! force, so whenever it dies, the reader finds a whole record: the last one.
//!
//! The reader may not write, and a load from such memory is only sure to be no more than a load if it
//! is relaxed and of a machine word (as `core::sync::atomic` says); so fences do all the ordering.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering, fence};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// Longest record.
pub const RECORD_BYTES_MAX: usize = 256 * 1024;

/// What the page begins with, so that nothing else is taken for one; the last digit is the version.
const MAGIC: usize = u64::from_be_bytes(*b"EGPAGE-1") as usize;
const WORD: usize = size_of::<usize>();
/// Words of the head: magic, count, number of the record in force, and room to spare.
const HEAD_WORDS: usize = 8;
/// Words of a copy of the record: its length, and its bytes.
const COPY_WORDS: usize = 1 + RECORD_BYTES_MAX / WORD;
const WORDS: usize = HEAD_WORDS + 2 * COPY_WORDS;
/// How often a reader tries again while the writer writes.
const TRIES_MAX: usize = 8;
const SEALS: SealFlags = SealFlags::GROW.union(SealFlags::SHRINK).union(SealFlags::SEAL);

/// The writer's side. One process at a time may have it.
#[derive(Debug)]
pub struct Page {
    memory: Memory,
    file: OwnedFd,
}

/// The reader's side.
#[derive(Debug)]
pub struct Reader {
    memory: Memory,
}

impl Page {
    /// One with an empty record. `name` shows in `/proc/PID/fd` only.
    pub fn new(name: &str) -> io::Result<Self> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = rustix::fs::memfd_create(name, flags)?;
        rustix::fs::ftruncate(&file, (WORDS * WORD) as u64)?;
        // Whoever maps it must never find it shorter.
        rustix::fs::fcntl_add_seals(&file, SEALS)?;
        let page = Self { memory: Memory::map(&file, Access::Write)?, file };
        page.memory.word(0).store(MAGIC, Ordering::Release);
        Ok(page)
    }

    /// One that this process, or the program that it was before, has made.
    pub fn from_fd(file: OwnedFd) -> io::Result<Self> {
        let memory = Memory::map(&file, Access::Write)?;
        memory.check()?;
        Ok(Self { memory, file })
    }

    /// Puts another record in force. `InvalidInput` if it is longer than [`RECORD_BYTES_MAX`].
    pub fn write(&mut self, record: &[u8]) -> io::Result<()> {
        if record.len() > RECORD_BYTES_MAX {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let number = load(self.memory.number()).wrapping_add(1);
        let copy = self.memory.copy(number);
        // A reader that finds something of this copy must find that another one is in force.
        fence(Ordering::SeqCst);
        copy[0].store(record.len(), Ordering::Relaxed);
        for (word, bytes) in copy[1..].iter().zip(record.chunks(WORD)) {
            let mut padded = [0; WORD];
            padded[..bytes.len()].copy_from_slice(bytes);
            word.store(usize::from_ne_bytes(padded), Ordering::Relaxed);
        }
        self.memory.number().store(number, Ordering::SeqCst);
        Ok(())
    }

    /// Shows that the writer goes on.
    pub fn beat(&self) {
        self.memory.beats().fetch_add(1, Ordering::Release);
    }
}

impl AsFd for Page {
    /// For whoever is to read it ([`Reader::from_fd`]).
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Reader {
    /// That of the page that is open as `file`; `InvalidData` if that is no page.
    pub fn from_fd(file: impl AsFd) -> io::Result<Self> {
        let memory = Memory::map(file, Access::Read)?;
        memory.check()?;
        Ok(Self { memory })
    }

    /// How often the writer has shown that it goes on. It begins anew after a machine word's worth.
    pub fn beats(&self) -> u64 {
        let beats = load(self.memory.beats());
        fence(Ordering::Acquire);
        beats as u64
    }

    /// Number of the record in force; another one has another number.
    pub fn number(&self) -> u64 {
        load(self.memory.number()) as u64
    }

    /// Copies the record in force to `record`, which needs no more room than [`RECORD_BYTES_MAX`],
    /// and returns its number. Nothing if the writer kept writing meanwhile: of a writer that is
    /// dead the record is always found.
    pub fn read(&self, record: &mut Vec<u8>) -> Option<u64> {
        (0..TRIES_MAX).find_map(|_| self.try_read(record))
    }

    fn try_read(&self, record: &mut Vec<u8>) -> Option<u64> {
        let number = load(self.memory.number());
        // What was written before the number was is found after it.
        fence(Ordering::SeqCst);
        let copy = self.memory.copy(number);
        record.clear();
        let length = load(&copy[0]);
        let words = copy[1..].iter().take(length.min(RECORD_BYTES_MAX).div_ceil(WORD));
        for word in words {
            record.extend_from_slice(&load(word).to_ne_bytes());
        }
        record.truncate(length);
        fence(Ordering::SeqCst);
        (load(self.memory.number()) == number).then_some(number as u64)
    }
}

/// The one way to look at a word of memory that may not be written.
fn load(word: &AtomicUsize) -> usize {
    word.load(Ordering::Relaxed)
}

/// What may be done to memory.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Access {
    Read,
    Write,
}

/// The page in this process.
#[derive(Debug)]
struct Memory {
    words: &'static [AtomicUsize],
}

impl Memory {
    #[expect(unsafe_code, reason = "memory that the kernel gives")]
    fn map(file: impl AsFd, access: Access) -> io::Result<Self> {
        let file = file.as_fd();
        let invalid = || io::Error::new(io::ErrorKind::InvalidData, "not a shared page");
        let is_sealed = rustix::fs::fcntl_get_seals(file).is_ok_and(|found| found.contains(SEALS));
        let length = rustix::fs::fstat(file)?.st_size;
        if !is_sealed || usize::try_from(length) != Ok(WORDS * WORD) {
            return Err(invalid());
        }
        let rights = match access {
            Access::Read => ProtFlags::READ,
            Access::Write => ProtFlags::READ | ProtFlags::WRITE,
        };
        // SAFETY: a new mapping at an address that the kernel chooses touches nothing of ours.
        let start =
            unsafe { mmap(std::ptr::null_mut(), WORDS * WORD, rights, MapFlags::SHARED, file, 0) }?;
        // SAFETY: mapped with this length, which the seals keep it from losing, aligned to a page,
        // and unmapped when this value is dropped, out of which no reference leads. Others write to
        // it, so it is read and written as atomic words only; without the right to write it is read
        // by `load` only, and no method that stores is reached.
        let words = unsafe { std::slice::from_raw_parts(start.cast::<AtomicUsize>(), WORDS) };
        Ok(Self { words })
    }

    fn check(&self) -> io::Result<()> {
        match load(self.word(0)) {
            MAGIC => Ok(()),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "a shared page of another kind")),
        }
    }

    fn word(&self, index: usize) -> &AtomicUsize {
        &self.words[index]
    }

    fn beats(&self) -> &AtomicUsize {
        self.word(1)
    }

    fn number(&self) -> &AtomicUsize {
        self.word(2)
    }

    /// The copy that the record with this number is in.
    fn copy(&self, number: usize) -> &[AtomicUsize] {
        let start = HEAD_WORDS + number % 2 * COPY_WORDS;
        &self.words[start..start + COPY_WORDS]
    }
}

impl Drop for Memory {
    #[expect(unsafe_code, reason = "memory that the kernel gave")]
    fn drop(&mut self) {
        let start = self.words.as_ptr().cast_mut().cast();
        // SAFETY: mapped by `map` with this length, and no reference to it is left.
        let _ = unsafe { munmap(start, WORDS * WORD) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_record_is_read_whole_and_by_every_reader() {
        let mut page = Page::new("test").unwrap();
        let reader = Reader::from_fd(&page).unwrap();
        let mut record = Vec::new();
        assert_eq!(reader.read(&mut record), Some(0));
        assert_eq!(record, b"");
        for (index, bytes) in
            [&b"will"[..], b"a longer record", b"", &[7; RECORD_BYTES_MAX]].into_iter().enumerate()
        {
            page.write(bytes).unwrap();
            assert_eq!(reader.read(&mut record), Some(index as u64 + 1));
            assert_eq!(record, bytes);
            assert_eq!(Reader::from_fd(&page).unwrap().read(&mut record), Some(reader.number()));
        }
        assert!(page.write(&[0; RECORD_BYTES_MAX + 1]).is_err());
    }

    #[test]
    fn a_page_goes_on_under_another_descriptor() {
        let mut page = Page::new("test").unwrap();
        page.write(b"before").unwrap();
        page.beat();
        let reader = Reader::from_fd(&page).unwrap();
        let mut page = Page::from_fd(page.file.try_clone().unwrap()).unwrap();
        page.beat();
        let mut record = Vec::new();
        assert_eq!((reader.beats(), reader.read(&mut record)), (2, Some(1)));
        assert_eq!(record, b"before");
        page.write(b"after").unwrap();
        assert_eq!((reader.read(&mut record), record.as_slice()), (Some(2), &b"after"[..]));
    }

    #[test]
    fn a_reader_never_finds_half_of_a_record() {
        let mut page = Page::new("test").unwrap();
        let reader = Reader::from_fd(&page).unwrap();
        let reads = std::thread::spawn(move || {
            let (mut record, mut whole) = (Vec::new(), 0u32);
            while record.first() != Some(&255) {
                if reader.read(&mut record).is_some() {
                    assert!(record.iter().all(|byte| *byte == record[0]), "{record:?}");
                    assert!(record.is_empty() || record.len() == 100 + usize::from(record[0]));
                    whole += 1;
                }
            }
            whole
        });
        for round in 0..20_000u32 {
            let byte = (round % 255) as u8;
            page.write(&vec![byte; 100 + usize::from(byte)]).unwrap();
        }
        page.write(&[255; 355]).unwrap();
        assert!(reads.join().unwrap() > 0);
    }

    #[test]
    fn what_is_no_page_is_refused() {
        let invalid = |result: io::Result<Reader>| {
            assert_eq!(result.unwrap_err().kind(), io::ErrorKind::InvalidData);
        };
        invalid(Reader::from_fd(crate::memfd::seal("test", b"state").unwrap()));
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = rustix::fs::memfd_create("test", flags).unwrap();
        rustix::fs::ftruncate(&file, (WORDS * WORD) as u64).unwrap();
        invalid(Reader::from_fd(&file));
        rustix::fs::fcntl_add_seals(&file, SEALS).unwrap();
        invalid(Reader::from_fd(&file));
    }
}
