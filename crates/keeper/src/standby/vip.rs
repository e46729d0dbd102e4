//! One virtual router as it is spoken of on the network: its adverts, ours and those of others, and
//! what has happened to it.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use evergate_control::link::{self, VipAuth, VipChecksum, VipCounts};
use evergate_core::standby::{Note, RouterKey, Severity};
use evergate_core::time::Instant;
use evergate_core::vrrp::packet::seal::{MAC_BYTES, Seal, Stamps, Unseal};
use evergate_core::vrrp::packet::{Checksum, Ends, Envelope, Form, Heard, Refusal, Unfit};
use evergate_core::vrrp::{Advert, Policy};
use evergate_sys::clock;
use evergate_sys::family::Family;
use minicbor::{Decode, Encode};
use ring::hmac;

use super::fight::Fight;

/// How often it is told why adverts are refused, or that they differ from ours.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// One virtual router.
#[derive(Debug)]
pub(super) struct Vip {
    name: String,
    wish: link::Vip,
    policy: Policy,
    form: Form,
    key: Option<hmac::Key>,
    lasting: Lasting,
    /// Where adverts are sent from, or why they cannot be; what the machine was told last.
    pub(super) source: Option<Result<IpAddr, String>>,
    /// Whether the last advert could be sent.
    is_sending: bool,
    /// When it was told last what is wrong with adverts of others.
    told_at: Option<Instant>,
    /// Those who try to have its addresses otherwise.
    pub(super) fight: Fight,
    /// Whether it goes once its addresses are given up.
    pub(super) is_leaving: bool,
    /// Whether it was looked what there was of its addresses before.
    pub(super) is_swept: bool,
    /// Why its addresses could not be put on the interface, and until when that is not tried again.
    blocked: Option<(Instant, String)>,
}

/// What is known of a virtual router as long as there is one with its name.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub(super) struct Lasting {
    /// Whether its addresses are to be on the interface.
    #[n(0)]
    pub(super) is_held: bool,
    #[n(1)]
    pub(super) counts: VipCounts,
    /// What adverts are summed like.
    #[n(2)]
    checksum: Checksum,
    #[n(3)]
    stamps: Stamps,
}

impl Vip {
    /// As it is wished for; with what lasted from one before it, if there was one.
    pub(super) fn new(
        name: String,
        wish: link::Vip,
        policy: Policy,
        lasting: Option<Lasting>,
    ) -> Result<Self, Unfit> {
        let addresses: Vec<IpAddr> = wish.addresses.iter().map(|&(address, _)| address).collect();
        let (password, key) = match &wish.auth {
            VipAuth::None => (None, None),
            VipAuth::Password(key) => (Some(key.expose()), None),
            VipAuth::Hmac(key) => (None, Some(hmac::Key::new(hmac::HMAC_SHA256, key.expose()))),
        };
        let form = Form::new(&policy, &addresses, password, &wish.peers)?;
        let mut lasting = lasting.unwrap_or_else(|| Lasting::new(policy.interval));
        lasting.stamps.set_interval(policy.interval);
        match wish.checksum {
            VipChecksum::Auto => {}
            VipChecksum::Message => lasting.checksum = Checksum::Message,
            VipChecksum::PseudoHeader => lasting.checksum = Checksum::PseudoHeader,
        }
        Ok(Self {
            name,
            wish,
            policy,
            form,
            key,
            lasting,
            source: None,
            is_sending: true,
            told_at: None,
            fight: Fight::default(),
            is_leaving: false,
            is_swept: false,
            blocked: None,
        })
    }

    /// Whether it is as it is wished for.
    pub(super) fn is(&self, wish: &link::Vip, policy: &Policy) -> bool {
        self.wish == *wish && self.policy == *policy && !self.is_leaving
    }

    /// Its name in `[vip.NAME]`.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Something about it, for an event.
    pub(super) fn note(&self, severity: Severity, kind: &'static str, reason: String) -> Note {
        Note { severity, kind, subject: format!("vip.{}", self.name), reason }
    }

    /// As it is wished for.
    pub(super) fn wish(&self) -> &link::Vip {
        &self.wish
    }

    /// What goes over to one that takes its place.
    pub(super) fn lasting(&self) -> &Lasting {
        &self.lasting
    }

    /// How often what has happened.
    pub(super) fn counts(&mut self) -> &mut VipCounts {
        &mut self.lasting.counts
    }

    /// Whether its addresses are to be on the interface.
    pub(super) fn is_held(&self) -> bool {
        self.lasting.is_held
    }

    /// Its addresses are to be on the interface from now on, or no more.
    pub(super) fn set_held(&mut self, is_held: bool) {
        self.lasting.is_held = is_held;
        self.fight = Fight::default();
    }

    /// Its addresses cannot be put on the interface.
    pub(super) fn block(&mut self, until: Instant, why: String) {
        self.blocked = Some((until, why));
    }

    /// Why its addresses could not be put on the interface, and until when that is not tried again.
    pub(super) fn blocked(&mut self, now: Instant) -> Option<(Instant, &str)> {
        self.blocked.take_if(|(until, _)| *until <= now);
        self.blocked.as_ref().map(|(until, why)| (*until, why.as_str()))
    }

    /// Its addresses, each with the length of its network's prefix.
    pub(super) fn addresses(&self) -> &[(IpAddr, u8)] {
        &self.wish.addresses
    }

    /// Their family.
    pub(super) fn family(&self) -> Family {
        if self.form.is_ipv6() { Family::V6 } else { Family::V4 }
    }

    /// Its number in adverts.
    pub(super) fn router_id(&self) -> u8 {
        self.policy.router_id
    }

    /// Its own priority.
    pub(super) fn priority(&self) -> u8 {
        self.policy.priority
    }

    /// Between two adverts of ours.
    pub(super) fn interval(&self) -> Duration {
        self.policy.interval
    }

    /// Adverts of this priority, each with whom it is for.
    pub(super) fn adverts(&mut self, priority: u8) -> Vec<(IpAddr, Vec<u8>)> {
        let Some(Ok(source)) = self.source else {
            return Vec::new();
        };
        let stamp = self.key.as_ref().map(|_| self.lasting.stamps.next_stamp(unix()));
        let mac = |parts: &[&[u8]]| self.key.as_ref().map_or([0; MAC_BYTES], |key| mac(key, parts));
        let seal = stamp.map(|stamp| Seal { stamp, mac: &mac });
        let write = |destination| {
            let mut packet = Vec::new();
            let ends = Ends { source, destination };
            let checksum = self.lasting.checksum;
            // Peers and source are of the family of the addresses, or the plan would be refused.
            let written = self.form.encode(priority, &ends, checksum, seal.as_ref(), &mut packet);
            written.ok().map(|()| (destination, packet))
        };
        self.form.destinations().into_iter().filter_map(write).collect()
    }

    /// Takes in a packet; returns what it says if it is in order, and what is to be told of it.
    pub(super) fn hear(
        &mut self,
        now: Instant,
        packet: &[u8],
        envelope: &Envelope,
    ) -> (Option<Advert>, Option<String>) {
        let mac = |parts: &[&[u8]]| self.key.as_ref().map_or([0; MAC_BYTES], |key| mac(key, parts));
        let stamps = &mut self.lasting.stamps;
        let unseal = self.key.is_some().then(|| Unseal { stamps, unix: unix(), mac: &mac });
        let heard = self.form.decode(packet, envelope, unseal);
        let from = envelope.ends.source;
        let (advert, odd) = match heard {
            Ok(Heard { advert, checksum, difference }) => {
                self.lasting.counts.heard += 1;
                if self.wish.checksum == VipChecksum::Auto {
                    self.lasting.checksum = checksum;
                }
                (Some(advert), difference.map(|what| format!("{from} differs: {what}")))
            }
            Err(refusal) => {
                self.count(&refusal);
                (None, Some(format!("an advert of {from} is refused: {refusal}")))
            }
        };
        (advert, odd.filter(|_| self.may_tell(now)))
    }

    /// Takes in whether an advert could be sent; returns what is to be told of it.
    pub(super) fn sent(&mut self, outcome: io::Result<()>) -> Option<String> {
        let was_sending = std::mem::replace(&mut self.is_sending, outcome.is_ok());
        match outcome {
            Ok(()) => {
                self.lasting.counts.sent += 1;
                (!was_sending).then(|| "adverts can be sent again".to_owned())
            }
            Err(error) => {
                self.lasting.counts.send_failures += 1;
                was_sending.then(|| format!("adverts cannot be sent: {error}"))
            }
        }
    }

    fn count(&mut self, refusal: &Refusal) {
        let counts = &mut self.lasting.counts;
        let count = if refusal.is_auth() { &mut counts.refused_auth } else { &mut counts.refused };
        *count += 1;
    }

    fn may_tell(&mut self, now: Instant) -> bool {
        let may = self.told_at.is_none_or(|at| now - at >= TOLD_EVERY);
        if may {
            self.told_at = Some(now);
        }
        may
    }
}

/// One on its way into the keeper's next image.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub(super) struct Carried {
    #[n(0)]
    name: String,
    #[n(1)]
    wish: link::Vip,
    #[n(2)]
    policy: Policy,
    #[n(3)]
    lasting: Lasting,
    #[n(4)]
    source: Option<Result<IpAddr, String>>,
    #[n(5)]
    is_leaving: bool,
    #[n(6)]
    is_swept: bool,
}

impl Vip {
    /// All that is known.
    pub(super) fn carry(&self) -> Carried {
        Carried {
            name: self.name.clone(),
            wish: self.wish.clone(),
            policy: self.policy,
            lasting: self.lasting.clone(),
            source: self.source.clone(),
            is_leaving: self.is_leaving,
            is_swept: self.is_swept,
        }
    }

    /// What was carried; an error if this release cannot speak so.
    pub(super) fn resume(carried: Carried) -> Result<Self, Unfit> {
        let Carried { name, wish, policy, lasting, source, is_leaving, is_swept } = carried;
        let vip = Self::new(name, wish, policy, Some(lasting))?;
        Ok(Self { source, is_leaving, is_swept, ..vip })
    }
}

impl Lasting {
    fn new(interval: Duration) -> Self {
        Self {
            is_held: false,
            counts: VipCounts::default(),
            checksum: Checksum::default(),
            stamps: Stamps::new(interval),
        }
    }
}

/// All virtual routers, by key.
pub(super) type Vips = BTreeMap<RouterKey, Vip>;

fn unix() -> Duration {
    Duration::from_millis(clock::unix_millis())
}

pub(super) fn mac(key: &hmac::Key, parts: &[&[u8]]) -> [u8; MAC_BYTES] {
    let mut context = hmac::Context::with_key(key);
    parts.iter().for_each(|part| context.update(part));
    let tag = context.sign();
    *tag.as_ref().first_chunk().expect("HMAC-SHA-256 has 32 bytes")
}

#[cfg(test)]
mod tests;
