//! `headers`: sets, adds and removes fields, either way.

use evergate_config::{self as config, HeaderEdits, Template};

use super::{Changes, Edits, Verdict};
use crate::facts::Facts;
use crate::template;

/// Field changes of one middleware.
#[derive(Debug)]
pub(crate) struct Headers {
    request: HeaderEdits,
    response: HeaderEdits,
}

impl Headers {
    pub(super) fn new(rules: &config::Headers) -> Self {
        Self { request: rules.request.clone(), response: rules.response.clone() }
    }

    pub(super) fn judge<'p>(&'p self, facts: &Facts<'_>, edits: &mut Edits<'p>) -> Verdict {
        apply(&self.request, facts, &mut edits.request);
        apply(&self.response, facts, &mut edits.response);
        Verdict::Pass
    }
}

fn apply<'p>(rules: &'p HeaderEdits, facts: &Facts<'_>, changes: &mut Changes<'p>) {
    for name in &rules.remove {
        changes.add.retain(|(added, _)| !added.eq_ignore_ascii_case(name));
        changes.remove.push(name);
    }
    for (name, value) in &rules.set {
        changes.set(name, rendered(value, facts));
    }
    for (name, value) in &rules.add {
        changes.add.push((name, rendered(value, facts)));
    }
}

fn rendered(value: &Template, facts: &Facts<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    template::render(value, facts, &mut out);
    // What a client put into a variable must not start a line of its own.
    out.retain(|&byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f));
    out
}
