//! Answers that Evergate gives itself, without a server.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use evergate_core::head::Method;
use evergate_core::http1::{Body, RequestError};
use evergate_sys::clock;

use crate::client::Client;
use crate::exchange::{Record, Request};
use crate::filter::Changes;
use crate::grpc;
use crate::http1::forward::{Length, ResponsePlan, reason_phrase};
use crate::http1::incoming::Progress;
use crate::reject::{ClientFault, Reject, UpstreamFault};

/// How long a client may take to read an answer of ours.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(10);
/// What a gateway lets through, for whoever asks for something else (RFC 9110, 15.5.6).
const METHODS: &[u8] = b"DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT, QUERY";

/// An answer of ours.
struct Answer<'a> {
    status: u16,
    body: &'a [u8],
    close: bool,
    /// Whether only the head of it goes out, because HEAD asked for it.
    head_only: bool,
    changes: &'a Changes<'a>,
}

/// Answers with a status, fields and a body, which may be empty.
pub(crate) async fn whole<C: Client>(
    client: &mut C,
    request: &Request<'_>,
    status: u16,
    body: &[u8],
    changes: &Changes<'_>,
    record: &mut Record,
) {
    let close = !discard_body(client, request).await;
    let head_only = request.head.method == Method::Head;
    send(client, &Answer { status, body, close, head_only, changes }, record).await;
}

/// Answers a refused request, if no response has begun. What filters add to responses is added to
/// this one, or a script of another origin could not read it. Says whether the connection may go
/// on.
pub(crate) async fn reject<C: Client>(
    client: &mut C,
    request: &Request<'_>,
    reject: Reject,
    edits: &Changes<'_>,
    record: &mut Record,
) -> bool {
    if client.has_begun() || reject == Reject::Client(ClientFault::Gone) {
        // The status line is out: breaking off is the only honest end.
        if record.status == 0 {
            record.status = reject.status();
        }
        if matches!(reject, Reject::Upstream(_) | Reject::Drained)
            && grpc::is_call(&request.head.fields)
        {
            client.finish(&grpc::trailers(reject));
            flush(client).await;
        }
        return false;
    }
    let close = reject.closes() || !discard_body(client, request).await;
    if grpc::is_call(&request.head.fields) {
        explain_to_grpc(client, reject, close, edits, record).await;
    } else {
        let head_only = request.head.method == Method::Head;
        explain(client, reject, close, head_only, edits, record).await;
    }
    !close
}

/// Answers bytes that are no request, and closes.
pub(crate) async fn malformed<C: Client>(client: &mut C, reject: Reject, record: &mut Record) {
    if reject == Reject::Client(ClientFault::Gone) {
        record.status = reject.status();
        return;
    }
    explain(client, reject, true, false, &Changes::default(), record).await;
}

/// Says what was wrong, in one line of text.
async fn explain<C: Client>(
    client: &mut C,
    reject: Reject,
    close: bool,
    head_only: bool,
    edits: &Changes<'_>,
    record: &mut Record,
) {
    let status = reject.status();
    let body = format!("{status} {}: {reject}\n", reason_phrase(status));
    let mut changes = Changes::default();
    changes.add.push(("Content-Type", b"text/plain; charset=utf-8".to_vec()));
    match reject {
        Reject::Client(ClientFault::ApiKey) => {
            changes.add.push(("WWW-Authenticate", b"ApiKey".to_vec()));
        }
        Reject::Upstream(UpstreamFault::NoServer) | Reject::Drained => {
            changes.add.push(("Retry-After", b"1".to_vec()));
        }
        Reject::Client(ClientFault::Malformed(RequestError::MethodRefused)) => {
            changes.add.push(("Allow", METHODS.to_vec()));
        }
        Reject::Client(_) | Reject::Upstream(_) | Reject::File(_) | Reject::Bug => {}
    }
    add_edits(&mut changes, edits);
    let body = body.as_bytes();
    send(client, &Answer { status, body, close, head_only, changes: &changes }, record).await;
}

/// Says what was wrong to a client of gRPC, in a response that is nothing but trailers. The log
/// gets the status that anybody else would have seen.
async fn explain_to_grpc<C: Client>(
    client: &mut C,
    reject: Reject,
    close: bool,
    edits: &Changes<'_>,
    record: &mut Record,
) {
    let status = reject.status();
    let mut changes = Changes::default();
    changes.add.push(("Content-Type", b"application/grpc".to_vec()));
    changes.add.push(("grpc-status", grpc::code(status).into()));
    changes.add.push(("grpc-message", grpc::message(reject)));
    add_edits(&mut changes, edits);
    let answer = Answer { status: 200, body: b"", close, head_only: false, changes: &changes };
    send(client, &answer, record).await;
    record.status = status;
}

/// Adds what filters add, where it is not said already.
fn add_edits<'p>(changes: &mut Changes<'p>, edits: &Changes<'p>) {
    let ours = changes.add.len();
    for (name, value) in &edits.add {
        if !changes.add[..ours].iter().any(|(own, _)| own.eq_ignore_ascii_case(name)) {
            changes.add.push((name, value.clone()));
        }
    }
}

async fn send<C: Client>(client: &mut C, answer: &Answer<'_>, record: &mut Record) {
    // These end with their head, whatever is said about a length (RFC 9112, 6.3), so nothing is.
    let never_has_body = matches!(answer.status, 204 | 304);
    let length = answer.body.len() as u64;
    record.status = answer.status;
    record.sent = if never_has_body || answer.head_only { 0 } else { length };
    client.begin(&ResponsePlan {
        status: answer.status,
        head: None,
        connection_names: false,
        length: if never_has_body { Length::Absent } else { Length::Sized(length) },
        bodyless: answer.head_only,
        upgrade: false,
        close: answer.close,
        changes: answer.changes,
    });
    client.push(answer.body);
    client.finish(b"");
    flush(client).await;
}

/// Waits until the client has taken what it is to read, or left.
async fn flush<C: Client>(client: &mut C) {
    let until = clock::now() + FLUSH_TIMEOUT;
    client.timer().set(until);
    poll_fn(|cx| {
        if let Poll::Ready(flushed) = client.poll_flush(cx) {
            // Whoever left before the answer will not miss it.
            return Poll::Ready(flushed.is_ok());
        }
        while client.timer().poll_elapsed(cx).is_ready() {
            if clock::now() >= until {
                return Poll::Ready(false);
            }
            client.timer().set(until);
        }
        Poll::Pending
    })
    .await;
}

/// Reads past a body that nobody wants, if it is here already; says whether it is.
pub(crate) async fn discard_body<C: Client>(client: &mut C, request: &Request<'_>) -> bool {
    if request.body == Body::Empty || client.body_is_done() {
        return true;
    }
    // A client that waits for `100 Continue` would have to be asked to send it.
    if request.expect_continue {
        return false;
    }
    poll_fn(|cx| {
        loop {
            match client.poll_body(cx, &mut |_| {}) {
                Poll::Ready(Ok(Progress::Data)) => {}
                Poll::Ready(Ok(Progress::Done)) => return Poll::Ready(true),
                Poll::Ready(Err(_)) | Poll::Pending => return Poll::Ready(false),
            }
        }
    })
    .await
}
