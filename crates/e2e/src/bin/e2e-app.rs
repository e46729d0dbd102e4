//! An app for tests: it serves like any other, and misbehaves on request.
//!
//! How is said in words, as arguments and in the file `words` of its working directory, which a
//! release brings; see [`Conduct::hear`]. It answers `/health` with 200, `/slow?ms=N` after a
//! while, a request to upgrade by sending back whatever comes, and everything else with who it is,
//! as JSON. Instance N leaves a request to `/leave-to-child?instance=N` to a child of its own, which
//! holds on to the connection and answers nothing.

use std::env;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use evergate_sys::clock;
use evergate_sys::signal::{Signal, Signals};
use evergate_sys::wait;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, kill_process, setsid};

/// Longest request head.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Signals that end a process which does nothing about them.
const SIGNALS: [i32; 11] = [1, 2, 3, 4, 6, 8, 9, 10, 11, 14, 15];
/// Opcode of a Close (RFC 6455, 5.2).
const CLOSE: u8 = 8;
/// The socket of `LISTEN_FDS`.
const FIRST_LISTEN_FD: i32 = 3;

/// What it printed.
static PRINTED_BYTES: AtomicU64 = AtomicU64::new(0);
/// The longest that it had to wait to be rid of something that it printed.
static LONGEST_PRINT_MS: AtomicU64 = AtomicU64::new(0);

/// How the app behaves. By default like an honest one.
#[derive(Clone, Debug, Default)]
struct Conduct {
    /// `start-after=MS`: listens only then.
    start_after: Duration,
    /// `unready`, or `unready-from=NUMBER` for instances from that number on: never listens.
    is_unready: bool,
    /// `notify-after=MS`: says `READY=1` that long after it listens.
    notify_after: Option<Duration>,
    /// `exit=STATUS` or `signal=NUMBER`: how it ends by itself.
    end: Option<End>,
    /// `end-by-turns`: each generation ends in its own way, see [`End::of_turn`].
    ends_by_turns: bool,
    /// `end-after=MS`: when.
    end_after: Duration,
    /// `deaf`, or `linger=MS`: what SIGTERM does.
    on_terminate: OnTerminate,
    /// `status=CODE`: the status of every answer but that to `/health`.
    status: Option<u16>,
    /// `print=COUNT`: numbered lines on standard output at the start.
    lines: u64,
    /// `tick=MS`: numbered lines without end, with a pause after each.
    tick: Option<Duration>,
    /// `flood`: lines without end.
    is_flooding: bool,
    /// `memory=MIB`: memory that it takes and uses, one MiB after another.
    memory_mib: usize,
    /// `offspring=KIND`: processes that it starts and forgets.
    offspring: Vec<String>,
    /// `mark=TEXT`: stands in the command line of its offspring, to find them by.
    mark: String,
}

#[derive(Clone, Copy, Debug)]
enum End {
    Exit(u8),
    Signal(i32),
}

impl End {
    /// A status for an odd generation, a signal for an even one; none that stands for more than
    /// itself.
    fn of_turn(generation: usize) -> Self {
        match generation % 2 {
            0 => Self::Signal(SIGNALS[generation / 2 % SIGNALS.len()]),
            _ => Self::Exit(1 + (generation / 2 % 77) as u8),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum OnTerminate {
    #[default]
    Die,
    Ignore,
    Linger(Duration),
}

/// Who this process is.
struct App {
    conduct: Conduct,
    /// Nanoseconds on the monotonic clock when `main` began.
    born: u64,
    words: String,
}

/// A connection of either kind.
trait Stream: Read + Write + Send {
    /// Another descriptor of it.
    fn descriptor(&self) -> io::Result<OwnedFd>;
}

impl Stream for TcpStream {
    fn descriptor(&self) -> io::Result<OwnedFd> {
        self.try_clone().map(OwnedFd::from)
    }
}

impl Stream for UnixStream {
    fn descriptor(&self) -> io::Result<OwnedFd> {
        self.try_clone().map(OwnedFd::from)
    }
}

fn main() -> ExitCode {
    let born = clock::now().as_nanos();
    if env::args().nth(1).as_deref() == Some("offspring") {
        return be_offspring();
    }
    let words: Vec<String> = env::args().skip(1).chain(words_of_release()).collect();
    let conduct = match Conduct::hear(words.iter().map(String::as_str)) {
        Ok(conduct) => conduct,
        Err(word) => {
            eprintln!("no such word: {word}");
            return ExitCode::from(64);
        }
    };
    let signals = match conduct.on_terminate {
        OnTerminate::Die => None,
        OnTerminate::Ignore | OnTerminate::Linger(_) => {
            Some(Signals::block(&[Signal::Terminate]).expect("signals can be blocked"))
        }
    };
    let app = Arc::new(App { conduct, born, words: words.join(" ") });
    let serving = Arc::clone(&app);
    thread::spawn(move || serving.live());
    app.wait_for_end(signals.as_ref())
}

/// The words that the release in the working directory brings.
fn words_of_release() -> Vec<String> {
    let text = std::fs::read_to_string("words").unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}

impl Conduct {
    /// What `words` ask for, or the one that means nothing.
    fn hear<'a>(words: impl Iterator<Item = &'a str>) -> Result<Self, &'a str> {
        let mut conduct = Self::default();
        for word in words {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            let number = value.parse::<u64>();
            let millis = number.clone().map(Duration::from_millis);
            match (name, number, millis) {
                ("start-after", _, Ok(wait)) => conduct.start_after = wait,
                ("unready", _, _) => conduct.is_unready = true,
                ("unready-from", Ok(first), _) => {
                    conduct.is_unready = of("INSTANCE").parse().is_ok_and(|own: u64| own >= first);
                }
                ("notify-after", _, Ok(wait)) => conduct.notify_after = Some(wait),
                ("exit", Ok(status), _) => conduct.end = Some(End::Exit(status as u8)),
                ("signal", Ok(number), _) => conduct.end = Some(End::Signal(number as i32)),
                ("end-by-turns", _, _) => conduct.ends_by_turns = true,
                ("end-after", _, Ok(wait)) => conduct.end_after = wait,
                ("deaf", _, _) => conduct.on_terminate = OnTerminate::Ignore,
                ("linger", _, Ok(wait)) => conduct.on_terminate = OnTerminate::Linger(wait),
                ("status", Ok(status), _) => conduct.status = Some(status as u16),
                ("print", Ok(count), _) => conduct.lines = count,
                ("tick", _, Ok(pause)) => conduct.tick = Some(pause),
                ("flood", _, _) => conduct.is_flooding = true,
                ("memory", Ok(mib), _) => conduct.memory_mib = mib as usize,
                ("offspring", _, _) => conduct.offspring.push(value.to_owned()),
                ("mark", _, _) => conduct.mark = value.to_owned(),
                // Words that only tell releases apart.
                ("release", _, _) => {}
                _ => return Err(word),
            }
        }
        Ok(conduct)
    }
}

impl App {
    /// Ends as its conduct says, or when it is asked to.
    fn wait_for_end(&self, signals: Option<&Signals>) -> ExitCode {
        let turn = of("GENERATION").parse().map(End::of_turn).ok();
        if let Some(end) = self.conduct.end.or(turn.filter(|_| self.conduct.ends_by_turns)) {
            thread::sleep(self.conduct.end_after);
            match end {
                End::Exit(status) => return ExitCode::from(status),
                End::Signal(number) => {
                    let signal = rustix::process::Signal::from_named_raw(number);
                    let signal = signal.expect("a signal with a name");
                    // The runtime's handler of SIGSEGV takes the first for a stray one.
                    loop {
                        kill_process(getpid(), signal).expect("one may kill oneself");
                        thread::sleep(Duration::from_millis(1));
                    }
                }
            }
        }
        if let (OnTerminate::Linger(wait), Some(signals)) = (self.conduct.on_terminate, signals) {
            while !matches!(signals.next(), Ok(Some(_))) {
                let _ = wait::readable(signals, -1);
            }
            thread::sleep(wait);
            return ExitCode::SUCCESS;
        }
        loop {
            thread::park();
        }
    }

    /// Does everything else, to the end of the process.
    fn live(self: Arc<Self>) {
        let Conduct { is_flooding, tick, lines, memory_mib, .. } = self.conduct;
        thread::spawn(move || print(lines, tick, is_flooding));
        thread::spawn(move || eat(memory_mib));
        if self.conduct.is_unready {
            self.beget(None);
            return;
        }
        thread::sleep(self.conduct.start_after);
        let notify_after = self.conduct.notify_after;
        if let Some(path) = env::var_os("SOCKET") {
            let listener = UnixListener::bind(path).expect("the path is ours");
            self.beget(Some(listener.try_clone().expect("descriptors are left").into()));
            thread::spawn(move || notify(notify_after));
            listener.incoming().flatten().for_each(|stream| self.take(Box::new(stream)));
        } else {
            let listener = tcp_listener();
            self.beget(Some(listener.try_clone().expect("descriptors are left").into()));
            thread::spawn(move || notify(notify_after));
            for stream in listener.incoming().flatten() {
                let _ = stream.set_nodelay(true);
                self.take(Box::new(stream));
            }
        }
    }

    /// Starts its offspring; those that hold on to the port get it as standard input.
    fn beget(&self, listener: Option<OwnedFd>) {
        for kind in &self.conduct.offspring {
            let own = env::current_exe().expect("it has a path");
            let mut command = Command::new(own);
            command.args(["offspring", kind, &self.conduct.mark]).stdin(Stdio::null());
            if let (true, Some(listener)) = (kind.contains("port"), &listener) {
                command.stdin(listener.try_clone().expect("descriptors are left"));
            }
            drop(command.spawn().expect("a child can be started"));
        }
    }

    fn take(self: &Arc<Self>, stream: Box<dyn Stream>) {
        let app = Arc::clone(self);
        // A client that goes away is its own business.
        thread::spawn(move || app.serve(stream));
    }

    fn serve(&self, mut stream: Box<dyn Stream>) -> io::Result<()> {
        let mut kept = Vec::new();
        while let Some(head) = read_head(&mut stream, &mut kept)? {
            if head.to_ascii_lowercase().contains("\r\nupgrade:") {
                // The head says which run answers, for a frame cannot.
                let run = format!("{}/{}", of("INSTANCE"), of("GENERATION"));
                let answer = format!(
                    "HTTP/1.1 101 Said\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                     x-run: {run}\r\n\r\n"
                );
                stream.write_all(answer.as_bytes())?;
                return echo(&mut stream, &mut kept);
            }
            let target = head.split(' ').nth(1).unwrap_or_default();
            let instance = env::var("INSTANCE").unwrap_or_default();
            if target.strip_prefix("/leave-to-child?instance=") == Some(&instance) {
                self.leave_to_child(stream.descriptor()?)?;
                loop {
                    thread::park();
                }
            }
            let millis = target.strip_prefix("/slow?ms=").and_then(|ms| ms.parse().ok());
            thread::sleep(Duration::from_millis(millis.unwrap_or_default()));
            let (status, body) = match target {
                "/health" => (200, "fine\n".to_owned()),
                _ => (self.conduct.status.unwrap_or(200), self.portrait()),
            };
            // One write, so that an end leaves either no answer or a whole one.
            let length = body.len();
            let answer =
                format!("HTTP/1.1 {status} Said\r\ncontent-length: {length}\r\n\r\n{body}");
            stream.write_all(answer.as_bytes())?;
        }
        Ok(())
    }

    /// Starts a child that holds on to a connection, out of reach of a signal to its group.
    fn leave_to_child(&self, connection: OwnedFd) -> io::Result<()> {
        let mut command = Command::new(env::current_exe()?);
        command.args(["offspring", "setsid", &self.conduct.mark]).stdin(connection).spawn()?;
        Ok(())
    }

    /// Who it is, as JSON.
    fn portrait(&self) -> String {
        serde_json::json!({
            "app": of("APP"),
            "instance": of("INSTANCE"),
            "generation": of("GENERATION"),
            "pid": std::process::id(),
            "born": self.born,
            "words": self.words,
            "printed_bytes": PRINTED_BYTES.load(Relaxed),
            "longest_print_ms": LONGEST_PRINT_MS.load(Relaxed),
            "cwd": env::current_dir().unwrap_or_default(),
        })
        .to_string()
    }
}

/// A variable of its environment.
fn of(name: &str) -> String {
    env::var(name).unwrap_or_default()
}

/// The socket that was handed to it, or a new one on `PORT`.
fn tcp_listener() -> TcpListener {
    let is_ours = env::var("LISTEN_PID").is_ok_and(|pid| pid == std::process::id().to_string());
    if is_ours && env::var("LISTEN_FDS").is_ok_and(|count| count == "1") {
        // A descriptor that is known by number only can be had safely from one's own process.
        let own = rustix::process::pidfd_open(getpid(), PidfdFlags::empty());
        let own = own.expect("Linux 5.3 has it");
        let none = PidfdGetfdFlags::empty();
        let listener = rustix::process::pidfd_getfd(own, FIRST_LISTEN_FD, none);
        return listener.expect("descriptor 3 is open, and Linux 5.6 gives it").into();
    }
    let port = env::var("PORT").expect("PORT is set");
    TcpListener::bind(format!("127.0.0.1:{port}")).expect("the port is free")
}

/// The next request's head; none at the end of the connection.
fn read_head(stream: &mut impl Read, kept: &mut Vec<u8>) -> io::Result<Option<String>> {
    loop {
        if let Some(end) = kept.windows(4).position(|window| window == b"\r\n\r\n") {
            let head: Vec<u8> = kept.drain(..end + 4).collect();
            return Ok(Some(String::from_utf8_lossy(&head).into_owned()));
        }
        if kept.len() > HEAD_BYTES_MAX || !read_more(stream, kept)? {
            return Ok(None);
        }
    }
}

/// Sends each short frame of a WebSocket back, to the Close (RFC 6455, 5.2).
fn echo(stream: &mut (impl Read + Write), kept: &mut Vec<u8>) -> io::Result<()> {
    loop {
        // A frame of less than 126 bytes, masked as those of clients are.
        let start = take(stream, kept, 6)?;
        let (kind, length, mask) = (start[0], start[1] & 0x7F, &start[2..]);
        let payload = take(stream, kept, usize::from(length))?;
        let bytes = payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask);
        let frame: Vec<u8> = [kind, length].into_iter().chain(bytes).collect();
        stream.write_all(&frame)?;
        if kind & 0xF == CLOSE {
            return Ok(());
        }
    }
}

fn take(stream: &mut impl Read, kept: &mut Vec<u8>, count: usize) -> io::Result<Vec<u8>> {
    while kept.len() < count {
        if !read_more(stream, kept)? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(kept.drain(..count).collect())
}

/// Says whether there was more.
fn read_more(stream: &mut impl Read, kept: &mut Vec<u8>) -> io::Result<bool> {
    let mut more = [0; 4096];
    let count = stream.read(&mut more)?;
    kept.extend_from_slice(&more[..count]);
    Ok(count > 0)
}

fn notify(after: Option<Duration>) {
    let (Some(after), Some(path)) = (after, env::var_os("NOTIFY_SOCKET")) else { return };
    thread::sleep(after);
    let socket = UnixDatagram::unbound().expect("sockets are left");
    socket.send_to(b"READY=1\nSTATUS=serving", path).expect("somebody listens");
}

fn print(lines: u64, tick: Option<Duration>, is_flooding: bool) {
    let mut out = io::stdout().lock();
    let lines = if tick.is_some() { u64::MAX } else { lines };
    for number in 0..lines {
        say(&mut out, &format!("line {number}\n"));
        thread::sleep(tick.unwrap_or_default());
    }
    let flood = format!("{:-<200}\n", "flood ").repeat(20);
    if is_flooding {
        loop {
            say(&mut out, &flood);
        }
    }
}

/// Prints, and notes how long that took.
fn say(out: &mut impl Write, text: &str) {
    let began = clock::now();
    // Nobody may be there to read it.
    let _ = out.write_all(text.as_bytes());
    PRINTED_BYTES.fetch_add(text.len() as u64, Relaxed);
    LONGEST_PRINT_MS.fetch_max((clock::now() - began).as_millis() as u64, Relaxed);
}

fn eat(mib: usize) {
    let mut eaten = Vec::new();
    for _ in 0..mib {
        eaten.push(vec![1u8; 1024 * 1024]);
        thread::sleep(Duration::from_millis(1));
    }
    // It stays eaten to the end of the process.
    std::mem::forget(eaten);
}

/// A process that outlives whoever started it, unless somebody sees to it.
fn be_offspring() -> ExitCode {
    let kind = env::args().nth(2).unwrap_or_default();
    if kind.contains("setsid") {
        setsid().expect("it leads no group yet");
    }
    let deaf = [Signal::Terminate, Signal::Hangup, Signal::Interrupt, Signal::Quit];
    let _blocked = kind.contains("deaf").then(|| Signals::block(&deaf));
    if kind.contains("double") {
        let again = kind.replace("double", "");
        let own = env::current_exe().expect("it has a path");
        let mark = env::args().nth(3).unwrap_or_default();
        let mut command = Command::new(own);
        drop(command.args(["offspring", &again, &mark]).spawn().expect("it can be started"));
        return ExitCode::SUCCESS;
    }
    loop {
        thread::park();
    }
}
