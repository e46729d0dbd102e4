//! The handshake with a client.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use evergate_config::TlsVersion;
use evergate_sys::clock;
use rustls::{HandshakeKind, ProtocolVersion};

use crate::caller::Secured;
use crate::shard::{Report, Shard};
use crate::tls::fault::{Fault, Handshakes};
use crate::tls::termination::{ALPN_ACME, Termination};
use crate::wire::{HandshakeError, Wire};

/// What a client gets to read that speaks HTTP where TLS is spoken.
const SPEAKS_HTTP: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    Content-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 41\r\n\
    Connection: close\r\n\r\n\
    400 Bad Request: this port speaks HTTPS.\n";
/// So many failures for one reason are worth an event, and ten times as many the next.
const FAILURES_TOLD_FROM: u64 = 100;

/// Speaks TLS on `wire`; none if there is nothing to be served on it.
pub(crate) async fn accept(
    shard: &Shard,
    wire: &mut Wire,
    listener: &str,
    termination: &Termination,
    handshakes: &Handshakes,
) -> Option<Secured> {
    match shake_hands(shard, wire, termination).await {
        Ok(()) => {}
        Err(fault) => {
            if fault == Fault::NotTls {
                // Whoever does not take it at once has sent more than a request.
                let _ = wire.socket().try_write(SPEAKS_HTTP);
            }
            tell(shard, listener, fault, handshakes.failed(fault));
            return None;
        }
    }
    let session = wire.tls_mut()?;
    if session.state().alpn_protocol() == Some(ALPN_ACME) {
        // The certificate was the answer (RFC 8737, 3); dropping the wire closes it.
        return None;
    }
    let choice = session.take_choice()?;
    let state = session.state();
    let version = match state.protocol_version()? {
        ProtocolVersion::TLSv1_3 => TlsVersion::Tls13,
        _ => TlsVersion::Tls12,
    };
    handshakes.succeeded(version, state.handshake_kind() == Some(HandshakeKind::Resumed));
    let chain = state.peer_certificates();
    Some(Secured {
        server_name: choice.server_name,
        certificate: choice.certificate,
        client_certificate: chain.and_then(|chain| chain.first()).map(|leaf| leaf.to_vec()),
    })
}

async fn shake_hands(
    shard: &Shard,
    wire: &mut Wire,
    termination: &Termination,
) -> Result<(), Fault> {
    wire.serve_tls(Arc::clone(&termination.server)).map_err(|error| Fault::of(&error))?;
    let deadline = clock::now() + termination.settings.handshake_timeout;
    let timer = shard.timers.timer();
    timer.set(deadline);
    poll_fn(|cx| {
        if let Poll::Ready(shaken) = wire.poll_handshake(cx) {
            return Poll::Ready(shaken.map_err(|error| match error {
                HandshakeError::Gone => Fault::Gone,
                HandshakeError::NotTls => Fault::NotTls,
                HandshakeError::Refused(error) => Fault::of(&error),
            }));
        }
        while timer.poll_elapsed(cx).is_ready() {
            if clock::now() >= deadline {
                return Poll::Ready(Err(Fault::Timeout));
            }
            // It elapsed because all ends.
            timer.set(deadline);
        }
        Poll::Pending
    })
    .await
}

/// One failed handshake is everyday; a hundred are worth a word.
fn tell(shard: &Shard, listener: &str, fault: Fault, count: u64) {
    let mut told_at = FAILURES_TOLD_FROM;
    while told_at < count {
        told_at = told_at.saturating_mul(10);
    }
    if told_at == count {
        let listener = listener.to_owned();
        // A full queue has more important things in it.
        let _ = shard.reports.try_send(Report::HandshakesFail { listener, fault, count });
    }
}
