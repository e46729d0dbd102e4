//! What the `health` action tells: the state of the pools, as the data plane sees it.

use std::fmt::Write;

use evergate_config::HealthDetail;

use crate::plan::Plan;

/// Status and JSON body. 503 only when some pool has no server left.
pub(crate) fn report(plan: &Plan, detail: HealthDetail) -> (u16, String) {
    let counts = plan.pools.iter().map(|pool| {
        let up = pool.endpoints.iter().filter(|endpoint| endpoint.share() > 0).count();
        (up, pool.endpoints.len())
    });
    let worst = counts.clone().map(|(up, all)| match up {
        0 => 2,
        up if up < all => 1,
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
            for (index, endpoint) in pool.endpoints.iter().enumerate() {
                let comma = if index > 0 { "," } else { "" };
                let _ = write!(
                    body,
                    "{comma}\"{}\":{{\"up\":{},\"inFlight\":{}}}",
                    endpoint.name,
                    endpoint.share() > 0,
                    endpoint.in_flight()
                );
            }
            body.push('}');
        }
        body.push('}');
    }
    body.push_str("}\n");
    (status, body)
}
