//! Answers to the admin API.

use std::collections::BTreeSet;

use evergate_console::words;
use evergate_control::command::Command;
use evergate_control::snapshot::{ConfigStatus, Health, InstanceStatus, PoolStatus, Stats, Status};
use evergate_gateway::ending_soon;
use evergate_sys::{clock, process};

use super::control_plane::{Cause, ControlPlane};
use super::{instances, output, standby, upgrades};

/// Said to whoever asked this worker for a change when another one had taken its place.
pub(super) const REPLACED: &str = "another worker has just taken over; ask again";

impl ControlPlane {
    /// Does what `command` wants. An answer that nobody waits for any more is dropped.
    pub(super) async fn answer(&mut self, command: Command) {
        match command {
            Command::Status { reply } => drop(reply.send(self.status().await)),
            Command::Stats { reply } => drop(reply.send(self.stats().await)),
            Command::Events { reply } => drop(reply.send(self.gateway.events().latest())),
            Command::Explain { question, reply } => {
                drop(reply.send(self.gateway.explain(&question)));
            }
            Command::Config { reply } => {
                let changes = self.changes_in_force();
                let text = evergate_config::to_toml_with(self.gateway.config(), changes);
                drop(reply.send(text));
            }
            Command::Changes { reply } => drop(reply.send(self.changes())),
            Command::Logs { app, instance, lines, follow, reply } => {
                let wanted = output::Wanted { app: app.as_deref(), instance, lines, follow };
                self.answer_logs(wanted, reply);
            }
            // Nothing would come of it: another worker says what is to be.
            Command::Reload { reply, .. } if !self.role.is_primary() => {
                drop(reply.send(Err(REPLACED.to_owned())));
            }
            Command::Adjust { reply, .. } if !self.role.is_primary() => {
                drop(reply.send(Err(REPLACED.to_owned())));
            }
            Command::App { reply, .. }
            | Command::Upgrade { reply, .. }
            | Command::Standby { reply, .. }
                if !self.role.is_primary() =>
            {
                drop(reply.send(Err(REPLACED.to_owned())));
            }
            Command::Kill { reply, .. } if !self.role.is_primary() => {
                drop(reply.send(Err(REPLACED.to_owned())));
            }
            Command::Reload { dry_run, confirm_within, reply } => {
                // The file is not at fault, so this is no reload that failed.
                if let Some(Err(why)) = confirm_within.map(|within| self.may_try(within)) {
                    return drop(reply.send(Err(why)));
                }
                let outcome = self.reload(Cause::Asked, dry_run, confirm_within).await;
                if !dry_run {
                    self.note_reload(&outcome);
                }
                drop(reply.send(outcome));
            }
            Command::Confirm { reply } => drop(reply.send(self.confirm().await)),
            Command::Rollback { to, dry_run, reply } => {
                drop(reply.send(self.rollback(to, dry_run).await));
            }
            Command::History { reply } => drop(reply.send(self.history())),
            Command::Change { order, dry_run, reply } => {
                drop(reply.send(self.change(order, dry_run).await));
            }
            Command::Adjust { pool, server, adjustment, reply } => {
                drop(reply.send(self.gateway.adjust(&pool, &server, adjustment)));
            }
            Command::App { app, instance, verb, reply } => self.wish(app, instance, verb, reply),
            Command::Upgrade { order, reply } => self.upgrade(order, reply),
            Command::Standby { order, reply } => self.order_standby(order, reply),
            Command::Kill { app, instance, reply } => drop(reply.send(self.kill(app, instance))),
        }
    }

    async fn status(&self) -> Status {
        let pools = self.gateway.pools();
        let now = clock::unix_seconds();
        let apps = self.instances();
        let (health, reasons) = self.judge(&pools, &apps);
        let mut status = Status {
            node: self.gateway.config().node.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            health,
            reasons,
            keeper_pid: self.birth.keeper_pid,
            worker_pid: std::process::id(),
            worker_generation: self.birth.generation,
            uptime_seconds: now.saturating_sub(self.birth.keeper_started_at),
            worker_uptime_seconds: now.saturating_sub(self.started_at),
            certificates: self.certificates(),
            config: ConfigStatus {
                file: self.file.display().to_string(),
                generation: self.reloads.generation,
                applied_at: self.reloads.applied_at,
                failed_reload: self.reloads.failure.clone(),
                changes: self.changes.changes.len() as u64,
                changes_refused: self.changes.refused.as_ref().map(|one| one.why().to_owned()),
                id: self.configurations.history.in_force().map_or(0, |one| one.id),
                held: self.held_in_words(),
                trial: self.trial(),
            },
            listeners: self.gateway.listeners(),
            routes: self.gateway.routes().await,
            pools,
            apps,
            deploys: self.deploys(),
            app_limits: self.observed.limits.iter().map(instances::limits).collect(),
            admin: self.admin.addresses(),
            workers: self.workers(),
            upgrade: self.node.upgrade.as_ref().map(upgrades::upgrade),
            keeper_version: self.node.keeper_version.clone(),
            keeper_execs: self.node.keeper_execs,
            vips: standby::vips(self.gateway.config(), &self.standby),
            peers: standby::peers(self.gateway.config(), &self.standby, &self.evidence),
            is_in_maintenance: self.standby.is_in_maintenance,
            vip_problems: self.standby.problems.clone(),
            timer_lateness_us: self.standby.lateness_us,
        };
        status.add(&self.carried.of_others());
        status
    }

    /// What is counted by this worker alone, and every gauge.
    pub(super) async fn own_stats(&self) -> Stats {
        let mut stats = self.gateway.stats().await;
        stats.version = env!("CARGO_PKG_VERSION").to_owned();
        stats.started_at = self.started_at;
        stats.worker_generation = self.birth.generation;
        stats.config_generation = self.reloads.generation;
        stats.reloads = self.reloads.generation.saturating_sub(1);
        stats.reloads_failed = self.reloads.refused;
        stats.config_last_reload_ok = self.reloads.failure.is_none();
        stats.config_is_held = self.configurations.history.hold().is_some();
        stats.config_is_unconfirmed = self.configurations.history.trial().is_some();
        stats.apps = self.instances();
        stats.deploys = self.deploys();
        stats.certificates = self.certificates();
        stats.acme = self.acme_stats();
        stats.workers = upgrades::workers_by_state(&self.node);
        stats.upgrades = upgrades::by_outcome(&self.node);
        stats.keeper_execs = self.node.keeper_execs;
        stats.vips = standby::vips(self.gateway.config(), &self.standby);
        stats.peers = standby::peers(self.gateway.config(), &self.standby, &self.evidence);
        stats.is_in_maintenance = self.standby.is_in_maintenance;
        stats.timer_lateness_us = self.standby.lateness_us;
        let roles = [("keeper", self.birth.keeper_pid), ("worker", std::process::id())];
        for (role, pid) in roles {
            if let Ok(usage) = process::usage(pid) {
                stats.resident_bytes.push((role.to_owned(), usage.resident_bytes));
                stats.cpu_seconds.push((role.to_owned(), usage.cpu.as_secs_f64()));
                // The worker comes last: its count is the one that stays.
                stats.open_fds = usage.fds.map_or(0, u64::from);
            }
        }
        stats
    }

    /// The worst of the parts, and why.
    fn judge(&self, pools: &[PoolStatus], apps: &[InstanceStatus]) -> (Health, Vec<String>) {
        let mut health = Health::Healthy;
        let mut reasons = Vec::new();
        for pool in pools.iter().filter(|pool| pool.health != Health::Healthy) {
            health = health.max(pool.health);
            let up = pool.servers.iter().filter(|server| server.state == "up");
            let up = up.map(|server| &server.name).collect::<BTreeSet<_>>().len();
            reasons.push(format!("pool.{}: {up} of {} servers up", pool.name, pool.expected));
        }
        let troubles = words::troubles(apps);
        if !troubles.is_empty() {
            health = health.max(Health::Degraded);
            reasons.extend(troubles);
        }
        let lost = self.output.troubles();
        if !lost.is_empty() {
            health = health.max(Health::Degraded);
            reasons.extend(lost);
        }
        let ending = ending_soon(clock::unix_seconds(), &self.certificates());
        if !ending.is_empty() {
            health = health.max(Health::Degraded);
            reasons.extend(ending);
        }
        // Whoever only wants apps to be kept running has no listener.
        let serves = !self.gateway.config().listeners.is_empty();
        if serves && self.gateway.listening().next().is_none() {
            health = Health::Down;
            reasons.push("nothing is listened on".to_owned());
        }
        let late = self.late_certificates();
        if !late.is_empty() {
            health = health.max(Health::Degraded);
            reasons.extend(late);
        }
        if self.reloads.failure.is_some() {
            health = health.max(Health::Degraded);
            reasons.push("the last reload was refused".to_owned());
        }
        if self.changes.refused.is_some() {
            health = health.max(Health::Degraded);
            reasons.push("the changes beside the file are not in force".to_owned());
        }
        if let Some(held) = self.held_in_words() {
            health = health.max(Health::Degraded);
            reasons.push(held);
        }
        if let Some(why) = &self.configurations.return_failure {
            health = health.max(Health::Degraded);
            reasons.push(format!("the configuration before cannot come back: {why}"));
        }
        let (standing, troubles) = standby::troubles(self.gateway.config(), &self.standby);
        health = health.max(standing);
        reasons.extend(troubles);
        if self.keeper_is_gone() {
            health = health.max(Health::Degraded);
            reasons.push("the keeper is gone: nothing is restarted".to_owned());
        }
        (health, reasons)
    }
}
