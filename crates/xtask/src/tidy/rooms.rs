//! The rooms of `core` do not know each other: only `node` joins them.

use super::Finding;
use super::source::{Source, depth, is_word};

const CORE: &str = "crates/core/src/";
/// What every room may import.
const COMMON: [&str; 4] = ["head", "id", "rng", "time"];
/// Rooms that know another one: a fleet of instances drives the deploys of its apps; heartbeats carry
/// roles and moves; a node's virtual routers are joined with what they depend on.
const EDGES: [(&str, &str); 7] = [
    ("peer", "handover"),
    ("peer", "vrrp"),
    ("standby", "handover"),
    ("standby", "peer"),
    ("standby", "track"),
    ("standby", "vrrp"),
    ("supervise", "deploy"),
];
/// The room that may import all others.
const JOINT: &str = "node";

pub(super) fn check(source: &Source<'_>) -> Vec<Finding> {
    let Some(room) = room_of(source.path) else { return Vec::new() };
    let mut findings = Vec::new();
    for at in source.find_words("crate::") {
        for name in first_names(&source.code[at + "crate::".len()..]) {
            let is_known = COMMON.contains(&name) || EDGES.contains(&(room, name));
            if name != room && !is_known {
                findings.push(finding(source, at, room, name));
            }
        }
    }
    // In a room's top file, `super` outside of any block is the crate itself.
    let is_top_file = !source.path[CORE.len()..].contains('/');
    for at in source.find_words("super::") {
        if is_top_file && depth(&source.code, at) == 0 {
            let what = "`super` here is the whole crate";
            let mend = "name the room through `crate::`";
            findings.push(Finding::error(source.path, source.line(at), what, mend));
        }
    }
    findings
}

fn finding(source: &Source<'_>, at: usize, room: &str, name: &str) -> Finding {
    let what = format!("room `{room}` imports `{name}`");
    let mend = format!("rooms import only {}; join the two in `{JOINT}`", COMMON.join(", "));
    Finding::error(source.path, source.line(at), what, mend)
}

/// The room that a file belongs to; `None` for the crate's root, the joint and other crates.
fn room_of(path: &str) -> Option<&str> {
    let inside = path.strip_prefix(CORE)?;
    let room = inside.split('/').next()?.trim_end_matches(".rs");
    (room != "lib" && room != JOINT).then_some(room)
}

/// The first name of a path, or of each path in a `{…}` list.
fn first_names(path: &str) -> Vec<&str> {
    let Some(list) = path.strip_prefix('{') else { return Vec::from([first_word(path)]) };
    let mut names = Vec::new();
    let mut nested = 0usize;
    let mut start = 0;
    for (at, byte) in list.bytes().enumerate() {
        match byte {
            b'{' => nested += 1,
            b'}' if nested > 0 => nested -= 1,
            b',' | b'}' if nested == 0 => {
                names.push(first_word(&list[start..at]));
                start = at + 1;
                if byte == b'}' {
                    break;
                }
            }
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

fn first_word(text: &str) -> &str {
    let text = text.trim_start();
    &text[..text.find(|c| !is_word(c)).unwrap_or(text.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        check(&Source::read(path, text)).into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn a_room_knows_only_the_common_ones_and_itself() {
        let text = "use crate::time::Instant;\nuse crate::{id::PoolId, rng::{Rng}, health, balance};\n\
                    pub(crate) fn a(x: crate::route::Table) {}";
        assert_eq!(
            found("crates/core/src/balance/p2c.rs", text),
            ["room `balance` imports `health`", "room `balance` imports `route`"]
        );
    }

    #[test]
    fn an_edge_leads_one_way() {
        let found = |room, text| found(&format!("crates/core/src/{room}.rs"), text).len();
        assert_eq!(found("supervise", "use crate::deploy::Deploy;"), 0);
        assert_eq!(found("deploy", "use crate::supervise::fleet::Fleet;"), 1);
    }

    #[test]
    fn the_joint_and_the_root_know_all() {
        let text = "use crate::health::Health;";
        assert_eq!(found("crates/core/src/node.rs", text), [""; 0]);
        assert_eq!(found("crates/core/src/lib.rs", text), [""; 0]);
        assert_eq!(found("crates/gateway/src/a.rs", text), [""; 0]);
    }

    #[test]
    fn super_is_no_way_around() {
        let text = "use super::health::Health;\nmod tests { use super::*; }";
        assert_eq!(found("crates/core/src/retry.rs", text).len(), 1);
        assert_eq!(found("crates/core/src/balance/p2c.rs", "use super::Policy;"), [""; 0]);
    }
}
