//! A lab with its nodes started: one has the address, the others stand by.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::evergate::Evergate;
use super::keepalived::Keepalived;
use super::network::{Network, Place};
use super::probe::Probe;
use super::process::Process;
use super::product::{Contender, Product, SIDE, Wish};
use super::{Moment, VIP, pause, wait_within};

/// How long the first claim may take.
const CLAIMED_WITHIN: Duration = Duration::from_secs(40);
/// How long after a claim of Evergate the last of its announcements is made, and a little more.
const ANNOUNCED_WITHIN: Duration = Duration::from_millis(1100);

/// Nodes at work. They end before their network does.
#[derive(Debug)]
pub struct Stage {
    /// The nodes, the better one first.
    pub nodes: Vec<Standing>,
    /// What joins them.
    pub network: Network,
    /// The lab's own program.
    pub program: PathBuf,
    /// When the first node was seen to have the address.
    pub claimed: Option<Moment>,
}

/// A node at its place.
#[derive(Debug)]
pub struct Standing {
    /// What its answers say.
    pub letter: char,
    /// Where it is.
    pub place: Place,
    /// What runs there.
    pub product: Box<dyn Product>,
}

impl Stage {
    /// Sets a stage with nodes of `contender`; the first has the address, and everything has calmed
    /// down. `program` is the lab's own.
    ///
    /// # Panics
    /// If the nodes do not come to that.
    pub fn set(contender: Contender, wish: Wish, program: &Path) -> Self {
        let mut stage = Self::with_vip(wish.nodes.max(2), wish.variant.vip(), program);
        for index in 0..stage.network.nodes.len() {
            let place = stage.network.nodes[index].clone();
            let product: Box<dyn Product> = match contender {
                Contender::Evergate => Box::new(Evergate::new(&place, index, wish, program)),
                Contender::Keepalived(profile) => {
                    let priority = [150, 100, 50][index];
                    let letter = ['A', 'B', 'C'][index];
                    Box::new(Keepalived::new(&place, letter, profile, priority))
                }
            };
            stage.add(product);
        }
        if wish.has_companion {
            for place in &stage.network.nodes {
                place.ip(&format!("link add {SIDE} type veth peer name {SIDE}-end"));
                place.ip(&format!("link set {SIDE}-end up"));
                place.ip(&format!("link set {SIDE} up"));
            }
        }
        stage.nodes[0].product.start();
        assert!(
            wait_within(CLAIMED_WITHIN, || stage.nodes[0].place.holds()),
            "nobody has claimed the address:\n{}",
            stage.nodes[0].product.log()
        );
        let claimed = Moment::now();
        for node in &mut stage.nodes[1..] {
            node.product.start();
        }
        for node in &mut stage.nodes[1..] {
            let stands_by = wait_within(CLAIMED_WITHIN, || node.product.stands_by());
            assert!(stands_by, "{} does not stand by:\n{}", node.letter, node.product.log());
        }
        match contender {
            Contender::Evergate => pause(ANNOUNCED_WITHIN.saturating_sub(claimed.elapsed())),
            // The next adverts find all that there is to be learned.
            Contender::Keepalived(profile) => pause(2 * profile.interval),
        }
        stage.claimed = Some(claimed);
        assert!(
            stage.wait_for_owner(0, CLAIMED_WITHIN),
            "nodes {:?} have the address, not the first one alone:\n{}",
            stage.network.holders(),
            stage.logs()
        );
        stage
    }

    /// A network with room for this many nodes, none of which is there.
    pub fn empty(nodes: usize, program: &Path) -> Self {
        Self::with_vip(nodes, VIP, program)
    }

    fn with_vip(nodes: usize, vip: &'static str, program: &Path) -> Self {
        let (nodes, network) = (Vec::new(), Network::of(nodes, vip));
        Self { nodes, network, program: program.to_owned(), claimed: None }
    }

    /// Puts a node at the next free place; it is not started.
    pub fn add(&mut self, product: Box<dyn Product>) {
        let index = self.nodes.len();
        let place = self.network.nodes[index].clone();
        self.nodes.push(Standing { letter: ['A', 'B', 'C'][index], place, product });
    }

    /// Starts a probe that waits for each answer with this `patience`, and waits for the first one.
    pub fn probe(&self, patience: Duration) -> Probe {
        self.network.forget_neighbours();
        Probe::start(&self.program, &self.network.client, patience)
    }

    /// Waits until exactly this node has the address; says whether it came to that.
    pub fn wait_for_owner(&self, owner: usize, patience: Duration) -> bool {
        wait_within(patience, || self.network.holders() == [owner])
    }

    /// The Evergate of a node.
    ///
    /// # Panics
    /// If it runs something else.
    pub fn evergate(&mut self, node: usize) -> &mut Evergate {
        self.nodes[node].product.evergate().expect("this scenario is for Evergate")
    }

    /// What all nodes said lately.
    pub fn logs(&self) -> String {
        let logs =
            self.nodes.iter().map(|node| format!("-- {}:\n{}", node.letter, node.product.log()));
        logs.collect::<Vec<_>>().join("\n")
    }
}

impl Standing {
    /// All its processes, but for what watches over the others if that is to live on.
    pub fn victims(&self, with_watcher: bool) -> Vec<Process> {
        let processes = self.place.processes().into_iter();
        processes.filter(|process| with_watcher || !process.is_watcher()).collect()
    }
}
