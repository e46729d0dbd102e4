use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use super::*;
use crate::time::Instant;

mod simulation;

const BOTH: Parts = Parts { worker: true, keeper: true };
const WORKER: Parts = Parts { worker: true, keeper: false };
const KEEPER: Parts = Parts { worker: false, keeper: true };

fn at(secs: u64) -> Instant {
    Instant::EPOCH + Duration::from_secs(secs)
}

fn served(side: Side, requests: u64, errors: u64) -> Input {
    Input::Served(side, Served { requests, errors })
}

/// Every input, with a name. Times are such that each phase is over at 1,000 s.
fn inputs() -> Vec<(&'static str, u64, Input)> {
    vec![
        ("checked", 1, Input::Checked(Ok(()))),
        ("not checked", 1, Input::Checked(Err("too old".into()))),
        ("ready", 1, Input::Ready),
        ("activated", 1, Input::Activated),
        ("probed", 1, Input::Probed(Ok(()))),
        ("not probed", 1, Input::Probed(Err("status 404".into()))),
        ("released", 1, Input::Released(Side::Old)),
        ("new released", 1, Input::Released(Side::New)),
        ("acquired", 1, Input::Acquired),
        ("old served", 1, served(Side::Old, 100, 100)),
        ("new served", 1, served(Side::New, 100, 100)),
        ("old lost", 1, Input::Lost(Side::Old, "signal 9".into())),
        ("new lost", 1, Input::Lost(Side::New, "exit 1".into())),
        ("stayed", 1, Input::Stayed("no such file".into())),
        ("executed", 1, Input::Executed),
        ("stop", 1, Input::Stop("the end".into())),
        ("early", 1, Input::Tick),
        ("late", 1_000, Input::Tick),
    ]
}

/// What comes of an input: outputs, and the phase after them.
fn outputs(upgrade: &mut Upgrade) -> String {
    let outputs = core::iter::from_fn(|| upgrade.next_output()).map(|output| match output {
        Output::End(Outcome::Done) => "done".to_string(),
        Output::End(Outcome::Refused(why)) => format!("refused: {why}"),
        Output::End(Outcome::Returned(why)) => format!("returned: {why}"),
        Output::End(Outcome::Partial(why)) => format!("partial: {why}"),
        Output::Acquire(side) => format!("acquire {side:?}"),
        Output::Check
        | Output::Spawn
        | Output::Activate
        | Output::Probe
        | Output::Release
        | Output::Recall
        | Output::Retire
        | Output::Finish
        | Output::Kill
        | Output::Dismiss
        | Output::Rehearse
        | Output::Execute => format!("{output:?}"),
    });
    outputs.collect::<Vec<_>>().join(", ")
}

/// An upgrade after these inputs, all of them at once.
fn after(parts: Parts, inputs: &[&str]) -> Upgrade {
    let mut upgrade = Upgrade::new(Policy::default(), parts, Instant::EPOCH);
    // Both are known by then, with nothing served.
    upgrade.handle(Instant::EPOCH, served(Side::Old, 0, 0));
    upgrade.handle(Instant::EPOCH, served(Side::New, 0, 0));
    for name in inputs {
        let (_, _, input) = self::inputs().into_iter().find(|(n, ..)| n == name).unwrap();
        let time = if *name == "late" { at(500) } else { Instant::EPOCH };
        upgrade.handle(time, input);
    }
    outputs(&mut upgrade);
    upgrade
}

/// Checks every input to the upgrade after `path`: those in `table` have these consequences, the
/// others none.
fn expect(parts: Parts, path: &[&str], phase: Phase, table: &[(&str, Phase, &str)]) {
    for (name, time, input) in inputs() {
        let mut upgrade = after(parts, path);
        assert_eq!(upgrade.phase(), phase, "{parts:?} after {path:?}");
        let deadline = upgrade.deadline();
        upgrade.handle(at(time), input);
        let said = outputs(&mut upgrade);
        let context = format!("{parts:?} in {phase:?}: {name}");
        match table.iter().find(|(n, ..)| *n == name) {
            Some((_, next, expected)) => {
                assert_eq!(said, *expected, "{context}");
                assert_eq!(upgrade.phase(), *next, "{context}");
                assert_eq!(upgrade.outcome().is_some(), upgrade.deadline().is_none(), "{context}");
            }
            None => {
                let now = (said.as_str(), upgrade.phase(), upgrade.deadline());
                assert_eq!(now, ("", phase, deadline), "{context}");
            }
        }
    }
}

const LOADING: &[&str] = &["checked"];
const ACTIVATING: &[&str] = &["checked", "ready"];
const PROBING: &[&str] = &["checked", "ready", "activated"];
const RELEASING: &[&str] = &["checked", "ready", "activated", "probed"];
const ACQUIRING: &[&str] = &["checked", "ready", "activated", "probed", "released"];
const SOAKING: &[&str] = &["checked", "ready", "activated", "probed", "released", "acquired"];
const RETURNING: &[&str] =
    &["checked", "ready", "activated", "probed", "released", "acquired", "new served"];
const REHEARSING: &[&str] =
    &["checked", "ready", "activated", "probed", "released", "acquired", "late"];
const BEFORE: &str = "the old worker was lost before (signal 9)";
const EXECUTING: &[&str] =
    &["checked", "ready", "activated", "probed", "released", "acquired", "late", "checked"];

#[test]
fn every_input_before_the_new_worker_accepts() {
    use Phase::*;
    let late = "the new binary did not say whether it could go on from here within 10 s";
    for parts in [BOTH, WORKER] {
        expect(
            parts,
            &[],
            Checking,
            &[
                ("checked", Loading, "Spawn"),
                ("not checked", Checking, "refused: too old"),
                ("old lost", Checking, "refused: the old worker: signal 9"),
                ("stop", Checking, "refused: the end"),
                ("late", Checking, &format!("refused: {late}")),
            ],
        );
        expect(
            parts,
            LOADING,
            Loading,
            &[
                ("ready", Activating, "Activate"),
                ("old lost", Loading, "Kill, refused: the old worker: signal 9"),
                ("new lost", Loading, "Kill, refused: the new worker: exit 1"),
                ("stop", Loading, "Kill, refused: the end"),
                ("late", Loading, "Kill, refused: the new worker was not ready within 30 s"),
            ],
        );
    }
}

#[test]
fn every_input_until_the_new_worker_is_the_primary_one() {
    use Phase::*;
    for parts in [BOTH, WORKER] {
        expect(
            parts,
            ACTIVATING,
            Activating,
            &[
                ("activated", Probing, "Probe"),
                ("old lost", Acquiring, "acquire New"),
                ("new lost", Activating, "Kill, refused: the new worker: exit 1"),
                ("stop", Activating, "Dismiss, refused: the end"),
                (
                    "late",
                    Activating,
                    "Kill, refused: the new worker did not begin to accept within 2 s",
                ),
            ],
        );
        expect(
            parts,
            PROBING,
            Probing,
            &[
                ("probed", Releasing, "Release"),
                ("not probed", Probing, "Dismiss, refused: status 404"),
                ("old lost", Acquiring, "acquire New"),
                ("new lost", Probing, "Kill, refused: the new worker: exit 1"),
                ("stop", Probing, "Dismiss, refused: the end"),
                (
                    "late",
                    Probing,
                    "Kill, refused: the new worker did not answer a request within 5 s",
                ),
            ],
        );
        let late = "the old worker did not let go of what is its own alone within 10 s";
        expect(
            parts,
            RELEASING,
            Releasing,
            &[
                ("released", Acquiring, "acquire New"),
                ("old lost", Acquiring, "acquire New"),
                ("new lost", Releasing, "acquire Old, Kill, returned: the new worker: exit 1"),
                ("stop", Releasing, "acquire Old, Dismiss, returned: the end"),
                ("late", Releasing, &format!("acquire Old, Dismiss, returned: {late}")),
            ],
        );
        let late = "the new worker did not take over within 2 s";
        expect(
            parts,
            ACQUIRING,
            Acquiring,
            &[
                ("acquired", Soaking, "Retire"),
                ("old lost", Acquiring, ""),
                ("new lost", Acquiring, "acquire Old, Kill, returned: the new worker: exit 1"),
                ("stop", Acquiring, ""),
                ("late", Acquiring, &format!("acquire Old, Kill, returned: {late}")),
            ],
        );
    }
}

#[test]
fn every_input_while_the_new_worker_is_watched() {
    use Phase::*;
    let worse = "100 of 100 responses of the new worker are errors (100.0 %), the old one had none \
                 to compare with";
    for (parts, next, then) in
        [(BOTH, Rehearsing, "Finish, Rehearse"), (WORKER, Soaking, "Finish, done")]
    {
        expect(
            parts,
            SOAKING,
            Soaking,
            &[
                ("new served", Returning, "Recall"),
                ("old lost", Soaking, ""),
                ("new lost", Soaking, "acquire Old, Kill, returned: the new worker: exit 1"),
                ("stop", Soaking, "Finish, partial: the end"),
                ("late", next, then),
            ],
        );
        let kill = format!("acquire Old, Kill, returned: {worse}");
        expect(
            parts,
            RETURNING,
            Returning,
            &[
                ("new released", Returning, &format!("acquire Old, Dismiss, returned: {worse}")),
                ("old lost", Acquiring, "acquire New"),
                ("new lost", Returning, &kill),
                ("stop", Returning, "acquire New, Finish, partial: the end"),
                ("late", Returning, &kill),
            ],
        );
        let respawn = format!("{BEFORE}, so another of its binary starts");
        let late = "the new worker did not take over within 2 s";
        expect(
            parts,
            &[RETURNING, &["old lost"]].concat(),
            Acquiring,
            &[
                ("acquired", Acquiring, &format!("Finish, partial: {worse}; {BEFORE}")),
                (
                    "new lost",
                    Acquiring,
                    &format!("Kill, returned: the new worker: exit 1; {respawn}"),
                ),
                ("stop", Acquiring, ""),
                ("late", Acquiring, &format!("Kill, returned: {late}; {respawn}")),
            ],
        );
    }
}

#[test]
fn an_end_while_the_new_worker_takes_over_waits_for_it() {
    use Phase::*;
    let late = "the new worker did not take over within 2 s";
    expect(
        BOTH,
        &[ACQUIRING, &["stop"]].concat(),
        Acquiring,
        &[
            ("acquired", Acquiring, "Finish, partial: the end"),
            ("old lost", Acquiring, ""),
            ("new lost", Acquiring, "acquire Old, Kill, returned: the new worker: exit 1"),
            ("stop", Acquiring, ""),
            ("late", Acquiring, &format!("acquire Old, Kill, returned: {late}")),
        ],
    );
}

#[test]
fn every_input_when_the_old_worker_was_lost_before_the_new_one_took_over() {
    use Phase::*;
    let respawn = format!("{BEFORE}, so another of its binary starts");
    let early: [&[&str]; 4] = [
        &["checked", "ready", "old lost"],
        &["checked", "ready", "activated", "old lost"],
        &["checked", "ready", "activated", "probed", "old lost"],
        &["checked", "ready", "activated", "probed", "released", "old lost"],
    ];
    for path in early {
        let late = "the new worker did not take over within 2 s";
        expect(
            BOTH,
            path,
            Acquiring,
            &[
                ("acquired", Soaking, ""),
                (
                    "new lost",
                    Acquiring,
                    &format!("Kill, returned: the new worker: exit 1; {respawn}"),
                ),
                ("stop", Acquiring, ""),
                ("late", Acquiring, &format!("Kill, returned: {late}; {respawn}")),
            ],
        );
        let path = [path, &["stop"]].concat();
        expect(
            BOTH,
            &path,
            Acquiring,
            &[
                ("acquired", Acquiring, &format!("Finish, partial: the end; {BEFORE}")),
                ("stop", Acquiring, ""),
                (
                    "new lost",
                    Acquiring,
                    &format!("Kill, returned: the new worker: exit 1; {respawn}"),
                ),
                ("late", Acquiring, &format!("Kill, returned: {late}; {respawn}")),
            ],
        );
    }
}

#[test]
fn every_input_when_the_old_worker_was_lost_and_the_new_one_is_watched() {
    use Phase::*;
    let respawn = format!("{BEFORE}, so another of its binary starts");
    for last in [["acquired", "old lost"], ["old lost", "acquired"]] {
        let path = [ACQUIRING, &last].concat();
        for (parts, next, then) in
            [(BOTH, Rehearsing, "Finish, Rehearse"), (WORKER, Soaking, "Finish, done")]
        {
            expect(
                parts,
                &path,
                Soaking,
                &[
                    (
                        "new lost",
                        Soaking,
                        &format!("Kill, returned: the new worker: exit 1; {respawn}"),
                    ),
                    ("stop", Soaking, &format!("Finish, partial: the end; {BEFORE}")),
                    ("late", next, then),
                ],
            );
        }
        let worse = "100 of 100 responses of the new worker are errors (100.0 %), the old one had \
                     none to compare with";
        let path = [path.as_slice(), &["new served"]].concat();
        expect(
            BOTH,
            &path,
            Soaking,
            &[
                (
                    "new lost",
                    Soaking,
                    &format!("Kill, returned: the new worker: exit 1; {respawn}"),
                ),
                ("stop", Soaking, &format!("Finish, partial: the end; {BEFORE}")),
                ("late", Soaking, &format!("Finish, partial: {worse}; {BEFORE}")),
            ],
        );
    }
}

#[test]
fn every_input_while_the_keeper_is_replaced() {
    use Phase::*;
    let late = "the new keeper did not say whether it could go on from here within 10 s";
    expect(
        BOTH,
        REHEARSING,
        Rehearsing,
        &[
            ("checked", Executing, "Execute"),
            ("not checked", Rehearsing, "partial: too old"),
            ("new lost", Rehearsing, "partial: the new worker: exit 1"),
            ("stop", Rehearsing, "partial: the end"),
            ("late", Rehearsing, &format!("partial: {late}")),
        ],
    );
    expect(
        KEEPER,
        LOADING,
        Rehearsing,
        &[
            ("checked", Executing, "Execute"),
            ("not checked", Rehearsing, "refused: too old"),
            ("old lost", Rehearsing, "refused: the worker: signal 9"),
            ("stop", Rehearsing, "refused: the end"),
            ("late", Rehearsing, &format!("refused: {late}")),
        ],
    );
    let late = "nobody said what became of the keeper within 1 min";
    for (parts, path, undone) in
        [(BOTH, EXECUTING, "partial"), (KEEPER, &["checked", "checked"][..], "refused")]
    {
        expect(
            parts,
            path,
            Executing,
            &[
                ("executed", Executing, "done"),
                ("stayed", Executing, &format!("{undone}: no such file")),
                ("late", Executing, &format!("{undone}: {late}")),
            ],
        );
    }
}

#[test]
fn nothing_happens_after_the_end() {
    let done = [EXECUTING, &["executed"]].concat();
    let refused = ["not checked"];
    let returned = [RETURNING, &["new released"]].concat();
    let partial = [REHEARSING, &["stop"]].concat();
    for path in [done.as_slice(), &refused, &returned, &partial] {
        let phase = after(BOTH, path).phase();
        expect(BOTH, path, phase, &[]);
    }
}

#[test]
fn an_upgrade_of_nothing_is_refused() {
    let mut upgrade =
        Upgrade::new(Policy::default(), Parts { worker: false, keeper: false }, Instant::EPOCH);
    let said = outputs(&mut upgrade);
    assert_eq!(said, "refused: neither the worker nor the keeper is to be replaced");
    assert_eq!(upgrade.deadline(), None);
}

#[test]
fn reasons_are_cut_where_a_character_ends() {
    let mut upgrade = after(BOTH, &[]);
    upgrade.handle(at(1), Input::Stop("é".repeat(REASON_BYTES_MAX)));
    let Some(Outcome::Refused(why)) = upgrade.outcome() else { panic!("it was given up") };
    assert_eq!(why.len(), REASON_BYTES_MAX);
}

#[test]
fn errors_of_the_old_worker_count_until_it_retires() {
    let mut upgrade = after(WORKER, ACQUIRING);
    upgrade.handle(at(1), served(Side::Old, 1_000, 500));
    upgrade.handle(at(1), Input::Acquired);
    upgrade.handle(at(2), served(Side::Old, 2_000, 500));
    upgrade.handle(at(3), served(Side::New, 1_000, 540));
    assert_eq!(outputs(&mut upgrade), "Retire", "it may have a few more than half");
    upgrade.handle(at(4), served(Side::New, 2_000, 1_200));
    assert_eq!(outputs(&mut upgrade), "Recall");
    upgrade.handle(at(5), Input::Released(Side::New));
    let said = outputs(&mut upgrade);
    assert!(said.starts_with("acquire Old, Dismiss, returned: 1200 of 2000"), "{said}");
}
