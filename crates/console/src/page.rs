//! The console: one page, rendered here, so that it also reads as a snapshot without scripts.
//!
//! The script asks for the same page again and swaps its parts; there is no second form of any
//! table. Everything that comes from outside goes through [`Text`].

mod apps;
mod standby;

use std::fmt::{self, Display, Write};
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use evergate_control::snapshot::{
    CertificateStatus, Event, Health, ListenerStatus, PoolStatus, RouteStatus, ServerStatus, Status,
};

use crate::desk::Desk;
use crate::problem::{Problem, text_response};
use crate::{when, words};

/// Most events shown, the latest first.
const EVENTS_SHOWN_MAX: usize = 30;

pub(crate) async fn show(State(desk): State<Arc<Desk>>) -> Result<Response, Problem> {
    let status = desk.status().await?;
    let events = desk.events().await?;
    let html = Page { status: &status, events: &events }.to_string();
    Ok(text_response(StatusCode::OK, "text/html; charset=utf-8", html))
}

pub(crate) async fn script() -> Response {
    let script = include_str!("page/script.js");
    text_response(StatusCode::OK, "text/javascript; charset=utf-8", script)
}

/// Text from outside, escaped for elements and quoted attributes.
struct Text<T>(T);

impl<T: Display> Display for Text<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escape(f), "{}", self.0)
    }
}

struct Escape<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl Write for Escape<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for letter in text.chars() {
            match letter {
                '&' => self.0.write_str("&amp;")?,
                '<' => self.0.write_str("&lt;")?,
                '>' => self.0.write_str("&gt;")?,
                '"' => self.0.write_str("&quot;")?,
                '\'' => self.0.write_str("&#39;")?,
                letter => self.0.write_char(letter)?,
            }
        }
        Ok(())
    }
}

struct Page<'a> {
    status: &'a Status,
    events: &'a [Event],
}

impl Display for Page<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Status { node, version, health, .. } = self.status;
        write!(
            f,
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>{} {} · Evergate</title>\n\
             <link rel=\"icon\" href=\"data:,\">\n<style>\n{}</style>\n</head>\n<body>\n\
             <header><div id=\"head\"><h1>{} {}</h1></div><span id=\"link\">snapshot</span></header>\n\
             <main id=\"body\">\n",
            mark(*health),
            Text(node),
            include_str!("page/style.css"),
            Text(node),
            pill(*health),
        )?;
        reasons(f, self.status)?;
        tiles(f, self.status)?;
        standby::show(f, self.status)?;
        listeners(f, &self.status.listeners)?;
        certificates(f, &self.status.certificates)?;
        pools(f, &self.status.pools)?;
        apps::show(f, self.status)?;
        routes(f, &self.status.routes)?;
        events(f, self.events)?;
        write!(
            f,
            "</main>\n<footer>Evergate {} · <a href=\"/metrics\">metrics</a> · \
             <a href=\"/api/v1/status\">status</a> · <a href=\"/api/v1/config\">configuration</a> · \
             <a href=\"/api/v1/openapi.json\">API</a></footer>\n\
             <script src=\"/console.js\" defer></script>\n</body>\n</html>\n",
            Text(version),
        )
    }
}

fn reasons(f: &mut fmt::Formatter<'_>, status: &Status) -> fmt::Result {
    let failed = status.config.failed_reload.as_deref();
    let trial = status.config.trial.as_ref().map(words::on_trial);
    let replacement: Vec<_> = trial.into_iter().chain(words::replacement(status)).collect();
    if status.reasons.is_empty() && failed.is_none() && replacement.is_empty() {
        return Ok(());
    }
    let class = if status.health == Health::Down { " bad" } else { "" };
    write!(f, "<div class=\"reasons{class}\">")?;
    for line in status.reasons.iter().chain(&replacement) {
        write!(f, "<p>{}</p>", Text(line))?;
    }
    if let Some(why) = failed {
        write!(
            f,
            "<p>The last reload failed, the configuration before it holds:</p>\
             <p class=\"mono\">{}</p>",
            Text(why)
        )?;
    }
    f.write_str("</div>\n")
}

fn tiles(f: &mut fmt::Formatter<'_>, status: &Status) -> fmt::Result {
    let servers = || status.pools.iter().flat_map(|pool| &pool.servers);
    let up = servers().filter(|server| server.state == "up").count();
    let requests: u64 = status.routes.iter().map(|route| route.requests).sum();
    let errors: u64 = status.routes.iter().map(|route| route.errors).sum();
    let in_flight: u32 = servers().map(|server| server.in_flight).sum();
    let connections: u64 = status.listeners.iter().map(|listener| listener.connections).sum();
    let configuration = match status.config.id {
        0 => "–".to_owned(),
        id => format!("#{id}"),
    };
    let tiles = [
        (format!("{up} / {}", servers().count()), "servers up"),
        (requests.to_string(), "responses"),
        (errors.to_string(), "of these 5xx"),
        (in_flight.to_string(), "in flight"),
        (connections.to_string(), "connections"),
        (when::span(status.uptime_seconds), "up"),
        (configuration, "configuration"),
        (format!("#{}", status.worker_generation), "worker"),
    ];
    f.write_str("<div class=\"tiles\">")?;
    for (number, words) in tiles {
        write!(f, "<div class=\"tile\"><b>{number}</b><span>{words}</span></div>")?;
    }
    f.write_str("</div>\n")
}

fn listeners(f: &mut fmt::Formatter<'_>, listeners: &[ListenerStatus]) -> fmt::Result {
    f.write_str(
        "<h2>Listeners</h2>\n<div class=\"card\"><table>\
         <tr><th>name</th><th>protocol</th><th>addresses</th>\
         <th class=\"n\">connections</th></tr>\n",
    )?;
    for ListenerStatus { name, protocol, addresses, connections, connections_max } in listeners {
        writeln!(
            f,
            "<tr><td class=\"k\">{}</td><td>{}</td><td class=\"mono\">{}</td>\
             <td class=\"n\" data-l=\"connections\">{connections} of {connections_max}</td></tr>",
            Text(name),
            Text(protocol),
            Text(addresses.join(", ")),
        )?;
    }
    f.write_str("</table></div>\n")
}

fn pools(f: &mut fmt::Formatter<'_>, pools: &[PoolStatus]) -> fmt::Result {
    for PoolStatus { name, balance, health, expected: _, servers } in pools {
        write!(
            f,
            "<h2>Pool <small><b>{}</b> · {} · {}</small></h2>\n<div class=\"card\"><table>\
             <tr><th>server</th><th>state</th><th>why</th><th class=\"n\">weight</th>\
             <th class=\"n\">in flight</th><th class=\"n\">latency</th><th class=\"n\">attempts</th>\
             <th class=\"n\">failed</th></tr>\n",
            Text(name),
            pill(*health),
            Text(balance),
        )?;
        for server in servers {
            server_row(f, server)?;
        }
        f.write_str("</table></div>\n")?;
    }
    Ok(())
}

fn server_row(f: &mut fmt::Formatter<'_>, server: &ServerStatus) -> fmt::Result {
    let weight = match server.weight_percent {
        100 => server.weight.to_string(),
        percent => format!("{} at {percent} %", server.weight),
    };
    writeln!(
        f,
        "<tr><td class=\"k\">{} <span class=\"dim mono\">{}</span></td>\
         <td><span class=\"pill {}\">{}</span> <span class=\"dim\">{}</span></td><td>{}</td>\
         <td class=\"n\" data-l=\"weight\">{weight}</td><td class=\"n\" data-l=\"in flight\">{}</td>\
         <td class=\"n\" data-l=\"latency\">{}</td><td class=\"n\" data-l=\"attempts\">{}</td>\
         <td class=\"n\" data-l=\"failed\">{}</td></tr>",
        Text(&server.name),
        Text(&server.address),
        class(&server.state),
        Text(&server.state),
        when::span(server.since_seconds),
        Text(&server.reason),
        server.in_flight,
        when::latency(server.latency_seconds),
        server.requests,
        server.failures,
    )
}

fn certificates(f: &mut fmt::Formatter<'_>, certificates: &[CertificateStatus]) -> fmt::Result {
    if certificates.is_empty() {
        return Ok(());
    }
    f.write_str(
        "<h2>Certificates</h2>\n<div class=\"card\"><table><tr><th>names</th><th>listener</th>\
         <th>from</th><th>issuer</th><th>ends</th><th>next order</th><th>last failure</th></tr>\n",
    )?;
    for one in certificates {
        let time = |at: u64| format!("{} UTC", when::utc(at * 1000));
        let ends = if one.not_after == 0 { "not there yet".into() } else { time(one.not_after) };
        writeln!(
            f,
            "<tr><td class=\"k\">{}</td><td data-l=\"listener\">{}</td>\
             <td data-l=\"from\">{}</td><td data-l=\"issuer\">{}</td><td data-l=\"ends\">{ends}</td>\
             <td data-l=\"next order\">{}</td><td>{}</td></tr>",
            Text(one.names.join(", ")),
            Text(&one.listener),
            Text(&one.source),
            Text(&one.issuer),
            one.renew_at.map(time).unwrap_or_default(),
            Text(one.failure.as_deref().unwrap_or_default()),
        )?;
    }
    f.write_str("</table></div>\n")
}

fn routes(f: &mut fmt::Formatter<'_>, routes: &[RouteStatus]) -> fmt::Result {
    f.write_str(
        "<h2>Routes</h2>\n<div class=\"card\"><table><tr><th>name</th><th>match</th><th>does</th>\
         <th>middleware</th><th class=\"n\">responses</th><th class=\"n\">5xx</th></tr>\n",
    )?;
    for RouteStatus { name, pattern, action, middleware, requests, errors } in routes {
        writeln!(
            f,
            "<tr><td class=\"k\">{}</td><td class=\"mono\">{}</td><td>{}</td>\
             <td data-l=\"middleware\">{}</td><td class=\"n\" data-l=\"responses\">{requests}</td>\
             <td class=\"n\" data-l=\"5xx\">{errors}</td></tr>",
            Text(name),
            Text(pattern),
            Text(action),
            Text(middleware.join(", ")),
        )?;
    }
    f.write_str("</table></div>\n")
}

fn events(f: &mut fmt::Formatter<'_>, events: &[Event]) -> fmt::Result {
    f.write_str(
        "<h2>Events</h2>\n<div class=\"card\"><table><tr><th>time (UTC)</th><th>what</th>\
         <th>where</th><th>why</th></tr>\n",
    )?;
    for event in events.iter().rev().take(EVENTS_SHOWN_MAX) {
        let class = match event.level.as_str() {
            "error" => "bad",
            "warn" => "warn",
            _ if event.kind.ends_with("_up") || event.kind.ends_with("_ready") => "good",
            _ if event.kind.ends_with("_done") => "good",
            _ => "dim",
        };
        // What was wrong with a configuration comes with its lines and a caret below them.
        let shape = if event.reason.contains('\n') { "mono pre" } else { "pre" };
        writeln!(
            f,
            "<tr><td class=\"mono dim k\">{}</td><td class=\"{class}\">{}</td><td>{}</td>\
             <td class=\"{shape}\">{}</td></tr>",
            when::utc(event.at_ms),
            Text(&event.kind),
            Text(&event.subject),
            Text(&event.reason),
        )?;
    }
    f.write_str("</table></div>\n")
}

/// In the title, where colours do not show.
fn mark(health: Health) -> &'static str {
    match health {
        Health::Healthy => "●",
        Health::Degraded => "▲",
        Health::Down => "✖",
    }
}

fn pill(health: Health) -> &'static str {
    match health {
        Health::Healthy => "<span class=\"pill good\">healthy</span>",
        Health::Degraded => "<span class=\"pill warn\">degraded</span>",
        Health::Down => "<span class=\"pill bad\">down</span>",
    }
}

fn class(state: &str) -> &'static str {
    match state {
        "up" | "ready" => "good",
        "down" | "backoff" | "fatal" | "stuck" | "unhealthy" => "bad",
        "stopped" => "dim",
        _ => "warn",
    }
}

#[cfg(test)]
mod tests {
    use evergate_control::snapshot::{
        AppLimitsStatus, DeployStatus, EvidenceStatus, InstanceStatus, PathStatus, PeerStatus,
        TrackStatus, VipAddressStatus, VipMaster, VipStatus,
    };

    use super::*;

    #[test]
    fn nothing_from_outside_becomes_markup() {
        let evil = "<script>alert('1' & \"2\")</script>";
        let status = Status {
            node: evil.into(),
            version: evil.into(),
            reasons: vec![evil.into()],
            health: Health::Degraded,
            config: evergate_control::snapshot::ConfigStatus {
                failed_reload: Some(evil.into()),
                ..Default::default()
            },
            listeners: vec![ListenerStatus {
                name: evil.into(),
                protocol: evil.into(),
                addresses: vec![evil.into()],
                ..Default::default()
            }],
            routes: vec![RouteStatus {
                name: evil.into(),
                pattern: evil.into(),
                action: evil.into(),
                middleware: vec![evil.into()],
                ..Default::default()
            }],
            pools: vec![PoolStatus {
                name: evil.into(),
                balance: evil.into(),
                servers: vec![ServerStatus {
                    name: evil.into(),
                    address: evil.into(),
                    state: evil.into(),
                    reason: evil.into(),
                    ..Default::default()
                }],
                ..Default::default()
            }],
            apps: vec![InstanceStatus {
                app: evil.into(),
                state: evil.into(),
                reason: evil.into(),
                address: Some(evil.into()),
                last_exit: Some(evil.into()),
                ..Default::default()
            }],
            deploys: vec![DeployStatus {
                app: evil.into(),
                phase: evil.into(),
                cause: evil.into(),
                message: evil.into(),
                ..Default::default()
            }],
            app_limits: vec![AppLimitsStatus {
                app: evil.into(),
                kept: vec![format!("{evil} unsupported")],
            }],
            vips: vec![VipStatus {
                name: evil.into(),
                addresses: vec![VipAddressStatus { address: evil.into(), is_here: true }],
                role: evil.into(),
                reason: evil.into(),
                master: Some(VipMaster { address: evil.into(), priority: 1 }),
                rival: Some(evil.into()),
                holding_back: Some(format!("{evil} for now")),
                tracked: vec![TrackStatus {
                    subject: evil.into(),
                    effect: evil.into(),
                    failure: Some(evil.into()),
                }],
                ..Default::default()
            }],
            vip_problems: vec![evil.into()],
            peers: vec![PeerStatus {
                name: evil.into(),
                state: evil.into(),
                paths: vec![PathStatus { address: evil.into(), ..Default::default() }],
                evidence: vec![EvidenceStatus {
                    question: evil.into(),
                    answers: None,
                    detail: evil.into(),
                }],
                roles: vec![(evil.into(), evil.into())],
            }],
            certificates: vec![CertificateStatus {
                listener: evil.into(),
                source: evil.into(),
                names: vec![evil.into()],
                issuer: evil.into(),
                failure: Some(evil.into()),
                ..Default::default()
            }],
            ..Status::default()
        };
        let event = Event {
            level: evil.into(),
            kind: evil.into(),
            subject: evil.into(),
            reason: evil.into(),
            ..Event::default()
        };
        let html = Page { status: &status, events: &[event] }.to_string();
        assert!(!html.contains("<script>") && !html.contains("'1'") && !html.contains("\"2\""));
        let escaped = "&lt;script&gt;alert(&#39;1&#39; &amp; &quot;2&quot;)&lt;/script&gt;";
        assert_eq!(html.matches(escaped).count(), 54, "{html}");
    }
}
