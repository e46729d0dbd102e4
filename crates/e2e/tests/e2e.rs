//! The end-to-end tests, in one binary: the node under test is built once, and tests run beside
//! each other.

#[path = "e2e/relay.rs"]
mod relay;
