//! A keeper in a process of its own, and a test in the place of its worker.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use evergate_control::link::{
    self, App, Deploy, Desired, Happening, Instance, NodeNews, Observed, PROTOCOL, Role,
    StandbyNews, ToKeeper, ToWorker, UpgradeOrder, Verb,
};
use evergate_core::supervise::worker;
use evergate_core::time::Instant;
use evergate_core::upgrade;
use evergate_keeper::{Options, Outcome as End, Resuming, resume, run};
use evergate_sys::clock;
use evergate_sys::seqpacket::{self, Received};
use evergate_sys::signal::{self, Signal};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::execs;

pub(crate) use crate::puppeteer::Worker;
pub(crate) use crate::wishes::{Settled, all_ready, app, apps, listener};

/// Longest wait for anything; a test fails past it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// How fast the keeper is: as in production, or with short waits.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// The default policies.
    Production,
    /// A worker is always replaced at once; one that must go is killed early, and so is an app.
    Quick,
    /// The same, and a worker must be ready at once.
    Impatient,
}

/// The part of the test binary that is the keeper.
pub(crate) fn run_keeper(arguments: &[String], resuming: Option<Resuming>) -> ExitCode {
    let [pace, program, directory, ..] = arguments else { panic!("{arguments:?}") };
    let mut worker_policy = worker::Policy::default();
    let mut upgrade_policy = upgrade::Policy::default();
    if pace == "impatient" {
        // Whoever plays both workers has to keep up with it, also when every core is busy.
        let soon = Duration::from_secs(3);
        worker_policy.ready_within = soon;
        upgrade_policy = upgrade::Policy {
            check_within: soon,
            load_within: soon,
            activate_within: soon,
            probe_within: soon,
            release_within: soon,
            acquire_within: soon,
            ..upgrade_policy
        };
    }
    if pace != "production" {
        worker_policy.stable_after = Duration::ZERO;
        worker_policy.margin = Duration::from_millis(100);
        worker_policy.cap = Duration::from_millis(50);
    }
    let options = Options {
        program: program.into(),
        args: vec!["run-puppet".into(), format!("{directory}/test.sock").into()],
        config_dir: directory.into(),
        worker_user: None,
        worker_policy,
        upgrade_policy,
    };
    let outcome = match resuming {
        Some(resuming) => {
            if execs::fails() {
                return ExitCode::FAILURE;
            }
            let options = resuming.options().unwrap();
            resume(Options { worker_policy, upgrade_policy, ..options }, resuming)
        }
        None => run(options),
    };
    match outcome {
        Ok(End::Stopped) => ExitCode::SUCCESS,
        Ok(End::Hopeless) => ExitCode::from(1),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(1)
        }
    }
}

/// A running keeper.
pub(crate) struct Stage {
    keeper: Child,
    entrance: OwnedFd,
    directory: tempfile::TempDir,
}

impl Stage {
    pub(crate) fn new(pace: Pace) -> Self {
        Self::with(pace, std::env::current_exe().unwrap(), &[])
    }

    /// With another program as the worker, and more in the environment.
    pub(crate) fn with(pace: Pace, program: PathBuf, env: &[(&str, String)]) -> Self {
        Self::launch(&[], pace, program, env)
    }

    /// With words before the command line of the keeper: a program that becomes it.
    pub(crate) fn behind(words: &[String], pace: Pace) -> Self {
        Self::launch(words, pace, std::env::current_exe().unwrap(), &[])
    }

    fn launch(words: &[String], pace: Pace, program: PathBuf, env: &[(&str, String)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let entrance = rustix::net::socket_with(family, kind, flags, None).unwrap();
        let address = SocketAddrUnix::new(directory.path().join("test.sock")).unwrap();
        rustix::net::bind(&entrance, &address).unwrap();
        rustix::net::listen(&entrance, 8).unwrap();
        let own = std::env::current_exe().unwrap().into_os_string();
        let mut line = words.iter().map(OsString::from).chain([own]);
        let keeper = Command::new(line.next().expect("the keeper at least"))
            .args(line)
            .arg("run-keeper")
            .arg(match pace {
                Pace::Production => "production",
                Pace::Quick => "quick",
                Pace::Impatient => "impatient",
            })
            .arg(program)
            .arg(directory.path())
            .envs(env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stderr(File::create(directory.path().join("stderr")).unwrap())
            .spawn()
            .unwrap();
        Self { keeper, entrance, directory }
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn keeper_pid(&self) -> u32 {
        self.keeper.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        signal::send(self.keeper.id(), signal).unwrap();
    }

    /// What the keeper wrote for the operator.
    pub(crate) fn stderr(&self) -> String {
        let text = fs::read_to_string(self.directory.path().join("stderr")).unwrap();
        // What a keeper that was killed has left on this machine is not this one's doing.
        let is_ours = |line: &&str| !line.contains("of an earlier keeper");
        text.split_inclusive('\n').filter(is_ours).collect()
    }

    /// The next worker, greeted.
    pub(crate) fn worker(&self) -> Worker {
        self.await_event(&self.entrance);
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::accept_with(&self.entrance, flags).unwrap();
        let mut worker = Worker {
            socket,
            pid: 0,
            generation: 0,
            kept: BTreeMap::new(),
            probes: true,
            news: RefCell::default(),
            outputs: RefCell::default(),
            node: RefCell::default(),
            standby: RefCell::default(),
            inbox: RefCell::default(),
            role: Role::Primary,
        };
        let (pid, _) = self.packet(&worker);
        worker.pid = String::from_utf8(pid).unwrap().parse().unwrap();
        let (welcome, fds) = self.hear(&worker);
        let ToWorker::Welcome { protocol: PROTOCOL, generation, kept, keeper_pid, role, .. } =
            welcome
        else {
            panic!("{welcome:?}");
        };
        assert_eq!((keeper_pid, fds.len()), (self.keeper.id(), kept.len()));
        worker.generation = generation;
        worker.role = role;
        worker.kept = kept.into_iter().zip(fds).collect();
        worker.say(&ToKeeper::Hello { protocol: PROTOCOL, version: "test".into() });
        worker
    }

    /// The next message of the keeper.
    pub(crate) fn hear(&self, worker: &Worker) -> (ToWorker, Vec<OwnedFd>) {
        let put_aside = worker.inbox.borrow_mut().pop_front();
        let deadline = clock::now() + PATIENCE;
        put_aside.unwrap_or_else(|| {
            loop {
                self.check(deadline);
                match self.receive(worker) {
                    (ToWorker::Node(news), _) => *worker.node.borrow_mut() = news,
                    (ToWorker::Standby(news), _) => *worker.standby.borrow_mut() = news,
                    other => return other,
                }
            }
        })
    }

    /// What the keeper answers to an order to upgrade.
    pub(crate) fn upgrade(
        &self,
        worker: &Worker,
        order: &UpgradeOrder,
    ) -> Result<Vec<String>, String> {
        worker.say(&ToKeeper::Upgrade { request: 8, order: order.clone() });
        loop {
            if let (ToWorker::Heard { request: 8, error, plan }, _) = self.next(worker) {
                return error.map_or(Ok(plan), Err);
            }
        }
    }

    /// Waits until keeper and workers are as `is_right` says; everything else is put aside.
    pub(crate) fn await_node(
        &self,
        worker: &Worker,
        is_right: impl Fn(&NodeNews) -> bool,
    ) -> NodeNews {
        let deadline = clock::now() + PATIENCE;
        loop {
            let node = worker.node.borrow().clone();
            if is_right(&node) {
                return node;
            }
            self.check(deadline);
            match self.receive(worker) {
                (ToWorker::Node(news), _) => *worker.node.borrow_mut() = news,
                (ToWorker::Standby(news), _) => *worker.standby.borrow_mut() = news,
                other => worker.inbox.borrow_mut().push_back(other),
            }
        }
    }

    /// Waits until virtual addresses are as `is_right` says; everything else is put aside.
    pub(crate) fn await_standby(
        &self,
        worker: &Worker,
        is_right: impl Fn(&StandbyNews) -> bool,
    ) -> StandbyNews {
        let deadline = clock::now() + PATIENCE;
        loop {
            let news = worker.standby.borrow().clone();
            if is_right(&news) {
                return news;
            }
            assert!(clock::now() < deadline, "it is {news:?}; the keeper said: {}", self.stderr());
            match self.receive(worker) {
                (ToWorker::Node(news), _) => *worker.node.borrow_mut() = news,
                (ToWorker::Standby(news), _) => *worker.standby.borrow_mut() = news,
                other => worker.inbox.borrow_mut().push_back(other),
            }
        }
    }

    /// There may be news all the time that are not what is waited for.
    fn check(&self, deadline: Instant) {
        assert!(clock::now() < deadline, "waited too long; the keeper said: {}", self.stderr());
    }

    fn receive(&self, worker: &Worker) -> (ToWorker, Vec<OwnedFd>) {
        let (packet, fds) = self.packet(worker);
        (link::decode(&packet).unwrap(), fds)
    }

    /// What comes of a wish: what became of each listener, the numbers of its sockets, and the apps.
    pub(crate) fn desire(&self, worker: &Worker, desired: &Desired) -> Settled {
        worker.say(&ToKeeper::Desired(desired.clone()));
        let mut settled = Settled::default();
        loop {
            match self.next(worker) {
                (ToWorker::Listening { listener, address, outcome }, fds) => {
                    let wish = &desired.listeners[settled.listening.len()];
                    assert_eq!((&listener, &address), (&wish.name, &wish.address));
                    // By number, and closed at once: what stays open is the keeper's doing.
                    let inodes = fds.iter().map(inode).collect();
                    settled.listening.push((outcome, inodes));
                }
                (ToWorker::Observed(observed), _) => {
                    settled.instances = observed.instances;
                    settled.deploys = observed.deploys;
                }
                (ToWorker::Settled, _) => return settled,
                // Somebody is gone who was told to go; a watchdog asks as it likes.
                (ToWorker::Gone { .. } | ToWorker::Ping { .. }, _) => {}
                (other, _) => panic!("{other:?}"),
            }
        }
    }

    /// Runs these apps and no others, until every instance is ready.
    pub(crate) fn run(&self, worker: &Worker, wanted: &[App]) -> Vec<Instance> {
        let settled = self.desire(worker, &apps(wanted)).instances;
        let count: usize = wanted.iter().map(|app| usize::from(app.instances)).sum();
        let is_right = |all: &[Instance]| all.len() == count && all_ready(all);
        if is_right(&settled) { settled } else { self.observe(worker, is_right) }
    }

    /// Waits until the instances are as `is_right` says.
    pub(crate) fn observe(
        &self,
        worker: &Worker,
        is_right: impl Fn(&[Instance]) -> bool,
    ) -> Vec<Instance> {
        loop {
            if let (ToWorker::Observed(Observed { instances, .. }), _) = self.next(worker)
                && is_right(&instances)
            {
                return instances;
            }
        }
    }

    /// Waits until a deploy of the only app is as `is_right` says.
    pub(crate) fn observe_deploy(
        &self,
        worker: &Worker,
        is_right: impl Fn(&Deploy) -> bool,
    ) -> (Deploy, Vec<Instance>) {
        loop {
            if let (ToWorker::Observed(mut observed), _) = self.next(worker)
                && observed.deploys.first().is_some_and(&is_right)
            {
                return (observed.deploys.remove(0), observed.instances);
            }
        }
    }

    /// What the keeper answers to a wish.
    pub(crate) fn wish(
        &self,
        worker: &Worker,
        (app, instance): (&str, Option<u16>),
        verb: Verb,
    ) -> Result<Vec<String>, String> {
        worker.say(&ToKeeper::Wish { request: 7, app: app.into(), instance, verb });
        loop {
            if let (ToWorker::Heard { request: 7, error, plan }, _) = self.next(worker) {
                return error.map_or(Ok(plan), Err);
            }
        }
    }

    /// Waits for an event of this kind.
    pub(crate) fn await_event_of(&self, worker: &Worker, kind: &str) -> Happening {
        loop {
            let found = worker.news.borrow().iter().position(|news| news.kind == kind);
            if let Some(found) = found {
                return worker.news.borrow_mut().remove(found);
            }
            self.sort(worker);
        }
    }

    /// The next message of the keeper but for what is put aside.
    pub(crate) fn next(&self, worker: &Worker) -> (ToWorker, Vec<OwnedFd>) {
        loop {
            if let Some(message) = self.sort(worker) {
                return message;
            }
        }
    }

    /// The next message of the keeper. What runs print and what happens is put aside; whatever
    /// starts passes its probe, unless the worker does not probe.
    fn sort(&self, worker: &Worker) -> Option<(ToWorker, Vec<OwnedFd>)> {
        let (message, fds) = self.hear(worker);
        self.put_aside(worker, message, fds)
    }

    fn put_aside(
        &self,
        worker: &Worker,
        message: ToWorker,
        mut fds: Vec<OwnedFd>,
    ) -> Option<(ToWorker, Vec<OwnedFd>)> {
        match message {
            ToWorker::Happened(news) => worker.news.borrow_mut().push(news),
            ToWorker::Output { run } => {
                let end = fds.pop().expect("the end of a pipe");
                worker.outputs.borrow_mut().insert(run, end);
            }
            ToWorker::Observed(observed) => {
                if worker.probes {
                    worker.pass(&observed.instances);
                }
                return Some((ToWorker::Observed(observed), fds));
            }
            other => return Some((other, fds)),
        }
        None
    }

    /// Waits for the keeper to end.
    pub(crate) fn end(mut self) -> (ExitStatus, String) {
        (self.await_end(), self.stderr())
    }

    /// The same, but what it left behind stays.
    pub(crate) fn await_end(&mut self) -> ExitStatus {
        self.await_true(|stage| stage.keeper.try_wait().unwrap())
    }

    /// Waits until the keeper has let go of a child.
    pub(crate) fn await_reaped(&mut self, pid: u32) {
        let path = format!("/proc/{pid}");
        self.await_true(|_| (!Path::new(&path).exists()).then_some(()));
    }

    /// Waits until `look` finds something. For what has no event to wait for.
    pub(crate) fn await_true<T>(&mut self, look: impl Fn(&mut Self) -> Option<T>) -> T {
        let deadline = clock::now() + PATIENCE;
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            assert!(clock::now() < deadline, "waited too long; the keeper said: {}", self.stderr());
            std::thread::yield_now();
        }
    }

    fn packet(&self, worker: &Worker) -> (Vec<u8>, Vec<OwnedFd>) {
        self.await_event(&worker.socket);
        let (mut buffer, mut fds) = (vec![0; 256 * 1024], Vec::new());
        match seqpacket::recv(&worker.socket, &mut buffer, &mut fds).unwrap() {
            Received::Packet(length) => (buffer[..length].to_vec(), fds),
            Received::Closed => panic!("the worker is gone; the keeper said: {}", self.stderr()),
        }
    }

    fn await_event(&self, fd: impl AsFd) {
        let mut waiting = [PollFd::new(&fd, PollFlags::IN)];
        let count = poll(&mut waiting, Some(&PATIENCE.try_into().unwrap())).unwrap();
        assert!(count > 0, "nothing within {PATIENCE:?}; the keeper said: {}", self.stderr());
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Twice is meant: the second signal hurries. Two that are sent together arrive as one.
        let deadline = clock::now() + PATIENCE;
        while self.keeper.try_wait().is_ok_and(|end| end.is_none()) && clock::now() < deadline {
            let _ = signal::send(self.keeper.id(), Signal::Terminate);
            std::thread::yield_now();
        }
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

/// Connects, which works as long as somebody listens, whether or not anybody accepts.
pub(crate) fn knock(address: SocketAddr) {
    TcpStream::connect_timeout(&address, PATIENCE).unwrap();
}

/// Whether there is such a process, and it is no zombie.
pub(crate) fn lives(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

fn inode(fd: &OwnedFd) -> u64 {
    rustix::fs::fstat(fd).unwrap().st_ino
}
