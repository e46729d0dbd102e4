use super::*;
use crate::deploy::place::RunState;

/// Each pair of runs, and what comes next with the new side as the goal: beside, and in place.
#[test]
fn what_comes_next_follows_from_the_two_runs() {
    use RunState::*;
    let (start, end, wait) = (Move::Start(New), Move::End(Old), Move::Wait);
    let (clear, settle) = (Move::End(New), Move::Settle(New));
    let table = [
        // new, old, beside, in place
        (Absent, Absent, start, start),
        (Absent, Starting, start, end),
        (Absent, Serving, start, end),
        (Absent, Failed, end, end),
        (Absent, Ending, start, wait),
        (Starting, Absent, wait, wait),
        (Starting, Starting, wait, end),
        (Starting, Serving, wait, end),
        (Starting, Failed, end, end),
        (Starting, Ending, wait, wait),
        (Serving, Absent, settle, settle),
        (Serving, Starting, end, end),
        (Serving, Serving, end, end),
        (Serving, Failed, end, end),
        (Serving, Ending, wait, wait),
        (Failed, Absent, clear, clear),
        (Failed, Starting, clear, clear),
        (Failed, Serving, clear, clear),
        (Failed, Failed, end, end),
        (Failed, Ending, clear, clear),
        (Ending, Absent, wait, wait),
        (Ending, Starting, wait, end),
        (Ending, Serving, wait, end),
        (Ending, Failed, end, end),
        (Ending, Ending, wait, wait),
    ];
    let turned = |next| match next {
        Move::Wait => Move::Wait,
        Move::Start(side) => Move::Start(Side::other(side)),
        Move::End(side) => Move::End(side.other()),
        Move::Settle(side) => Move::Settle(side.other()),
    };
    for (new, old, beside, in_place) in table {
        for (mode, expected) in
            [(Mode::Beside { width: 1 }, beside), (Mode::InPlace { width: 1 }, in_place)]
        {
            let forth = Place::with(New, old, new);
            assert_eq!(forth.next(mode), expected, "new {new:?}, old {old:?}, {mode:?}");
            // Going back is the same rule with the sides changed.
            let back = Place::with(Old, new, old);
            assert_eq!(back.next(mode), turned(expected), "back: {back:?}, {mode:?}");
        }
    }
}
