//! The proxies that are compared, each configured as its own manual would have it.

mod evergate;
mod haproxy;
mod nginx;

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;

use serde::Serialize;

/// A proxy that can be measured.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Contender {
    /// This repository's own.
    Evergate,
    /// Debian's nginx.
    Nginx,
    /// Debian's HAProxy.
    Haproxy,
}

/// What a contender is to do.
#[derive(Clone, Debug)]
pub struct Setup<'a> {
    /// An empty folder for its files, which unprivileged workers may enter.
    pub dir: &'a Path,
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where it forwards to.
    pub origin: SocketAddr,
    /// Whether nginx and Evergate write an access log. HAProxy, which would need a syslog daemon,
    /// never does, which favours it.
    pub access_log: AccessLog,
    /// Bytes of a response body, for those whose buffers are sized by hand.
    pub body_bytes: usize,
    /// Bytes of a request body, for the same.
    pub upload_bytes: usize,
    /// Most connections at once.
    pub connections: u32,
    /// The binary of Evergate.
    pub evergate: &'a Path,
}

/// Whether requests are logged.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AccessLog {
    /// No.
    Off,
    /// To a file, as production does.
    On,
}

impl Contender {
    /// All of them, in the order of the tables.
    pub const ALL: [Self; 3] = [Self::Evergate, Self::Nginx, Self::Haproxy];

    /// Writes its configuration and yields the command line that runs it in the foreground.
    pub fn prepare(self, setup: &Setup<'_>) -> io::Result<Vec<OsString>> {
        match self {
            Self::Evergate => evergate::prepare(setup),
            Self::Nginx => nginx::prepare(setup),
            Self::Haproxy => haproxy::prepare(setup),
        }
    }

    /// Its version, as it says itself; `None` if it cannot be started.
    pub fn version(self, evergate: &Path) -> Option<String> {
        let (program, argument) = match self {
            Self::Evergate => (evergate.to_owned(), "--version"),
            Self::Nginx => (PathBuf::from(nginx::PROGRAM), "-v"),
            Self::Haproxy => (PathBuf::from(haproxy::PROGRAM), "-v"),
        };
        let output = Command::new(program).arg(argument).output().ok()?;
        let text = [output.stdout, output.stderr].concat();
        first_version(&String::from_utf8_lossy(&text)).map(str::to_owned)
    }
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Evergate => "evergate",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
        })
    }
}

impl FromStr for Contender {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|contender| contender.to_string() == text)
            .ok_or_else(|| format!("no contender is called `{text}`"))
    }
}

/// The first word that looks like a version: digits, a dot, digits.
fn first_version(text: &str) -> Option<&str> {
    text.split([' ', '\n', '/', '-']).find(|word| {
        word.split_once('.').is_some_and(|(major, rest)| {
            major.parse::<u32>().is_ok() && rest.starts_with(|c: char| c.is_ascii_digit())
        })
    })
}

#[cfg(test)]
mod tests {
    use std::env;

    use super::*;

    fn setup(dir: &Path) -> Setup<'_> {
        Setup {
            dir,
            listen: ([127, 0, 0, 1], 18080).into(),
            origin: ([127, 0, 0, 1], 18081).into(),
            access_log: AccessLog::On,
            body_bytes: 100 * 1024,
            upload_bytes: 16 * 1024,
            connections: 1000,
            evergate: Path::new("evergate"),
        }
    }

    #[test]
    fn the_configuration_of_evergate_is_accepted() {
        let dir = tempfile::tempdir().expect("a temporary folder can be made");
        let argv = Contender::Evergate.prepare(&setup(dir.path())).expect("the folder is ours");
        let file = Path::new(argv.last().expect("it ends with the file"));
        let loaded = evergate_config::load(file);
        let loaded = loaded.map_err(|errors| evergate_config::render(&errors, false));
        let config = loaded.expect("no error").config;
        assert_eq!(config.node.threads, Some(1));
        assert_eq!(config.pools["origin"].keepalive, 1000);
    }

    #[test]
    fn the_others_accept_their_configurations() {
        for (contender, flag) in [(Contender::Nginx, "-t"), (Contender::Haproxy, "-c")] {
            let dir = tempfile::tempdir().expect("a temporary folder can be made");
            let argv = contender.prepare(&setup(dir.path())).expect("the folder is ours");
            if !Path::new(&argv[0]).exists() {
                assert!(env::var_os("EVERGATE_CI").is_none(), "{contender} is not installed");
                eprintln!("skipped: {contender} is not installed");
                continue;
            }
            let checked = Command::new(&argv[0]).args(&argv[1..]).arg(flag).output();
            let checked = checked.expect("it starts");
            let text = String::from_utf8_lossy(&checked.stderr).into_owned();
            assert!(checked.status.success(), "{contender}: {text}");
            assert!(!text.contains("[WARNING]") && !text.contains("[warn]"), "{contender}: {text}");
        }
    }

    #[test]
    fn names_read_back() {
        for contender in Contender::ALL {
            assert_eq!(contender.to_string().parse(), Ok(contender));
        }
        assert!("apache".parse::<Contender>().is_err());
    }

    #[test]
    fn versions_are_found_in_what_programs_say() {
        assert_eq!(first_version("nginx version: nginx/1.22.1\n"), Some("1.22.1"));
        let haproxy = "HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/";
        assert_eq!(first_version(haproxy), Some("2.6.12"));
        assert_eq!(first_version("evergate 0.1.0\n"), Some("0.1.0"));
        assert_eq!(first_version("no such thing."), None);
    }
}
