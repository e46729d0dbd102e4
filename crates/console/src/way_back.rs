//! Configurations that were applied before: listed, put in force again, and the one on trial confirmed.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use evergate_control::command::Command;
use serde::Deserialize;
use serde_json::json;

use crate::change::{BodyBytes, bytes, parse};
use crate::changes::problem;
use crate::desk::Desk;
use crate::problem::{Problem, json_response};

/// Body of `POST /api/v1/rollback`; none is like `{}`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Rollback {
    to: Option<u64>,
    dry_run: bool,
}

pub(crate) async fn list(State(desk): State<Arc<Desk>>) -> Result<Response, Problem> {
    let history = desk.ask(|reply| Command::History { reply }).await?;
    Ok(json_response(StatusCode::OK, &history))
}

pub(crate) async fn rollback(
    State(desk): State<Arc<Desk>>,
    body: BodyBytes,
) -> Result<Response, Problem> {
    let body = bytes(body)?;
    let Rollback { to, dry_run } =
        if body.is_empty() { Rollback::default() } else { parse(&body, "{\"to\": 3}")? };
    let answer = desk.ask(|reply| Command::Rollback { to, dry_run, reply }).await?;
    let change = answer.map_err(problem)?;
    Ok(json_response(StatusCode::OK, &json!({ "applied": !dry_run, "change": change })))
}

pub(crate) async fn confirm(State(desk): State<Arc<Desk>>) -> Result<Response, Problem> {
    let answer = desk.ask(|reply| Command::Confirm { reply }).await?;
    let kept = answer.map_err(problem)?;
    Ok(json_response(StatusCode::OK, &json!({ "confirmed": kept })))
}
