//! Listening sockets on their way into the next image of the keeper.

use std::net::SocketAddr;

use evergate_control::link::Address;
use minicbor::{Decode, Encode};

use super::{Held, Place, Sockets};
use crate::carried::{Fd, Listing, Taken, Uses};

/// Every listening socket.
#[derive(Clone, Debug, Decode, Default, Encode, Eq, PartialEq)]
pub(crate) struct Carried {
    #[n(0)]
    held: Vec<CarriedHeld>,
}

#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
struct CarriedHeld {
    #[n(0)]
    place: CarriedPlace,
    #[n(1)]
    bound: Address,
    #[n(2)]
    fds: Vec<Fd>,
}

/// As [`Place`]; a TCP address is in the words of the link.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
enum CarriedPlace {
    #[n(0)]
    Port(#[n(0)] Address),
    #[n(1)]
    AnyPort(#[n(0)] Address, #[n(1)] String),
    #[n(2)]
    Path(#[n(0)] String),
}

impl Carried {
    /// What it refers to.
    pub(crate) fn uses(&self, uses: &mut Uses) {
        self.held.iter().flat_map(|held| &held.fds).for_each(|&fd| uses.share(fd));
    }

    /// Whether each place is one.
    pub(crate) fn check(&self) -> Result<(), String> {
        match self.held.iter().find(|held| place(held.place.clone()).is_none()) {
            Some(held) => Err(format!("a socket is at no place: {:?}", held.place)),
            None => Ok(()),
        }
    }
}

impl Sockets {
    /// All of them.
    pub(crate) fn carry<'a>(&'a self, listing: &mut Listing<'a>) -> Carried {
        let carry = |(at, held): (&'a Place, &'a Held)| CarriedHeld {
            place: match at.clone() {
                Place::Port(address) => CarriedPlace::Port(Address::Tcp(address)),
                Place::AnyPort(address, name) => CarriedPlace::AnyPort(Address::Tcp(address), name),
                Place::Path(path) => CarriedPlace::Path(path),
            },
            bound: held.bound.clone(),
            fds: held.fds.iter().map(|fd| listing.add(fd)).collect(),
        };
        Carried { held: self.held.iter().map(carry).collect() }
    }

    /// Those that were carried, and were found to be well.
    pub(crate) fn resume(carried: Carried, taken: &Taken) -> Self {
        let held = carried.held.into_iter().filter_map(|held| {
            let fds = held.fds.into_iter().map(|fd| taken.shared(fd)).collect();
            Some((place(held.place)?, Held { bound: held.bound, fds }))
        });
        Self { held: held.collect() }
    }
}

#[cfg(test)]
impl Carried {
    /// One of each kind.
    pub(crate) fn sample() -> Self {
        let address = |text: &str| Address::Tcp(text.parse().expect("an address"));
        let unix = Address::Unix { path: "/run/evergate/admin.sock".to_owned(), mode: 0o600 };
        let held = |place, bound, fds: &[i32]| CarriedHeld {
            place,
            bound,
            fds: fds.iter().map(|&number| Fd::of(number)).collect(),
        };
        let any = address("127.0.0.1:0");
        Self {
            held: vec![
                held(CarriedPlace::Port(address("[::]:80")), address("[::]:80"), &[10, 11]),
                held(
                    CarriedPlace::AnyPort(any, "web".to_owned()),
                    address("127.0.0.1:4711"),
                    &[12],
                ),
                held(CarriedPlace::Path("/run/evergate/admin.sock".to_owned()), unix, &[13]),
            ],
        }
    }
}

fn place(carried: CarriedPlace) -> Option<Place> {
    match carried {
        CarriedPlace::Port(address) => Some(Place::Port(tcp(address)?)),
        CarriedPlace::AnyPort(address, name) => Some(Place::AnyPort(tcp(address)?, name)),
        CarriedPlace::Path(path) => Some(Place::Path(path)),
    }
}

fn tcp(address: Address) -> Option<SocketAddr> {
    match address {
        Address::Tcp(address) => Some(address),
        Address::Unix { .. } => None,
    }
}
