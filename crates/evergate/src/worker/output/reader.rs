//! Reading what runs print, on a thread of its own: neither a flood of output nor a slow disk is
//! felt by the control plane.
//!
//! A line is taken out of its pipe only when it is written. So a worker that is killed loses none
//! of them: the next one finds them in the pipe, and writes at worst the last ones a second time.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use evergate_control::link::Run;
use evergate_gateway::LogWriter;
use evergate_sys::clock;
use evergate_sys::peek::Peeker;
use tokio::io::Interest;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{sleep, timeout};

use super::lines::{self, Block, Cutter, Rest};
use super::spool::{Spool, Taken};

/// Longest time that lines stay in their pipe until they are written; then the app must go on.
const HELD_MAX: Duration = Duration::from_millis(200);
/// Longest time that a line without end stays in its pipe, where it takes room.
const UNENDED_MAX: Duration = Duration::from_millis(500);

/// A pipe to read, and whose it is.
pub(super) type Attached = (Run, OwnedFd);

/// What the thread has at hand for all pipes.
#[derive(Debug)]
struct Desk {
    spool: Arc<Spool>,
    log: LogWriter,
    scratch: RefCell<Scratch>,
}

#[derive(Debug)]
struct Scratch {
    peeker: Peeker,
    seen: Vec<u8>,
}

/// How long to read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Until {
    /// As long as we live.
    Always,
    /// Until every pipe has ended.
    Ended,
    /// No longer than it takes to write what is in the pipes.
    Now,
    /// No longer than it takes to write the lines at hand; what is in the pipes is for another
    /// process.
    Handover,
}

impl Until {
    fn is_over(self) -> bool {
        matches!(self, Self::Now | Self::Handover)
    }
}

/// Starts the thread. It reads as long as `until` says, or nobody is left who could; the result
/// tells when it has ended.
pub(super) fn start(
    spool: Arc<Spool>,
    log: LogWriter,
    attached: mpsc::Receiver<Attached>,
    until: watch::Receiver<Until>,
) -> io::Result<oneshot::Receiver<()>> {
    let scratch = RefCell::new(Scratch { peeker: Peeker::new()?, seen: Vec::new() });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (done, ended) = oneshot::channel();
    let thread = std::thread::Builder::new().name("output-reader".into());
    thread.spawn(move || {
        let desk = Rc::new(Desk { spool, log, scratch });
        LocalSet::new().block_on(&runtime, read(desk, attached, until));
        drop(done);
    })?;
    Ok(ended)
}

/// Reads every pipe that comes.
async fn read(
    desk: Rc<Desk>,
    mut attached: mpsc::Receiver<Attached>,
    mut until: watch::Receiver<Until>,
) {
    let mut pipes = JoinSet::new();
    loop {
        let is_idle = pipes.is_empty() && attached.is_empty();
        match *until.borrow_and_update() {
            Until::Always => {}
            Until::Ended if !is_idle => {}
            Until::Ended | Until::Now | Until::Handover => break,
        }
        tokio::select! {
            Some((run, pipe)) = attached.recv() => {
                desk.spool.attach(&run.app);
                let (desk, until) = (Rc::clone(&desk), until.clone());
                pipes.spawn_local(async move {
                    let app = run.app.clone();
                    match Receiver::from_owned_fd(pipe) {
                        Ok(pipe) => Pipe::new(&desk, run, pipe, until).drain().await,
                        Err(error) => desk.spool.unreadable(&run, &error),
                    }
                    desk.spool.detach(&app);
                });
            }
            Some(_) = pipes.join_next() => {}
            changed = until.changed() => if changed.is_err() {
                break;
            },
        }
    }
    while pipes.join_next().await.is_some() {}
}

/// What one run prints.
#[derive(Debug)]
struct Pipe<'a> {
    desk: &'a Desk,
    run: Run,
    pipe: Receiver,
    cutter: Cutter,
    until: watch::Receiver<Until>,
    /// Whether the pipe holds a line without end.
    holds: bool,
}

/// How far a pipe was read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Read {
    /// There is nothing new.
    Up,
    /// Nothing will follow.
    Ended,
}

impl<'a> Pipe<'a> {
    fn new(desk: &'a Desk, run: Run, pipe: Receiver, until: watch::Receiver<Until>) -> Self {
        let cutter = desk.spool.take_unended(&run).map(Cutter::resume).unwrap_or_default();
        Self { desk, run, pipe, cutter, until, holds: false }
    }

    /// Reads until the pipe ends or we do.
    async fn drain(mut self) {
        loop {
            let rest = tokio::select! {
                biased;
                _ = self.until.wait_for(|until| until.is_over()) => break,
                ready = self.pipe.ready(Interest::READABLE) => match ready {
                    Ok(ready) if ready.is_read_closed() => Rest::Carry,
                    Ok(_) => Rest::Leave,
                    Err(_) => break,
                },
                () = sleep(UNENDED_MAX), if self.holds => Rest::Carry,
            };
            match self.read(rest).await {
                Ok(Read::Up) => {}
                Ok(Read::Ended) => return,
                Err(error) => return self.desk.spool.unreadable(&self.run, &error),
            }
        }
        if self.is_handed_over() {
            // Whoever has the pipe next goes on in the middle of the line.
            return self.desk.spool.leave(&self.run, self.cutter.stop());
        }
        // A line that has no end yet is for the next worker, as far as it is still in the pipe.
        let _ = self.read(Rest::Leave).await;
        self.finish().await;
    }

    /// Takes the lines that are there.
    async fn read(&mut self, rest: Rest) -> io::Result<Read> {
        loop {
            match self.peek(rest) {
                Ok(Seen::Lines(block, used)) => {
                    self.deliver(block, used).await;
                    let scratch = self.desk.scratch.borrow();
                    scratch.peeker.take(&self.pipe, used)?;
                    // An app may print on for as long as anybody reads.
                    if self.is_handed_over() {
                        return Ok(Read::Up);
                    }
                }
                Ok(Seen::Unended) => return Ok(Read::Up),
                Ok(Seen::End) => {
                    self.finish().await;
                    return Ok(Read::Ended);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.holds = false;
                    return Ok(Read::Up);
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn is_handed_over(&self) -> bool {
        *self.until.borrow() == Until::Handover
    }

    /// Looks at what is there.
    fn peek(&mut self, rest: Rest) -> io::Result<Seen> {
        let scratch = &mut *self.desk.scratch.borrow_mut();
        // What comes after this look is announced again.
        self.clear_ready();
        scratch.peeker.peek(&self.pipe, &mut scratch.seen)?;
        if scratch.seen.is_empty() {
            return Ok(Seen::End);
        }
        let head = lines::head(&self.run, clock::unix_millis());
        let (block, used) = self.cutter.cut(&scratch.seen, rest, head.as_bytes());
        self.holds = used < scratch.seen.len();
        let is_news = used > 0 || block.lines > 0;
        Ok(if is_news { Seen::Lines(block, used) } else { Seen::Unended })
    }

    /// Has the next change announced, whatever is there now.
    fn clear_ready(&self) {
        let wait = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
        drop(self.pipe.try_io(wait));
    }

    /// Nothing follows: what was kept of a line is one.
    async fn finish(&mut self) {
        let head = lines::head(&self.run, clock::unix_millis());
        let (block, used) = self.cutter.cut(b"", Rest::End, head.as_bytes());
        self.deliver(block, used).await;
    }

    /// Hands lines over, and waits until they are written, or long enough.
    async fn deliver(&self, block: Block, bytes: usize) {
        let written = match self.desk.spool.push(&self.run, block, bytes) {
            Taken::Done => return,
            Taken::Waiting(written) => written,
            Taken::Print(block) => {
                let length = block.text.len();
                let Some(printed) = self.desk.log.print(block.text) else {
                    return self.desk.spool.drop_lines(&self.run, length);
                };
                printed
            }
        };
        // Whatever comes of it, the app goes on.
        let _ = timeout(HELD_MAX, written).await;
    }
}

/// What a look into a pipe showed.
#[derive(Debug)]
enum Seen {
    /// Lines, and how many bytes of the pipe they are.
    Lines(Block, usize),
    /// Only the beginning of a line.
    Unended,
    /// The end.
    End,
}
