//! What can go wrong between nodes, and with one.

use evergate_sys::signal::Signal;

use super::network::Network;
use super::process::{Process, signal_all};

/// Bytes of a version 3 advert for one IPv4 address, its IP header included.
pub const ADVERT_BYTES_V3: u64 = 32;
/// The same of version 2, which always has room for a password.
pub const ADVERT_BYTES_V2: u64 = 40;

const LETTERS: [&str; 3] = ["a", "b", "c"];

impl Network {
    /// Pulls a node's cable, or puts it back.
    pub fn cable(&mut self, node: usize, is_in: bool) {
        let state = if is_in { "up" } else { "down" };
        self.set_link(&format!("p-{} {state}", LETTERS[node]));
    }

    /// Keeps the nodes apart while each still has the client; or lets them meet again.
    pub fn isolate(&mut self, is_on: bool) {
        let state = if is_on { "on" } else { "off" };
        for letter in LETTERS.iter().take(self.nodes.len()) {
            self.set_link(&format!("p-{letter} type bridge_slave isolated {state}"));
        }
    }

    /// Nothing that `from` sends reaches `to`; the other way is open.
    pub fn cut_one_way(&self, from: usize, to: usize) {
        let (from, to) = (LETTERS[from], LETTERS[to]);
        self.filter(&format!("iifname \"p-{from}\" oifname \"p-{to}\" counter drop"));
    }

    /// Loses this percentage of all adverts.
    pub fn lose_adverts(&self, percent: u8) {
        self.filter(&format!("ip protocol vrrp numgen random mod 100 < {percent} counter drop"));
    }

    /// Drops the next `count` adverts, each `bytes` long, on their way from one node to another.
    pub fn drop_adverts(&self, from: usize, to: usize, count: u64, bytes: u64) {
        let (from, to) = (LETTERS[from], LETTERS[to]);
        // Half an advert more, so that the last one of them does not tip the scale.
        let quota = count * bytes + bytes / 2;
        self.filter(&format!(
            "iifname \"p-{from}\" oifname \"p-{to}\" ip protocol vrrp quota until {quota} bytes \
             counter drop"
        ));
    }

    /// How many packets the filter has dropped since it is there.
    pub fn dropped(&self) -> u64 {
        let mut command = self.switch.command("nft");
        command.args(["list", "table", "bridge", "lab"]);
        let shown = command.output().expect("`ip` is there").stdout;
        let shown = String::from_utf8_lossy(&shown).into_owned();
        let counted = shown.split("counter packets ").nth(1);
        let number = counted.and_then(|rest| rest.split(' ').next());
        number.and_then(|number| number.parse().ok()).unwrap_or_default()
    }

    /// Takes every filter away.
    pub fn let_through(&self) {
        self.switch.nft("delete table bridge lab");
    }

    fn filter(&self, rule: &str) {
        let table = format!(
            "add table bridge lab\ndelete table bridge lab\ntable bridge lab {{\nchain forward {{\n\
             type filter hook forward priority 0;\n{rule}\n}}\n}}\n"
        );
        assert!(self.switch.nft(&table), "the kernel has no filter like {rule}");
    }
}

/// Stops every process of a node in its tracks, as a paused machine would.
pub fn freeze(processes: &[Process]) {
    signal_all(processes, Signal::Stop);
}

/// Lets them go on.
pub fn thaw(processes: &[Process]) {
    signal_all(processes, Signal::Continue);
}
