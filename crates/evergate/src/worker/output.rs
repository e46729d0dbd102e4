//! What apps print: to files, to standard output, and to whoever asks for it.
//!
//! One thread reads the pipes ([`reader`]), another writes the files ([`writer`]), and between them is what both
//! know ([`spool`]). The control plane only hands pipes over and asks. Each thread is
//! started when there is something for it to do.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use evergate_config::{Config, Level, nearest};
use evergate_control::command::Logs;
use evergate_control::link::Run;
use evergate_control::snapshot::{LogLine, OutputCounts};
use evergate_gateway::LogWriter;
use evergate_sys::privilege;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use super::control_plane::ControlPlane;

mod lines;
mod log_file;
mod reader;
mod recent;
mod spool;
mod tail;
mod writer;

pub(super) use lines::Unended;
use reader::{Attached, Until};
use spool::{Past, Spool};

/// Pipes that wait to be read.
const ATTACHED_QUEUED_MAX: usize = 1024;
/// Things worth an event that wait to be told; more are forgotten.
const NEWS_QUEUED_MAX: usize = 64;
/// Longest wait until lines are written that an answer should have.
const FILES_WAIT_MAX: Duration = Duration::from_secs(1);
/// Most lines of one answer.
pub(super) const LINES_MAX: usize = 10_000;
/// How long the last lines may take to be written when the worker ends.
const END_GRACE: Duration = Duration::from_secs(1);

/// The output of all apps.
#[derive(Debug)]
pub(super) struct Output {
    spool: Arc<Spool>,
    log: LogWriter,
    reader: Option<Reader>,
    /// Closed when the writer has ended.
    writer: Option<oneshot::Receiver<()>>,
    news: mpsc::Receiver<News>,
}

/// The thread that reads.
#[derive(Debug)]
struct Reader {
    attached: mpsc::Sender<Attached>,
    until: watch::Sender<Until>,
    /// Closed when it has ended.
    ended: oneshot::Receiver<()>,
}

/// Something worth an event.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum News {
    /// The output of an app cannot be kept.
    Failed { app: String, why: String },
    /// It can again.
    Resumed { app: String, lost_bytes: u64 },
}

/// Which lines are wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    /// All apps if none.
    pub(super) app: Option<&'a str>,
    /// All instances if none.
    pub(super) instance: Option<u16>,
    /// Most lines of the past.
    pub(super) lines: usize,
    /// Whether lines that come later are wanted too.
    pub(super) follow: bool,
}

/// The files of an app, each with the bytes that count, the newest first.
type Files = Vec<(File, u64)>;

impl Output {
    /// Nothing is read yet; lines for standard output go through `log`.
    pub(super) fn new(config: &Config, log: LogWriter) -> Self {
        let (sender, news) = mpsc::channel(NEWS_QUEUED_MAX);
        Self { spool: Arc::new(Spool::new(config, sender)), log, reader: None, writer: None, news }
    }

    /// Goes by another configuration.
    pub(super) fn follow(&self, config: &Config) {
        self.spool.follow(config);
    }

    /// Reads what `run` prints from now on.
    ///
    /// # Errors
    /// If that cannot be; nothing reads the pipe then.
    pub(super) fn attach(&mut self, run: Run, pipe: OwnedFd) -> io::Result<()> {
        let sent = self.reader()?.attached.try_send((run, pipe));
        sent.map_err(|_| io::Error::other("too many pipes wait already"))
    }

    /// The next thing worth an event: level, kind, subject and reason; waits for it.
    pub(super) async fn next(&mut self) -> (Level, &'static str, String, String) {
        // The spool has a sender as long as we are there.
        let Some(news) = self.news.recv().await else { std::future::pending().await };
        match news {
            News::Failed { app, why } => (Level::Error, "output_failed", format!("app.{app}"), why),
            News::Resumed { app, lost_bytes } => {
                let told = match lost_bytes {
                    0 => "written again; nothing was lost".to_owned(),
                    bytes => format!("written again; {bytes} bytes were lost"),
                };
                (Level::Info, "output_resumed", format!("app.{app}"), told)
            }
        }
    }

    /// What became of the output of an instance.
    pub(super) fn counts(&self, app: &str, number: u16) -> OutputCounts {
        self.spool.counts(app, number)
    }

    /// Why output is not kept, a line for each app of which it is not.
    pub(super) fn troubles(&self) -> Vec<String> {
        let troubles = self.spool.troubles().into_iter();
        troubles.map(|(app, why)| format!("app.{app}: output is not kept: {why}")).collect()
    }

    /// The lines that are wanted, at most [`LINES_MAX`] of the past. To be awaited elsewhere: it
    /// may take a second.
    fn logs(&mut self, wanted: Wanted<'_>) -> io::Result<impl Future<Output = Logs> + use<>> {
        self.write()?;
        let wanted = Wanted { lines: wanted.lines.min(LINES_MAX), ..wanted };
        let past = self.spool.past(wanted);
        Ok(gather(Arc::clone(&self.spool), past, wanted.instance, wanted.lines))
    }

    /// Reads for as long as `grace` until every pipe has ended, and writes what the others hold;
    /// nothing is read or written after that.
    pub(super) async fn finish(&mut self, grace: Duration) {
        let reader = self.reader.take();
        let mut has_read = true;
        let mut ending = None;
        if let Some(mut reader) = reader {
            reader.until.send_replace(Until::Ended);
            // The channel only tells that the thread has ended.
            has_read = timeout(grace, &mut reader.ended).await.is_ok();
            reader.until.send_replace(Until::Now);
            ending = Some(reader.ended);
        }
        let writer = self.writer.take();
        let ending = async {
            if let Some(ended) = ending.filter(|_| !has_read) {
                let _ = ended.await;
            }
            self.spool.end();
            if let Some(ended) = writer {
                let _ = ended.await;
            }
        };
        // A disk that stands still is not waited for.
        let _ = timeout(END_GRACE, ending).await;
    }

    /// Reads no more, for another process does: what has left the pipes is written, but for the
    /// beginnings of lines, which [`Output::unended`] tells. A disk that stands still is not waited
    /// for; what it did not take yet is written by us as soon as it does.
    pub(super) async fn let_go(&mut self) {
        let Some(reader) = self.reader.take() else { return };
        reader.until.send_replace(Until::Handover);
        // Both channels only tell that something has ended.
        let _ = timeout(END_GRACE, reader.ended).await;
        let _ = timeout(END_GRACE, self.spool.written_all()).await;
    }

    /// The beginnings of lines that have left their pipes, by run.
    pub(super) fn unended(&self) -> BTreeMap<Run, Unended> {
        self.spool.unended()
    }

    /// Goes on with lines that another process began.
    pub(super) fn inherit(&self, unended: BTreeMap<Run, Unended>) {
        self.spool.set_unended(unended);
    }

    /// The thread that reads, started if need be with the one that writes.
    fn reader(&mut self) -> io::Result<&Reader> {
        self.write()?;
        let reader = match self.reader.take() {
            Some(reader) => reader,
            None => self.read()?,
        };
        Ok(self.reader.insert(reader))
    }

    fn read(&self) -> io::Result<Reader> {
        let (attached, pipes) = mpsc::channel(ATTACHED_QUEUED_MAX);
        let (until, told) = watch::channel(Until::Always);
        let ended = reader::start(Arc::clone(&self.spool), self.log.clone(), pipes, told)?;
        Ok(Reader { attached, until, ended })
    }

    /// Has what waits be written from now on.
    fn write(&mut self) -> io::Result<()> {
        if self.writer.is_some() {
            return Ok(());
        }
        let (done, ended) = oneshot::channel();
        let spool = Arc::clone(&self.spool);
        std::thread::Builder::new().name("output-writer".into()).spawn(move || {
            writer::write(&spool);
            drop(done);
        })?;
        self.writer = Some(ended);
        Ok(())
    }
}

impl ControlPlane {
    /// Reads what a run prints from now on.
    pub(super) fn take_output(&mut self, run: Run, fds: Vec<OwnedFd>) {
        let Some(pipe) = fds.into_iter().next() else { return };
        let subject = format!("app.{}", run.app);
        if let Err(error) = self.output.attach(run, pipe) {
            let why = format!("what it prints cannot be read: {error}");
            self.event(Level::Error, "output_failed", &subject, &why);
        }
    }

    /// Answers once the lines are there.
    pub(super) fn answer_logs(
        &mut self,
        wanted: Wanted<'_>,
        reply: oneshot::Sender<Result<Logs, String>>,
    ) {
        let apps = &self.gateway.config().apps;
        if let Some(app) = wanted.app.filter(|app| !apps.contains_key(*app)) {
            let meant = nearest(app, apps.keys().map(String::as_str));
            let help = meant.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
            return drop(reply.send(Err(format!("there is no app `{app}`{help}"))));
        }
        match self.output.logs(wanted) {
            Ok(logs) => {
                // Bounded by the waits in it; ends with the runtime.
                tokio::spawn(async move { drop(reply.send(Ok(logs.await))) });
            }
            Err(error) => drop(reply.send(Err(format!("cannot read output: {error}")))),
        }
    }
}

/// Joins what is in memory with what is in files.
async fn gather(spool: Arc<Spool>, past: Past, instance: Option<u16>, lines_max: usize) -> Logs {
    let Past { mut lines, files, follow } = past;
    for (app, files) in files {
        let wanted = Wanted { app: Some(&app), instance, lines: lines_max, follow: false };
        match timeout(FILES_WAIT_MAX, files).await {
            Ok(Ok(files)) => {
                let is_wanted =
                    move |line: &LogLine| instance.is_none_or(|one| one == line.instance);
                let read = move || tail::last(files, lines_max, is_wanted);
                // A panic there is a bug of ours; the rest is still worth showing.
                lines.extend(tokio::task::spawn_blocking(read).await.unwrap_or_default());
            }
            // The writer stands still: what is in memory has to do.
            Ok(Err(_)) | Err(_) => lines.extend(spool.latest(&app, wanted)),
        }
    }
    // Lines of one app are in order already, and stay so.
    lines.sort_by_key(|line| line.at_ms);
    lines.drain(..lines.len().saturating_sub(lines_max));
    Logs { lines, follow }
}

/// What went wrong with the file at `path`, and how to mend it.
fn describe(path: &Path, error: &io::Error) -> String {
    let text = error.to_string();
    let plain = text.split(" (os error").next().unwrap_or(&text).to_lowercase();
    let directory = path.parent().unwrap_or(path).display();
    let uid = privilege::current_uid();
    let help = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free some space, or let `output.max` be smaller".to_owned()
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            format!("let user {uid} write there: `install -d -m 750 -o {uid} {directory}`")
        }
        _ => "it is tried again every few seconds".to_owned(),
    };
    format!("{}: {plain}; {help}", path.display())
}

#[cfg(test)]
mod tests;
