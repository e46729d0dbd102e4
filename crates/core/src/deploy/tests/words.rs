use super::*;

#[test]
fn a_plan_reads_as_what_will_be_done() {
    let shown = |order: &Order| plan(order).join("\n");
    assert_eq!(
        shown(&order(4, 1, 0, OnFailure::Abort)),
        "1. shop/0: start the new run beside the old one, wait until it is ready, watch it for 10s \
         (canary), then drain and stop the old one\n\
         2. shop/1 to shop/3, one at a time: start the new run beside the old one, wait until it \
         is ready, then drain and stop the old one\n\
         If a new run fails: that instance keeps or gets back its old run, and the deploy stops \
         there"
    );
    let restart = Order { purpose: Purpose::Restart, ..order(3, 0, 5, OnFailure::Continue) };
    assert_eq!(
        shown(&restart),
        "1. shop/0: drain and stop the old run, start a fresh run, wait until it is ready\n\
         2. shop/1 and shop/2, up to 2 at a time: drain and stop the old run, start a fresh run, \
         wait until it is ready\n\
         If a new run fails: that instance keeps or gets back its old run, and the deploy goes on"
    );
    let two = plan(&order(2, 2, 0, OnFailure::Rollback));
    assert!(two[1].starts_with("2. shop/1: start"), "{two:?}");
    assert_eq!(two[2], "If a new run fails: every instance gets its old revision back");
    assert_eq!(plan(&order(0, 1, 0, OnFailure::Abort)), ["shop: no instance is to be replaced"]);
}
