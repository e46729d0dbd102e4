//! What can be changed.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use evergate_control::command::{Adjustment, Command};
use evergate_control::snapshot::{ServerStatus, Status};
use serde::Deserialize;
use serde_json::json;

use crate::desk::Desk;
use crate::problem::{Problem, json_response};
use crate::router::BODY_BYTES_MAX;

pub(crate) type BodyBytes = Result<Bytes, BytesRejection>;
pub(crate) type Names<T> = Result<Path<T>, PathRejection>;

/// Body of `POST /api/v1/reload`; none is like `{}`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Reload {
    dry_run: bool,
    /// Within that time it must be confirmed, or the one before comes back.
    confirm_seconds: Option<u64>,
}

/// Body of `PATCH /api/v1/pools/{pool}/servers/{server}`; at least one field.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ServerChange {
    weight: Option<u16>,
    state: Option<Wish>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Wish {
    Drain,
    Ready,
}

pub(crate) async fn reload(
    State(desk): State<Arc<Desk>>,
    body: BodyBytes,
) -> Result<Response, Problem> {
    let body = bytes(body)?;
    let Reload { dry_run, confirm_seconds } =
        if body.is_empty() { Reload::default() } else { parse(&body, "{\"dry_run\": true}")? };
    let confirm_within = confirm_seconds.map(Duration::from_secs);
    match desk.ask(|reply| Command::Reload { dry_run, confirm_within, reply }).await? {
        Ok(change) => {
            Ok(json_response(StatusCode::OK, &json!({ "applied": !dry_run, "change": change })))
        }
        Err(message) => {
            Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "config_invalid", message)
                .help("nothing was changed; mend the file and reload again"))
        }
    }
}

pub(crate) async fn server(
    State(desk): State<Arc<Desk>>,
    names: Names<(String, String)>,
    body: BodyBytes,
) -> Result<Response, Problem> {
    let (pool, server) = path(names)?;
    let change: ServerChange = parse(&bytes(body)?, "{\"weight\": 2, \"state\": \"drain\"}")?;
    let weight = change.weight.map(Adjustment::Weight);
    let state = change.state.map(|wish| match wish {
        Wish::Drain => Adjustment::Drain,
        Wish::Ready => Adjustment::Undrain,
    });
    if weight.is_none() && state.is_none() {
        return Err(Problem::bad_request("nothing to change").help("give `weight` or `state`"));
    }
    find(&desk.status().await?, &pool, &server)?;
    for adjustment in [weight, state].into_iter().flatten() {
        let (pool, server) = (pool.clone(), server.clone());
        let answer = desk.ask(|reply| Command::Adjust { pool, server, adjustment, reply }).await?;
        answer.map_err(conflict)?;
    }
    let status = desk.status().await?;
    Ok(json_response(StatusCode::OK, find(&status, &pool, &server)?))
}

fn find<'a>(status: &'a Status, pool: &str, server: &str) -> Result<&'a ServerStatus, Problem> {
    let Some(found) = status.pools.iter().find(|known| known.name == pool) else {
        let names: Vec<&str> = status.pools.iter().map(|pool| pool.name.as_str()).collect();
        return Err(Problem::not_found(format!("there is no pool `{pool}`"))
            .help(format!("there is: {}", names.join(", "))));
    };
    found.servers.iter().find(|known| known.name == server).ok_or_else(|| {
        let names: Vec<&str> = found.servers.iter().map(|server| server.name.as_str()).collect();
        Problem::not_found(format!("pool `{pool}` has no server `{server}`"))
            .help(format!("it has: {}", names.join(", ")))
    })
}

pub(crate) fn bytes(body: BodyBytes) -> Result<Bytes, Problem> {
    body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_large",
            format!("the body is over {BODY_BYTES_MAX} bytes"),
        ),
        _ => Problem::bad_request("the body could not be read"),
    })
}

pub(crate) fn parse<'a, T: Deserialize<'a>>(body: &'a [u8], example: &str) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| {
        Problem::bad_request(format!("the body is not understood: {error}"))
            .help(format!("send JSON like {example}"))
    })
}

pub(crate) fn path<T>(names: Names<T>) -> Result<T, Problem> {
    names.map(|Path(names)| names).map_err(|error| Problem::bad_request(error.body_text()))
}

pub(crate) fn conflict(message: String) -> Problem {
    Problem::new(StatusCode::CONFLICT, "conflict", message)
}
