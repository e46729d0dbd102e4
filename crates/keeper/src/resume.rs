//! A keeper that has just become this binary, or has come back to it.
//!
//! The image before leaves its word at the end of the command line: `--resume STATE:IMAGE`, the
//! numbers of two descriptors. The first is the blob of what it knew, the second its own binary: the
//! way back, which is taken by a crash, a hang, a panic, or by wish, until this image has shown that
//! it goes on. Whoever comes back that way finds `--came-back WHY` after it. Where less time is left
//! than usual, for other nodes wait for adverts, a third number says how many microseconds it is.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::path::Path;
use std::time::Duration;
use std::{io, mem};

use evergate_core::state;
use evergate_sys::guard::{self, Guard};
use evergate_sys::image::Image;
use evergate_sys::inherited::Inherited;
use evergate_sys::{memfd, process, signal};

use crate::carried::Node;
use crate::{Options, report};

/// What the numbers come after.
pub(crate) const RESUME: &str = "--resume";
/// What the reason comes after.
pub(crate) const CAME_BACK: &str = "--came-back";

/// What a process needs to go on as the keeper that it was.
///
/// Make it first thing in `main`. Dropped without having gone on it takes the way back.
#[derive(Debug)]
pub struct Resuming {
    inherited: Inherited,
    state: RawFd,
    way: Way,
}

/// Which way it went.
#[derive(Debug)]
enum Way {
    /// This is the new image.
    Forward(Guard),
    /// This is the old one again; why.
    Back(String),
    /// It has gone on.
    Gone,
}

impl Resuming {
    /// As the command line says; nothing if this process begins as any other. It must go on `within`
    /// this time, if it is a new image and the one before named no other. `InvalidInput` where
    /// somebody else than a keeper wrote the command line.
    pub fn detect(within: Duration) -> io::Result<Option<Self>> {
        let argv: Vec<OsString> = std::env::args_os().collect();
        let Some(Word { state, image, within: named, why }) = Word::last_of(&argv) else {
            return Ok(None);
        };
        let within = named.unwrap_or(within);
        name_process(&argv);
        let mut inherited = Inherited::all()?;
        let invalid = || {
            let text = format!("{RESUME} is what a keeper tells itself, and nobody else");
            io::Error::new(io::ErrorKind::InvalidInput, text)
        };
        let is_state = inherited.get(state).is_some_and(memfd::is_sealed);
        let image = inherited.take(image).filter(|_| is_state).ok_or_else(invalid)?;
        let way = match why {
            None => {
                let image = Image::from_fd(image)?;
                let mut back = argv;
                back.push(CAME_BACK.into());
                Way::Forward(Guard::arm(image.into(), back, within)?)
            }
            Some(why) => {
                guard::clear()?;
                // It is what this process runs.
                drop(image);
                Way::Back(spoken(&why, within))
            }
        };
        Ok(Some(Self { inherited, state, way }))
    }

    /// How the keeper was started at first, with the policies of this release.
    pub fn options(&self) -> io::Result<Options> {
        let invalid = |why| io::Error::new(io::ErrorKind::InvalidData, why);
        Ok(Node::decode(&self.blob()?).map_err(invalid)?.options())
    }

    /// Why this is the old image again, if it is.
    pub(crate) fn came_back(&self) -> Option<&str> {
        match &self.way {
            Way::Back(why) => Some(why),
            Way::Forward(_) | Way::Gone => None,
        }
    }

    /// What was known.
    pub(crate) fn blob(&self) -> io::Result<Vec<u8>> {
        let file = self.inherited.get(self.state).expect("it was there when this was made");
        memfd::read(file, state::BYTES_MAX)
    }

    /// What was open.
    pub(crate) fn inherited(&self) -> &Inherited {
        &self.inherited
    }

    /// There is no way back from here, and no need for one. Closes what only the way back needed,
    /// and returns what was open.
    pub(crate) fn go_on(mut self) -> Inherited {
        if let Way::Forward(guard) = mem::replace(&mut self.way, Way::Gone) {
            drop(guard.disarm());
        }
        drop(self.inherited.take(self.state));
        mem::take(&mut self.inherited)
    }

    /// Takes the way back, where there is one; returns `why` if not.
    pub(crate) fn give_up(mut self, why: String) -> String {
        match mem::replace(&mut self.way, Way::Gone) {
            Way::Forward(guard) => {
                let error = guard.go_back(&why);
                format!("{why}; and the old binary cannot be run again: {error}")
            }
            Way::Back(_) | Way::Gone => why,
        }
    }
}

impl Drop for Resuming {
    fn drop(&mut self) {
        if let Way::Forward(guard) = mem::replace(&mut self.way, Way::Gone) {
            let error = guard.go_back("it ended before it went on");
            report(format_args!("the old binary cannot be run again: {error}"));
        }
    }
}

/// The last word of a command line.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Word {
    state: RawFd,
    image: RawFd,
    /// How long the new image may take to go on.
    within: Option<Duration>,
    why: Option<OsString>,
}

impl Word {
    fn last_of(argv: &[OsString]) -> Option<Self> {
        let (numbers, why) = match argv {
            [.., resume, numbers, came_back, why] if resume == RESUME && came_back == CAME_BACK => {
                (numbers, Some(why.clone()))
            }
            [.., resume, numbers] if resume == RESUME => (numbers, None),
            _ => return None,
        };
        let (state, rest) = numbers.to_str()?.split_once(':')?;
        let (image, within) = match rest.split_once(':') {
            Some((image, micros)) => (image, Some(Duration::from_micros(micros.parse().ok()?))),
            None => (rest, None),
        };
        Some(Self { state: state.parse().ok()?, image: image.parse().ok()?, within, why })
    }
}

/// The command line of the next image: this one's, with another last word. It must go on `within` this
/// time, if that is to be another than usual.
pub(crate) fn argv(
    state: BorrowedFd<'_>,
    image: &Image,
    within: Option<Duration>,
) -> Vec<OsString> {
    use std::os::fd::AsRawFd;

    let mut argv = first_words(std::env::args_os().collect());
    let mut numbers = format!("{}:{}", state.as_raw_fd(), image.as_fd().as_raw_fd());
    if let Some(within) = within {
        numbers.push_str(&format!(":{}", within.as_micros()));
    }
    argv.extend([RESUME.into(), numbers.into()]);
    argv
}

/// A command line without its last word, if it has one.
fn first_words(mut argv: Vec<OsString>) -> Vec<OsString> {
    if let Some(word) = Word::last_of(&argv) {
        argv.truncate(argv.len() - if word.why.is_some() { 4 } else { 2 });
    }
    argv
}

/// Why the old image is back, for people.
fn spoken(why: &OsStr, within: Duration) -> String {
    let why = why.to_string_lossy();
    let signal = why.strip_prefix("signal ").and_then(|number| number.parse().ok());
    match signal {
        Some(guard::TIME_OVER) => format!("the new keeper did not go on within {within:?}"),
        Some(number) => {
            let name = signal::name(number).map(|name| format!(" ({name})")).unwrap_or_default();
            format!("the new keeper crashed: signal {number}{name}")
        }
        None => why.into_owned(),
    }
}

/// An image that was started from an open file goes by the number of that file otherwise.
fn name_process(argv: &[OsString]) {
    let name = argv.first().and_then(|path| Path::new(path).file_name());
    if let Some(name) = name.and_then(OsStr::to_str) {
        // It is for people, and nothing depends on it.
        let _ = process::set_name(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn only_the_last_word_counts_and_the_first_ones_stay() {
        let word = |why: Option<&str>| {
            Some(Word { state: 7, image: 12, within: None, why: why.map(OsString::from) })
        };
        let hurried = Some(Word { within: Some(Duration::from_millis(45)), ..word(None).unwrap() });
        let table = [
            ("evergate run -c x", None, "evergate run -c x"),
            ("evergate run --resume 7:12", word(None), "evergate run"),
            ("evergate run --resume 7:12 --came-back why", word(Some("why")), "evergate run"),
            ("evergate run --resume 7:12 -c x", None, "evergate run --resume 7:12 -c x"),
            ("evergate run --resume 7:12:45000", hurried, "evergate run"),
            ("evergate run --resume 7:12:soon", None, "evergate run --resume 7:12:soon"),
            ("evergate run --resume 7", None, "evergate run --resume 7"),
            ("evergate run --resume a:b", None, "evergate run --resume a:b"),
            ("--resume 7:12", word(None), ""),
        ];
        for (line, last, first) in table {
            assert_eq!(Word::last_of(&words(line)), last, "{line}");
            assert_eq!(first_words(words(line)), words(first), "{line}");
        }
    }

    #[test]
    fn whoever_reads_why_learns_what_happened() {
        let table = [
            ("signal 11", "the new keeper crashed: signal 11 (SEGV)"),
            ("signal 06", "the new keeper crashed: signal 6 (ABRT)"),
            ("signal 14", "the new keeper did not go on within 5s"),
            ("descriptor 7 is not open", "descriptor 7 is not open"),
        ];
        for (why, text) in table {
            assert_eq!(spoken(OsStr::new(why), Duration::from_secs(5)), text);
        }
    }
}
