//! What is measured: the shapes of traffic that the targets name.

use crate::load::Reuse;

/// Requests at once on each HTTP/2 connection.
pub const STREAMS: u32 = 100;

/// One shape of traffic.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// As `--case` takes it.
    pub name: &'static str,
    /// For the table.
    pub title: &'static str,
    /// What is spoken.
    pub transport: Transport,
    /// Where responses come from.
    pub source: Source,
    /// At once.
    pub connections: u32,
    /// How long they live.
    pub reuse: Reuse,
    /// Bytes of each response body.
    pub body_bytes: usize,
    /// Bytes of each request body; none makes it a GET.
    pub upload_bytes: usize,
}

/// What is spoken between clients and a contender.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Transport {
    /// HTTP/1.1 in the clear.
    Plain,
    /// HTTP/1.1 over TLS 1.3.
    Tls,
    /// HTTP/2 over TLS 1.3, with [`STREAMS`] requests at once on each connection.
    Http2,
    /// The same in the clear, by prior knowledge.
    Http2Plain,
}

impl Transport {
    /// Whether it is encrypted.
    pub fn is_tls(self) -> bool {
        match self {
            Self::Tls | Self::Http2 => true,
            Self::Plain | Self::Http2Plain => false,
        }
    }

    /// Whether it is HTTP/2.
    pub fn is_http2(self) -> bool {
        match self {
            Self::Http2 | Self::Http2Plain => true,
            Self::Plain | Self::Tls => false,
        }
    }
}

/// Where responses come from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Source {
    /// The origin behind the contender.
    Origin,
    /// A file that the contender serves itself.
    File,
}

/// All of them, in the order of the tables.
pub const CASES: [Case; 11] = [
    GET_1K,
    Case {
        name: "keepalive-1000-1k",
        title: "1 KB GET, 1000 kept connections",
        connections: 1000,
        ..GET_1K
    },
    Case {
        name: "close-64-1k",
        title: "1 KB GET, a connection per request, 64 at once",
        reuse: Reuse::Close,
        ..GET_1K
    },
    Case {
        name: "body-100k-64",
        title: "100 KB GET, 64 kept connections",
        body_bytes: 100 * 1024,
        ..GET_1K
    },
    Case {
        name: "post-16k-64",
        title: "16 KB POST answered with 1 KB, 64 kept connections",
        upload_bytes: 16 * 1024,
        ..GET_1K
    },
    Case {
        name: "tls-keepalive-64-1k",
        title: "1 KB GET over TLS, 64 kept connections",
        transport: Transport::Tls,
        ..GET_1K
    },
    Case {
        name: "tls-keepalive-1000-1k",
        title: "1 KB GET over TLS, 1000 kept connections",
        transport: Transport::Tls,
        connections: 1000,
        ..GET_1K
    },
    Case {
        name: "tls-handshake-64-1k",
        title: "1 KB GET, a TLS connection with a full handshake per request, 64 at once",
        transport: Transport::Tls,
        reuse: Reuse::Close,
        ..GET_1K
    },
    Case {
        name: "h2-10x100-1k",
        title: "1 KB GET over HTTP/2 and TLS, 10 kept connections with 100 streams each",
        transport: Transport::Http2,
        connections: 10,
        ..GET_1K
    },
    Case {
        name: "h2c-10x100-1k",
        title: "1 KB GET over HTTP/2 without TLS, 10 kept connections with 100 streams each",
        transport: Transport::Http2Plain,
        connections: 10,
        ..GET_1K
    },
    Case {
        name: "static-10k-64",
        title: "10 KB file, 64 kept connections",
        source: Source::File,
        body_bytes: 10 * 1024,
        ..GET_1K
    },
];

/// The first case; the others say where they differ.
const GET_1K: Case = Case {
    name: "keepalive-64-1k",
    title: "1 KB GET, 64 kept connections",
    transport: Transport::Plain,
    source: Source::Origin,
    connections: 64,
    reuse: Reuse::KeepAlive,
    body_bytes: 1024,
    upload_bytes: 0,
};

/// Bodies that an origin for these cases, and for `evergate-bench origin`, can serve.
pub const BODY_BYTES: [usize; 6] = [0, 1024, 10 * 1024, 16 * 1024, 100 * 1024, 1024 * 1024];

impl Case {
    /// The case of that name.
    pub fn named(name: &str) -> Option<Self> {
        CASES.into_iter().find(|case| case.name == name)
    }

    /// What is asked for.
    pub fn path(&self) -> String {
        match self.source {
            Source::Origin => format!("/{}", self.body_bytes),
            Source::File => format!("/{}", self.file_name()),
        }
    }

    /// The name of the file that is asked for, where responses come from files.
    pub fn file_name(&self) -> String {
        format!("{}.txt", self.body_bytes)
    }

    /// Most requests at once, all connections together.
    pub fn requests_at_once(&self) -> u32 {
        if self.transport.is_http2() { self.connections * STREAMS } else { self.connections }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_origin_can_serve_every_case() {
        for case in CASES {
            assert!(BODY_BYTES.contains(&case.body_bytes), "{}", case.name);
            assert_eq!(Case::named(case.name).map(|found| found.title), Some(case.title));
        }
    }
}
