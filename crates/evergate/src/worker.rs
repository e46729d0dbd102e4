//! `evergate worker`: the replaceable part, started by the keeper and by nobody else.
//!
//! It loads the configuration while it may still read everything, gives its rights away, serves,
//! and carries the configuration's changes out until the keeper tells it to stop. Everything here
//! runs on one thread; requests are served by the gateway's own.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use evergate_acme::prepare_root;
use evergate_config::{Config, Loaded, load_with, recall, render};
use evergate_control::link::{KEPT_CONFIG, KEPT_TICKETS, PROTOCOL, ToKeeper, ToWorker};
use evergate_pki::Tickets;
use evergate_sys::privilege::{self, Dumpable};
use evergate_sys::{clock, inherited, memfd, rlimit};

mod admin;
mod answers;
mod apps;
mod certificates;
mod control_plane;
mod files;
mod instances;
mod link;
mod probes;
mod sockets;
mod watch;
mod wishes;

use control_plane::ControlPlane;
use files::Helped;
use link::Link;
use watch::Look;

use crate::embedded;

/// Most bytes of a file that is kept; a configuration is the largest.
const KEPT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What the keeper told us when we started.
#[derive(Clone, Debug)]
struct Birth {
    generation: u32,
    keeper_pid: u32,
    /// In seconds of Unix time.
    keeper_started_at: u64,
}

/// Where the configuration in force came from.
#[derive(Debug)]
struct Start {
    file: PathBuf,
    loaded: Loaded,
    /// Why it is the remembered one: what is wrong with the file.
    file_errors: Option<String>,
    /// Every file it was read from, or should have been.
    seen: BTreeMap<PathBuf, Look>,
}

/// Serves traffic for the keeper that started it.
#[derive(clap::Args)]
pub(crate) struct Worker {
    /// Configuration file, as an absolute path.
    file: PathBuf,
}

impl Worker {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        run(&self.file)
    }
}

/// Serves until the keeper ends it.
fn run(file: &Path) -> anyhow::Result<ExitCode> {
    let number = std::env::var_os(evergate_keeper::LINK_VARIABLE);
    let socket = number.as_deref().and_then(OsStr::to_str).and_then(|text| text.parse().ok());
    let Some(socket) = socket else {
        bail!("`evergate worker` is started by `evergate run`; start that instead");
    };
    let socket: OwnedFd = inherited::take(socket).context("the link to the keeper is not open")?;
    let mut link = Link::new(socket);
    let (birth, mut kept) = welcome(&mut link)?;
    // Without it there is only less room for connections.
    let _ = rlimit::raise_files();

    let now = clock::unix_seconds();
    let tickets = kept.remove(KEPT_TICKETS).and_then(|bytes| Tickets::taken_over(&bytes));
    let tickets = tickets.map_or_else(|| Tickets::new(now), Ok)?;
    let start = match load(file, kept.remove(KEPT_CONFIG), &mut link) {
        Ok(start) => start,
        Err(message) => return hopeless(&link, message),
    };
    embedded::install();
    if privilege::is_root() {
        name_files(&mut link, &start)?;
    }
    if let Err(error) = drop_rights(&start.loaded.config, birth.generation) {
        return hopeless(&link, format!("{error:#}"));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match ControlPlane::start(link, birth, start, tickets).await? {
            Ok(control) => control.run().await,
            Err(refused) => return hopeless(&refused.link, refused.message),
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// The keeper's first message, and what earlier workers had it keep, by name.
fn welcome(link: &mut Link) -> anyhow::Result<(Birth, BTreeMap<String, Vec<u8>>)> {
    let (message, fds) = link.receive().context("the keeper says nothing")?;
    let ToWorker::Welcome { protocol, generation, kept, keeper_pid, started_at } = message else {
        bail!("the keeper's first message is no welcome");
    };
    if protocol != PROTOCOL {
        bail!("the keeper speaks protocol {protocol}, this worker {PROTOCOL}");
    }
    // What cannot be read is made anew.
    let kept = kept.into_iter().zip(fds);
    let kept =
        kept.filter_map(|(name, file)| Some((name, memfd::read(file, KEPT_BYTES_MAX).ok()?)));
    let kept = kept.collect();
    link.send(
        &ToKeeper::Hello { protocol: PROTOCOL, version: env!("CARGO_PKG_VERSION").to_owned() },
        &[],
    )?;
    Ok((Birth { generation, keeper_pid, keeper_started_at: started_at }, kept))
}

/// The configuration in the file; or, if that is bad, the one an earlier worker applied, so that a
/// crash never makes a bad edit matter.
fn load(file: &Path, remembered: Option<Vec<u8>>, link: &mut Link) -> Result<Start, String> {
    let files = Helped::new(link);
    let outcome = load_with(file, &files);
    let outcome = outcome.and_then(|loaded| match embedded::refusals(&loaded.config) {
        refusals if refusals.is_empty() => Ok(loaded),
        refusals => Err(refusals),
    });
    let (seen, file) = (files.into_asked(), file.to_owned());
    match outcome {
        Ok(loaded) => Ok(Start { file, loaded, file_errors: None, seen }),
        Err(errors) => {
            let errors = render(&errors, false);
            match remembered.map(|blob| recall(&blob)) {
                Some(Ok(loaded)) => Ok(Start { file, loaded, file_errors: Some(errors), seen }),
                Some(Err(_)) | None => Err(errors),
            }
        }
    }
}

/// Tells the keeper which files outside its directory the configuration names, so that a reload
/// can read them when we may not any more.
fn name_files(link: &mut Link, start: &Start) -> io::Result<()> {
    /// Paths in one message; one path has up to 4 KiB.
    const PATHS_MAX: usize = 16;
    let directory = start.file.parent().unwrap_or(Path::new("/"));
    let outside =
        start.seen.keys().filter(|path| path.is_absolute() && !path.starts_with(directory));
    let paths: Vec<String> = outside.filter_map(|path| path.to_str().map(str::to_owned)).collect();
    paths.chunks(PATHS_MAX).try_for_each(|paths| link.name_files(paths.to_vec()))
}

/// Says why there is no point in starting again, and ends.
fn hopeless(link: &Link, message: String) -> anyhow::Result<ExitCode> {
    link.send(&ToKeeper::Hopeless { message }, &[])?;
    Ok(ExitCode::from(evergate_keeper::HOPELESS_STATUS as u8))
}

/// Becomes `node.user` if we are root, and gives up every way to gain rights again.
fn drop_rights(config: &Config, generation: u32) -> anyhow::Result<()> {
    let user = &config.node.user;
    if privilege::is_root() {
        let user_ids = match privilege::user(user) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                bail!("node.user: there is no user `{user}` in /etc/passwd; name one that exists")
            }
            other => other.with_context(|| format!("cannot look up the user `{user}`"))?,
        };
        if !config.acme.is_empty()
            && let Err(error) = prepare_root(&config.node.state_dir, Some(&user_ids))
            // Whoever starts it for the first time can mend it; later it is told in an event.
            && generation == 1
        {
            bail!("evergate: certificates cannot be kept: {error}");
        }
        privilege::become_user(&user_ids)
            .with_context(|| format!("cannot become the user `{user}`"))?;
        privilege::set_dumpable(Dumpable::No).context("cannot forbid core dumps")?;
    }
    privilege::no_new_privileges().context("cannot give up new privileges")
}
