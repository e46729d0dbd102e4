//! Arguments and variables as the kernel wants them: an array of pointers to strings.

use std::ffi::{CString, c_char};
use std::ptr;

/// Strings that end with NUL, and the array of pointers to them that a null pointer ends.
///
/// The pointers are into the strings beside them, which stay where they are when this moves.
pub(crate) struct Strings {
    _strings: Vec<CString>,
    pointers: Vec<*const c_char>,
}

impl Strings {
    pub(crate) fn new(strings: Vec<CString>) -> Self {
        let mut pointers: Vec<_> = strings.iter().map(|string| string.as_ptr()).collect();
        pointers.push(ptr::null());
        Self { _strings: strings, pointers }
    }

    /// Puts a string that somebody else holds before all others.
    pub(crate) fn insert_first(&mut self, string: *const c_char) {
        self.pointers.insert(0, string);
    }

    /// Has the first pointer point elsewhere, if there is one. Allocates nothing.
    pub(crate) fn replace_first(&mut self, string: *const c_char) {
        if let Some(first) = self.pointers.first_mut() {
            *first = string;
        }
    }

    /// Puts a string that somebody else holds after all others.
    pub(crate) fn push(&mut self, string: *const c_char) {
        self.pointers.insert(self.pointers.len() - 1, string);
    }

    /// The array.
    pub(crate) fn as_ptr(&self) -> *const *const c_char {
        self.pointers.as_ptr()
    }
}
