//! What a worker wants of its keeper: addresses to listen on and apps to run.

use std::net::SocketAddr;

use minicbor::{Decode, Encode};

use super::{App, Standby};

/// What a worker wants of its keeper.
#[derive(Clone, Debug, Decode, Default, Encode, Eq, PartialEq)]
pub struct Desired {
    /// Every address to listen on; others are closed.
    #[n(0)]
    pub listeners: Vec<Listener>,
    /// Every app to run; others are ended.
    #[n(1)]
    pub apps: Vec<App>,
    /// Where apps may have their Unix sockets: an absolute path that nobody but the keeper's user
    /// and root can make lead elsewhere.
    #[n(2)]
    pub run_dir: Option<String>,
    /// Virtual addresses, and the nodes that share them.
    #[n(3)]
    #[cbor(default)]
    pub standby: Standby,
}

/// One address to listen on.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub struct Listener {
    /// Name in the configuration, or `admin`.
    #[n(0)]
    pub name: String,
    /// Where.
    #[n(1)]
    pub address: Address,
    /// How many sockets share it (`SO_REUSEPORT`); 1 for Unix sockets.
    #[n(2)]
    pub sockets: u16,
}

/// An address to listen on. A TCP address is `ip:port` with brackets around IPv6.
#[derive(Clone, Debug, Decode, Encode, Eq, Ord, PartialEq, PartialOrd)]
pub enum Address {
    /// TCP.
    #[n(0)]
    Tcp(#[cbor(n(0), with = "socket_address")] SocketAddr),
    /// A Unix stream socket, replaced if a stale one is in the way.
    #[n(1)]
    Unix {
        /// Absolute path; the directory is made if need be.
        #[n(0)]
        path: String,
        /// Permissions, as for chmod.
        #[n(1)]
        mode: u32,
    },
}

/// How listening went.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub enum Outcome {
    /// It listens here.
    #[n(0)]
    Bound(#[n(0)] Address),
    /// It does not; what, why, and how to mend it.
    #[n(1)]
    Failed(#[n(0)] String),
}

mod socket_address {
    use std::net::SocketAddr;

    use minicbor::decode::{self, Decoder};
    use minicbor::encode::{self, Encoder, Write};

    pub(super) fn encode<C, W: Write>(
        address: &SocketAddr,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        e.str(&address.to_string())?;
        Ok(())
    }

    pub(super) fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<SocketAddr, decode::Error> {
        let text = d.str()?;
        text.parse().map_err(|_| decode::Error::message("not an ip:port"))
    }
}
