//! Somebody who reads `/metrics` all the time and remembers every counter.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::{Admin, Node};

/// What a process used is its own: another process begins at nothing.
const OWN: &str = "evergate_process_";
/// Time between two looks.
const SCRAPE_EVERY: Duration = Duration::from_millis(100);

/// Reads `/metrics` in the background; dropped, it ends unheard.
#[derive(Debug)]
pub struct Scraper {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<Scrapes>>,
}

/// What was seen.
#[derive(Clone, Debug, Default)]
pub struct Scrapes {
    /// Answers that were read.
    pub read: u64,
    /// Calls that were not answered, in words.
    pub failed: Vec<String>,
    /// Counters that went back, in words.
    pub went_back: Vec<String>,
    /// Counters that went away, as those of a route do that is taken out of the configuration.
    pub gone: Vec<String>,
    /// The last value of each counter.
    pub last: BTreeMap<String, f64>,
}

impl Scraper {
    /// Begins to read those of `node`.
    pub fn start(node: &Node) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (admin, theirs) = (node.admin_api(), Arc::clone(&over));
        let thread = thread::spawn(move || {
            let mut scrapes = Scrapes::default();
            while !theirs.load(Ordering::Relaxed) {
                scrapes.look(&admin);
                thread::park_timeout(SCRAPE_EVERY);
            }
            scrapes.look(&admin);
            scrapes
        });
        Self { over, thread: Some(thread) }
    }

    /// Looks a last time, and says what was seen.
    pub fn finish(mut self) -> Scrapes {
        self.over.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("only this and drop take it");
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for Scraper {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Its panic has nobody left to tell.
            drop(thread.join());
        }
    }
}

impl Scrapes {
    fn look(&mut self, admin: &Admin) {
        match admin.call("GET", "/metrics", "") {
            Ok((200, text)) => self.compare(&text),
            Ok((status, text)) => self.failed.push(format!("{status} {text}")),
            Err(error) => self.failed.push(error.to_string()),
        }
    }

    fn compare(&mut self, text: &str) {
        self.read += 1;
        let now = counters(text);
        for (name, value) in &now {
            let before = self.last.get(name).copied().unwrap_or_default();
            if *value < before {
                self.went_back.push(format!("{name}: {before}, then {value}"));
            }
        }
        self.gone.extend(self.last.keys().filter(|name| !now.contains_key(*name)).cloned());
        self.last = now;
    }

    /// # Panics
    /// If a counter went back or a call was not answered.
    pub fn expect_monotone(&self) {
        assert!(self.read > 0, "nothing was read: {:?}", self.failed);
        assert_eq!(self.went_back, [""; 0], "counters went back in {} looks", self.read);
        assert_eq!(self.failed, [""; 0], "calls failed beside {} others", self.read);
    }
}

/// Samples of families whose type only grows.
fn counters(text: &str) -> BTreeMap<String, f64> {
    let mut grows = false;
    let mut found = BTreeMap::new();
    for line in text.lines() {
        if let Some(family) = line.strip_prefix("# TYPE ") {
            let is_counter = family.ends_with(" counter") || family.ends_with(" histogram");
            grows = is_counter && !family.starts_with(OWN);
        } else if grows && !line.starts_with('#') {
            let sample = line
                .rsplit_once(' ')
                .and_then(|(name, value)| Some((name.to_owned(), value.parse::<f64>().ok()?)));
            found.extend(sample);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_that_go_back_or_away_are_noticed_and_gauges_are_not() {
        let text =
            |a: u32, b: u32| format!("# TYPE a counter\na{{x=\"1\"}} {a}\n# TYPE b gauge\nb {b}\n");
        let mut scrapes = Scrapes::default();
        scrapes.compare(&text(1, 5));
        scrapes.compare(&text(2, 3));
        scrapes.expect_monotone();
        scrapes.compare(&text(1, 3));
        assert_eq!(scrapes.went_back, ["a{x=\"1\"}: 2, then 1"]);
        scrapes.compare("# TYPE b gauge\nb 3\n");
        assert_eq!(scrapes.gone, ["a{x=\"1\"}"]);
    }
}
