//! The metrics: one table of names, two encodings.
//!
//! Counters are fields of [`Stats`]; only this file knows what they are called outside. Labels come
//! from the configuration or from closed lists, so their number is bounded.

mod apps;
mod standby;
mod text;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use evergate_control::snapshot::{PoolStats, ServerStatus, Stats, TlsStats};

use crate::desk::Desk;
use crate::problem::{Problem, text_response};
use text::{Format, Samples, encode};

/// What kind of family a metric is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
    Info,
}

/// One metric: a row of the table.
struct Metric {
    /// Whole name, a counter's `_total` and an info's `_info` included.
    name: &'static str,
    kind: Kind,
    /// One line without quotes or backslashes, so that it needs no escaping.
    help: &'static str,
    /// Takes the samples out of the counters.
    samples: fn(&Stats, &mut Samples<'_>),
}

pub(crate) async fn show(
    State(desk): State<Arc<Desk>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let format = negotiate(&headers);
    let text = encode(metrics(), &desk.stats().await?, format);
    Ok(text_response(StatusCode::OK, format.content_type(), text))
}

/// OpenMetrics if the caller wants it at least as much as plain text (RFC 9110, 12.5.1).
fn negotiate(headers: &HeaderMap) -> Format {
    let (mut open_metrics, mut plain) = (0.0, 0.0);
    for value in headers.get_all(header::ACCEPT) {
        for range in value.to_str().unwrap_or_default().split(',') {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default();
            let weight: f32 = parts
                .find_map(|part| part.strip_prefix("q="))
                .map_or(1.0, |weight| weight.parse().unwrap_or(0.0));
            if kind.eq_ignore_ascii_case("application/openmetrics-text") {
                open_metrics = weight;
            } else if kind.eq_ignore_ascii_case("text/plain") {
                plain = weight;
            }
        }
    }
    if open_metrics > 0.0 && open_metrics >= plain { Format::OpenMetrics } else { Format::Text }
}

const fn counter(
    name: &'static str,
    help: &'static str,
    samples: fn(&Stats, &mut Samples<'_>),
) -> Metric {
    Metric { name, kind: Kind::Counter, help, samples }
}

const fn gauge(
    name: &'static str,
    help: &'static str,
    samples: fn(&Stats, &mut Samples<'_>),
) -> Metric {
    Metric { name, kind: Kind::Gauge, help, samples }
}

/// Every metric, in the order in which they are shown.
fn metrics() -> impl Iterator<Item = &'static Metric> {
    METRICS.iter().chain(standby::METRICS)
}

/// Those of the node, its traffic and its apps.
const METRICS: &[Metric] = &[
    Metric {
        name: "evergate_build_info",
        kind: Kind::Info,
        help: "Version of Evergate; always 1.",
        samples: |stats, out| out.put(&[("version", &stats.version)], 1u32),
    },
    gauge(
        "evergate_start_time_seconds",
        "When counting began, in Unix time; counters go on from worker to worker.",
        |stats, out| out.put(&[], stats.started_at),
    ),
    gauge(
        "evergate_worker_generation",
        "How many workers there have been since the keeper started.",
        |stats, out| out.put(&[], stats.worker_generation),
    ),
    counter("evergate_requests_total", "Responses by route, pool and status.", |stats, out| {
        for route in &stats.routes {
            for (status, count) in &route.statuses {
                let code = status.to_string();
                let labels = [("route", &*route.name), ("pool", &route.pool), ("code", &code)];
                out.put(&labels, *count);
            }
        }
    }),
    Metric {
        name: "evergate_request_duration_seconds",
        kind: Kind::Histogram,
        help: "Time from a request's first byte to its response's last.",
        samples: |stats, out| {
            for route in &stats.routes {
                let labels = [("route", &*route.name), ("pool", &route.pool)];
                out.histogram(&labels, &route.duration);
            }
        },
    },
    counter("evergate_request_received_bytes_total", "Bytes of request bodies.", |stats, out| {
        for route in &stats.routes {
            out.put(&[("route", &route.name), ("pool", &route.pool)], route.received_bytes);
        }
    }),
    counter("evergate_response_sent_bytes_total", "Bytes of response bodies.", |stats, out| {
        for route in &stats.routes {
            out.put(&[("route", &route.name), ("pool", &route.pool)], route.sent_bytes);
        }
    }),
    gauge("evergate_listener_connections", "Open client connections.", |stats, out| {
        for listener in &stats.listeners {
            out.put(&[("listener", &listener.name)], listener.connections);
        }
    }),
    gauge(
        "evergate_listener_connections_limit",
        "Most client connections at once.",
        |stats, out| {
            for listener in &stats.listeners {
                out.put(&[("listener", &listener.name)], listener.connections_max);
            }
        },
    ),
    counter("evergate_listener_accepted_total", "Client connections accepted.", |stats, out| {
        for listener in &stats.listeners {
            out.put(&[("listener", &listener.name)], listener.accepted);
        }
    }),
    counter(
        "evergate_listener_rejected_total",
        "Client connections turned away, by limit.",
        |stats, out| {
            for listener in &stats.listeners {
                for (reason, count) in &listener.rejected {
                    out.put(&[("listener", &*listener.name), ("reason", reason)], *count);
                }
            }
        },
    ),
    counter(
        "evergate_proxy_protocol_refused_total",
        "Client connections closed for want of a good PROXY header, by reason.",
        |stats, out| {
            for listener in &stats.listeners {
                for (reason, count) in &listener.proxy_refused {
                    out.put(&[("listener", &*listener.name), ("reason", reason)], *count);
                }
            }
        },
    ),
    counter(
        "evergate_listener_protocol_total",
        "Client connections by the protocol they came to speak.",
        |stats, out| {
            for listener in &stats.listeners {
                for (protocol, count) in &listener.protocols {
                    out.put(&[("listener", &*listener.name), ("protocol", protocol)], *count);
                }
            }
        },
    ),
    counter(
        "evergate_http2_floods_total",
        "Client connections ended for a flood of HTTP/2 frames, by kind.",
        |stats, out| {
            for listener in &stats.listeners {
                for (kind, count) in &listener.floods {
                    out.put(&[("listener", &*listener.name), ("kind", kind)], *count);
                }
            }
        },
    ),
    counter(
        "evergate_tls_handshakes_total",
        "TLS handshakes with clients that ended well, by version.",
        |stats, out| {
            handshakes(stats, |listener, tls| {
                for (version, count) in &tls.handshakes {
                    out.put(&[("listener", listener), ("version", version)], *count);
                }
            });
        },
    ),
    counter(
        "evergate_tls_resumed_total",
        "TLS handshakes with clients that went on from an earlier session.",
        |stats, out| {
            handshakes(stats, |listener, tls| out.put(&[("listener", listener)], tls.resumed));
        },
    ),
    counter(
        "evergate_tls_handshake_failures_total",
        "TLS handshakes with clients that failed, by reason.",
        |stats, out| {
            handshakes(stats, |listener, tls| {
                for (reason, count) in &tls.failures {
                    out.put(&[("listener", listener), ("reason", reason)], *count);
                }
            });
        },
    ),
    gauge(
        "evergate_certificate_not_after_seconds",
        "When a certificate ends, in Unix time; 0 while there is none yet.",
        |stats, out| {
            for one in &stats.certificates {
                let name = one.names.first().map_or("", String::as_str);
                let labels =
                    [("listener", &*one.listener), ("source", &one.source), ("name", name)];
                out.put(&labels, one.not_after);
            }
        },
    ),
    counter(
        "evergate_rejects_total",
        "Requests that Evergate itself refused, by reason.",
        |stats, out| {
            for (reason, count) in &stats.rejects {
                out.put(&[("reason", reason)], *count);
            }
        },
    ),
    counter(
        "evergate_upstream_requests_total",
        "Attempts sent to a server, retries included.",
        |stats, out| servers(stats, |labels, server| out.put(labels, server.requests)),
    ),
    counter("evergate_upstream_failures_total", "Attempts that failed.", |stats, out| {
        servers(stats, |labels, server| out.put(labels, server.failures));
    }),
    gauge("evergate_server_up", "Whether a server may get new requests.", |stats, out| {
        servers(stats, |labels, server| out.put(labels, u64::from(server.state == "up")));
    }),
    gauge("evergate_server_weight", "Weight in force, slow start included.", |stats, out| {
        servers(stats, |labels, server| {
            out.put(labels, f64::from(server.weight) * f64::from(server.weight_percent) / 100.0);
        });
    }),
    gauge("evergate_server_in_flight", "Requests in flight, tunnels included.", |stats, out| {
        servers(stats, |labels, server| out.put(labels, server.in_flight));
    }),
    gauge(
        "evergate_server_tunnels",
        "Connections that were upgraded, such as WebSockets.",
        |stats, out| servers(stats, |labels, server| out.put(labels, server.tunnels)),
    ),
    gauge(
        "evergate_server_latency_seconds",
        "Peak EWMA of the time to the response head; 0 before the first.",
        |stats, out| servers(stats, |labels, server| out.put(labels, server.latency_seconds)),
    ),
    counter("evergate_pool_retries_total", "Attempts beyond the first.", |stats, out| {
        pools(stats, |labels, pool| out.put(labels, pool.retries));
    }),
    counter(
        "evergate_pool_retries_denied_total",
        "Retries that the budget refused.",
        |stats, out| pools(stats, |labels, pool| out.put(labels, pool.retries_denied)),
    ),
    counter(
        "evergate_pool_no_server_total",
        "Requests for which no server was up.",
        |stats, out| pools(stats, |labels, pool| out.put(labels, pool.no_server)),
    ),
    counter("evergate_upstream_connects_total", "Upstream connections made.", |stats, out| {
        pools(stats, |labels, pool| out.put(labels, pool.connects));
    }),
    counter(
        "evergate_upstream_reuses_total",
        "Attempts sent on a connection that was kept alive.",
        |stats, out| pools(stats, |labels, pool| out.put(labels, pool.reuses)),
    ),
    gauge(
        "evergate_config_generation",
        "Counts the configurations applied by this worker.",
        |stats, out| out.put(&[], stats.config_generation),
    ),
    gauge("evergate_workers", "Workers, by what they do.", |stats, out| {
        for (state, count) in &stats.workers {
            out.put(&[("state", state)], *count);
        }
    }),
    counter("evergate_upgrades_total", "Upgrades that ended, by outcome.", |stats, out| {
        for (outcome, count) in &stats.upgrades {
            out.put(&[("outcome", outcome)], *count);
        }
    }),
    counter(
        "evergate_keeper_execs_total",
        "How often the keeper became another binary.",
        |stats, out| out.put(&[], stats.keeper_execs),
    ),
    counter("evergate_config_reloads_total", "Reloads, by outcome.", |stats, out| {
        out.put(&[("outcome", "applied")], stats.reloads);
        out.put(&[("outcome", "refused")], stats.reloads_failed);
    }),
    gauge(
        "evergate_config_last_reload_successful",
        "Whether the last reload was applied; 1 before the first.",
        |stats, out| out.put(&[], u64::from(stats.config_last_reload_ok)),
    ),
    gauge(
        "evergate_config_held",
        "Whether an earlier configuration is in force in place of the file.",
        |stats, out| out.put(&[], u64::from(stats.config_is_held)),
    ),
    gauge(
        "evergate_config_unconfirmed",
        "Whether the configuration in force goes back by itself unless it is confirmed.",
        |stats, out| out.put(&[], u64::from(stats.config_is_unconfirmed)),
    ),
    counter("evergate_log_lines_total", "Access log lines written.", |stats, out| {
        out.put(&[], stats.log_lines);
    }),
    counter(
        "evergate_log_dropped_total",
        "Access log lines dropped because the reader was too slow.",
        |stats, out| out.put(&[], stats.log_dropped),
    ),
    counter(
        "evergate_panics_total",
        "Requests that ended in a panic of Evergate.",
        |stats, out| out.put(&[], stats.panics),
    ),
    gauge("evergate_process_resident_bytes", "Resident memory, by role.", |stats, out| {
        for (role, bytes) in &stats.resident_bytes {
            out.put(&[("role", role)], *bytes);
        }
    }),
    counter("evergate_process_cpu_seconds_total", "CPU time used, by role.", |stats, out| {
        for (role, seconds) in &stats.cpu_seconds {
            out.put(&[("role", role)], *seconds);
        }
    }),
    gauge("evergate_open_fds", "Open file descriptors of the worker.", |stats, out| {
        out.put(&[], stats.open_fds);
    }),
    counter("evergate_acme_orders_total", "Certificates ordered, by outcome.", |stats, out| {
        for acme in &stats.acme {
            for (outcome, count) in &acme.orders {
                out.put(&[("acme", &*acme.name), ("outcome", outcome)], *count);
            }
        }
    }),
    gauge(
        "evergate_acme_not_after_seconds",
        "When the certificate of an authority ends, in Unix time; 0 while there is none.",
        |stats, out| {
            for acme in &stats.acme {
                out.put(&[("acme", &acme.name)], acme.not_after);
            }
        },
    ),
    gauge(
        "evergate_acme_renew_at_seconds",
        "When the next order of a certificate begins, in Unix time.",
        |stats, out| {
            for acme in stats.acme.iter().filter(|acme| acme.renew_at > 0) {
                out.put(&[("acme", &acme.name)], acme.renew_at);
            }
        },
    ),
    gauge("evergate_app_instance_up", "Whether an instance is ready.", |stats, out| {
        apps::each(stats, out, |runs| apps::largest(runs, |run| u64::from(run.state == "ready")));
    }),
    gauge("evergate_app_instance_state", "Runs of an instance, by state.", apps::states),
    counter("evergate_app_starts_total", "Starts of an instance.", |stats, out| {
        apps::each(stats, out, |runs| apps::largest(runs, |run| run.generation));
    }),
    counter("evergate_app_exits_total", "Unplanned exits of an instance.", |stats, out| {
        apps::each(stats, out, |runs| apps::largest(runs, |run| run.exits));
    }),
    gauge("evergate_app_failures", "Failures of an instance that count now.", |stats, out| {
        apps::each(stats, out, |runs| apps::largest(runs, |run| run.failures));
    }),
    gauge("evergate_app_failures_limit", "Failures that make an instance fatal.", |stats, out| {
        apps::each(stats, out, |runs| apps::largest(runs, |run| run.failures_max));
    }),
    gauge("evergate_app_in_flight", "Requests and tunnels of an instance.", |stats, out| {
        apps::each(stats, out, |runs| apps::sum(runs, |run| Some(run.in_flight.into())));
    }),
    gauge("evergate_app_resident_bytes", "Resident memory of an instance.", |stats, out| {
        apps::each(stats, out, |runs| apps::sum(runs, |run| run.resident_bytes));
    }),
    gauge(
        "evergate_app_memory_limit_bytes",
        "Most memory of a run, by configuration.",
        |stats, out| {
            apps::each(stats, out, |runs| runs.iter().find_map(|run| run.memory_limit_bytes));
        },
    ),
    counter(
        "evergate_app_cpu_seconds_total",
        "CPU time used by the latest run of an instance.",
        apps::cpu,
    ),
    counter("evergate_app_output_lines_total", "Lines that an instance printed.", |stats, out| {
        apps::each(stats, out, |runs| apps::largest(runs, |run| run.output.lines));
    }),
    counter("evergate_app_output_bytes_total", "Bytes that an instance printed.", |stats, out| {
        apps::each(stats, out, |runs| apps::largest(runs, |run| run.output.bytes));
    }),
    counter(
        "evergate_app_output_dropped_bytes_total",
        "Bytes of output dropped, the disk being full or too slow.",
        |stats, out| {
            apps::each(stats, out, |runs| apps::largest(runs, |run| run.output.dropped_bytes));
        },
    ),
    counter("evergate_app_deploys_total", "Deploys of an app, restarts included.", |stats, out| {
        for deploy in &stats.deploys {
            out.put(&[("app", &deploy.app)], deploy.number);
        }
    }),
    gauge("evergate_app_deploy_phase", "Phase of an app's latest deploy.", apps::phases),
    gauge(
        "evergate_app_deploy_done_ratio",
        "Share of instances that an app's latest deploy has replaced.",
        |stats, out| {
            for deploy in &stats.deploys {
                let share = f64::from(deploy.done) / f64::from(deploy.of.max(1));
                out.put(&[("app", &deploy.app)], share);
            }
        },
    ),
];

fn handshakes(stats: &Stats, mut put: impl FnMut(&str, &TlsStats)) {
    for listener in &stats.listeners {
        if let Some(tls) = &listener.tls {
            put(&listener.name, tls);
        }
    }
}

fn pools(stats: &Stats, mut put: impl FnMut(&[(&str, &str)], &PoolStats)) {
    for pool in &stats.pools {
        put(&[("pool", &pool.name)], pool);
    }
}

fn servers(stats: &Stats, mut put: impl FnMut(&[(&str, &str)], &ServerStatus)) {
    for pool in &stats.pools {
        for server in &pool.servers {
            put(&[("pool", &pool.name), ("server", &server.name)], server);
        }
    }
}
