//! What is known of a tree, for the program that this process becomes next ([`crate::exec`]).

use std::collections::BTreeSet;

use minicbor::{Decode, Encode};

use super::Tree;
use crate::cgroup::{self, Group};
use crate::process::Known;

/// A tree as it is carried over.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub struct Carried {
    /// Its main process: the number, and when it started, in clock ticks after boot.
    #[n(0)]
    pub main: (u32, u64),
    /// Whether that was reaped.
    #[n(1)]
    pub main_is_reaped: bool,
    /// What every process of it was started with as [`super::VARIABLE`].
    #[n(2)]
    pub token: String,
    /// Its control group; no part if it has none.
    #[n(3)]
    pub group: Vec<cgroup::Carried>,
    /// Who was in it at the last look.
    #[n(4)]
    pub seen: Vec<(u32, u64)>,
    /// The sessions they were in.
    #[n(5)]
    pub sessions: Vec<u32>,
}

impl Tree {
    /// All that is known of it.
    pub fn carry(&self) -> Carried {
        Carried {
            main: (self.main.pid, self.main.started_ticks),
            main_is_reaped: self.main_is_reaped,
            token: self.token.clone(),
            group: self.group.as_ref().map(Group::carry).unwrap_or_default(),
            seen: self.seen.iter().map(|known| (known.pid, known.started_ticks)).collect(),
            sessions: self.sessions.iter().copied().collect(),
        }
    }

    /// The tree that was carried. Without its control group, if that is gone, its processes are found
    /// by what is known of them.
    pub fn resume(carried: Carried) -> Self {
        let known = |(pid, started_ticks)| Known { pid, started_ticks };
        Self {
            main: known(carried.main),
            main_is_reaped: carried.main_is_reaped,
            token: carried.token,
            group: Group::resume(carried.group),
            seen: carried.seen.into_iter().map(known).collect(),
            sessions: BTreeSet::from_iter(carried.sessions),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_known_again_without_a_word_lost() {
        let carried = Carried {
            main: (7, 900),
            main_is_reaped: true,
            token: "1-shop.0.7".to_owned(),
            group: Vec::new(),
            seen: vec![(8, 901), (9, 902)],
            sessions: vec![7, 9],
        };
        let bytes = minicbor::to_vec(&carried).unwrap();
        let again = Tree::resume(minicbor::decode(&bytes).unwrap());
        assert_eq!(again.carry(), carried);
        assert_eq!(again.pid(), 7);
    }
}
