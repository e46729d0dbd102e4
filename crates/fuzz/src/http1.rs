//! The HTTP/1 codec against itself and against a slow, plain reader of heads.

mod plain;

use evergate_core::head::{Fields, Method, Name, RequestHead, ResponseHead, Version};
use evergate_core::http1::{
    Body, BodyError, BodyReader, Limits, Request, RequestError, Response, ResponseError,
    chunk_header, parse_request, parse_response,
};

/// Small limits, so that small inputs reach them.
const TIGHT: Limits = Limits { head_bytes_max: 150, fields_max: 4, uri_bytes_max: 12 };
/// Most places at which one input is cut in two.
const CUTS_MAX: usize = 64;

/// What heads are made of.
pub(crate) const HEAD_WORDS: &[&str] = &[
    "\r\n",
    "\r\n\r\n",
    "GET ",
    "POST ",
    "CONNECT ",
    "OPTIONS ",
    "*",
    "http://a",
    "https://[::1]:80",
    " HTTP/1.1",
    " HTTP/1.0",
    " HTTP/1.2",
    "HTTP/1.1 200 OK",
    "HTTP/1.1 204",
    "HTTP/1.1 101 x",
    "Host: a\r\n",
    "Content-Length: 3\r\n",
    "Content-Length: ",
    "18446744073709551615",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: ",
    "chunked",
    "gzip, ",
    "identity",
    "Connection: close\r\n",
    "Connection: keep-alive\r\n",
    "Connection: upgrade\r\n",
    "Connection: x-forwarded-for\r\n",
    "Upgrade: websocket\r\n",
    "Expect: 100-continue\r\n",
    "X: y\r\n",
    "X:\r\n",
    " \t",
    ", ",
    "0\r\n\r\n",
];

/// What chunked bodies are made of.
pub(crate) const BODY_WORDS: &[&str] = &[
    "\r\n",
    "0\r\n\r\n",
    "0\r\n",
    "1\r\nx\r\n",
    "5\r\nhello\r\n",
    "ffffffffffffffff",
    "0000000000000000",
    ";a=b",
    ";a=\"b\"",
    " ;",
    "A: b\r\n",
    "Host: a\r\n",
    "A:\r\n",
    "a_b: c\r\n",
];

/// A request means the same however it is cut, a plain reader agrees with what was taken, and a
/// request that is written again from what was read means the same.
pub fn http1_request(input: &[u8]) {
    let whole = request(input, &Limits::default());
    for limits in [Limits::default(), TIGHT] {
        let whole = request(input, &limits).map(|taken| taken.map(|(request, _)| request));
        for cut in cuts(input.len()) {
            let part = request(&input[..cut], &limits);
            let part = part.map(|taken| taken.map(|(request, _)| request));
            assert!(part == Ok(None) || part == whole, "cut at {cut}: {part:?}, not {whole:?}");
        }
        if let Ok(Some(request)) = whole {
            assert!(request.consumed <= limits.head_bytes_max.min(input.len()));
        }
    }
    let Ok(Some((request, head))) = whole else { return };
    assert_ne!(request.body, Body::UntilClose);
    expect_fields(&head.fields);
    plain::expect_request(&input[..request.consumed], &request, &head);
    expect_same_when_written_again(&request, &head);
    let rest = &input[request.consumed..];
    expect_body(request.body, rest);
}

fn request(input: &[u8], limits: &Limits) -> Result<Option<(Request, RequestHead)>, RequestError> {
    let mut head = RequestHead::default();
    Ok(parse_request(input, limits, &mut head)?.map(|request| (request, head)))
}

fn expect_same_when_written_again(request: &Request, head: &RequestHead) {
    let version = match head.version {
        Version::Http10 => "HTTP/1.0",
        Version::Http11 => "HTTP/1.1",
        Version::Http2 => unreachable!("the codec is HTTP/1's"),
    };
    let mut text =
        [head.method_text(), b" ", head.target(), b" ", version.as_bytes(), b"\r\n"].concat();
    for field in head.fields.iter() {
        text.extend_from_slice(field.line);
    }
    text.extend_from_slice(b"\r\n");
    // Targets may have grown by a slash.
    let limits =
        Limits { uri_bytes_max: usize::MAX, head_bytes_max: usize::MAX, ..Limits::default() };
    let (again, head_again) =
        self::request(&text, &limits).expect("what was taken is good").expect("and whole");
    assert_eq!(Request { consumed: request.consumed, ..again }, *request);
    assert_eq!(head_again.target(), head.target());
    assert_eq!(
        head_again.authority().to_ascii_lowercase(),
        match head.fields.get(Name::Host) {
            Some(_) => head.authority().to_ascii_lowercase(),
            None => Vec::new(),
        }
    );
}

/// A response means the same however it is cut, and its body is read safely.
pub fn http1_response(input: &[u8]) {
    for method in [Method::Get, Method::Head] {
        for limits in [Limits::default(), TIGHT] {
            let whole = response(input, &limits, method).map(|taken| taken.map(|(one, _)| one));
            for cut in cuts(input.len()) {
                let part = response(&input[..cut], &limits, method);
                let part = part.map(|taken| taken.map(|(one, _)| one));
                assert!(part == Ok(None) || part == whole, "cut at {cut}: {part:?}, not {whole:?}");
            }
        }
        let Ok(Some((response, head))) = response(input, &Limits::default(), method) else {
            continue;
        };
        assert!((100..=999).contains(&head.status));
        assert!(!(response.keep_alive && response.body == Body::UntilClose));
        assert!(method == Method::Get || response.body == Body::Empty);
        expect_fields(&head.fields);
        plain::expect_response(&input[..response.consumed], &response, &head);
        expect_body(response.body, &input[response.consumed..]);
    }
}

fn response(
    input: &[u8],
    limits: &Limits,
    method: Method,
) -> Result<Option<(Response, ResponseHead)>, ResponseError> {
    let mut head = ResponseHead::default();
    Ok(parse_response(input, limits, method, &mut head)?.map(|response| (response, head)))
}

/// Every byte of the lines belongs to one field, in order, without a gap.
fn expect_fields(fields: &Fields) {
    for field in fields.iter() {
        assert!(field.line.ends_with(b"\r\n"));
        assert_eq!(field.id, Name::parse(field.name));
        assert_eq!(field.value.trim_ascii(), field.value);
        let rest = field.line.strip_prefix(field.name).expect("a line starts with its name");
        let rest = rest.strip_prefix(b":").expect("a colon follows");
        assert_eq!(rest.trim_ascii(), field.value);
    }
}

/// A chunked body means the same however it is cut, and so do its data and trailers when they are
/// written again.
pub fn http1_body(input: &[u8]) {
    expect_body(Body::Chunked, input);
    expect_body(Body::Sized(7), input);
    expect_body(Body::UntilClose, input);
}

#[derive(Debug, PartialEq)]
struct Reading {
    data: Vec<u8>,
    trailers: Vec<u8>,
    consumed: usize,
    outcome: Result<(), BodyError>,
}

fn expect_body(body: Body, input: &[u8]) {
    let whole = read_body(body, input, usize::MAX);
    for step in [1, 3, 16] {
        assert_eq!(read_body(body, input, step), whole, "read by {step}");
    }
    assert!(whole.consumed <= input.len() && whole.data.len() <= whole.consumed);
    if body != Body::Chunked || whole.outcome.is_err() {
        return;
    }
    let mut text = Vec::new();
    for chunk in whole.data.chunks(11) {
        let mut line = [0; 18];
        let len = chunk_header(chunk.len(), &mut line);
        text.extend_from_slice(&line[..len]);
        text.extend_from_slice(chunk);
        text.extend_from_slice(b"\r\n");
    }
    text.extend_from_slice(&[b"0\r\n", &whole.trailers[..], b"\r\n"].concat());
    let again = read_body(body, &text, usize::MAX);
    assert_eq!(again, Reading { consumed: text.len(), ..whole });
}

fn read_body(body: Body, input: &[u8], step: usize) -> Reading {
    let mut reader = BodyReader::new(body);
    let (mut data, mut consumed) = (Vec::new(), 0);
    let mut outcome = Ok(());
    'arrivals: for arrived in (0..input.len()).step_by(step) {
        let end = arrived.saturating_add(step).min(input.len());
        while consumed < end && !reader.is_done() {
            let piece = match reader.read(&input[consumed..end]) {
                Ok(piece) => piece,
                Err(error) => {
                    outcome = Err(error);
                    break 'arrivals;
                }
            };
            assert!(piece.consumed > 0, "a read makes progress");
            assert_eq!(piece.done, reader.is_done());
            data.extend_from_slice(&input[consumed..end][piece.data]);
            consumed += piece.consumed;
        }
    }
    let outcome = outcome.and_then(|()| reader.finish());
    Reading { data, trailers: reader.trailers().to_vec(), consumed, outcome }
}

/// Where to cut an input: everywhere if it is short, else near both ends and at some places
/// between.
fn cuts(len: usize) -> impl Iterator<Item = usize> {
    let step = (len / CUTS_MAX).max(1);
    (0..len).filter(move |cut| cut % step == 0 || len - cut < CUTS_MAX / 4)
}
