//! `cors`: lets scripts of other origins in (WHATWG Fetch, 3.2).

use evergate_config as config;
use evergate_core::head::{Method, Name};

use super::{Edits, Verdict};
use crate::facts::Facts;

const ANSWERS: [&str; 6] = [
    "access-control-allow-origin",
    "access-control-allow-credentials",
    "access-control-allow-methods",
    "access-control-allow-headers",
    "access-control-expose-headers",
    "access-control-max-age",
];

/// Cross-origin rules of one middleware.
#[derive(Debug)]
pub(crate) struct Cors {
    origins: Vec<String>,
    any: bool,
    credentials: bool,
    methods: Vec<u8>,
    headers: Vec<u8>,
    expose: Vec<u8>,
    max_age: Vec<u8>,
}

impl Cors {
    pub(super) fn new(rules: &config::Cors) -> Self {
        Self {
            origins: rules.origins.clone(),
            any: rules.origins.iter().any(|origin| origin == "*"),
            credentials: rules.credentials,
            methods: rules.methods.join(", ").into_bytes(),
            headers: rules.headers.join(", ").into_bytes(),
            expose: rules.expose.join(", ").into_bytes(),
            max_age: rules.max_age.as_secs().to_string().into_bytes(),
        }
    }

    /// Answers preflights itself; lets everything else pass and marks the response. A request from
    /// an origin that is not let in goes on unmarked: it is the browser that keeps the answer from
    /// the script.
    pub(super) fn judge<'p>(&'p self, facts: &Facts<'_>, edits: &mut Edits<'p>) -> Verdict {
        let changes = &mut edits.response;
        // One party speaks on cross-origin access, or the browser sees two answers and refuses.
        changes.remove.extend(ANSWERS);
        if !self.any {
            changes.add.push(("vary", b"Origin".to_vec()));
        }
        let Some(origin) = facts.head.fields.get(Name::Origin) else { return Verdict::Pass };
        let asked = facts.head.fields.find(b"access-control-request-method");
        let is_preflight = facts.head.method == Method::Options && asked.is_some();
        if self.lets_in(origin) {
            let allowed = if self.any { b"*".to_vec() } else { origin.to_vec() };
            changes.add.push(("access-control-allow-origin", allowed));
            if self.credentials {
                changes.add.push(("access-control-allow-credentials", b"true".to_vec()));
            }
            if is_preflight {
                changes.add.push(("access-control-allow-methods", self.methods.clone()));
                changes.add.push(("access-control-max-age", self.max_age.clone()));
                if !self.headers.is_empty() {
                    changes.add.push(("access-control-allow-headers", self.headers.clone()));
                }
            } else if !self.expose.is_empty() {
                changes.add.push(("access-control-expose-headers", self.expose.clone()));
            }
        }
        if is_preflight { Verdict::Answer(204) } else { Verdict::Pass }
    }

    fn lets_in(&self, origin: &[u8]) -> bool {
        self.any || self.origins.iter().any(|allowed| allowed.as_bytes() == origin)
    }
}
