//! A stand-in for an app that listens.

use std::io::Write;
use std::net::TcpListener;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::ExitCode;

use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

/// Does as the first argument says. What accepts says the pid that it was told and exits with the
/// connection's end.
pub(crate) fn run(arguments: &[String]) -> ExitCode {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    match arguments[0].as_str() {
        "inherit" => {
            let names = (variable("LISTEN_FDS"), variable("LISTEN_FDNAMES"));
            assert_eq!(names, ("1".into(), "http".into()));
            // A number is all that is known of it.
            let own = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
            let inherited = pidfd_getfd(own, 3, PidfdGetfdFlags::empty()).unwrap();
            let listener = TcpListener::from(inherited);
            let port = listener.local_addr().unwrap().port();
            assert_eq!(variable("PORT"), port.to_string());
            // It blocks, as those expect that know nothing else.
            let (mut peer, _) = listener.accept().unwrap();
            writeln!(peer, "{}", variable("LISTEN_PID")).unwrap();
            std::thread::park();
        }
        "unix" => {
            let listener = UnixListener::bind(variable("SOCKET")).unwrap();
            loop {
                let (mut peer, _) = listener.accept().unwrap();
                // Whoever only wanted to know whether somebody is there has gone by now.
                let _ = writeln!(peer, "{}", std::process::id());
            }
        }
        "notify" => {
            let socket = UnixDatagram::unbound().unwrap();
            socket.connect(variable("NOTIFY_SOCKET")).unwrap();
            for message in &arguments[1..] {
                socket.send(message.as_bytes()).unwrap();
            }
            std::thread::park();
        }
        other => panic!("cannot stand in as {other}"),
    }
    ExitCode::SUCCESS
}
