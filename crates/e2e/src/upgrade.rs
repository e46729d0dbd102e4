//! Upgrades of a node, ordered and watched over its admin API.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{LOOK_EVERY, Node};

/// Longest wait for the end of an upgrade: every phase has a timeout of its own.
const END_WITHIN: Duration = Duration::from_secs(120);
/// How often an upgrade is ordered on a machine that is too slow for the time that each phase has.
const TRIES_MAX: usize = 4;

/// What is to be replaced by what.
#[derive(Clone, Debug)]
pub struct Order {
    body: Value,
}

impl Order {
    /// Worker and keeper by those of `binary`, after a soak of a second.
    pub fn to(binary: &Path) -> Self {
        Self { body: json!({ "binary": binary, "soak_ms": 1000 }) }
    }

    /// Only the worker.
    pub fn worker(mut self) -> Self {
        self.body["parts"] = "worker".into();
        self
    }

    /// Only the keeper.
    pub fn keeper(mut self) -> Self {
        self.body["parts"] = "keeper".into();
        self
    }

    /// With a soak of that long.
    pub fn soak(mut self, soak: Duration) -> Self {
        self.body["soak_ms"] = u64::try_from(soak.as_millis()).expect("a short time").into();
        self
    }

    /// Even if a worker must be cut for that.
    pub fn force(mut self) -> Self {
        self.body["force"] = true.into();
        self
    }
}

impl Node {
    /// Orders an upgrade; says whether it was taken, and what was answered.
    pub fn order(&self, order: &Order) -> (u16, Value) {
        self.api("POST", "/api/v1/upgrade", Some(order.body.clone()))
    }

    /// Orders an upgrade and waits for its end, which is how the status shows it.
    ///
    /// # Panics
    /// If it is not taken, or does not end.
    pub fn upgrade(&self, order: &Order) -> Value {
        let before = self.last_upgrade()["number"].as_u64().unwrap_or_default();
        let (code, answer) = self.order(order);
        assert_eq!(code, 200, "{answer:#}");
        self.wait_for_upgrade(before + 1)
    }

    /// The same, and again if it was given up for want of time: a machine that stands still for two
    /// seconds is no fault of what is upgraded.
    ///
    /// # Panics
    /// If it is not taken, or does not end.
    pub fn upgrade_in_time(&self, order: &Order) -> Value {
        let mut upgrade = self.upgrade(order);
        for _ in 1..TRIES_MAX {
            if !is_late(&upgrade) {
                break;
            }
            eprintln!("ordered again: {}", upgrade["reason"]);
            upgrade = self.upgrade(order);
        }
        upgrade
    }

    /// The same, and everything must be new then.
    ///
    /// # Panics
    /// If it is not done.
    pub fn upgrade_well(&self, order: &Order) -> Value {
        let upgrade = self.upgrade_in_time(order);
        assert_eq!(upgrade["outcome"], "done", "{upgrade:#}\n{:#}", self.workers());
        upgrade
    }

    /// Waits until upgrade `number` is over.
    ///
    /// # Panics
    /// If that does not happen; the last state is shown.
    pub fn wait_for_upgrade(&self, number: u64) -> Value {
        let until = Instant::now() + END_WITHIN;
        loop {
            let upgrade = self.last_upgrade();
            let is_it = upgrade["number"].as_u64() >= Some(number);
            if is_it && upgrade["outcome"] != "under way" {
                return upgrade;
            }
            assert!(Instant::now() < until, "no end after {END_WITHIN:?}: {upgrade:#}");
            std::thread::park_timeout(LOOK_EVERY);
        }
    }

    /// The upgrade that is under way or the last one; null if there was none.
    pub fn last_upgrade(&self) -> Value {
        self.upgrades()["upgrade"].clone()
    }

    /// Every worker that lives.
    pub fn workers(&self) -> Value {
        self.upgrades()["workers"].clone()
    }

    /// Answer of `GET /api/v1/upgrade`. A worker may end under the call; then it is made again.
    pub fn upgrades(&self) -> Value {
        let until = Instant::now() + END_WITHIN;
        loop {
            let answer = self.admin_api().call("GET", "/api/v1/upgrade", "");
            let json = |text: &str| serde_json::from_str(text).ok();
            match &answer {
                Ok((200, text)) if let Some(json) = json(text) => return json,
                _ => assert!(Instant::now() < until, "the admin API does not answer: {answer:?}"),
            }
            std::thread::park_timeout(LOOK_EVERY);
        }
    }
}

/// Whether an upgrade was given up because a phase took longer than it may.
pub fn is_late(upgrade: &Value) -> bool {
    let is_given_up = upgrade["outcome"] != "done" && upgrade["outcome"] != "under way";
    is_given_up && upgrade["reason"].as_str().is_some_and(|why| why.contains(" within "))
}
