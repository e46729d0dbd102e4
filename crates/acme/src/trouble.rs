//! What went wrong with an order: in kinds for decisions, in words for people.

use std::fmt::Write;
use std::time::Duration;

use evergate_core::renewal::Failure;
use instant_acme::{Error, Problem};

/// Most characters of an authority's words that are repeated.
const WORDS_MAX: usize = 1000;
/// How problem types of RFC 8555 (6.7) begin.
const TYPES: &str = "urn:ietf:params:acme:error:";

/// Why an order failed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Trouble {
    pub(crate) kind: Failure,
    pub(crate) why: String,
    /// How long the authority wants to be left alone.
    pub(crate) retry_after: Option<Duration>,
    /// Whether the authority does not know our account.
    pub(crate) is_unknown_account: bool,
}

impl Trouble {
    pub(crate) fn new(kind: Failure, why: impl ToString) -> Self {
        Self { kind, why: why.to_string(), retry_after: None, is_unknown_account: false }
    }

    /// What the library says, where `retry_after` came with the answer.
    pub(crate) fn of(error: &Error, retry_after: Option<Duration>) -> Self {
        let (kind, why) = match error {
            Error::Api(problem) => (kind(problem), words(problem)),
            Error::Crypto | Error::KeyRejected => {
                (Failure::Storage, "the account's key cannot be used".to_owned())
            }
            Error::Json(error) => {
                (Failure::Unreachable, format!("the authority answers with nonsense: {error}"))
            }
            other => (Failure::Unreachable, other.to_string()),
        };
        let is_unknown_account = is_problem(error, "accountDoesNotExist");
        Self { kind, why, retry_after, is_unknown_account }
    }
}

/// The problem's type without its prefix; empty if it has none of RFC 8555.
pub(crate) fn type_of(problem: &Problem) -> &str {
    problem.r#type.as_deref().and_then(|kind| kind.strip_prefix(TYPES)).unwrap_or_default()
}

/// Whether `error` is this problem of RFC 8555.
pub(crate) fn is_problem(error: &Error, kind: &str) -> bool {
    matches!(error, Error::Api(problem) if type_of(problem) == kind)
}

fn kind(problem: &Problem) -> Failure {
    match (type_of(problem), problem.status) {
        ("rateLimited", _) | (_, Some(429)) => Failure::RateLimited,
        ("serverInternal", _) | (_, Some(500..)) | ("badNonce", _) => Failure::Unreachable,
        ("caa" | "connection" | "dns" | "incorrectResponse" | "tls" | "unauthorized", _) => {
            Failure::Unproven
        }
        _ => Failure::Refused,
    }
}

/// Type, detail and the same of each part.
pub(crate) fn words(problem: &Problem) -> String {
    let mut text = said(type_of(problem), problem.detail.as_deref());
    for part in &problem.subproblems {
        let kind = part.r#type.as_deref().unwrap_or_default();
        let kind = kind.strip_prefix(TYPES).unwrap_or(kind);
        let name = part.identifier.as_ref().map(|name| name.authorized(false).to_string());
        let name = name.unwrap_or_default();
        write!(text, "; {name}: {}", said(kind, part.detail.as_deref())).expect("text grows");
    }
    one_line(&text)
}

fn said(kind: &str, detail: Option<&str>) -> String {
    let kind = if kind.is_empty() { "a problem" } else { kind };
    detail.map_or_else(|| kind.to_owned(), |detail| format!("{kind}: {detail}"))
}

/// Without anything that would make a log line more than one.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(WORDS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(kind: &str, status: Option<u16>) -> Problem {
        let detail = Some("it is\nso".to_owned());
        Problem { r#type: Some(format!("{TYPES}{kind}")), detail, status, subproblems: Vec::new() }
    }

    #[test]
    fn problems_are_told_apart() {
        let table = [
            ("rateLimited", None, Failure::RateLimited),
            ("malformed", Some(429), Failure::RateLimited),
            ("serverInternal", Some(500), Failure::Unreachable),
            ("orderNotReady", Some(503), Failure::Unreachable),
            ("badNonce", Some(400), Failure::Unreachable),
            ("dns", None, Failure::Unproven),
            ("incorrectResponse", Some(403), Failure::Unproven),
            ("rejectedIdentifier", Some(400), Failure::Refused),
            ("userActionRequired", None, Failure::Refused),
        ];
        for (name, status, expected) in table {
            let trouble = Trouble::of(&Error::Api(problem(name, status)), None);
            assert_eq!(trouble.kind, expected, "{name}");
            assert_eq!(trouble.why, format!("{name}: it is so"));
        }
        assert!(is_problem(&Error::Api(problem("dns", None)), "dns"));
        assert!(!is_problem(&Error::Crypto, "dns"));
    }
}
