//! A binary that is asked whether it could go on, and answers as the test wants.

use std::fs;
use std::io::Write;
use std::os::fd::AsFd;
use std::process::ExitCode;

use evergate_control::link::{
    PREFLIGHT_CONFIG_FD, PREFLIGHT_STATE_FD, PROTOCOL, PROTOCOL_MIN, VERDICT_BYTES_MAX, Verdict,
    encode,
};
use evergate_sys::memfd;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

/// Name of the file, beside the socket of the test, that says how to answer.
pub(crate) const ANSWER: &str = "answer";

/// Answers as the file beside `socket` says. As it is of the version that the file says, and if that
/// is nothing of the following of a good one.
pub(crate) fn run(socket: &str) -> ExitCode {
    let folder = std::path::Path::new(socket).parent().unwrap();
    let answer = fs::read_to_string(folder.join(ANSWER)).unwrap_or_default();
    let mut verdict = Verdict {
        version: "2.0.0".into(),
        protocol_min: PROTOCOL_MIN,
        protocol_max: PROTOCOL,
        refusals: vec![],
    };
    match answer.as_str() {
        "" => {}
        "config" => verdict.version = describe(PREFLIGHT_CONFIG_FD),
        "state" => verdict.version = describe(PREFLIGHT_STATE_FD),
        "variables" => {
            let names = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];
            let seen: Vec<_> = names.into_iter().filter(|&name| is_set(name)).collect();
            verdict.version = seen.join(" ");
        }
        "refuse" => verdict.refusals = vec!["the route is new to me".into()],
        "newer" => (verdict.protocol_min, verdict.protocol_max) = (PROTOCOL + 1, PROTOCOL + 1),
        "garbage" => return say(b"usage: something else"),
        "flood" => return say(&vec![b'x'; 2 * VERDICT_BYTES_MAX]),
        "crash" => std::process::abort(),
        "hang" => loop {
            std::thread::park();
        },
        other => panic!("cannot answer {other}"),
    }
    say(&encode(&verdict))
}

fn is_set(name: &str) -> bool {
    std::env::var_os(name).is_some()
}

fn say(bytes: &[u8]) -> ExitCode {
    // Nobody reads more than there may be.
    let _ = std::io::stdout().write_all(bytes);
    ExitCode::SUCCESS
}

/// What the sealed file under `number` holds.
fn describe(number: i32) -> String {
    let own = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
    let Ok(file) = pidfd_getfd(own, number, PidfdGetfdFlags::empty()) else {
        return "closed".into();
    };
    // A number that nothing was handed over under may have been given to something of our own.
    match memfd::read(file.as_fd(), 1000) {
        Ok(bytes) => String::from_utf8(bytes).unwrap(),
        Err(_) => "closed".into(),
    }
}
