//! From an endpoint to a connection that a protocol can be spoken on.

use std::sync::Arc;

use evergate_core::proxy_header::Ends;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::endpoint::Endpoint;
use crate::proxy_header;
use crate::reject::UpstreamFault;
use crate::shard::Report;
use crate::tls::origination::Purpose;
use crate::wire::Wire;

/// Connects to a server, first tells it of `ends`, if any, and speaks TLS where its URL says so.
/// How
/// long that may take is for the caller to see to.
pub(crate) async fn dial(
    reports: &mpsc::Sender<Report>,
    endpoint: &Arc<Endpoint>,
    ends: Option<Ends>,
) -> Result<Wire, UpstreamFault> {
    let address = endpoint.address.ok_or(UpstreamFault::Connect)?;
    let mut tcp = TcpStream::connect(address).await.map_err(|_| UpstreamFault::Connect)?;
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
