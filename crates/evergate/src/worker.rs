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
use evergate_config::{Changes, Config, Loaded, load_with, recall, render};
use evergate_control::link::{
    KEPT_BASE, KEPT_CONFIG, KEPT_HISTORY, KEPT_STATE, KEPT_TICKETS, PROTOCOL, PROTOCOL_MIN, Role,
    ToKeeper, ToWorker, TrialNews, TrialOrder,
};
use evergate_pki::Tickets;
use evergate_sys::privilege::{self, Dumpable, User};
use evergate_sys::{clock, inherited, memfd, process, rlimit};

mod admin;
mod answers;
mod apps;
mod carried;
mod certificates;
mod configurations;
mod control_plane;
mod files;
mod history;
mod instances;
mod journal;
mod kept_changes;
mod link;
mod log_dir;
mod output;
mod probes;
mod role;
mod sockets;
mod standby;
mod stdout;
mod upgrades;
mod users;
mod watch;
mod whole_file;
mod wishes;

use configurations::Configurations;
use control_plane::ControlPlane;
use files::Helped;
use journal::Journal;
use kept_changes::KeptChanges;
use link::Link;
use users::Users;
use watch::Look;

use crate::{embedded, fault};

/// Most bytes of a file that is kept; a configuration is the largest.
const KEPT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What the keeper told us when we started.
#[derive(Clone, Debug)]
struct Birth {
    generation: u32,
    /// Whether no worker before has put a configuration in force. Whoever starts the node can mend
    /// what is in the way then; later it is better to serve the rest.
    is_first: bool,
    keeper_pid: u32,
    /// In seconds of Unix time.
    keeper_started_at: u64,
    role: Role,
    /// How a trial of a configuration stood; nothing if the keeper does not know of trials.
    trial: Option<TrialNews>,
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
    /// What an earlier worker knew.
    state: Option<Vec<u8>>,
    /// What tells whether the file has changed since, or its errors have
    /// ([`evergate_config::Texts::mark`]).
    mark: u64,
    /// Whether an earlier configuration is used in place of what the file says.
    is_held: bool,
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
    // Before Linux 6.14 a program that is started from an open file is named after its number.
    let _ = process::set_name("evergate");
    let number = std::env::var_os(evergate_keeper::LINK_VARIABLE);
    let socket = number.as_deref().and_then(OsStr::to_str).and_then(|text| text.parse().ok());
    let Some(socket) = socket else {
        bail!("`evergate worker` is started by `evergate run`; start that instead");
    };
    let socket: OwnedFd = inherited::take(socket).context("the link to the keeper is not open")?;
    let mut link = Link::new(socket);
    let (birth, mut kept) = welcome(&mut link)?;
    fault::in_welcome(birth.role);
    // Without it there is only less room for connections.
    let _ = rlimit::raise_files();

    let now = clock::unix_seconds();
    let tickets = kept.remove(KEPT_TICKETS).and_then(|bytes| Tickets::taken_over(&bytes));
    let tickets = tickets.map_or_else(|| Tickets::new(now), Ok)?;
    let remembered = kept.remove(KEPT_CONFIG);
    let loaded = match (birth.role, remembered.as_deref()) {
        (Role::Candidate, Some(remembered)) => take_up(file, remembered),
        (Role::Candidate, None) => load(file, None, &mut link),
        (Role::Primary, remembered) => load(file, remembered, &mut link),
    };
    let mut start = match loaded {
        Ok(start) => start,
        Err(message) => return hopeless(&link, message),
    };
    start.state = kept.remove(KEPT_STATE);
    embedded::install();
    let users = Users::of(&start.loaded.config);
    let refusals = users.refusals(&start.loaded.config);
    if !refusals.is_empty() && birth.is_first {
        return hopeless(&link, refusals.join("\n"));
    }
    if privilege::is_root() {
        name(&mut link, &start, &users)?;
    }
    let journal = Journal::of(&start.loaded.config.node.state_dir);
    let has_journal = journal.may_be_there();
    let configurations = Configurations::new(&start.loaded.config.node.state_dir);
    let has_history = configurations.may_be_there();
    if let Err(error) = drop_rights(&start.loaded.config, birth.is_first) {
        return hopeless(&link, format!("{error:#}"));
    }
    let journaled = if has_journal { journal.read() } else { Ok(Changes::default()) };
    let mut changes = KeptChanges::new(journal);
    changes.take_up(journaled, &mut start, remembered.as_deref(), &mut link);
    drop(remembered);
    let configurations =
        choose(configurations, &mut kept, has_history, &birth, &mut start, &mut link);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match ControlPlane::start(link, birth, start, (changes, configurations), users, tickets)
            .await?
        {
            Ok(control) => control.run().await,
            Err(refused) => return hopeless(&refused.link, refused.message),
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// The keeper's first message, and what earlier workers had it keep, by name.
fn welcome(link: &mut Link) -> anyhow::Result<(Birth, BTreeMap<String, Vec<u8>>)> {
    let (message, fds) = link.receive().context("the keeper says nothing")?;
    let ToWorker::Welcome { protocol, generation, kept, keeper_pid, started_at, role, trial } =
        message
    else {
        bail!("the keeper's first message is no welcome");
    };
    if !(PROTOCOL_MIN..=PROTOCOL).contains(&protocol) {
        bail!("the keeper speaks protocol {protocol}, this worker {PROTOCOL_MIN} to {PROTOCOL}");
    }
    // What cannot be read is made anew.
    let kept = kept.into_iter().zip(fds);
    let kept =
        kept.filter_map(|(name, file)| Some((name, memfd::read(file, KEPT_BYTES_MAX).ok()?)));
    let kept: BTreeMap<_, _> = kept.collect();
    let is_first = role == Role::Primary && !kept.contains_key(KEPT_CONFIG);
    link.send(&ToKeeper::Hello { protocol, version: env!("CARGO_PKG_VERSION").to_owned() }, &[])?;
    let keeper_started_at = started_at;
    Ok((Birth { generation, is_first, keeper_pid, keeper_started_at, role, trial }, kept))
}

/// The configuration in the file; or, if that is bad, the one an earlier worker applied, so that a
/// crash never makes a bad edit matter.
fn load(file: &Path, remembered: Option<&[u8]>, link: &mut Link) -> Result<Start, String> {
    let files = Helped::new(link);
    let outcome = load_with(file, &files).and_then(embedded::accepted);
    let (seen, file) = (files.into_asked(), file.to_owned());
    match outcome {
        Ok(loaded) => {
            let mark = loaded.texts().mark();
            let (file_errors, state, is_held) = (None, None, false);
            Ok(Start { file, loaded, file_errors, seen, state, mark, is_held })
        }
        Err(errors) => {
            let errors = render(&errors, false);
            match remembered.map(recall) {
                Some(Ok(loaded)) => {
                    let mark = configurations::mark_of_errors(&errors);
                    let (file_errors, state, is_held) = (Some(errors), None, false);
                    Ok(Start { file, loaded, file_errors, seen, state, mark, is_held })
                }
                Some(Err(_)) | None => Err(errors),
            }
        }
    }
}

/// The configuration that the worker beside us has in force, whatever the file says by now.
fn take_up(file: &Path, remembered: &[u8]) -> Result<Start, String> {
    let loaded = recall(remembered).map_err(|error| format!("evergate: {error}"))?;
    match embedded::refusals(&loaded.config) {
        refusals if refusals.is_empty() => {
            // How they look by now says nothing about what is in force.
            let seen = loaded.config.files.iter().map(|path| (path.clone(), None)).collect();
            let file = file.to_owned();
            let (file_errors, state, mark, is_held) = (None, None, 0, false);
            Ok(Start { file, loaded, file_errors, seen, state, mark, is_held })
        }
        refusals => Err(render(&refusals, false)),
    }
}

/// Takes up the configurations that were applied before, and decides with which one a primary worker
/// starts.
fn choose(
    mut configurations: Configurations,
    kept: &mut BTreeMap<String, Vec<u8>>,
    has_history: bool,
    birth: &Birth,
    start: &mut Start,
    link: &mut Link,
) -> Configurations {
    configurations.base = kept.remove(KEPT_BASE).filter(|bytes| !bytes.is_empty());
    configurations.take_up(kept.remove(KEPT_HISTORY).as_deref(), has_history);
    if birth.role == Role::Candidate {
        // It serves what the worker beside it has in force.
        configurations.started.order = birth.trial.as_ref().map(|_| TrialOrder::Known);
        return configurations;
    }
    let before = configurations.history.clone();
    configurations.choose(start, birth.trial.as_ref(), link);
    if configurations.history != before {
        // Now: whoever crashes before it is ready has been started once more all the same.
        configurations.write_now();
    }
    configurations
}

/// Tells the keeper which files outside its directory the configuration names, so that a reload
/// can read them when we may not any more, and whom apps run as.
fn name(link: &mut Link, start: &Start, users: &Users) -> io::Result<()> {
    /// Paths in one message; one path has up to 4 KiB.
    const PATHS_MAX: usize = 16;
    /// Users in one message.
    const USERS_MAX: usize = 256;
    let directory = start.file.parent().unwrap_or(Path::new("/"));
    let outside =
        start.seen.keys().filter(|path| path.is_absolute() && !path.starts_with(directory));
    let paths: Vec<String> = outside.filter_map(|path| path.to_str().map(str::to_owned)).collect();
    paths.chunks(PATHS_MAX).try_for_each(|paths| link.name(paths, &[]))?;
    users.names().chunks(USERS_MAX).try_for_each(|users| link.name(&[], users))
}

/// Says why there is no point in starting again, and ends.
fn hopeless(link: &Link, message: String) -> anyhow::Result<ExitCode> {
    link.send(&ToKeeper::Hopeless { message }, &[])?;
    Ok(ExitCode::from(evergate_keeper::HOPELESS_STATUS as u8))
}

/// Becomes `node.user` if we are root, and gives up every way to gain rights again.
fn drop_rights(config: &Config, is_first: bool) -> anyhow::Result<()> {
    let name = &config.node.user;
    if !privilege::is_root() {
        prepare_directories(config, None, is_first)?;
        return privilege::no_new_privileges().context("cannot give up new privileges");
    }
    let user = match privilege::user(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            bail!("node.user: there is no user `{name}` in /etc/passwd; name one that exists")
        }
        other => other.with_context(|| format!("cannot look up the user `{name}`"))?,
    };
    prepare_directories(config, Some(&user), is_first)?;
    privilege::become_user(&user).with_context(|| format!("cannot become the user `{name}`"))?;
    privilege::set_dumpable(Dumpable::No).context("cannot forbid core dumps")?;
    privilege::no_new_privileges().context("cannot give up new privileges")
}

/// Makes the directories that the user will write to. Whoever starts it for the first time can mend
/// what is wrong with them; later it is told in an event.
fn prepare_directories(config: &Config, user: Option<&User>, is_first: bool) -> anyhow::Result<()> {
    let certificates = match user {
        Some(_) if !config.acme.is_empty() => prepare_root(&config.node.state_dir, user)
            .map(drop)
            .map_err(|error| format!("certificates cannot be kept: {error}")),
        Some(_) | None => Ok(()),
    };
    if let Some(user) = user {
        // Whoever changes nothing through the API can do without.
        let _ = journal::prepare(&config.node.state_dir, user);
        let _ = configurations::prepare(&config.node.state_dir, user);
    }
    let output = log_dir::prepare(config, user);
    let failures: Vec<String> =
        [certificates, output].into_iter().filter_map(Result::err).collect();
    if is_first && !failures.is_empty() {
        bail!("evergate: {}", failures.join("\nevergate: "));
    }
    Ok(())
}
