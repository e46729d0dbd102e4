//! Who listens to what is told of apps.

/// Who listens to what is told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Audience {
    /// There is no worker.
    Nobody,
    /// One has let go, and the next has not come yet.
    Between,
    /// There is one, which gets to know.
    Greeted,
    /// It serves, probes, and reads what runs print.
    Serving,
}

impl Audience {
    /// Whether somebody takes what is told, and the ends of pipes.
    pub(super) fn listens(self) -> bool {
        match self {
            Self::Nobody | Self::Between => false,
            Self::Greeted | Self::Serving => true,
        }
    }
}
