//! Pairs that speak over IPv6, sealed, or to each other alone; and two addresses that move as one.

use super::play;

#[test]
fn a_killed_node_is_replaced_over_ipv6() {
    play("killed-ipv6");
}

#[test]
fn a_killed_node_that_seals_is_replaced() {
    play("killed-hmac");
}

#[test]
fn a_killed_node_without_multicast_is_replaced() {
    play("killed-unicast");
}

#[test]
fn a_node_whose_cable_is_pulled_is_replaced_over_ipv6() {
    play("link-down-ipv6");
}

#[test]
fn a_node_that_seals_and_whose_cable_is_pulled_is_replaced() {
    play("link-down-hmac");
}

#[test]
fn a_node_without_multicast_and_whose_cable_is_pulled_is_replaced() {
    play("link-down-unicast");
}

#[test]
fn a_failover_over_ipv6_loses_nothing() {
    play("failover-ipv6");
}

#[test]
fn a_failover_between_nodes_that_seal_loses_nothing() {
    play("failover-hmac");
}

#[test]
fn a_failover_without_multicast_loses_nothing() {
    play("failover-unicast");
}

#[test]
fn addresses_that_move_together_are_never_apart() {
    play("sync-group");
}

#[test]
fn addresses_that_a_reload_joins_come_together_and_lose_nothing() {
    play("sync-joined");
}
