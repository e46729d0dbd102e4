//! What a worker is there for at the moment, and what the keeper's orders make of it.
//!
//! ```text
//!              Activate          Acquire           Release            Retire
//!  Candidate ------------> Standby ------> Primary ------> Released ---------> Draining -> Drained
//!      |                                    ^   ^             |                   |           |
//!      +--------------Acquire---------------+   +---Acquire---+------Acquire------+-----------+
//! ```
//!
//! A *candidate* is loaded and waits. A *standby* accepts, but nothing exclusive is its own: neither
//! what apps print nor checks of servers, certificates, the admin socket, the files it watches. The
//! *primary* has all of that; a worker that is alone is primary. One that was *released* still
//! accepts. One that *drains* finishes what it began and may be called back until it has *finished*.

use evergate_control::link::UpgradePhase;

/// What a worker is there for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Role {
    /// Everything is its own.
    Primary,
    /// It has loaded.
    Candidate,
    /// It accepts.
    Standby,
    /// It accepts; what was exclusive has been let go.
    Released,
    /// It accepts no more.
    Draining(Then),
    /// Nothing is open any more; it stays in case it is called back.
    Drained,
    /// It exits.
    Finished,
}

/// What a worker does when nothing is open any more.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Then {
    /// It stays.
    Wait,
    /// It exits.
    Exit,
}

/// What may change a role: orders of the keeper, and two things that happen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Order {
    Activate,
    Release,
    Acquire,
    Retire,
    Finish,
    /// Nothing is open any more.
    Emptied,
    /// The keeper is gone: nobody will give orders any more.
    Orphaned,
}

impl Order {
    /// The phase of an upgrade that it begins for whoever gets it.
    pub(super) const fn phase(self) -> Option<UpgradePhase> {
        match self {
            Self::Activate => Some(UpgradePhase::Activating),
            Self::Release => Some(UpgradePhase::Releasing),
            Self::Acquire => Some(UpgradePhase::Acquiring),
            Self::Retire => Some(UpgradePhase::Soaking),
            Self::Finish | Self::Emptied | Self::Orphaned => None,
        }
    }

    /// What it is, for people.
    pub(super) const fn in_words(self) -> &'static str {
        match self {
            Self::Activate => "the order to accept",
            Self::Release => "the order to let go",
            Self::Acquire => "the order to take over",
            Self::Retire => "the order to drain",
            Self::Finish => "the order to finish",
            Self::Emptied => "that nothing is open",
            Self::Orphaned => "the keeper's end",
        }
    }
}

/// What is to be done for a role that was changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Deed {
    Nothing,
    /// Accept.
    Accept,
    /// Let go of everything exclusive.
    LetGo,
    /// Take everything exclusive; accept if need be.
    TakeOver(Before),
    /// Say again that this is so.
    Confirm,
    /// Accept no more and drain.
    Drain,
    /// Exit.
    Exit,
}

/// What a worker was that takes over.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Before {
    /// It had never been primary.
    New,
    /// It had been, and still accepts.
    Released,
    /// It had been, and accepts no more.
    Retired,
}

/// The keeper's order makes no sense for this role.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Nonsense {
    pub(super) role: Role,
    pub(super) order: Order,
}

impl Role {
    /// Follows an order: says what is to be done. One that makes no sense changes nothing.
    pub(super) fn follow(&mut self, order: Order) -> Result<Deed, Nonsense> {
        let (next, deed) = self.after(order).ok_or(Nonsense { role: *self, order })?;
        *self = next;
        Ok(deed)
    }

    /// Whether what is exclusive is its own.
    pub(super) fn is_primary(self) -> bool {
        self == Self::Primary
    }

    /// Whether it was the primary one, and another one is.
    pub(super) fn has_let_go(self) -> bool {
        matches!(self, Self::Released | Self::Draining(_) | Self::Drained)
    }

    /// Whether it finishes what it began.
    pub(super) fn is_draining(self) -> bool {
        matches!(self, Self::Draining(_))
    }

    /// What it is, for people.
    pub(super) const fn in_words(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Candidate => "a candidate",
            Self::Standby => "on standby",
            Self::Released => "released",
            Self::Draining(_) => "draining",
            Self::Drained => "drained",
            Self::Finished => "finished",
        }
    }

    fn after(self, order: Order) -> Option<(Self, Deed)> {
        use Order::{Acquire, Activate, Emptied, Finish, Orphaned, Release, Retire};
        Some(match (self, order) {
            (Self::Candidate, Activate) => (Self::Standby, Deed::Accept),
            (Self::Candidate, Finish | Orphaned) => (Self::Finished, Deed::Exit),

            (Self::Primary, Release) => (Self::Released, Deed::LetGo),
            (Self::Primary, Acquire) => (Self::Primary, Deed::Confirm),

            (Self::Candidate | Self::Standby, Acquire) => {
                (Self::Primary, Deed::TakeOver(Before::New))
            }
            (Self::Released, Acquire) => (Self::Primary, Deed::TakeOver(Before::Released)),
            (Self::Draining(_) | Self::Drained, Acquire) => {
                (Self::Primary, Deed::TakeOver(Before::Retired))
            }

            (Self::Standby | Self::Released, Retire) => (Self::Draining(Then::Wait), Deed::Drain),
            (Self::Standby | Self::Released, Finish) => (Self::Draining(Then::Exit), Deed::Drain),

            (Self::Draining(_), Finish | Orphaned) => (Self::Draining(Then::Exit), Deed::Nothing),
            (Self::Draining(Then::Wait), Emptied) => (Self::Drained, Deed::Nothing),
            (Self::Draining(Then::Exit), Emptied) | (Self::Drained, Finish | Orphaned) => {
                (Self::Finished, Deed::Exit)
            }

            // Serving goes on: only listeners and apps cannot be changed any more.
            (Self::Primary | Self::Standby | Self::Released, Orphaned) => (self, Deed::Nothing),

            (Self::Candidate, Release | Retire | Emptied)
            | (Self::Standby, Activate | Release | Emptied)
            | (Self::Primary, Activate | Retire | Finish | Emptied)
            | (Self::Released, Activate | Release | Emptied)
            | (Self::Draining(_) | Self::Drained, Activate | Release | Retire)
            | (Self::Drained, Emptied)
            | (Self::Finished, _) => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDERS: [Order; 7] = [
        Order::Activate,
        Order::Release,
        Order::Acquire,
        Order::Retire,
        Order::Finish,
        Order::Emptied,
        Order::Orphaned,
    ];

    #[test]
    fn every_order_in_every_role_does_what_the_table_says() {
        use Before::{New, Released as Gave, Retired};
        use Deed::{Accept, Confirm, Drain, Exit, LetGo, Nothing, TakeOver};
        use Role::{Candidate, Drained, Draining, Finished, Primary, Released, Standby};
        let (stays, exits) = (Draining(Then::Wait), Draining(Then::Exit));
        let no = None;
        // In the order of `ORDERS`.
        let table = [
            (
                Candidate,
                [
                    Some((Standby, Accept)),
                    no,
                    Some((Primary, TakeOver(New))),
                    no,
                    Some((Finished, Exit)),
                    no,
                    Some((Finished, Exit)),
                ],
            ),
            (
                Standby,
                [
                    no,
                    no,
                    Some((Primary, TakeOver(New))),
                    Some((stays, Drain)),
                    Some((exits, Drain)),
                    no,
                    Some((Standby, Nothing)),
                ],
            ),
            (
                Primary,
                [
                    no,
                    Some((Released, LetGo)),
                    Some((Primary, Confirm)),
                    no,
                    no,
                    no,
                    Some((Primary, Nothing)),
                ],
            ),
            (
                Released,
                [
                    no,
                    no,
                    Some((Primary, TakeOver(Gave))),
                    Some((stays, Drain)),
                    Some((exits, Drain)),
                    no,
                    Some((Released, Nothing)),
                ],
            ),
            (
                stays,
                [
                    no,
                    no,
                    Some((Primary, TakeOver(Retired))),
                    no,
                    Some((exits, Nothing)),
                    Some((Drained, Nothing)),
                    Some((exits, Nothing)),
                ],
            ),
            (
                exits,
                [
                    no,
                    no,
                    Some((Primary, TakeOver(Retired))),
                    no,
                    Some((exits, Nothing)),
                    Some((Finished, Exit)),
                    Some((exits, Nothing)),
                ],
            ),
            (
                Drained,
                [
                    no,
                    no,
                    Some((Primary, TakeOver(Retired))),
                    no,
                    Some((Finished, Exit)),
                    no,
                    Some((Finished, Exit)),
                ],
            ),
            (Finished, [no; 7]),
        ];
        for (role, expected) in table {
            for (order, expected) in ORDERS.into_iter().zip(expected) {
                let mut after = role;
                let deed = after.follow(order);
                match expected {
                    Some(expected) => {
                        assert_eq!(
                            (after, deed),
                            (expected.0, Ok(expected.1)),
                            "{role:?} {order:?}"
                        )
                    }
                    None => {
                        let nonsense = Nonsense { role, order };
                        assert_eq!((after, deed), (role, Err(nonsense)), "{role:?} {order:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn nobody_who_accepts_stops_to_without_an_order() {
        for role in [Role::Primary, Role::Standby, Role::Released] {
            for order in [Order::Emptied, Order::Orphaned] {
                let mut after = role;
                let _ = after.follow(order);
                assert_eq!(after, role, "{order:?}");
            }
        }
    }
}
