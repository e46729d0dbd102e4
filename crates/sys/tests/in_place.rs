//! Becoming another program in place, and coming back. This binary plays all the parts: a test starts it
//! as the first program, which becomes the second, which may become the first again.

#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(clippy::print_stdout, reason = "this is the test harness")]

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::io::{PipeReader, Read, pipe};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use evergate_core::rng::Rng;
use evergate_sys::child::{Spec, spawn};
use evergate_sys::exit::{self, Exit};
use evergate_sys::guard::Guard;
use evergate_sys::image::Image;
use evergate_sys::inherited::Inherited;
use evergate_sys::signal::{self, Signal, Signals};
use evergate_sys::{exec, guard, process};

/// For a second program that goes wrong quickly.
const WITHIN: Duration = Duration::from_secs(120);
/// For one that hangs.
const SHORTLY: Duration = Duration::from_millis(50);
/// How often a child exits just when its parent becomes another program.
const EXECS: u32 = 300;

type Test = (&'static str, fn());

const TESTS: &[Test] = &[
    ("the_process_keeps_its_number_its_children_and_their_exact_exits", keeps_children),
    ("whatever_ends_the_second_program_brings_the_first_one_back", comes_back),
    ("the_way_back_is_open_again_after_each_return", comes_back_again),
    ("a_disarmed_guard_lets_failures_be_failures", disarms),
    ("children_that_exit_during_execs_are_told_exactly", exits_exactly),
    ("what_cannot_be_become_changes_nothing", stays),
    ("a_process_with_other_threads_stays_what_it_is", has_threads),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["first", what] => first(what),
        ["second", what, image, alive, dead, end] => second(what, image, [alive, dead, end]),
        ["back", what, alive, dead, end, why] => back(what, [alive, dead, end], why),
        ["chain", left, expected] => chain(number(left), expected),
        ["stay"] => stay(),
        ["threads"] => threads(),
        _ => run_tests(&words),
    }
}

fn run_tests(arguments: &[&str]) -> ExitCode {
    let filter = arguments.iter().find(|argument| !argument.starts_with('-'));
    let mut failed = 0;
    for (name, test) in
        TESTS.iter().filter(|(name, _)| filter.is_none_or(|part| name.contains(part)))
    {
        let passed = std::panic::catch_unwind(test).is_ok();
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        failed += usize::from(!passed);
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

// The tests.

fn keeps_children() {
    let said = play(&["first", "go on"]);
    assert_eq!(
        said,
        "second: alive is alive, dead is exit status 7, name second\nalive is exit status 3\n"
    );
}

fn comes_back() {
    let table = [
        ("overflow", "signal 11"),
        ("panic", "signal 06"),
        ("abort", "signal 06"),
        ("7", "signal 07"),
        ("4", "signal 04"),
        ("8", "signal 08"),
        ("31", "signal 31"),
        ("5", "signal 05"),
        ("hang", "signal 14"),
        ("refuse", "it would rather not"),
    ];
    for (what, why) in table {
        let expected = format!(
            "back: {why}, alive is alive, dead is exit status 7, 1 signal waits\nalive is exit status 3\n"
        );
        assert_eq!(play(&["first", what]), expected, "{what}");
    }
}

fn comes_back_again() {
    let expected = "back: signal 11, alive is alive, dead is exit status 7, 1 signal waits\nalive is exit status 3\n";
    assert_eq!(play(&["first", "overflow twice"]), expected);
}

fn disarms() {
    let mut child = command(&["first", "disarm"]).spawn().unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.signal(), Some(6), "{status}");
}

fn exits_exactly() {
    assert_eq!(play(&["chain", &EXECS.to_string(), "none"]), "all exact\n");
}

fn stays() {
    assert_eq!(play(&["stay"]), "Exec format error, closed on exec as before\n");
}

fn has_threads() {
    assert_eq!(play(&["threads"]), "the process has 2 threads\n");
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// What the process said from beginning to end, which it must have reached as itself.
fn play(arguments: &[&str]) -> String {
    let child = command(arguments).spawn().unwrap();
    let pid = child.id();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    let named = format!("as {pid}\n");
    assert!(said.ends_with(&named), "{arguments:?}: {said}");
    said.strip_suffix(&named).unwrap().to_owned()
}

// The parts.

/// Has a child that lives and one that is dead and not reaped, and becomes the second program.
fn first(what: &str) -> ExitCode {
    let _signals = Signals::block(&[Signal::User1, Signal::Child]).unwrap();
    let (reader, writer) = pipe().unwrap();
    let alive = shell("read line <&3; exit 3", Some(&reader));
    let dead = shell("exit 7", None);
    while exit::next().unwrap().is_none() {
        std::thread::yield_now();
    }
    // It comes in between, and must not be lost.
    signal::send(std::process::id(), Signal::User1).unwrap();
    let image = Image::own().unwrap();
    become_second(&image, what, [&alive.to_string(), &dead.to_string()], writer)
}

/// Fails as `what` says, or goes on.
fn second(what: &str, image: &str, [alive, dead, end]: [&str; 3]) -> ExitCode {
    let mut inherited = Inherited::all().unwrap();
    assert!(Inherited::all().is_err(), "nobody else may give them away");
    let image = inherited.take(number(image)).unwrap();
    let taken = image.as_raw_fd();
    assert!(inherited.get(taken).is_none() && inherited.take(taken).is_none());
    process::set_name("second").unwrap();
    let argv = ["name", "back", what, alive, dead, end].map(OsString::from).to_vec();
    let within = if what == "hang" { SHORTLY } else { WITHIN };
    let guard = Guard::arm(image, argv, within).unwrap();
    match what {
        "go on" => {
            drop(guard.disarm());
            let name = fs::read_to_string("/proc/self/comm").unwrap();
            println!("second: {}, name {}", children(alive, dead), name.trim());
            let_end(alive, inherited.take(number(end)).unwrap())
        }
        "overflow" | "overflow twice" => ExitCode::from(overflow(1) as u8),
        "panic" => panic!("as the test wants it"),
        "abort" => std::process::abort(),
        "hang" => loop {
            std::hint::spin_loop();
        },
        "refuse" => panic!("{}", guard.go_back("it would rather not")),
        "disarm" => {
            drop(guard.disarm());
            std::process::abort();
        }
        signal => raise(number(signal)),
    }
}

/// The first program again.
fn back(what: &str, [alive, dead, end]: [&str; 3], why: &str) -> ExitCode {
    guard::clear().unwrap();
    // As the first program had it, and not as the handler that made the exec.
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap();
    let bit = |signal: i32| 1u64 << (signal - 1);
    let blocked = u64::from_str_radix(blocked.trim(), 16).unwrap();
    assert_eq!(blocked, bit(libc::SIGUSR1) | bit(libc::SIGCHLD), "{blocked:x}");
    let mut inherited = Inherited::all().unwrap();
    let writer = inherited.take(number(end)).unwrap();
    if what == "overflow twice" {
        let image = Image::own().unwrap();
        return become_second(&image, "overflow", [alive, dead], &writer);
    }
    let signals = Signals::block(&[Signal::User1, Signal::Child]).unwrap();
    let signals = std::iter::from_fn(|| signals.next().unwrap());
    let waiting = signals.filter(|&one| one == Signal::User1).count();
    println!("back: {why}, {}, {waiting} signal waits", children(alive, dead));
    let_end(alive, writer)
}

fn become_second(image: &Image, what: &str, [alive, dead]: [&str; 2], end: impl AsFd) -> ExitCode {
    let numbers = [image.as_fd().as_raw_fd(), end.as_fd().as_raw_fd()].map(|fd| fd.to_string());
    let argv = ["name", "second", what, &numbers[0], alive, dead, &numbers[1]];
    let kept = [image.as_fd(), end.as_fd()];
    panic!("{}", exec::replace(image.as_fd(), &argv.map(OsString::from), &kept));
}

/// Becomes itself over and over. Each time a child exits somewhere in between.
fn chain(left: u32, expected: &str) -> ExitCode {
    if let Some((pid, status)) = expected.split_once(':') {
        let exit = end_of(number(pid));
        assert_eq!(exit, Exit::Status(number(status)), "{left} left");
    }
    if left == 0 {
        println!("all exact\nas {}", std::process::id());
        return ExitCode::SUCCESS;
    }
    let mut rng = Rng::seeded(u64::from(left));
    let status = rng.below(256);
    let (reader, writer) = pipe().unwrap();
    let pid = shell(&format!("read line <&3; exit {status}"), Some(&reader));
    let image = Image::own().unwrap();
    let expected = format!("{pid}:{status}");
    let argv = ["name", "chain", &(left - 1).to_string(), &expected].map(OsString::from);
    // The child wakes up now; how far it gets before we are another program differs each time.
    drop((reader, writer));
    for _ in 0..rng.below(4000) {
        std::hint::spin_loop();
    }
    panic!("{}", exec::replace(image.as_fd(), &argv, &[]));
}

/// Tries to become something that is no program.
fn stay() -> ExitCode {
    let path = std::env::temp_dir().join(format!("evergate-no-program-{}", std::process::id()));
    fs::write(&path, b"\x7fELF and nothing else").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    let image = Image::open(&path).unwrap();
    fs::remove_file(&path).unwrap();
    // Standard input is for whoever comes next anyway, and stays so.
    let (stdin, kept) = (std::io::stdin(), rustix::io::fcntl_getfd(std::io::stdin()).unwrap());
    assert!(kept.is_empty());
    let fds = [image.as_fd(), stdin.as_fd(), image.as_fd()];
    let error = exec::replace(image.as_fd(), &["name".into()], &fds);
    assert!(rustix::io::fcntl_getfd(&image).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
    assert!(rustix::io::fcntl_getfd(stdin).unwrap().is_empty());
    let error = error.to_string();
    println!(
        "{}, closed on exec as before\nas {}",
        error.split(" (").next().unwrap(),
        std::process::id()
    );
    ExitCode::SUCCESS
}

fn threads() -> ExitCode {
    let (mut reader, writer) = pipe().unwrap();
    let other = std::thread::spawn(move || reader.read(&mut [0]).unwrap());
    let image = Image::own().unwrap();
    println!("{}", exec::replace(image.as_fd(), &["name".into()], &[]));
    drop(writer);
    assert_eq!(other.join().unwrap(), 0);
    println!("as {}", std::process::id());
    ExitCode::SUCCESS
}

// What the parts need.

fn shell(script: &str, third: Option<&PipeReader>) -> u32 {
    let fds = third.iter().map(|fd| (fd.as_fd(), 3)).collect();
    spawn(&Spec {
        program: "/bin/sh".into(),
        args: vec!["-c".into(), script.into()],
        fds,
        ..Spec::default()
    })
    .unwrap()
}

/// How both children are, the dead one reaped.
fn children(alive: &str, dead: &str) -> String {
    let exit = end_of(number(dead));
    let usage = process::usage(number(alive));
    format!("alive is {}, dead is {exit}", if usage.is_ok() { "alive" } else { "gone" })
}

fn let_end(alive: &str, end: OwnedFd) -> ExitCode {
    drop(end);
    println!("alive is {}\nas {}", end_of(number(alive)), std::process::id());
    ExitCode::SUCCESS
}

/// Waits for the end of the only child that may end now.
fn end_of(pid: u32) -> Exit {
    loop {
        if let Some((ended, exit)) = exit::next().unwrap() {
            assert_eq!(ended, pid);
            exit::reap(pid).unwrap();
            return exit;
        }
        std::thread::yield_now();
    }
}

fn number<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

#[expect(unconditional_recursion, reason = "so that the stack overflows")]
fn overflow(depth: u64) -> u64 {
    let room = std::hint::black_box([depth; 64]);
    overflow(depth + 1) + room[63]
}

#[expect(unsafe_code, reason = "no program fails in every way by itself")]
fn raise(signal: i32) -> ! {
    // SAFETY: takes a plain number.
    unsafe { libc::raise(signal) };
    panic!("still here after signal {signal}");
}
