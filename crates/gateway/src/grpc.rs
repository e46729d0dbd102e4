//! What a gateway has to know of gRPC beside HTTP/2.
//!
//! A call is told its outcome in trailers, not in a status line, so a client of gRPC that is answered
//! `503` only learns that something unexpected came. Hence refusals of ours become responses that are
//! nothing but trailers, and a response that breaks off is ended by saying so.

use std::time::Duration;

use evergate_core::head::{Fields, Name};

use crate::reject::Reject;

/// Digits of a `grpc-timeout`.
const TIMEOUT_DIGITS_MAX: usize = 8;

/// Whether a request is a call: `application/grpc`, with any encoding of messages. Not gRPC-Web,
/// which tells its outcome in the body.
pub(crate) fn is_call(fields: &Fields) -> bool {
    const TYPE: &[u8] = b"application/grpc";
    let Some(value) = fields.get(Name::ContentType) else { return false };
    value.len() >= TYPE.len()
        && value[..TYPE.len()].eq_ignore_ascii_case(TYPE)
        && matches!(value.get(TYPE.len()), None | Some(b'+' | b';'))
}

/// How long the client waits for the outcome: up to eight digits and a unit.
pub(crate) fn timeout(fields: &Fields) -> Option<Duration> {
    let (unit, digits) = fields.find(b"grpc-timeout")?.split_last()?;
    let is_number = !digits.is_empty()
        && digits.len() <= TIMEOUT_DIGITS_MAX
        && digits.iter().all(u8::is_ascii_digit);
    if !is_number {
        return None;
    }
    let count = digits.iter().fold(0, |count, digit| count * 10 + u64::from(digit - b'0'));
    match unit {
        b'H' => Some(Duration::from_secs(count * 3600)),
        b'M' => Some(Duration::from_secs(count * 60)),
        b'S' => Some(Duration::from_secs(count)),
        b'm' => Some(Duration::from_millis(count)),
        b'u' => Some(Duration::from_micros(count)),
        b'n' => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

/// The code that says to a client of gRPC what our status says to others.
pub(crate) const fn code(status: u16) -> &'static str {
    const CANCELLED: &str = "1";
    const UNKNOWN: &str = "2";
    const DEADLINE_EXCEEDED: &str = "4";
    const PERMISSION_DENIED: &str = "7";
    const RESOURCE_EXHAUSTED: &str = "8";
    const UNIMPLEMENTED: &str = "12";
    const INTERNAL: &str = "13";
    const UNAVAILABLE: &str = "14";
    const UNAUTHENTICATED: &str = "16";
    match status {
        400 | 500 | 508 => INTERNAL,
        401 => UNAUTHENTICATED,
        403 => PERMISSION_DENIED,
        404 | 405 | 501 => UNIMPLEMENTED,
        408 | 504 => DEADLINE_EXCEEDED,
        413 => RESOURCE_EXHAUSTED,
        429 | 502 | 503 => UNAVAILABLE,
        499 => CANCELLED,
        _ => UNKNOWN,
    }
}

/// What is wrong, as `grpc-message` has it: printable ASCII as it is, anything else and `%` escaped.
pub(crate) fn message(reject: Reject) -> Vec<u8> {
    let mut message = Vec::new();
    for byte in reject.to_string().bytes() {
        match byte {
            b'%' => message.extend_from_slice(b"%25"),
            b' '..=b'~' => message.push(byte),
            _ => message.extend_from_slice(format!("%{byte:02X}").as_bytes()),
        }
    }
    message
}

/// Trailer lines that end a response which broke off.
pub(crate) fn trailers(reject: Reject) -> Vec<u8> {
    let mut lines =
        format!("grpc-status: {}\r\ngrpc-message: ", code(reject.status())).into_bytes();
    lines.extend_from_slice(&message(reject));
    lines.extend_from_slice(b"\r\n");
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reject::UpstreamFault;

    fn with(name: Name, text: &str, value: &str) -> Fields {
        let mut fields = Fields::default();
        fields.append(name, text.as_bytes(), value.as_bytes());
        fields
    }

    #[test]
    fn a_call_is_known_by_its_content_type() {
        let table = [
            ("application/grpc", true),
            ("Application/GRPC+proto", true),
            ("application/grpc;charset=x", true),
            ("application/grpc-web", false),
            ("application/grp", false),
            ("text/plain", false),
        ];
        for (value, is) in table {
            assert_eq!(is_call(&with(Name::ContentType, "content-type", value)), is, "{value}");
        }
        assert!(!is_call(&Fields::default()));
    }

    #[test]
    fn a_timeout_has_up_to_eight_digits_and_a_unit() {
        let table = [
            ("1H", Some(Duration::from_secs(3600))),
            ("2M", Some(Duration::from_secs(120))),
            ("99999999S", Some(Duration::from_secs(99_999_999))),
            ("250m", Some(Duration::from_millis(250))),
            ("7u", Some(Duration::from_micros(7))),
            ("0n", Some(Duration::ZERO)),
            ("123456789S", None),
            ("5", None),
            ("S", None),
            ("+5S", None),
            ("5s", None),
            ("", None),
        ];
        for (value, timeout_is) in table {
            assert_eq!(timeout(&with(Name::Other, "grpc-timeout", value)), timeout_is, "{value}");
        }
    }

    #[test]
    fn a_response_that_breaks_off_ends_with_the_reason() {
        let lines = trailers(Reject::Upstream(UpstreamFault::Truncated));
        let expected = "grpc-status: 14\r\ngrpc-message: the server's response broke off\r\n";
        assert_eq!(String::from_utf8(lines).unwrap(), expected);
        assert_eq!(code(Reject::Upstream(UpstreamFault::Timeout).status()), "4");
    }
}
