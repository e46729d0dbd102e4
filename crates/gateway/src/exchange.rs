//! The life of a request, from its head to its line in the log.
//!
//! One exchange is: route, admit, pick, send, judge, retry or respond, record. It knows nothing of
//! transports: whoever asked is a [`Client`], and every protocol comes through here.

use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use evergate_config::{Action, Protocol};
use evergate_core::balance::Ask;
use evergate_core::head::{Name, RequestHead};
use evergate_core::http1::Body;
use evergate_core::id::EndpointId;
use evergate_core::retry::{self, Failure, GiveUp, Next, Verdict as RetryVerdict};
use evergate_core::route::{self, Found};
use evergate_core::time::Instant;
use evergate_sys::clock;

use crate::access_log::Entry;
use crate::answer;
use crate::attempt::{self, Attempt, Outcome, Upload};
use crate::caller::{Announced, Caller};
use crate::client::Client;
use crate::facts::Facts;
use crate::files;
use crate::filter::{Edits, Verdict};
use crate::grpc;
use crate::http1::forward::RequestPlan;
use crate::pace::Pace;
use crate::plan::{Listener, Plan, Pool, Route, RouteAction};
use crate::pool_local::{EndpointLocal, PoolLocal, RouteLocal};
use crate::reject::{ClientFault, Reject, UpstreamFault};
use crate::relay;
use crate::rewrite;
use crate::shard::{Report, Shard, ThreadPlan};
use crate::trust;

#[cfg(test)]
pub(crate) mod tests;

/// A request as it arrived.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) head: &'a RequestHead,
    pub(crate) body: Body,
    pub(crate) expect_continue: bool,
    pub(crate) upgrade: bool,
    pub(crate) connection_names: bool,
    pub(crate) started: Instant,
    pub(crate) caller: &'a Caller,
    pub(crate) listener: &'a Listener,
}

/// What is written down about an exchange when it is over.
#[derive(Debug)]
pub(crate) struct Record {
    route: Rc<RouteLocal>,
    scheme: &'static str,
    client: std::net::IpAddr,
    announced: Option<Rc<Announced>>,
    request_id: [u8; 32],
    upstream: Option<(Rc<PoolLocal>, Rc<EndpointLocal>)>,
    retries: u32,
    /// Status of the response, once it is known.
    pub(crate) status: u16,
    /// Bytes of the response's body.
    pub(crate) sent: u64,
    /// Bytes of the request's body.
    pub(crate) received: u64,
    /// Why we answered in place of a server, or broke off.
    pub(crate) reason: Option<&'static str>,
}

/// Serves `request` and records how it went. Says whether the connection may go on.
pub(crate) async fn run<C: Client>(
    shard: &Rc<Shard>,
    client: &mut C,
    request: Request<'_>,
) -> bool {
    let plan = shard.plan();
    let mut record = Record::new(shard, &plan, request.caller);
    let mut edits = Edits::default();
    let served = {
        let serving = pin!(serve(shard, &plan, client, &request, &mut edits, &mut record));
        attempt::catch_panic(serving).await
    };
    let goes_on = match served {
        Ok(Ok(())) => true,
        Ok(Err(reject)) => {
            record.reject(shard, reject);
            answer::reject(client, &request, reject, &edits.response, &mut record).await
        }
        Err(attempt::Panicked) => {
            shard.counters.panics.set(shard.counters.panics.get() + 1);
            let _ = shard.reports.try_send(Report::Panicked { route: record.route.name.clone() });
            record.reject(shard, Reject::Bug);
            answer::reject(client, &request, Reject::Bug, &edits.response, &mut record).await
        }
    };
    record.write(shard, &plan, Some(request.head), request.started);
    goes_on
}

/// Answers `request` with 200 and `body`, whatever it asks for, and records nothing.
pub(crate) async fn answer<C: Client>(
    shard: &Rc<Shard>,
    client: &mut C,
    request: &Request<'_>,
    body: &str,
) {
    let mut record = Record::new(shard, &shard.plan(), request.caller);
    let none = Edits::default();
    answer::whole(client, request, 200, body.as_bytes(), &none.response, &mut record).await;
}

/// Answers a request that could not even be read.
pub(crate) async fn refuse<C: Client>(
    shard: &Rc<Shard>,
    client: &mut C,
    head: Option<&RequestHead>,
    caller: &Caller,
    started: Instant,
    reject: Reject,
) {
    let plan = shard.plan();
    let mut record = Record::new(shard, &plan, caller);
    record.reject(shard, reject);
    answer::malformed(client, reject, &mut record).await;
    // A head that did not parse holds whatever parsed before it broke.
    let head = head.filter(|head| !head.target().is_empty());
    record.write(shard, &plan, head, started);
}

async fn serve<'p, C: Client>(
    shard: &Rc<Shard>,
    local: &'p ThreadPlan,
    client: &mut C,
    request: &Request<'_>,
    edits: &mut Edits<'p>,
    record: &mut Record,
) -> Result<(), Reject> {
    let plan = &*local.plan;
    let head = request.head;
    client.timer().set(request.started + request.listener.limits.idle_timeout);

    // Who asks?
    let peer_is_trusted = record.identify(request);
    refuse_at_once(request, &plan.node)?;

    // Which route?
    let path = route::normalise(head.path()).map_err(|_| Reject::Client(ClientFault::Path))?;
    if let Some(proof) = acme_proof(shard, request.caller, &path) {
        edits.response.set("Content-Type", b"application/octet-stream".to_vec());
        answer::whole(client, request, 200, proof.as_bytes(), &edits.response, record).await;
        return Ok(());
    }
    let accepts = |id| plan.route(id).accepts(&head.fields, &request.listener.name);
    let (id, params) = match plan.table.find(head.authority(), &path, head.method_text(), accepts) {
        Found::Route { id, params } => (id, params),
        Found::MethodNotAllowed { allowed } => {
            edits.response.set("Allow", allowed.join(", ").into_bytes());
            return Err(Reject::Client(ClientFault::Method));
        }
        Found::NotFound => return Err(Reject::Client(ClientFault::NoRoute)),
    };
    let route = plan.route(id);
    record.route = Rc::clone(&local.routes[id.index()]);
    let facts = Facts {
        head,
        path: &path,
        client: record.client,
        caller: request.caller,
        peer_is_trusted,
        route: &route.name,
        params: Some(params),
        request_id: record.request_id,
    };

    // May it pass?
    for filter in &route.filters {
        match filter.judge(&facts, edits) {
            Verdict::Pass => {}
            Verdict::Refuse(reject) => return Err(reject),
            Verdict::Answer(status) => {
                answer::whole(client, request, status, b"", &edits.response, record).await;
                return Ok(());
            }
        }
    }

    match &route.action {
        RouteAction::Local(action) => {
            respond_locally(local, client, request, action, &facts, edits, record).await
        }
        RouteAction::Files(files) => {
            files::serve(shard, files, route, client, request, &facts, edits, record).await
        }
        RouteAction::Pool(pool) => {
            let pool = &local.pools[pool.index()];
            forward(shard, plan, route, pool, client, request, &facts, edits, record).await
        }
    }
}

/// What needs no route to be refused.
fn refuse_at_once(request: &Request<'_>, node: &str) -> Result<(), Reject> {
    match request.body {
        Body::Sized(length) if length > request.listener.limits.body => {
            Err(Reject::Client(ClientFault::BodyTooLarge))
        }
        _ if is_our_own(request.head, node) => Err(Reject::Client(ClientFault::Loop)),
        _ if is_misdirected(request) => Err(Reject::Client(ClientFault::Misdirected)),
        Body::Empty | Body::Sized(_) | Body::Chunked | Body::UntilClose => Ok(()),
    }
}

#[expect(clippy::too_many_arguments, reason = "the parts of one exchange, each named once")]
async fn forward<C: Client>(
    shard: &Rc<Shard>,
    plan: &Plan,
    route: &Route,
    pool: &Rc<PoolLocal>,
    client: &mut C,
    request: &Request<'_>,
    facts: &Facts<'_>,
    edits: &Edits<'_>,
    record: &mut Record,
) -> Result<(), Reject> {
    if request.upgrade && pool.pool.protocol == Protocol::Http2 {
        return Err(Reject::Upstream(UpstreamFault::NoUpgrade));
    }
    let (pace, patience) = patience(request, &pool.pool, route);
    let deadline = request.started + patience;
    client.timer().set(deadline);
    let target = rewrite::target(&route.rewrite, facts);
    let outgoing = RequestPlan {
        facts,
        target: &target,
        chunked: request.body == Body::Chunked,
        expect_continue: request.expect_continue,
        upgrade: request.upgrade,
        connection_names: request.connection_names,
        changes: &edits.request,
        node: &plan.node,
    };
    pool.budget.borrow_mut().deposit(request.started);
    let key = rewrite::balance_key(&pool.pool, facts);
    let mut upload = Upload::new(&pool.pool.retry, request, pace);
    let mut pool = Rc::clone(pool);
    let mut tried: Vec<EndpointId> = Vec::new();
    let mut attempts = 0;
    loop {
        // Who gets it?
        let ask = Ask { key, tried: &tried };
        let picked = pool.pick(&ask, request.started, &mut shard.rng.borrow_mut());
        let Some((id, endpoint)) = picked else {
            pool.counters.no_server.set(pool.counters.no_server.get() + 1);
            return Err(Reject::Upstream(UpstreamFault::NoServer));
        };
        let Some(in_flight) = endpoint.shared.enter() else {
            pool.look_again();
            continue;
        };
        record.upstream = Some((Rc::clone(&pool), Rc::clone(endpoint)));
        attempts += 1;

        // How did it go?
        let attempt = Attempt {
            shard,
            pool: &pool,
            id,
            endpoint,
            route,
            local: request.caller.local,
            plan: &outgoing,
            deadline,
        };
        let wait = match attempt::send(&attempt, client, &mut upload).await {
            Outcome::ClientFailed(fault) => return Err(Reject::Client(fault)),
            Outcome::Drained => return Err(Reject::Drained),
            Outcome::Failed { failure, fault } => {
                if is_to_blame(failure, patience < route.timeout) {
                    attempt.count_failure(Duration::ZERO);
                    endpoint.shared.sample(None, true);
                }
                let again = again(&attempt, request, &upload, failure, false, attempts);
                again.ok_or(Reject::Upstream(fault))?
            }
            Outcome::Answered(answered) => {
                match again_after_status(&attempt, request, &upload, &answered, attempts) {
                    Some(wait) => wait,
                    None => {
                        return relay::respond(
                            &attempt, client, upload, answered, edits, request, record,
                        )
                        .await;
                    }
                }
            }
        };
        drop(in_flight);

        // Once more, elsewhere if possible.
        tried.push(id);
        record.count_retry(&pool);
        upload.rewind();
        attempt::pause(client, wait, deadline).await;
        if let Some(newer) = shard.newer(&pool) {
            pool = newer;
            tried.clear();
        }
    }
}

/// How slow the request's body may be, and how long everything up to the response's head may take.
fn patience(request: &Request<'_>, pool: &Pool, route: &Route) -> (Pace, Duration) {
    let fields = &request.head.fields;
    if pool.protocol != Protocol::Http2 || !grpc::is_call(fields) {
        return (Pace::new(&request.listener.limits), route.timeout);
    }
    // The client may want it sooner, not later.
    let asked = grpc::timeout(fields).unwrap_or(route.timeout);
    (Pace::patient(), asked.min(route.timeout))
}

/// Whether a failed attempt says anything about the server: one that leaves in order has not
/// failed, nor one that a client had no time for.
fn is_to_blame(failure: Failure, is_hasty: bool) -> bool {
    failure != Failure::Refused && !(failure == Failure::Timeout && is_hasty)
}

/// Judges a response by its status; says how long to wait if it should be tried again.
fn again_after_status(
    attempt: &Attempt<'_>,
    request: &Request<'_>,
    upload: &Upload,
    answered: &attempt::Answered,
    attempts: u32,
) -> Option<Duration> {
    let status = answered.head.status;
    let now = answered.answered_at;
    attempt.endpoint.shared.sample(Some(now - answered.sent_at), status >= 500);
    if !matches!(status, 500 | 502 | 503 | 504) {
        attempt.endpoint.shared.succeeded(now, now - answered.sent_at);
        return None;
    }
    attempt.count_failure(now - answered.sent_at);
    let retry_after = answered.head.fields.get(Name::RetryAfter).is_some();
    again(attempt, request, upload, Failure::Status(status), retry_after, attempts)
}

/// Judges a failed attempt; says how long to wait if it should be tried again.
fn again(
    attempt: &Attempt<'_>,
    request: &Request<'_>,
    upload: &Upload,
    failure: Failure,
    retry_after: bool,
    attempts: u32,
) -> Option<Duration> {
    let (pool, shard) = (attempt.pool, attempt.shard);
    let judged = retry::Attempt {
        failure,
        number: attempts,
        method: request.head.method,
        has_idempotency_key: request.head.fields.get(Name::IdempotencyKey).is_some(),
        body_replayable: upload.is_replayable(),
        retry_after,
        response_started: false,
    };
    let now = clock::now();
    if now >= attempt.deadline {
        return None;
    }
    match retry::judge(&pool.pool.retry, &judged, &mut pool.budget.borrow_mut(), now) {
        RetryVerdict::Retry => {
            let alone = pool.pool.endpoints.len() <= attempts as usize;
            let next = if alone { Next::Same } else { Next::Other };
            Some(retry::delay(&judged, next, &mut shard.rng.borrow_mut()))
        }
        RetryVerdict::Give(reason) => {
            if reason == GiveUp::BudgetSpent {
                let denied = &pool.counters.retries_denied;
                denied.set(denied.get() + 1);
            }
            None
        }
    }
}

async fn respond_locally<C: Client>(
    local: &ThreadPlan,
    client: &mut C,
    request: &Request<'_>,
    action: &Action,
    facts: &Facts<'_>,
    edits: &mut Edits<'_>,
    record: &mut Record,
) -> Result<(), Reject> {
    match action {
        Action::Redirect { to, status } => {
            let mut location = Vec::new();
            crate::template::render(to, facts, &mut location);
            location.retain(u8::is_ascii_graphic);
            edits.response.set("Location", location);
            answer::whole(client, request, *status, b"", &edits.response, record).await;
        }
        Action::Respond { status, body, content_type } => {
            edits.response.set("Content-Type", content_type.clone().into_bytes());
            let body = body.as_bytes();
            answer::whole(client, request, *status, body, &edits.response, record).await;
        }
        Action::Health(detail) => {
            let (status, body) = crate::vitals::report(&local.plan, *detail);
            edits.response.set("Content-Type", b"application/json".to_vec());
            edits.response.set("Cache-Control", b"no-store".to_vec());
            answer::whole(client, request, status, body.as_bytes(), &edits.response, record).await;
        }
        Action::Pool(_) | Action::Static(_) => return Err(Reject::Bug),
    }
    Ok(())
}

/// Whether the request should have come over a connection with another certificate.
fn is_misdirected(request: &Request<'_>) -> bool {
    let (Some(secured), Some(tls)) = (&request.caller.tls, &request.listener.tls) else {
        return false;
    };
    let host = crate::facts::host_of(request.head.authority());
    let Ok(host) = std::str::from_utf8(host) else { return false };
    let asked_for = secured.server_name.as_deref().unwrap_or_default();
    if host.eq_ignore_ascii_case(asked_for) {
        return false;
    }
    let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    tls.misdirects(&host, &secured.certificate)
}

/// What a certificate authority that asks here wants to read (RFC 8555, 8.3).
fn acme_proof(shard: &Shard, caller: &Caller, path: &str) -> Option<String> {
    let token = path.strip_prefix("/.well-known/acme-challenge/")?;
    if caller.tls.is_some() { None } else { shard.issuance.http_proof(token) }
}

/// Whether our own name stands in `Via`: the request has been here before (RFC 9110, 7.6.3).
fn is_our_own(head: &RequestHead, node: &str) -> bool {
    let mut hops = head.fields.all(Name::Via).flat_map(|value| value.split(|&byte| byte == b','));
    hops.any(|hop| {
        let mut words = hop.trim_ascii().split(|&byte| byte == b' ');
        words.nth(1).is_some_and(|name| name.eq_ignore_ascii_case(node.as_bytes()))
    })
}

impl Record {
    fn new(shard: &Shard, plan: &ThreadPlan, caller: &Caller) -> Self {
        let announced = caller.announced.clone();
        let told = announced.as_ref().and_then(|announced| announced.request_id.take());
        Self {
            route: Rc::clone(&plan.unmatched),
            scheme: caller.scheme(),
            client: caller.peer.ip().to_canonical(),
            announced,
            request_id: told.unwrap_or_else(|| shard.request_id()),
            upstream: None,
            retries: 0,
            status: 0,
            sent: 0,
            received: 0,
            reason: None,
        }
    }

    /// Notes who the client is, as far as it is trusted to be told; says whether the peer is a
    /// trusted proxy.
    fn identify(&mut self, request: &Request<'_>) -> bool {
        let (peer, trusted) = (request.caller.peer.ip(), &request.listener.trusted_proxies);
        let is_trusted = trust::is_trusted(peer, trusted);
        if is_trusted {
            self.client = trust::client(&request.head.fields, peer, trusted);
            self.adopt_request_id(request.head);
        }
        is_trusted
    }

    fn count_retry(&mut self, pool: &PoolLocal) {
        self.retries += 1;
        pool.counters.retries.set(pool.counters.retries.get() + 1);
    }

    /// A trusted proxy's id goes on, if it looks like one of ours.
    fn adopt_request_id(&mut self, head: &RequestHead) {
        let told = head.fields.get(Name::XRequestId).unwrap_or_default();
        if let Ok(id) = <[u8; 32]>::try_from(told)
            && id.iter().all(u8::is_ascii_hexdigit)
        {
            self.request_id = id;
        }
    }

    fn reject(&mut self, shard: &Shard, reject: Reject) {
        shard.count_reject(reject.reason());
        self.reason = Some(reject.reason());
    }

    fn write(self, shard: &Shard, plan: &ThreadPlan, head: Option<&RequestHead>, started: Instant) {
        let took = clock::now() - started;
        self.route.counters.borrow_mut().record(self.status, took, self.received, self.sent);
        let upstream = self.upstream.as_ref();
        shard.log.push(
            plan.plan.access,
            &Entry {
                head,
                scheme: self.scheme,
                client: self.client,
                status: self.status,
                took,
                sent: self.sent,
                route: &self.route.name,
                upstream: upstream.map(|(pool, endpoint)| {
                    (pool.pool.name.as_str(), endpoint.shared.name.as_str())
                }),
                retries: self.retries,
                request_id: &self.request_id,
                announced: self.announced.as_deref(),
                reason: self.reason,
            },
        );
    }
}
