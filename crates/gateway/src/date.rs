//! The `Date` field, formatted once a second.

use std::cell::RefCell;

pub(crate) use evergate_core::files::DATE_BYTES;
use evergate_core::files::imf_fixdate;
use evergate_sys::clock;

/// The date of the last second that anybody asked in.
#[derive(Debug, Default)]
pub(crate) struct DateCache {
    latest: RefCell<(u64, [u8; DATE_BYTES])>,
}

impl DateCache {
    /// Now, as an IMF-fixdate.
    pub(crate) fn now(&self) -> [u8; DATE_BYTES] {
        let seconds = clock::unix_seconds();
        let mut latest = self.latest.borrow_mut();
        if latest.0 != seconds {
            *latest = (seconds, imf_fixdate(seconds));
        }
        latest.1
    }
}
