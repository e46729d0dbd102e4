//! An ACME authority for tests: Debian's `pebble`, with a resolver that says that every name is
//! this machine.

use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

use crate::certificates::Ca;
use crate::program::command;
use crate::{free_address, wait_until};

/// How often a good nonce is refused nevertheless, in percent.
const NONCES_REFUSED_PERCENT: &str = "50";

/// An authority; it ends with this value, and can be ended and begun anew before.
#[derive(Debug)]
pub struct Pebble {
    directory: tempfile::TempDir,
    resolver: Child,
    authority: Option<Child>,
    address: SocketAddr,
    resolver_address: SocketAddr,
    ca: String,
}

impl Pebble {
    /// Proofs are looked for at the ports of `http` and `tls`; certificates are good for that many
    /// seconds. None, with a word on the skipped test, if there is no pebble here.
    pub fn start(http: SocketAddr, tls: SocketAddr, life_seconds: u64) -> Option<Self> {
        let mut resolver = command("pebble-challtestsrv")?;
        let directory = tempfile::Builder::new().prefix("evergate-").tempdir();
        let directory = directory.expect("there is room for a directory");
        let ca = Ca::new();
        let issued = ca.issue(&["127.0.0.1"]);
        let (address, management) = (free_address(), free_address());
        let config = serde_json::json!({ "pebble": {
            "listenAddress": address.to_string(),
            "managementListenAddress": management.to_string(),
            "certificate": "cert.pem",
            "privateKey": "key.pem",
            "httpPort": http.port(),
            "tlsPort": tls.port(),
            "certificateValidityPeriod": life_seconds,
        }});
        let files =
            [("config", config.to_string()), ("cert.pem", issued.cert), ("key.pem", issued.key)];
        for (name, text) in files {
            std::fs::write(directory.path().join(name), text).expect("a new directory has room");
        }
        let resolver_address = free_address();
        resolver.args(["-dns01", &resolver_address.to_string()]);
        resolver.args(["-management", &free_address().to_string()]);
        resolver.args(["-http01", "", "-https01", "", "-tlsalpn01", "", "-defaultIPv6", ""]);
        let resolver = quiet(&mut resolver);
        let ca = ca.pem();
        let mut pebble =
            Self { directory, resolver, authority: None, address, resolver_address, ca };
        wait_until("the resolver answers", || TcpStream::connect(resolver_address).is_ok());
        pebble.begin();
        Some(pebble)
    }

    /// Starts the authority, which remembers nothing of an earlier start.
    pub fn begin(&mut self) {
        self.end();
        let mut authority = command("pebble").expect("it was there before");
        authority.current_dir(self.directory.path()).args(["-config", "config"]);
        authority.args(["-dnsserver", &self.resolver_address.to_string()]);
        authority.env("PEBBLE_VA_NOSLEEP", "1");
        authority.env("PEBBLE_WFE_NONCEREJECT", NONCES_REFUSED_PERCENT);
        self.authority = Some(quiet(&mut authority));
        let address = self.address;
        wait_until("the authority listens", || TcpStream::connect(address).is_ok());
    }

    /// Ends the authority: whoever connects is refused.
    pub fn end(&mut self) {
        if let Some(authority) = &mut self.authority {
            end(authority);
        }
        self.authority = None;
    }

    /// URL of its directory.
    pub fn url(&self) -> String {
        format!("https://{}/dir", self.address)
    }

    /// Who vouches for its own HTTPS, as PEM.
    pub fn ca(&self) -> &str {
        &self.ca
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        self.end();
        end(&mut self.resolver);
    }
}

fn quiet(command: &mut Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("it was found")
}

fn end(child: &mut Child) {
    // One that has ended is as good.
    let _ = child.kill();
    let _ = child.wait();
}
