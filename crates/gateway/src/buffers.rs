//! Byte buffers of one data-plane thread, lent to whoever moves bytes right now.
//!
//! An idle connection holds none. Buffers come back empty; large or surplus ones are freed, so that
//! a burst does not keep its memory.

use std::cell::RefCell;

use evergate_core::head::{RequestHead, ResponseHead};

/// Capacity of a fresh buffer.
const BUFFER_BYTES: usize = 4 * 1024;
/// A buffer that grew past this is freed when it comes back.
const BUFFER_BYTES_KEPT_MAX: usize = 80 * 1024;
/// Spare buffers kept.
const BUFFERS_KEPT_MAX: usize = 32;
/// Spare heads kept.
const HEADS_KEPT_MAX: usize = 256;
/// Bytes of the buffer that sockets are read into.
pub(crate) const SCRATCH_BYTES: usize = 64 * 1024;

/// The spare buffers of one thread.
#[derive(Debug)]
pub(crate) struct Buffers {
    spare: RefCell<Vec<Vec<u8>>>,
    requests: RefCell<Vec<RequestHead>>,
    responses: RefCell<Vec<ResponseHead>>,
    scratch: RefCell<Box<[u8]>>,
}

impl Buffers {
    /// No spare buffers yet.
    pub(crate) fn new() -> Self {
        Self {
            spare: RefCell::default(),
            requests: RefCell::default(),
            responses: RefCell::default(),
            scratch: RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice()),
        }
    }

    /// An empty buffer.
    pub(crate) fn take(&self) -> Vec<u8> {
        let spare = self.spare.borrow_mut().pop();
        spare.unwrap_or_else(|| Vec::with_capacity(BUFFER_BYTES))
    }

    /// Takes a buffer back.
    pub(crate) fn give(&self, mut buffer: Vec<u8>) {
        let mut spare = self.spare.borrow_mut();
        let capacity = buffer.capacity();
        if capacity > 0 && capacity <= BUFFER_BYTES_KEPT_MAX && spare.len() < BUFFERS_KEPT_MAX {
            buffer.clear();
            spare.push(buffer);
        }
    }

    /// An empty request head.
    pub(crate) fn take_request(&self) -> RequestHead {
        self.requests.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes a request head back.
    pub(crate) fn give_request(&self, mut head: RequestHead) {
        let mut requests = self.requests.borrow_mut();
        if requests.len() < HEADS_KEPT_MAX {
            // A head that is refused halfway must not show parts of the one before.
            head.fields.clear();
            (head.method_at, head.target_at, head.authority_at) = (0..0, 0..0, 0..0);
            requests.push(head);
        }
    }

    /// An empty response head.
    pub(crate) fn take_response(&self) -> ResponseHead {
        self.responses.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes a response head back.
    pub(crate) fn give_response(&self, head: ResponseHead) {
        let mut responses = self.responses.borrow_mut();
        if responses.len() < HEADS_KEPT_MAX {
            responses.push(head);
        }
    }

    /// Lends the read buffer for one call that does not wait.
    pub(crate) fn with_scratch<T>(&self, use_it: impl FnOnce(&mut [u8]) -> T) -> T {
        use_it(&mut self.scratch.borrow_mut())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_back_empty_and_surplus_is_freed() {
        let buffers = Buffers::new();
        let mut buffer = buffers.take();
        buffer.extend_from_slice(b"secret");
        buffers.give(buffer);
        assert!(buffers.take().is_empty());
        for _ in 0..BUFFERS_KEPT_MAX + 5 {
            buffers.give(Vec::with_capacity(16));
        }
        assert_eq!(buffers.spare.borrow().len(), BUFFERS_KEPT_MAX);
    }

    #[test]
    fn a_request_head_comes_back_empty() {
        let buffers = Buffers::new();
        let mut head = buffers.take_request();
        head.fields.reset(b"GET /secret HTTP/1.1\r\n");
        (head.method_at, head.target_at) = (0..3, 4..11);
        buffers.give_request(head);
        let head = buffers.take_request();
        assert_eq!((head.method_text(), head.target(), head.fields.len()), (&b""[..], &b""[..], 0));
    }

    #[test]
    fn a_buffer_that_grew_is_not_kept() {
        let buffers = Buffers::new();
        buffers.give(Vec::with_capacity(BUFFER_BYTES_KEPT_MAX + 1));
        assert!(buffers.spare.borrow().is_empty());
    }
}
