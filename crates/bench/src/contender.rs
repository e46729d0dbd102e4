//! The proxies that are compared, each configured as its own manual would have it.

mod evergate;
mod haproxy;
mod nginx;

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;

use serde::Serialize;

use crate::case::{Case, Source};
use crate::certificate::Certificate;

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
    /// What it will meet.
    pub case: &'a Case,
    /// What it shows to clients that speak TLS.
    pub certificate: &'a Certificate,
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

impl Setup<'_> {
    /// The folder of what is served from files.
    fn files(&self) -> PathBuf {
        self.dir.join("files")
    }

    /// Idle connections to the origin that are kept: all that may be in use at once, so that none
    /// is thrown away.
    fn keepalive(&self) -> u32 {
        self.case.requests_at_once().max(64)
    }
}

impl Contender {
    /// All of them, in the order of the tables.
    pub const ALL: [Self; 3] = [Self::Evergate, Self::Nginx, Self::Haproxy];

    /// Whether it can do what `case` is about.
    pub fn takes_part(self, case: &Case) -> bool {
        match case.source {
            Source::Origin => true,
            // HAProxy serves no files.
            Source::File => self != Self::Haproxy,
        }
    }

    /// Writes what it needs and yields the command line that runs it in the foreground.
    pub fn prepare(self, setup: &Setup<'_>) -> io::Result<Vec<OsString>> {
        if setup.case.source == Source::File {
            fs::create_dir(setup.files())?;
            let file = setup.files().join(setup.case.file_name());
            fs::write(file, vec![b'x'; setup.case.body_bytes])?;
        }
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
    use crate::case::CASES;

    /// Calls `check` with what each contender was prepared to do for each of its cases.
    fn for_each(contenders: &[Contender], check: impl Fn(Contender, &Case, &[OsString])) {
        let certificate = Certificate::of("bench.example").expect("the name is one");
        for case in &CASES {
            for &contender in contenders.iter().filter(|contender| contender.takes_part(case)) {
                let dir = tempfile::tempdir().expect("a temporary folder can be made");
                let setup = Setup {
                    dir: dir.path(),
                    listen: ([127, 0, 0, 1], 18080).into(),
                    origin: ([127, 0, 0, 1], 18081).into(),
                    access_log: AccessLog::On,
                    case,
                    certificate: &certificate,
                    evergate: Path::new("evergate"),
                };
                check(contender, case, &contender.prepare(&setup).expect("the folder is ours"));
            }
        }
    }

    #[test]
    fn the_configurations_of_evergate_are_accepted() {
        for_each(&[Contender::Evergate], |_, case, argv| {
            let file = Path::new(argv.last().expect("it ends with the file"));
            let loaded = evergate_config::load(file);
            let loaded = loaded.map_err(|errors| evergate_config::render(&errors, false));
            let config = loaded.unwrap_or_else(|errors| panic!("{}: {errors}", case.name)).config;
            assert_eq!(config.node.threads, Some(1));
            assert_eq!(config.listeners["web"].tls.is_some(), case.transport.is_tls());
            match case.source {
                Source::Origin => {
                    assert_eq!(config.pools["origin"].keepalive, case.requests_at_once());
                }
                Source::File => assert!(config.pools.is_empty()),
            }
        });
    }

    #[test]
    fn the_others_accept_their_configurations() {
        for_each(&[Contender::Nginx, Contender::Haproxy], |contender, case, argv| {
            if !Path::new(&argv[0]).exists() {
                assert!(env::var_os("EVERGATE_CI").is_none(), "{contender} is not installed");
                eprintln!("skipped: {contender} is not installed");
                return;
            }
            let flag = if contender == Contender::Nginx { "-t" } else { "-c" };
            let checked = Command::new(&argv[0]).args(&argv[1..]).arg(flag).output();
            let checked = checked.expect("it starts");
            let text = String::from_utf8_lossy(&checked.stderr).to_lowercase();
            let name = case.name;
            assert!(checked.status.success(), "{contender}, {name}: {text}");
            assert!(!text.contains("warn"), "{contender}, {name}: {text}");
        });
    }

    #[test]
    fn haproxy_serves_no_files() {
        let takes_part =
            |name| Contender::Haproxy.takes_part(&Case::named(name).expect("it is one"));
        assert!(takes_part("h2-10x100-1k"));
        assert!(!takes_part("static-10k-64"));
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
