//! The codec against tables of bytes: what others send, what is answered, and why.

use std::string::String;
use std::vec::Vec;

use super::*;
use crate::head::{Method, RequestHead, ResponseHead};

mod bodies;
mod policy;
mod requests;
mod responses;
mod splitting;

/// How a whole exchange of bytes was understood.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Verdict {
    /// More bytes must come.
    Incomplete,
    /// A head was refused.
    Refused(RequestError),
    /// A head was taken but its body refused.
    Broken(BodyError),
    /// A head, its body, and what follows them.
    Taken { request: Request, data: Vec<u8>, trailers: Vec<u8>, rest: Vec<u8> },
}

/// Reads one request, its body included.
fn read_request(input: &[u8], head: &mut RequestHead) -> Verdict {
    let request = match parse_request(input, &Limits::default(), head) {
        Ok(Some(request)) => request,
        Ok(None) => return Verdict::Incomplete,
        Err(error) => return Verdict::Refused(error),
    };
    let mut body = BodyReader::new(request.body);
    let Reading { data, consumed, outcome } =
        read_body(&mut body, &input[request.consumed..], usize::MAX);
    match outcome {
        Err(error) => Verdict::Broken(error),
        Ok(()) if !body.is_done() => Verdict::Incomplete,
        Ok(()) => Verdict::Taken {
            request,
            data,
            trailers: body.trailers().to_vec(),
            rest: input[request.consumed + consumed..].to_vec(),
        },
    }
}

/// What reading a body gave: data, bytes consumed, and a fault if there was one.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Reading {
    data: Vec<u8>,
    consumed: usize,
    outcome: Result<(), BodyError>,
}

/// Feeds `input` to `body`, `step` bytes at a time, until its end.
fn read_body(body: &mut BodyReader, input: &[u8], step: usize) -> Reading {
    let mut reading = Reading { data: Vec::new(), consumed: 0, outcome: Ok(()) };
    for arrived in (0..input.len()).step_by(step) {
        let end = arrived.saturating_add(step).min(input.len());
        while reading.consumed < end && !body.is_done() {
            let input = &input[reading.consumed..end];
            let piece = match body.read(input) {
                Ok(piece) => piece,
                Err(error) => return Reading { outcome: Err(error), ..reading },
            };
            assert!(piece.consumed > 0, "a read makes progress");
            assert!(piece.data.end <= piece.consumed && piece.consumed <= input.len());
            assert_eq!(piece.done, body.is_done());
            reading.data.extend_from_slice(&input[piece.data]);
            reading.consumed += piece.consumed;
        }
    }
    reading
}

fn parse(text: &str) -> (RequestHead, Result<Option<Request>, RequestError>) {
    let mut head = RequestHead::default();
    let request = parse_request(text.as_bytes(), &Limits::default(), &mut head);
    (head, request)
}

fn accept(text: &str) -> (RequestHead, Request) {
    let (head, request) = parse(text);
    match request {
        Ok(Some(request)) => (head, request),
        other => panic!("{text:?}: {other:?}"),
    }
}

fn refuse(text: &str) -> RequestError {
    match parse(text).1 {
        Err(error) => error,
        other => panic!("{text:?}: {other:?}"),
    }
}

fn parse_answer(
    method: Method,
    text: &str,
) -> (ResponseHead, Result<Option<Response>, ResponseError>) {
    let mut head = ResponseHead::default();
    let response = parse_response(text.as_bytes(), &Limits::default(), method, &mut head);
    (head, response)
}

fn accept_answer(method: Method, text: &str) -> (ResponseHead, Response) {
    let (head, response) = parse_answer(method, text);
    match response {
        Ok(Some(response)) => (head, response),
        other => panic!("{text:?}: {other:?}"),
    }
}

fn refuse_answer(text: &str) -> ResponseError {
    match parse_answer(Method::Get, text).1 {
        Err(error) => error,
        other => panic!("{text:?}: {other:?}"),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
