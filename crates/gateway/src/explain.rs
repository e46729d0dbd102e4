//! What would happen to a request, and why: the same decisions as on the request path, told.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use evergate_config::{Action, HealthDetail};
use evergate_control::command::Question;
use evergate_control::link::Instance;
use evergate_control::snapshot::{Candidate, Explanation, ServerStatus};
use evergate_core::head::RequestHead;
use evergate_core::http1;
use evergate_core::route::{self, Found};

use crate::caller::Caller;
use crate::dial::Address;
use crate::facts::Facts;
use crate::files;
use crate::filter::{Edits, Verdict};
use crate::plan::{Plan, Route, RouteAction};
use crate::reject::{ClientFault, Reject};
use crate::rewrite;
use crate::runs::{Runs, state_word};

/// Answers `question` from `plan`; `servers` are the servers of a pool with their states.
///
/// # Errors
/// Says what is wrong with the question.
pub(crate) fn explain(
    plan: &Plan,
    question: &Question,
    servers: impl Fn(&str) -> Vec<ServerStatus>,
    runs: &Runs,
) -> Result<Explanation, String> {
    let head = read(question)?;
    let path = match route::normalise(head.path()) {
        Ok(path) => path,
        Err(error) => {
            return Ok(Explanation {
                request: format!("{} {}", question.method, question.url),
                action: format!("refused: {}", Reject::Client(ClientFault::Path)),
                because: vec![error.to_string()],
                status: Some(Reject::Client(ClientFault::Path).status()),
                ..Explanation::default()
            });
        }
    };
    let authority = String::from_utf8_lossy(head.authority()).into_owned();
    let mut told = Explanation {
        request: format!("{} {authority}{path}", question.method),
        ..Explanation::default()
    };
    let accepts = |route: &Route| route.accepts(&head.fields, listener_of(route));
    let found =
        plan.table.find(head.authority(), &path, head.method_text(), |id| accepts(plan.route(id)));
    let winner = if let Found::Route { id, .. } = &found { Some(*id) } else { None };
    for id in plan.table.candidates(head.authority(), &path) {
        told.because.push(judge(plan.route(id), &head, winner == Some(id)));
    }
    let (id, params) = match found {
        Found::Route { id, params } => (id, params),
        Found::MethodNotAllowed { allowed } => {
            told.because.push(format!("this path takes only {}", allowed.join(", ")));
            return Ok(refused(told, Reject::Client(ClientFault::Method)));
        }
        Found::NotFound => {
            if told.because.is_empty() {
                told.because.push("no route's match covers this host and path".to_owned());
            }
            return Ok(refused(told, Reject::Client(ClientFault::NoRoute)));
        }
    };
    let route = plan.route(id);
    told.route = Some(route.name.clone());
    told.pattern = Some(route.pattern.clone());
    told.origin = Some(route.origin.clone());
    told.params = params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let client = question.client.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let caller = Caller::plain(SocketAddr::new(client, 0));
    let facts = Facts {
        head: &head,
        path: &path,
        client,
        caller: &caller,
        peer_is_trusted: false,
        route: &route.name,
        params: Some(params),
        request_id: [b'0'; 32],
    };
    if let Some(status) = pass_filters(route, &facts, &mut told) {
        told.status = Some(status);
        told.action = "answered by middleware".to_owned();
        return Ok(told);
    }
    describe_action(plan, route, &facts, &mut told, servers, runs);
    Ok(told)
}

/// What a route does, in words.
pub(crate) fn describe(plan: &Plan, action: &RouteAction) -> String {
    match action {
        RouteAction::Pool(id) => format!("forward to pool.{}", plan.pools[id.index()].name),
        RouteAction::Local(Action::Redirect { status, .. }) => format!("redirect with {status}"),
        RouteAction::Local(Action::Respond { status, .. }) => format!("respond with {status}"),
        RouteAction::Local(Action::Health(HealthDetail::Status)) => "tell the health".to_owned(),
        RouteAction::Local(Action::Health(HealthDetail::Full)) => {
            "tell the health in full".to_owned()
        }
        RouteAction::Files(files) => format!("answer with a file from {}", files.place()),
        RouteAction::Local(Action::Pool(_) | Action::Static(_)) => String::new(),
    }
}

/// Reads the question with the parser that reads requests.
fn read(question: &Question) -> Result<RequestHead, String> {
    let url = &question.url;
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let rest = rest.ok_or_else(|| format!("`{url}` is not http://HOST/PATH"))?;
    let (host, target) = match rest.find(['/', '?']) {
        Some(at) if rest[at..].starts_with('?') => (&rest[..at], format!("/{}", &rest[at..])),
        Some(at) => (&rest[..at], rest[at..].to_owned()),
        None => (rest, "/".to_owned()),
    };
    let mut text = format!("{} {target} HTTP/1.1\r\nHost: {host}\r\n", question.method);
    for (name, value) in &question.headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    let mut head = RequestHead::default();
    match http1::parse_request(text.as_bytes(), &http1::Limits::default(), &mut head) {
        Ok(Some(_)) => Ok(head),
        Ok(None) => Err("the request has no end".to_owned()),
        Err(error) => Err(format!("such a request is answered {}: {error}", error.status())),
    }
}

/// The listener a request is taken to come in by: any that the route serves.
fn listener_of(route: &Route) -> &str {
    route.listeners.first().map_or("", String::as_str)
}

fn judge(route: &Route, head: &RequestHead, wins: bool) -> String {
    let name = &route.name;
    let at = &route.origin;
    let method = String::from_utf8_lossy(head.method_text());
    let takes = |method: &str| route.methods.iter().any(|one| one == method);
    let takes_method =
        route.methods.is_empty() || takes(&method) || (method == "HEAD" && takes("GET"));
    if wins {
        format!("route.{name} ({at}): `{}` wins as the most specific match", route.pattern)
    } else if !takes_method {
        format!("route.{name} ({at}): takes only {}", route.methods.join(", "))
    } else if !route.accepts(&head.fields, listener_of(route)) {
        format!("route.{name} ({at}): its header conditions do not hold")
    } else {
        format!("route.{name} ({at}): `{}` matches too, but is less specific", route.pattern)
    }
}

fn refused(mut told: Explanation, reject: Reject) -> Explanation {
    told.action = format!("refused: {reject}");
    told.status = Some(reject.status());
    told
}

/// Notes each middleware's verdict; returns the status if one of them answers.
fn pass_filters(route: &Route, facts: &Facts<'_>, told: &mut Explanation) -> Option<u16> {
    let mut edits = Edits::default();
    for (name, filter) in route.middleware.iter().zip(&route.filters) {
        let (verdict, status) = match filter.judge(facts, &mut edits) {
            Verdict::Pass => ("passes".to_owned(), None),
            Verdict::Refuse(reject) => {
                (format!("refuses: {reject} ({})", reject.status()), Some(reject.status()))
            }
            Verdict::Answer(status) => (format!("answers with {status}"), Some(status)),
        };
        told.middleware.push((name.clone(), verdict));
        if status.is_some() {
            return status;
        }
    }
    None
}

fn describe_action(
    plan: &Plan,
    route: &Route,
    facts: &Facts<'_>,
    told: &mut Explanation,
    servers: impl Fn(&str) -> Vec<ServerStatus>,
    runs: &Runs,
) {
    told.action = describe(plan, &route.action);
    match &route.action {
        RouteAction::Pool(id) => {
            let pool = &plan.pools[id.index()];
            let target = rewrite::target(&route.rewrite, facts);
            told.upstream_path = Some(String::from_utf8_lossy(&target).into_owned());
            told.pool = Some(pool.name.clone());
            told.balance = Some(balance_word(pool.balance).to_owned());
            told.candidates = servers(&pool.name).into_iter().map(candidate).collect();
            let absent = pool.apps.iter().flat_map(|(app, _)| runs.absent(app));
            told.candidates.extend(absent.map(|one| absentee(one, runs.in_flight(plan, &one.run))));
            if told.candidates.iter().all(|candidate| !candidate.eligible) {
                told.because.push(match pool.all_down {
                    evergate_config::AllDown::Unavailable => {
                        "no server is up: the answer is 503 (all_down = \"503\")".to_owned()
                    }
                    evergate_config::AllDown::TryAll => {
                        "no server is up: all are tried (all_down = \"try-all\")".to_owned()
                    }
                });
            }
        }
        RouteAction::Files(files) => files::explain(files, route, facts, told),
        RouteAction::Local(action) => {
            told.status = Some(match action {
                Action::Redirect { status, .. } | Action::Respond { status, .. } => *status,
                Action::Health(detail) => crate::vitals::report(plan, *detail).0,
                Action::Pool(_) | Action::Static(_) => 500,
            });
        }
    }
}

fn candidate(server: ServerStatus) -> Candidate {
    let weight = server.weight * server.weight_percent / 100;
    Candidate {
        eligible: weight > 0 && server.state == "up",
        name: server.name,
        address: server.address,
        reason: format!("{}: {}", server.state, server.reason),
        weight,
        in_flight: server.in_flight,
    }
}

/// An instance that the pool would have if it were ready.
fn absentee(instance: &Instance, in_flight: u32) -> Candidate {
    let reason = match instance.reason.as_ref().or(instance.last_exit.as_ref()) {
        Some(why) => format!("{}: {why}", state_word(instance.state)),
        None => state_word(instance.state).to_owned(),
    };
    Candidate {
        name: format!("{}/{}", instance.run.app, instance.run.number),
        address: instance
            .place
            .as_ref()
            .map(Address::from)
            .map_or_else(String::new, |at| at.to_string()),
        eligible: false,
        reason,
        weight: 0,
        in_flight,
    }
}

/// The name of a policy in the configuration.
pub(crate) const fn balance_word(policy: evergate_core::balance::Policy) -> &'static str {
    use evergate_core::balance::Policy;
    match policy {
        Policy::RoundRobin => "round-robin",
        Policy::LeastConn => "least-conn",
        Policy::Random => "random",
        Policy::P2c => "p2c",
        Policy::IpHash => "ip-hash",
        Policy::Hash => "hash",
    }
}
