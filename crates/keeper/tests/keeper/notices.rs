//! What may be upgraded to, and when.

pub(crate) const TESTS: &[crate::Test] = &[];
