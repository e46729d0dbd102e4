//! A test in the place of the keeper: it holds the sockets and starts workers, and each of them does
//! only what it is told.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, PipeWriter, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use evergate_control::link::{
    self, Address, Desired, KEPT_CONFIG, Outcome, PROTOCOL, Role, Run, ToKeeper, ToWorker,
};
use evergate_core::time::Instant;
use evergate_sys::seqpacket::{self, Received};
use evergate_sys::{clock, listen, memfd, wait};

/// Longest wait for anything; a test fails past it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);
const DATA_THREADS: u16 = 2;

/// What outlives workers.
pub(crate) struct Keeper {
    folder: tempfile::TempDir,
    web: Vec<TcpListener>,
    admin: UnixListener,
    kept: BTreeMap<String, OwnedFd>,
    /// What each worker shared last.
    shared: BTreeMap<u32, OwnedFd>,
    generation: u32,
    /// Why nothing can be listened on.
    in_the_way: Option<String>,
    /// Standard output of all workers.
    stdout: PipeWriter,
    logged: JoinHandle<Vec<String>>,
}

/// A worker, and our end of the link to it.
pub(crate) struct Worker {
    pub(crate) generation: u32,
    link: Option<OwnedFd>,
    process: Child,
}

impl Worker {
    /// What the kernel calls everything that it has open.
    pub(crate) fn open(&self) -> Vec<PathBuf> {
        let fds = fs::read_dir(format!("/proc/{}/fd", self.process.id())).unwrap();
        // One may be closed between two looks.
        fds.filter_map(|fd| fs::read_link(fd.unwrap().path()).ok()).collect()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Keeper {
    pub(crate) fn new() -> Self {
        // A worker that root started is `nobody`: it must be able to look inside.
        let permissions = fs::Permissions::from_mode(0o755);
        let folder = tempfile::Builder::new().permissions(permissions).tempdir().unwrap();
        fs::create_dir(folder.path().join("run")).unwrap();
        let admin = UnixListener::bind(folder.path().join("run/admin.sock")).unwrap();
        let web = vec![bind("127.0.0.1:0".parse().unwrap())];
        let (reader, stdout) = io::pipe().unwrap();
        let lines = || BufReader::new(reader).lines().map(Result::unwrap).collect();
        let (kept, shared) = (BTreeMap::new(), BTreeMap::new());
        let (generation, in_the_way, logged) = (0, None, thread::spawn(lines));
        let mut keeper =
            Self { folder, web, admin, kept, shared, generation, in_the_way, stdout, logged };
        keeper.grow();
        keeper.write_file("one");
        keeper
    }

    /// With as many sockets as if there were one thread less.
    pub(crate) fn short() -> Self {
        let mut keeper = Self::new();
        keeper.web.pop();
        keeper
    }

    /// Where clients connect.
    pub(crate) fn address(&self) -> SocketAddr {
        self.web[0].local_addr().unwrap()
    }

    /// What the kernel calls the sockets that are listened on.
    pub(crate) fn listening(&self) -> Vec<PathBuf> {
        let all = self.web.iter().map(AsRawFd::as_raw_fd).chain([self.admin.as_raw_fd()]);
        all.map(|fd| fs::read_link(format!("/proc/self/fd/{fd}")).unwrap()).collect()
    }

    /// From now on there is another socket for the same address.
    pub(crate) fn grow(&mut self) {
        self.web.push(bind(self.address()));
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// From now on the file wants requests answered with `body`.
    pub(crate) fn write_file(&self, body: &str) {
        let beside = self.path("evergate.toml.new");
        fs::write(&beside, self.text(body)).unwrap();
        fs::rename(beside, self.path("evergate.toml")).unwrap();
    }

    /// Keeps a configuration that answers with `body`, as if another worker had applied it.
    pub(crate) fn keep_config(&mut self, body: &str) {
        let file = self.path("other.toml");
        fs::write(&file, self.text(body)).unwrap();
        let blob = evergate_config::remember(&evergate_config::load(&file).unwrap());
        self.kept.insert(KEPT_CONFIG.to_owned(), memfd::seal("test", &blob).unwrap());
    }

    fn text(&self, body: &str) -> String {
        let (run, state) = (self.path("run"), self.path("state"));
        let address = self.address();
        format!(
            "[node]\nrun_dir = {run:?}\nstate_dir = {state:?}\nthreads = {DATA_THREADS}\n\
             [listener.web]\nbind = [\"{address}\"]\n\
             [route.all]\nmatch = \"/*\"\nrespond = {{ body = \"{body}\" }}\n\
             [app.shop]\nrun = [\"/bin/true\"]\noutput = {{ max = \"1GiB\" }}\n"
        )
    }

    /// Starts a worker and waits until it is ready.
    pub(crate) fn start(&mut self, role: Role) -> Worker {
        let mut worker = self.launch(role);
        worker.wait(self, |said| matches!(said, ToKeeper::Ready).then_some(()));
        worker
    }

    /// From now on nothing can be listened on, for this reason.
    pub(crate) fn obstruct(&mut self, why: &str) {
        self.in_the_way = Some(why.to_owned());
    }

    /// As if a worker had been lost before it could say anything.
    pub(crate) fn lose_one(&mut self) {
        self.generation += 1;
    }

    /// Starts a worker.
    pub(crate) fn launch(&mut self, role: Role) -> Worker {
        self.generation += 1;
        let (ours, theirs) = seqpacket::pair().unwrap();
        let welcome = ToWorker::Welcome {
            protocol: PROTOCOL,
            generation: self.generation,
            kept: self.kept.keys().cloned().collect(),
            keeper_pid: std::process::id(),
            started_at: clock::unix_seconds(),
            role,
            trial: None,
        };
        let kept: Vec<_> = self.kept.values().map(AsFd::as_fd).collect();
        seqpacket::send(&ours, &link::encode(&welcome), &kept).unwrap();
        let log = File::create(self.path(&format!("worker-{}.log", self.generation))).unwrap();
        let process = Command::new("sh")
            .args(["-c", "exec \"$0\" worker \"$1\" 3<&0 </dev/null"])
            .arg(env!("CARGO_BIN_EXE_evergate"))
            .arg(self.path("evergate.toml"))
            .env(evergate_keeper::LINK_VARIABLE, evergate_keeper::LINK_FD.to_string())
            .stdin(Stdio::from(theirs))
            .stdout(self.stdout.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Worker { generation: self.generation, link: Some(ours), process }
    }

    /// What a worker told people.
    pub(crate) fn told(&self, worker: &Worker) -> String {
        fs::read_to_string(self.path(&format!("worker-{}.log", worker.generation))).unwrap()
    }

    /// Whatever was kept under that name.
    pub(crate) fn kept(&self, name: &str) -> Option<OwnedFd> {
        self.kept.get(name).map(|file| file.try_clone().unwrap())
    }

    /// Keeps something else under that name.
    pub(crate) fn keep(&mut self, name: &str, bytes: &[u8]) {
        self.kept.insert(name.to_owned(), memfd::seal("test", bytes).unwrap());
    }

    /// Tells a worker what another one shared last.
    pub(crate) fn pass_on(&self, from: u32, to: &Worker) {
        to.tell_with(&ToWorker::Shared { generation: from }, &[self.shared[&from].as_fd()]);
    }

    /// Which worker answers the admin API.
    pub(crate) fn admin(&self) -> u64 {
        self.status()["worker_generation"].as_u64().unwrap()
    }

    pub(crate) fn status(&self) -> serde_json::Value {
        let body = self.ask_admin("/api/v1/status");
        serde_json::from_str(&body).expect(&body)
    }

    /// Every sample of every counter.
    pub(crate) fn counters(&self) -> BTreeMap<String, f64> {
        let text = self.ask_admin("/metrics");
        let kinds = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let of_kind = |kind| {
            let kinds = kinds.clone().filter_map(move |line| line.strip_suffix(kind));
            kinds.map(str::trim_end).collect::<Vec<_>>()
        };
        let (counters, histograms) = (of_kind("counter"), of_kind("histogram"));
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let samples = samples.map(|line| line.rsplit_once(' ').unwrap()).filter(|(sample, _)| {
            let name = sample.split('{').next().unwrap();
            let family = name.rsplit_once('_').unwrap().0;
            counters.contains(&name)
                || histograms.contains(&family)
                || name == "evergate_start_time_seconds"
        });
        samples.map(|(sample, value)| (sample.to_owned(), value.parse().unwrap())).collect()
    }

    fn ask_admin(&self, path: &str) -> String {
        let mut stream = UnixStream::connect(self.path("run/admin.sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    /// What workers printed, once all have exited.
    pub(crate) fn logged(self) -> Vec<String> {
        drop(self.stdout);
        self.logged.join().unwrap()
    }

    fn answer(&mut self, worker: &Worker, said: ToKeeper, beside: Vec<OwnedFd>) {
        match said {
            ToKeeper::Desired(desired) => self.settle(worker, &desired),
            ToKeeper::Keep { name } => {
                self.kept.insert(name, beside.into_iter().next().unwrap());
            }
            ToKeeper::Shared => {
                self.shared.insert(worker.generation, beside.into_iter().next().unwrap());
            }
            ToKeeper::Named { .. } => worker.tell(&ToWorker::Noted),
            ToKeeper::Open { request, path } => match File::open(path) {
                Ok(file) => {
                    worker.tell_with(&ToWorker::Opened { request, error: None }, &[file.as_fd()]);
                }
                Err(error) => {
                    worker.tell(&ToWorker::Opened { request, error: Some(error.to_string()) });
                }
            },
            ToKeeper::Hopeless { message } => panic!("{message}"),
            _ => {}
        }
    }

    /// Hands over the sockets that are held.
    fn settle(&self, worker: &Worker, desired: &Desired) {
        for listener in &desired.listeners {
            if let (Address::Tcp(_), Some(why)) = (&listener.address, &self.in_the_way) {
                worker.tell(&ToWorker::Listening {
                    listener: listener.name.clone(),
                    address: listener.address.clone(),
                    outcome: Outcome::Failed(why.clone()),
                });
                continue;
            }
            let sockets: Vec<_> = match &listener.address {
                Address::Tcp(_) => self.web.iter().map(AsFd::as_fd).collect(),
                Address::Unix { .. } => vec![self.admin.as_fd()],
            };
            let message = ToWorker::Listening {
                listener: listener.name.clone(),
                address: listener.address.clone(),
                outcome: Outcome::Bound(listener.address.clone()),
            };
            worker.tell_with(&message, &sockets);
        }
        worker.tell(&ToWorker::Settled);
    }
}

impl Worker {
    pub(crate) fn tell(&self, message: &ToWorker) {
        self.tell_with(message, &[]);
    }

    pub(crate) fn tell_with(&self, message: &ToWorker, beside: &[std::os::fd::BorrowedFd<'_>]) {
        let link = self.link.as_ref().unwrap();
        seqpacket::send(link, &link::encode(message), beside).unwrap();
    }

    /// Waits until it says what is wanted; does what it asks for meanwhile.
    pub(crate) fn wait<T>(
        &mut self,
        keeper: &mut Keeper,
        mut wanted: impl FnMut(&ToKeeper) -> Option<T>,
    ) -> T {
        let until = clock::now() + PATIENCE;
        loop {
            let (said, beside) = self.hear(until);
            let found = wanted(&said);
            let is_wanted_end = found.is_some() && matches!(said, ToKeeper::Hopeless { .. });
            if !is_wanted_end {
                keeper.answer(self, said, beside);
            }
            if let Some(found) = found {
                return found;
            }
        }
    }

    /// Gives an order and waits for its answer.
    pub(crate) fn order(&mut self, keeper: &mut Keeper, order: &ToWorker, answer: &ToKeeper) {
        self.tell(order);
        self.wait(keeper, |said| (said == answer).then_some(()));
    }

    /// Makes it the primary one that goes on from what was kept, and reads what `run` prints.
    pub(crate) fn take_over(&mut self, keeper: &mut Keeper, run: &Run, pipe: &impl AsFd) {
        let state = keeper.kept(link::KEPT_STATE);
        let beside: Vec<_> = state.iter().map(AsFd::as_fd).collect();
        self.tell_with(&ToWorker::Acquire, &beside);
        self.wait(keeper, |said| (*said == ToKeeper::Acquired).then_some(()));
        self.tell_with(&ToWorker::Output { run: run.clone() }, &[pipe.as_fd()]);
    }

    /// Kills it, whatever it does.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Nobody gives it orders any more.
    pub(crate) fn orphan(&mut self) {
        self.link = None;
    }

    /// Waits until it has exited.
    pub(crate) fn exit_status(&mut self) -> Option<i32> {
        if let Some(link) = &self.link {
            // Its end of the link closes with it.
            let mut buffer = vec![0; link::MESSAGE_BYTES_MAX];
            loop {
                wait::readable(link, i32::try_from(PATIENCE.as_millis()).unwrap()).unwrap();
                match seqpacket::recv(link, &mut buffer, &mut Vec::new()) {
                    Ok(Received::Packet(_)) => {}
                    Ok(Received::Closed) => break,
                    Err(error) => panic!("{error}"),
                }
            }
        }
        self.process.wait().unwrap().code()
    }

    fn hear(&mut self, until: Instant) -> (ToKeeper, Vec<OwnedFd>) {
        let link = self.link.as_ref().unwrap();
        let left = i32::try_from((until - clock::now()).as_millis()).unwrap();
        let mut buffer = vec![0; link::MESSAGE_BYTES_MAX];
        let mut beside = Vec::new();
        wait::readable(link, left).expect("the worker says something");
        match seqpacket::recv(link, &mut buffer, &mut beside).unwrap() {
            Received::Packet(length) => (link::decode(&buffer[..length]).unwrap(), beside),
            Received::Closed => panic!("worker {} has ended", self.generation),
        }
    }
}

fn bind(address: SocketAddr) -> TcpListener {
    listen::tcp(address, listen::Sharing::Shared, listen::BACKLOG).unwrap()
}

/// What is in the file of the app's output, without times.
pub(crate) fn printed(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
}
