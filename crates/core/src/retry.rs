//! Whether a failed attempt may be repeated elsewhere.

/// What a pool allows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Policy {
    /// Tries in all, the first included; 1 never retries.
    pub attempts_max: u32,
    /// Outcomes worth another try.
    pub on: Conditions,
    /// Retries as a share of requests over the last ten seconds, in percent.
    pub budget_percent: u32,
}

/// Which failures are worth another try.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Conditions {
    /// The connection could not be made, or died before the first byte of the response.
    pub connect: bool,
    /// No response head within the attempt's time.
    pub timeout: bool,
    /// The server answered 500.
    pub status_500: bool,
    /// The server answered 502.
    pub status_502: bool,
    /// The server answered 503.
    pub status_503: bool,
    /// The server answered 504.
    pub status_504: bool,
    /// `POST`, `PATCH` and unknown methods too, although they may take effect twice.
    pub non_idempotent: bool,
}
