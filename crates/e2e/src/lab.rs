//! The failover lab: a client and two or three nodes on one bridge, each in a network namespace of
//! its own, with a probe that sees every request and faults to order.
//!
//! What keepalived does here is what Evergate is compared with: same machine, same minute, same
//! probe. The lab needs root and the programs of [`missing`]; it touches nothing outside its own
//! namespaces, and whatever it started ends with it.

pub mod app;
pub mod capture;
pub mod evergate;
pub mod fault;
pub mod frr;
pub mod keepalived;
pub mod lasting;
pub mod network;
pub mod nginx;
pub mod plot;
pub mod probe;
pub mod process;
pub mod product;
pub mod replay;
pub mod report;
pub mod run;
pub mod scenario;
pub mod stage;
pub mod trace;

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

pub use network::{Network, Place};
pub use product::{Contender, Product};
pub use run::{Figures, Plan};
pub use scenario::Scenario;
pub use stage::Stage;
pub use trace::Trace;

/// The virtual address.
pub const VIP: &str = "10.77.0.100";
/// The one of IPv6, where there is one.
pub const VIP_V6: &str = "fd77::100";
/// The link-local one, which comes first in adverts of IPv6.
pub const VIP_LOCAL: &str = "fe80::100";
/// Its VRID.
pub const VRID: u8 = 51;
/// How often it is looked whether something is so, that nobody tells.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A time on `CLOCK_MONOTONIC` in nanoseconds: the same for every process of this machine.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Moment(pub u64);

impl Moment {
    /// This one.
    pub fn now() -> Self {
        let time = clock_gettime(ClockId::Monotonic);
        Self(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
    }

    /// How long ago this one was.
    pub fn elapsed(self) -> Duration {
        Self::now().since(self)
    }

    /// How long ago `earlier` was; nothing if it was not.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Lets time pass: for faults that last, and for phases that are left to chance.
pub fn pause(how_long: Duration) {
    let started = Moment::now();
    while let Some(left) = how_long.checked_sub(Moment::now().since(started))
        && !left.is_zero()
    {
        std::thread::park_timeout(left);
    }
}

/// Waits until `ready` holds, at most `patience`; says whether it came to that.
pub fn wait_within(patience: Duration, mut ready: impl FnMut() -> bool) -> bool {
    let started = Moment::now();
    while !ready() {
        if Moment::now().since(started) > patience {
            return false;
        }
        pause(LOOK_EVERY);
    }
    true
}

/// Why there can be no lab here, if so.
pub fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("namespaces need root".to_owned());
    }
    let programs = ["ip", "nft", "nginx", "keepalived", "chrt"];
    let lacks = programs.iter().find(|name| process::program(name).is_none())?;
    Some(format!("there is no {lacks} here"))
}
