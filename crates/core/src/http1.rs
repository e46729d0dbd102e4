//! Strict HTTP/1.1 framing: what is a legal head, and where a body ends.
