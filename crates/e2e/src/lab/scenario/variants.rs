//! What befalls a pair that speaks of its address in another way: over IPv6, sealed, or to each
//! other alone.

use super::super::product::{Variant, Wish};
use super::Scenario;
use super::deaths::KILLED;
use super::moves::MOVED;
use super::networks::PULLED;

pub(super) const ALL: &[Scenario] = &[
    as_variant(KILLED, "killed-ipv6", Variant::Ipv6),
    as_variant(KILLED, "killed-hmac", Variant::Hmac),
    as_variant(KILLED, "killed-unicast", Variant::Unicast),
    as_variant(PULLED, "link-down-ipv6", Variant::Ipv6),
    as_variant(PULLED, "link-down-hmac", Variant::Hmac),
    as_variant(PULLED, "link-down-unicast", Variant::Unicast),
    as_variant(MOVED, "failover-ipv6", Variant::Ipv6),
    as_variant(MOVED, "failover-hmac", Variant::Hmac),
    as_variant(MOVED, "failover-unicast", Variant::Unicast),
];

const fn as_variant(plain: Scenario, name: &'static str, variant: Variant) -> Scenario {
    Scenario { name, wish: Wish { variant, ..plain.wish }, is_for_all: false, ..plain }
}
