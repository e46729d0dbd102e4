//! What apps print, as JSON a line (`application/x-ndjson`): the past, and what comes.
//!
//! Each line is a [`LogLine`]; between them `{"lost": N}` says how many lines of all apps a slow
//! reader missed, and an empty line only that the connection lives.

use std::collections::VecDeque;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use evergate_control::command::{Command, Logs};
use evergate_control::snapshot::LogLine;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::{self, error::RecvError, error::TryRecvError};

use crate::api::{Parameters, read, unknown_parameter};
use crate::apps;
use crate::change::{Names, path};
use crate::desk::{Desk, LOG_STREAMS_MAX};
use crate::problem::{Problem, text_response};
use crate::stream::{KEEPALIVE, Source, Stopping, Stream, stopped};

/// Lines of the past, unless asked otherwise.
const LINES_DEFAULT: usize = 100;
/// Bytes that are sent together if there are as many.
const PIECE_BYTES: usize = 64 * 1024;

/// What is wanted of which apps.
#[derive(Clone, Debug)]
struct Question {
    app: Option<String>,
    instance: Option<u16>,
    lines: usize,
    follow: bool,
}

/// Of all apps; `?lines=100&follow=true`.
pub(crate) async fn of_all(
    State(desk): State<Arc<Desk>>,
    parameters: Parameters,
    request: Request,
) -> Result<Response, Problem> {
    let question = question(None, read(parameters)?)?;
    answer(&desk, question, Stopping::of(&request)).await
}

/// Of one app; `?instance=0&lines=100&follow=true`.
pub(crate) async fn of_app(
    State(desk): State<Arc<Desk>>,
    names: Names<String>,
    parameters: Parameters,
    request: Request,
) -> Result<Response, Problem> {
    let app = path(names)?;
    let question = question(Some(app.clone()), read(parameters)?)?;
    let stopping = Stopping::of(&request);
    // A request cannot be held over a wait.
    drop(request);
    apps::find(&desk.status().await?, &app, question.instance)?;
    answer(&desk, question, stopping).await
}

fn question(app: Option<String>, parameters: Vec<(String, String)>) -> Result<Question, Problem> {
    let mut question = Question { app, instance: None, lines: LINES_DEFAULT, follow: false };
    let wrong = |what: &str, name: &str, value: &str| {
        Problem::bad_request(format!("not {what}: {value}")).at(name)
    };
    for (name, value) in parameters {
        match name.as_str() {
            "lines" => {
                let lines = value.parse();
                question.lines = lines.map_err(|_| wrong("a number of lines", &name, &value))?;
            }
            "follow" => {
                let follow = value.parse();
                question.follow = follow.map_err(|_| wrong("true or false", &name, &value))?;
            }
            "instance" if question.app.is_some() => {
                let number = value.parse();
                let number = number.map_err(|_| wrong("the number of one", &name, &value))?;
                question.instance = Some(number);
            }
            _ if question.app.is_some() => {
                return Err(unknown_parameter(&name, "lines, follow, instance"));
            }
            _ => return Err(unknown_parameter(&name, "lines, follow")),
        }
    }
    Ok(question)
}

async fn answer(
    desk: &Desk,
    question: Question,
    stopping: Option<Stopping>,
) -> Result<Response, Problem> {
    let place = match question.follow {
        true => Some(Arc::clone(&desk.log_streams).try_acquire_owned().map_err(|_| busy())?),
        false => None,
    };
    let Question { app, instance, lines, follow } = question.clone();
    let logs = desk.ask(|reply| Command::Logs { app, instance, lines, follow, reply }).await?;
    let Logs { lines, follow } = logs.map_err(Problem::not_found)?;
    let body = match (follow, place) {
        (Some(receiver), Some(place)) => {
            let past = lines.into();
            let source = Lines { question, past, receiver, stopping, _place: place };
            // An empty line, so that the response head goes out at once.
            Body::new(Stream::new(Bytes::from_static(b"\n"), source))
        }
        (Some(_) | None, _) => {
            let mut text = String::new();
            lines.iter().for_each(|line| push(&mut text, line));
            text.into()
        }
    };
    Ok(text_response(StatusCode::OK, "application/x-ndjson", body))
}

fn busy() -> Problem {
    let message = format!("{LOG_STREAMS_MAX} readers follow the output of apps already");
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message)
        .help("close one, or ask again without `follow`")
}

/// Lines for one reader.
struct Lines {
    question: Question,
    past: VecDeque<LogLine>,
    receiver: broadcast::Receiver<LogLine>,
    stopping: Option<Stopping>,
    _place: OwnedSemaphorePermit,
}

impl Source for Lines {
    async fn next(mut self) -> Option<(Bytes, Self)> {
        let mut text = String::new();
        while text.len() < PIECE_BYTES {
            let Some(line) = self.past.pop_front() else { break };
            push(&mut text, &line);
        }
        while text.is_empty() {
            tokio::select! {
                received = self.receiver.recv() => match received {
                    Ok(line) => self.push(&mut text, &line),
                    Err(RecvError::Lagged(lost)) => push_lost(&mut text, lost),
                    Err(RecvError::Closed) => return None,
                },
                () = stopped(&mut self.stopping) => return None,
                () = tokio::time::sleep(KEEPALIVE) => text.push('\n'),
            }
        }
        if self.past.is_empty() {
            self.push_more(&mut text);
        }
        Some((text.into(), self))
    }
}

impl Lines {
    /// Adds what is here already.
    fn push_more(&mut self, text: &mut String) {
        while text.len() < PIECE_BYTES {
            match self.receiver.try_recv() {
                Ok(line) => self.push(text, &line),
                Err(TryRecvError::Lagged(lost)) => push_lost(text, lost),
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
            }
        }
    }

    /// Adds the line if it is wanted.
    fn push(&self, text: &mut String, line: &LogLine) {
        let Question { app, instance, .. } = &self.question;
        let is_wanted = app.as_ref().is_none_or(|app| *app == line.app)
            && instance.is_none_or(|number| number == line.instance);
        if is_wanted {
            push(text, line);
        }
    }
}

fn push(text: &mut String, line: &LogLine) {
    text.push_str(&serde_json::to_string(line).expect("plain data has no map keys but strings"));
    text.push('\n');
}

fn push_lost(text: &mut String, lost: u64) {
    text.push_str(&format!("{{\"lost\":{lost}}}\n"));
}
