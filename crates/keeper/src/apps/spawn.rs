//! Starting a run: where it is to listen, as whom it runs, what it is told, and where what it
//! prints goes.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::rc::Rc;

use evergate_control::link::{App, ReadyBy, Socket};
use evergate_core::supervise::fleet::{Run, SpawnFault};
use evergate_core::time::Instant;
use evergate_sys::cgroup::{Cgroups, Group};
use evergate_sys::child::{self, SpawnError, Spec};
use evergate_sys::limits::Plan;
use evergate_sys::listen::{self, BACKLOG, Sharing};
use evergate_sys::privilege::{self, User};
use evergate_sys::tree::{self, Tree};

use super::folder::{self, Folder};
use super::limits;
use super::notices::Ears;
use super::output::Pipe;
use super::process::{Place, Process, Talk};
use super::revision::Revision;
use super::users::Users;
use crate::LINK_VARIABLE;
use crate::notify;
use crate::ports::Ports;

/// The number under which a run inherits its listening socket: the first after standard error.
const LISTEN_FD: i32 = 3;
/// Variables of ours, or of whoever started us, that mean nothing or something else to an app.
const WITHHELD: [&str; 10] = [
    LINK_VARIABLE,
    notify::SOCKET_VARIABLE,
    notify::WATCHDOG_VARIABLES[0],
    notify::WATCHDOG_VARIABLES[1],
    "PORT",
    "HOST",
    "SOCKET",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
];

/// What runs are made of that they share.
#[derive(Debug)]
pub(super) struct Supplies {
    pub(super) ports: Ports,
    pub(super) users: Users,
    pub(super) ears: Ears,
    /// Limit on open files of a run that has none of its own.
    pub(super) files_max: u64,
    /// Where Unix sockets may be.
    pub(super) run_dir: Option<String>,
    pub(super) cgroups: Cgroups,
    /// What went wrong with control groups and is still to be told.
    pub(super) problems: Vec<(Run, String)>,
}

/// Variables to set, or without a value to remove.
type Environment = Vec<(OsString, Option<OsString>)>;

/// Why there is no process.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) kind: SpawnFault,
    /// What, why, and how to mend it.
    pub(super) why: String,
}

impl Fault {
    pub(super) fn lasting(why: String) -> Self {
        Self { kind: SpawnFault::Lasting, why }
    }

    pub(super) fn passing(why: String) -> Self {
        Self { kind: SpawnFault::Passing, why }
    }

    /// What `error` means for an `app` that runs as `user`, if that is not who we are.
    fn of_spawn(app: &str, user: Option<&User>, error: &SpawnError) -> Self {
        let key = match error {
            SpawnError::Malformed(_)
            | SpawnError::NotInPath(_)
            | SpawnError::Interpreter(_)
            | SpawnError::Program(..)
            | SpawnError::Slow(_) => Some("run"),
            SpawnError::Cwd(..) => Some("cwd"),
            SpawnError::User(..) => Some("user"),
            SpawnError::Fork(_) | SpawnError::Setup(..) | SpawnError::Cgroup(_) => None,
        };
        // What is not there or not allowed for it may well be so for the operator.
        let user = user.filter(|user| user.uid != privilege::current_uid());
        match (key, user) {
            (Some(key @ ("run" | "cwd")), Some(user)) if error.is_lasting() => {
                let name = privilege::name(user.uid);
                Self::lasting(format!("{error} (as user {name}); mend app.{app}.{key} or .user"))
            }
            (Some(key), _) if error.is_lasting() => {
                Self::lasting(format!("{error}; mend app.{app}.{key}"))
            }
            (Some(_) | None, _) if error.is_lasting() => Self::lasting(error.to_string()),
            (Some(_) | None, _) => Self::passing(error.to_string()),
        }
    }
}

/// Starts a process of `revision`; `app` is what the app goes by now. While that waits for its
/// program, `meanwhile` is called again and again.
pub(super) fn start(
    now: Instant,
    run: &Run,
    revision: &Rc<Revision>,
    app: &App,
    supplies: &mut Supplies,
    meanwhile: &mut dyn FnMut(),
) -> Result<Process, Fault> {
    let user = supplies.users.find(revision.app.user.as_deref());
    let user = user.map_err(|why| Fault::lasting(format!("{why}; see app.{}.user", run.app)))?;
    let place = match revision.app.socket {
        Socket::Port | Socket::Inherit => Place::Port(port(now, app, &mut supplies.ports)?),
        Socket::Unix => Place::Unix(folder(run, user.as_ref(), supplies)?),
    };
    let launched = talk(run, revision, app, user.as_ref(), supplies).and_then(|talk| {
        let tree = plant(run, revision, user, (&place, &talk), supplies, meanwhile)?;
        Ok((tree, talk))
    });
    match launched {
        Ok((tree, talk)) => Ok(Process::new(tree, Rc::clone(revision), place, talk)),
        Err(fault) => {
            place.leave(now, &mut supplies.ports);
            Err(fault)
        }
    }
}

fn port(now: Instant, app: &App, ports: &mut Ports) -> Result<u16, Fault> {
    let is_free = |port| listen::probe(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).is_ok();
    ports.take(app.ports, now, is_free).ok_or_else(|| {
        let (first, last) = app.ports;
        Fault::passing(format!("no port is free from {first} to {last}"))
    })
}

fn folder(run: &Run, user: Option<&User>, supplies: &Supplies) -> Result<Folder, Fault> {
    Folder::new(run_dir(supplies)?, run, user, supplies.users.worker()).map_err(Fault::lasting)
}

fn talk(
    run: &Run,
    revision: &Revision,
    app: &App,
    user: Option<&User>,
    supplies: &Supplies,
) -> Result<Talk, Fault> {
    let pipe = revision.app.keeps_output.then(Pipe::new).transpose().map_err(unprepared)?;
    let notify = match app.ready.by {
        ReadyBy::Notify => {
            let socket = supplies.ears.open(run_dir(supplies)?, run, user);
            Some(socket.map_err(Fault::lasting)?)
        }
        ReadyBy::Probe | ReadyBy::Nothing => None,
    };
    Ok(Talk { pipe, notify })
}

fn run_dir(supplies: &Supplies) -> Result<&str, Fault> {
    let unknown = || Fault::lasting("no directory is known for its socket".to_owned());
    supplies.run_dir.as_deref().ok_or_else(unknown)
}

/// Starts the first process of a run, in a control group of its own if there can be one.
fn plant(
    run: &Run,
    revision: &Revision,
    user: Option<User>,
    told: (&Place, &Talk),
    supplies: &mut Supplies,
    meanwhile: &mut dyn FnMut(),
) -> Result<Tree, Fault> {
    let name = folder::name(run);
    let token = format!("{}-{name}", std::process::id());
    let plan = limits::plan(&revision.app, supplies.cgroups.support(), &supplies.users);
    let made = supplies.cgroups.make(&name, &plan.bounds);
    supplies.problems.extend(made.problems.into_iter().map(|problem| (run.clone(), problem)));
    let mut env = environment(run, revision, told);
    env.push((tree::VARIABLE.into(), Some(token.clone().into())));
    let bounds = (made.group.as_ref(), &plan);
    match launch(run, revision, user, (told, env, bounds), supplies, meanwhile) {
        Ok(pid) => Ok(Tree::new(pid, token, made.group)),
        Err(fault) => {
            made.group.into_iter().for_each(|group| supplies.cgroups.retire(group));
            Err(fault)
        }
    }
}

fn launch(
    run: &Run,
    revision: &Revision,
    user: Option<User>,
    ((place, talk), env, (group, plan)): ((&Place, &Talk), Environment, (Option<&Group>, &Plan)),
    supplies: &Supplies,
    meanwhile: &mut dyn FnMut(),
) -> Result<u32, Fault> {
    let Some((written, args)) = revision.app.run.split_first() else {
        let why = format!("cannot run: no program is given; mend app.{}.run", run.app);
        return Err(Fault::lasting(why));
    };
    let nowhere = File::options().write(true).open("/dev/null").map_err(unprepared)?;
    let listener = match (revision.app.socket, place) {
        (Socket::Inherit, Place::Port(port)) => Some(listener(*port).map_err(unprepared)?),
        (Socket::Inherit | Socket::Port | Socket::Unix, _) => None,
    };
    let pinned = revision.pinned();
    let cwd = revision.app.cwd.as_ref().map(PathBuf::from);
    let spec = Spec {
        program: pinned.map_or(written.into(), |pinned| pinned.program.clone().into()),
        image: None,
        argv0: Some(written.into()),
        args: args.iter().map(Into::into).collect(),
        env,
        listen_pid: listener.is_some(),
        cwd: pinned.map_or(cwd, |pinned| pinned.cwd.clone()),
        stdin: None,
        stdout: Some(talk.pipe.as_ref().map_or(nowhere.as_fd(), Pipe::writer)),
        stderr: None,
        fds: listener.iter().map(|listener| (listener.as_fd(), LISTEN_FD)).collect(),
        cgroup: group.and_then(Group::home),
        cgroups: group.into_iter().flat_map(Group::procs).collect(),
        user,
        no_new_privileges: true,
        umask: revision.app.umask,
        files_max: Some(plan.files_max.unwrap_or(supplies.files_max)),
        data_bytes_max: plan.data_bytes_max,
        tasks_max: plan.tasks_max,
    };
    child::spawn_while(&spec, meanwhile)
        .map_err(|error| Fault::of_spawn(&run.app, spec.user.as_ref(), &error))
}

fn unprepared(error: io::Error) -> Fault {
    Fault::passing(format!("cannot prepare its start: {error}"))
}

/// A socket as sd_listen_fds(3) has it: it blocks.
fn listener(port: u16) -> io::Result<TcpListener> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let listener = listen::tcp(address, Sharing::Alone, BACKLOG)?;
    listener.set_nonblocking(false)?;
    Ok(listener)
}

/// Every variable that is not as the keeper has it.
fn environment(run: &Run, revision: &Revision, (place, talk): (&Place, &Talk)) -> Environment {
    let withheld = WITHHELD.map(|name| (OsString::from(name), None));
    let set = |name: &str, value: String| (OsString::from(name), Some(OsString::from(value)));
    let given = revision.app.env.iter().map(|(name, value)| set(name, value.clone()));
    let mut variables: Vec<_> = withheld.into_iter().chain(given).collect();
    variables.extend([
        set("APP", run.app.clone()),
        set("INSTANCE", run.number.to_string()),
        set("GENERATION", run.generation.to_string()),
    ]);
    match place {
        Place::Port(port) => variables
            .extend([set("PORT", port.to_string()), set("HOST", Ipv4Addr::LOCALHOST.to_string())]),
        Place::Unix(folder) => variables.push(set("SOCKET", folder.socket().to_owned())),
    }
    let notify = talk.notify.as_ref().map(|socket| Some(socket.path().into()));
    variables.extend(notify.map(|path| (notify::SOCKET_VARIABLE.into(), path)));
    match revision.app.socket {
        Socket::Inherit => variables
            .extend([set("LISTEN_FDS", "1".to_owned()), set("LISTEN_FDNAMES", "http".to_owned())]),
        Socket::Port | Socket::Unix => {}
    }
    variables
}
