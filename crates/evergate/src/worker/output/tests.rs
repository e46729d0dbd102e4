use std::fs;
use std::io::{PipeWriter, Write};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use evergate_config::OutputTo;
use evergate_sys::clock;
use tempfile::TempDir;

use super::*;

/// Longest wait of a test.
const PATIENCE: Duration = Duration::from_secs(90);

/// A worker's output in a folder of its own.
struct Stage {
    folder: TempDir,
    config: Config,
    printed: Arc<Printed>,
    output: Output,
}

/// What standard output of a worker got; it takes nothing while somebody holds the lock.
#[derive(Debug, Default)]
struct Printed {
    text: Mutex<Vec<u8>>,
    more: Condvar,
}

impl Printed {
    /// Waits until there is something, and says what.
    fn wait(&self) -> Vec<u8> {
        let text = self.text.lock().unwrap();
        self.more.wait_timeout_while(text, PATIENCE, |text| text.is_empty()).unwrap().0.clone()
    }
}

/// Writes there.
struct Printer(Arc<Printed>);

impl Write for Printer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.text.lock().unwrap().extend_from_slice(bytes);
        self.0.more.notify_all();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stage {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = crate::worker::probes::tests::config();
        config.node.log_dir = folder.path().join("log");
        let printed = Arc::default();
        let output = output(&config, &printed);
        Self { folder, config, printed, output }
    }

    /// Follows another configuration of the app's output.
    fn change(&mut self, change: impl FnOnce(&mut evergate_config::Output)) {
        change(&mut self.config.apps.get_mut("shop").unwrap().output);
        self.output.follow(&self.config);
    }

    /// The writing end of a run's output.
    fn start(&mut self, generation: u32) -> PipeWriter {
        let (reader, writer) = io::pipe().unwrap();
        self.output.attach(run(generation), reader.into()).unwrap();
        writer
    }

    async fn logs(&mut self, app: Option<&str>, instance: Option<u16>, lines: usize) -> Logs {
        self.output.logs(Wanted { app, instance, lines, follow: true }).unwrap().await
    }

    async fn lines(&mut self, lines: usize) -> Vec<String> {
        texts(&self.logs(Some("shop"), None, lines).await)
    }

    /// Waits until the last that apps printed is `lines`.
    async fn wait_for(&mut self, lines: &[&str]) {
        let wait = async {
            loop {
                let mut logs = self.logs(None, None, lines.len()).await;
                if texts(&logs) == lines {
                    return;
                }
                // One that comes, or that so many came that some are lost.
                let _ = logs.follow.as_mut().unwrap().recv().await;
            }
        };
        if timeout(PATIENCE, wait).await.is_err() {
            panic!("waited for {lines:?}, there is {:?}", self.lines(lines.len()).await);
        }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join("log").join(name)
    }

    /// What the file has, without times.
    fn written(&self) -> String {
        let text = fs::read_to_string(self.path("shop.log")).unwrap_or_default();
        text.lines().map(|line| line.split_once(' ').unwrap().1.to_owned() + "\n").collect()
    }
}

fn output(config: &Config, printed: &Arc<Printed>) -> Output {
    let log = LogWriter::start(Printer(Arc::clone(printed))).unwrap();
    Output::new(config, log)
}

/// Waits for an app that is never made to wait for good.
async fn await_end(app: std::thread::JoinHandle<()>) {
    let until = clock::now() + PATIENCE;
    while !app.is_finished() {
        assert!(clock::now() < until, "it is blocked");
        tokio::task::yield_now().await;
    }
    app.join().unwrap();
}

/// Generation and text of each line.
fn texts(logs: &Logs) -> Vec<String> {
    logs.lines.iter().map(|line| format!("{} {}", line.generation, line.text)).collect()
}

fn run(generation: u32) -> Run {
    Run { app: "shop".into(), number: 0, generation }
}

#[tokio::test]
async fn what_runs_print_is_written_with_whose_it_is() {
    let mut stage = Stage::new();
    let (mut first, mut second) = (stage.start(1), stage.start(2));
    first.write_all(b"one\ntwo").unwrap();
    stage.wait_for(&["1 one"]).await;
    second.write_all(b"three\n").unwrap();
    stage.wait_for(&["1 one", "2 three"]).await;
    first.write_all(b" and more\n").unwrap();
    drop(first);
    second.write_all(b"without end").unwrap();
    drop(second);
    stage.wait_for(&["1 two and more", "2 without end"]).await;
    let counts = stage.output.counts("shop", 0);
    assert_eq!((counts.lines, counts.bytes, counts.dropped_bytes), (4, 34, 0));
    let text = "shop/0.1 one\nshop/0.2 three\nshop/0.1 two and more\nshop/0.2 without end\n";
    stage.output.finish(Duration::ZERO).await;
    let written = fs::read_to_string(stage.folder.path().join("log/shop.log")).unwrap();
    let written: String = written.lines().map(|line| line[25..].to_owned() + "\n").collect();
    assert_eq!(written, text);
}

#[tokio::test]
async fn a_line_is_in_its_pipe_until_it_is_written() {
    let mut stage = Stage::new();
    // Nothing can be written: a directory has the name of the file.
    fs::create_dir_all(stage.path("shop.log")).unwrap();
    let (reader, mut writer) = io::pipe().unwrap();
    let mut kept = reader.try_clone().unwrap();
    stage.output.attach(run(1), reader.into()).unwrap();
    let news = timeout(PATIENCE, async {
        writer.write_all(b"one\n").unwrap();
        stage.output.next().await
    });
    let (level, kind, subject, why) = news.await.unwrap();
    assert_eq!((level, kind, subject.as_str()), (Level::Error, "output_failed", "app.shop"));
    assert!(why.contains("shop.log: it is no regular file"), "{why}");
    assert_eq!(stage.output.troubles().len(), 1);
    fs::remove_dir(stage.path("shop.log")).unwrap();
    let (level, kind, _, told) = timeout(PATIENCE, stage.output.next()).await.unwrap();
    assert_eq!((level, kind), (Level::Info, "output_resumed"));
    assert_eq!(told, "written again; nothing was lost");
    assert_eq!(stage.written(), "shop/0.1 one\n");
    // And now it is taken out.
    writer.write_all(b"tail").unwrap();
    stage.output.finish(Duration::ZERO).await;
    drop(writer);
    let mut left = String::new();
    io::Read::read_to_string(&mut kept, &mut left).unwrap();
    assert_eq!(left, "tail", "the next worker finds what has no end yet, and no more");
}

#[tokio::test]
async fn what_is_not_written_yet_is_still_in_the_pipe() {
    let stage = Stage::new();
    let spool = Arc::clone(&stage.output.spool);
    let (attached, pipes) = mpsc::channel(1);
    let (_until, told) = watch::channel(Until::Always);
    let log = stage.output.log.clone();
    let _read = reader::start(Arc::clone(&spool), log, pipes, told).unwrap();
    let (pipe, mut writer) = io::pipe().unwrap();
    attached.try_send((run(1), pipe.try_clone().unwrap().into())).unwrap();
    let (peeker, mut held) = (evergate_sys::peek::Peeker::new().unwrap(), Vec::new());
    // It is held for a while only, and we may be late.
    let is_held = (0..100).any(|_| {
        writer.write_all(b"one\n").unwrap();
        let job = spool.next();
        let seen = peeker.peek(&pipe, &mut held).is_ok() && held == b"one\n";
        drop(job);
        seen
    });
    assert!(is_held, "a worker that is killed now would take the line along");
}

#[tokio::test]
async fn an_app_goes_on_while_nothing_can_be_written_and_a_line_says_what_is_missing() {
    let mut stage = Stage::new();
    fs::create_dir_all(stage.path("shop.log")).unwrap();
    let mut writer = stage.start(1);
    let printing = std::thread::spawn(move || {
        for number in 0..40_000 {
            writeln!(writer, "{number:0>99}").unwrap();
        }
    });
    await_end(printing).await;
    let last = format!("1 {:0>99}", 39_999);
    stage.wait_for(&[&last]).await;
    let lost = stage.output.counts("shop", 0).dropped_bytes;
    assert!(lost > 2_000_000, "{lost}");
    fs::remove_dir(stage.path("shop.log")).unwrap();
    let resumed = async {
        loop {
            if let (_, "output_resumed", _, told) = stage.output.next().await {
                return told;
            }
        }
    };
    let told = timeout(PATIENCE, resumed).await.unwrap();
    assert_eq!(told, format!("written again; {lost} bytes were lost"));
    stage.wait_for(&[&last]).await;
    stage.output.finish(Duration::ZERO).await;
    let written = fs::read_to_string(stage.path("shop.log")).unwrap();
    let gap = format!(" [evergate: {lost} bytes of output were dropped here]\n");
    let (before, after) = written.split_once(&gap).expect("a line says so");
    let number = |line: &str| line[line.len() - 99..].trim_start_matches('0').parse().unwrap_or(0);
    let numbers =
        |text: &str| text.lines().skip_while(|line| line.len() < 120).map(number).collect();
    let (before, after): (Vec<u32>, Vec<u32>) =
        (numbers(before.rsplit_once('\n').map_or("", |(b, _)| b)), numbers(after));
    assert!(before.windows(2).all(|pair| pair[0] + 1 == pair[1]));
    assert!(after.windows(2).all(|pair| pair[0] + 1 == pair[1]), "only the oldest were dropped");
    assert_eq!(after.last(), Some(&39_999));
}

#[tokio::test]
async fn the_next_worker_goes_on_where_the_last_one_stopped() {
    let mut stage = Stage::new();
    let (reader, mut writer) = io::pipe().unwrap();
    stage.output.attach(run(1), reader.try_clone().unwrap().into()).unwrap();
    writer.write_all(b"one\ntw").unwrap();
    stage.wait_for(&["1 one"]).await;
    let next = output(&stage.config, &stage.printed);
    std::mem::replace(&mut stage.output, next).finish(Duration::ZERO).await;
    writer.write_all(b"o\n").unwrap();
    assert_eq!(stage.lines(9).await, ["1 one"], "read from the file");
    stage.output.attach(run(1), reader.into()).unwrap();
    stage.wait_for(&["1 one", "1 two"]).await;
    assert_eq!(stage.written(), "shop/0.1 one\nshop/0.1 two\n");
}

#[tokio::test]
async fn all_files_stay_under_the_cap_in_a_flood() {
    let mut stage = Stage::new();
    stage.change(|output| (output.max, output.keep) = (400_000, 3));
    let mut writer = stage.start(1);
    let folder = stage.folder.path().join("log");
    let total = || {
        let files = fs::read_dir(&folder).into_iter().flatten().flatten();
        // One that is renamed right now is counted next time.
        files.filter_map(|entry| Some(entry.metadata().ok()?.len())).sum::<u64>()
    };
    for number in 0..30_000 {
        writeln!(writer, "{number:0>60}").unwrap();
        if number % 500 == 0 {
            let total = total();
            assert!(total <= 400_000, "{total}");
        }
    }
    drop(writer);
    let last = format!("1 {:0>60}", 29_999);
    stage.wait_for(&[&last]).await;
    stage.output.finish(Duration::ZERO).await;
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 4);
    assert!((300_000..=400_000).contains(&total()), "{}", total());
}

#[tokio::test]
async fn output_for_standard_output_goes_there_and_a_reader_that_stands_still_blocks_nobody() {
    let mut stage = Stage::new();
    stage.change(|output| output.to = OutputTo::Stdout);
    let mut writer = stage.start(1);
    writer.write_all(b"one\n").unwrap();
    stage.wait_for(&["1 one"]).await;
    let printed = Arc::clone(&stage.printed);
    assert!(printed.wait().ends_with(b"Z shop/0.1 one\n"));
    assert!(!stage.path("shop.log").exists());
    // From here on nothing can be printed, until the app has printed all.
    let (done, wait) = std::sync::mpsc::channel::<()>();
    let holding = std::thread::spawn(move || {
        let _held = printed.text.lock().unwrap();
        let _ = wait.recv_timeout(2 * PATIENCE);
    });
    let printing = std::thread::spawn(move || {
        for _ in 0..2_000 {
            writer.write_all(&[b'x'; 99]).unwrap();
            writer.write_all(b"\n").unwrap();
        }
    });
    await_end(printing).await;
    drop(done);
    holding.join().unwrap();
}

#[tokio::test]
async fn a_follower_gets_each_line_once_after_the_past() {
    let mut stage = Stage::new();
    let mut writer = stage.start(1);
    let printing = std::thread::spawn(move || {
        for number in 0..400 {
            writeln!(writer, "{number}").unwrap();
            if number % 20 == 0 {
                std::thread::park_timeout(Duration::from_millis(2));
            }
        }
    });
    while stage.lines(9).await.len() < 9 {
        tokio::task::yield_now().await;
    }
    // Enough to need the file.
    let wanted = Wanted { app: Some("shop"), instance: None, lines: 9_000, follow: true };
    let logs = stage.output.logs(wanted).unwrap().await;
    let mut numbers: Vec<u32> = logs.lines.iter().map(|line| line.text.parse().unwrap()).collect();
    let mut follow = logs.follow.unwrap();
    while numbers.last() != Some(&399) {
        let line = timeout(PATIENCE, follow.recv()).await.unwrap().unwrap();
        numbers.push(line.text.parse().unwrap());
    }
    printing.join().unwrap();
    assert_eq!(numbers, (0..400).collect::<Vec<_>>());
}

#[tokio::test]
async fn lines_of_all_apps_are_joined_in_order_of_time_and_an_instance_can_be_picked() {
    let mut stage = Stage::new();
    let mut writers: Vec<_> = [("shop", 0), ("shop", 1), ("gone", 0)]
        .into_iter()
        .map(|(app, number)| {
            let (reader, writer) = io::pipe().unwrap();
            let run = Run { app: app.into(), number, generation: 1 };
            stage.output.attach(run, reader.into()).unwrap();
            writer
        })
        .collect();
    let mut printed = Vec::new();
    for (at, text) in [(0, "a"), (2, "b"), (1, "c"), (0, "d")] {
        writeln!(writers[at], "{text}").unwrap();
        printed.push(format!("1 {text}"));
        let printed: Vec<_> = printed.iter().map(String::as_str).collect();
        stage.wait_for(&printed).await;
        // Lines of the same millisecond have no order.
        let now = clock::unix_millis();
        while clock::unix_millis() == now {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(texts(&stage.logs(None, None, 3).await), ["1 b", "1 c", "1 d"]);
    assert_eq!(texts(&stage.logs(Some("shop"), Some(0), 3).await), ["1 a", "1 d"]);
    assert_eq!(texts(&stage.logs(Some("gone"), None, 3).await), ["1 b"]);
}

/// Hands a run's output back and forth between two workers while the app prints; each reads the
/// same pipe and writes the same files.
#[tokio::test]
async fn two_workers_take_turns_and_no_line_is_lost_or_torn() {
    const TURNS: usize = 12;
    let mut stage = Stage::new();
    stage.change(|output| output.max = 64 * 1024 * 1024);
    let mut next = output(&stage.config, &stage.printed);
    let (reader, mut writer) = io::pipe().unwrap();
    let is_over = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let over = Arc::clone(&is_over);
    let app = std::thread::spawn(move || {
        let mut count = 0u64;
        while !over.load(std::sync::atomic::Ordering::Relaxed) {
            let line = format!("{count} {}\n", "x".repeat((count % 700) as usize));
            // Most lines come in two pieces, so a turn often ends in the middle of one.
            let half = line.len() / 2;
            writer.write_all(&line.as_bytes()[..half]).unwrap();
            std::thread::yield_now();
            writer.write_all(&line.as_bytes()[half..]).unwrap();
            count += 1;
        }
        count
    });
    for _ in 0..TURNS {
        let mut follow = stage.logs(Some("shop"), None, 0).await.follow.unwrap();
        stage.output.attach(run(1), reader.try_clone().unwrap().into()).unwrap();
        for _ in 0..200 {
            // One that comes, or that so many came that some are lost.
            drop(timeout(PATIENCE, follow.recv()).await.expect("a line comes"));
        }
        stage.output.let_go().await;
        next.inherit(stage.output.unended());
        std::mem::swap(&mut stage.output, &mut next);
    }
    stage.output.attach(run(1), reader.into()).unwrap();
    is_over.store(true, std::sync::atomic::Ordering::Relaxed);
    let count = app.join().unwrap();
    stage.output.finish(PATIENCE).await;
    let written = stage.written();
    let mut lines = written.lines();
    for number in 0..count {
        let expected = format!("shop/0.1 {number} {}", "x".repeat((number % 700) as usize));
        assert_eq!(lines.next(), Some(expected.as_str()), "line {number} of {count}");
    }
    assert_eq!(lines.next(), None);
}

#[tokio::test]
async fn a_line_that_had_left_its_pipe_is_gone_on_with_by_the_next_worker() {
    let mut stage = Stage::new();
    let mut next = output(&stage.config, &stage.printed);
    let (reader, mut writer) = io::pipe().unwrap();
    stage.output.attach(run(1), reader.try_clone().unwrap().into()).unwrap();
    writer.write_all(b"one\nbegun").unwrap();
    stage.wait_for(&["1 one"]).await;
    // Too long without an end to be left in the pipe.
    let until = clock::now() + PATIENCE;
    while evergate_sys::pipe::fill(&reader).unwrap().waiting > 0 {
        assert!(clock::now() < until, "it is never taken");
        tokio::task::yield_now().await;
    }
    stage.output.let_go().await;
    assert_eq!(stage.written(), "shop/0.1 one\n", "nothing half is written");
    next.inherit(stage.output.unended());
    next.attach(run(1), reader.into()).unwrap();
    writer.write_all(b" and ended\n").unwrap();
    drop(writer);
    next.finish(PATIENCE).await;
    assert_eq!(stage.written(), "shop/0.1 one\nshop/0.1 begun and ended\n");
}
