//! What the `health` action tells: the state of the pools, as the data plane sees it.

use std::fmt::Write;

use evergate_config::HealthDetail;

use crate::plan::Plan;

/// Status and JSON body. 503 only when some pool has no server left; one that has fewer than it
/// should have is degraded.
pub(crate) fn report(plan: &Plan, detail: HealthDetail) -> (u16, String) {
    let worst = plan.pools.iter().map(|pool| match pool.up() {
        0 => 2,
        up if up < pool.expected => 1,
        _ => 0,
    });
    let (status, word) = match worst.max().unwrap_or(0) {
        0 => (200, "healthy"),
        1 => (200, "degraded"),
        _ => (503, "down"),
    };
    let mut body = format!("{{\"status\":\"{word}\"");
    if detail == HealthDetail::Full {
        body.push_str(",\"pools\":{");
        for (index, pool) in plan.pools.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            // Names are checked to need no escaping; writing to a string cannot fail.
            let _ = write!(body, "{comma}\"{}\":{{", pool.name);
            // The runs of one instance are one server.
            let servers = pool.endpoints.chunk_by(|a, b| a.name == b.name);
            for (index, runs) in servers.enumerate() {
                let comma = if index > 0 { "," } else { "" };
                let is_up = runs.iter().any(|endpoint| endpoint.share() > 0);
                let in_flight: u32 = runs.iter().map(|endpoint| endpoint.in_flight()).sum();
                let name = runs.first().map_or("", |endpoint| &endpoint.name);
                let _ =
                    write!(body, "{comma}\"{name}\":{{\"up\":{is_up},\"inFlight\":{in_flight}}}");
            }
            body.push('}');
        }
        body.push('}');
    }
    body.push_str("}\n");
    (status, body)
}
