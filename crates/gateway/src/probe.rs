//! Performing an active check of a server, or a probe of a run. Judging it is for `core`.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use evergate_config::{Probe, Protocol};
use evergate_control::link::Place;
use evergate_core::head::{Method, ResponseHead};
use evergate_core::http1;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::dial::Address;
use crate::endpoint::Endpoint;
use crate::http2;
use crate::http2::probe::Target;
use crate::proxy_header;
use crate::tls::origination::Purpose;
use crate::wire::Wire;

/// Bounds on the head of a check's response.
const LIMITS: http1::Limits =
    http1::Limits { head_bytes_max: 16 * 1024, fields_max: 100, uri_bytes_max: 0 };

/// What checks of servers call themselves.
const CHECK_AGENT: &str = "evergate-check";
/// What probes of runs call themselves.
const PROBE_AGENT: &str = "evergate-probe";

/// Why a run failed a probe.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ProbeFailure {
    /// Nothing listens there.
    Refused,
    /// There was no answer for so long.
    Late(Duration),
    /// The answer had this status.
    Status(u16),
    /// Why there was no answer, in words.
    Broken(String),
}

impl fmt::Display for ProbeFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => write!(f, "nothing listens"),
            Self::Late(timeout) => write!(f, "no answer within {timeout:?}"),
            Self::Status(status) => write!(f, "status {status}"),
            Self::Broken(why) => write!(f, "{why}"),
        }
    }
}

/// Probes the run at `place` once: by a GET of `path`, which must be answered with a status from
/// 200 to 299; without one, by connecting.
///
/// # Errors
/// If it does not pass.
pub async fn probe_run(
    place: &Place,
    path: Option<&str>,
    timeout: Duration,
) -> Result<(), ProbeFailure> {
    let address = Address::from(place);
    let probing = async {
        let connected = address.connect().await;
        let stream = connected.map_err(|error| not_connected(&error))?;
        ask_run(stream, path, address.host()).await
    };
    tokio::time::timeout(timeout, probing).await.unwrap_or(Err(ProbeFailure::Late(timeout)))
}

/// Asks another machine once whether it is there: by a GET of `path`, and then with which status it
/// answers; without one, by connecting.
///
/// # Errors
/// If it does not answer.
pub async fn ask_machine(
    address: SocketAddr,
    path: Option<&str>,
    timeout: Duration,
) -> Result<Option<u16>, ProbeFailure> {
    let asking = async {
        let connected = TcpStream::connect(address).await;
        let stream = connected.map_err(|error| not_connected(&error))?;
        let Some(path) = path else { return Ok(None) };
        let status = get(stream, path, &address.to_string(), PROBE_AGENT).await;
        status.map(Some).map_err(ProbeFailure::Broken)
    };
    tokio::time::timeout(timeout, asking).await.unwrap_or(Err(ProbeFailure::Late(timeout)))
}

async fn ask_run(stream: TcpStream, path: Option<&str>, host: String) -> Result<(), ProbeFailure> {
    let Some(path) = path else { return Ok(()) };
    match get(stream, path, &host, PROBE_AGENT).await {
        Ok(200..=299) => Ok(()),
        Ok(status) => Err(ProbeFailure::Status(status)),
        Err(why) => Err(ProbeFailure::Broken(why)),
    }
}

fn not_connected(error: &io::Error) -> ProbeFailure {
    match error.kind() {
        // A socket's file that is not there yet means the same.
        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => ProbeFailure::Refused,
        _ => ProbeFailure::Broken(format!("cannot connect: {}", plain(error))),
    }
}

/// Checks `endpoint` once; what is wrong with it, in words, if anything is.
pub(crate) async fn perform(
    endpoint: &Endpoint,
    probe: &Probe,
    protocol: Protocol,
    proxy_protocol: bool,
    timeout: Duration,
) -> Result<(), String> {
    let checking = async {
        let address = endpoint.address.as_ref();
        let address = address.ok_or_else(|| "its name does not resolve".to_owned())?;
        let connected = address.connect().await;
        let mut stream = connected.map_err(|error| format!("cannot connect: {}", plain(&error)))?;
        if proxy_protocol {
            proxy_header::introduce(&mut stream, None).await.map_err(broken)?;
        }
        let wire = Wire::new(stream);
        match probe {
            Probe::Tcp => Ok(()),
            Probe::Http { path, host, expect } => {
                let host = host.as_deref().unwrap_or(authority(endpoint));
                let status = status(
                    secured(wire, endpoint, protocol).await?,
                    endpoint,
                    protocol,
                    path,
                    host,
                )
                .await?;
                if expect.iter().any(|range| range.contains(&status)) {
                    return Ok(());
                }
                Err(format!("status {status}"))
            }
            Probe::Grpc { service } => {
                let wire = secured(wire, endpoint, protocol).await?;
                let target =
                    Target { scheme: scheme(endpoint), authority: authority(endpoint), path: "/" };
                http2::probe::is_serving(wire, target, service).await
            }
        }
    };
    match tokio::time::timeout(timeout, checking).await {
        Ok(result) => result,
        Err(_) => Err(format!("no answer within {timeout:?}")),
    }
}

/// The connection, with TLS where the server's URL says so.
async fn secured(mut wire: Wire, endpoint: &Endpoint, protocol: Protocol) -> Result<Wire, String> {
    if let Some(meeting) = &endpoint.tls {
        let purpose = match protocol {
            Protocol::Http1 => Purpose::Check,
            // Nothing else is spoken with it.
            Protocol::Http2 => Purpose::Traffic,
        };
        let shaken = meeting.shake_hands(&mut wire, purpose).await;
        shaken.map_err(|why| format!("no TLS: {why}"))?;
    }
    Ok(wire)
}

/// What it is asked as; a socket in the file system has no name of its own.
fn authority(endpoint: &Endpoint) -> &str {
    match endpoint.address {
        Some(Address::Unix(_)) => "localhost",
        Some(Address::Tcp(_)) | None => &endpoint.authority,
    }
}

fn scheme(endpoint: &Endpoint) -> &'static str {
    if endpoint.tls.is_some() { "https" } else { "http" }
}

/// The status of the response to a GET.
async fn status(
    wire: Wire,
    endpoint: &Endpoint,
    protocol: Protocol,
    path: &str,
    host: &str,
) -> Result<u16, String> {
    match protocol {
        Protocol::Http1 => get(wire, path, host, CHECK_AGENT).await,
        Protocol::Http2 => {
            let target = Target { scheme: scheme(endpoint), authority: host, path };
            http2::probe::get(wire, target).await
        }
    }
}

/// The status of the response to a GET over HTTP/1.
async fn get(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    path: &str,
    host: &str,
    agent: &str,
) -> Result<u16, String> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {agent}\r\n\
         Accept: */*\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.map_err(broken)?;
    stream.flush().await.map_err(broken)?;
    let mut received = Vec::with_capacity(1024);
    let mut head = ResponseHead::default();
    loop {
        match http1::parse_response(&received, &LIMITS, Method::Get, &mut head) {
            Ok(Some(response)) if head.status < 200 => drop(received.drain(..response.consumed)),
            Ok(Some(_)) => break,
            Ok(None) => {
                if stream.read_buf(&mut received).await.map_err(broken)? == 0 {
                    return Err("connection closed before the response".to_owned());
                }
            }
            Err(error) => return Err(format!("malformed response: {error}")),
        }
    }
    Ok(head.status)
}

fn broken(error: io::Error) -> String {
    format!("connection broken: {}", plain(&error))
}

/// The error without the operating system's number.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}
