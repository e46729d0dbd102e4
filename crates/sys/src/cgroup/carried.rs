//! What is known of a group, for the program that this process becomes next ([`crate::exec`]).

use std::path::PathBuf;

use minicbor::{Decode, Encode};

use super::group::{Group, Part};
use super::{Controller, Version};

/// A group in one hierarchy, as it is carried over.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub struct Carried {
    /// Whether the hierarchy is of version 2.
    #[n(0)]
    pub is_v2: bool,
    /// Where it is.
    #[n(1)]
    pub directory: String,
    /// Names of the controllers in use.
    #[n(2)]
    pub controllers: Vec<String>,
    /// Whether its processes can be frozen.
    #[n(3)]
    pub is_freezer: bool,
}

impl Group {
    /// All that is known of it.
    pub fn carry(&self) -> Vec<Carried> {
        let carry = |part: &Part| Carried {
            is_v2: part.version == Version::V2,
            directory: part.directory.to_string_lossy().into_owned(),
            controllers: part.controllers.iter().map(|one| one.name().to_owned()).collect(),
            is_freezer: part.is_freezer,
        };
        self.parts.iter().map(carry).collect()
    }

    /// The group that was carried, if it is still there.
    pub fn resume(carried: Vec<Carried>) -> Option<Self> {
        let parts = carried.into_iter().map(|part| Part {
            version: if part.is_v2 { Version::V2 } else { Version::V1 },
            directory: PathBuf::from(part.directory),
            controllers: known(&part.controllers),
            is_freezer: part.is_freezer,
        });
        Self::new(parts.collect()).ok().flatten()
    }
}

fn known(names: &[String]) -> Vec<Controller> {
    Controller::ALL.into_iter().filter(|one| names.iter().any(|name| name == one.name())).collect()
}
