//! Where clients connect, and how they are met.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use evergate_pki::{Authorities, Identity, Revocations};
use ipnet::IpNet;

/// `[listener.NAME]`
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Listener {
    /// Addresses to listen on; at least one.
    pub bind: Vec<SocketAddr>,
    /// HTTPS instead of HTTP.
    pub tls: Option<Tls>,
    /// Whether HTTP/2 is spoken too: by ALPN with TLS, by prior knowledge without. Default: true.
    pub http2: bool,
    /// Whether every connection begins with a PROXY header, which only `trusted_proxies` may send.
    pub proxy_protocol: bool,
    /// Whose forwarding headers are believed. Default: nobody's.
    pub trusted_proxies: Vec<IpNet>,
    /// Bounds on what clients may do.
    pub limits: Limits,
}

/// `listener.NAME.tls`
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tls {
    /// Chosen by the name that a client asks for; the first is for whoever asks for none of them.
    /// Empty only if `acme` is set.
    pub certs: Vec<Certificate>,
    /// The `[acme.NAME]` whose certificates are served too.
    pub acme: Option<String>,
    /// Whether clients must show a certificate. Default: off.
    pub client_auth: ClientAuth,
    /// Who vouches for clients' certificates; there unless `client_auth` is off.
    pub client_ca: Option<FileOf<Authorities>>,
    /// Clients' certificates that are good no more.
    pub client_crl: Option<FileOf<Revocations>>,
    /// Oldest version spoken. Default: 1.2.
    pub min_version: TlsVersion,
    /// From the connection to the end of the handshake. Default: 10 s.
    pub handshake_timeout: Duration,
}

/// A certificate with the files it came from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Certificate {
    /// Certificate, key and, if there is one, OCSP response.
    pub identity: Identity,
    /// The certificate's file.
    pub cert: PathBuf,
    /// The key's file.
    pub key: PathBuf,
    /// The OCSP response's file.
    pub ocsp: Option<PathBuf>,
}

/// What a file held, and which file it was.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FileOf<T> {
    /// The file.
    pub path: PathBuf,
    /// What it held.
    pub content: T,
}

/// Whether clients must show a certificate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ClientAuth {
    /// They are not asked.
    Off,
    /// They may; what they show must be good.
    Optional,
    /// They must.
    Required,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum TlsVersion {
    /// RFC 5246, with forward secrecy and authenticated encryption only.
    Tls12,
    /// RFC 8446.
    Tls13,
}

/// `listener.NAME.limits`
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Connections at once. Default: 20000.
    pub connections: u32,
    /// Connections at once from one address. Default: 128.
    pub connections_per_ip: u32,
    /// Bytes of a request head. Default: 32 KiB.
    pub header: u32,
    /// Fields of a request head. Default: 100.
    pub headers: u16,
    /// Bytes of a request target. Default: 8 KiB.
    pub uri: u32,
    /// Bytes of a request body. Default: 10 MiB.
    pub body: u64,
    /// From a request's first byte to its last header byte. Default: 10 s.
    pub header_timeout: Duration,
    /// Silence on a keep-alive connection or tunnel. Default: 60 s.
    pub idle_timeout: Duration,
    /// Requests on one connection. Default: 1000.
    pub requests: u32,
    /// Bytes a second that a body must move, either way, after `body_grace`. Default: 1 KiB.
    pub body_rate_min: u32,
    /// Time before `body_rate_min` counts. Default: 5 s.
    pub body_grace: Duration,
}
