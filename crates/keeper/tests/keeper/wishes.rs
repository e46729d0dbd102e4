//! What workers of these tests want, and whether they have it.

use std::net::SocketAddr;

use evergate_control::link::{
    Address, App, Deploy, DeployRule, Desired, Instance, InstanceState, Listener, Outcome, StopRule,
};

/// What came of a wish.
#[derive(Debug, Default)]
pub(crate) struct Settled {
    pub(crate) listening: Vec<(Outcome, Vec<u64>)>,
    pub(crate) instances: Vec<Instance>,
    pub(crate) deploys: Vec<Deploy>,
}

impl Settled {
    pub(crate) fn address(&self, index: usize) -> SocketAddr {
        match &self.listening[index].0 {
            Outcome::Bound(Address::Tcp(address)) => *address,
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) fn listener(name: &str, address: &str, sockets: u16) -> Listener {
    Listener { name: name.into(), address: Address::Tcp(address.parse().unwrap()), sockets }
}

pub(crate) fn app(name: &str, run: &[&str], instances: u16) -> App {
    App {
        name: name.into(),
        run: run.iter().map(|&word| word.to_owned()).collect(),
        instances,
        ports: (31_000, 31_999),
        stop: StopRule { timeout_ms: 500, ..StopRule::default() },
        deploy: DeployRule { canary_for_ms: 0, ..DeployRule::default() },
        ..App::default()
    }
}

/// Whether every instance is ready.
pub(crate) fn all_ready(instances: &[Instance]) -> bool {
    instances.iter().all(|instance| instance.state == InstanceState::Ready)
}

pub(crate) fn apps(apps: &[App]) -> Desired {
    Desired { apps: apps.to_vec(), ..Desired::default() }
}
