//! A whole gateway with servers that do what a test wants, and a keeper that says what it wants.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use evergate_config::{Files, load_with};
use evergate_control::link::{Deploy, DeployPhase, Instance, InstanceState, Place};
use evergate_control::snapshot::Health;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::{Notify, Semaphore};
use tokio::task::{LocalSet, spawn_local};

use super::*;

mod carried;
mod join;
mod leaving;
mod moving;
mod reloading;
mod retiring;
mod websockets;

/// Nothing here takes longer unless it hangs, and no timeout of the gateway is shorter unless a test
/// says so: what is over before that was not waited for.
const PATIENCE: Duration = Duration::from_secs(120);

struct Text(String);

impl Files for Text {
    fn read(&self, _: &Path) -> io::Result<Vec<u8>> {
        Ok(self.0.clone().into_bytes())
    }

    fn list(&self, _: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(Vec::new())
    }

    fn env(&self, _: &str) -> Option<String> {
        None
    }
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let finished = async { tokio::time::timeout(PATIENCE, test).await.expect("it hangs") };
    LocalSet::new().block_on(&runtime, finished);
}

/// What a gateway in front of the app `shop` is told, with more lines in the sections of the route
/// and the pool, and more sections.
fn config(route: &str, pool: &str, more: &str) -> Config {
    let text = format!(
        "[listener.web]\nbind = [\"127.0.0.1:0\"]\n\
         [route.all]\nmatch = \"/*\"\npool = \"shop\"\ntimeout = \"1h\"\n{route}\n\
         [route.health]\nmatch = \"/health\"\nhealth = {{ detail = \"full\" }}\n\
         [app.shop]\nrun = [\"/bin/shop\"]\ninstances = 2\n\
         [pool.shop]\nservers = {{ shop = {{ app = \"shop\" }} }}\n{pool}\n{more}\n"
    );
    let loaded = load_with(Path::new("/evergate.toml"), &Text(text));
    loaded.map_err(|errors| evergate_config::render(&errors, false)).unwrap().config
}

/// A gateway in front of the app `shop`, and what its keeper observes.
struct Node {
    gateway: Gateway,
    address: SocketAddr,
    observed: Observed,
    /// Runs that the gateway said are idle.
    idle: VecDeque<Run>,
}

impl Node {
    /// With more lines in the pool's section.
    async fn start(pool: &str) -> Self {
        Self::start_on(StdListener::bind("127.0.0.1:0").unwrap(), "", pool).await
    }

    /// With a socket that others may accept from too, and more lines in the route's section.
    async fn start_on(socket: StdListener, route: &str, pool: &str) -> Self {
        let mut gateway = Gateway::start(
            config(route, pool, ""),
            Addresses::default(),
            2,
            LogWriter::start(io::sink()).unwrap(),
            broadcast::Sender::new(64),
            Tickets::new(0).unwrap(),
        )
        .unwrap();
        let address = socket.local_addr().unwrap();
        gateway.listen("web", "127.0.0.1:0", &address.to_string(), vec![socket.into()]).await;
        Self { gateway, address, observed: Observed::default(), idle: VecDeque::new() }
    }

    /// Puts another configuration in force.
    async fn reload(&mut self, config: Config) {
        let prepared = self.gateway.prepare(config, Addresses::default()).unwrap();
        self.gateway.enforce(prepared).await;
        // Every thread has it once it answers.
        self.gateway.served().await;
    }

    /// Has the keeper say that the app does this.
    async fn observe(&mut self, instances: &[Instance]) {
        self.observed.instances = instances.to_vec();
        self.gateway.set_instances(&self.observed).await;
        self.idle.extend(self.gateway.take_idle());
    }

    /// Runs the control plane until `what` has happened.
    async fn until<T>(&mut self, what: impl Future<Output = T>) -> T {
        let mut what = pin!(what);
        loop {
            tokio::select! {
                done = &mut what => return done,
                () = self.gateway.turn() => self.idle.extend(self.gateway.take_idle()),
            }
        }
    }

    /// Runs the control plane until it has said that a run is idle.
    async fn next_idle(&mut self) -> Run {
        loop {
            if let Some(run) = self.idle.pop_front() {
                return run;
            }
            self.gateway.turn().await;
            self.idle.extend(self.gateway.take_idle());
        }
    }

    /// The whole answer to a request.
    async fn ask(&mut self, method: &str, path: &str) -> String {
        let asking = ask(self.address, method, path);
        self.until(asking).await
    }

    fn events(&mut self, kind: &str) -> Vec<(String, String)> {
        let events = self.gateway.events().latest().into_iter();
        let events = events.filter(|event| event.kind == kind);
        events.map(|event| (event.subject, event.reason)).collect()
    }
}

/// Sends a request and reads to the end.
async fn ask(address: SocketAddr, method: &str, path: &str) -> String {
    let mut tcp = TcpStream::connect(address).await.unwrap();
    let body = if method == "POST" { "Content-Length: 2\r\n\r\nhi" } else { "\r\n" };
    let request = format!("{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{body}");
    tcp.write_all(request.as_bytes()).await.unwrap();
    let mut response = Vec::new();
    // A reset is an end too.
    let _ = tcp.read_to_end(&mut response).await;
    String::from_utf8(response).unwrap()
}

/// A run of the app, and the process that it would be.
struct Server {
    place: Place,
    /// A permit for each request that has come.
    asked: Rc<Semaphore>,
    /// Lets a request to `/hold` or the rest of `/half` be answered.
    release: Rc<Notify>,
    /// What the last WebSocket has heard.
    heard: Rc<std::cell::RefCell<Vec<u8>>>,
    /// A permit for each connection that was made, and each that has ended.
    connections: Rc<Semaphore>,
    ended: Rc<Semaphore>,
}

impl Server {
    async fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self::at(Place::Port(listener.local_addr().unwrap().port()));
        let parts = server.parts(name);
        spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                spawn_local(parts.clone().serve(stream));
            }
        });
        server
    }

    async fn start_unix(name: &'static str, path: &Path) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let server = Self::at(Place::Unix(path.display().to_string()));
        let parts = server.parts(name);
        spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                spawn_local(parts.clone().serve(stream));
            }
        });
        server
    }

    fn at(place: Place) -> Self {
        let none = || Rc::new(Semaphore::new(0));
        Self {
            place,
            asked: none(),
            release: Rc::default(),
            heard: Rc::default(),
            connections: none(),
            ended: none(),
        }
    }

    fn parts(&self, name: &'static str) -> Parts {
        Parts {
            name,
            asked: Rc::clone(&self.asked),
            release: Rc::clone(&self.release),
            heard: Rc::clone(&self.heard),
            connections: Rc::clone(&self.connections),
            ended: Rc::clone(&self.ended),
        }
    }

    /// Waits for the next request.
    async fn asked(&self) {
        self.asked.acquire().await.unwrap().forget();
    }

    /// As the keeper sees it.
    fn run(&self, number: u16, generation: u32, state: InstanceState) -> Instance {
        instance(number, generation, state, Some(self.place.clone()))
    }

    fn ready(&self, number: u16, generation: u32) -> Instance {
        self.run(number, generation, InstanceState::Ready)
    }

    fn draining(&self, number: u16, generation: u32, for_ms: u32) -> Instance {
        self.run(number, generation, InstanceState::Draining { for_ms })
    }
}

/// An instance that has a process if it has a place.
fn instance(number: u16, generation: u32, state: InstanceState, place: Option<Place>) -> Instance {
    Instance {
        run: Run { app: "shop".into(), number, generation },
        state,
        since_ms: 0,
        pid: place.as_ref().map(|_| 1),
        place,
        revision: generation,
        exits: 0,
        budget: (0, 10),
        last_exit: None,
        reason: None,
    }
}

/// What a connection of a server needs.
#[derive(Clone)]
struct Parts {
    name: &'static str,
    asked: Rc<Semaphore>,
    release: Rc<Notify>,
    heard: Rc<std::cell::RefCell<Vec<u8>>>,
    connections: Rc<Semaphore>,
    ended: Rc<Semaphore>,
}

impl Parts {
    /// Serves one connection: `/hold` and `/half` wait, `/big` is large, `/events` has no end,
    /// `/count` takes a large body, `/ws` is a WebSocket, all else is answered at once with the
    /// server's name.
    async fn serve(self, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
        self.connections.add_permits(1);
        let mut kept = Vec::new();
        loop {
            let end = loop {
                if let Some(end) = kept.windows(4).position(|four| four == b"\r\n\r\n") {
                    break end + 4;
                }
                if !matches!(stream.read_buf(&mut kept).await, Ok(1..)) {
                    return self.ended.add_permits(1);
                }
            };
            let head = String::from_utf8(kept.drain(..end).collect()).unwrap();
            while head.starts_with("POST") && kept.len() < 2 {
                stream.read_buf(&mut kept).await.unwrap();
            }
            if head.starts_with("POST") {
                kept.drain(..2);
            }
            let path = head.split(' ').nth(1).unwrap();
            let mut answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{}",
                self.name.len(),
                self.name
            )
            .into_bytes();
            if path == "/half" {
                stream.write_all(&answer[..answer.len() - 1]).await.unwrap();
                answer.drain(..answer.len() - 1);
            }
            if path == "/big" {
                let body = vec![b'x'; 1 << 20];
                answer =
                    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into();
                answer.extend(body);
            }
            if path == "/count" {
                let length = head.split("Content-Length: ").nth(1).unwrap();
                let length: usize = length.split("\r\n").next().unwrap().parse().unwrap();
                self.asked.add_permits(1);
                // Of a POST two bytes are gone already.
                let mut rest = length - 2;
                while rest > kept.len() {
                    rest -= kept.len();
                    kept.clear();
                    if !matches!(stream.read_buf(&mut kept).await, Ok(1..)) {
                        return self.ended.add_permits(1);
                    }
                }
                kept.drain(..rest);
            }
            if path == "/events" {
                answer =
                    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n!\r\n".to_vec();
            }
            if path == "/fail" {
                answer = b"HTTP/1.1 599 No\r\nContent-Length: 0\r\n\r\n".to_vec();
            }
            self.asked.add_permits(1);
            if path == "/ws" {
                return self.speak(stream).await;
            }
            if path == "/events" {
                stream.write_all(&std::mem::take(&mut answer)).await.unwrap();
            }
            if path == "/hold" || path == "/half" || path == "/events" {
                self.release.notified().await;
            }
            if stream.write_all(&answer).await.is_err() {
                return self.ended.add_permits(1);
            }
        }
    }

    /// A WebSocket that sends one ping and keeps what it hears; a Close is answered.
    async fn speak(self, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
        let head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                    Connection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&[0x89, 0x00]).await.unwrap();
        let mut bytes = Vec::new();
        while matches!(stream.read_buf(&mut bytes).await, Ok(1..)) {
            self.heard.borrow_mut().extend_from_slice(&bytes);
            let closes = bytes[0] == 0x88;
            bytes.clear();
            if closes && stream.write_all(&[0x88, 0x00]).await.is_err() {
                break;
            }
        }
        self.ended.add_permits(1);
    }
}
