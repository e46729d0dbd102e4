//! From an endpoint to a connection that a protocol can be spoken on.
//!
//! A Unix socket is connected as one and then goes by the name of a TCP socket: both are streams,
//! which are read, written, spliced and shut down by the same system calls, and so no code on the
//! request path has to tell them apart. What TCP has beyond that (no delay, ports) fails on them and
//! is nowhere needed of a server's connection.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use evergate_control::link::Place;
use evergate_core::proxy_header::Ends;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc;

use crate::endpoint::Endpoint;
use crate::proxy_header;
use crate::reject::UpstreamFault;
use crate::shard::Report;
use crate::tls::origination::Purpose;
use crate::wire::Wire;

/// How long to wait when the queue of a Unix socket is full: unlike TCP it says so at once.
const QUEUE_WAIT: Duration = Duration::from_millis(2);

/// Where a server listens.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Address {
    /// On TCP.
    Tcp(SocketAddr),
    /// On a Unix socket at this path.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl From<&Place> for Address {
    fn from(place: &Place) -> Self {
        match place {
            Place::Port(port) => Self::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, *port))),
            Place::Unix(path) => Self::Unix(PathBuf::from(path)),
        }
    }
}

impl Address {
    /// What a server there is asked as, if nothing else is known.
    pub(crate) fn host(&self) -> String {
        match self {
            Self::Tcp(address) => address.to_string(),
            Self::Unix(_) => "localhost".to_owned(),
        }
    }

    /// A connection to it. How long that may take is for the caller to see to.
    pub(crate) async fn connect(&self) -> io::Result<TcpStream> {
        match self {
            Self::Tcp(address) => TcpStream::connect(address).await,
            // Boxed, so that it takes no room in the futures of those who do not want it.
            Self::Unix(path) => Box::pin(connect_unix(path)).await,
        }
    }
}

async fn connect_unix(path: &PathBuf) -> io::Result<TcpStream> {
    loop {
        match UnixStream::connect(path).await {
            Ok(stream) => {
                let descriptor = OwnedFd::from(stream.into_std()?);
                return TcpStream::from_std(descriptor.into());
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                tokio::time::sleep(QUEUE_WAIT).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Connects to a server, first tells it of `ends`, if any, and speaks TLS where its URL says so. How
/// long that may take is for the caller to see to.
pub(crate) async fn dial(
    reports: &mpsc::Sender<Report>,
    endpoint: &Arc<Endpoint>,
    ends: Option<Ends>,
) -> Result<Wire, UpstreamFault> {
    let address = endpoint.address.as_ref().ok_or(UpstreamFault::Connect)?;
    let mut tcp = address.connect().await.map_err(|_| UpstreamFault::Connect)?;
    if ends.is_some() {
        // Boxed, so that it takes no room in the futures of those who do not want it.
        let introducing = Box::pin(proxy_header::introduce(&mut tcp, ends));
        introducing.await.map_err(|_| UpstreamFault::Connect)?;
    }
    let mut wire = Wire::new(tcp);
    if let Some(meeting) = &endpoint.tls {
        // Boxed: a handshake is larger than what every request waits for.
        let shaken = Box::pin(meeting.shake_hands(&mut wire, Purpose::Traffic)).await;
        let is_news = endpoint.shook_hands(shaken.is_ok());
        if let Err(why) = shaken {
            if is_news {
                let endpoint = Arc::clone(endpoint);
                // Health checks tell of it too.
                let _ = reports.try_send(Report::UpstreamTls { endpoint, why });
            }
            return Err(UpstreamFault::Tls);
        }
    }
    Ok(wire)
}
