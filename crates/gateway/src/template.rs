//! Filling in the `{variables}` of a configuration's templates.

use evergate_config::{Part, Template};
use evergate_core::head::{Name, RequestHead};

use crate::facts::Facts;

/// Appends `template` with its variables filled in.
pub(crate) fn render(template: &Template, facts: &Facts<'_>, out: &mut Vec<u8>) {
    for part in &template.parts {
        match part {
            Part::Literal(text) => out.extend_from_slice(text.as_bytes()),
            Part::ClientIp => out.extend_from_slice(facts.client.to_string().as_bytes()),
            Part::Host => out.extend_from_slice(facts.host()),
            Part::Path => out.extend_from_slice(facts.path.as_bytes()),
            Part::Query => {
                if let Some(query) = facts.head.query() {
                    out.push(b'?');
                    out.extend_from_slice(query);
                }
            }
            Part::Route => out.extend_from_slice(facts.route.as_bytes()),
            Part::Header(name) => {
                out.extend_from_slice(facts.head.fields.find(name.as_bytes()).unwrap_or_default());
            }
            Part::Cookie(name) => {
                out.extend_from_slice(cookie(facts.head, name.as_bytes()).unwrap_or_default());
            }
            Part::Param(name) => out.extend_from_slice(facts.param(name).as_bytes()),
        }
    }
}

/// The value of the first cookie called `name` (RFC 6265, 5.4).
fn cookie<'a>(head: &'a RequestHead, name: &[u8]) -> Option<&'a [u8]> {
    let pairs = head.fields.all(Name::Cookie).flat_map(|value| value.split(|&byte| byte == b';'));
    pairs.map(<[u8]>::trim_ascii_start).find_map(|pair| {
        let value = pair.strip_prefix(name)?;
        value.strip_prefix(b"=")
    })
}
