//! Filters that routes name.

use std::time::Duration;

use ipnet::IpNet;

use super::{Secret, Template};

/// `[middleware.NAME]`
#[derive(Clone, Debug, PartialEq)]
pub enum Middleware {
    /// `headers`
    Headers(Headers),
    /// `ip`
    Ip(IpRules),
    /// `api_key`
    ApiKey(ApiKey),
    /// `cors`
    Cors(Cors),
}

/// Changes to header fields.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Headers {
    /// On the way to the server.
    pub request: HeaderEdits,
    /// On the way to the client.
    pub response: HeaderEdits,
}

/// Changes to one direction's header fields, done in the order remove, set, add.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeaderEdits {
    /// Put in place of any field of that name.
    pub set: Vec<(String, Template)>,
    /// Added beside fields of that name.
    pub add: Vec<(String, Template)>,
    /// Taken out.
    pub remove: Vec<String>,
}

/// Who may pass: not `deny`, and if `allow` is not empty, only those.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct IpRules {
    /// Addresses let in; empty is everybody.
    pub allow: Vec<IpNet>,
    /// Addresses kept out, before `allow` is asked.
    pub deny: Vec<IpNet>,
}

/// A shared key in a header field.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiKey {
    /// The field. Default: `x-api-key`.
    pub header: String,
    /// Any of these opens; a `${file:…}` holds one key a line, empty lines and `#` comments aside.
    pub keys: Vec<Secret>,
}

/// Cross-origin resource sharing (WHATWG Fetch, 3.2).
#[derive(Clone, Debug, PartialEq)]
pub struct Cors {
    /// Origins let in, exact; one `*` is any.
    pub origins: Vec<String>,
    /// Methods let in. Default: GET, HEAD, POST.
    pub methods: Vec<String>,
    /// Request fields let in beside the safelisted.
    pub headers: Vec<String>,
    /// Response fields scripts may read.
    pub expose: Vec<String>,
    /// Whether cookies go along; never together with `*`.
    pub credentials: bool,
    /// How long a preflight may be remembered. Default: 10 min.
    pub max_age: Duration,
}
