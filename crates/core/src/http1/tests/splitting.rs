//! Cutting an input into reads never changes what it means.
//!
//! The same is asked of inputs that a seeded generator makes from good and bad ones.

use std::format;
use std::string::String;
use std::vec::Vec;

use super::super::*;
use super::policy::vectors;
use super::read_body;
use crate::head::{Method, RequestHead, ResponseHead};
use crate::rng::Rng;

/// Inputs that the generator makes, beside those that are written down.
const MUTANTS: usize = 4000;
/// Longer inputs are cut only near their ends, to keep the test quick.
const CUT_EVERYWHERE_MAX: usize = 2048;

/// Small, so that mutants meet them.
const TIGHT: Limits = Limits { head_bytes_max: 120, fields_max: 5, uri_bytes_max: 20 };

fn cuts(len: usize) -> impl Iterator<Item = usize> {
    (0..len).filter(move |cut| {
        len <= CUT_EVERYWHERE_MAX || cut % 997 == 0 || cut.abs_diff(len) < 64 || *cut < 64
    })
}

/// What a head parser says, in a form that can be compared.
type Said = Result<Option<String>, String>;

fn say_request(input: &[u8], limits: &Limits) -> Said {
    let mut head = RequestHead::default();
    match parse_request(input, limits, &mut head) {
        Ok(None) => Ok(None),
        Ok(Some(request)) => {
            assert!((1..=input.len().min(limits.head_bytes_max)).contains(&request.consumed));
            assert!(head.target().starts_with(b"/") || head.target() == b"*");
            assert!(head.fields.iter().all(|field| field.line.ends_with(b"\r\n")));
            Ok(Some(format!("{request:?} {head:?}")))
        }
        Err(error) => Err(format!("{error:?}")),
    }
}

fn say_response(input: &[u8], limits: &Limits) -> Said {
    let mut head = ResponseHead::default();
    match parse_response(input, limits, Method::Get, &mut head) {
        Ok(response) => Ok(response.map(|response| format!("{response:?} {head:?}"))),
        Err(error) => Err(format!("{error:?}")),
    }
}

fn expect_prefixes_agree(input: &[u8], limits: &Limits, say: fn(&[u8], &Limits) -> Said) {
    let whole = say(input, limits);
    for cut in cuts(input.len()) {
        let part = say(&input[..cut], limits);
        assert!(
            part == Ok(None) || part == whole,
            "{cut} of {}: {part:?}, not {whole:?}",
            text(input)
        );
    }
}

fn expect_steps_agree(input: &[u8]) {
    for body in [Body::Chunked, Body::Sized(9), Body::UntilClose] {
        let mut reader = BodyReader::new(body);
        let whole = read_body(&mut reader, input, usize::MAX);
        for step in [1, 2, 7] {
            let mut other = BodyReader::new(body);
            assert_eq!(read_body(&mut other, input, step), whole, "{} by {step}", text(input));
            assert_eq!(other.finish(), reader.finish(), "{} by {step}", text(input));
            assert_eq!(other.trailers(), reader.trailers(), "{} by {step}", text(input));
        }
    }
}

fn text(bytes: &[u8]) -> core::slice::EscapeAscii<'_> {
    bytes.escape_ascii()
}

/// Heads and bodies that the generator starts from.
const SEEDS: [&[u8]; 6] = [
    b"GET /a?b HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, x\r\nX: y\r\n\r\nrest",
    b"\r\nPOST http://a/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"PUT / HTTP/1.0\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc",
    b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nServer:\t a \r\n\r\nabc",
    b"HTTP/1.0 304\r\nConnection: close\r\nA: b\r\n\r\n",
    b"5;a=b\r\nhello\r\nA\r\n0123456789\r\n0\r\nA: b\r\nHost: c\r\n\r\nGET",
];

/// Bytes that mean something somewhere.
const TELLING: &[u8] = b"\r\n\t :,;0aAfgZ%/?#*\0\x0b\x7f\x80\xff";

fn mutant(rng: &mut Rng) -> Vec<u8> {
    let mut pick = |len: usize| rng.below(len as u32) as usize;
    let mut input = SEEDS[pick(SEEDS.len())].to_vec();
    for _ in 0..=pick(3) {
        let at = pick(input.len());
        let byte = TELLING[pick(TELLING.len())];
        match pick(4) {
            0 => input[at] = byte,
            1 => input.insert(at, byte),
            2 if input.len() > 1 => drop(input.remove(at)),
            _ => {
                let end = (at + 1 + pick(12)).min(input.len());
                let copy = input[at..end].to_vec();
                input.splice(at..at, copy);
            }
        }
    }
    input
}

#[test]
fn every_vector_means_the_same_however_it_is_cut() {
    for (_, input, _) in vectors() {
        expect_prefixes_agree(input.as_bytes(), &Limits::default(), say_request);
        if input.len() <= CUT_EVERYWHERE_MAX {
            expect_prefixes_agree(input.as_bytes(), &TIGHT, say_request);
        }
    }
}

#[test]
fn every_mutant_means_the_same_however_it_is_cut() {
    let mut rng = Rng::seeded(0x6865_6164);
    for _ in 0..MUTANTS {
        let input = mutant(&mut rng);
        for limits in [&Limits::default(), &TIGHT] {
            expect_prefixes_agree(&input, limits, say_request);
            expect_prefixes_agree(&input, limits, say_response);
        }
        expect_steps_agree(&input);
    }
}
