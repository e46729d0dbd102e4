//! What is carried arrives, and what must not be trusted is refused.

use std::time::Duration;

use evergate_core::health::{Arrival, CheckPolicy, Health, Input, OutlierPolicy, Policy};

use super::*;
use crate::snapshot::{
    AcmeStats, Histogram, InstanceStatus, ListenerStats, OutputCounts, PoolStats, RouteStats,
    ServerStatus, Stats, TlsStats,
};

const GOLDEN: &[u8] = include_bytes!("../../tests/golden/state-1.bin");
const GOLDEN_SHARED: &[u8] = include_bytes!("../../tests/golden/shared-1.bin");

fn pairs<K: Clone>(pairs: &[(K, u64)]) -> Vec<(String, u64)>
where
    String: From<K>,
{
    pairs.iter().map(|(name, count)| (String::from(name.clone()), *count)).collect()
}

/// Every counter has a value, and no two the same by chance.
fn stats() -> Stats {
    Stats {
        reloads: 3,
        reloads_failed: 1,
        listeners: vec![ListenerStats {
            name: "web".into(),
            accepted: 40,
            rejected: pairs(&[("connections", 1), ("connections_per_ip", 2)]),
            protocols: pairs(&[("http/1.1", 30), ("h2", 10)]),
            floods: pairs(&[("rapid_reset", 4)]),
            proxy_refused: pairs(&[("untrusted", 5)]),
            tls: Some(TlsStats {
                handshakes: pairs(&[("TLSv1.2", 6), ("TLSv1.3", 7)]),
                resumed: 8,
                failures: pairs(&[("timeout", 9)]),
            }),
            ..ListenerStats::default()
        }],
        routes: vec![RouteStats {
            name: "all".into(),
            pool: "api".into(),
            statuses: vec![(200, 90), (503, 2)],
            duration: Histogram {
                buckets: vec![(0.001, 80), (0.25, 12)],
                sum: Duration::from_millis(1_250),
                count: 92,
            },
            received_bytes: 11,
            sent_bytes: 12_000,
        }],
        pools: vec![PoolStats {
            name: "api".into(),
            retries: 13,
            retries_denied: 14,
            no_server: 15,
            connects: 16,
            reuses: 17,
            servers: vec![ServerStatus {
                name: "a".into(),
                requests: 95,
                failures: 3,
                ..ServerStatus::default()
            }],
        }],
        rejects: pairs(&[("no_route", 18), ("too_large", 19)]),
        log_lines: 20,
        log_dropped: 21,
        panics: 22,
        acme: vec![AcmeStats {
            name: "le".into(),
            orders: pairs(&[("issued", 23)]),
            ..AcmeStats::default()
        }],
        apps: vec![InstanceStatus {
            app: "shop".into(),
            number: 1,
            output: OutputCounts { lines: 24, bytes: 25, dropped_bytes: 26 },
            ..InstanceStatus::default()
        }],
        cpu_seconds: vec![("keeper".into(), 0.5), ("worker".into(), 2.75)],
        ..Stats::default()
    }
}

/// Does not change: the blob that is kept says this.
fn state() -> State {
    let check = CheckPolicy {
        every: Duration::from_secs(10),
        timeout: Duration::from_secs(2),
        fall: 3,
        rise: 2,
    };
    let policy = Policy {
        weight: 1,
        checks: vec![check],
        outlier: OutlierPolicy {
            consecutive: 5,
            eject: Duration::from_secs(30),
            ejected_percent_max: 50,
        },
        slow_start: Duration::from_secs(10),
    };
    let at = |seconds| Instant::EPOCH + Duration::from_secs(seconds);
    let mut health = Health::new(policy, Arrival::Later, at(1));
    health.handle(at(2), Input::Checked { check: 0, outcome: Err("connection refused".into()) });
    health.handle(at(3), Input::FailedInARow { failures: 5, may_eject: true });
    health.handle(at(3), Input::Weight(7));
    let server = Server {
        pool: "api".into(),
        name: "shop/1".into(),
        run: Some(Run { app: "shop".into(), number: 1, generation: 4 }),
        authority: "127.0.0.1:20001".into(),
        health: health.carried(),
        since: at(2),
        checks_at: vec![at(12)],
        failures_in_a_row: 2,
        latency: Some((3_000_000, at(3))),
    };
    let counters = Counters::of(&stats());
    let event = Event {
        sequence: 9,
        at_ms: 1_790_000_000_000,
        level: "warn".into(),
        kind: "server_down".into(),
        subject: "pool.api/shop/1".into(),
        reason: "connection refused".into(),
    };
    let wish = Wish { pool: "api".into(), server: "b".into(), drain: true, weight: Some(0) };
    let connections = Connections {
        listener: "web".into(),
        open: 12,
        by_address: vec![("10.0.0.1".parse().unwrap(), 9), ("::1".parse().unwrap(), 3)],
    };
    State {
        servers: vec![server.clone(), Server { run: None, latency: None, ..server }],
        wishes: vec![wish],
        totals: Totals {
            since: 1_780_000_000,
            counters: counters.clone(),
            reports: [(2, counters)].into(),
        },
        open: Open { generation: 3, listeners: vec![connections] },
        history: History { sequence: 9, latest: vec![event] },
        lines: vec![Line {
            run: Run { app: "shop".into(), number: 1, generation: 4 },
            text: b"listening on \xff".into(),
            is_amid: true,
        }],
    }
}

fn shared() -> Shared {
    Shared { open: state().open, counted: state().totals.counters }
}

#[test]
fn what_is_carried_arrives() {
    assert_eq!(State::decode(&state().encode().unwrap()), Ok(state()));
    assert_eq!(Shared::decode(&shared().encode().unwrap()), Ok(shared()));
    let nothing = State::default().encode().unwrap();
    assert_eq!(State::decode(&nothing), Ok(State::default()));
}

#[test]
fn the_blobs_of_the_first_release_are_understood() {
    assert_eq!(State::decode(GOLDEN), Ok(state()));
    assert_eq!(Shared::decode(GOLDEN_SHARED), Ok(shared()));
}

/// If this fails, what is written has changed: an older reader must still understand it, or the
/// section needs a new version. The blob of a release that came out stays as it is; a new form
/// gets a file of its own.
#[test]
fn blobs_are_written_as_they_were() {
    let blobs = [
        ("state-1.bin", state().encode().unwrap(), GOLDEN),
        ("shared-1.bin", shared().encode().unwrap(), GOLDEN_SHARED),
    ];
    for (name, blob, golden) in blobs {
        if std::env::var_os("EVERGATE_WRITE_GOLDEN").is_some() {
            let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/");
            std::fs::write(format!("{folder}{name}"), &blob).unwrap();
        }
        assert!(blob == golden, "EVERGATE_WRITE_GOLDEN=1 writes {name}");
    }
}

#[test]
fn what_only_ever_grows_comes_out_as_it_went_in() {
    let shown = stats();
    let counters = Counters::of(&shown);
    let mut bare = Stats {
        listeners: vec![ListenerStats {
            name: "web".into(),
            tls: Some(TlsStats::default()),
            ..ListenerStats::default()
        }],
        routes: vec![RouteStats {
            name: "all".into(),
            pool: "api".into(),
            ..RouteStats::default()
        }],
        pools: vec![PoolStats {
            name: "api".into(),
            servers: vec![ServerStatus { name: "a".into(), ..ServerStatus::default() }],
            ..PoolStats::default()
        }],
        acme: vec![AcmeStats { name: "le".into(), ..AcmeStats::default() }],
        apps: vec![InstanceStatus { app: "shop".into(), number: 1, ..InstanceStatus::default() }],
        cpu_seconds: vec![("keeper".into(), 0.5), ("worker".into(), 0.0)],
        ..Stats::default()
    };
    bare.add(&counters);
    assert_eq!(Counters::of(&bare), counters);
    let mut twice = shown.clone();
    twice.add(&counters);
    let mut sum = counters.clone();
    sum.add(&counters);
    assert_eq!(Counters::of(&twice), sum);
    assert_eq!(sum.since(&counters), counters);
    assert_eq!(twice.routes[0].duration.buckets, [(0.001, 160), (0.25, 24)]);
    assert_eq!(twice.cpu_seconds, [("keeper".to_owned(), 0.5), ("worker".to_owned(), 5.5)]);
}

#[test]
fn a_name_that_is_gone_does_not_come_back() {
    let mut other = stats();
    other.routes[0].name = "other".into();
    let before = other.routes.clone();
    other.add(&Counters::of(&stats()));
    assert_eq!(other.routes, before);
}

#[test]
fn counts_add_up_in_any_order_and_never_overflow() {
    let one = Counters::of(&stats());
    let other = Counters { panics: u64::MAX, routes: [].into(), ..one.clone() };
    let (mut a, mut b) = (one.clone(), other.clone());
    a.add(&other);
    b.add(&one);
    assert_eq!(a, b);
    assert_eq!(a.panics, u64::MAX);
    let mut shown = stats();
    shown.add(&a);
    shown.add(&a);
    assert_eq!(shown.panics, u64::MAX);
    assert_eq!(one.since(&a).panics, 0);
}

#[test]
fn a_newer_version_of_one_section_refuses_the_whole() {
    let written = state().encode().unwrap();
    for newer in [SERVERS, WISHES, TOTALS, CONNECTIONS, HISTORY, LINES] {
        let mut writer = Writer::new();
        for section in blob::read(&written).unwrap() {
            let more = u16::from(section.kind == newer.number);
            writer.section(Section { version: section.version + more, ..section });
        }
        let refusal = State::decode(&writer.finish().unwrap()).unwrap_err();
        let newest = *newer.versions.end();
        let version = newest + 1;
        assert_eq!(refusal, Refusal::Version { kind: newer.name, version, newest });
    }
}

#[test]
fn the_version_before_is_understood_and_the_one_before_that_is_not() {
    let kind = Kind { number: 1, versions: 2..=3, name: "servers" };
    let of = |version| {
        let mut writer = Writer::new();
        writer.section(Section { kind: 1, version, is_required: false, body: &[0x80] });
        writer.finish().unwrap()
    };
    let known = std::slice::from_ref(&kind);
    for version in [2, 3] {
        assert_eq!(sections(&of(version), known).unwrap()[0].version, version);
    }
    for version in [1, 4] {
        let refusal = Refusal::Version { kind: "servers", version, newest: 3 };
        assert_eq!(sections(&of(version), known).unwrap_err(), refusal);
    }
}

#[test]
fn an_unknown_section_is_passed_over_unless_it_is_required() {
    let with = |is_required| {
        let mut writer = Writer::new();
        writer.section(Section { kind: KIND_NEXT, version: 1, is_required, body: b"later" });
        for section in blob::read(GOLDEN).unwrap() {
            writer.section(section);
        }
        State::decode(&writer.finish().unwrap())
    };
    assert_eq!(with(false), Ok(state()));
    assert_eq!(with(true), Err(Refusal::Required { kind: KIND_NEXT }));
}

#[test]
fn an_unknown_field_is_passed_over() {
    // A wish with one field more, as a later release may write it.
    let mut body = minicbor::Encoder::new(Vec::new());
    body.array(1).unwrap().array(5).unwrap();
    body.str("api").unwrap().str("b").unwrap().bool(true).unwrap().u16(0).unwrap();
    body.str("why").unwrap();
    let body = body.into_writer();
    let mut writer = Writer::new();
    writer.section(Section { kind: WISHES.number, version: 1, is_required: false, body: &body });
    let read = State::decode(&writer.finish().unwrap()).unwrap();
    assert_eq!(read.wishes, state().wishes);
}

#[test]
fn bodies_that_are_not_what_they_should_be_are_refused() {
    let refused = |bodies: &[&[u8]]| {
        let mut writer = Writer::new();
        for body in bodies {
            let kind = SERVERS.number;
            writer.section(Section { kind, version: 1, is_required: false, body });
        }
        State::decode(&writer.finish().unwrap())
    };
    let refusal = Err(Refusal::Body { kind: "servers" });
    assert_eq!(refused(&[&[0x80]]), Ok(State::default()), "an empty list");
    assert_eq!(refused(&[&[0x80, 0x80]]), refusal, "more than one list");
    assert_eq!(refused(&[&[0x81]]), refusal, "a list that ends early");
    assert_eq!(refused(&[&[]]), refusal, "nothing");
    assert_eq!(refused(&[&[0x80], &[0x80]]), refusal, "twice");
}

#[test]
fn nothing_is_carried_beyond_its_bound() {
    let mut many = state();
    many.servers = vec![many.servers[0].clone(); SERVERS_MAX + 1];
    let addresses = (0..=ADDRESSES_MAX as u32).map(|n| (std::net::Ipv4Addr::from(n).into(), n));
    many.open.listeners[0].by_address = addresses.collect();
    many.history.latest = vec![many.history.latest[0].clone(); EVENTS_MAX + 1];
    many.history.latest[EVENTS_MAX].reason = "ä".repeat(REASON_BYTES_MAX);
    let read = State::decode(&many.clone().encode().unwrap()).unwrap();
    assert_eq!(read.servers.len(), SERVERS_MAX);
    let addresses = &read.open.listeners[0].by_address;
    assert_eq!((addresses.len(), addresses[0].1), (ADDRESSES_MAX, ADDRESSES_MAX as u32));
    assert_eq!(read.history.latest.len(), EVENTS_MAX);
    assert_eq!(read.history.latest.last().unwrap().reason.len(), REASON_BYTES_MAX);

    let mut writer = Writer::new();
    write(&mut writer, &SERVERS, &many.servers);
    let refusal = Err(Refusal::Body { kind: "servers" });
    assert_eq!(State::decode(&writer.finish().unwrap()), refusal);
    let mut writer = Writer::new();
    write(&mut writer, &HISTORY, &many.history);
    let refusal = Err(Refusal::Body { kind: "history" });
    assert_eq!(State::decode(&writer.finish().unwrap()), refusal);
}

#[test]
fn a_line_is_carried_whole_or_not_at_all() {
    let mut state = state();
    let line = |bytes| Line { text: vec![b'x'; bytes], ..state.lines[0].clone() };
    let (longest, longer) = (line(LINE_BYTES_MAX), line(LINE_BYTES_MAX + 1));
    state.lines = vec![longer.clone(), longest.clone()];
    assert_eq!(State::decode(&state.encode().unwrap()).unwrap().lines, [longest]);
    let mut writer = Writer::new();
    write(&mut writer, &LINES, &[longer]);
    let refusal = Err(Refusal::Body { kind: "lines" });
    assert_eq!(State::decode(&writer.finish().unwrap()), refusal);
}

#[test]
fn refusals_say_what_is_wrong() {
    let version = Refusal::Version { kind: "totals", version: 2, newest: 1 };
    let told = "the section `totals` of the state has version 2; this reader's is 1";
    assert_eq!(version.to_string(), told);
    assert_eq!(State::decode(b"EVGS").unwrap_err().to_string(), "the state is damaged");
}
