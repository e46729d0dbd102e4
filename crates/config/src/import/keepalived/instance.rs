//! `vrrp_instance` as one `[vip.NAME]`, or as two if it has addresses of both families.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::Notes;
use super::block::Statement;
use super::globals::{Globals, is_on, number, repeat, seconds, seconds_up_to, version};
use super::text::Origin;
use super::tracking::{self, Advice, plain, weight_of};
use super::words;
use crate::vip::{ADDRESSES_MAX, DELAY_MAX, PEERS_MAX, REFRESH_MAX};
use crate::{peer, track, vip};

/// Bytes of a password that keepalived uses.
const PASS_BYTES_MAX: usize = 8;
/// Interval of whoever writes none.
const INTERVAL_DEFAULT: Duration = Duration::from_secs(1);
/// Priority of whoever writes none.
const PRIORITY_DEFAULT: u8 = 100;

/// A `[vip.NAME]` in the making.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) at: Origin,
    pub(super) name: String,
    pub(super) interface: Option<String>,
    pub(super) router_id: Option<u8>,
    pub(super) version: u8,
    pub(super) priority: u8,
    pub(super) interval: Duration,
    pub(super) addresses: Vec<IpNet>,
    pub(super) peers: Vec<IpAddr>,
    pub(super) auth: Option<(&'static str, String)>,
    pub(super) checksum_of_message: bool,
    pub(super) preempt: bool,
    pub(super) preempt_delay: Duration,
    pub(super) startup_delay: Option<Duration>,
    /// Interfaces beside its own, and what their failure adds; none is a fault.
    pub(super) links: BTreeMap<String, Option<i16>>,
    pub(super) repeat: Option<u64>,
    pub(super) refresh: Option<Duration>,
    pub(super) sync: Option<String>,
    /// What a person must decide about what was tracked.
    pub(super) advice: Vec<Advice>,
    /// Programs that were called, each with its keyword.
    pub(super) hooks: Vec<(String, String)>,
}

/// Reads an instance; nothing if it has no address.
pub(super) fn read(statement: &Statement, globals: &Globals, notes: &mut Notes) -> Vec<Draft> {
    let at = statement.at.clone();
    let Some(name) = statement.value() else {
        notes.add(at, "a `vrrp_instance` needs a name");
        return Vec::new();
    };
    let group = globals.groups.iter().find(|group| group.members.iter().any(|one| one == name));
    let mut draft = Draft {
        at: at.clone(),
        name: name.to_owned(),
        interface: globals.default_interface.clone(),
        router_id: None,
        version: globals.version.unwrap_or(2),
        priority: PRIORITY_DEFAULT,
        interval: INTERVAL_DEFAULT,
        addresses: Vec::new(),
        peers: Vec::new(),
        auth: None,
        checksum_of_message: globals.checksum_as_v2,
        preempt: true,
        preempt_delay: Duration::ZERO,
        startup_delay: globals.startup_delay,
        links: BTreeMap::new(),
        repeat: globals.repeat,
        refresh: globals.refresh,
        sync: group.map(|group| group.name.clone()),
        advice: Vec::new(),
        hooks: Vec::new(),
    };
    // What later lines are understood by.
    for line in statement.body.iter().filter(|line| line.keyword() == "version") {
        draft.version = version(line, notes).unwrap_or(draft.version);
    }
    for line in statement.body.iter().filter(|line| line.keyword() == "interface") {
        draft.interface = line.value().map(str::to_owned);
    }
    let shared = group.into_iter().flat_map(|group| &group.shared);
    statement.body.iter().chain(shared).for_each(|line| draft.take(line, globals, notes));
    draft.finish(notes)
}

impl Draft {
    fn take(&mut self, line: &Statement, globals: &Globals, notes: &mut Notes) {
        match line.keyword() {
            "version" | "interface" => {}
            "virtual_router_id" => self.router_id = id(line, notes),
            "priority" => self.priority = priority(line, notes),
            "advert_int" => self.interval = seconds(line, notes).unwrap_or(self.interval),
            "virtual_ipaddress" | "virtual_ipaddress_excluded" => self.addresses(line, notes),
            "unicast_peer" => self.peers(line, notes),
            "authentication" => self.password(line, notes),
            "auth_hmac" => self.hmac(line, notes),
            "v3_checksum_as_v2" => self.checksum_of_message = is_on(line),
            "preempt" => self.preempt = true,
            "nopreempt" => self.preempt = false,
            "preempt_delay" => {
                self.preempt_delay = seconds_up_to(line, DELAY_MAX, notes).unwrap_or_default();
            }
            "garp_master_repeat" => self.repeat = repeat(line, notes),
            "garp_master_refresh" => self.refresh = seconds_up_to(line, REFRESH_MAX, notes),
            "track_interface" => self.links(line, notes),
            "track_script" | "track_process" | "track_file" => self.tracks(line, globals, notes),
            "notify"
            | "notify_master"
            | "notify_backup"
            | "notify_fault"
            | "notify_stop"
            | "notify_deleted"
            | "notify_master_rx_lower_pri" => self.hook(line, notes),
            keyword if words::is_needless(keyword) => {}
            keyword => {
                let why = words::lost(keyword);
                notes.add(line.at.clone(), format!("`{keyword}` is not carried: {why}"));
            }
        }
    }

    fn addresses(&mut self, line: &Statement, notes: &mut Notes) {
        if line.keyword().ends_with("excluded") {
            let message = "these addresses become like the others: adverts will name them, so move \
                 all machines at once";
            notes.add(line.at.clone(), message);
        }
        for item in &line.body {
            let written = item.keyword();
            let bare = || written.parse::<IpAddr>().ok().map(IpNet::from);
            let Some(net) = written.parse::<IpNet>().ok().or_else(bare) else {
                notes.add(item.at.clone(), format!("`{written}` is not an address"));
                continue;
            };
            if let Some(why) = self.refusal(net) {
                notes.add(item.at.clone(), format!("`{written}` is left out: it {why}"));
                continue;
            }
            self.addresses.push(net);
            let mut options = item.words[1..].iter();
            while let Some(option) = options.next() {
                let value = options.next().map(String::as_str).unwrap_or_default();
                let is_own = option == "dev" && self.interface.as_deref() == Some(value);
                // Both are as the kernel has them anyway.
                let is_usual =
                    (option == "brd" && value == "+") || (option == "scope" && value == "global");
                if !is_own && !is_usual {
                    let message = match option.as_str() {
                        "dev" => format!(
                            "`dev {value}` is not carried: addresses are put on `interface`"
                        ),
                        option => {
                            let option = format!("{option} {value}");
                            format!("`{}` of an address is not carried", option.trim_end())
                        }
                    };
                    notes.add(item.at.clone(), message);
                }
            }
        }
    }

    /// Why an address cannot be one of its.
    fn refusal(&self, net: IpNet) -> Option<String> {
        if let Err(fault) = vip::prefixed(&net.to_string()) {
            return Some(fault.complaint);
        }
        if self.addresses.iter().any(|known| known.addr() == net.addr()) {
            return Some("is there twice".to_owned());
        }
        let is_akin = |known: &&IpNet| known.addr().is_ipv6() == net.addr().is_ipv6();
        (self.addresses.iter().filter(is_akin).count() == ADDRESSES_MAX).then(|| {
            format!(
                "is one more than {ADDRESSES_MAX}, and another `[vip.NAME]` with the same `sync` may \
                 have it"
            )
        })
    }

    fn peers(&mut self, line: &Statement, notes: &mut Notes) {
        for item in &line.body {
            // As keepalived does.
            let written = item.keyword().split('/').next().unwrap_or_default();
            match peer::machine(written) {
                Ok(ip) if self.peers.contains(&ip) => {}
                Ok(_) if self.peers.len() == PEERS_MAX => {
                    let message =
                        format!("`{written}` is left out: it is one more than {PEERS_MAX}");
                    notes.add(item.at.clone(), message);
                }
                Ok(ip) => self.peers.push(ip),
                Err(fault) => {
                    let message =
                        format!("`{}` is left out: it {}", item.keyword(), fault.complaint);
                    notes.add(item.at.clone(), message);
                }
            }
            if item.words.len() > 1 {
                let message = format!("`{}` of a peer is not carried", item.rest());
                notes.add(item.at.clone(), message);
            }
        }
        if self.peers.is_empty() {
            let message = "no peer is carried: adverts go to all by multicast";
            notes.add(line.at.clone(), message);
        }
    }

    fn password(&mut self, block: &Statement, notes: &mut Notes) {
        let value = |keyword: &str| {
            block.body.iter().find(|line| line.keyword() == keyword).and_then(Statement::value)
        };
        match value("auth_type") {
            Some("PASS" | "pass") | None => {}
            Some(other) => {
                let message = format!("`auth_type {other}` is not carried: only PASS is known");
                return notes.add(block.at.clone(), message);
            }
        }
        let Some(pass) = value("auth_pass") else {
            return notes.add(block.at.clone(), "`authentication` has no `auth_pass`");
        };
        if pass.is_empty() || !pass.bytes().all(|b| b.is_ascii_graphic()) || !is_literal(pass) {
            let message = "the password is not carried: it must be letters of ASCII without spaces";
            return notes.add(block.at.clone(), message);
        }
        if pass.len() > PASS_BYTES_MAX {
            let message = "the password is cut to 8 letters, as keepalived does";
            notes.add(block.at.clone(), message);
        }
        self.auth = Some(("pass", pass[..pass.len().min(PASS_BYTES_MAX)].to_owned()));
    }

    fn hmac(&mut self, block: &Statement, notes: &mut Notes) {
        let keys: Vec<_> = block.body.iter().filter(|line| line.keyword() == "key").collect();
        let [key] = keys[..] else {
            let message = "`auth_hmac` is carried with one key only: remove the others first";
            return notes.add(block.at.clone(), message);
        };
        let value = key.words.get(2).map(String::as_str).unwrap_or_default();
        if key.value() != Some("1") {
            notes.add(key.at.clone(), "the key becomes number 1, the only one there is");
        }
        for line in &block.body {
            if !matches!(line.keyword(), "key" | "active_key") {
                let message = format!("`{}` of `auth_hmac` is not carried", line.keyword());
                notes.add(line.at.clone(), message);
            }
        }
        let is_text =
            !value.is_empty() && value.bytes().all(|b| b.is_ascii_graphic()) && is_literal(value);
        let is_path = |file: &&str| !file.is_empty() && !file.contains(['}', '\0']);
        match (value.strip_prefix("file:").filter(is_path), value.starts_with("hex:")) {
            (Some(file), _) => self.auth = Some(("hmac", format!("${{file:{file}}}"))),
            (None, false) if is_text => self.auth = Some(("hmac", value.to_owned())),
            (None, true | false) => notes.add(
                key.at.clone(),
                "the key is not carried: it must be letters of ASCII, or `file:` and a path",
            ),
        }
    }

    fn links(&mut self, block: &Statement, notes: &mut Notes) {
        for line in &block.body {
            match track::interface(line.keyword()) {
                // As `track.link` they would be something else.
                Ok(name) if track::is_key(&name) => {
                    let message =
                        format!("the interface `{name}` has a name that cannot be tracked");
                    notes.add(line.at.clone(), message);
                }
                Ok(name) => {
                    let weight = weight_of(line, notes).flatten();
                    self.links.insert(name, weight);
                }
                Err(_) => {
                    let message = format!("`{}` is no interface", line.keyword());
                    notes.add(line.at.clone(), message);
                }
            }
        }
    }

    fn tracks(&mut self, block: &Statement, globals: &Globals, notes: &mut Notes) {
        for line in &block.body {
            let name = line.keyword();
            let weight = weight_of(line, notes);
            self.advice.push(tracking::advice(name, globals.watches.get(name), weight));
            let message = format!("`{name}` must be tracked in another way: see the comment");
            notes.add(line.at.clone(), message);
        }
    }

    fn hook(&mut self, line: &Statement, notes: &mut Notes) {
        let keyword = line.keyword();
        self.hooks.push((keyword.to_owned(), line.rest()));
        let message = format!("`{keyword}` must become a program in `on_change`: see the comment");
        notes.add(line.at.clone(), message);
    }

    /// Makes it whole: one for each family.
    fn finish(mut self, notes: &mut Notes) -> Vec<Self> {
        let at = self.at.clone();
        if self.addresses.is_empty() {
            notes.add(at, format!("`{}` has no address: left out", self.name));
            return Vec::new();
        }
        let is_strange = |name: &mut String| track::interface(name).is_err() || !is_literal(name);
        if let Some(name) = self.interface.take_if(is_strange) {
            notes.add(at.clone(), format!("`{name}` of `{}` is no interface", self.name));
        } else if self.interface.is_none() {
            notes.add(at.clone(), format!("`{}` has no interface", self.name));
        }
        if self.router_id.is_none() {
            notes.add(at.clone(), format!("`{}` has no virtual_router_id", self.name));
        }
        // Its own interface is always tracked; with a weight it would be a fault all the same.
        if let Some(own) = self.interface.clone()
            && self.links.remove(&own).flatten().is_some()
        {
            let message =
                format!("the weight of {own} is not carried: without it there are no adverts");
            notes.add(at.clone(), message);
        }
        self.sync = self.sync.map(|name| name.replace(|c: char| c.is_control() || c == '$', "?"));
        let (v6, v4): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.addresses).into_iter().partition(|net| net.addr().is_ipv6());
        let is_both = !v4.is_empty() && !v6.is_empty();
        if is_both {
            let message = format!(
                "`{0}` has addresses of both families: `{0}-6` has those of IPv6",
                self.name
            );
            notes.add(at, message);
            self.sync.get_or_insert_with(|| plain(&self.name));
        }
        let name = if is_both { format!("{}-6", self.name) } else { self.name.clone() };
        let six = Self { name, version: 3, ..self.clone() };
        let families = [(self, v4), (six, v6)];
        let mut drafts = Vec::new();
        for (draft, addresses) in families.into_iter().filter(|(_, nets)| !nets.is_empty()) {
            drafts.push(Self { addresses, ..draft }.settled(notes));
        }
        drafts
    }

    /// With what its version and family allow.
    fn settled(mut self, notes: &mut Notes) -> Self {
        let is_v6 = self.addresses[0].addr().is_ipv6();
        let had_peers = !self.peers.is_empty();
        self.peers.retain(|peer| peer.is_ipv6() == is_v6);
        let is_own = |peer: &IpAddr| self.addresses.iter().any(|net| net.addr() == *peer);
        for peer in self.peers.extract_if(.., |peer| is_own(peer)) {
            let message = format!("the peer {peer} is left out: it is a virtual address itself");
            notes.add(self.at.clone(), message);
        }
        if had_peers && self.peers.is_empty() {
            let message = format!(
                "`{}` has no peer of its family: its adverts go to all by multicast",
                self.name
            );
            notes.add(self.at.clone(), message);
        }
        let interval = match self.version {
            2 => Duration::from_secs(self.interval.as_millis().div_ceil(1000).clamp(1, 255) as u64),
            _ => {
                let centis = (self.interval.as_millis() + 5) / 10;
                Duration::from_millis(centis.clamp(1, 4095) as u64 * 10)
            }
        };
        if interval != self.interval {
            let now = crate::duration::show(interval);
            let message = format!("the interval of `{}` becomes {now}", self.name);
            notes.add(self.at.clone(), message);
            self.interval = interval;
        }
        let fits = match self.auth {
            Some(("pass", _)) => self.version == 2,
            Some(_) => self.version == 3,
            None => true,
        };
        if !fits {
            let message = format!(
                "what authenticates `{}` is not carried: version {} of VRRP has no such thing",
                self.name, self.version
            );
            notes.add(self.at.clone(), message);
            self.auth = None;
        }
        self.checksum_of_message &= self.version == 3 && !is_v6;
        self
    }
}

/// Whether a text is itself: `${…}` stands for another one here.
pub(super) fn is_literal(text: &str) -> bool {
    !text.contains("${")
}

fn id(line: &Statement, notes: &mut Notes) -> Option<u8> {
    let id = number(line, notes)?;
    let id = u8::try_from(id).ok().filter(|id| *id > 0);
    if id.is_none() {
        notes.add(line.at.clone(), "a virtual_router_id is from 1 to 255");
    }
    id
}

fn priority(line: &Statement, notes: &mut Notes) -> u8 {
    let Some(written) = number(line, notes) else { return PRIORITY_DEFAULT };
    let priority = written.clamp(1, 254);
    if priority != written {
        let message =
            format!("the priority {written} becomes {priority}: no machine owns it for ever");
        notes.add(line.at.clone(), message);
    }
    u8::try_from(priority).unwrap_or(PRIORITY_DEFAULT)
}

/// Gives each a name of its own that Evergate allows.
pub(super) fn name_apart(drafts: &mut [Draft], notes: &mut Notes) {
    let mut taken = BTreeSet::new();
    for draft in drafts {
        let base = plain(&draft.name);
        let candidates = (2..).map(|number| format!("{base}_{number}"));
        let name =
            std::iter::once(base.clone()).chain(candidates).find(|name| !taken.contains(name));
        let name = name.unwrap_or(base);
        if name != draft.name {
            let message = format!("`{}` is called `{name}` now", draft.name);
            notes.add(draft.at.clone(), message);
        }
        taken.insert(name.clone());
        draft.name = name;
    }
}

/// Evergate knows a virtual router by its number alone, on whichever interface it is.
pub(super) fn tell_doubles(drafts: &[Draft], notes: &mut Notes) {
    let mut taken = BTreeMap::new();
    for draft in drafts {
        let family = draft.addresses.first().is_some_and(|net| net.addr().is_ipv6());
        let Some(id) = draft.router_id else { continue };
        if let Some(earlier) = taken.insert((id, family), &draft.name) {
            let message = format!(
                "`{}` and `{earlier}` are both router {id}: one of them needs another `router_id`, \
                 on all machines",
                draft.name
            );
            notes.add(draft.at.clone(), message);
        }
    }
}
