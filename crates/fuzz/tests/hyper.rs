//! Request heads of the corpus as Evergate and hyper read them.
//!
//! hyper is a careful parser with another aim: it serves, where a gateway must not pass on what
//! the next server may read in another way. Each difference is listed with the reason for it; one
//! that is not listed fails the test, and so does a listed one that is no more.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use evergate_core::head::RequestHead;
use evergate_core::http1::{self, Limits, parse_request};
use evergate_fuzz::corpus;
use http_body_util::Empty;
use hyper::body::{Body, Bytes, Incoming};
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[path = "hyper/differences.rs"]
mod differences;

/// Holds every input and every answer, so that neither side waits for the other.
const PIPE_BYTES: usize = 1024 * 1024;

/// What became of a head.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Verdict {
    Taken(Seen),
    Refused(u16),
    /// Nothing was answered: bytes were missing.
    Waits,
}

/// What was read out of a head that was taken.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Seen {
    method: String,
    authority: String,
    target: String,
    body: http1::Body,
    /// Sorted, names in lower case.
    fields: Vec<(String, String)>,
}

fn ours(input: &[u8]) -> Verdict {
    let mut head = RequestHead::default();
    let request = match parse_request(input, &Limits::default(), &mut head) {
        Ok(Some(request)) => request,
        Ok(None) => return Verdict::Waits,
        Err(error) => return Verdict::Refused(error.status()),
    };
    let mut fields: Vec<_> = head
        .fields
        .iter()
        .map(|field| (text(field.name).to_ascii_lowercase(), text(field.value)))
        .collect();
    fields.sort();
    Verdict::Taken(Seen {
        method: text(head.method_text()),
        authority: text(head.authority()),
        target: text(head.target()),
        body: request.body,
        fields,
    })
}

async fn hypers(input: &[u8]) -> Verdict {
    let (mut client, server) = tokio::io::duplex(PIPE_BYTES);
    let first = Arc::new(Mutex::new(None));
    let service = service_fn(|request| {
        first.lock().expect("no holder panics").get_or_insert_with(|| seen(&request));
        async { Ok::<_, Infallible>(hyper::Response::new(Empty::<Bytes>::new())) }
    });
    client.write_all(input).await.expect("the pipe holds every input");
    client.shutdown().await.expect("a pipe can be shut down");
    let mut answer = Vec::new();
    let (_, read) = tokio::join!(
        Builder::new().serve_connection(TokioIo::new(server), service),
        client.read_to_end(&mut answer),
    );
    read.expect("a pipe can be read");
    if let Some(seen) = first.lock().expect("no holder panics").take() {
        return Verdict::Taken(seen);
    }
    match answer.strip_prefix(b"HTTP/1.1 ").and_then(|rest| text(rest.get(..3)?).parse().ok()) {
        Some(status) => Verdict::Refused(status),
        None => Verdict::Waits,
    }
}

fn seen(request: &hyper::Request<Incoming>) -> Seen {
    let host = request.headers().get("host").map(|host| text(host.as_bytes()));
    let uri = request.uri();
    let mut fields: Vec<_> = request
        .headers()
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), text(value.as_bytes())))
        .collect();
    fields.sort();
    Seen {
        method: request.method().to_string(),
        authority: uri.authority().map(ToString::to_string).or(host).unwrap_or_default(),
        target: uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        body: match request.body().size_hint().exact() {
            Some(0) => http1::Body::Empty,
            Some(len) => http1::Body::Sized(len),
            None => http1::Body::Chunked,
        },
        fields,
    }
}

fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// As the table of differences says it.
fn label(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Taken(_) => "taken".to_owned(),
        Verdict::Refused(status) => status.to_string(),
        Verdict::Waits => "waits".to_owned(),
    }
}

#[tokio::test]
async fn every_difference_from_hyper_is_listed_with_its_reason() {
    let mut listed: BTreeMap<_, _> =
        differences::DIFFERENCES.iter().map(|difference| (difference.input, difference)).collect();
    let mut wrong = Vec::new();
    for entry in corpus::load("http1_request").expect("the corpus can be read") {
        let (ours, hypers) = (ours(&entry.bytes), hypers(&entry.bytes).await);
        let listed = listed.remove(&*entry.name);
        let why = listed.map(|difference| difference.why);
        let expected = listed.map(|difference| (difference.ours, difference.hypers));
        let found = (label(&ours), label(&hypers));
        let found = (ours != hypers).then_some((&*found.0, &*found.1));
        if found != expected {
            wrong.push(format!(
                "{}: {found:?}, listed {expected:?} {why:?}\n  {ours:?}\n  {hypers:?}",
                entry.name
            ));
        }
    }
    wrong.extend(listed.keys().map(|name| format!("{name} is listed but not in the corpus")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
