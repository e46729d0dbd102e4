//! What was changed beside the file.

use serde::{Deserialize, Serialize};

/// Every change.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct Changes {
    /// In order: routes, then servers, by name.
    pub changes: Vec<ChangeStatus>,
    /// Why they are not in force; none if they are.
    pub refused: Option<String>,
    /// Where they are kept.
    pub journal: String,
}

/// A change.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct ChangeStatus {
    /// `route.api` or `pool.api/a`.
    pub name: String,
    /// `adds`, `replaces` or `hides`.
    pub does: String,
    /// Where the file has what it replaces or hides (`FILE:LINE`); none if it has nothing.
    pub file: Option<String>,
    /// When it was made, in seconds of Unix time.
    pub since: u64,
    /// What it puts there, as TOML, secrets replaced.
    pub body: Option<String>,
}
