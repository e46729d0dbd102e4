//! The end-to-end tests, in one binary: the node under test is built once, and tests run beside
//! each other.

#[path = "e2e/relay.rs"]
mod relay;

#[path = "e2e/load.rs"]
mod load;

#[path = "e2e/processes.rs"]
mod processes;

#[path = "e2e/reloads.rs"]
mod reloads;

#[path = "e2e/starts.rs"]
mod starts;

#[path = "e2e/traffic.rs"]
mod traffic;
