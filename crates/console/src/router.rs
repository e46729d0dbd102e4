//! Which path leads where, and what surrounds every handler.

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, patch, post, put};
use evergate_control::command::Control;
use tokio::sync::watch;

use crate::access::{Access, Peer};
use crate::desk::Desk;
use crate::problem::Problem;
use crate::{
    api, apps, change, changes, events, health, logs, metrics, page, standby, upgrade, way_back,
};

/// Largest request body, in bytes; a larger one is answered 413.
pub(crate) const BODY_BYTES_MAX: usize = 1024 * 1024;

/// Every public path with its methods, for error messages; `openapi.json` lists the same.
pub(crate) const PATHS: &[(&str, &str)] = &[
    ("GET", "/"),
    ("GET", "/livez"),
    ("GET", "/readyz"),
    ("GET", "/healthz"),
    ("GET", "/metrics"),
    ("GET", "/events"),
    ("GET", "/api/v1/status"),
    ("GET", "/api/v1/routes"),
    ("GET", "/api/v1/pools"),
    ("GET", "/api/v1/apps"),
    ("GET", "/api/v1/apps/{app}/logs"),
    ("GET", "/api/v1/logs"),
    ("GET", "/api/v1/events"),
    ("GET", "/api/v1/config"),
    ("GET", "/api/v1/changes"),
    ("GET", "/api/v1/history"),
    ("GET", "/api/v1/explain"),
    ("GET", "/api/v1/openapi.json"),
    ("GET", "/api/v1/upgrade"),
    ("GET", "/api/v1/vips"),
    ("POST", "/api/v1/reload"),
    ("POST", "/api/v1/confirm"),
    ("POST", "/api/v1/rollback"),
    ("PUT", "/api/v1/routes/{name}"),
    ("DELETE", "/api/v1/routes/{name}"),
    ("PUT", "/api/v1/pools/{pool}/servers/{server}"),
    ("DELETE", "/api/v1/pools/{pool}/servers/{server}"),
    ("POST", "/api/v1/changes/drop"),
    ("POST", "/api/v1/upgrade"),
    ("POST", "/api/v1/failover"),
    ("POST", "/api/v1/maintenance"),
    ("POST", "/api/v1/apps/{app}/start"),
    ("POST", "/api/v1/apps/{app}/stop"),
    ("POST", "/api/v1/apps/{app}/restart"),
    ("POST", "/api/v1/apps/{app}/deploy"),
    ("POST", "/api/v1/apps/{app}/abort"),
    ("POST", "/api/v1/apps/{app}/kill"),
    ("PATCH", "/api/v1/pools/{pool}/servers/{server}"),
];

/// Sent with every response. Nothing may be cached, framed or loaded from elsewhere.
const HEADERS: [(HeaderName, &str); 4] = [
    (header::CACHE_CONTROL, "no-store"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'unsafe-inline'; connect-src 'self'; \
         img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
];

/// The whole admin API. Requests must carry a [`Peer`] extension, as [`serve`](crate::serve) adds
/// it. A new value in `access` holds from the next request on.
pub fn router(control: Control, access: watch::Receiver<Access>) -> Router {
    let desk = Arc::new(Desk::new(control, access));
    Router::new()
        .route("/", get(page::show))
        .route("/console.js", get(page::script))
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .route("/healthz", get(health::healthz))
        .route("/metrics", get(metrics::show))
        .route("/events", get(events::follow))
        .route("/api/v1/status", get(api::status))
        .route("/api/v1/routes", get(api::routes))
        .route("/api/v1/pools", get(api::pools))
        .route("/api/v1/apps", get(apps::list))
        .route("/api/v1/apps/{app}/logs", get(logs::of_app))
        .route("/api/v1/logs", get(logs::of_all))
        .route("/api/v1/events", get(api::events))
        .route("/api/v1/config", get(api::config))
        .route("/api/v1/explain", get(api::explain))
        .route("/api/v1/openapi.json", get(api::openapi))
        .route("/api/v1/reload", post(change::reload))
        .route("/api/v1/confirm", post(way_back::confirm))
        .route("/api/v1/rollback", post(way_back::rollback))
        .route("/api/v1/history", get(way_back::list))
        .route("/api/v1/upgrade", get(upgrade::show).post(upgrade::begin))
        .route("/api/v1/vips", get(standby::show))
        .route("/api/v1/failover", post(standby::failover))
        .route("/api/v1/maintenance", post(standby::maintenance))
        // The rest of the path, because instances of an app are named `shop/0`.
        .route(
            "/api/v1/pools/{pool}/servers/{*server}",
            patch(change::server).put(changes::put_server).delete(changes::delete_server),
        )
        .route("/api/v1/routes/{name}", put(changes::put_route).delete(changes::delete_route))
        .route("/api/v1/changes", get(changes::list))
        .route("/api/v1/changes/drop", post(changes::drop))
        .route("/api/v1/apps/{app}/start", post(apps::start))
        .route("/api/v1/apps/{app}/stop", post(apps::stop))
        .route("/api/v1/apps/{app}/restart", post(apps::restart))
        .route("/api/v1/apps/{app}/deploy", post(apps::deploy))
        .route("/api/v1/apps/{app}/abort", post(apps::abort))
        .route("/api/v1/apps/{app}/kill", post(apps::kill))
        .fallback(unknown_path)
        .method_not_allowed_fallback(unknown_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(Arc::clone(&desk), guard))
        .with_state(desk)
}

/// Lets a request through or not, and gives every response its form.
async fn guard(State(desk): State<Arc<Desk>>, request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let peer = request.extensions().get::<Peer>().copied();
    let verdict = desk.access.borrow().admit(peer, request.method(), request.headers());
    let mut response = match verdict {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.render(&path),
    };
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        let allow = response.headers_mut().remove(header::ALLOW);
        response = problem.render(&path);
        if let Some(allow) = allow {
            response.headers_mut().insert(header::ALLOW, allow);
        }
    }
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn unknown_path(request: Request) -> Problem {
    let paths: Vec<String> =
        PATHS.iter().map(|(method, path)| format!("{method} {path}")).collect();
    Problem::not_found(format!("there is nothing at {}", request.uri().path()))
        .help(format!("there is: {}", paths.join(", ")))
}

async fn unknown_method(request: Request) -> Problem {
    let message = format!("{} is not for this path", request.method());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
        .help("the `allow` field of this response names the methods")
}
