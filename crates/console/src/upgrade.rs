//! Replacing worker and keeper, and how that goes.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use evergate_control::command::Command;
use evergate_control::link::{UpgradeOrder, UpgradeParts};
use evergate_control::snapshot::Status;
use serde::Deserialize;
use serde_json::json;

use crate::change::{BodyBytes, bytes, conflict, parse};
use crate::desk::Desk;
use crate::problem::{Problem, json_response};

/// What an order looks like.
const EXAMPLE: &str = "{\"binary\": \"/usr/bin/evergate\", \"soak_ms\": 30000}";

/// Body of `POST /api/v1/upgrade`; none is like `{}`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Order {
    /// Where the keeper was started from if none.
    binary: Option<String>,
    parts: Parts,
    soak_ms: Option<u32>,
    force: bool,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Parts {
    #[default]
    Changed,
    Worker,
    Keeper,
}

pub(crate) async fn begin(
    State(desk): State<Arc<Desk>>,
    body: BodyBytes,
) -> Result<Response, Problem> {
    let body = bytes(body)?;
    let Order { binary, parts, soak_ms, force } =
        if body.is_empty() { Order::default() } else { parse(&body, EXAMPLE)? };
    if binary.as_ref().is_some_and(|path| !path.starts_with('/')) {
        return Err(Problem::bad_request("`binary` is not an absolute path")
            .at("binary")
            .help("the node does not know the directory that you are in"));
    }
    let parts = match parts {
        Parts::Changed => UpgradeParts::Changed,
        Parts::Worker => UpgradeParts::Worker,
        Parts::Keeper => UpgradeParts::Keeper,
    };
    let order = UpgradeOrder { binary, parts, soak_ms, force };
    let plan = desk.ask(|reply| Command::Upgrade { order, reply }).await?.map_err(conflict)?;
    Ok(json_response(StatusCode::OK, &json!({ "plan": plan })))
}

/// The same parts, in the same form, as in the state of the node.
pub(crate) async fn show(State(desk): State<Arc<Desk>>) -> Result<Response, Problem> {
    let Status { upgrade, workers, keeper_pid, keeper_version, keeper_execs, .. } =
        desk.status().await?;
    let answer = json!({
        "upgrade": upgrade,
        "workers": workers,
        "keeper_pid": keeper_pid,
        "keeper_version": keeper_version,
        "keeper_execs": keeper_execs,
    });
    Ok(json_response(StatusCode::OK, &answer))
}
