//! `evergate preflight`: says whether this binary could go on from where a running node is, and
//! touches nothing. The keeper runs it before an upgrade, as the worker's user, and by itself it
//! opens nothing.

use std::io::{self, Write};
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use evergate_config::{RecallError, recall, render};
use evergate_control::link::{
    self, PREFLIGHT_CONFIG_FD, PREFLIGHT_STATE_FD, PROTOCOL, PROTOCOL_MIN, UpgradePhase,
    VERDICT_BYTES_MAX, Verdict,
};
use evergate_core::state;
use evergate_sys::inherited::Inherited;
use evergate_sys::memfd;

use crate::{embedded, fault};

/// Most bytes of a configuration.
const CONFIG_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Longest reason, in bytes, and most of them: so each verdict is short enough.
const REFUSAL_BYTES_MAX: usize = 4 * 1024;
const REFUSALS_MAX: usize = VERDICT_BYTES_MAX / (2 * REFUSAL_BYTES_MAX);

/// Says whether this binary could go on from the state of a running node.
#[derive(clap::Args)]
pub(crate) struct Preflight {
    /// Configuration file of the node, as an absolute path.
    file: PathBuf,
}

impl Preflight {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let inherited = Inherited::all().context("cannot tell what is open")?;
        let (config, state) =
            (inherited.get(PREFLIGHT_CONFIG_FD), inherited.get(PREFLIGHT_STATE_FD));
        fault::in_order(Some(match config {
            Some(_) => UpgradePhase::Checking,
            None => UpgradePhase::Rehearsing,
        }));
        let mut refusals = Vec::new();
        refusals.extend(config.and_then(|file| self.refuse_config(file)));
        refusals.extend(state.and_then(refuse_state));
        refusals.extend(fault::in_preflight());
        let verdict = verdict(refusals);
        io::stdout().write_all(&link::encode(&verdict)).context("nobody reads the verdict")?;
        Ok(ExitCode::SUCCESS)
    }

    /// Why the configuration in force could not be taken over.
    fn refuse_config(&self, file: BorrowedFd<'_>) -> Option<String> {
        let shown = self.file.display();
        let blob = match memfd::read(file, CONFIG_BYTES_MAX) {
            Ok(blob) => blob,
            Err(error) => return Some(format!("the configuration in force: {error}")),
        };
        let refused = match recall(&blob) {
            Ok(loaded) => embedded::refusals(&loaded.config),
            Err(RecallError::Damaged) => {
                return Some("the configuration in force cannot be read".to_owned());
            }
            Err(RecallError::Refused(diagnostics)) => diagnostics,
        };
        (!refused.is_empty()).then(|| {
            let why = render(&refused, false);
            format!("the configuration in force, of {shown}, is refused:\n{}", why.trim_end())
        })
    }
}

/// Why a keeper could not go on from this state.
fn refuse_state(file: BorrowedFd<'_>) -> Option<String> {
    let checked = memfd::read(file, state::BYTES_MAX).map_err(|error| error.to_string());
    let checked = checked.and_then(|blob| evergate_keeper::rehearse(&blob));
    checked.err().map(|why| format!("the state of the keeper: {why}"))
}

fn verdict(refusals: Vec<String>) -> Verdict {
    let cut = |mut line: String| {
        line.truncate(line.floor_char_boundary(REFUSAL_BYTES_MAX));
        line
    };
    Verdict {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        protocol_min: PROTOCOL_MIN,
        protocol_max: PROTOCOL,
        refusals: refusals.into_iter().take(REFUSALS_MAX).map(cut).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_verdict_is_short_enough() {
        let line = "x".repeat(10 * REFUSAL_BYTES_MAX);
        let encoded = link::encode(&verdict(vec![line; 10 * REFUSALS_MAX]));
        assert!(encoded.len() <= VERDICT_BYTES_MAX, "{} bytes", encoded.len());
    }
}
