//! Apps: what they do, and what the operator wants of them.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use evergate_control::command::Command;
use evergate_control::link::Verb;
use evergate_control::snapshot::Status;
use serde::Deserialize;
use serde_json::json;

use crate::api::{Parameters, read, unknown_parameter};
use crate::change::{BodyBytes, Names, bytes, conflict, parse, path};
use crate::desk::Desk;
use crate::problem::{Problem, json_response};

/// What a wish looks like.
const EXAMPLE: &str = "{\"instance\": 2, \"dry_run\": true}";

/// Body of `POST /api/v1/apps/{app}/{start,stop,restart,deploy,abort}`; none is like `{}`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Wish {
    /// All of them if none.
    instance: Option<u16>,
    dry_run: bool,
}

/// The same parts, in the same form, as in the state of the node.
pub(crate) async fn list(State(desk): State<Arc<Desk>>) -> Result<Response, Problem> {
    let Status { apps, deploys, app_limits, .. } = desk.status().await?;
    let answer = json!({ "apps": apps, "deploys": deploys, "app_limits": app_limits });
    Ok(json_response(StatusCode::OK, &answer))
}

pub(crate) async fn start(
    State(desk): State<Arc<Desk>>,
    names: Names<String>,
    body: BodyBytes,
) -> Result<Response, Problem> {
    carry_out(&desk, names, body, Verb::Start).await
}

pub(crate) async fn stop(
    State(desk): State<Arc<Desk>>,
    names: Names<String>,
    body: BodyBytes,
) -> Result<Response, Problem> {
    carry_out(&desk, names, body, Verb::Stop).await
}

pub(crate) async fn restart(
    State(desk): State<Arc<Desk>>,
    names: Names<String>,
    body: BodyBytes,
) -> Result<Response, Problem> {
    carry_out(&desk, names, body, Verb::Restart).await
}

pub(crate) async fn deploy(
    State(desk): State<Arc<Desk>>,
    names: Names<String>,
    body: BodyBytes,
) -> Result<Response, Problem> {
    carry_out(&desk, names, body, Verb::Deploy).await
}

pub(crate) async fn abort(
    State(desk): State<Arc<Desk>>,
    names: Names<String>,
    body: BodyBytes,
) -> Result<Response, Problem> {
    carry_out(&desk, names, body, Verb::Abort).await
}

/// `?instance=N`
pub(crate) async fn kill(
    State(desk): State<Arc<Desk>>,
    names: Names<String>,
    parameters: Parameters,
) -> Result<Response, Problem> {
    let app = path(names)?;
    let mut instance = None;
    for (name, value) in read(parameters)? {
        if name != "instance" {
            return Err(unknown_parameter(&name, "instance"));
        }
        instance = value.parse().ok();
    }
    let Some(instance) = instance else {
        return Err(Problem::bad_request("which instance?").at("instance").help("?instance=0"));
    };
    find(&desk.status().await?, &app, Some(instance))?;
    let answer = {
        let app = app.clone();
        desk.ask(|reply| Command::Kill { app, instance, reply }).await?
    };
    answer.map_err(conflict)?;
    let answer = json!({ "app": app, "instance": instance, "signal": "KILL" });
    Ok(json_response(StatusCode::OK, &answer))
}

async fn carry_out(
    desk: &Desk,
    names: Names<String>,
    body: BodyBytes,
    verb: Verb,
) -> Result<Response, Problem> {
    let app = path(names)?;
    let body = bytes(body)?;
    let Wish { instance, dry_run } =
        if body.is_empty() { Wish::default() } else { parse(&body, EXAMPLE)? };
    let verb = if dry_run { planned(verb)? } else { verb };
    find(&desk.status().await?, &app, instance)?;
    let plan = desk.ask(|reply| Command::App { app, instance, verb, reply }).await?;
    let plan = plan.map_err(conflict)?;
    Ok(json_response(StatusCode::OK, &json!({ "plan": plan, "applied": !dry_run })))
}

/// What says what `verb` would do.
fn planned(verb: Verb) -> Result<Verb, Problem> {
    match verb {
        Verb::Deploy | Verb::PlanDeploy => Ok(Verb::PlanDeploy),
        Verb::Restart | Verb::PlanRestart => Ok(Verb::PlanRestart),
        Verb::Start | Verb::Stop | Verb::Abort => {
            Err(Problem::bad_request("there is no dry run of this")
                .at("dry_run")
                .help("`deploy` and `restart` have one"))
        }
    }
}

/// An error that says what there is, unless the app is there, and that instance of it.
pub(crate) fn find(status: &Status, app: &str, instance: Option<u16>) -> Result<(), Problem> {
    let numbers = || status.apps.iter().filter(|one| one.app == app).map(|one| one.number);
    if numbers().next().is_none() {
        let mut names: Vec<&str> = status.apps.iter().map(|one| one.app.as_str()).collect();
        names.dedup();
        let help = match names.is_empty() {
            true => "the configuration has no `[app.NAME]`".to_owned(),
            false => format!("there is: {}", names.join(", ")),
        };
        return Err(Problem::not_found(format!("there is no app `{app}`")).help(help));
    }
    if instance.is_none_or(|wanted| numbers().any(|number| number == wanted)) {
        return Ok(());
    }
    let mut numbers: Vec<u16> = numbers().collect();
    numbers.dedup();
    let known: Vec<String> = numbers.iter().map(u16::to_string).collect();
    let wanted = instance.unwrap_or_default();
    Err(Problem::not_found(format!("app `{app}` has no instance {wanted}"))
        .help(format!("it has: {}", known.join(", "))))
}
