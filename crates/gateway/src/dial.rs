//! From an endpoint to a connection that a protocol can be spoken on.

use tokio::net::TcpStream;

use crate::endpoint::Endpoint;
use crate::plan::Pool;
use crate::reject::UpstreamFault;
use crate::wire::Wire;

/// Connects to a server of `pool`. How long that may take is for the caller to see to.
pub(crate) async fn dial(_pool: &Pool, endpoint: &Endpoint) -> Result<Wire, UpstreamFault> {
    let address = endpoint.address.ok_or(UpstreamFault::Connect)?;
    let tcp = TcpStream::connect(address).await.map_err(|_| UpstreamFault::Connect)?;
    Ok(Wire::new(tcp))
}
