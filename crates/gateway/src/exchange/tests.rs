//! Exchanges with a client that is no socket: it can do what no network does.

use std::cell::{Cell, RefCell};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use evergate_config::{Files, load_with};
use evergate_core::head::{Method, ResponseHead};
use tokio::sync::mpsc;

use super::*;
use crate::access_log::LogWriter;
use crate::http1::forward::ResponsePlan;
use crate::http1::incoming::Progress;
use crate::resolve::Addresses;
use crate::timers::Timer;
use crate::tls::termination::Common;
use crate::wire::{Unsent, Wire};

const CONFIG: &str = r#"
[listener.web]
bind = ["127.0.0.1:0"]
[route.hello]
match = "/*"
respond = { body = "hello" }
"#;

/// A configuration in memory.
struct Memory;

impl Files for Memory {
    fn read(&self, _path: &Path) -> io::Result<Vec<u8>> {
        Ok(CONFIG.into())
    }

    fn list(&self, _directory: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(Vec::new())
    }

    fn env(&self, _name: &str) -> Option<String> {
        None
    }
}

/// Opens once, for whoever waits.
#[derive(Debug, Default)]
struct Gate {
    open: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Gate {
    fn open(&self) {
        self.open.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        self.waker.replace(Some(cx.waker().clone()));
        if self.open.get() { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// A client that keeps what it is told.
struct Double {
    timer: Timer,
    /// What is done instead of giving a body.
    on_body: fn() -> Poll<Result<Progress, ClientFault>>,
    /// Takes nothing before it is open.
    reads: Rc<Gate>,
    status: Option<u16>,
    closes: bool,
    body: Vec<u8>,
}

impl Double {
    fn new(shard: &Shard, reads: Rc<Gate>) -> Self {
        Self {
            timer: shard.timers.timer(),
            on_body: || Poll::Ready(Ok(Progress::Done)),
            reads,
            status: None,
            closes: false,
            body: Vec::new(),
        }
    }
}

impl Client for Double {
    type Side = Wire;

    fn poll_body(
        &mut self,
        _cx: &mut Context<'_>,
        _sink: &mut dyn FnMut(&[u8]),
    ) -> Poll<Result<Progress, ClientFault>> {
        (self.on_body)()
    }

    fn trailers(&self) -> &[u8] {
        b""
    }

    fn body_is_done(&self) -> bool {
        false
    }

    fn inform(&mut self, _head: &ResponseHead) {}

    fn ask_for_body(&mut self) {}

    fn begin(&mut self, plan: &ResponsePlan<'_>) {
        assert_eq!(self.status.replace(plan.status), None, "one response for one request");
        self.closes = plan.close;
    }

    fn push(&mut self, data: &[u8]) {
        self.body.extend_from_slice(data);
    }

    fn finish(&mut self, _trailers: &[u8]) {}

    fn has_begun(&self) -> bool {
        self.status.is_some()
    }

    fn unsent(&self) -> usize {
        0
    }

    fn undelivered(&self) -> u64 {
        0
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.reads.poll(cx).map(Ok)
    }

    fn splice_target(&mut self) -> Option<&tokio::net::TcpStream> {
        None
    }

    fn tunnel(&mut self) -> Option<(&mut Wire, Vec<u8>, &mut Unsent)> {
        None
    }

    fn timer(&self) -> &Timer {
        &self.timer
    }
}

/// A thread without a socket.
pub(crate) fn shard() -> (Rc<Shard>, mpsc::Receiver<Report>) {
    let loaded = load_with(Path::new("evergate.toml"), &Memory).unwrap();
    let plan = Plan::compile(
        &loaded.config,
        &Addresses::default(),
        &Default::default(),
        &Common::default(),
        None,
    );
    let log = crate::access_log::LogBuffer::new(LogWriter::start(io::sink()).unwrap());
    let (reports, told) = mpsc::channel(8);
    (
        Rc::new(Shard::new(
            Arc::new(plan.unwrap()),
            1,
            log,
            Default::default(),
            reports,
            Arc::default(),
        )),
        told,
    )
}

/// Has `client` post a body of one byte.
async fn post(shard: &Rc<Shard>, client: &mut Double) -> bool {
    let mut head = RequestHead { method: Method::Post, ..Default::default() };
    head.fields.reset(b"POST / HTTP/1.1\r\n");
    (head.method_at, head.target_at) = (0..4, 5..6);
    let listener = Arc::clone(&shard.plan().plan.listeners["web"]);
    let caller = Caller::plain("127.0.0.1:1".parse().unwrap());
    let request = Request {
        head: &head,
        body: Body::Sized(1),
        expect_continue: false,
        upgrade: false,
        connection_names: false,
        started: clock::now(),
        caller: &caller,
        listener: &listener,
    };
    run(shard, client, request).await
}

#[tokio::test]
async fn a_panic_in_one_exchange_is_answered_and_the_others_go_on() {
    let (shard, mut told) = shard();
    let (at_once, later) = (Rc::new(Gate::default()), Rc::new(Gate::default()));
    at_once.open();
    let mut good = Double::new(&shard, Rc::clone(&later));
    let mut bad = Double::new(&shard, at_once);
    bad.on_body = || panic!("on purpose");
    let (good_goes_on, bad_goes_on) = tokio::join!(post(&shard, &mut good), async {
        let goes_on = post(&shard, &mut bad).await;
        later.open();
        goes_on
    });

    assert_eq!((bad.status, bad.closes, bad_goes_on), (Some(500), true, false));
    assert_eq!(bad.body, b"500 Internal Server Error: an internal error\n");
    assert_eq!((good.status, good.closes, good_goes_on), (Some(200), false, true));
    assert_eq!(good.body, b"hello");
    assert_eq!(shard.counters.panics.get(), 1);
    assert!(matches!(told.try_recv(), Ok(Report::Panicked { route }) if route == "hello"));

    // And whoever comes later.
    let open = Rc::new(Gate::default());
    open.open();
    let mut next = Double::new(&shard, open);
    assert!(post(&shard, &mut next).await);
    assert_eq!(next.status, Some(200));
}

#[tokio::test]
async fn a_body_that_is_not_here_is_not_waited_for() {
    let (shard, _told) = shard();
    let open = Rc::new(Gate::default());
    open.open();
    let mut client = Double::new(&shard, open);
    client.on_body = || Poll::Pending;
    post(&shard, &mut client).await;
    assert_eq!((client.status, client.closes), (Some(200), true));
}
