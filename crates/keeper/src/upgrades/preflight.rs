//! A new binary that is asked, in a process aside, whether it could go on from here.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use evergate_control::link::{
    self, PREFLIGHT_CONFIG_FD, PREFLIGHT_STATE_FD, PROTOCOL, PROTOCOL_MIN, VERDICT_BYTES_MAX,
    Verdict,
};
use evergate_sys::child::{self, Spec, Starting};
use evergate_sys::exit::Exit;
use evergate_sys::pipe::{self, Pipe};
use evergate_sys::privilege::User;
use evergate_sys::signal::{self, Signal};

use crate::binary::Binary;
use crate::{Options, notify};

/// The subcommand that asks; what follows is as for a worker.
const SUBCOMMAND: &str = "preflight";
/// Bytes read at a time.
const READ_BYTES: usize = 4096;

/// What a new binary is asked to go on from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question<'a> {
    /// The configuration in force.
    pub(crate) config: Option<BorrowedFd<'a>>,
    /// The state of the keeper.
    pub(crate) state: Option<BorrowedFd<'a>>,
}

/// A process that is asked. Killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Preflight {
    pid: u32,
    /// Why it did not become its program, in the end.
    starting: Option<Starting>,
    output: OwnedFd,
    said: Vec<u8>,
}

impl Preflight {
    /// Asks `binary`, as `user`. Does not wait for its exec: it may be on a file system that hangs.
    pub(crate) fn start(
        binary: &Binary,
        question: Question<'_>,
        options: &Options,
        user: Option<User>,
    ) -> Result<Self, String> {
        let failed = |error: io::Error| format!("cannot prepare the check: {error}");
        let Pipe { reader, writer } = pipe::pipe(VERDICT_BYTES_MAX).map_err(failed)?;
        let config = question.config.map(|fd| (fd, PREFLIGHT_CONFIG_FD));
        let state = question.state.map(|fd| (fd, PREFLIGHT_STATE_FD));
        let args = options.args.iter().skip(1).cloned();
        let spec = Spec {
            program: binary.path().into(),
            image: Some(binary.as_fd()),
            args: [OsString::from(SUBCOMMAND)].into_iter().chain(args).collect(),
            env: notify::variables().map(|name| (name.into(), None)).collect(),
            stdout: Some(writer.as_fd()),
            stderr: Some(rustix::stdio::stderr()),
            fds: config.into_iter().chain(state).collect(),
            user,
            no_new_privileges: true,
            ..Spec::default()
        };
        let starting = child::start(&spec).map_err(|error| error.to_string())?;
        let pid = starting.pid();
        Ok(Self { pid, starting: Some(starting), output: reader, said: Vec::new() })
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Takes in what it has said; whether it may say more.
    pub(crate) fn read(&mut self) -> bool {
        let mut buffer = [0; READ_BYTES];
        while self.said.len() <= VERDICT_BYTES_MAX {
            match rustix::io::retry_on_intr(|| rustix::io::read(&self.output, &mut buffer)) {
                Ok(0) => return false,
                Ok(count) => self.said.extend_from_slice(&buffer[..count]),
                Err(rustix::io::Errno::AGAIN) => return true,
                Err(_) => return false,
            }
        }
        false
    }

    /// Its version, or why it could not go on from here. It has exited.
    pub(crate) fn verdict(mut self, exit: Exit) -> Result<String, String> {
        if let Some(fault) = self.starting.take().and_then(Starting::into_fault) {
            return Err(fault.to_string());
        }
        self.read();
        judge(&self.said, exit)
    }
}

impl AsFd for Preflight {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.output.as_fd()
    }
}

impl Drop for Preflight {
    fn drop(&mut self) {
        // Gone already is as good, and its number is nobody else's until we have let go of it.
        let _ = signal::send_group(self.pid, Signal::Kill);
    }
}

fn judge(said: &[u8], exit: Exit) -> Result<String, String> {
    if said.len() > VERDICT_BYTES_MAX {
        return Err(format!("the new binary says more than {VERDICT_BYTES_MAX} bytes"));
    }
    let Ok(verdict) = link::decode::<Verdict>(said) else {
        return Err(format!(
            "the new binary does not say whether it could go on from here ({exit}); is it \
             Evergate, for this machine, and no older than this one's predecessor?"
        ));
    };
    let Verdict { version, protocol_min, protocol_max, refusals } = verdict;
    if !refusals.is_empty() {
        return Err(format!("the new binary refuses: {}", refusals.join("; ")));
    }
    if protocol_min > PROTOCOL || protocol_max < PROTOCOL_MIN || protocol_min > protocol_max {
        return Err(format!(
            "the new binary (version {version}) speaks protocol {protocol_min} to {protocol_max}, \
             this keeper {PROTOCOL_MIN} to {PROTOCOL}; upgrade by way of a version between them"
        ));
    }
    Ok(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(protocols: (u16, u16), refusals: &[&str]) -> Vec<u8> {
        link::encode(&Verdict {
            version: "9.9.9".into(),
            protocol_min: protocols.0,
            protocol_max: protocols.1,
            refusals: refusals.iter().map(|&refusal| refusal.into()).collect(),
        })
    }

    #[test]
    fn a_verdict_counts_only_if_there_is_a_common_protocol() {
        let done = Exit::Status(0);
        let table = [
            ((PROTOCOL_MIN, PROTOCOL), true),
            ((PROTOCOL, PROTOCOL + 1), true),
            ((PROTOCOL_MIN - 1, PROTOCOL_MIN), true),
            ((PROTOCOL + 1, PROTOCOL + 2), false),
            ((PROTOCOL_MIN - 2, PROTOCOL_MIN - 1), false),
            ((PROTOCOL, PROTOCOL - 1), false),
        ];
        for (protocols, is_fine) in table {
            let verdict = judge(&said(protocols, &[]), done);
            assert_eq!(verdict.is_ok(), is_fine, "{protocols:?}: {verdict:?}");
        }
        assert_eq!(judge(&said((PROTOCOL, PROTOCOL), &[]), done).unwrap(), "9.9.9");
    }

    #[test]
    fn every_reason_of_a_refusal_is_told() {
        let refused = judge(&said((PROTOCOL, PROTOCOL), &["no key", "no state"]), Exit::Status(0));
        assert_eq!(refused.unwrap_err(), "the new binary refuses: no key; no state");
        let exits = [Exit::Status(2), Exit::Signal { number: 11, core: false }];
        for exit in exits {
            let refused = judge(b"usage: other", exit).unwrap_err();
            assert!(refused.contains(&exit.to_string()), "{refused}");
        }
        let refused = judge(&vec![0; VERDICT_BYTES_MAX + 1], Exit::Status(0)).unwrap_err();
        assert!(refused.contains("more than"), "{refused}");
    }
}
