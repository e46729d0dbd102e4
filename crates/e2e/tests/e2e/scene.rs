//! The configuration that most tests want: one listener, one route, one pool.

use std::fmt::Write;
use std::net::SocketAddr;

use evergate_e2e::{Ca, Node, Origin, Setup};

/// A listener `web`, a route `all` for everything, and a pool `one` with servers `a`, `b`, `c` ….
#[derive(Clone, Debug, Default)]
pub(crate) struct Scene {
    servers: String,
    listener: String,
    limits: String,
    route: String,
    pool: String,
    more: String,
}

impl Scene {
    /// Without a server yet.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// With one server.
    pub(crate) fn to(origin: &Origin) -> Self {
        Self::new().server("a", origin.address())
    }

    pub(crate) fn server(self, name: &str, address: SocketAddr) -> Self {
        self.server_with(name, address, "")
    }

    /// A server with more keys.
    pub(crate) fn server_with(mut self, name: &str, address: SocketAddr, more: &str) -> Self {
        let comma = if more.is_empty() { "" } else { ", " };
        writeln!(self.servers, "{name} = {{ url = \"http://{address}\"{comma}{more} }}").unwrap();
        self
    }

    /// Keys of the listener.
    pub(crate) fn listener(mut self, keys: &str) -> Self {
        self.listener = format!("{keys}\n");
        self
    }

    /// Keys of the listener's limits.
    pub(crate) fn limits(mut self, keys: &str) -> Self {
        self.limits = format!("{keys}\n");
        self
    }

    /// Keys of the route.
    pub(crate) fn route(mut self, keys: &str) -> Self {
        self.route = format!("{keys}\n");
        self
    }

    /// Keys of the pool.
    pub(crate) fn pool(mut self, keys: &str) -> Self {
        self.pool = format!("{keys}\n");
        self
    }

    /// Whole tables.
    pub(crate) fn more(mut self, tables: &str) -> Self {
        self.more = format!("{tables}\n");
        self
    }

    pub(crate) fn config(&self) -> String {
        let Self { servers, listener, limits, route, pool, more } = self;
        format!(
            "[listener.web]\nbind = [\"127.0.0.1:0\"]\n{listener}\n\
             [listener.web.limits]\n{limits}\n\
             [route.all]\nmatch = \"/*\"\npool = \"one\"\n{route}\n\
             [pool.one]\n{pool}\n[pool.one.servers]\n{servers}\n{more}"
        )
    }

    pub(crate) fn start(&self) -> Node {
        Setup::new().start(&self.config())
    }

    /// With TLS on `web`, for the names of this machine, and the authority's certificate in
    /// `ca.pem`.
    pub(crate) fn start_secure(mut self) -> Node {
        self.listener += "tls = { certs = [{ cert = \"web.pem\", key = \"web.key\" }] }\n";
        let ca = Ca::new();
        let issued = ca.issue(&["localhost", "127.0.0.1"]);
        Setup::new().certificate("web", &issued).file("ca.pem", &ca.pem()).start(&self.config())
    }
}

/// `GET path`, with more lines.
pub(crate) fn get(path: &str, lines: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n{lines}\r\n")
}

/// `POST /` of `body`, with more lines.
pub(crate) fn post(body: &str, lines: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}Content-Length: {}\r\n\r\n{body}", body.len())
}

/// A response with `body`.
pub(crate) fn ok(body: &str) -> String {
    answer(200, "", body)
}

/// A response with a status, more lines and a body.
pub(crate) fn answer(status: u16, lines: &str, body: &str) -> String {
    format!("HTTP/1.1 {status} Said\r\n{lines}Content-Length: {}\r\n\r\n{body}", body.len())
}
