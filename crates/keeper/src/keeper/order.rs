//! An order to replace worker and keeper: whether it can be followed now, and what that would be.

use std::path::PathBuf;
use std::time::Duration;

use evergate_control::link::{ToWorker, UpgradeOrder, UpgradeParts};
use evergate_core::time::{Instant, Spoken};
use evergate_core::upgrade::{DRAINING_MAX, Parts, Policy};
use evergate_sys::clock;
use evergate_sys::image::Image;

use super::{Keeper, Stopping};
use crate::binary::Binary;
use crate::report;
use crate::workers::Standing;

/// Longest time that a new worker is watched.
const SOAK_MAX: Duration = Duration::from_secs(24 * 60 * 60);

impl Keeper {
    /// Begins an upgrade and says what will be done, a line for each step; or why nothing will.
    pub(super) fn upgrade(
        &mut self,
        now: Instant,
        order: UpgradeOrder,
    ) -> Result<Vec<String>, String> {
        if self.stopping != Stopping::No {
            return Err("the node is stopping".to_owned());
        }
        if let Some(upgrade) = &self.upgrades.under_way {
            return Err(upgrade.describe());
        }
        let policy = self.policy_of(&order)?;
        let old = self.workers.serving().ok_or("no worker serves at the moment; try again")?;
        let path = order.binary.map_or_else(|| self.options.program.clone(), PathBuf::from);
        let binary = Binary::open_trusted(&path)?;
        let parts = parts(order.parts, &binary)?;
        if parts.worker {
            self.make_room(now, order.force)?;
        }
        let plan = plan(&policy, parts, &binary);
        self.upgrades.begin((policy, parts), binary, old, now, clock::unix_millis());
        self.follow_upgrade(now);
        Ok(plan)
    }

    /// The same, for who cannot be answered: the operator sees why nothing is done.
    pub(super) fn upgrade_by_signal(&mut self, now: Instant) {
        if let Err(why) = self.upgrade(now, UpgradeOrder::default()) {
            report(format_args!("no upgrade begins: {why}"));
        }
    }

    fn policy_of(&self, order: &UpgradeOrder) -> Result<Policy, String> {
        let mut policy = self.options.upgrade_policy;
        if let Some(soak_ms) = order.soak_ms {
            policy.soak = Duration::from_millis(u64::from(soak_ms));
        }
        if policy.soak > SOAK_MAX {
            return Err(format!("a new worker is watched for {} at most", Spoken(SOAK_MAX)));
        }
        Ok(policy)
    }

    /// Makes sure that not too many workers finish what they began, or cuts the oldest.
    fn make_room(&mut self, now: Instant, force: bool) -> Result<(), String> {
        let leaving: Vec<u32> = self.workers.with(Standing::Leaving).collect();
        if leaving.len() < DRAINING_MAX {
            return Ok(());
        }
        if !force {
            return Err(format!(
                "{} workers of earlier upgrades still finish what they began; wait until one is \
                 done, or force it, which cuts the oldest",
                leaving.len()
            ));
        }
        let surplus = leaving.len() + 1 - DRAINING_MAX;
        for generation in leaving.into_iter().take(surplus) {
            let limit = now + self.options.worker_policy.margin;
            self.send(generation, &ToWorker::Stop { grace_ms: 0 }, vec![]);
            self.workers.limit(generation, limit);
        }
        Ok(())
    }
}

fn parts(parts: UpgradeParts, binary: &Binary) -> Result<Parts, String> {
    let own = || Image::own().map_err(|error| format!("cannot open the running binary: {error}"));
    Ok(match parts {
        UpgradeParts::Changed => {
            Parts { worker: true, keeper: binary.identity() != own()?.identity() }
        }
        UpgradeParts::Worker => Parts { worker: true, keeper: false },
        UpgradeParts::Keeper => Parts { worker: false, keeper: true },
    })
}

fn plan(policy: &Policy, parts: Parts, binary: &Binary) -> Vec<String> {
    let path = binary.path().display();
    let mut plan = vec![format!("check {path}")];
    if parts.worker {
        plan.push("start a new worker beside the old one, and send a request through it".into());
        plan.push("hand over to it; the old one finishes what it began".into());
        plan.push(format!("watch it for {}, ready to go back", Spoken(policy.soak)));
    }
    if parts.keeper {
        plan.push(format!("the keeper becomes {path}, and apps keep running"));
    }
    plan
}
