//! The three questions of machines: alive, ready, healthy.

use std::fmt::Write;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use evergate_control::snapshot::{Health, Status};

use crate::api::{Parameters, read};
use crate::desk::Desk;
use crate::problem::{Problem, json_response, text_response};
use crate::words;

const TEXT: &str = "text/plain; charset=utf-8";

/// 200 as long as the process can answer at all; it asks nobody.
pub(crate) async fn livez() -> Response {
    text_response(StatusCode::OK, TEXT, "ok\n")
}

/// 200 when requests would be served, else 503; `?verbose` lists every part.
pub(crate) async fn readyz(
    State(desk): State<Arc<Desk>>,
    parameters: Parameters,
) -> Result<Response, Problem> {
    let verbose = read(parameters)?.iter().any(|(name, _)| name == "verbose");
    let status = desk.status().await?;
    let ready = status.health != Health::Down;
    let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut text = if verbose { parts(&status) } else { String::new() };
    text.push_str(if ready { "ready\n" } else { "not ready\n" });
    Ok(text_response(code, TEXT, text))
}

/// The state of the node; 503 when it is down.
pub(crate) async fn healthz(State(desk): State<Arc<Desk>>) -> Result<Response, Problem> {
    let status = desk.status().await?;
    let code = match status.health {
        Health::Healthy | Health::Degraded => StatusCode::OK,
        Health::Down => StatusCode::SERVICE_UNAVAILABLE,
    };
    Ok(json_response(code, &status))
}

/// A line each: `[+]` works, `[!]` is wrong but requests are served, `[-]` does not work.
fn parts(status: &Status) -> String {
    let mut text = String::new();
    let mut line = |mark: &str, name: &str, words: &str| {
        writeln!(text, "[{mark}] {name}: {words}").expect("a string takes every byte");
    };
    match &status.config.failed_reload {
        None => line("+", "config", &words::in_force(&status.config)),
        Some(why) => {
            let why = why.replace('\n', "\n    ");
            line("!", "config", &format!("the last reload failed, the one before holds: {why}"));
        }
    }
    if let Some(trial) = &status.config.trial {
        line("!", "config", &words::on_trial(trial));
    }
    match (&status.config.changes_refused, status.config.changes) {
        (Some(why), _) => {
            line("!", "changes", &format!("not in force: {}", why.replace('\n', "\n    ")));
        }
        (None, 0) => {}
        (None, changes) => line("+", "changes", &format!("{changes} beside the file")),
    }
    for listener in &status.listeners {
        let mark = if listener.addresses.is_empty() { "-" } else { "+" };
        line(mark, &format!("listener.{}", listener.name), &listener.addresses.join(", "));
    }
    for pool in &status.pools {
        let up = pool.servers.iter().filter(|server| server.state == "up").count();
        let mark = match pool.health {
            Health::Healthy => "+",
            Health::Degraded => "!",
            Health::Down => "-",
        };
        let words = format!("{up} of {} servers up", pool.servers.len());
        line(mark, &format!("pool.{}", pool.name), &words);
    }
    for reason in &status.reasons {
        line("!", "node", reason);
    }
    text
}
