//! What all probes have in common, be they of servers or of apps.

use std::time::Duration;

use crate::diagnostic::Diagnostic;
use crate::duration;
use crate::reader::{Fault, Section};

/// Of a probe whose `timeout` is not written.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Decodes `timeout`, which must not be longer than the time from one probe to the next.
pub(crate) fn timeout(section: &Section<'_>, every: Duration) -> Duration {
    let timeout = section.parsed("timeout", duration::positive);
    if let Some(value) = section.get("timeout")
        && timeout.is_some_and(|timeout| timeout > every)
    {
        value.report(
            Diagnostic::error(
                "bad-duration",
                format!("`{}` is longer than `every`, {}", value.path, duration::show(every)),
            )
            .help("a check must end before the next begins: make it shorter, or `every` longer"),
        );
    }
    timeout.unwrap_or(TIMEOUT.min(every))
}

/// Path and query of a GET.
pub(crate) fn path(text: &str) -> Result<String, Fault> {
    if !text.starts_with('/') {
        return Err(
            Fault::new("bad-path", "does not begin with `/`").help(format!("write \"/{text}\""))
        );
    }
    if !text.bytes().all(|b| b.is_ascii_graphic()) || text.contains('#') {
        return Err(Fault::new("bad-path", "holds a letter that cannot stand in a request")
            .help("write other letters as browsers send them, such as %20 for a space"));
    }
    Ok(text.to_owned())
}
