//! Routes and servers beside the file: put, taken away, listed, and forgotten.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use evergate_control::command::{ChangeFault, ChangeOrder, ChangeRefusal, Command};
use serde::Deserialize;
use serde_json::json;

use crate::api::{Parameters, read, unknown_parameter};
use crate::change::{BodyBytes, Names, bytes, parse, path};
use crate::desk::Desk;
use crate::problem::{Problem, json_response};

/// Body of `POST /api/v1/changes/drop`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Drop {
    names: Vec<String>,
    #[serde(default)]
    dry_run: bool,
}

pub(crate) async fn list(State(desk): State<Arc<Desk>>) -> Result<Response, Problem> {
    let changes = desk.ask(|reply| Command::Changes { reply }).await?;
    Ok(json_response(StatusCode::OK, &changes))
}

/// Forgets all of the named changes, or none.
pub(crate) async fn drop(
    State(desk): State<Arc<Desk>>,
    body: BodyBytes,
) -> Result<Response, Problem> {
    let Drop { names, dry_run } = parse(&bytes(body)?, "{\"names\": [\"route.api\"]}")?;
    if names.is_empty() {
        return Err(Problem::bad_request("nothing to drop").help("name changes in `names`"));
    }
    order(&desk, ChangeOrder::Drop { subjects: names }, dry_run).await
}

pub(crate) async fn put_route(
    State(desk): State<Arc<Desk>>,
    names: Names<String>,
    parameters: Parameters,
    body: BodyBytes,
) -> Result<Response, Problem> {
    let subject = format!("route.{}", path(names)?);
    put(&desk, subject, dry_run(parameters)?, body).await
}

pub(crate) async fn delete_route(
    State(desk): State<Arc<Desk>>,
    names: Names<String>,
    parameters: Parameters,
) -> Result<Response, Problem> {
    let subject = format!("route.{}", path(names)?);
    order(&desk, ChangeOrder::Delete { subject }, dry_run(parameters)?).await
}

pub(crate) async fn put_server(
    State(desk): State<Arc<Desk>>,
    names: Names<(String, String)>,
    parameters: Parameters,
    body: BodyBytes,
) -> Result<Response, Problem> {
    put(&desk, server(names)?, dry_run(parameters)?, body).await
}

pub(crate) async fn delete_server(
    State(desk): State<Arc<Desk>>,
    names: Names<(String, String)>,
    parameters: Parameters,
) -> Result<Response, Problem> {
    let subject = server(names)?;
    order(&desk, ChangeOrder::Delete { subject }, dry_run(parameters)?).await
}

fn server(names: Names<(String, String)>) -> Result<String, Problem> {
    let (pool, server) = path(names)?;
    Ok(format!("pool.{pool}/{server}"))
}

/// `?dry_run=true`
fn dry_run(parameters: Parameters) -> Result<bool, Problem> {
    let mut dry_run = false;
    for (name, value) in read(parameters)? {
        dry_run = match (name.as_str(), value.as_str()) {
            ("dry_run", "true") => true,
            ("dry_run", "false") => false,
            ("dry_run", _) => {
                let message = format!("neither `true` nor `false`: {value}");
                return Err(Problem::bad_request(message).at("dry_run"));
            }
            _ => return Err(unknown_parameter(&name, "dry_run")),
        };
    }
    Ok(dry_run)
}

async fn put(
    desk: &Desk,
    subject: String,
    dry_run: bool,
    body: BodyBytes,
) -> Result<Response, Problem> {
    let body = String::from_utf8(bytes(body)?.to_vec())
        .map_err(|_| Problem::bad_request("the body is not UTF-8"))?;
    order(desk, ChangeOrder::Put { subject, body }, dry_run).await
}

async fn order(desk: &Desk, order: ChangeOrder, dry_run: bool) -> Result<Response, Problem> {
    match desk.ask(|reply| Command::Change { order, dry_run, reply }).await? {
        Ok(change) => {
            Ok(json_response(StatusCode::OK, &json!({ "applied": !dry_run, "change": change })))
        }
        Err(refusal) => Err(problem(refusal)),
    }
}

pub(crate) fn problem(refusal: ChangeRefusal) -> Problem {
    let ChangeRefusal { fault, message, path, help } = refusal;
    let (status, code) = match fault {
        ChangeFault::Invalid => (StatusCode::UNPROCESSABLE_ENTITY, "change_invalid"),
        ChangeFault::NotFound => (StatusCode::NOT_FOUND, "not_found"),
        ChangeFault::Conflict => (StatusCode::CONFLICT, "conflict"),
        ChangeFault::NotKept => (StatusCode::INSUFFICIENT_STORAGE, "not_kept"),
    };
    let problem = Problem::new(status, code, message).help(help);
    if path.is_empty() { problem } else { problem.at(path) }
}
