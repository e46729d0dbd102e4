//! The `Date` field, formatted once a second.

use std::cell::RefCell;

use bytes::Bytes;
pub(crate) use evergate_core::files::DATE_BYTES;
use evergate_core::files::imf_fixdate;
use evergate_sys::clock;
use http::HeaderValue;

/// The date of the last second that anybody asked in.
#[derive(Debug, Default)]
pub(crate) struct DateCache {
    latest: RefCell<(u64, [u8; DATE_BYTES])>,
    /// The same as `h2` wants it, of the second it was asked for.
    value: RefCell<Option<(u64, HeaderValue)>>,
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

    /// Now, as a value that is shared and not copied.
    pub(crate) fn value(&self) -> HeaderValue {
        let text = self.now();
        let seconds = self.latest.borrow().0;
        let mut value = self.value.borrow_mut();
        match &*value {
            Some((at, value)) if *at == seconds => value.clone(),
            Some(_) | None => {
                let bytes = Bytes::copy_from_slice(&text);
                let made = HeaderValue::from_maybe_shared(bytes).expect("a date is a value");
                *value = Some((seconds, made.clone()));
                made
            }
        }
    }
}
