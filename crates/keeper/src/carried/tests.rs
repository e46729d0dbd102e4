//! What is written is read, what this release writes is read by the next one, and what cannot be
//! trusted is refused.

use std::time::Duration;

use evergate_core::time::Instant;

use super::*;
use crate::apps::sample_fleet as fleet;

/// As written by the releases that knew no virtual addresses.
const GOLDEN_1: &[u8] = include_bytes!("../../tests/golden/state-1.bin");
/// As written by the releases that knew no trials of configurations.
const GOLDEN_2: &[u8] = include_bytes!("../../tests/golden/state-2.bin");
/// What this release writes, with a configuration on trial.
const GOLDEN_3: &[u8] = include_bytes!("../../tests/golden/state-3.bin");

/// A configuration that is to be confirmed.
fn on_trial() -> Trial {
    let mut trial = Trial::default();
    let within = Duration::from_secs(60);
    let begin = evergate_core::trial::Input::Begin { number: 4, within };
    trial.handle(Instant::from_nanos(5_000_000_000), begin).unwrap();
    trial
}

/// Something of everything.
fn parts(fleet: &Fleet) -> Parts<'_> {
    let options = Options {
        program: "/usr/bin/evergate".into(),
        args: vec!["worker".into(), "/etc/evergate/evergate.toml".into()],
        config_dir: "/etc/evergate".into(),
        worker_user: Some(User { uid: 7, gid: 8, groups: vec![9] }),
        worker_policy: Default::default(),
        upgrade_policy: Default::default(),
    };
    let image = Identity { device: 1, inode: 2, bytes: 3, written_at: 4 };
    let failed = Failed::again(None, image);
    let mut parts = Parts {
        node: Node {
            failed: Some(Failed::again(Some(failed), image)),
            is_settled: true,
            reload: Some(Reload::sample()),
            trial: on_trial(),
            ..Node::new(&options, 3)
        },
        descriptors: Descriptors::default(),
        sockets: sockets::Carried::sample(),
        workers: workers::Carried::sample(),
        fleet,
        apps: apps::Carried::sample(),
        kept: Kept { files: vec![("config".to_owned(), Fd::of(80))] },
        upgrades: upgrades::Carried::sample(),
        news: apps::CarriedNews::sample(),
        standby: standby::Carried::sample(),
    };
    let mut uses = Uses::default();
    parts.sockets.uses(&mut uses);
    parts.workers.uses(&mut uses);
    parts.apps.uses(&mut uses);
    parts.news.uses(&mut uses);
    parts.standby.uses(&mut uses);
    parts.kept.files.iter().for_each(|&(_, file)| uses.share(file));
    parts.descriptors = Descriptors::sample(&uses);
    parts
}

fn written() -> Vec<u8> {
    parts(&fleet()).encode().expect("it is short")
}

/// The blob with `change` done to every section: what is returned takes its place.
fn changed(change: impl Fn(Section<'_>) -> Option<(u16, u16, bool, Vec<u8>)>) -> Vec<u8> {
    let (blob, mut writer) = (written(), Writer::new());
    for section in state::read(&blob).unwrap() {
        if let Some((kind, version, is_required, body)) = change(section) {
            writer.section(Section { kind, version, is_required, body: &body });
        }
    }
    writer.finish().unwrap()
}

fn same(section: Section<'_>) -> Option<(u16, u16, bool, Vec<u8>)> {
    let Section { kind, version, is_required, body } = section;
    Some((kind, version, is_required, body.to_vec()))
}

#[test]
fn everything_that_is_written_is_read() {
    let fleet = fleet();
    let before = parts(&fleet);
    let after = Carried::decode(&written()).unwrap();
    assert_eq!(after.node, before.node);
    assert_eq!(after.descriptors, before.descriptors);
    assert_eq!(after.sockets, before.sockets);
    assert_eq!(after.apps, before.apps);
    assert_eq!(after.kept, before.kept);
    assert_eq!(after.news, before.news);
    let bytes = |workers: &workers::Carried| minicbor::to_vec(workers).unwrap();
    assert_eq!(bytes(&after.workers), bytes(&before.workers));
    let bytes = |upgrades: &upgrades::Carried| minicbor::to_vec(upgrades).unwrap();
    assert_eq!(bytes(&after.upgrades), bytes(&before.upgrades));
    assert_eq!(minicbor::to_vec(&after.fleet).unwrap(), minicbor::to_vec(before.fleet).unwrap());
    let bytes = |standby: &standby::Carried| minicbor::to_vec(standby).unwrap();
    assert_eq!(bytes(&after.standby), bytes(&before.standby));
    assert_eq!(after.given_up, [""; 0]);
    let children: Vec<_> = after.children().collect();
    assert_eq!(
        children,
        [(3001, 555), (3002, 555), (4000, 777), (5001, 888), (5000, 999)],
        "but for the one that was reaped"
    );
}

/// The way back reads the very blob that this release wrote; the next release must read it too.
#[test]
fn what_this_release_writes_stays_as_it_is() {
    let (now, path) = (written(), std::env::temp_dir().join("evergate-state-3.bin"));
    if now != GOLDEN_3 {
        std::fs::write(&path, now).unwrap();
        panic!(
            "what is written has changed. If readers of the last release can still tell what is \
             meant, {} becomes the golden blob of the next one; this one stays",
            path.display()
        );
    }
    let carried = Carried::decode(GOLDEN_3).expect("every release reads what this one wrote");
    assert_eq!(carried.given_up, [""; 0]);
}

#[test]
fn what_earlier_releases_wrote_is_read() {
    let carried = Carried::decode(GOLDEN_1).unwrap();
    assert_eq!(carried.given_up, [""; 0]);
    assert!(!carried.standby.is_needed(), "there was none");
    let carried = Carried::decode(GOLDEN_2).unwrap();
    assert_eq!(carried.given_up, [""; 0]);
    assert_eq!(carried.node.trial, Trial::default(), "nobody has said anything of it");
}

#[test]
fn virtual_addresses_can_be_done_without_where_there_are_none() {
    let fleet = fleet();
    let mut parts = parts(&fleet);
    parts.standby = standby::Carried::default();
    let blob = parts.encode().unwrap();
    let sections = state::read(&blob).unwrap();
    let standby = sections.iter().find(|section| section.kind == STANDBY.number).unwrap();
    assert!(!standby.is_required, "an older binary may pass over it");
}

#[test]
fn the_node_is_told_by_its_section_alone() {
    let node = Node::decode(&written()).unwrap();
    let options = node.options();
    assert_eq!(options.program.to_str(), Some("/usr/bin/evergate"));
    assert_eq!(options.args, ["worker", "/etc/evergate/evergate.toml"]);
    assert_eq!(options.worker_user, Some(User { uid: 7, gid: 8, groups: vec![9] }));
}

#[test]
fn what_a_keeper_can_do_without_is_given_up_and_that_is_told() {
    for kind in [KEPT, UPGRADES, NEWS] {
        let is_it = |section: &Section<'_>| section.kind == kind.number;
        let damaged = changed(|section| match is_it(&section) {
            true => Some((section.kind, section.version, false, vec![0xff, 0xff])),
            false => same(section),
        });
        let newer = changed(|section| match is_it(&section) {
            true => Some((section.kind, section.version + 1, false, section.body.to_vec())),
            false => same(section),
        });
        let missing = changed(|section| if is_it(&section) { None } else { same(section) });
        for blob in [damaged, newer, missing] {
            let given_up = Carried::decode(&blob).unwrap().given_up;
            assert!(given_up.len() == 1 && given_up[0].starts_with(kind.name), "{given_up:?}");
        }
    }
}

#[test]
fn what_a_keeper_needs_is_refused_if_it_cannot_be_read() {
    for kind in [NODE, DESCRIPTORS, SOCKETS, WORKERS, FLEET, APPS, STANDBY] {
        let is_it = |section: &Section<'_>| section.kind == kind.number;
        let older = changed(|section| match is_it(&section) {
            true => Some((section.kind, kind.version - 1, true, section.body.to_vec())),
            false => same(section),
        });
        assert!(Carried::decode(&older).is_ok(), "the version before: {}", kind.name);
        let newer = changed(|section| match is_it(&section) {
            true => Some((section.kind, kind.version + 1, true, section.body.to_vec())),
            false => same(section),
        });
        let damaged = changed(|section| match is_it(&section) {
            true => Some((section.kind, section.version, true, vec![0xff, 0xff])),
            false => same(section),
        });
        let missing = changed(|section| if is_it(&section) { None } else { same(section) });
        // Without virtual addresses there is nothing to carry of them.
        let missing = (kind.number != STANDBY.number).then_some(missing);
        for blob in [newer, damaged].into_iter().chain(missing) {
            let refused = Carried::decode(&blob).unwrap_err();
            assert!(refused.starts_with(kind.name), "{refused}");
        }
    }
}

#[test]
fn a_section_that_nobody_knows_is_passed_over_unless_it_must_be_known() {
    for (is_required, is_read) in [(false, true), (true, false)] {
        let blob = written();
        let mut writer = Writer::new();
        for section in state::read(&blob).unwrap() {
            writer.section(section);
        }
        writer.section(Section { kind: 999, version: 1, is_required, body: b"?" });
        let read = Carried::decode(&writer.finish().unwrap());
        assert_eq!(read.is_ok(), is_read, "{:?}", read.err());
    }
    let twice = written();
    let mut writer = Writer::new();
    let sections = state::read(&twice).unwrap();
    sections.iter().chain(&sections[..1]).for_each(|&section| writer.section(section));
    let refused = Carried::decode(&writer.finish().unwrap()).unwrap_err();
    assert!(refused.contains("twice"), "{refused}");
}

#[test]
fn parts_that_do_not_fit_together_are_refused() {
    let fleet = fleet();
    let refused = |change: fn(&mut Parts<'_>), why: &str| {
        let mut parts = parts(&fleet);
        change(&mut parts);
        let refused = Carried::decode(&parts.encode().unwrap()).unwrap_err();
        assert!(refused.contains(why), "{refused}");
    };
    refused(|parts| parts.descriptors = Descriptors::default(), "used and not listed");
}

#[test]
fn another_binary_has_failed_no_times_before() {
    let one = Identity { device: 1, inode: 2, bytes: 3, written_at: 4 };
    let mended = Identity { bytes: 5, ..one };
    let first = Failed::again(None, one);
    let second = Failed::again(Some(first), one);
    assert_eq!((first.times, second.times), (1, 2));
    assert_eq!(Failed::again(Some(second), mended).times, 1);
    assert_eq!(Failed::again(Some(Failed::again(Some(second), mended)), one).times, 1);
}
