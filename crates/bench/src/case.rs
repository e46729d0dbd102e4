//! What is measured: the shapes of traffic that the targets name.

use crate::load::Reuse;

/// One shape of traffic.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// As `--case` takes it.
    pub name: &'static str,
    /// For the table.
    pub title: &'static str,
    /// At once.
    pub connections: u32,
    /// How long they live.
    pub reuse: Reuse,
    /// Bytes of each response body.
    pub body_bytes: usize,
    /// Bytes of each request body; none makes it a GET.
    pub upload_bytes: usize,
}

/// All of them, in the order of the tables.
pub const CASES: [Case; 5] = [
    Case {
        name: "keepalive-64-1k",
        title: "1 KB GET, 64 kept connections",
        connections: 64,
        reuse: Reuse::KeepAlive,
        body_bytes: 1024,
        upload_bytes: 0,
    },
    Case {
        name: "keepalive-1000-1k",
        title: "1 KB GET, 1000 kept connections",
        connections: 1000,
        reuse: Reuse::KeepAlive,
        body_bytes: 1024,
        upload_bytes: 0,
    },
    Case {
        name: "close-64-1k",
        title: "1 KB GET, a connection per request, 64 at once",
        connections: 64,
        reuse: Reuse::Close,
        body_bytes: 1024,
        upload_bytes: 0,
    },
    Case {
        name: "body-100k-64",
        title: "100 KB GET, 64 kept connections",
        connections: 64,
        reuse: Reuse::KeepAlive,
        body_bytes: 100 * 1024,
        upload_bytes: 0,
    },
    Case {
        name: "post-16k-64",
        title: "16 KB POST answered with 1 KB, 64 kept connections",
        connections: 64,
        reuse: Reuse::KeepAlive,
        body_bytes: 1024,
        upload_bytes: 16 * 1024,
    },
];

/// Bodies that an origin for these cases, and for `evergate-bench origin`, can serve.
pub const BODY_BYTES: [usize; 6] = [0, 1024, 10 * 1024, 16 * 1024, 100 * 1024, 1024 * 1024];

impl Case {
    /// The case of that name.
    pub fn named(name: &str) -> Option<Self> {
        CASES.into_iter().find(|case| case.name == name)
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
