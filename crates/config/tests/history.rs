//! The configurations that were applied lately: which are kept, and how they come back.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use evergate_config::{
    CONFIGURATIONS_MAX, Changes, Files, HISTORY_BYTES_MAX, History, HistoryError, Hold, Loaded,
    OnTrial, Texts, load_with, recall,
};
use evergate_core::time::Instant;
use evergate_core::trial::{Clocks, Journaled};

const MAIN: &str = "/etc/eg/evergate.toml";

/// Files in memory.
#[derive(Default)]
struct Memory(RefCell<BTreeMap<PathBuf, String>>);

impl Memory {
    fn write(&self, path: &str, text: &str) {
        self.0.borrow_mut().insert(path.into(), text.to_owned());
    }

    fn load(&self) -> Loaded {
        load_with(Path::new(MAIN), self).unwrap()
    }

    fn texts(&self, body: &str) -> Texts {
        self.write(MAIN, &main(body));
        self.load().texts()
    }
}

impl Files for Memory {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let text = self.0.borrow().get(path).cloned();
        text.map(String::into_bytes).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        let all = self.0.borrow();
        Ok(all.keys().filter(|path| path.parent() == Some(directory)).cloned().collect())
    }

    fn env(&self, _: &str) -> Option<String> {
        None
    }

    fn host_name(&self) -> String {
        "edge".to_owned()
    }
}

fn main(body: &str) -> String {
    format!(
        "include = [\"conf.d/*.toml\"]\n[listener.web]\nbind = [\"127.0.0.1:80\"]\n[route.all]\n\
         match = \"/*\"\nrespond = {{ body = \"{body}\" }}\n"
    )
}

fn hold() -> Hold {
    Hold { since: 7, why: "the operator wished it".to_owned(), aside: u64::MAX }
}

fn trial(base: u64, number: u64) -> OnTrial {
    let clocks = Clocks { now: Instant::from_nanos(5), boot: "one", unix: 9 };
    OnTrial { base, clock: Journaled::new(number, Duration::from_secs(60), clocks) }
}

fn ids(history: &History) -> Vec<u64> {
    history.iter().map(|one| one.id).collect()
}

/// One with five configurations, `1` to `5`.
fn full() -> History {
    let memory = Memory::default();
    let mut history = History::default();
    for number in 1..=CONFIGURATIONS_MAX {
        history.record(memory.texts(&number.to_string()), number as u64, "reload", "");
    }
    history
}

#[test]
fn a_configuration_comes_back_as_it_was_written_with_what_it_refers_to_as_it_is_now() {
    let memory = Memory::default();
    memory.write(MAIN, &main("old"));
    memory.write("/etc/eg/conf.d/a.toml", "[admin.tokens]\nviewer = \"${file:/etc/eg/token}\"\n");
    memory.write("/etc/eg/conf.d/notes.txt", "not included");
    memory.write("/etc/eg/token", "hush-1");
    let before = memory.load();
    let mut history = History::default();
    history.record(before.texts(), 1, "start", "");
    let blob = history.to_bytes().unwrap();
    let is_in = |words: &str| blob.windows(words.len()).any(|one| one == words.as_bytes());
    assert!(is_in("${file:/etc/eg/token}") && !is_in("hush-1"), "secrets stay references");
    assert!(!is_in("notes"), "and what is not included is not kept");

    memory.write(MAIN, &main("new"));
    memory.write("/etc/eg/conf.d/a.toml", "[log]\naccess = \"off\"\n");
    memory.write("/etc/eg/conf.d/b.toml", "this would be an error");
    memory.write("/etc/eg/token", "hush-2");
    let history = History::from_bytes(&blob).unwrap();
    let back = history.in_force().unwrap().texts.load(&memory, &Changes::default()).unwrap();
    let viewer = back.config.admin.viewer.as_ref().map(|token| token.expose().to_owned());
    assert_eq!(viewer.as_deref(), Some("hush-2"));
    assert_eq!(back.config.routes, before.config.routes);
    assert_eq!(back.texts(), before.texts(), "so it is known again");
    // What the keeper has in memory for a trial is exact, secrets and all.
    let exact = recall(&before.basis().remember()).unwrap();
    assert_eq!(exact.config, before.config);
}

#[test]
fn five_are_kept_and_what_is_the_same_is_not_kept_twice() {
    let memory = Memory::default();
    let mut history = full();
    assert_eq!(ids(&history), [1, 2, 3, 4, 5]);
    history.record(memory.texts("5"), 9, "the file changed", "");
    assert_eq!((ids(&history), history.in_force().unwrap().at), (vec![1, 2, 3, 4, 5], 5));
    history.record(memory.texts("6"), 9, "reload", "");
    assert_eq!(ids(&history), [2, 3, 4, 5, 6]);
    // Who writes an old one anew wants it to be the newest.
    history.record(memory.texts("3"), 9, "reload", "");
    assert_eq!(ids(&history), [3, 4, 5, 6, 7]);
    assert_eq!(history.before().unwrap().id, 6);
}

#[test]
fn going_back_goes_on_backwards_and_what_the_file_says_ends_it() {
    let memory = Memory::default();
    let mut history = full();
    for expected in [4, 3, 2, 1] {
        let before = history.before().unwrap().id;
        assert_eq!(before, expected);
        history.go_back(before, hold());
        assert_eq!(history.hold(), Some(&hold()));
    }
    assert_eq!(history.before(), None);
    history.record(memory.texts("5"), 9, "reload", "");
    assert_eq!((history.in_force().unwrap().id, history.hold()), (5, None));
    history.go_back(2, hold());
    history.record(memory.texts("new"), 9, "the file changed", "");
    assert_eq!((ids(&history), history.before().unwrap().id), (vec![2, 3, 4, 5, 6], 5));
    history.go_back(2, hold());
    history.record(memory.texts("2"), 9, "reload", "");
    assert_eq!((history.in_force().unwrap().id, history.hold()), (2, None), "the file says so");
}

#[test]
fn what_comes_back_after_a_trial_is_never_dropped() {
    let memory = Memory::default();
    let mut history = full();
    history.go_back(1, hold());
    assert_eq!(history.next_trial(), 1);
    history.try_out(trial(1, 1));
    assert_eq!((history.next_trial(), history.trials()), (1, 1));
    for number in 10..20 {
        history.record(memory.texts(&number.to_string()), 1, "reload", "");
    }
    assert_eq!(ids(&history), [1, 12, 13, 14, 15]);
    history.end_trial();
    assert_eq!(history.next_trial(), 2);
    history.record(memory.texts("20"), 1, "reload", "");
    assert_eq!(ids(&history), [12, 13, 14, 15, 16]);
    history.try_out(trial(15, 2));
    history.go_back(15, hold());
    assert_eq!((history.trial(), history.trials()), (None, 2), "it came back, so it is over");
}

#[test]
fn what_is_written_is_read_and_a_torn_or_damaged_one_is_refused() {
    let mut history = full();
    history.go_back(3, hold());
    history.try_out(trial(2, 4));
    for mut history in [History::default(), history.clone()] {
        let blob = history.to_bytes().unwrap();
        assert_eq!(History::from_bytes(&blob), Ok(history));
    }
    let blob = history.to_bytes().unwrap();
    for end in 0..blob.len() {
        assert!(History::from_bytes(&blob[..end]).is_err(), "{end}");
    }
    for at in (0..blob.len()).filter(|at| ![4, 5, 6, 7].contains(at)) {
        let mut damaged = blob.clone();
        damaged[at] ^= 1;
        assert!(History::from_bytes(&damaged).is_err(), "byte {at}");
    }
    let journal = Changes::default().to_journal().unwrap();
    assert_eq!(History::from_bytes(&journal), Err(HistoryError::Content), "another kind of file");
}

#[test]
fn a_history_that_is_too_long_forgets_the_oldest_and_says_if_that_does_not_help() {
    let memory = Memory::default();
    let mut history = History::default();
    let long = |number: u32| format!("{number}{}", "x".repeat(HISTORY_BYTES_MAX / 10));
    memory.write(MAIN, &main("long"));
    memory.write("/etc/eg/conf.d/a.toml", &format!("# {}", long(0)));
    for number in 1..=5 {
        memory.write("/etc/eg/conf.d/b.toml", &format!("# {}", long(number)));
        memory.write("/etc/eg/conf.d/c.toml", &format!("# {}", long(number)));
        history.record(memory.load().texts(), 1, "reload", "");
    }
    let blob = history.to_bytes().unwrap();
    assert!(blob.len() <= HISTORY_BYTES_MAX);
    assert_eq!(ids(&History::from_bytes(&blob).unwrap()), [3, 4, 5]);
    for name in ["d", "e", "f", "g", "h", "i", "j"] {
        memory.write(&format!("/etc/eg/conf.d/{name}.toml"), &format!("# {}", long(9)));
    }
    history.record(memory.load().texts(), 1, "reload", "");
    assert_eq!(history.to_bytes(), Err(HistoryError::TooLong));
}

#[test]
fn a_mark_tells_texts_apart_and_says_nothing_of_them() {
    let memory = Memory::default();
    let (one, other) = (memory.texts("hush-1"), memory.texts("hush-2"));
    assert_ne!(one.mark(), other.mark());
    assert_eq!(one.mark(), memory.texts("hush-1").mark());
    memory.write("/etc/eg/conf.d/notes.txt", "not included");
    assert_eq!(one.mark(), memory.texts("hush-1").mark());
    assert!(!format!("{one:?}").contains("hush"));
}
