//! The messages between keeper and worker.
//!
//! They travel over a `SOCK_SEQPACKET` pair, one message a packet, file descriptors beside them as
//! the variant says. The encoding is CBOR with numbered fields, so that a newer side may add fields
//! and an older side skips them; [`PROTOCOL`] changes only when that is not enough.
//!
//! The link is declarative: the worker says what should be ([`Desired`]), the keeper makes it so
//! and says what is ([`ToWorker::Listening`], [`Observed`]). Saying the same again changes nothing.

use std::net::IpAddr;

use evergate_core::standby::Order;
use evergate_core::track::Subject;
use evergate_core::trial::Why;
use minicbor::{Decode, Encode};

mod app;
mod desired;
mod news;
mod observed;
mod standby;
mod trial;
mod upgrade;

pub use app::*;
pub use desired::*;
pub use news::*;
pub use observed::*;
pub use standby::*;
pub use trial::*;
pub use upgrade::*;

/// Version of these messages.
pub const PROTOCOL: u16 = 5;
/// Oldest version that is still spoken: during an upgrade the two ends are of different binaries,
/// so a version is given up one release after the next one came, at the earliest.
pub const PROTOCOL_MIN: u16 = 5;
/// Largest encoded message, in bytes; a larger one is refused.
pub const MESSAGE_BYTES_MAX: usize = 160 * 1024;
/// The configuration that was applied last.
pub const KEPT_CONFIG: &str = "config";
/// The keys of TLS session tickets.
pub const KEPT_TICKETS: &str = "tickets";
/// What is known of servers and connections, and every counter ([`crate::state`]).
pub const KEPT_STATE: &str = "state";
/// The configurations that were applied, as they are written down on the disk where that can be.
pub const KEPT_HISTORY: &str = "history";
/// While a configuration is on trial: the one that comes back unless it is confirmed, as
/// [`KEPT_CONFIG`].
pub const KEPT_BASE: &str = "base";
/// Most files that a keeper keeps, of different names.
pub const KEPT_MAX: usize = 16;
/// Most file descriptors beside one message; Linux allows 253.
pub const FDS_MAX: usize = 128;

/// What a worker says to its keeper.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub enum ToKeeper {
    /// First message of a worker.
    #[n(0)]
    Hello {
        /// [`PROTOCOL`].
        #[n(0)]
        protocol: u16,
        /// Version of Evergate.
        #[n(1)]
        version: String,
    },
    /// What should be. Answered by one [`ToWorker::Listening`] for each address in it and one
    /// [`ToWorker::Settled`] after them.
    #[n(1)]
    Desired(#[n(0)] Desired),
    /// The worker serves; the keeper may forget its failures.
    #[n(2)]
    Ready,
    /// One descriptor beside it: a sealed memory file that the keeper hands to the next worker,
    /// in place of an earlier one of the same name. The keeper does not look into it.
    #[n(3)]
    Keep {
        /// What it is: [`KEPT_CONFIG`], [`KEPT_TICKETS`] or [`KEPT_STATE`].
        #[n(0)]
        name: String,
    },
    /// Opens a file for reading; the worker may lack the right. The keeper allows it only for
    /// regular files and directories below that of the configuration file, and for those that were
    /// [`Self::Named`].
    #[n(4)]
    Open {
        /// Chosen by the worker, repeated in the answer.
        #[n(0)]
        request: u32,
        /// Absolute path.
        #[n(1)]
        path: String,
    },
    /// The worker cannot start, and a restart would not help: the message says why and how to mend
    /// it. The keeper ends if no worker has been ready yet.
    #[n(5)]
    Hopeless {
        /// For the operator, may have several lines.
        #[n(0)]
        message: String,
    },
    /// The worker has drained and will exit.
    #[n(6)]
    Drained,
    /// Files outside the directory of the configuration file that the configuration names. A worker
    /// says so while it still has its keeper's rights; from one that gave them away it counts for
    /// nothing. Adds to what it named before. Answered by [`ToWorker::Noted`].
    #[n(8)]
    Named {
        /// Absolute paths.
        #[n(0)]
        paths: Vec<String>,
        /// Whom apps run as: from then on the keeper starts processes as these users too.
        #[n(1)]
        users: Vec<String>,
    },
    /// A probe of a run ended.
    #[n(9)]
    Probed {
        /// Whose.
        #[n(0)]
        run: Run,
        /// What it was about.
        #[n(1)]
        probe: Probe,
        /// Why it failed; nothing if it passed.
        #[n(2)]
        failure: Option<String>,
    },
    /// A draining run has no request in flight any more, nor a tunnel.
    #[n(10)]
    Idle {
        /// Which.
        #[n(0)]
        run: Run,
    },
    /// How the new runs of an app that is being deployed fare beside the old ones, counted since
    /// the canary began to serve. Sent every second while a canary soaks.
    #[n(11)]
    Sampled {
        /// Name of the app.
        #[n(0)]
        app: String,
        /// Runs of the revision that is rolled out.
        #[n(1)]
        canary: Sample,
        /// The other runs.
        #[n(2)]
        others: Sample,
    },
    /// What the operator wants of an app. Answered by [`ToWorker::Heard`].
    #[n(12)]
    Wish {
        /// Chosen by the worker, repeated in the answer.
        #[n(0)]
        request: u32,
        /// Name of the app.
        #[n(1)]
        app: String,
        /// One instance of it; all of them if none.
        #[n(2)]
        instance: Option<u16>,
        /// What.
        #[n(3)]
        verb: Verb,
    },
    /// A candidate accepts: the answer to [`ToWorker::Activate`].
    #[n(13)]
    Activated,
    /// Everything exclusive was let go: the answer to [`ToWorker::Release`]. Before it the worker
    /// has said [`Self::Keep`] of its state.
    #[n(14)]
    Released,
    /// The worker is the primary one: the answer to [`ToWorker::Acquire`].
    #[n(15)]
    Acquired,
    /// How requests went since this worker started. Sent every second while the last
    /// [`ToWorker::Node`] spoke of an upgrade under way.
    #[n(16)]
    Served {
        /// Responses.
        #[n(0)]
        requests: u64,
        /// Of these, with a status from 500.
        #[n(1)]
        errors: u64,
    },
    /// One descriptor beside it: what a worker that drains still has open and what it has counted
    /// since it let go, for the primary one. Sent every second while that changes, and when all is
    /// finished.
    #[n(17)]
    Shared,
    /// A reload that the keeper asked for ([`ToWorker::Reload`]) is over.
    #[n(18)]
    Reloaded {
        /// Whether the configuration was applied.
        #[n(0)]
        is_applied: bool,
    },
    /// The answer to [`ToWorker::Ping`].
    #[n(19)]
    Pong {
        /// As asked.
        #[n(0)]
        number: u32,
    },
    /// The operator wants an upgrade. Answered by [`ToWorker::Heard`]; how it goes is said in
    /// [`ToWorker::Node`].
    #[n(20)]
    Upgrade {
        /// Chosen by the worker, repeated in the answer.
        #[n(0)]
        request: u32,
        /// What is wanted.
        #[n(1)]
        order: UpgradeOrder,
    },
    /// Something that only the worker can see works, or does not. Sent for every [`Subject::Pool`]
    /// that is tracked when it becomes primary, and after each change. What was said stays in force
    /// while no worker is there.
    #[n(21)]
    Verdict {
        /// What.
        #[n(0)]
        subject: Subject,
        /// Why it fails; nothing if it does not.
        #[n(1)]
        failure: Option<String>,
    },
    /// What the operator wants of virtual addresses. Answered by [`ToWorker::Heard`].
    #[n(22)]
    Standby {
        /// Chosen by the worker, repeated in the answer.
        #[n(0)]
        request: u32,
        /// What.
        #[n(1)]
        order: Order,
    },
    /// What a worker has to say of a configuration on trial. Answered by [`ToWorker::Tried`]. Only
    /// to a keeper that says how its trial stands ([`NodeNews::trial`]); others do not know this
    /// message.
    #[n(23)]
    Trial {
        /// Chosen by the worker, repeated in the answer.
        #[n(0)]
        request: u32,
        /// What.
        #[n(1)]
        order: TrialOrder,
    },
    /// Ends an instance at once with SIGKILL; it is then started again like after a crash.
    #[n(7)]
    Kill {
        /// Name of the app.
        #[n(0)]
        app: String,
        /// Number of the instance.
        #[n(1)]
        instance: u16,
    },
}

/// What a keeper says to its worker.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub enum ToWorker {
    /// First message, before the worker speaks. Beside it what is kept.
    #[n(0)]
    Welcome {
        /// [`PROTOCOL`].
        #[n(0)]
        protocol: u16,
        /// How many workers there have been, this one included.
        #[n(1)]
        generation: u32,
        /// What earlier workers had kept: a name for each descriptor, in their order.
        #[n(2)]
        kept: Vec<String>,
        /// The keeper's process id.
        #[n(3)]
        keeper_pid: u32,
        /// When the keeper started, in seconds of Unix time.
        #[n(4)]
        started_at: u64,
        /// What the worker is there for.
        #[n(5)]
        #[cbor(default)]
        role: Role,
        /// How the trial of a configuration stands, and the number of the last one; nothing if the
        /// keeper does not know of trials.
        #[n(6)]
        trial: Option<TrialNews>,
    },
    /// The sockets of one address, as many descriptors beside it. At least as many as desired;
    /// all must be accepted from.
    #[n(1)]
    Listening {
        /// As desired.
        #[n(0)]
        listener: String,
        /// As desired.
        #[n(1)]
        address: Address,
        /// Where it really listens (a port of 0 replaced), or why it does not.
        #[n(2)]
        outcome: Outcome,
    },
    /// Everything in the last [`ToKeeper::Desired`] was done or failed.
    #[n(2)]
    Settled,
    /// What the apps do; sent after each change.
    #[n(3)]
    Observed(#[n(0)] Observed),
    /// The answer to [`ToKeeper::Open`]; without an error, one descriptor beside it.
    #[n(4)]
    Opened {
        /// As asked.
        #[n(0)]
        request: u32,
        /// Why not.
        #[n(1)]
        error: Option<String>,
    },
    /// The answer to [`ToKeeper::Named`].
    #[n(7)]
    Noted,
    /// The answer to [`ToKeeper::Wish`].
    #[n(8)]
    Heard {
        /// As asked.
        #[n(0)]
        request: u32,
        /// Why nothing will be done.
        #[n(1)]
        error: Option<String>,
        /// What will be done, or with [`Verb::PlanDeploy`] would be: a line for each step.
        #[n(2)]
        plan: Vec<String>,
    },
    /// What a run prints; beside it the end of the pipe to read from. Sent when the run starts, and
    /// to each new worker for every run that is still there. The pipe ends when nothing of the run
    /// is left.
    #[n(9)]
    Output {
        /// Whose.
        #[n(0)]
        run: Run,
    },
    /// Something happened to an app, worth an event.
    #[n(10)]
    Happened(#[n(0)] Happening),
    /// Accept on every socket, beside the worker that does already. Answered by
    /// [`ToKeeper::Activated`].
    #[n(11)]
    Activate,
    /// One descriptor beside it: a connected stream. Serve one HTTP/1 request on it by way of every
    /// data-plane thread, whatever it asks for, and answer 200 with `token` as the body.
    #[n(12)]
    Probe {
        /// Differs each time.
        #[n(0)]
        token: String,
    },
    /// Let go of everything exclusive, but go on accepting and serving. Answered by
    /// [`ToKeeper::Released`].
    #[n(13)]
    Release,
    /// Be the primary worker, whatever this one was: accept, and take everything exclusive.
    /// [`Self::Output`] of every run follows. What is to be known is among what was kept: a
    /// descriptor beside this if there is a newer [`KEPT_STATE`]. Answered by
    /// [`ToKeeper::Acquired`].
    #[n(14)]
    Acquire,
    /// Accept no more, finish what is in flight, say [`ToKeeper::Drained`], and stay: either
    /// [`Self::Acquire`] or [`Self::Finish`] follows.
    #[n(15)]
    Retire,
    /// Exit when all is finished; what takes longer than its route allows is cut.
    #[n(16)]
    Finish,
    /// One descriptor beside it: what another worker said with [`ToKeeper::Shared`].
    #[n(17)]
    Shared {
        /// Which worker; what it said before of what is open is to be forgotten.
        #[n(0)]
        generation: u32,
    },
    /// That worker is gone: nothing of it is open any more.
    #[n(18)]
    Gone {
        /// Which.
        #[n(0)]
        generation: u32,
    },
    /// How keeper and workers are; sent after each change.
    #[n(19)]
    Node(#[n(0)] NodeNews),
    /// How virtual addresses and peers are; sent after each change, and every second.
    #[n(21)]
    Standby(#[n(0)] StandbyNews),
    /// Put the configuration in force that was before the one on trial, then say
    /// [`TrialOrder::Returned`] or [`TrialOrder::Failed`]. Only to a worker that has said
    /// [`ToKeeper::Trial`] before.
    #[n(23)]
    GoBack {
        /// Why.
        #[n(0)]
        why: Why,
    },
    /// The answer to [`ToKeeper::Trial`].
    #[n(24)]
    Tried {
        /// As asked.
        #[n(0)]
        request: u32,
        /// Why nothing was changed.
        #[n(1)]
        error: Option<String>,
    },
    /// These addresses have moved to another machine: end politely whatever is connected to them, by
    /// this time, and go on accepting. In place of what was said before; of none, nothing more ends.
    // 22 was the end of all that was open.
    #[n(25)]
    Retreat {
        /// Which.
        #[n(0)]
        addresses: Vec<IpAddr>,
        /// After so many milliseconds they are out of reach.
        #[n(1)]
        within_ms: u32,
    },
    /// Answer at once, if all works, with [`ToKeeper::Pong`].
    #[n(20)]
    Ping {
        /// Differs each time.
        #[n(0)]
        number: u32,
    },
    /// Read the configuration again (SIGHUP). Answered by [`ToKeeper::Reloaded`].
    #[n(5)]
    Reload,
    /// Stop accepting, finish what is in flight, say [`ToKeeper::Drained`] and exit (SIGTERM).
    #[n(6)]
    Stop {
        /// Requests in flight after this many milliseconds are cut.
        #[n(0)]
        grace_ms: u32,
    },
}

/// A message could not be understood.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Malformed(String);

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "malformed link message: {}", self.0)
    }
}

impl std::error::Error for Malformed {}

/// The bytes of `message`.
pub fn encode<M: Encode<()>>(message: &M) -> Vec<u8> {
    minicbor::to_vec(message).expect("a vector takes every byte")
}

/// The message in `bytes`.
pub fn decode<'b, M: Decode<'b, ()>>(bytes: &'b [u8]) -> Result<M, Malformed> {
    if bytes.len() > MESSAGE_BYTES_MAX {
        return Err(Malformed(format!("{} bytes, over {MESSAGE_BYTES_MAX}", bytes.len())));
    }
    minicbor::decode(bytes).map_err(|error| Malformed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_the_link() {
        let desired = ToKeeper::Desired(Desired {
            listeners: vec![
                Listener {
                    name: "web".into(),
                    address: Address::Tcp("[::1]:8080".parse().unwrap()),
                    sockets: 4,
                },
                Listener {
                    name: "admin".into(),
                    address: Address::Unix { path: "/run/evergate/admin.sock".into(), mode: 0o600 },
                    sockets: 1,
                },
            ],
            apps: vec![App {
                name: "shop".into(),
                run: vec!["/bin/shop".into()],
                instances: 2,
                env: vec![("A".into(), "b".into())],
                cwd: None,
                ports: (20000, 20999),
                ..App::default()
            }],
            run_dir: Some("/run/evergate".into()),
            standby: Standby::default(),
        });
        assert_eq!(decode::<ToKeeper>(&encode(&desired)), Ok(desired));
        let stop = ToWorker::Stop { grace_ms: 500 };
        assert_eq!(decode::<ToWorker>(&encode(&stop)), Ok(stop));
    }

    #[test]
    fn secrets_of_apps_are_not_shown() {
        let app = App {
            run: vec!["/bin/shop".into(), "--token=hush".into()],
            env: vec![("TOKEN".into(), "hush".into())],
            ..App::default()
        };
        let desired = ToKeeper::Desired(Desired { apps: vec![app], ..Desired::default() });
        let shown = format!("{desired:?}");
        assert!(!shown.contains("hush") && shown.contains("TOKEN"), "{shown}");
    }

    #[test]
    fn garbage_is_refused_without_a_panic() {
        for bytes in [&b""[..], b"\xff", b"\x82\x01", &[0u8; 40]] {
            assert!(decode::<ToKeeper>(bytes).is_err());
            assert!(decode::<ToWorker>(bytes).is_err());
        }
        let big = vec![0u8; MESSAGE_BYTES_MAX + 1];
        assert!(decode::<ToKeeper>(&big).is_err());
    }
}
