//! Session tickets (RFC 5077, RFC 8446, 4.6.1) under keys that rotate and can be handed on.
//!
//! The newest key seals; the one before it still opens, so a ticket lives for one to two rotations.
//! Nothing here looks at a clock: whoever owns the keys says when it is [`Tickets::turn`]'s time.
//! A ticket opens only under the policy it was sealed for: otherwise a session begun where no
//! client certificate is wanted could go on where one is.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::server::ProducesTickets;

#[cfg(feature = "aws-lc")]
use aws_lc_rs as cryptography;
#[cfg(not(feature = "aws-lc"))]
use ring as cryptography;

use cryptography::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use cryptography::digest::{SHA256, digest};
use cryptography::rand::{SecureRandom, SystemRandom};

/// How long a key seals new tickets.
pub const TICKET_KEY_LIFE: Duration = Duration::from_secs(12 * 60 * 60);
/// The key that seals and the one before it.
const KEYS_MAX: usize = 2;
const ID_LEN: usize = 8;
const SECRET_LEN: usize = 32;
const TAG_LEN: usize = 16;
const DIGEST_LEN: usize = 32;
/// Longer ones were not made by us: a session with a chain of client certificates stays below.
const TICKET_BYTES_MAX: usize = 64 * 1024;
/// First bytes of the form in which keys are handed on: what it is, and its version.
const MAGIC: &[u8; 8] = b"evgtkt\x00\x01";
const KEY_LEN: usize = ID_LEN + SECRET_LEN + 8;

/// The keys of every listener and thread.
pub struct Tickets {
    /// Newest first; at least one.
    keys: RwLock<VecDeque<Key>>,
    random: SystemRandom,
}

struct Key {
    id: [u8; ID_LEN],
    secret: [u8; SECRET_LEN],
    sealing: LessSafeKey,
    /// In seconds of Unix time.
    made_at: u64,
}

/// Seals and opens the tickets of one policy.
struct Policy {
    tickets: Arc<Tickets>,
    digest: [u8; DIGEST_LEN],
}

/// The system gave no random bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NoRandomness;

impl Tickets {
    /// A first key, made at `now` in seconds of Unix time.
    ///
    /// # Errors
    /// If the system gives no random bytes.
    pub fn new(now: u64) -> Result<Self, NoRandomness> {
        let random = SystemRandom::new();
        let key = Key::random(&random, now)?;
        Ok(Self { keys: RwLock::new(VecDeque::from([key])), random })
    }

    /// The keys that [`Tickets::handed_on`] wrote; none if these are other bytes or damaged.
    pub fn taken_over(bytes: &[u8]) -> Option<Self> {
        let (body, sum) = bytes.split_at_checked(bytes.len().checked_sub(DIGEST_LEN)?)?;
        if digest(&SHA256, body).as_ref() != sum {
            return None;
        }
        let keys = body.strip_prefix(MAGIC)?;
        if keys.is_empty() || keys.len() > KEYS_MAX * KEY_LEN || keys.len() % KEY_LEN != 0 {
            return None;
        }
        let keys: Option<VecDeque<Key>> = keys.chunks_exact(KEY_LEN).map(Key::read).collect();
        Some(Self { keys: RwLock::new(keys?), random: SystemRandom::new() })
    }

    /// The keys as bytes for the process that comes after this one. They are secret.
    pub fn handed_on(&self) -> Vec<u8> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = MAGIC.to_vec();
        for key in keys.iter() {
            bytes.extend_from_slice(&key.id);
            bytes.extend_from_slice(&key.secret);
            bytes.extend_from_slice(&key.made_at.to_be_bytes());
        }
        let sum = digest(&SHA256, &bytes);
        bytes.extend_from_slice(sum.as_ref());
        bytes
    }

    /// Makes a new key if that in use has lived its life, or comes from the future. Says whether
    /// the keys changed, so that they are handed on.
    pub fn turn(&self, now: u64) -> bool {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let life = TICKET_KEY_LIFE.as_secs();
        let is_fresh = |key: &Key| key.made_at <= now && now - key.made_at < life;
        if keys.front().is_some_and(is_fresh) {
            return false;
        }
        // Without randomness the old key is better than none; the next turn tries again.
        let Ok(key) = Key::random(&self.random, now) else { return false };
        keys.push_front(key);
        // A key that rested for longer than its life must not come back.
        keys.retain(|key| key.made_at <= now && now - key.made_at < 2 * life);
        keys.truncate(KEYS_MAX);
        true
    }

    /// What seals and opens tickets under `policy`, any bytes that differ between policies.
    pub fn under(self: &Arc<Self>, policy: &[u8]) -> Arc<dyn ProducesTickets> {
        let digest = digest(&SHA256, policy);
        let mut policy = [0; DIGEST_LEN];
        policy.copy_from_slice(digest.as_ref());
        Arc::new(Policy { tickets: Arc::clone(self), digest: policy })
    }
}

impl Key {
    fn random(random: &SystemRandom, made_at: u64) -> Result<Self, NoRandomness> {
        let (mut id, mut secret) = ([0; ID_LEN], [0; SECRET_LEN]);
        random.fill(&mut id).map_err(|_| NoRandomness)?;
        random.fill(&mut secret).map_err(|_| NoRandomness)?;
        Ok(Self::new(id, secret, made_at))
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (id, rest) = bytes.split_first_chunk()?;
        let (secret, rest) = rest.split_first_chunk()?;
        let made_at = u64::from_be_bytes(rest.try_into().ok()?);
        Some(Self::new(*id, *secret, made_at))
    }

    fn new(id: [u8; ID_LEN], secret: [u8; SECRET_LEN], made_at: u64) -> Self {
        let sealing = UnboundKey::new(&AES_256_GCM, &secret).expect("the key has its length");
        Self { id, secret, sealing: LessSafeKey::new(sealing), made_at }
    }

    /// What a ticket is bound to beside the key.
    fn bound_to(&self, policy: &[u8; DIGEST_LEN]) -> Aad<[u8; ID_LEN + DIGEST_LEN]> {
        let mut bytes = [0; ID_LEN + DIGEST_LEN];
        bytes[..ID_LEN].copy_from_slice(&self.id);
        bytes[ID_LEN..].copy_from_slice(policy);
        Aad::from(bytes)
    }
}

impl ProducesTickets for Policy {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        TICKET_KEY_LIFE.as_secs() as u32
    }

    /// Key id, nonce, ciphertext, tag.
    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let keys = self.tickets.keys.read().unwrap_or_else(PoisonError::into_inner);
        let key = keys.front()?;
        let mut nonce = [0; NONCE_LEN];
        self.tickets.random.fill(&mut nonce).ok()?;
        let mut ticket = Vec::with_capacity(ID_LEN + NONCE_LEN + plain.len() + TAG_LEN);
        ticket.extend_from_slice(&key.id);
        ticket.extend_from_slice(&nonce);
        ticket.extend_from_slice(plain);
        let (nonce, aad) = (Nonce::assume_unique_for_key(nonce), key.bound_to(&self.digest));
        let sealed = &mut ticket[ID_LEN + NONCE_LEN..];
        let tag = key.sealing.seal_in_place_separate_tag(nonce, aad, sealed).ok()?;
        ticket.extend_from_slice(tag.as_ref());
        Some(ticket)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        if ticket.len() > TICKET_BYTES_MAX {
            return None;
        }
        let (id, rest) = ticket.split_first_chunk::<ID_LEN>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let keys = self.tickets.keys.read().unwrap_or_else(PoisonError::into_inner);
        let key = keys.iter().find(|key| key.id == *id)?;
        let (nonce, aad) = (Nonce::assume_unique_for_key(*nonce), key.bound_to(&self.digest));
        let mut plain = sealed.to_vec();
        let length = key.sealing.open_in_place(nonce, aad, &mut plain).ok()?.len();
        plain.truncate(length);
        Some(plain)
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tickets(…)")
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Policy(…)")
    }
}

impl fmt::Display for NoRandomness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the system gives no random bytes")
    }
}

impl std::error::Error for NoRandomness {}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: u64 = 1_800_000_000;
    const LIFE: u64 = TICKET_KEY_LIFE.as_secs();

    fn tickets() -> Arc<Tickets> {
        Arc::new(Tickets::new(T0).unwrap())
    }

    #[test]
    fn a_ticket_opens_until_its_key_has_rotated_twice() {
        let tickets = tickets();
        let policy = tickets.under(b"");
        let ticket = policy.encrypt(b"session").unwrap();
        assert_ne!(ticket, policy.encrypt(b"session").unwrap(), "each has a nonce of its own");
        assert!(!tickets.turn(T0 + LIFE - 1));
        assert_eq!(policy.decrypt(&ticket).as_deref(), Some(&b"session"[..]));
        assert!(tickets.turn(T0 + LIFE));
        assert_eq!(policy.decrypt(&ticket).as_deref(), Some(&b"session"[..]));
        assert!(tickets.turn(T0 + 2 * LIFE));
        assert_eq!(policy.decrypt(&ticket), None);
    }

    #[test]
    fn a_ticket_of_another_policy_does_not_open() {
        let tickets = tickets();
        let ticket = tickets.under(b"anybody").encrypt(b"session").unwrap();
        assert_eq!(tickets.under(b"members only").decrypt(&ticket), None);
        assert!(tickets.under(b"anybody").decrypt(&ticket).is_some());
    }

    #[test]
    fn a_ticket_that_was_touched_does_not_open() {
        let policy = tickets().under(b"");
        let ticket = policy.encrypt(b"session").unwrap();
        for index in 0..ticket.len() {
            let mut touched = ticket.clone();
            touched[index] ^= 1;
            assert_eq!(policy.decrypt(&touched), None, "byte {index}");
            assert_eq!(policy.decrypt(&ticket[..index]), None, "cut at {index}");
        }
        assert_eq!(policy.decrypt(&vec![0; TICKET_BYTES_MAX + 1]), None);
    }

    #[test]
    fn keys_that_were_handed_on_open_old_tickets() {
        let before = tickets();
        let ticket = before.under(b"p").encrypt(b"session").unwrap();
        before.turn(T0 + LIFE);
        let after = Arc::new(Tickets::taken_over(&before.handed_on()).unwrap());
        assert_eq!(after.under(b"p").decrypt(&ticket).as_deref(), Some(&b"session"[..]));
        assert!(!after.turn(T0 + LIFE + 1), "the key goes on with its age");
    }

    #[test]
    fn damaged_keys_are_not_taken_over() {
        let bytes = tickets().handed_on();
        for index in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[index] ^= 1;
            assert!(Tickets::taken_over(&damaged).is_none(), "byte {index}");
            assert!(Tickets::taken_over(&bytes[..index]).is_none(), "cut at {index}");
        }
    }

    #[test]
    fn keys_that_rested_too_long_and_keys_from_the_future_are_dropped() {
        for now in [T0 + 3 * LIFE, T0 - 1] {
            let tickets = tickets();
            let policy = tickets.under(b"");
            let ticket = policy.encrypt(b"session").unwrap();
            assert!(tickets.turn(now));
            assert_eq!(policy.decrypt(&ticket), None, "{now}");
            assert!(policy.encrypt(b"session").is_some());
        }
    }

    #[test]
    fn keys_are_not_printed() {
        let tickets = tickets();
        assert_eq!(format!("{tickets:?} {:?}", tickets.under(b"")), "Tickets(…) Policy(…)");
    }
}
