//! The way back: configurations that are kept, put in force again by the operator, and on trial.
//!
//! A trial is written down, told to the keeper, and only then put in force, so that whatever crashes
//! in between is followed by going back. Whether it is confirmed in time the keeper alone decides.

use std::time::Duration;

use evergate_config::{Hold, Level, Loaded, OnTrial};
use evergate_console::words;
use evergate_control::command::{ChangeFault, ChangeRefusal};
use evergate_control::link::{KEPT_BASE, KEPT_HISTORY, TrialOrder};
use evergate_control::snapshot::PlanChange;
use evergate_core::time::Spoken;
use evergate_core::trial::{Journaled, State, WITHIN_MAX, WITHIN_MIN, Why};
use evergate_sys::clock;

use super::reload::told;
use super::{Cause, ControlPlane};
use crate::worker::answers::REPLACED;
use crate::worker::configurations::{self, Started, boot, clocks};
use crate::worker::upgrades;

/// What a trial would go back to.
struct Base {
    id: u64,
    /// With all that it refers to.
    blob: Vec<u8>,
}

impl ControlPlane {
    /// Records what the file says as what is in force; nothing is held in its place any more.
    pub(super) async fn file_applied(&mut self, loaded: &Loaded, why: &str, what: &str) {
        let now = clock::unix_seconds();
        self.configurations.follow(&loaded.config.node.state_dir);
        self.configurations.history.record(loaded.texts(), now, why, what);
        self.keep_configurations().await;
    }

    /// Puts `loaded` in force for as long as it takes to confirm it: `within`, or else the
    /// configuration before comes back.
    pub(super) async fn try_out(
        &mut self,
        loaded: &Loaded,
        within: Duration,
        dry_run: bool,
    ) -> Result<PlanChange, String> {
        self.may_try(within)?;
        self.refuse_late(loaded)?;
        let goes_on = self.configurations.history.trial().map(|trial| trial.base);
        let base = match goes_on {
            Some(_) => None,
            None => Some(self.base_of(loaded)?),
        };
        let back_to = goes_on.or(base.as_ref().map(|base| base.id));
        let back_to = back_to.expect("there is one under way, or one begins");
        // What is wrong is found before anything is written down.
        let mut change = self.put_in_force(loaded, true).await?;
        let unconfirmed = format!(
            "configuration #{back_to} comes back in {} unless this one is confirmed: `evergate \
             confirm`",
            Spoken(within)
        );
        change.unconfirmed = Some(unconfirmed);
        if dry_run {
            return Ok(change);
        }
        let trial = OnTrial {
            base: back_to,
            clock: Journaled::new(
                self.configurations.history.next_trial(),
                within,
                clocks(&boot()),
            ),
        };
        match base {
            Some(base) => self.begin_trial(loaded, trial, base).await?,
            None => self.go_on_trying(loaded, trial).await?,
        }
        self.file_applied(loaded, Cause::Asked.in_words(), &told(&change)).await;
        if let Some(why) = &self.configurations.unkept {
            change.warnings.push(format!(
                "a restart of the node would end the trial and keep this configuration: {why}"
            ));
        }
        Ok(change)
    }

    /// Puts `loaded` in force on a trial of its own.
    async fn begin_trial(
        &mut self,
        loaded: &Loaded,
        trial: OnTrial,
        base: Base,
    ) -> Result<(), String> {
        self.keep(KEPT_BASE, &base.blob);
        self.configurations.base = Some(base.blob);
        let order = begin(&trial.clock, trial.clock.within);
        self.configurations.history.try_out(trial);
        self.keep_configurations().await;
        let mut outcome = self.order_trial(order);
        if outcome.is_ok() {
            outcome = self.put_in_force(loaded, false).await.map(drop);
            if outcome.is_err() {
                drop(self.order_trial(TrialOrder::Abandon));
            }
        }
        if outcome.is_err() {
            self.end_trial().await;
        }
        outcome
    }

    /// Puts `loaded` in force under the trial that is under way, with a new time.
    async fn go_on_trying(&mut self, loaded: &Loaded, trial: OnTrial) -> Result<(), String> {
        let before = self.configurations.history.trial().cloned();
        self.order_trial(begin(&trial.clock, trial.clock.within))?;
        self.configurations.history.try_out(trial);
        self.keep_configurations().await;
        let outcome = self.put_in_force(loaded, false).await.map(drop);
        if let (Err(_), Some(before)) = (&outcome, before) {
            // The time is what it was.
            let left = before.clock.until.since(clock::now()).max(WITHIN_MIN);
            drop(self.order_trial(begin(&before.clock, left)));
            self.configurations.history.try_out(before);
            self.keep_configurations().await;
        }
        outcome
    }

    /// Whether anything can be put on trial now.
    pub(in crate::worker) fn may_try(&self, within: Duration) -> Result<(), String> {
        if !(WITHIN_MIN..=WITHIN_MAX).contains(&within) {
            let (least, most) = (Spoken(WITHIN_MIN), Spoken(WITHIN_MAX));
            return Err(format!("the time to confirm must be between {least} and {most}"));
        }
        if self.keeper_is_gone() {
            return Err("the keeper is gone: nobody would go back".to_owned());
        }
        if self.node.trial.is_none() {
            return Err("the keeper is of an older version and cannot go back by itself; upgrade \
                        it first: `evergate upgrade`"
                .to_owned());
        }
        if upgrades::is_under_way(&self.node) {
            return Err("an upgrade is under way; try again when it is over".to_owned());
        }
        Ok(())
    }

    /// Refuses what no trial shows.
    fn refuse_late(&self, loaded: &Loaded) -> Result<(), String> {
        let mut late = self.late_keys(&loaded.config);
        if self.gateway.config().node.state_dir != loaded.config.node.state_dir {
            late.push("node.state_dir".to_owned());
        }
        match late.as_slice() {
            [] => Ok(()),
            late => Err(format!(
                "{} cannot be tried, because a restart of the node decides on it; reload without \
                 --confirm",
                late.join(", ")
            )),
        }
    }

    /// What was in force before `loaded`: usually what is in force now; but a change of the file may
    /// have been applied by itself before anybody could ask for a trial of it.
    fn base_of(&mut self, loaded: &Loaded) -> Result<Base, String> {
        let history = &self.configurations.history;
        if loaded.config != *self.gateway.config() {
            let in_force = history.in_force().ok_or("it is not known what is in force")?;
            return Ok(Base { id: in_force.id, blob: self.basis.remember() });
        }
        let before = history.before().cloned().ok_or(
            "nothing would change, and there is no configuration before this one to go back to",
        )?;
        let changes = self.changes_in_force().clone();
        let loaded = configurations::load(&before.texts, &changes, &mut self.link)?;
        Ok(Base { id: before.id, blob: loaded.basis().remember() })
    }

    /// Keeps the configuration on trial.
    pub(in crate::worker) async fn confirm(&mut self) -> Result<String, ChangeRefusal> {
        self.may_turn()?;
        if self.node.trial.is_none() && !self.keeper_is_gone() {
            return Err(conflict(
                "there is nothing to confirm",
                "the keeper is of an older version",
            ));
        }
        let help = "see `evergate status`";
        if self.keeper_is_gone() && self.configurations.history.trial().is_none() {
            return Err(conflict("there is nothing to confirm", help));
        }
        // Without a keeper this worker alone decides.
        if !self.keeper_is_gone() {
            self.order_trial(TrialOrder::Confirm).map_err(|why| conflict(&why, help))?;
        }
        self.end_trial().await;
        let id = self.configurations.history.in_force().map_or(0, |one| one.id);
        let kept = format!("configuration #{id} stays");
        self.event(Level::Info, "config_confirmed", "config", &kept);
        match &self.configurations.unkept {
            None => Ok(kept),
            Some(why) => {
                let message = format!("{kept}, but that cannot be written down: {why}");
                let help = "a restart of the node may go back once more; mend the disk and reload";
                Err(refusal(ChangeFault::NotKept, message, help))
            }
        }
    }

    /// Puts a configuration in force that was applied before.
    pub(in crate::worker) async fn rollback(
        &mut self,
        to: Option<u64>,
        dry_run: bool,
    ) -> Result<PlanChange, ChangeRefusal> {
        self.may_turn()?;
        if upgrades::is_under_way(&self.node) {
            return Err(conflict("an upgrade is under way", "try again when it is over"));
        }
        let target = self.target(to)?;
        let on_trial = self.configurations.history.trial().map(|trial| trial.base);
        let changes = self.changes_in_force().clone();
        let loaded = match on_trial {
            Some(base) if base == target => {
                self.configurations.before_trial(&changes, &mut self.link).map(|(_, loaded)| loaded)
            }
            Some(_) | None => {
                let texts = self.configurations.history.find(target).map(|one| one.texts.clone());
                let texts = texts.expect("it was just found");
                configurations::load(&texts, &changes, &mut self.link)
            }
        };
        let invalid = |why| refusal(ChangeFault::Invalid, why, "nothing was changed");
        let loaded = loaded.map_err(invalid)?;
        let mut change = self.put_in_force(&loaded, dry_run).await.map_err(invalid)?;
        if dry_run {
            return Ok(change);
        }
        self.hold(target, "it was rolled back to").await;
        if on_trial.is_some() {
            drop(self.order_trial(TrialOrder::Returned));
        }
        let reason = format!("to #{target}: {}", told(&change));
        self.event(Level::Warn, "config_rolled_back", "config", &reason);
        if let Some(why) = &self.configurations.unkept {
            change
                .warnings
                .push(format!("a restart of the node would put the file in force again: {why}"));
        }
        Ok(change)
    }

    /// Which one is meant.
    fn target(&self, to: Option<u64>) -> Result<u64, ChangeRefusal> {
        let history = &self.configurations.history;
        let ids: Vec<String> = history.iter().map(|one| format!("#{}", one.id)).collect();
        let help = format!("those that are kept are: {}", ids.join(", "));
        let missing = |message| refusal(ChangeFault::NotFound, message, &help);
        let base = history.trial().map(|trial| trial.base);
        match to {
            None => base
                .or_else(|| history.before().map(|one| one.id))
                .ok_or_else(|| missing("there is no configuration before this one".to_owned())),
            Some(id) if history.find(id).is_none() => {
                Err(missing(format!("configuration #{id} is not kept")))
            }
            Some(id) if history.in_force().is_some_and(|one| one.id == id) => {
                Err(conflict(&format!("configuration #{id} is in force"), "nothing was changed"))
            }
            Some(id) => Ok(id),
        }
    }

    /// The keeper wants the configuration before the one on trial back.
    pub(super) async fn go_back(&mut self, why: Why) {
        if !self.role.is_primary() {
            return self.ignored("the order to go back");
        }
        let changes = self.changes_in_force().clone();
        let outcome = match self.configurations.before_trial(&changes, &mut self.link) {
            Ok((id, loaded)) => self.put_in_force(&loaded, false).await.map(|_| id),
            Err(why) => Err(why),
        };
        match outcome {
            Ok(id) => {
                self.hold(id, &why.to_string()).await;
                self.tell_reverted(id, why);
                drop(self.order_trial(TrialOrder::Returned));
            }
            Err(failure) => {
                self.tell_stuck(&failure);
                drop(self.order_trial(TrialOrder::Failed { why: failure }));
            }
        }
    }

    /// Goes back when it is time, if there is no keeper any more to say so.
    pub(super) async fn go_back_alone(&mut self) {
        let trial = self.configurations.history.trial();
        if self.keeper_is_gone() && trial.is_some_and(|trial| trial.clock.until <= clock::now()) {
            self.go_back(Why::TimeOver).await;
        }
    }

    /// An earlier configuration is in force: what the file says by now is set aside, until it says
    /// something else or a reload is asked for.
    async fn hold(&mut self, id: u64, why: &str) {
        // What is set aside is what it says now, edits that nobody has looked at included.
        let _ = self.load(false);
        let history = &mut self.configurations.history;
        let texts = history.find(id).map(|one| one.texts.clone());
        match texts {
            // Then there is nothing to be set aside.
            Some(texts) if texts.mark() == self.file_mark => {
                history.record(texts, clock::unix_seconds(), "", "");
            }
            Some(_) | None => {
                let hold = Hold {
                    since: clock::unix_seconds(),
                    why: why.to_owned(),
                    aside: self.file_mark,
                };
                history.go_back(id, hold);
            }
        }
        self.end_trial().await;
    }

    /// Nothing is on trial any more.
    async fn end_trial(&mut self) {
        self.configurations.history.end_trial();
        self.configurations.return_failure = None;
        if self.configurations.base.take().is_some() {
            // It holds secrets.
            self.keep(KEPT_BASE, b"");
        }
        self.keep_configurations().await;
    }

    /// Keeps the history with the keeper and on the disk.
    pub(super) async fn keep_configurations(&mut self) {
        match self.configurations.history.to_bytes() {
            Ok(bytes) => {
                self.keep(KEPT_HISTORY, &bytes);
                if let Some(file) = self.configurations.writable() {
                    // Beside the control plane, for a disk may take its time.
                    let write = move || file.replace(&bytes, &mut |_| Ok(()));
                    let written = tokio::task::spawn_blocking(write).await;
                    let cut = |_| Err(std::io::Error::other("it was not written"));
                    self.configurations.written(written.unwrap_or_else(cut));
                }
            }
            Err(error) => self.configurations.unkept = Some(format!("the history: {error}")),
        }
        let unkept = self.configurations.unkept.clone();
        let told = std::mem::replace(&mut self.configurations.unkept_told, unkept.clone());
        if let Some(why) = unkept.filter(|why| told.as_ref() != Some(why)) {
            let reason = format!("configurations are kept in memory only: {why}");
            self.event(Level::Info, "history_unkept", "config", &reason);
        }
    }

    /// Tells a keeper that has just become one that knows of trials what is on trial.
    pub(super) fn tell_trial(&mut self) {
        let is_untold = self.node.trial.as_ref().is_some_and(|trial| trial.state == State::Untold);
        if self.role.is_primary() && is_untold && !self.keeper_is_gone() {
            let history = &self.configurations.history;
            let left = history.trial().map(|one| one.clock.until.since(clock::now()));
            let left_ms = left.map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX));
            let number = history.trials();
            drop(self.order_trial(TrialOrder::Told { number, left_ms }));
        }
    }

    /// A worker that was not primary has what the one before it knew when this one started, or when
    /// it let go; the disk and the keeper know better.
    pub(super) async fn catch_up_with_trial(&mut self, is_back: bool) {
        if is_back && self.configurations.unkept.is_none() {
            self.configurations.read();
        }
        let Some(trial) = self.configurations.history.trial() else { return };
        let number = trial.clock.number;
        let keeper = self.node.trial.as_ref();
        let is_over = keeper.is_some_and(|one| one.state == State::Settled && one.number >= number);
        if is_over {
            self.end_trial().await;
        }
    }

    /// Keeps and tells what this worker started with, ahead of all else.
    pub(super) async fn tell_started(&mut self, loaded: &Loaded, is_held: bool, is_file: bool) {
        let Started { order, has_returned, failure } =
            std::mem::take(&mut self.configurations.started);
        let was_held = self.configurations.history.hold().is_some();
        if is_file && !is_held {
            self.file_applied(loaded, "the node started", "").await;
        } else {
            self.keep_configurations().await;
        }
        if let Some(order) = order {
            drop(self.order_trial(order));
        }
        let id = self.configurations.history.in_force().map_or(0, |one| one.id);
        match has_returned {
            Some(why) => {
                self.end_trial().await;
                self.tell_reverted(id, why);
                drop(self.order_trial(TrialOrder::Returned));
            }
            None if is_held => {
                let reason = self.held_in_words().unwrap_or_default();
                self.event(Level::Warn, "config_held", "config", &reason);
            }
            None => self.tell_unconfirmed(),
        }
        if let Some(failure) = failure {
            self.tell_stuck(&failure);
        } else if was_held && is_file && !is_held {
            let reason = "the file has changed since it was set aside; it is in force again";
            self.event(Level::Info, "config_hold_ended", "config", reason);
        }
    }

    /// Tells whoever reads events of this worker that something is to be confirmed.
    fn tell_unconfirmed(&mut self) {
        if let Some(trial) = self.trial() {
            let reason = words::on_trial(&trial);
            self.event(Level::Warn, "config_unconfirmed", "config", &reason);
        }
    }

    fn tell_reverted(&mut self, id: u64, why: Why) {
        let reason = format!("configuration #{id} is in force again: {why}");
        self.event(Level::Error, "config_reverted", "config", &reason);
    }

    /// Says once that there is no way back.
    fn tell_stuck(&mut self, failure: &str) {
        if self.configurations.return_failure.as_deref() != Some(failure) {
            self.configurations.return_failure = Some(failure.to_owned());
            let reason =
                format!("the configuration before cannot come back, this one stays: {failure}");
            self.event(Level::Error, "config_revert_failed", "config", &reason);
        }
    }

    /// Says something of the trial to the keeper.
    fn order_trial(&mut self, order: TrialOrder) -> Result<(), String> {
        if self.keeper_is_gone() {
            return Err("the keeper is gone".to_owned());
        }
        let answer = self.link.order_trial(order);
        answer.map_err(|error| format!("the keeper does not answer: {error}"))?
    }

    /// Whether the operator may turn things through this worker.
    fn may_turn(&self) -> Result<(), ChangeRefusal> {
        if self.role.is_primary() { Ok(()) } else { Err(conflict(REPLACED, "nothing was changed")) }
    }
}

/// What the keeper is told of a trial.
fn begin(clock: &Journaled, within: Duration) -> TrialOrder {
    let within_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
    TrialOrder::Begin { number: clock.number, within_ms }
}

fn conflict(message: &str, help: &str) -> ChangeRefusal {
    refusal(ChangeFault::Conflict, message.to_owned(), help)
}

fn refusal(fault: ChangeFault, message: String, help: &str) -> ChangeRefusal {
    ChangeRefusal { fault, message, path: String::new(), help: help.to_owned() }
}
