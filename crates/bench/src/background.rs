//! A load in a thread of its own, for tests that act while it runs.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::generator::Generator;
use crate::load::{Load, Outcome};

/// How often it is looked whether a load that is asked has ended.
const LOOK_EVERY: Duration = Duration::from_millis(100);

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
    /// Who wants what came of it so far.
    asked: Mutex<Option<Sender<Outcome>>>,
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

    /// What came of it since it began, or since this was last called; it goes on meanwhile. None if
    /// it has ended.
    pub fn take(&self) -> Option<Outcome> {
        let (asked, answer): (_, Receiver<Outcome>) = channel();
        *self.shared.asked.lock().unwrap_or_else(PoisonError::into_inner) = Some(asked);
        loop {
            if let Ok(outcome) = answer.recv_timeout(LOOK_EVERY) {
                return Some(outcome);
            }
            if self.thread.as_ref().is_none_or(JoinHandle::is_finished) {
                return None;
            }
        }
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
    // What was taken counts as completed all the same.
    let (mut completed, mut failed) = (0, 0);
    let asked = || shared.asked.lock().unwrap_or_else(PoisonError::into_inner);
    while !shared.over.load(Ordering::Relaxed) {
        generator.run_until(|_, outcome| {
            shared.completed.store(completed + outcome.completed, Ordering::Relaxed);
            shared.failed.store(failed + outcome.failures(), Ordering::Relaxed);
            shared.over.load(Ordering::Relaxed) || asked().is_some()
        })?;
        if let Some(asked) = asked().take() {
            let outcome = generator.take_outcome();
            completed += outcome.completed;
            failed += outcome.failures();
            // Whoever asked may have gone.
            let _ = asked.send(outcome);
        }
    }
    if shared.drain.load(Ordering::Relaxed) {
        generator.drain()?;
    }
    Ok(generator.stop())
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::{SocketAddr, TcpListener};

    use super::*;

    /// A server that answers every request.
    fn server() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there are ports left");
        let address = listener.local_addr().expect("it is bound");
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || {
                    let mut answers = stream.try_clone().expect("there are descriptors left");
                    for line in BufReader::new(stream).lines().map_while(Result::ok) {
                        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                        if line.is_empty() && answers.write_all(answer).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        address
    }

    #[test]
    fn what_was_taken_is_counted_once_and_is_not_forgotten() {
        let load = Background::start(Load::get(server(), "/", 2));
        let wait_for = |count| {
            while load.completed() < count {
                assert_eq!(load.failed(), 0, "the server answers every request");
                thread::yield_now();
            }
        };
        wait_for(10);
        let first = load.take().expect("it goes on");
        assert!(first.completed >= 10 && first.latency.len() == first.completed);
        wait_for(first.completed + 10);
        let second = load.take().expect("it goes on");
        assert!(second.completed >= 10 && second.failures() == 0);
        let before = load.completed();
        let last = load.finish().expect("it needs a few descriptors");
        assert!(first.completed + second.completed + last.completed >= before);
    }
}
