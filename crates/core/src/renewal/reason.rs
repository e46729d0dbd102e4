//! Why a certificate is ordered, and why that fails.

/// Why a certificate is ordered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cause {
    /// There is none.
    Missing,
    /// The one there is was made for other names.
    OtherNames,
    /// What was stored is damaged.
    Damaged,
    /// The one there is will end.
    Due,
    /// The authority wants the one there is replaced (RFC 9773).
    Advised,
}

impl Cause {
    /// The reason in words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "there is no certificate",
            Self::OtherNames => "the certificate is for other names",
            Self::Damaged => "the stored certificate is damaged",
            Self::Due => "the certificate will end",
            Self::Advised => "the authority wants the certificate renewed",
        }
    }
}

/// What kind of thing went wrong with an order.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Failure {
    /// The authority was not reached, or did not answer in time, or not as an authority does.
    Unreachable,
    /// The authority said that this is too often.
    RateLimited,
    /// The authority refused the account or the order.
    Refused,
    /// The authority was not convinced that a name is ours.
    Unproven,
    /// What the authority issued cannot be used.
    Unusable,
    /// What was needed could not be read or written on this machine.
    Storage,
}

impl Failure {
    /// Every kind.
    pub const ALL: [Self; 6] = [
        Self::Unreachable,
        Self::RateLimited,
        Self::Refused,
        Self::Unproven,
        Self::Unusable,
        Self::Storage,
    ];

    /// The word for logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::RateLimited => "rate_limited",
            Self::Refused => "refused",
            Self::Unproven => "unproven",
            Self::Unusable => "unusable",
            Self::Storage => "storage",
        }
    }
}
