//! What is between the thread that reads pipes and the one that writes files, and what both know
//! of each app: the latest lines, those that wait to be written, and what became of the rest.
//!
//! One lock guards it all, held for no longer than it takes to copy a block. An app that prints
//! faster than its file can be written is slowed down by its pipe; only while a disk stands still,
//! or refuses, are lines dropped, the oldest first, and a line says how much is missing.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use evergate_config::{App, Config, OutputTo};
use evergate_control::link::Run;
use evergate_control::snapshot::{LogLine, OutputCounts};
use evergate_core::time::Instant;
use evergate_sys::clock;
use tokio::sync::{broadcast, mpsc, oneshot};

use super::lines::{self, Block, Unended};
use super::log_file::Shelf;
use super::recent::Recent;
use super::{Files, News, Wanted};

/// Most bytes of one app that wait to be written; past that the oldest are dropped.
const QUEUED_BYTES_MAX: usize = 1024 * 1024;
/// Most bytes of the latest lines of one app.
const RECENT_BYTES_MAX: usize = 64 * 1024;
/// Most bytes of the latest lines of all apps.
const RECENT_TOTAL_BYTES_MAX: usize = 1024 * 1024;
/// Most lines that a slow follower may fall behind before it loses some.
const FOLLOWED_LINES_MAX: usize = 512;
/// How often a file that could not be written is tried again.
const RETRY_EVERY: Duration = Duration::from_secs(2);
/// Most answers of one app that wait for what was printed before them.
const READS_WAITING_MAX: usize = 16;
/// What is said when lines are dropped although nothing refuses them.
const SLOW: &str = "the disk stands still; the oldest lines that wait are dropped";

/// Shared by the reader, the writer and the control plane.
#[derive(Debug)]
pub(super) struct Spool {
    state: Mutex<State>,
    /// Told when there is something to write, or the end.
    work: Condvar,
    /// What is worth an event.
    news: mpsc::Sender<News>,
}

#[derive(Debug)]
struct State {
    apps: BTreeMap<String, Queue>,
    counts: BTreeMap<(String, u16), OutputCounts>,
    recent_bytes: usize,
    followers: broadcast::Sender<LogLine>,
    /// Where the output of apps goes that are not in the configuration any more.
    leftover: To,
    /// The app that was written last, for the next one's turn.
    last: Option<String>,
    /// Apps of which the writer should close the files.
    gone: Vec<String>,
    /// Lines whose beginnings are not in their pipes any more.
    unended: BTreeMap<Run, Unended>,
    /// Those who wait until the writer has nothing to do. Dropped then.
    waiting: Vec<oneshot::Sender<()>>,
    is_ended: bool,
}

/// Where the output of an app goes.
#[derive(Clone, Debug)]
enum To {
    Files(Arc<Shelf>),
    Stdout,
    Nowhere,
}

/// What there is of one app.
#[derive(Debug)]
struct Queue {
    to: To,
    /// Pipes that are still read.
    pipes: usize,
    recent: Recent,
    waiting: VecDeque<Job>,
    waiting_bytes: usize,
    /// Dropped before what waits now.
    lost: Option<(Run, u64)>,
    trouble: Option<Trouble>,
}

/// Why not everything is written.
#[derive(Debug)]
struct Trouble {
    why: String,
    /// When to try again; none while the writer is at it and only too slow.
    retry_at: Option<Instant>,
    lost_bytes: u64,
}

/// Something for the writer to do.
#[derive(Debug)]
pub(super) enum Job {
    /// Lines of `run` to append.
    Write {
        run: Run,
        shelf: Arc<Shelf>,
        text: Vec<u8>,
        /// So much of it is written.
        at: usize,
        /// How many dropped bytes it tells of; none in what the run printed itself.
        gap: Option<NonZeroU64>,
        /// Dropped when that is done, or no longer waited for.
        done: Option<oneshot::Sender<()>>,
    },
    /// Say what files there are, now that everything before is written.
    Read { app: String, shelf: Arc<Shelf>, reply: oneshot::Sender<Files> },
    /// Close the files of an app.
    Close(String),
}

/// What became of lines that were handed over.
#[derive(Debug)]
pub(super) enum Taken {
    /// Nothing is to be waited for.
    Done,
    /// They will be written soon; the channel closes then.
    Waiting(oneshot::Receiver<()>),
    /// They are to be printed on standard output.
    Print(Block),
}

/// The latest lines of some apps, and files with more of them.
#[derive(Debug)]
pub(super) struct Past {
    pub(super) lines: Vec<LogLine>,
    /// What has more than the lines above of that app.
    pub(super) files: Vec<(String, oneshot::Receiver<Files>)>,
    pub(super) follow: Option<broadcast::Receiver<LogLine>>,
}

impl Spool {
    /// Nothing yet; what happens is said to `news`.
    pub(super) fn new(config: &Config, news: mpsc::Sender<News>) -> Self {
        let state = State {
            apps: BTreeMap::new(),
            counts: BTreeMap::new(),
            recent_bytes: 0,
            followers: broadcast::Sender::new(FOLLOWED_LINES_MAX),
            leftover: To::Nowhere,
            last: None,
            gone: Vec::new(),
            unended: BTreeMap::new(),
            waiting: Vec::new(),
            is_ended: false,
        };
        let spool = Self { state: Mutex::new(state), work: Condvar::new(), news };
        spool.follow(config);
        spool
    }

    /// Goes by another configuration.
    pub(super) fn follow(&self, config: &Config) {
        let mut state = self.lock();
        let directory = &config.node.log_dir;
        state.leftover = To::of(&evergate_config::Output::default(), directory);
        for (name, App { output, .. }) in &config.apps {
            let to = To::of(output, directory);
            match state.apps.get_mut(name) {
                Some(queue) => queue.to = to,
                None => drop(state.apps.insert(name.clone(), Queue::new(to))),
            }
        }
        state.forget_apps(|name| config.apps.contains_key(name));
        self.work.notify_one();
    }

    /// A pipe of that app is read from now on.
    pub(super) fn attach(&self, app: &str) {
        let state = &mut *self.lock();
        let to = &state.leftover;
        let queue = state.apps.entry(app.to_owned()).or_insert_with(|| Queue::new(to.clone()));
        queue.pipes += 1;
    }

    /// A pipe of that app has ended.
    pub(super) fn detach(&self, app: &str) {
        if let Some(queue) = self.lock().apps.get_mut(app) {
            queue.pipes = queue.pipes.saturating_sub(1);
        }
    }

    /// What a run prints cannot be read.
    pub(super) fn unreadable(&self, run: &Run, error: &io::Error) {
        let why = format!("what {}/{} prints cannot be read: {error}", run.app, run.number);
        self.tell(News::Failed { app: run.app.clone(), why });
    }

    /// Takes lines of a run, which had that many bytes when it printed them.
    pub(super) fn push(&self, run: &Run, block: Block, bytes: usize) -> Taken {
        let state = &mut *self.lock();
        let counts = state.counts.entry((run.app.clone(), run.number)).or_default();
        counts.lines += block.lines;
        counts.bytes += bytes as u64;
        if block.text.is_empty() {
            return Taken::Done;
        }
        if state.followers.receiver_count() > 0 {
            for line in lines::read(&block.text) {
                // Whoever listened a moment ago may be gone.
                let _ = state.followers.send(line);
            }
        }
        state.remember(&run.app, &block.text);
        let Some(queue) = state.apps.get_mut(&run.app) else { return Taken::Done };
        let shelf = match &queue.to {
            To::Files(shelf) => Arc::clone(shelf),
            To::Stdout => return Taken::Print(block),
            To::Nowhere => return Taken::Done,
        };
        let (done, written) = oneshot::channel();
        let is_refused = queue.retry_at().is_some();
        queue.waiting_bytes += block.text.len();
        let done = (!is_refused).then_some(done);
        queue.waiting.push_back(Job::Write {
            run: run.clone(),
            shelf,
            text: block.text,
            at: 0,
            gap: None,
            done,
        });
        while queue.waiting_bytes > QUEUED_BYTES_MAX {
            if queue.trouble.is_none() {
                let why = SLOW.to_owned();
                queue.trouble = Some(Trouble { why, retry_at: None, lost_bytes: 0 });
                self.tell(News::Failed { app: run.app.clone(), why: SLOW.to_owned() });
            }
            let Some((run, bytes)) = queue.drop_oldest() else { break };
            let dropped = state.counts.entry((run.app, run.number)).or_default();
            dropped.dropped_bytes += bytes;
        }
        self.work.notify_one();
        if is_refused { Taken::Done } else { Taken::Waiting(written) }
    }

    /// Lines of a run that could not be printed are dropped.
    pub(super) fn drop_lines(&self, run: &Run, bytes: usize) {
        let mut state = self.lock();
        let counts = state.counts.entry((run.app.clone(), run.number)).or_default();
        counts.dropped_bytes += bytes as u64;
    }

    /// The next thing for the writer to do; waits for it. None at the end, when everything that can
    /// be written is.
    pub(super) fn next(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            let now = clock::now();
            if let Some(job) = state.next(now) {
                return Some(job);
            }
            state.waiting.clear();
            if state.is_ended {
                return None;
            }
            let retry = state.apps.values().filter_map(Queue::retry_at).min();
            let wait = retry.map_or(RETRY_EVERY, |at| at - now).max(Duration::from_millis(1));
            let woken = self.work.wait_timeout(state, wait);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The writer has written.
    pub(super) fn written(&self, app: &str) {
        let mut state = self.lock();
        let Some(queue) = state.apps.get_mut(app) else { return };
        let is_behind = queue.retry_at().is_none() && queue.has_work();
        if let Some(trouble) = queue.trouble.take_if(|_| !is_behind) {
            let lost_bytes = trouble.lost_bytes;
            self.tell(News::Resumed { app: app.to_owned(), lost_bytes });
        }
    }

    /// The writer could not do the rest of that job; it is to be tried again later.
    pub(super) fn refused(&self, job: Job, why: String) {
        let mut state = self.lock();
        let Job::Write { run, shelf, text, at, gap, .. } = job else { return };
        let Some(queue) = state.apps.get_mut(&run.app) else { return };
        let app = run.app.clone();
        // Nobody needs to wait for what may take hours.
        match gap {
            Some(bytes) if at == 0 => queue.add_lost(&run, bytes.get()),
            Some(_) | None => {
                queue.waiting_bytes += text.len() - at;
                queue.waiting.push_front(Job::Write { run, shelf, text, at, gap, done: None });
            }
        }
        for job in &mut queue.waiting {
            if let Job::Write { done, .. } = job {
                *done = None;
            }
        }
        let retry_at = Some(clock::now() + RETRY_EVERY);
        match &mut queue.trouble {
            Some(trouble) => {
                trouble.why = why;
                trouble.retry_at = retry_at;
            }
            None => {
                queue.trouble = Some(Trouble { why: why.clone(), retry_at, lost_bytes: 0 });
                self.tell(News::Failed { app, why });
            }
        }
    }

    /// Closed when the writer has written everything that can be.
    pub(super) fn written_all(&self) -> oneshot::Receiver<()> {
        let (done, written) = oneshot::channel();
        self.lock().waiting.push(done);
        self.work.notify_one();
        written
    }

    /// The pipe of `run` is left in the middle of a line.
    pub(super) fn leave(&self, run: &Run, unended: Option<Unended>) {
        if let Some(unended) = unended {
            self.lock().unended.insert(run.clone(), unended);
        }
    }

    /// Where a line of `run` began that was left.
    pub(super) fn take_unended(&self, run: &Run) -> Option<Unended> {
        self.lock().unended.remove(run)
    }

    /// Every line that was left.
    pub(super) fn unended(&self) -> BTreeMap<Run, Unended> {
        self.lock().unended.clone()
    }

    /// What another process left, in place of what this one did.
    pub(super) fn set_unended(&self, unended: BTreeMap<Run, Unended>) {
        self.lock().unended = unended;
    }

    /// Lets the writer end.
    pub(super) fn end(&self) {
        self.lock().is_ended = true;
        self.work.notify_one();
    }

    /// What became of the output of an instance.
    pub(super) fn counts(&self, app: &str, number: u16) -> OutputCounts {
        self.lock().counts.get(&(app.to_owned(), number)).copied().unwrap_or_default()
    }

    /// Why the output of an app is not written, for each that it is not.
    pub(super) fn troubles(&self) -> Vec<(String, String)> {
        let state = self.lock();
        let troubles = state
            .apps
            .iter()
            .filter_map(|(app, queue)| Some((app.clone(), queue.trouble.as_ref()?.why.clone())));
        troubles.collect()
    }

    /// Lines of the past, and the way to those that come, with none between lost or twice.
    pub(super) fn past(&self, wanted: Wanted<'_>) -> Past {
        let state = &mut *self.lock();
        let mut past = Past { lines: Vec::new(), files: Vec::new(), follow: None };
        past.follow = wanted.follow.then(|| state.followers.subscribe());
        let names = state.apps.iter_mut();
        for (name, queue) in names.filter(|(name, _)| wanted.app.is_none_or(|app| app == *name)) {
            let lines = queue.last(wanted);
            match &queue.to {
                To::Files(shelf) if lines.len() < wanted.lines && queue.may_read() => {
                    let (reply, files) = oneshot::channel();
                    let (app, shelf) = (name.clone(), Arc::clone(shelf));
                    queue.waiting.push_back(Job::Read { app, shelf, reply });
                    past.files.push((name.clone(), files));
                }
                To::Files(_) | To::Stdout | To::Nowhere => past.lines.extend(lines),
            }
        }
        self.work.notify_one();
        past
    }

    /// The latest lines of one app, from memory alone.
    pub(super) fn latest(&self, app: &str, wanted: Wanted<'_>) -> Vec<LogLine> {
        self.lock().apps.get_mut(app).map_or_else(Vec::new, |queue| queue.last(wanted))
    }

    fn tell(&self, news: News) {
        // Events that nobody takes are too many already.
        let _ = self.news.try_send(news);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is whole before anything can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The next job of the app whose turn it is.
    fn next(&mut self, now: Instant) -> Option<Job> {
        if let Some(app) = self.gone.pop() {
            return Some(Job::Close(app));
        }
        let is_ready =
            |queue: &Queue| queue.retry_at().is_none_or(|at| at <= now) && queue.has_work();
        let ready = |(name, queue): (&String, &Queue)| is_ready(queue).then(|| name.clone());
        let after = self.last.take().unwrap_or_default();
        let later = (std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded);
        let name = self.apps.range(later).find_map(ready);
        let name = name.or_else(|| self.apps.iter().find_map(ready))?;
        let job = self.apps.get_mut(&name).and_then(Queue::next);
        self.last = Some(name);
        job
    }

    /// Adds to the latest lines; other apps give room if it is too much for all.
    fn remember(&mut self, app: &str, text: &[u8]) {
        let Some(queue) = self.apps.get_mut(app) else { return };
        let before = queue.recent.bytes();
        queue.recent.push(text, RECENT_BYTES_MAX);
        self.recent_bytes = self.recent_bytes - before + queue.recent.bytes();
        while self.recent_bytes > RECENT_TOTAL_BYTES_MAX {
            let largest = self.apps.values_mut().max_by_key(|queue| queue.recent.bytes());
            let Some(queue) = largest else { return };
            let before = queue.recent.bytes();
            queue.recent.shrink(before / 2);
            self.recent_bytes = self.recent_bytes - before + queue.recent.bytes();
        }
    }

    /// Forgets apps that are not wanted and have nothing left.
    fn forget_apps(&mut self, is_wanted: impl Fn(&str) -> bool) {
        let (gone, recent) = (&mut self.gone, &mut self.recent_bytes);
        self.apps.retain(|name, queue| {
            let stays = is_wanted(name) || queue.pipes > 0 || queue.has_work();
            if !stays {
                *recent -= queue.recent.bytes();
                gone.push(name.clone());
            }
            stays
        });
        let apps = &self.apps;
        self.counts.retain(|(app, _), _| apps.contains_key(app));
    }
}

impl To {
    fn of(output: &evergate_config::Output, directory: &std::path::Path) -> Self {
        match output.to {
            OutputTo::Files => {
                let directory: PathBuf = directory.to_owned();
                Self::Files(Arc::new(Shelf { directory, bytes_max: output.max, keep: output.keep }))
            }
            OutputTo::Stdout => Self::Stdout,
            OutputTo::Nowhere => Self::Nowhere,
        }
    }
}

impl Queue {
    fn new(to: To) -> Self {
        Self {
            to,
            pipes: 0,
            recent: Recent::default(),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            lost: None,
            trouble: None,
        }
    }

    fn has_work(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether the writer will soon say what files there are.
    fn may_read(&self) -> bool {
        let reads = self.waiting.iter().filter(|job| matches!(job, Job::Read { .. })).count();
        self.trouble.is_none() && reads < READS_WAITING_MAX
    }

    /// Until when there is no point in trying.
    fn retry_at(&self) -> Option<Instant> {
        self.trouble.as_ref().and_then(|trouble| trouble.retry_at)
    }

    /// The next job; before the first line after a gap, one that says so.
    fn next(&mut self) -> Option<Job> {
        let is_amid = matches!(self.waiting.front(), Some(Job::Write { at: 1.., .. }));
        if !is_amid
            && let Some(Job::Write { shelf, .. }) = self.waiting.front()
            && let Some((run, bytes)) = self.lost.take()
        {
            let gap = NonZeroU64::new(bytes);
            let head = lines::head(&run, clock::unix_millis());
            let text = format!("{head}[evergate: {bytes} bytes of output were dropped here]\n");
            let shelf = Arc::clone(shelf);
            let text = text.into_bytes();
            return Some(Job::Write { run, shelf, text, at: 0, gap, done: None });
        }
        let job = self.waiting.pop_front()?;
        if let Job::Write { text, at, .. } = &job {
            self.waiting_bytes -= text.len() - at;
        }
        Some(job)
    }

    /// Drops the oldest lines that wait and are not begun; says whose and how many bytes.
    fn drop_oldest(&mut self) -> Option<(Run, u64)> {
        let is_whole = |job: &Job| matches!(job, Job::Write { at: 0, .. });
        let index = self.waiting.iter().position(is_whole)?;
        let Some(Job::Write { run, text, .. }) = self.waiting.remove(index) else { return None };
        self.waiting_bytes -= text.len();
        let bytes = text.len() as u64;
        self.add_lost(&run, bytes);
        if let Some(trouble) = &mut self.trouble {
            trouble.lost_bytes += bytes;
        }
        Some((run, bytes))
    }

    fn add_lost(&mut self, run: &Run, bytes: u64) {
        let before = self.lost.take().map_or(0, |(_, bytes)| bytes);
        self.lost = Some((run.clone(), before + bytes));
    }

    fn last(&mut self, wanted: Wanted<'_>) -> Vec<LogLine> {
        let is_wanted = |line: &LogLine| wanted.instance.is_none_or(|one| one == line.instance);
        let text = self.recent.last(usize::MAX).0;
        let lines = lines::read(text).rev().filter(is_wanted).take(wanted.lines);
        let mut lines: Vec<_> = lines.collect();
        lines.reverse();
        lines
    }
}
