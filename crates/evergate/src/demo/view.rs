//! What the demo shows while it runs, and what it concludes.

use std::time::Duration;

use evergate_control::snapshot::Status;
use evergate_sys::clock;
use serde_json::json;

use super::Killer;
use super::node::{APP, Ready};
use super::tally::Tally;
use crate::ctl::screen::{Paint, Palette, paint_of};
use crate::ctl::table::{Table, plain};

/// What is going to happen, and where to look at it.
pub(super) fn opening(ready: &Ready, time: Duration, rate: u32) -> String {
    let mut text = format!(
        "three instances of a small app behind http://{}/\n{rate} requests a second for {time:?}, \
         one instance killed every 2.5 s\n",
        ready.web
    );
    if let Some(admin) = ready.admin {
        text.push_str(&format!("console http://{admin}/  metrics http://{admin}/metrics\n"));
    }
    text
}

/// The run so far.
pub(super) struct View<'a> {
    pub(super) elapsed: Duration,
    pub(super) whole: Duration,
    pub(super) status: Option<&'a Status>,
    pub(super) tally: &'a Tally,
    pub(super) killer: &'a Killer,
}

impl View<'_> {
    /// For a terminal: everything, to be drawn over the one before.
    pub(super) fn render(&self, palette: Palette) -> String {
        let (elapsed, whole) = (self.elapsed.as_secs_f64(), self.whole.as_secs_f64());
        let title = palette.paint(Paint::Bold, "evergate demo");
        let mut text = format!("{title}  {:.1} of {whole} s\n\n", elapsed.min(whole));
        match self.status {
            Some(status) => text.push_str(&instances(status).render(palette)),
            None => text.push_str("the node does not answer right now\n"),
        }
        text.push_str(&format!("\n{}\n", self.totals(palette)));
        if let Some((instance, at)) = self.killer.latest {
            let ago = (clock::now() - at).as_secs_f64();
            let line = format!("killed {APP}/{instance} {ago:.1} s ago");
            text.push_str(&format!("{}\n", palette.paint(Paint::Dim, &line)));
        }
        text.push_str(&addresses(self.status, palette));
        text
    }

    /// For everything else: one line.
    pub(super) fn line(&self) -> String {
        let up = self.status.map_or(0, |status| {
            let servers = status.pools.iter().flat_map(|pool| &pool.servers);
            servers.filter(|server| server.state == "up").count()
        });
        format!("{:>3.0}s  {}  up {up}\n", self.elapsed.as_secs_f64(), self.totals(Palette::Plain))
    }

    fn totals(&self, palette: Palette) -> String {
        let failures = self.tally.failures();
        let paint = if failures == 0 { Paint::Good } else { Paint::Bad };
        format!(
            "sent {}  ok {}  {}  p50 {}  p99 {}  kills {}  worst gap {}",
            self.tally.sent(),
            self.tally.ok,
            palette.paint(paint, &format!("failed {failures}")),
            millis(self.tally.latency(0.5)),
            millis(self.tally.latency(0.99)),
            self.killer.kills,
            millis(self.tally.gap_max),
        )
    }
}

fn instances(status: &Status) -> Table {
    let heads = ["instance", ">pid", ">port", "process", "server", ">requests", ">exits", "why"];
    let mut table = Table::new("", &heads);
    for instance in &status.apps {
        let name = format!("{}/{}", instance.app, instance.number);
        let mut servers = status.pools.iter().flat_map(|pool| &pool.servers);
        let server = servers.find(|server| server.name == name);
        let state = server.map(|server| server.state.clone()).unwrap_or_default();
        table.row([
            plain(name),
            plain(instance.pid.map(|pid| pid.to_string()).unwrap_or_default()),
            plain(instance.port.map(|port| port.to_string()).unwrap_or_default()),
            (paint_of(&instance.state), instance.state.clone()),
            (paint_of(&state), state),
            plain(server.map(|server| server.requests).unwrap_or_default()),
            plain(instance.exits),
            (Paint::Dim, server.map(|server| server.reason.clone()).unwrap_or_default()),
        ]);
    }
    table
}

fn addresses(status: Option<&Status>, palette: Palette) -> String {
    let Some(status) = status else { return String::new() };
    let web = status.listeners.iter().flat_map(|listener| &listener.addresses);
    let admin = status.admin.iter().filter(|address| !address.starts_with('/'));
    let lines =
        web.map(|address| ("app", address)).chain(admin.map(|address| ("console", address)));
    lines
        .map(|(name, address)| {
            palette.lines(Paint::Dim, "", &format!("{name:<7}  http://{address}/"))
        })
        .collect()
}

/// What the run showed.
#[derive(Debug)]
pub(super) struct Verdict {
    sent: u64,
    failed: Vec<(String, u64)>,
    kills: u64,
    /// Crashes that the keeper saw, if the node still answered at the end.
    exits: Option<u32>,
    p50: Duration,
    p99: Duration,
    gap: Duration,
}

impl Verdict {
    pub(super) fn of(tally: &Tally, kills: u64, exits: Option<u32>) -> Self {
        let failed = tally.failed.iter().map(|(kind, count)| (kind.to_string(), *count)).collect();
        Self {
            sent: tally.sent(),
            failed,
            kills,
            exits,
            p50: tally.latency(0.5),
            p99: tally.latency(0.99),
            gap: tally.gap_max,
        }
    }

    /// Whether requests were sent, an instance was killed, and no request failed.
    pub(super) fn passed(&self) -> bool {
        self.sent > 0 && self.kills > 0 && self.failures() == 0
    }

    pub(super) fn render(&self, palette: Palette) -> String {
        let numbers = format!(
            "p50 {}, p99 {}, longest time without an answer {}",
            millis(self.p50),
            millis(self.p99),
            millis(self.gap)
        );
        let sentence = if self.passed() {
            format!(
                "{} requests, {}, no request failed ({numbers}).",
                self.sent,
                crashes(self.kills)
            )
        } else if self.failures() == 0 {
            format!(
                "{} requests, no request failed, but no instance was killed either: this shows \
                 nothing ({numbers}).",
                self.sent
            )
        } else {
            let kinds: Vec<String> =
                self.failed.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
            format!(
                "{} of {} requests failed during {}: {} ({numbers}).",
                self.failures(),
                self.sent,
                crashes(self.kills),
                kinds.join(", ")
            )
        };
        let paint = if self.passed() { Paint::Good } else { Paint::Bad };
        format!("\n{}\n", palette.paint(paint, &sentence))
    }

    pub(super) fn json(&self) -> serde_json::Value {
        let failed: serde_json::Map<String, serde_json::Value> =
            self.failed.iter().map(|(kind, count)| (kind.clone(), (*count).into())).collect();
        json!({
            "passed": self.passed(),
            "requests": self.sent,
            "failures": self.failures(),
            "failed": failed,
            "kills": self.kills,
            "exits": self.exits,
            "p50_seconds": self.p50.as_secs_f64(),
            "p99_seconds": self.p99.as_secs_f64(),
            "gap_seconds_max": self.gap.as_secs_f64(),
        })
    }

    fn failures(&self) -> u64 {
        self.failed.iter().map(|(_, count)| count).sum()
    }
}

fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

fn crashes(count: u64) -> String {
    if count == 1 { "1 crash".to_owned() } else { format!("{count} crashes") }
}

#[cfg(test)]
mod tests {
    use evergate_core::time::Instant;

    use super::super::tally::Failure;
    use super::*;

    #[test]
    fn a_run_passes_only_with_a_kill_and_without_a_failure() {
        let at = |millis: u64| Instant::from_nanos(millis * 1_000_000);
        let mut tally = Tally::default();
        assert!(!Verdict::of(&tally, 3, None).passed());
        tally.record(at(0), at(3), Ok(()));
        assert!(!Verdict::of(&tally, 0, Some(0)).passed());
        let verdict = Verdict::of(&tally, 2, Some(2));
        assert!(verdict.passed());
        let text = verdict.render(Palette::Plain);
        assert!(text.contains("1 requests, 2 crashes, no request failed"), "{text}");
        tally.record(at(0), at(3), Err(Failure::Status(502)));
        tally.record(at(0), at(3), Err(Failure::Broken));
        let verdict = Verdict::of(&tally, 2, Some(2));
        assert!(!verdict.passed());
        let text = verdict.render(Palette::Plain);
        assert!(
            text.contains("2 of 3 requests failed during 2 crashes: 1 broken off, 1 status 502"),
            "{text}"
        );
    }
}
