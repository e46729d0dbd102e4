//! Virtual addresses: how they are, and moving them.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use evergate_control::command::Command;
use evergate_control::snapshot::Status;
use evergate_core::standby::Order;
use serde::Deserialize;
use serde_json::json;

use crate::change::{BodyBytes, bytes, conflict, parse};
use crate::desk::Desk;
use crate::problem::{Problem, json_response};

/// Body of `POST /api/v1/failover`; none is like `{}`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Failover {
    /// Every address that this node has if none.
    vip: Option<String>,
}

/// Body of `POST /api/v1/maintenance`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Maintenance {
    on: bool,
}

/// The same parts, in the same form, as in the state of the node.
pub(crate) async fn show(State(desk): State<Arc<Desk>>) -> Result<Response, Problem> {
    let Status { vips, peers, is_in_maintenance, vip_problems, timer_lateness_us, .. } =
        desk.status().await?;
    let answer = json!({
        "vips": vips,
        "peers": peers,
        "is_in_maintenance": is_in_maintenance,
        "vip_problems": vip_problems,
        "timer_lateness_us": timer_lateness_us,
    });
    Ok(json_response(StatusCode::OK, &answer))
}

pub(crate) async fn failover(
    State(desk): State<Arc<Desk>>,
    body: BodyBytes,
) -> Result<Response, Problem> {
    let body = bytes(body)?;
    let Failover { vip } =
        if body.is_empty() { Failover::default() } else { parse(&body, "{\"vip\": \"web\"}")? };
    order(&desk, Order::Failover { vip }).await
}

pub(crate) async fn maintenance(
    State(desk): State<Arc<Desk>>,
    body: BodyBytes,
) -> Result<Response, Problem> {
    let Maintenance { on } = parse(&bytes(body)?, "{\"on\": true}")?;
    order(&desk, Order::Maintenance { is_on: on }).await
}

async fn order(desk: &Desk, order: Order) -> Result<Response, Problem> {
    let plan = desk.ask(|reply| Command::Standby { order, reply }).await?.map_err(conflict)?;
    Ok(json_response(StatusCode::OK, &json!({ "plan": plan })))
}
