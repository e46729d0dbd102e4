//! Whether a server may get requests, and why.

use core::time::Duration;

/// When active checks change a server's state.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CheckPolicy {
    /// Time between two checks of one server.
    pub every: Duration,
    /// After this a check counts as failed.
    pub timeout: Duration,
    /// Failures in a row that take the server down.
    pub fall: u32,
    /// Successes in a row that bring it back.
    pub rise: u32,
}

/// When failed requests eject a server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct OutlierPolicy {
    /// Failures in a row that eject.
    pub consecutive: u32,
    /// How long the first ejection lasts; the n-th in a row lasts n times as long.
    pub eject: Duration,
    /// Share of the pool that may be ejected, in percent; one server always may.
    pub ejected_percent_max: u8,
}
