//! Putting another configuration in force, whole or not at all: first the new sockets are had
//! beside the old ones, then the plan is swapped, then the old sockets are closed.

use std::io;
use std::time::Duration;

use evergate_config::{Config, Level, Loaded, Reload as When, load_with, remember, render};
use evergate_control::link::{Desired, KEPT_CONFIG};
use evergate_control::snapshot::PlanChange;
use evergate_gateway::Addresses;
use evergate_sys::clock;

use super::{Cause, ControlPlane, changes};
use crate::embedded;
use crate::worker::configurations::mark_of_errors;
use crate::worker::files::{self, Helped};
use crate::worker::kept_changes::with_changes;
use crate::worker::{apps, certificates, log_dir, sockets};

/// What is said of a key that a running worker cannot follow.
const LATE: &str = "takes effect when Evergate is started anew";

impl ControlPlane {
    /// Reads the configuration again and applies it, or says everything that is wrong with it. With
    /// `dry_run` it only says what would change; with `confirm_within` it goes back unless it is
    /// confirmed.
    pub(in crate::worker) async fn reload(
        &mut self,
        cause: Cause,
        dry_run: bool,
        confirm_within: Option<Duration>,
    ) -> Result<PlanChange, String> {
        let loaded = self.load(dry_run)?;
        if let Some(within) = confirm_within {
            return self.try_out(&loaded, within, dry_run).await;
        }
        let mut change = self.put_in_force(&loaded, dry_run).await?;
        if !dry_run {
            self.file_applied(&loaded, cause.in_words(), &told(&change)).await;
        }
        if let Some(trial) = self.trial() {
            change.unconfirmed = Some(format!(
                "a configuration is on trial, and this one with it: #{} comes back in {} s unless \
                 it is confirmed: `evergate confirm`",
                trial.back_to, trial.seconds_left
            ));
        }
        Ok(change)
    }

    /// Applies a configuration that was checked, or only says what that would change.
    pub(super) async fn put_in_force(
        &mut self,
        loaded: &Loaded,
        dry_run: bool,
    ) -> Result<PlanChange, String> {
        let mut change = self.gateway.difference(&loaded.config);
        change.from_changes = changes::effects(loaded);
        change.warnings =
            loaded.warnings.iter().map(|one| render(std::slice::from_ref(one), false)).collect();
        let wanted = self.wanted(&loaded.config);
        change.runs = apps::consequences(
            (self.gateway.config(), &self.desired.apps),
            (&loaded.config, &wanted.apps),
        );
        let late = self.late_keys(&loaded.config);
        let refusals = self.users.refusals(&loaded.config);
        if !refusals.is_empty() {
            return Err(refusals.join("\n"));
        }
        if !dry_run {
            log_dir::prepare(&loaded.config, None)?;
            let root = certificates::root(&loaded.config)?;
            let journal = self.journal_for(loaded).await?;
            self.apply(loaded, wanted).await?;
            self.follow_authorities(root).await;
            self.applied(loaded);
            self.changes_applied(loaded, journal);
            for key in &late {
                self.event(Level::Warn, "config_warning", key, LATE);
            }
            self.settle_down();
        }
        change.warnings.extend(late.iter().map(|key| format!("{key}: {LATE}")));
        Ok(change)
    }

    /// Keys that a running worker cannot follow and that `config` changes.
    pub(super) fn late_keys(&self, config: &Config) -> Vec<String> {
        let (before, after) = (&self.gateway.config().node, &config.node);
        let changed = [
            ("node.threads", before.threads != after.threads),
            ("node.user", before.user != after.user),
        ];
        let changed = changed.into_iter().filter(|(_, is_changed)| *is_changed);
        changed.map(|(key, _)| key.to_owned()).chain(self.users.late_keys(config)).collect()
    }

    /// Reads the configuration and the changes beside it; watches what it was read from, unless this
    /// is only a question. The file must be right by itself, too: a start reads it so.
    pub(super) fn load(&mut self, dry_run: bool) -> Result<Loaded, String> {
        let changes = self.changes_to_load(dry_run);
        let files = Helped::new(&mut self.link);
        let alone = load_with(&self.file, &files).and_then(embedded::accepted);
        let alone = alone.map_err(|errors| render(&errors, false));
        let mark = match &alone {
            Ok(alone) => alone.texts().mark(),
            Err(errors) => mark_of_errors(errors),
        };
        let loaded = match alone {
            Ok(alone) if changes.is_empty() => Ok(alone),
            Ok(alone) => with_changes(&alone, &files, &changes),
            Err(errors) => Err(errors),
        };
        let seen = files.into_asked();
        if !dry_run {
            self.watch.set(seen);
            self.file_mark = mark;
        }
        loaded
    }

    /// Reloads if a file changed. A change that amounts to nothing is not worth an event.
    pub(super) async fn look_at_files(&mut self) {
        let link = &mut self.link;
        let is_first = std::mem::take(&mut self.is_file_unread);
        if !is_first && !self.watch.has_changed(|path| files::metadata(link, path)) {
            return;
        }
        let loaded = self.load(false);
        // It says what it did when it was set aside.
        let hold = self.configurations.history.hold();
        if hold.is_some_and(|hold| hold.aside == self.file_mark) {
            return;
        }
        if self.gateway.config().node.reload == When::OnRequest {
            let in_force = self.configurations.history.in_force();
            let is_same = in_force.is_some_and(|one| one.texts.mark() == self.file_mark);
            if !is_same || hold.is_some() {
                let reason = "the file changed; `evergate reload` applies it (node.reload)";
                self.event(Level::Info, "config_waits", "config", reason);
            }
            return;
        }
        let is_known = match loaded {
            Ok(loaded) => {
                let is_in_force = loaded.config == *self.gateway.config();
                self.reloads.failure.is_none() && is_in_force && hold.is_none()
            }
            Err(errors) => self.reloads.failure == Some(errors),
        };
        if !is_known {
            self.reload_and_tell(Cause::FileChanged).await;
        }
    }

    /// A reload that nobody waits for: its outcome is an event. Says whether it was applied.
    pub(super) async fn reload_and_tell(&mut self, cause: Cause) -> bool {
        let outcome = self.reload(cause, false, None).await;
        self.note_reload(&outcome);
        outcome.is_ok()
    }

    /// Keeps the outcome of a reload for status, metrics and events.
    pub(in crate::worker) fn note_reload(&mut self, outcome: &Result<PlanChange, String>) {
        match outcome {
            Ok(change) => {
                self.event(Level::Info, "config_applied", "config", &told(change));
                if let Some(unconfirmed) = &change.unconfirmed {
                    self.event(Level::Warn, "config_unconfirmed", "config", unconfirmed);
                }
            }
            Err(errors) => {
                self.reloads.refused += 1;
                self.reloads.failure = Some(errors.clone());
                let reason = format!("nothing was changed:\n{errors}");
                self.event(Level::Error, "config_refused", "config", &reason);
            }
        }
    }

    /// What the keeper is to do for `config`.
    fn wanted(&self, config: &Config) -> Desired {
        let threads = u16::try_from(self.gateway.threads()).unwrap_or(u16::MAX);
        let mut wanted = sockets::desired(config, threads);
        self.users.hold_back(&mut wanted, &self.desired);
        wanted
    }

    async fn apply(&mut self, loaded: &Loaded, wanted: Desired) -> Result<(), String> {
        let config = loaded.config.clone();
        let addresses = self.resolve(&config).await;
        let next = self.gateway.prepare(config, addresses)?;
        if wanted == self.desired {
            self.gateway.enforce(next).await;
            return Ok(());
        }
        let gone = |error: io::Error| format!("the keeper does not answer: {error}");
        let mut bound = self.settle(&sockets::union(&wanted, &self.desired)).map_err(gone)?;
        let failures = sockets::failures(&bound);
        if !failures.is_empty() {
            let before = self.desired.clone();
            self.settle(&before).map_err(gone)?;
            return Err(failures.join("\n"));
        }
        // The keeper lets go first, so that whoever is still waiting on a socket that goes is
        // accepted below; apps change only once no request needs those of before.
        let sockets_only = Desired { listeners: wanted.listeners.clone(), ..self.desired.clone() };
        self.settle(&sockets_only).map_err(gone)?;
        self.forget_sockets(&wanted).await;
        self.gateway.enforce(next).await;
        bound.retain(|(name, address), _| {
            wanted.listeners.iter().any(|one| one.name == *name && one.address == *address)
        });
        self.take_sockets(&mut bound).await;
        self.settle(&wanted).map_err(gone)?;
        self.desired = wanted;
        Ok(())
    }

    /// Everything that follows from having a configuration in force.
    pub(super) fn in_force(&mut self, loaded: &Loaded) {
        self.reloads.generation += 1;
        self.reloads.applied_at = clock::unix_seconds();
        self.reloads.failure = None;
        self.basis = loaded.basis();
        self.admin.set_access(&loaded.config.admin);
        self.output.follow(&loaded.config);
        self.carried.follow(&loaded.config);
    }

    /// Everything that follows from having put a configuration in force.
    pub(super) fn applied(&mut self, loaded: &Loaded) {
        self.in_force(loaded);
        self.probes.follow(&self.observed.instances, &loaded.config);
        self.evidence.follow(&loaded.config);
        for warning in &loaded.warnings {
            let text = render(std::slice::from_ref(warning), false);
            self.event(Level::Warn, "config_warning", &warning.path, &text);
        }
        // Without it a worker that comes after a crash has only the file to go by.
        self.keep(KEPT_CONFIG, &remember(loaded));
    }

    pub(super) async fn resolve_again(&mut self) {
        if !self.gateway.addresses().is_empty() {
            let config = self.gateway.config().clone();
            let addresses = self.resolve(&config).await;
            self.gateway.set_addresses(addresses).await;
        }
    }

    /// Looks names up beside the control plane, for a resolver may take seconds.
    async fn resolve(&self, config: &Config) -> Addresses {
        let known = self.gateway.addresses().clone();
        if !Addresses::has_names(config) {
            return Addresses::default();
        }
        let (config, before) = (config.clone(), known.clone());
        let looked_up = tokio::task::spawn_blocking(move || before.resolve(&config)).await;
        looked_up.unwrap_or(known)
    }
}

/// The difference in words, by name.
pub(super) fn told(change: &PlanChange) -> String {
    let parts =
        [("added", &change.added), ("changed", &change.changed), ("removed", &change.removed)];
    let parts = parts.iter().filter(|(_, names)| !names.is_empty());
    let parts = parts.map(|(what, names)| format!("{what} {}", names.join(", ")));
    let told: Vec<_> = parts.chain(change.runs.iter().cloned()).collect();
    if told.is_empty() { "nothing changed".to_owned() } else { told.join("; ") }
}
