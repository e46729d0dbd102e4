//! Bodies, whole and cut into reads.

use std::format;
use std::string::String;

use super::super::*;
use super::{Reading, read_body};

/// The data, the trailers, and how many bytes follow the body.
type Taken = (String, String, usize);

fn chunked(input: &str) -> Result<Taken, BodyError> {
    let mut reader = BodyReader::new(Body::Chunked);
    let whole = read_body(&mut reader, input.as_bytes(), usize::MAX);
    for step in 1..4 {
        let mut reader = BodyReader::new(Body::Chunked);
        assert_eq!(read_body(&mut reader, input.as_bytes(), step), whole, "{input:?} by {step}");
    }
    let Reading { data, consumed, outcome } = whole;
    outcome.and_then(|()| reader.finish())?;
    Ok((super::text(&data), super::text(reader.trailers()), input.len() - consumed))
}

fn taken(data: &str, trailers: &str, left: usize) -> Result<Taken, BodyError> {
    Ok((data.into(), trailers.into(), left))
}

#[test]
fn a_sized_body_ends_at_its_size() {
    let mut body = BodyReader::new(Body::Sized(5));
    assert_eq!(body.remaining(), Some(5));
    assert_eq!(body.read(b"abc"), Ok(Piece { consumed: 3, data: 0..3, done: false }));
    assert_eq!((body.remaining(), body.finish()), (Some(2), Err(BodyError::Truncated)));
    assert_eq!(body.read(b"defg"), Ok(Piece { consumed: 2, data: 0..2, done: true }));
    assert_eq!((body.remaining(), body.finish(), body.is_done()), (None, Ok(()), true));
    assert_eq!(body.read(b"fg"), Ok(Piece { consumed: 0, data: 0..0, done: true }));
}

#[test]
fn a_body_until_close_takes_all_and_may_end_anywhere() {
    let mut body = BodyReader::new(Body::UntilClose);
    assert_eq!(body.read(b"abc"), Ok(Piece { consumed: 3, data: 0..3, done: false }));
    assert_eq!((body.finish(), body.is_done(), body.remaining()), (Ok(()), false, None));
}

#[test]
fn an_empty_body_is_done_at_once() {
    for body in [Body::Empty, Body::Sized(0)] {
        let body = BodyReader::new(body);
        assert_eq!((body.finish(), body.is_done()), (Ok(()), true));
    }
}

#[test]
fn the_last_data_and_the_end_come_in_one_read() {
    let mut body = BodyReader::new(Body::Chunked);
    let input = b"5\r\nhello\r\n0\r\n\r\nGET";
    assert_eq!(body.read(input), Ok(Piece { consumed: 15, data: 3..8, done: true }));
}

#[test]
fn good_chunks_are_read_however_they_are_cut() {
    let table = [
        ("0\r\n\r\n", taken("", "", 0)),
        ("5\r\nhello\r\n6\r\n world\r\n0\r\n\r\nGET", taken("hello world", "", 3)),
        ("00000000000000A\r\n0123456789\r\n000\r\n\r\n", taken("0123456789", "", 0)),
        ("a\r\n0123456789\r\n0\r\n\r\n", taken("0123456789", "", 0)),
        ("2;a=b;c=\"d\"\r\nab\r\n0;e\r\n\r\n", taken("ab", "", 0)),
        ("2 \t;a = b\r\nab\r\n0\r\n\r\n", taken("ab", "", 0)),
        ("4\r\n\r\n\r\n\r\n0\r\n\r\n", taken("\r\n\r\n", "", 0)),
        ("0\r\nA: b\r\nC:\r\n\r\nX", taken("", "A: b\r\nC:\r\n", 1)),
    ];
    for (input, expected) in table {
        assert_eq!(chunked(input), expected, "{input:?}");
    }
}

#[test]
fn bad_chunks_are_refused_for_their_reason() {
    let table = [
        ("", BodyError::Truncated),
        ("5\r\nhell", BodyError::Truncated),
        ("5\r\nhello\r\n", BodyError::Truncated),
        ("0\r\n\r", BodyError::Truncated),
        ("0\r\nA: b\r\n", BodyError::Truncated),
        ("\r\n", BodyError::ChunkSize),
        (";a\r\n", BodyError::ChunkSize),
        (" 5\r\nhello", BodyError::ChunkSize),
        ("-1\r\n", BodyError::ChunkSize),
        ("+1\r\n", BodyError::ChunkSize),
        ("0x1\r\n", BodyError::ChunkSize),
        ("1_0\r\n", BodyError::ChunkSize),
        ("g\r\n", BodyError::ChunkSize),
        ("00000000000000001\r\n", BodyError::ChunkSize),
        ("5 \r\nhello", BodyError::ChunkSize),
        ("5 5\r\nhello", BodyError::ChunkSize),
        ("5,5\r\nhello", BodyError::ChunkSize),
        ("5\0\r\nhello", BodyError::ChunkSize),
        ("5;\0\r\nhello", BodyError::ChunkExtension),
        ("5\nhello", BodyError::BareLf),
        ("5;a\nhello", BodyError::BareLf),
        ("5;a\rb\r\nhello", BodyError::BareCr),
        ("5\rhello", BodyError::BareCr),
        ("5\r\nhello\n", BodyError::BareLf),
        ("5\r\nhello\r0", BodyError::BareCr),
        ("5\r\nhello!\r\n", BodyError::ChunkEnd),
        ("5\r\nhello0\r\n\r\n", BodyError::ChunkEnd),
        ("0\r\n\n", BodyError::BareLf),
        ("0\r\nA: b\n\r\n", BodyError::BareLf),
        ("0\r\nA\r\n", BodyError::Trailer),
        ("0\r\n: b\r\n", BodyError::Trailer),
        ("0\r\nA : b\r\n", BodyError::Trailer),
        ("0\r\n A: b\r\n", BodyError::Trailer),
        ("0\r\nA: b\r\n c\r\n", BodyError::Trailer),
        ("0\r\nA: b\rc\r\n", BodyError::Trailer),
        ("0\r\nA: b\0\r\n", BodyError::Trailer),
    ];
    for (input, error) in table {
        assert_eq!(chunked(input), Err(error), "{input:?}");
    }
}

#[test]
fn data_before_a_fault_is_handed_out_first() {
    let mut body = BodyReader::new(Body::Chunked);
    let input = b"3\r\nabcX\r\n";
    assert_eq!(body.read(input), Ok(Piece { consumed: 6, data: 3..6, done: false }));
    assert_eq!(body.read(&input[6..]), Err(BodyError::ChunkEnd));
}

#[test]
fn extensions_are_bounded_over_the_whole_body() {
    let chunk = |len: usize| format!("1;{}\r\nx\r\n", "e".repeat(len - 1));
    let max: usize = 16 * 1024;
    let half = chunk(max / 2);
    assert!(chunked(&format!("{half}{half}0\r\n\r\n")).is_ok());
    let over = chunked(&format!("{half}{half}0;\r\n\r\n"));
    assert_eq!(over, Err(BodyError::ChunkExtensionsTooLarge));
}

#[test]
fn trailers_are_bounded() {
    let with = |lines: &str| chunked(&format!("0\r\n{lines}\r\n"));
    assert!(with(&"A: b\r\n".repeat(32)).is_ok());
    assert_eq!(with(&"A: b\r\n".repeat(33)), Err(BodyError::TrailersTooLarge));
    let line = |len: usize| format!("A: {}\r\n", "b".repeat(len - 5));
    assert!(with(&line(8 * 1024 - 2)).is_ok());
    assert_eq!(with(&line(8 * 1024 - 1)), Err(BodyError::TrailersTooLarge));
    // Dropped lines count.
    assert_eq!(with(&"Host: b\r\n".repeat(33)), Err(BodyError::TrailersTooLarge));
}

#[test]
fn trailers_that_others_would_act_on_are_dropped() {
    let forbidden = [
        "Transfer-Encoding",
        "content-length",
        "Host",
        "Authorization",
        "Cookie",
        "TE",
        "Connection",
        "Trailer",
        "X-Forwarded-For",
        "X-Forwarded-Prefix",
        "x-forwarded-client-cert",
        "Cache-Control",
        "Set-Cookie",
        "Content-Encoding",
        "X_Trace",
    ];
    for name in forbidden {
        let read = chunked(&format!("0\r\nA: b\r\n{name}: c\r\nD: e\r\n\r\n"));
        assert_eq!(read, taken("", "A: b\r\nD: e\r\n", 0), "{name}");
    }
    assert_eq!(chunked("0\r\ngrpc-status: 0\r\n\r\n"), taken("", "grpc-status: 0\r\n", 0));
}

#[test]
fn a_chunk_header_reads_back() {
    for len in [1, 9, 10, 15, 16, 255, 256, 65536, usize::MAX] {
        let mut out = [0; 18];
        let end = chunk_header(len, &mut out);
        assert_eq!(&out[..end], format!("{len:x}\r\n").as_bytes());
    }
}
