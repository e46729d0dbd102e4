//! From an endpoint to a connection that a protocol can be spoken on.

use evergate_core::proxy_header::Ends;
use tokio::net::TcpStream;

use crate::endpoint::Endpoint;
use crate::plan::Pool;
use crate::proxy_header;
use crate::reject::UpstreamFault;
use crate::wire::Wire;

/// Connects to a server of `pool`, and first tells it of `ends`, if any. How long that may take is for the caller to see to.
pub(crate) async fn dial(
    _pool: &Pool,
    endpoint: &Endpoint,
    ends: Option<Ends>,
) -> Result<Wire, UpstreamFault> {
    let address = endpoint.address.ok_or(UpstreamFault::Connect)?;
    let mut tcp = TcpStream::connect(address).await.map_err(|_| UpstreamFault::Connect)?;
    if ends.is_some() {
        // Boxed, so that it takes no room in the futures of those who do not want it.
        let introducing = Box::pin(proxy_header::introduce(&mut tcp, ends));
        introducing.await.map_err(|_| UpstreamFault::Connect)?;
    }
    Ok(Wire::new(tcp))
}
