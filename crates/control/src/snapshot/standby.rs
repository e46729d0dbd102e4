//! Virtual addresses and peers, as the operator sees them.

use serde::{Deserialize, Serialize};

/// A virtual address.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct VipStatus {
    /// Name.
    pub name: String,
    /// VRID.
    pub router_id: u8,
    /// Version of VRRP, 2 or 3.
    pub version: u8,
    /// Where it is.
    pub interface: String,
    /// Its addresses, with the length of their prefixes.
    pub addresses: Vec<VipAddressStatus>,
    /// `master`, `backup`, `fault` or `init`.
    pub role: String,
    /// When it took this role, in milliseconds of Unix time.
    pub since_ms: u64,
    /// Why it has this role.
    pub reason: String,
    /// Which mastership this is, counted over all nodes.
    pub epoch: u64,
    /// Priority in the configuration.
    pub priority: u8,
    /// Priority in force; 0 while it takes no part.
    pub effective_priority: u8,
    /// Time between adverts, in milliseconds.
    pub interval_ms: u64,
    /// Who is master, as far as this node knows.
    pub master: Option<VipMaster>,
    /// What is tracked.
    pub tracked: Vec<TrackStatus>,
    /// Another master, heard or seen while this one is: a split.
    pub rival: Option<String>,
    /// Why nothing is claimed though nothing fails.
    pub holding_back: Option<String>,
    /// Those with the same word move together.
    pub sync: Option<String>,
    /// Hooks that wait or run.
    pub hooks_waiting: u32,
    /// What has happened to it.
    pub counts: VipCountsStatus,
}

/// An address of a virtual address.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct VipAddressStatus {
    /// With the length of its prefix.
    pub address: String,
    /// Whether it is on the interface now.
    pub is_here: bool,
}

/// Who is master.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct VipMaster {
    /// Whom its adverts come from.
    pub address: String,
    /// The priority that it says.
    pub priority: u8,
}

/// Something that is tracked.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct TrackStatus {
    /// Such as `pool.api`, `link.eth0` or `gateway 10.0.0.1`.
    pub subject: String,
    /// `fault`, or what is added to the priority.
    pub effect: String,
    /// Why it fails.
    pub failure: Option<String>,
}

/// What has happened to a virtual address since the keeper started.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct VipCountsStatus {
    /// Changes of role.
    pub turns: u64,
    /// Splits that were noticed.
    pub splits: u64,
    /// Adverts sent.
    pub sent: u64,
    /// Adverts that could not be sent.
    pub send_failures: u64,
    /// Adverts in order that were heard.
    pub heard: u64,
    /// Adverts that were refused.
    pub refused: u64,
    /// Adverts that were refused because of their seal or password.
    pub refused_auth: u64,
    /// Announcements (ARP, neighbour advertisements).
    pub announced: u64,
    /// How often an address was put back that something else had removed.
    pub put_back: u64,
    /// Hooks that failed or took too long.
    pub hooks_failed: u64,
}

/// Another node.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct PeerStatus {
    /// Name.
    pub name: String,
    /// `alive`, `link dead`, `host dead` or `unknown`.
    pub state: String,
    /// Each path.
    pub paths: Vec<PathStatus>,
    /// What else was asked, such as `tcp 10.0.0.12:443`, and the answer.
    pub evidence: Vec<EvidenceStatus>,
    /// What it said last of virtual addresses: name and role.
    pub roles: Vec<(String, String)>,
}

/// A path to another node.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct PathStatus {
    /// The peer's address.
    pub address: String,
    /// Whether heartbeats come in.
    pub is_heard: bool,
    /// Whether the peer says that it hears ours.
    pub hears_us: bool,
    /// Since when it is heard or not, in milliseconds of Unix time.
    pub since_ms: u64,
    /// Whether it answers echo requests; nothing while nobody knows.
    pub answers_echo: Option<bool>,
    /// Heartbeats that came in.
    pub received: u64,
    /// Heartbeats that are known to be lost.
    pub lost: u64,
    /// Packets that were refused.
    pub refused: u64,
}

/// Something that was asked about a node.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct EvidenceStatus {
    /// What, such as `tcp 10.0.0.12:443` or `http http://10.0.0.12/health`.
    pub question: String,
    /// Whether it answered; nothing while nobody knows.
    pub answers: Option<bool>,
    /// The answer, or why there is none.
    pub detail: String,
}
