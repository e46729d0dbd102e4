//! Files compressed on the way, once for all who ask.
//!
//! One thread compresses, so that data-plane threads go on serving; whoever asks for the same
//! meanwhile waits for the same result. Results are kept by the state of the file, so a changed
//! file is another one. When all is busy, files go out as they are.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

use evergate_core::files::Coding;
use tokio::sync::oneshot;

use super::opened::{OpenFile, State};

/// Smaller files go out as they are: they fit in the first packet either way.
pub(super) const COMPRESS_BYTES_MIN: u64 = 1024;
/// Larger ones too: they would keep the thread busy for long. Compress them beforehand.
pub(super) const COMPRESS_BYTES_MAX: u64 = 2 * 1024 * 1024;
/// Bytes of results kept; those not asked for the longest go first.
const KEPT_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Results kept, those of no use included.
const KEPT_MAX: usize = 1024;
/// Files waiting to be compressed; past that they go out as they are.
const JOBS_QUEUED_MAX: usize = 64;
/// Where more effort stops to pay on the way: two thirds of the best ratio at tens of megabytes a
/// second.
const BROTLI_QUALITY: i32 = 5;
/// Base-2 logarithm of the window: 4 MiB, more than any file here.
const BROTLI_WINDOW_BITS: i32 = 22;
const ZSTD_LEVEL: i32 = 6;
const GZIP_LEVEL: u32 = 6;

/// What there is for one state of one file in one coding.
type Key = (State, Coding);

/// How compressing went.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    /// Here it is.
    Packed(Arc<[u8]>),
    /// It does not get smaller.
    Useless,
    /// The file has changed, or cannot be read.
    Changed,
    /// Too much is waiting already.
    Busy,
}

/// The thread that compresses, and its results. It ends with this value.
#[derive(Debug, Default)]
pub(crate) struct Compressor {
    shared: Arc<Mutex<Shelf>>,
    queue: OnceLock<Option<SyncSender<Job>>>,
}

#[derive(Debug)]
struct Job {
    key: Key,
    file: File,
    length: usize,
}

#[derive(Debug, Default)]
struct Shelf {
    kept: HashMap<Key, Kept>,
    bytes: usize,
    /// Counts the askings.
    turn: u64,
    waiting: HashMap<Key, Vec<oneshot::Sender<Outcome>>>,
}

#[derive(Debug)]
struct Kept {
    /// None if it is of no use.
    packed: Option<Arc<[u8]>>,
    turn: u64,
}

impl Compressor {
    /// Whether it is known that `file` does not get smaller.
    pub(super) fn is_useless(&self, file: &OpenFile, coding: Coding) -> bool {
        let Some(state) = file.state() else { return true };
        let shelf = lock(&self.shared);
        shelf.kept.get(&(state, coding)).is_some_and(|kept| kept.packed.is_none())
    }

    /// `file` in `coding`, made now if it has to be.
    pub(super) async fn pack(&self, file: &OpenFile, coding: Coding) -> Outcome {
        let Some(state) = file.state() else { return Outcome::Useless };
        let key = (state, coding);
        let (tell, told) = oneshot::channel();
        let is_first = {
            let mut shelf = lock(&self.shared);
            if let Some(outcome) = shelf.take(&key) {
                return outcome;
            }
            let waiting = shelf.waiting.entry(key).or_default();
            waiting.push(tell);
            waiting.len() == 1
        };
        if is_first && !self.order(file, key) {
            lock(&self.shared).waiting.remove(&key);
        }
        // Nobody tells where nobody compresses.
        told.await.unwrap_or(Outcome::Busy)
    }

    fn order(&self, file: &OpenFile, key: Key) -> bool {
        let queue = self.queue.get_or_init(|| {
            let (queue, jobs) = sync_channel(JOBS_QUEUED_MAX);
            let shared = Arc::clone(&self.shared);
            let spawned =
                thread::Builder::new().name("compress".into()).spawn(move || work(&jobs, &shared));
            spawned.ok().map(|_| queue)
        });
        let file = file.on_disk().and_then(|file| file.try_clone().ok());
        let Some((queue, file)) = queue.as_ref().zip(file) else { return false };
        queue.try_send(Job { key, file, length: key.0.length as usize }).is_ok()
    }
}

/// The life of the thread.
fn work(jobs: &Receiver<Job>, shared: &Mutex<Shelf>) {
    for job in jobs {
        let key = job.key;
        // A codec that panics must not leave those waiting who come later.
        let packed = std::panic::catch_unwind(|| read(&job).and_then(|bytes| pack(key.1, &bytes)));
        let outcome = match packed {
            Ok(Ok(packed)) if packed.len() < key.0.length as usize => {
                Outcome::Packed(Arc::from(packed))
            }
            Ok(Err(_)) => Outcome::Changed,
            Ok(Ok(_)) | Err(_) => Outcome::Useless,
        };
        let waiting = {
            let mut shelf = lock(shared);
            match &outcome {
                Outcome::Packed(packed) => shelf.keep(key, Some(Arc::clone(packed))),
                Outcome::Useless => shelf.keep(key, None),
                Outcome::Changed | Outcome::Busy => {}
            }
            shelf.waiting.remove(&key).unwrap_or_default()
        };
        for tell in waiting {
            // Whoever asked may have left.
            let _ = tell.send(outcome.clone());
        }
    }
}

impl Shelf {
    fn take(&mut self, key: &Key) -> Option<Outcome> {
        self.turn += 1;
        let kept = self.kept.get_mut(key)?;
        kept.turn = self.turn;
        Some(match &kept.packed {
            Some(packed) => Outcome::Packed(Arc::clone(packed)),
            None => Outcome::Useless,
        })
    }

    fn keep(&mut self, key: Key, packed: Option<Arc<[u8]>>) {
        self.turn += 1;
        let kept = Kept { packed, turn: self.turn };
        self.bytes += kept.len();
        if let Some(before) = self.kept.insert(key, kept) {
            self.bytes -= before.len();
        }
        while self.bytes > KEPT_BYTES_MAX || self.kept.len() > KEPT_MAX {
            let Some((&oldest, _)) = self.kept.iter().min_by_key(|(_, kept)| kept.turn) else {
                return;
            };
            if let Some(gone) = self.kept.remove(&oldest) {
                self.bytes -= gone.len();
            }
        }
    }
}

impl Kept {
    /// Bytes that it takes.
    fn len(&self) -> usize {
        self.packed.as_ref().map_or(0, |packed| packed.len())
    }
}

/// What is held is whole between any two statements, whoever panicked.
fn lock(shared: &Mutex<Shelf>) -> MutexGuard<'_, Shelf> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The file, if it is still what its key says.
fn read(job: &Job) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; job.length];
    job.file.read_exact_at(&mut bytes, 0)?;
    if !job.key.0.is_of(&job.file.metadata()?) {
        return Err(io::ErrorKind::Interrupted.into());
    }
    Ok(bytes)
}

fn pack(coding: Coding, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut packed = Vec::with_capacity(bytes.len() / 2);
    match coding {
        Coding::Zstd => packed = zstd::bulk::compress(bytes, ZSTD_LEVEL)?,
        Coding::Brotli => {
            let parameters = brotli::enc::BrotliEncoderParams {
                quality: BROTLI_QUALITY,
                lgwin: BROTLI_WINDOW_BITS,
                size_hint: bytes.len(),
                ..Default::default()
            };
            brotli::BrotliCompress(&mut &bytes[..], &mut packed, &parameters)?;
        }
        Coding::Gzip => {
            let level = flate2::Compression::new(GZIP_LEVEL);
            let mut encoder = flate2::write::GzEncoder::new(&mut packed, level);
            encoder.write_all(bytes)?;
            encoder.finish()?;
        }
    }
    Ok(packed)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn unpack(coding: Coding, packed: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        match coding {
            Coding::Zstd => bytes = zstd::decode_all(packed).unwrap(),
            Coding::Brotli => brotli::BrotliDecompress(&mut &*packed, &mut bytes).unwrap(),
            Coding::Gzip => {
                flate2::read::GzDecoder::new(packed).read_to_end(&mut bytes).unwrap();
            }
        }
        bytes
    }

    #[test]
    fn every_coding_gives_back_what_it_was_given() {
        let text = "all work and no play makes a dull page\n".repeat(500);
        for coding in Coding::ALL {
            let packed = pack(coding, text.as_bytes()).unwrap();
            assert!(packed.len() < text.len() / 10, "{coding:?}: {} bytes", packed.len());
            assert_eq!(unpack(coding, &packed), text.as_bytes(), "{coding:?}");
        }
    }

    #[test]
    fn results_are_kept_within_bounds_and_the_latest_stay() {
        let mut shelf = Shelf::default();
        let key = |number: u64| (State::numbered(number), Coding::Gzip);
        let piece: Arc<[u8]> = vec![0; KEPT_BYTES_MAX / 4].into();
        for number in 0..4 {
            shelf.keep(key(number), Some(Arc::clone(&piece)));
        }
        assert!(matches!(shelf.take(&key(0)), Some(Outcome::Packed(_))));
        shelf.keep(key(4), Some(piece));
        assert!(shelf.take(&key(0)).is_some(), "asked for lately");
        assert!(shelf.take(&key(1)).is_none(), "asked for the longest ago");
        assert_eq!(shelf.bytes, KEPT_BYTES_MAX);
        for number in 0..2 * KEPT_MAX as u64 {
            shelf.keep(key(number), None);
        }
        assert_eq!((shelf.kept.len(), shelf.bytes), (KEPT_MAX, 0));
    }
}
