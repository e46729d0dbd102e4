//! What can be read.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use evergate_control::command::{Command, Question};
use evergate_control::snapshot::Event;
use serde_json::json;

use crate::desk::Desk;
use crate::problem::{Problem, json_response, text_response};

/// Every parameter of a query in order; a name may come more than once.
pub(crate) type Parameters = Result<Query<Vec<(String, String)>>, QueryRejection>;

pub(crate) async fn status(State(desk): State<Arc<Desk>>) -> Result<Response, Problem> {
    Ok(json_response(StatusCode::OK, &desk.status().await?))
}

pub(crate) async fn routes(State(desk): State<Arc<Desk>>) -> Result<Response, Problem> {
    Ok(json_response(StatusCode::OK, &json!({ "routes": desk.status().await?.routes })))
}

pub(crate) async fn pools(State(desk): State<Arc<Desk>>) -> Result<Response, Problem> {
    Ok(json_response(StatusCode::OK, &json!({ "pools": desk.status().await?.pools })))
}

/// `?after=SEQUENCE` leaves out what the caller has seen.
pub(crate) async fn events(
    State(desk): State<Arc<Desk>>,
    parameters: Parameters,
) -> Result<Response, Problem> {
    let mut after = 0;
    for (name, value) in read(parameters)? {
        match name.as_str() {
            "after" => {
                after = value.parse().map_err(|_| {
                    Problem::bad_request(format!("not the number of an event: {value}")).at("after")
                })?;
            }
            _ => return Err(unknown_parameter(&name, "after")),
        }
    }
    let events: Vec<Event> =
        desk.events().await?.into_iter().filter(|event| event.sequence > after).collect();
    Ok(json_response(StatusCode::OK, &json!({ "events": events })))
}

pub(crate) async fn config(State(desk): State<Arc<Desk>>) -> Result<Response, Problem> {
    let text = desk.ask(|reply| Command::Config { reply }).await?;
    Ok(text_response(StatusCode::OK, "application/toml; charset=utf-8", text))
}

/// `?method=GET&url=http://host/path&header=name:value&client=ADDRESS`, `header` as often as wanted.
pub(crate) async fn explain(
    State(desk): State<Arc<Desk>>,
    parameters: Parameters,
) -> Result<Response, Problem> {
    let question = question(read(parameters)?)?;
    let answer = desk.ask(|reply| Command::Explain { question, reply }).await?;
    match answer {
        Ok(explanation) => Ok(json_response(StatusCode::OK, &explanation)),
        Err(message) => Err(Problem::bad_request(message).help(EXPLAIN_HELP)),
    }
}

pub(crate) async fn openapi() -> Response {
    text_response(StatusCode::OK, "application/json", include_str!("openapi.json"))
}

const EXPLAIN_HELP: &str =
    "ask like `?method=GET&url=http://host/path&header=name:value`, each value percent-encoded";

fn question(parameters: Vec<(String, String)>) -> Result<Question, Problem> {
    let mut question =
        Question { method: "GET".into(), url: String::new(), headers: Vec::new(), client: None };
    for (name, value) in parameters {
        match name.as_str() {
            "method" => question.method = value,
            "url" => question.url = value,
            "header" => {
                let Some((name, value)) = value.split_once(':') else {
                    let message = format!("a header needs a colon: {value}");
                    return Err(Problem::bad_request(message).at("header").help(EXPLAIN_HELP));
                };
                question.headers.push((name.trim().to_owned(), value.trim().to_owned()));
            }
            "client" => {
                question.client = Some(value.parse().map_err(|_| {
                    Problem::bad_request(format!("not an IP address: {value}")).at("client")
                })?);
            }
            _ => return Err(unknown_parameter(&name, "method, url, header, client")),
        }
    }
    if question.url.is_empty() {
        return Err(Problem::bad_request("which URL?").at("url").help(EXPLAIN_HELP));
    }
    Ok(question)
}

pub(crate) fn read(parameters: Parameters) -> Result<Vec<(String, String)>, Problem> {
    match parameters {
        Ok(Query(parameters)) => Ok(parameters),
        Err(rejection) => Err(Problem::bad_request(rejection.body_text())),
    }
}

pub(crate) fn unknown_parameter(name: &str, known: &str) -> Problem {
    Problem::bad_request(format!("unknown parameter `{name}`"))
        .at(name)
        .help(format!("known here: {known}"))
}
