//! Every way in which a request can fail, and what the client and the operator get to see.
//!
//! A reject says who is at fault; the status, the token in logs and metrics, and the sentence in
//! the body all follow from it, here and nowhere else.

use std::fmt;

use evergate_core::http1::{BodyError, RequestError};

/// Why a request was not served.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Reject {
    /// The request is at fault.
    Client(ClientFault),
    /// The server or the way to it is at fault.
    Upstream(UpstreamFault),
    /// The file is at fault.
    File(FileFault),
    /// Another process has taken over, and this one has waited for as long as the route allows.
    Drained,
    /// We are at fault.
    Bug,
}

/// What is wrong with a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ClientFault {
    /// Not HTTP as we accept it.
    Malformed(RequestError),
    /// The body's framing is broken.
    Body(BodyError),
    /// The path cannot be normalised.
    Path,
    /// The header did not arrive in time.
    HeaderTimeout,
    /// The body came too slowly.
    BodyTimeout,
    /// The body is larger than the listener's limit.
    BodyTooLarge,
    /// No route matches.
    NoRoute,
    /// Routes match but for the method.
    Method,
    /// The address is not let in.
    Address,
    /// The key is missing or wrong.
    ApiKey,
    /// Our own name stands in `Via`.
    Loop,
    /// There is no such file.
    NoFile,
    /// The file may not be read.
    FileDenied,
    /// Nothing that there is suits `Accept-Encoding`.
    NotAcceptable,
    /// The file is not what the client takes it for (`If-Match`, `If-Unmodified-Since`).
    Precondition,
    /// No range that was asked for lies within the file.
    Range,
    /// The host has another certificate than the connection.
    Misdirected,
    /// The connection ended in the middle of the request.
    Gone,
}

/// What went wrong on the way to or at the server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum UpstreamFault {
    /// No server of the pool is up.
    NoServer,
    /// No connection could be made.
    Connect,
    /// The TLS handshake with the server failed.
    Tls,
    /// The connection ended before the response head.
    Broken,
    /// The server did not look at the request.
    Refused,
    /// The server gave the request up before the response head.
    Reset,
    /// The server does not speak HTTP/2, which its pool says it does.
    NotHttp2,
    /// A WebSocket was asked for, and the way to the server has none.
    NoUpgrade,
    /// The response is not HTTP as we accept it.
    Malformed,
    /// The deadline passed.
    Timeout,
    /// The connection ended within the body.
    Truncated,
    /// The server's process ended.
    Died,
}

/// What went wrong with a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum FileFault {
    /// The system does not give it.
    Unreadable,
    /// It became shorter while it was sent.
    Shrank,
}

impl Reject {
    /// The status of the answer.
    pub(crate) const fn status(self) -> u16 {
        match self {
            Self::Client(fault) => fault.status(),
            Self::Upstream(UpstreamFault::NoUpgrade) => 501,
            Self::Upstream(UpstreamFault::NoServer | UpstreamFault::Refused) | Self::Drained => 503,
            Self::Upstream(UpstreamFault::Timeout) => 504,
            Self::Upstream(
                UpstreamFault::Connect
                | UpstreamFault::Tls
                | UpstreamFault::Broken
                | UpstreamFault::Reset
                | UpstreamFault::NotHttp2
                | UpstreamFault::Malformed
                | UpstreamFault::Truncated
                | UpstreamFault::Died,
            ) => 502,
            Self::File(FileFault::Unreadable | FileFault::Shrank) | Self::Bug => 500,
        }
    }

    /// A short stable token for logs and metrics.
    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Self::Client(fault) => fault.reason(),
            Self::Upstream(UpstreamFault::NoServer) => "no_server",
            Self::Upstream(UpstreamFault::Connect) => "upstream_connect",
            Self::Upstream(UpstreamFault::Tls) => "upstream_tls",
            Self::Upstream(UpstreamFault::Broken) => "upstream_broken",
            Self::Upstream(UpstreamFault::Refused) => "upstream_refused",
            Self::Upstream(UpstreamFault::Reset) => "upstream_reset",
            Self::Upstream(UpstreamFault::NotHttp2) => "upstream_not_http2",
            Self::Upstream(UpstreamFault::NoUpgrade) => "upstream_no_upgrade",
            Self::Upstream(UpstreamFault::Malformed) => "upstream_malformed",
            Self::Upstream(UpstreamFault::Timeout) => "upstream_timeout",
            Self::Upstream(UpstreamFault::Truncated) => "upstream_truncated",
            Self::Upstream(UpstreamFault::Died) => "upstream_died",
            Self::File(FileFault::Unreadable) => "file_unreadable",
            Self::File(FileFault::Shrank) => "file_shrank",
            Self::Drained => "drain_timeout",
            Self::Bug => "bug",
        }
    }

    /// Whether the connection cannot be used any more.
    pub(crate) const fn closes(self) -> bool {
        match self {
            Self::Client(fault) => match fault {
                ClientFault::Malformed(_)
                | ClientFault::Body(_)
                | ClientFault::HeaderTimeout
                | ClientFault::BodyTimeout
                | ClientFault::BodyTooLarge
                | ClientFault::Gone => true,
                ClientFault::Path
                | ClientFault::NoRoute
                | ClientFault::Method
                | ClientFault::Address
                | ClientFault::ApiKey
                | ClientFault::Loop
                | ClientFault::NoFile
                | ClientFault::FileDenied
                | ClientFault::NotAcceptable
                | ClientFault::Precondition
                | ClientFault::Range
                | ClientFault::Misdirected => false,
            },
            Self::Upstream(_) | Self::File(_) => false,
            Self::Drained | Self::Bug => true,
        }
    }
}

impl ClientFault {
    const fn status(self) -> u16 {
        match self {
            Self::Malformed(error) => error.status(),
            Self::Body(_) | Self::Path => 400,
            Self::HeaderTimeout | Self::BodyTimeout => 408,
            Self::BodyTooLarge => 413,
            Self::NoRoute | Self::NoFile => 404,
            Self::Method => 405,
            Self::NotAcceptable => 406,
            Self::Precondition => 412,
            Self::Range => 416,
            Self::Address | Self::FileDenied => 403,
            Self::ApiKey => 401,
            Self::Loop => 508,
            // RFC 9110, 15.5.20.
            Self::Misdirected => 421,
            // Nobody reads it; nginx logs the same.
            Self::Gone => 499,
        }
    }

    const fn reason(self) -> &'static str {
        match self {
            Self::Malformed(error) => error.reason(),
            Self::Body(_) => "body_framing",
            Self::Path => "bad_path",
            Self::HeaderTimeout => "header_timeout",
            Self::BodyTimeout => "body_timeout",
            Self::BodyTooLarge => "body_too_large",
            Self::NoRoute => "no_route",
            Self::Method => "method_not_allowed",
            Self::Address => "address_denied",
            Self::ApiKey => "api_key",
            Self::Loop => "loop",
            Self::NoFile => "no_file",
            Self::FileDenied => "file_denied",
            Self::NotAcceptable => "not_acceptable",
            Self::Precondition => "precondition_failed",
            Self::Range => "range_not_satisfiable",
            Self::Misdirected => "misdirected",
            Self::Gone => "client_gone",
        }
    }
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Client(ClientFault::Malformed(error)) => return error.fmt(f),
            Self::Client(ClientFault::Body(error)) => return error.fmt(f),
            Self::Client(ClientFault::Path) => "the path is ambiguous or badly escaped",
            Self::Client(ClientFault::HeaderTimeout) => "the request header took too long",
            Self::Client(ClientFault::BodyTimeout) => "the request body came too slowly",
            Self::Client(ClientFault::BodyTooLarge) => "the request body is too large",
            Self::Client(ClientFault::NoRoute) => "no route matches this host and path",
            Self::Client(ClientFault::Method) => "this path does not take this method",
            Self::Client(ClientFault::Address) => "this address is not let in",
            Self::Client(ClientFault::ApiKey) => "the key is missing or wrong",
            Self::Client(ClientFault::Loop) => "the request came through this gateway before",
            Self::Client(ClientFault::NoFile) => "there is no such file",
            Self::Client(ClientFault::FileDenied) => "this file may not be read",
            Self::Client(ClientFault::NotAcceptable) => "there is no coding of it that is accepted",
            Self::Client(ClientFault::Precondition) => "it is not what the request takes it for",
            Self::Client(ClientFault::Range) => "no range lies within the file",
            Self::Client(ClientFault::Misdirected) => {
                "this host has another certificate than this connection"
            }
            Self::Client(ClientFault::Gone) => "the client went away",
            Self::Upstream(UpstreamFault::NoServer) => "no server is up",
            Self::Upstream(UpstreamFault::Connect) => "no server could be reached",
            Self::Upstream(UpstreamFault::Tls) => "no secure connection to the server",
            Self::Upstream(UpstreamFault::Broken) => "the server closed the connection",
            Self::Upstream(UpstreamFault::Refused) => "the server refused the request unseen",
            Self::Upstream(UpstreamFault::Reset) => "the server gave the request up",
            Self::Upstream(UpstreamFault::NotHttp2) => "the server does not speak HTTP/2",
            Self::Upstream(UpstreamFault::NoUpgrade) => {
                "this service is reached over HTTP/2, which carries no WebSockets here"
            }
            Self::Upstream(UpstreamFault::Malformed) => "the server's response is malformed",
            Self::Upstream(UpstreamFault::Timeout) => "the server took too long",
            Self::Upstream(UpstreamFault::Truncated) => "the server's response broke off",
            Self::Upstream(UpstreamFault::Died) => "the server's process ended",
            Self::File(FileFault::Unreadable) => "the file cannot be read",
            Self::File(FileFault::Shrank) => "the file became shorter while it was sent",
            Self::Drained => "it took longer than a process that was replaced may",
            Self::Bug => "an internal error",
        };
        f.write_str(text)
    }
}
