//! Upgrades on their way into the keeper's next image, which is the last step of one.

use std::rc::Rc;

use evergate_control::link::{UpgradeCounts, UpgradeNews};
use evergate_core::upgrade::Upgrade;
use minicbor::{Decode, Encode};

use super::{UnderWay, Upgrades};
use crate::binary::Binary;

/// Every upgrade.
#[derive(Clone, Debug, Decode, Default, Encode)]
pub(crate) struct Carried {
    /// That of which this is the last step, with its two workers.
    #[n(0)]
    under_way: Option<(Upgrade, u32, Option<u32>)>,
    #[n(1)]
    told: Option<UpgradeNews>,
    #[n(2)]
    ended: UpgradeCounts,
}

impl Upgrades {
    /// All that is known.
    pub(crate) fn carry(&self) -> Carried {
        let under_way = self.under_way.as_ref();
        Carried {
            under_way: under_way.map(|one| (one.machine.clone(), one.old, one.new)),
            told: self.told.clone(),
            ended: self.ended,
        }
    }

    /// What was carried; `binary` is that of the workers.
    pub(crate) fn resume(carried: Carried, binary: &Rc<Binary>) -> Self {
        let Carried { under_way, told, ended } = carried;
        let under_way = under_way.map(|(machine, old, new)| UnderWay {
            machine,
            binary: Rc::clone(binary),
            old,
            new,
            preflight: None,
            probe: None,
            is_stale: false,
        });
        Self { under_way, told, ended }
    }
}

#[cfg(test)]
impl Carried {
    /// One that is about to end, after others.
    pub(crate) fn sample() -> Self {
        use evergate_core::time::Instant;
        use evergate_core::upgrade::{Parts, Policy};

        let parts = Parts { worker: true, keeper: true };
        let mut machine = Upgrade::new(Policy::default(), parts, Instant::from_nanos(1_000));
        while machine.next_output().is_some() {}
        let told = UpgradeNews {
            number: 3,
            binary: "/usr/bin/evergate".to_owned(),
            version: Some("0.1.0".to_owned()),
            steps: vec![],
            outcome: None,
        };
        let ended = UpgradeCounts { done: 1, refused: 1, returned: 0, partial: 0 };
        Self { under_way: Some((machine, 7, Some(8))), told: Some(told), ended }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use evergate_core::time::Instant;
    use evergate_core::upgrade::{Input, Parts, Phase, Policy};

    use super::*;

    #[test]
    fn an_upgrade_goes_on_in_the_next_image() {
        let own = || Binary::open(Path::new("/proc/self/exe")).unwrap();
        let mut upgrades = Upgrades::default();
        let parts = Parts { worker: false, keeper: true };
        let now = Instant::EPOCH;
        upgrades.begin((Policy::default(), parts), own(), 7, now, 1_000);
        let upgrade = upgrades.under_way.as_mut().unwrap();
        while upgrade.machine.next_output().is_some() {}
        upgrade.machine.handle(now, Input::Checked(Ok(())));
        while upgrade.machine.next_output().is_some() {}
        let bytes = minicbor::to_vec(upgrades.carry()).unwrap();
        let carried: Carried = minicbor::decode(&bytes).unwrap();
        let next = Upgrades::resume(carried, &Rc::new(own()));
        assert_eq!(next.phase(), Some(Phase::Rehearsing));
        assert_eq!((next.news(), next.deadline()), (upgrades.news(), upgrades.deadline()));
        assert!(next.side(7).is_some());
    }
}
