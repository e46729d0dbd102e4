use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;

use super::*;

/// A configuration with an app `shop`.
pub(crate) fn config() -> Config {
    const TEXT: &str = "
        [app.shop]
        run = [\"/bin/true\"]

        [pool.shop]
        servers = { shop = { app = \"shop\" } }

        [route.all]
        match = \"/\"
        pool = \"shop\"

        [listener.web]
        bind = [\"127.0.0.1:0\"]
    ";
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("evergate.toml");
    std::fs::write(&file, TEXT).unwrap();
    evergate_config::load(&file).unwrap().config
}

fn probing(ready: ReadyBy) -> Config {
    let mut config = config();
    let app = config.apps.get_mut("shop").unwrap();
    app.ready.by = ready;
    config
}

fn instance(generation: u32, state: InstanceState, place: Place) -> Instance {
    Instance {
        run: Run { app: "shop".into(), number: 0, generation },
        state,
        since_ms: 0,
        pid: Some(std::process::id()),
        place: Some(place),
        revision: 1,
        exits: 0,
        budget: (0, 10),
        last_exit: None,
        reason: None,
    }
}

fn passed(run: &Run, probe: Probe) -> ToKeeper {
    ToKeeper::Probed { run: run.clone(), probe, failure: None }
}

fn failure(told: ToKeeper) -> Option<String> {
    match told {
        ToKeeper::Probed { failure, .. } => failure,
        other => panic!("{other:?}"),
    }
}

/// Answers every request there with `status`.
fn serve(listener: TcpListener, status: &'static str) {
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = [0; 1024];
            let length = stream.read(&mut head).unwrap_or(0);
            let head = String::from_utf8_lossy(&head[..length]).into_owned();
            assert!(head.is_empty() || head.contains("User-Agent: evergate-probe\r\n"), "{head}");
            let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
        }
    });
}

#[tokio::test]
async fn a_run_that_accepts_connections_is_told_to_be_ready_each_time() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = Place::Port(listener.local_addr().unwrap().port());
    let starting = instance(1, InstanceState::Starting, place);
    let mut probes = Probes::new();
    probes.follow(std::slice::from_ref(&starting), &probing(ReadyBy::Tcp));
    for _ in 0..3 {
        assert_eq!(probes.next().await, passed(&starting.run, Probe::Ready));
    }
}

#[tokio::test]
async fn a_run_at_a_unix_socket_is_probed_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shop.sock");
    let place = Place::Unix(path.to_str().unwrap().to_owned());
    let starting = instance(1, InstanceState::Starting, place);
    let mut probes = Probes::new();
    probes.follow(std::slice::from_ref(&starting), &probing(ReadyBy::Tcp));
    let nothing = failure(probes.next().await).unwrap();
    assert_eq!(nothing, format!("nothing listens on {} (SOCKET)", path.display()));
    let _listener = UnixListener::bind(&path).unwrap();
    assert_eq!(probes.next().await, passed(&starting.run, Probe::Ready));
}

#[tokio::test]
async fn a_failure_is_told_once_and_again_when_it_is_another() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = closed.local_addr().unwrap();
    drop(closed);
    let starting = instance(1, InstanceState::Starting, Place::Port(place.port()));
    let mut probes = Probes::new();
    probes.follow(std::slice::from_ref(&starting), &probing(ReadyBy::Http("/health".into())));
    let nothing = format!("nothing listens on {place} (PORT)");
    assert_eq!(failure(probes.next().await), Some(nothing));
    serve(TcpListener::bind(place).unwrap(), "404 Not Found");
    let wrong = "GET /health was answered with status 404: is that the right path?";
    assert_eq!(failure(probes.next().await).as_deref(), Some(wrong));
}

#[tokio::test]
async fn nothing_is_believed_about_a_run_that_left_its_state() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = Place::Port(listener.local_addr().unwrap().port());
    let config = probing(ReadyBy::Tcp);
    let (first, second) = (
        instance(1, InstanceState::Starting, place.clone()),
        instance(2, InstanceState::Starting, place),
    );
    let mut probes = Probes::new();
    probes.follow(std::slice::from_ref(&first), &config);
    // Something about the first is on its way before the second takes its place.
    assert_eq!(probes.next().await, passed(&first.run, Probe::Ready));
    while probes.findings.is_empty() {
        tokio::task::yield_now().await;
    }
    probes.follow(std::slice::from_ref(&second), &config);
    assert_eq!(probes.next().await, passed(&second.run, Probe::Ready));
    probes.follow(&[], &config);
    assert!(probes.watched.is_empty());
}

#[tokio::test]
async fn a_ready_run_is_probed_for_life_at_its_interval() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = Place::Port(listener.local_addr().unwrap().port());
    serve(listener, "500 Oops");
    let mut config = config();
    config.apps.get_mut("shop").unwrap().alive = Some(evergate_config::Alive {
        by: AliveBy::Http("/alive".into()),
        every: Duration::from_millis(100),
        timeout: Duration::from_secs(60),
        fall: 3,
        restart_after: None,
    });
    let ready = instance(1, InstanceState::Ready, place.clone());
    let mut probes = Probes::new();
    let began = clock::now();
    probes.follow(std::slice::from_ref(&ready), &config);
    let why = Some("GET /alive was answered with status 500".to_owned());
    let told = ToKeeper::Probed { run: ready.run.clone(), probe: Probe::Alive, failure: why };
    assert_eq!(probes.next().await, told);
    assert!(clock::now() - began >= Duration::from_millis(90), "not at once");
    // Going unhealthy is no reason to start over.
    let number = probes.watched[&ready.run].number;
    let hanging = instance(1, InstanceState::Unhealthy, place);
    probes.follow(std::slice::from_ref(&hanging), &config);
    assert_eq!(probes.watched[&ready.run].number, number);
    assert_eq!(probes.next().await, told, "each failure counts");
}

#[test]
fn only_runs_that_start_or_serve_are_probed() {
    let mut config = config();
    let app = config.apps.get_mut("shop").unwrap();
    app.alive = Some(evergate_config::Alive {
        by: AliveBy::Tcp,
        every: Duration::from_secs(10),
        timeout: Duration::from_secs(1),
        fall: 3,
        restart_after: None,
    });
    let probe = |state, app: &App| aim(&instance(1, state, Place::Port(1)), app).map(|a| a.probe);
    let table = [
        (InstanceState::Waiting, None),
        (InstanceState::Starting, Some(Probe::Ready)),
        (InstanceState::Ready, Some(Probe::Alive)),
        (InstanceState::Unhealthy, Some(Probe::Alive)),
        (InstanceState::Draining { for_ms: 1 }, None),
        (InstanceState::Stopping, None),
        (InstanceState::Stuck, None),
        (InstanceState::Backoff { for_ms: 1 }, None),
        (InstanceState::Fatal { for_ms: None }, None),
        (InstanceState::Stopped, None),
    ];
    for (state, expected) in table {
        assert_eq!(probe(state, app), expected, "{state:?}");
    }
    for by in [ReadyBy::Notify, ReadyBy::Nothing] {
        app.ready.by = by;
        assert_eq!(probe(InstanceState::Starting, app), None);
    }
    app.alive = None;
    assert_eq!(probe(InstanceState::Ready, app), None);
}

#[test]
fn a_run_is_probed_eagerly_for_a_second() {
    let ms = Duration::from_millis;
    let table = [
        (ms(0), ms(100), ms(10)),
        (ms(999), ms(100), ms(10)),
        (ms(1000), ms(100), ms(100)),
        (ms(0), ms(5), ms(5)),
        (ms(60_000), ms(5000), ms(5000)),
    ];
    for (watched_for, every, expected) in table {
        assert_eq!(pause(watched_for, every), expected, "{watched_for:?} {every:?}");
    }
}

#[test]
fn an_app_that_took_another_port_is_told_so() {
    let port = Place::Port(20003);
    let at = |text: &str| text.parse::<SocketAddr>().unwrap();
    let table = [
        (None, "nothing listens on 127.0.0.1:20003 (PORT)"),
        (Some(vec![]), "nothing listens on 127.0.0.1:20003 (PORT)"),
        (
            Some(vec![at("0.0.0.0:3000")]),
            "nothing listens on 127.0.0.1:20003 (PORT); the process listens on 0.0.0.0:3000: does \
             it read PORT?",
        ),
        (
            Some(vec![at("[::1]:20003"), at("[::]:9229")]),
            "nothing listens on 127.0.0.1:20003 (PORT); the process listens on [::1]:20003 and \
             [::]:9229: does it listen on HOST, 127.0.0.1?",
        ),
    ];
    for (found, expected) in table {
        assert_eq!(nobody(&port, found.as_deref()), expected);
    }
}

#[tokio::test]
async fn where_a_run_listens_instead_is_looked_for_after_a_while_and_not_too_often() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let pid = Some(std::process::id());
    let start = Instant::EPOCH;
    let mut search = Search::new(start);
    search.look(start + (SEARCH_AFTER - Duration::from_millis(1)), pid).await;
    assert_eq!(search.found, None);
    search.look(start + SEARCH_AFTER, pid).await;
    let found = search.found.clone().expect("we may look into ourselves");
    assert!(found.contains(&listener.local_addr().unwrap()), "{found:?}");
    search.found = None;
    search.look(start + SEARCH_AFTER + Duration::from_secs(1), pid).await;
    assert_eq!(search.found, None);
    search.look(start + SEARCH_AFTER + SEARCH_EVERY, pid).await;
    assert!(search.found.is_some());
}
