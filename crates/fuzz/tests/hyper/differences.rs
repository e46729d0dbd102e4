//! The table of differences, in the order of the corpus.

/// An input that the two parsers understand in different ways.
pub(crate) struct Difference {
    /// Its file in the corpus.
    pub(crate) input: &'static str,
    /// `taken`, `waits` or the status.
    pub(crate) ours: &'static str,
    /// The same of hyper; both may be `taken`, but not as the same request.
    pub(crate) hypers: &'static str,
    /// Why it is so on purpose.
    pub(crate) why: &'static str,
}

const fn row(
    input: &'static str,
    ours: &'static str,
    hypers: &'static str,
    why: &'static str,
) -> Difference {
    Difference { input, ours, hypers, why }
}

const BARE_LF: &str = "a bare LF ends a line for some and not for others";
const HOST: &str = "hyper leaves Host to the service";
const AUTHORITY: &str = "the target and Host must name one authority, or filters see two";
const TWO_FRAMINGS: &str = "hyper drops the length; two framings are an attack (RFC 9112, 6.1)";
const EXPECT: &str = "hyper leaves unknown expectations to the service";
const UNKNOWN_CODING: &str = "an unknown coding is named as the reason (RFC 9112, 6.1)";
const LAST_CODING: &str = "hyper looks at the last coding only";
const CHUNKED_TWICE: &str = "chunked twice is malformed (RFC 9112, 6.1)";

pub(crate) const DIFFERENCES: &[Difference] = &[
    row("abs-uri-ftp", "400", "taken", "a gateway speaks for http and https only"),
    row(
        "abs-uri-options",
        "taken",
        "taken",
        "OPTIONS without a path asks the server as a whole, so its target is * (RFC 9112, 3.2.4)",
    ),
    row("abs-uri-port", "400", "taken", AUTHORITY),
    row(
        "abs-uri-userinfo",
        "400",
        "taken",
        "user info in a target hides the host from readers (RFC 9110, 4.2.4)",
    ),
    row("abs-uri-vs-host", "400", "taken", AUTHORITY),
    row("bare-lf-all", "400", "taken", BARE_LF),
    row("bare-lf-before", "400", "taken", BARE_LF),
    row("bare-lf-blank", "400", "taken", BARE_LF),
    row("bare-lf-early", "400", "waits", "a bare LF is refused before the head is complete"),
    row("bare-lf-field", "400", "taken", BARE_LF),
    row("bare-lf-line", "400", "taken", BARE_LF),
    row("bare-lf-no-fields", "400", "taken", BARE_LF),
    row("cl-max", "taken", "431", "hyper keeps the two largest lengths for marks of its own"),
    row("cl-te", "400", "taken", TWO_FRAMINGS),
    row("connect", "405", "taken", "a gateway opens no tunnels"),
    row(
        "connection-forwarded",
        "400",
        "taken",
        "Connection must not take the client's address away",
    ),
    row("connection-host", "400", "taken", "Connection must not take Host away"),
    row("connection-length", "400", "taken", "Connection must not take the framing away"),
    row(
        "dup-cl-same",
        "400",
        "taken",
        "hyper folds equal lengths into one; the next server may not",
    ),
    row("expect-twice", "417", "taken", EXPECT),
    row("expect-unknown", "417", "taken", EXPECT),
    row(
        "h2-preface",
        "505",
        "waits",
        "hyper's HTTP/1 server ends without an answer, so that HTTP/2 can be tried",
    ),
    row("hdr-64k", "431", "taken", "hyper bounds its buffer only, at about 400 KiB"),
    row("host-empty", "400", "taken", HOST),
    row("host-list", "400", "taken", HOST),
    row("host-non-ascii", "400", "taken", HOST),
    row("host-path", "400", "taken", HOST),
    row("host-port-bad", "400", "taken", HOST),
    row("host-port-large", "400", "taken", HOST),
    row("host-space", "400", "taken", HOST),
    row("host-userinfo", "400", "taken", HOST),
    row("http-1.2", "taken", "400", "later minor versions are read as 1.1 (RFC 9110, 2.5)"),
    row(
        "http-2.0",
        "505",
        "400",
        "the version is well formed, but not served here (RFC 9110, 15.6.6)",
    ),
    row("no-host", "400", "taken", HOST),
    row("target-9k", "414", "taken", "hyper's bound is 64 KiB"),
    row(
        "target-authority",
        "400",
        "taken",
        "only CONNECT has an authority as its target (RFC 9112, 3.2.3)",
    ),
    row("target-fragment", "400", "taken", "hyper cuts the fragment off; a client never sends one"),
    row("target-non-ascii", "400", "taken", "URIs are ASCII (RFC 3986, 2)"),
    row(
        "target-odd-bytes",
        "taken",
        "400",
        "browsers send some of these bytes, and no parser ends a target at them",
    ),
    row("target-relative", "400", "taken", "hyper reads a lone word as an authority"),
    row(
        "target-star-get",
        "400",
        "taken",
        "only OPTIONS asks the server as a whole (RFC 9112, 3.2.4)",
    ),
    row("te-cl", "400", "taken", TWO_FRAMINGS),
    row("te-comma-first", "400", "taken", "an empty coding is a way to hide chunked from some"),
    row("te-dup-chunked", "400", "taken", CHUNKED_TWICE),
    row("te-gzip", "501", "400", UNKNOWN_CODING),
    row("te-gzip-chunked", "501", "taken", LAST_CODING),
    row("te-identity", "501", "400", UNKNOWN_CODING),
    row("te-identity-chunked", "400", "taken", LAST_CODING),
    row("te-list-chunked", "400", "taken", CHUNKED_TWICE),
    row("te-two-lines", "501", "taken", LAST_CODING),
    row("te-xchunked", "501", "400", UNKNOWN_CODING),
    row(
        "three-empty-lines",
        "400",
        "taken",
        "hyper skips any number of empty lines, a gateway two",
    ),
    row("trace", "405", "taken", "TRACE shows a client what others added to its request"),
    row("two-hosts", "400", "taken", HOST),
    row("two-hosts-same", "400", "taken", HOST),
];
