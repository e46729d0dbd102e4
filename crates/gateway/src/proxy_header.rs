//! PROXY headers: awaited from the proxy in front of us, and sent to the servers behind us.
//!
//! A listener that wants them wants one from every connection: who may send none may lie. What was
//! read past a header is the client's and is read again by whoever comes next.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::Duration;

use evergate_core::proxy_header::{self, Ends, HEADER_BYTES_MAX, Header, HeaderError};
use evergate_sys::clock;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::caller::Announced;
use crate::facts::Facts;
use crate::shard::Shard;
use crate::wire::Wire;

/// For the whole header, from the connection on.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Why a connection was closed before it began.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ProxyRefusal {
    /// The sender is not one of `trusted_proxies`.
    Untrusted,
    /// The header was not whole in time.
    Timeout,
    /// There is none.
    Malformed,
    /// It is longer than one may be.
    TooLong,
    /// Its checksum is wrong.
    Checksum,
}

/// A header, and what came behind it.
#[derive(Debug)]
pub(crate) struct Received {
    /// Whom it names; none if the sender speaks for itself.
    pub(crate) ends: Option<Ends>,
    /// What else it says.
    pub(crate) announced: Option<Rc<Announced>>,
    /// The client's first bytes.
    pub(crate) early: Vec<u8>,
}

/// Waits for the header in front of a connection; none if the sender left without a word, as
/// checks of a port do.
pub(crate) async fn receive(
    shard: &Shard,
    wire: &mut Wire,
) -> Result<Option<Received>, ProxyRefusal> {
    let timer = shard.timers.timer();
    let deadline = clock::now() + TIMEOUT;
    timer.set(deadline);
    let mut bytes = Vec::new();
    poll_fn(|cx| {
        loop {
            let read = shard.buffers.with_scratch(|scratch| {
                let read = wire.poll_read(cx, &mut scratch[..HEADER_BYTES_MAX]);
                if let Poll::Ready(Ok(count)) = read {
                    bytes.extend_from_slice(&scratch[..count]);
                }
                read
            });
            match read {
                Poll::Ready(Ok(0) | Err(_)) if bytes.is_empty() => return Poll::Ready(Ok(None)),
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(ProxyRefusal::Malformed)),
                Poll::Ready(Ok(_)) => {
                    if let Some(header) = proxy_header::parse(&bytes)? {
                        return Poll::Ready(Ok(Some(Received::new(&header, &bytes))));
                    }
                    continue;
                }
                Poll::Pending => {}
            }
            ready!(timer.poll_elapsed(cx));
            if clock::now() >= deadline {
                return Poll::Ready(Err(ProxyRefusal::Timeout));
            }
            timer.set(deadline);
        }
    })
    .await
}

/// The ends of a client's connection, as a server may believe them: the client is whom we believe
/// in, and has a port only if the connection is its own.
pub(crate) fn ends(facts: &Facts<'_>) -> Ends {
    let peer = facts.caller.peer;
    let port = if peer.ip().to_canonical() == facts.client { peer.port() } else { 0 };
    let destination = facts.caller.destination.unwrap_or_else(|| match facts.client {
        IpAddr::V4(_) => SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0),
        IpAddr::V6(_) => SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 0),
    });
    Ends {
        source: SocketAddr::new(facts.client, port),
        destination: SocketAddr::new(destination.ip().to_canonical(), destination.port()),
    }
}

/// Begins a connection to a server with a header, in which we speak for ourselves if no `ends` are
/// given.
pub(crate) async fn introduce(server: &mut TcpStream, ends: Option<Ends>) -> io::Result<()> {
    let mut header = Vec::new();
    proxy_header::write(ends, &mut header);
    server.write_all(&header).await
}

impl Received {
    fn new(header: &Header<'_>, bytes: &[u8]) -> Self {
        let (unique_id, authority) = (header.tlvs.unique_id(), header.tlvs.authority());
        let announced = (unique_id.is_some() || authority.is_some()).then(|| {
            Rc::new(Announced {
                unique_id: unique_id.map(<[u8]>::to_vec),
                authority: authority.map(<[u8]>::to_vec),
                request_id: Cell::new(unique_id.and_then(request_id)),
            })
        });
        Self { ends: header.ends, announced, early: bytes[header.consumed..].to_vec() }
    }
}

/// A unique id that looks like one of our request ids.
fn request_id(unique_id: &[u8]) -> Option<[u8; 32]> {
    let id = <[u8; 32]>::try_from(unique_id).ok()?;
    id.iter().all(u8::is_ascii_hexdigit).then_some(id)
}

impl ProxyRefusal {
    /// All of them, in order.
    pub(crate) const ALL: [Self; 5] =
        [Self::Untrusted, Self::Timeout, Self::Malformed, Self::TooLong, Self::Checksum];

    /// As it is called in metrics.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Untrusted => "untrusted",
            Self::Timeout => "timeout",
            Self::Malformed => "malformed",
            Self::TooLong => "too_long",
            Self::Checksum => "checksum",
        }
    }

    /// What the sender did wrong, to be read after its address.
    pub(crate) const fn explain(self) -> &'static str {
        match self {
            Self::Untrusted => "is not one of the listener's trusted_proxies",
            Self::Timeout => "sent no whole PROXY header within 3 s",
            Self::Malformed => "sent something that is not a PROXY header",
            Self::TooLong => "sent a PROXY header that is too long",
            Self::Checksum => "sent a PROXY header with a wrong checksum",
        }
    }
}

impl From<HeaderError> for ProxyRefusal {
    fn from(error: HeaderError) -> Self {
        match error {
            HeaderError::Malformed => Self::Malformed,
            HeaderError::TooLong => Self::TooLong,
            HeaderError::Checksum => Self::Checksum,
        }
    }
}
