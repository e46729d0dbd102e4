//! The end-to-end tests, in one binary: the node under test is built once, and tests run beside
//! each other.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

#[path = "e2e/access_log.rs"]
mod access_log;
#[path = "e2e/acme.rs"]
mod acme;
#[path = "e2e/app_commands.rs"]
mod app_commands;
#[path = "e2e/app_keys.rs"]
mod app_keys;
#[path = "e2e/apps.rs"]
mod apps;
#[path = "e2e/balance.rs"]
mod balance;
#[path = "e2e/bodies.rs"]
mod bodies;
#[path = "e2e/carried.rs"]
mod carried;
#[path = "e2e/changes.rs"]
mod changes;
#[path = "e2e/clients.rs"]
mod clients;
#[path = "e2e/examples.rs"]
mod examples;
#[path = "e2e/files.rs"]
mod files;
#[path = "e2e/filters.rs"]
mod filters;
#[path = "e2e/forwarding.rs"]
mod forwarding;
#[path = "e2e/framing.rs"]
mod framing;
#[path = "e2e/grpc.rs"]
mod grpc;
#[path = "e2e/http2.rs"]
mod http2;
#[path = "e2e/interim.rs"]
mod interim;
#[path = "e2e/join.rs"]
mod join;
#[path = "e2e/limits.rs"]
mod limits;
#[path = "e2e/load.rs"]
mod load;
#[path = "e2e/output.rs"]
mod output;
#[path = "e2e/outside.rs"]
mod outside;
#[path = "e2e/policy.rs"]
mod policy;
#[path = "e2e/processes.rs"]
mod processes;
#[path = "e2e/proxy_protocol.rs"]
mod proxy_protocol;
#[path = "e2e/reloads.rs"]
mod reloads;
#[path = "e2e/retries.rs"]
mod retries;
#[path = "e2e/routing.rs"]
mod routing;
#[path = "e2e/scene.rs"]
mod scene;
#[path = "e2e/slow.rs"]
mod slow;
#[path = "e2e/standby.rs"]
mod standby;
#[path = "e2e/starts.rs"]
mod starts;
#[path = "e2e/target.rs"]
mod target;
#[path = "e2e/testssl.rs"]
mod testssl;
#[path = "e2e/tls.rs"]
mod tls;
#[path = "e2e/traffic.rs"]
mod traffic;
#[path = "e2e/upgrades.rs"]
mod upgrades;
#[path = "e2e/upstream.rs"]
mod upstream;
#[path = "e2e/upstream_tls.rs"]
mod upstream_tls;
#[path = "e2e/way_back.rs"]
mod way_back;
