//! Keywords of keepalived that have no counterpart, and why.

/// Keywords of an instance that Evergate needs no word for: it does so anyway, or they say how
/// keepalived does what Evergate does in another way.
const NEEDLESS: [&str; 19] = [
    "state",
    "debug",
    "accept",
    "native_ipv6",
    "kernel_rx_buf_size",
    "skip_check_adv_addr",
    "check_unicast_src",
    "linkbeat_use_polling",
    "garp_master_delay",
    "garp_master_refresh_repeat",
    "garp_lower_prio_delay",
    "garp_lower_prio_repeat",
    "lower_prio_no_advert",
    "higher_prio_send_advert",
    "thread_timer_expired",
    "timer_expired_backup",
    "notify_priority_changes",
    "no_virtual_ipaddress",
    "promote_secondaries",
];

/// Why keywords of an instance, or of a group, are not carried.
const LOST: [(&str, &str); 24] = [
    ("use_vmac", "addresses have the hardware address of the interface"),
    ("use_vmac_addr", "addresses have the hardware address of the interface"),
    ("vmac_xmit_base", "addresses have the hardware address of the interface"),
    ("use_ipvlan", "addresses are put on the interface itself"),
    ("vrf", "addresses are put on the interface itself"),
    ("no_accept", "whoever has an address always answers on it"),
    ("strict_mode", "RFC 9568 is kept to, but for the documented exceptions"),
    ("virtual_routes", "routes are not moved; a program in `on_change` can do that"),
    ("virtual_rules", "rules are not moved; a program in `on_change` can do that"),
    ("mcast_src_ip", "adverts come from the interface's first address"),
    ("unicast_src_ip", "adverts come from the interface's first address"),
    ("mcast_dst_ip", "adverts go to 224.0.0.18 and ff02::12"),
    ("track_src_ip", "adverts come from the interface's first address"),
    ("unicast_ttl", "adverts have a TTL of 255"),
    ("unicast_fault_no_peer", "without peers adverts go out by multicast"),
    ("old_unicast_checksum", "checksums of old releases are not made"),
    ("lvs_sync_daemon_interface", "there is no LVS"),
    ("smtp_alert", "mail is not sent; events and metrics say the same"),
    ("track_bfd", "there is no BFD; heartbeats tell a dead machine from a dead link"),
    ("dont_track_primary", "the interface is always tracked: adverts cannot be sent without it"),
    ("down_timer_adverts", "three missing adverts make a master dead (RFC 9568)"),
    ("owner_ignore_adverts", "no machine owns an address for ever"),
    ("garp_extra_if", "addresses are announced on their interface"),
    ("sync_group_tracking_weight", "each address has weights of its own"),
];

/// Why sections are not carried.
const SECTIONS: [(&str, &str); 9] = [
    ("virtual_server", "that is for a [listener.NAME], a [route.NAME] and a [pool.NAME]"),
    ("virtual_server_group", "that is for a [listener.NAME], a [route.NAME] and a [pool.NAME]"),
    ("SSL", "that is for checks of a [pool.NAME]"),
    ("static_ipaddress", "addresses that stay are for the system's own configuration"),
    ("static_routes", "routes are for the system's own configuration"),
    ("static_rules", "rules are for the system's own configuration"),
    ("bfd_instance", "there is no BFD; heartbeats tell a dead machine from a dead link"),
    ("track_group", "`sync` groups addresses"),
    ("garp_group", "announcements need no delays between interfaces"),
];

/// Whether a keyword of an instance needs no counterpart.
pub(super) fn is_needless(keyword: &str) -> bool {
    NEEDLESS.contains(&keyword)
}

/// Why a keyword of an instance or a group is not carried.
pub(super) fn lost(keyword: &str) -> &'static str {
    let known = LOST.iter().find(|(lost, _)| *lost == keyword);
    known.map_or("it is not known here", |(_, why)| why)
}

/// Why a section is not carried.
pub(super) fn section(keyword: &str) -> &'static str {
    let known = SECTIONS.iter().find(|(lost, _)| *lost == keyword);
    known.map_or("it is not known here", |(_, why)| why)
}
