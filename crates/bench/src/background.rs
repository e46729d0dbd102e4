//! A load in a thread of its own, for tests that act while it runs.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use crate::generator::Generator;
use crate::load::{Load, Outcome};

/// A load that runs until it is told to finish; dropped, it ends at once and uncounted.
#[derive(Debug)]
pub struct Background {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<io::Result<Outcome>>>,
}

#[derive(Debug, Default)]
struct Shared {
    over: AtomicBool,
    drain: AtomicBool,
    completed: AtomicU64,
    failed: AtomicU64,
}

impl Background {
    /// Begins to send.
    pub fn start(load: Load) -> Self {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let thread = Some(thread::spawn(move || run(load, &theirs)));
        Self { shared, thread }
    }

    /// Requests that got the right answer so far.
    pub fn completed(&self) -> u64 {
        self.shared.completed.load(Ordering::Relaxed)
    }

    /// Requests that did not.
    pub fn failed(&self) -> u64 {
        self.shared.failed.load(Ordering::Relaxed)
    }

    /// Sends nothing new, waits for every answer that is still due, and says what came of it all.
    pub fn finish(mut self) -> io::Result<Outcome> {
        self.shared.drain.store(true, Ordering::Relaxed);
        self.shared.over.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("only this and drop take it");
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Its error, or panic, has nobody left to tell.
            drop(thread.join());
        }
    }
}

fn run(load: Load, shared: &Shared) -> io::Result<Outcome> {
    let mut generator = Generator::new(None)?;
    generator.start(load);
    generator.run_until(|_, outcome| {
        shared.completed.store(outcome.completed, Ordering::Relaxed);
        shared.failed.store(outcome.failures(), Ordering::Relaxed);
        shared.over.load(Ordering::Relaxed)
    })?;
    if shared.drain.load(Ordering::Relaxed) {
        generator.drain()?;
    }
    Ok(generator.stop())
}
