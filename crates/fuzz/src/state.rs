//! What is carried from one worker to the next.

use evergate_control::snapshot::{
    ListenerStats, PoolStats, RouteStats, ServerStatus, Stats, TlsStats,
};
use evergate_control::state::{Counters, Shared, State};
use evergate_core::state::{Section, Writer, read};

/// What is understood says the same again after it was written down in order, and its counters can be added
/// up, whatever they are.
pub fn worker_state(input: &[u8]) {
    let input = mended(input);
    if let Ok(state) = State::decode(&input) {
        let again = |state: State| State::decode(&state.encode().expect("it was in a blob before"));
        let state = again(state).expect("what was encoded can be decoded");
        assert_eq!(again(state.clone()).as_ref(), Ok(&state), "a state survives being encoded");
        let mut sum = state.totals.counters.clone();
        for report in state.totals.reports.values() {
            sum.add(report);
            drop(sum.since(report));
        }
        show(&sum);
    }
    if let Ok(shared) = Shared::decode(&input) {
        let again =
            |shared: Shared| Shared::decode(&shared.encode().expect("it was in a blob before"));
        let shared = again(shared).expect("what was encoded can be decoded");
        assert_eq!(again(shared.clone()).as_ref(), Ok(&shared), "a report survives being encoded");
        show(&shared.counted);
    }
}

/// Whatever a keeper is handed, it says whether it could go on from that, and always the same.
pub fn keeper_state(input: &[u8]) {
    let input = mended(input);
    assert_eq!(evergate_keeper::rehearse(&input), evergate_keeper::rehearse(&input));
}

/// Counters under every name that they have can be shown, twice over.
fn show(counters: &Counters) {
    let listeners = counters.listeners.keys().map(|name| ListenerStats {
        name: name.clone(),
        tls: Some(TlsStats::default()),
        ..ListenerStats::default()
    });
    let pools = counters.pools.iter().map(|(name, pool)| PoolStats {
        name: name.clone(),
        servers: pool
            .servers
            .keys()
            .map(|name| ServerStatus { name: name.clone(), ..ServerStatus::default() })
            .collect(),
        ..PoolStats::default()
    });
    let routes = counters.routes.keys();
    let mut stats = Stats {
        listeners: listeners.collect(),
        routes: routes
            .map(|name| RouteStats { name: name.clone(), ..RouteStats::default() })
            .collect(),
        pools: pools.collect(),
        cpu_seconds: vec![("worker".to_owned(), 0.0)],
        ..Stats::default()
    };
    stats.add(counters);
    stats.add(counters);
    drop(Counters::of(&stats));
}

/// `input` with sums that are right where only they are wrong: few mutants of a body would be read
/// at all.
fn mended(input: &[u8]) -> Vec<u8> {
    const HEAD_BYTES: usize = 12;
    const SECTION_HEAD_BYTES: usize = 16;
    let Some(mut rest) = input.get(HEAD_BYTES..) else { return input.to_vec() };
    if read(input).is_ok() {
        return input.to_vec();
    }
    let number = |at: &[u8]| u16::from_le_bytes([at[0], at[1]]);
    let mut writer = Writer::new();
    while let Some((head, after)) = rest.split_at_checked(SECTION_HEAD_BYTES) {
        let length = u32::from_le_bytes([head[8], head[9], head[10], head[11]]) as usize;
        let (body, after) = after.split_at_checked(length).unwrap_or((after, &[]));
        let (kind, version) = (number(head), number(&head[2..]));
        writer.section(Section { kind, version, is_required: head[4] & 1 == 1, body });
        rest = after;
    }
    writer.finish().unwrap_or_default()
}
