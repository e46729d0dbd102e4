//! What the demo shows while it runs, and what it concludes.

use std::time::Duration;

use evergate_control::snapshot::{DeployStatus, Status};
use evergate_sys::clock;
use serde_json::json;

use super::Killer;
use super::node::{APP, INSTANCES, Ready};
use super::rollout::{self, Rollout};
use super::tally::{RELEASES, Tally};
use crate::ctl::screen::{Paint, Palette, bar, paint_of};
use crate::ctl::table::{Table, plain};

/// What is going to happen, and where to look at it.
pub(super) fn opening(ready: &Ready, time: Duration, rate: u32) -> String {
    let mut text = format!(
        "three instances of a small app behind http://{}/\n{rate} requests a second for {time:?}\n\
         act one: an instance is killed every 2.5 s\n",
        ready.web
    );
    if time >= rollout::FOR_MIN {
        let at = (time * 2 / 3).as_secs_f64();
        text.push_str(&format!("act two: from {at:.0} s on, release 2 of the app is rolled out\n"));
    }
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
    pub(super) rollout: &'a Rollout,
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
        text.push_str(&self.act(palette));
        text.push_str(&addresses(self.status, palette));
        text
    }

    /// For everything else: one line.
    pub(super) fn line(&self) -> String {
        let up = self.status.map_or(0, |status| {
            let servers = status.pools.iter().flat_map(|pool| &pool.servers);
            servers.filter(|server| server.state == "up").count()
        });
        let act = match self.rollout {
            Rollout::None | Rollout::Due(_) => String::new(),
            Rollout::Going { shown: None, .. } => "  deploy".to_owned(),
            Rollout::Going { shown: Some(deploy), .. } => {
                format!("  deploy {} {} of {}", deploy.phase, deploy.done, deploy.of)
            }
            Rollout::Done { .. } => "  deploy done".to_owned(),
            Rollout::Failed { .. } => "  deploy failed".to_owned(),
        };
        let seconds = self.elapsed.as_secs_f64();
        format!("{seconds:>3.0}s  {}  up {up}{act}\n", self.totals(Palette::Plain))
    }

    /// What is being done to the app, and who answered.
    fn act(&self, palette: Palette) -> String {
        let mut lines = Vec::new();
        if let Some((instance, at)) = self.killer.latest {
            let ago = (clock::now() - at).as_secs_f64();
            lines.push((Paint::Dim, format!("killed {APP}/{instance} {ago:.1} s ago")));
        }
        match self.rollout {
            Rollout::None | Rollout::Due(_) | Rollout::Going { shown: None, .. } => {}
            Rollout::Going { shown: Some(deploy), .. } => {
                let bar = bar(deploy.done, deploy.of);
                let DeployStatus { done, of, phase, message, .. } = deploy;
                lines.push((Paint::Normal, format!("deploy  {bar}  {done} of {of}  {phase}")));
                lines.push((Paint::Dim, format!("        {message}")));
            }
            Rollout::Done { took } => {
                let line = format!("deploy  done in {:.1} s", took.as_secs_f64());
                lines.push((Paint::Good, line));
            }
            Rollout::Failed { why } => lines.push((Paint::Bad, format!("deploy  failed: {why}"))),
        }
        let [first, second] = self.tally.releases;
        lines.push((Paint::Normal, format!("answers of release 1: {first}, release 2: {second}")));
        lines.iter().map(|(paint, line)| palette.lines(*paint, "", line)).collect()
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
    let heads =
        ["instance", ">pid", ">revision", "process", "server", ">requests", ">exits", "why"];
    let mut table = Table::new("", &heads);
    for instance in &status.apps {
        let name = format!("{}/{}", instance.app, instance.number);
        let mut servers = status.pools.iter().flat_map(|pool| &pool.servers);
        // While it is replaced there are two of the same name.
        let server = servers.find(|server| instance.address.as_ref() == Some(&server.address));
        let state = server.map(|server| server.state.clone()).unwrap_or_default();
        table.row([
            plain(name),
            plain(instance.pid.map(|pid| pid.to_string()).unwrap_or_default()),
            plain(instance.revision),
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
    /// How the deploy ended and how long it took, or why it failed; none if there was none.
    deploy: Option<Result<Duration, String>>,
    releases: [u64; RELEASES],
    p50: Duration,
    p99: Duration,
    gap: Duration,
}

impl Verdict {
    pub(super) fn of(tally: &Tally, kills: u64, exits: Option<u32>, rollout: &Rollout) -> Self {
        let failed = tally.failed.iter().map(|(kind, count)| (kind.to_string(), *count)).collect();
        let deploy = match rollout {
            // One that Ctrl-C came before, or cut short, is neither good nor bad.
            Rollout::None | Rollout::Due(_) | Rollout::Going { .. } => None,
            // A deploy that no client notices shows nothing.
            Rollout::Done { .. } if tally.releases[1] == 0 => {
                Some(Err("no request was answered by release 2".to_owned()))
            }
            Rollout::Done { took } => Some(Ok(*took)),
            Rollout::Failed { why } => Some(Err(why.clone())),
        };
        Self {
            sent: tally.sent(),
            failed,
            kills,
            exits,
            deploy,
            releases: tally.releases,
            p50: tally.latency(0.5),
            p99: tally.latency(0.99),
            gap: tally.gap_max,
        }
    }

    /// Whether requests were sent, an instance was killed, no request failed, and neither did the
    /// deploy.
    pub(super) fn passed(&self) -> bool {
        self.sent > 0 && self.kills > 0 && self.failures() == 0 && self.deploy_failure().is_none()
    }

    pub(super) fn render(&self, palette: Palette) -> String {
        let numbers = format!(
            "p50 {}, p99 {}, longest time without an answer {}",
            millis(self.p50),
            millis(self.p99),
            millis(self.gap)
        );
        let mut acts = crashes(self.kills);
        if let Some(Ok(took)) = &self.deploy {
            let took = took.as_secs_f64();
            acts.push_str(&format!(", 1 rolling deploy of {INSTANCES} instances in {took:.1} s"));
        }
        let sent = self.sent;
        let sentence = if self.failures() > 0 {
            let kinds: Vec<String> =
                self.failed.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
            let failures = self.failures();
            let kinds = kinds.join(", ");
            format!("{failures} of {sent} requests failed during {acts}: {kinds} ({numbers}).")
        } else if self.kills == 0 {
            format!(
                "{sent} requests, 0 failed requests, but no instance was killed either: this \
                 shows nothing ({numbers})."
            )
        } else {
            format!("{sent} requests, {acts}, 0 failed requests ({numbers}).")
        };
        let paint = if self.passed() { Paint::Good } else { Paint::Bad };
        let mut text = format!("\n{}\n", palette.paint(paint, &sentence));
        if let Some(why) = self.deploy_failure() {
            text.push_str(&palette.lines(Paint::Bad, "", &format!("The deploy failed: {why}.")));
        }
        text
    }

    pub(super) fn json(&self) -> serde_json::Value {
        let failed: serde_json::Map<String, serde_json::Value> =
            self.failed.iter().map(|(kind, count)| (kind.clone(), (*count).into())).collect();
        let deploy = self.deploy.as_ref().map(|outcome| match outcome {
            Ok(took) => {
                json!({ "done": true, "instances": INSTANCES, "seconds": took.as_secs_f64() })
            }
            Err(why) => json!({ "done": false, "instances": INSTANCES, "failure": why }),
        });
        json!({
            "passed": self.passed(),
            "requests": self.sent,
            "failures": self.failures(),
            "failed": failed,
            "kills": self.kills,
            "exits": self.exits,
            "deploy": deploy,
            "answers_by_release": self.releases,
            "p50_seconds": self.p50.as_secs_f64(),
            "p99_seconds": self.p99.as_secs_f64(),
            "gap_seconds_max": self.gap.as_secs_f64(),
        })
    }

    fn failures(&self) -> u64 {
        self.failed.iter().map(|(_, count)| count).sum()
    }

    fn deploy_failure(&self) -> Option<&str> {
        self.deploy.as_ref()?.as_ref().err().map(String::as_str)
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
        let verdict = |tally: &Tally, kills| Verdict::of(tally, kills, None, &Rollout::None);
        let mut tally = Tally::default();
        assert!(!verdict(&tally, 3).passed());
        tally.record(at(0), at(3), Ok(1));
        assert!(!verdict(&tally, 0).passed());
        assert!(verdict(&tally, 2).passed());
        let text = verdict(&tally, 2).render(Palette::Plain);
        assert!(text.contains("1 requests, 2 crashes, 0 failed requests (p50 "), "{text}");
        tally.record(at(0), at(3), Err(Failure::Status(502)));
        tally.record(at(0), at(3), Err(Failure::Broken));
        assert!(!verdict(&tally, 2).passed());
        let text = verdict(&tally, 2).render(Palette::Plain);
        assert!(
            text.contains("2 of 3 requests failed during 2 crashes: 1 broken off, 1 status 502"),
            "{text}"
        );
    }

    #[test]
    fn a_deploy_counts_when_clients_saw_it_and_a_failed_one_fails_the_run() {
        let at = |millis: u64| Instant::from_nanos(millis * 1_000_000);
        let done = Rollout::Done { took: Duration::from_millis(2_440) };
        let verdict = |tally: &Tally, rollout: &Rollout| Verdict::of(tally, 1, None, rollout);
        let mut tally = Tally::default();
        tally.record(at(0), at(3), Ok(1));
        assert!(!verdict(&tally, &done).passed(), "nobody saw release 2");
        tally.record(at(0), at(3), Ok(2));
        let good = verdict(&tally, &done);
        let text = good.render(Palette::Plain);
        let expected =
            "2 requests, 1 crash, 1 rolling deploy of 3 instances in 2.4 s, 0 failed requests";
        assert!(good.passed() && text.contains(expected), "{text}");
        assert_eq!(good.json()["answers_by_release"], serde_json::json!([1, 1]));
        assert_eq!(good.json()["deploy"]["done"], true);
        let bad = verdict(&tally, &Rollout::Failed { why: "shop/0 exited".into() });
        let text = bad.render(Palette::Plain);
        assert!(!bad.passed() && text.ends_with("\nThe deploy failed: shop/0 exited.\n"), "{text}");
        assert_eq!(bad.json()["deploy"]["failure"], "shop/0 exited");
    }
}
