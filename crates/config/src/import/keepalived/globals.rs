//! What holds for all instances: `global_defs`, scripts, groups.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Notes;
use super::block::Statement;
use super::text::Origin;
use super::tracking::{self, Watch};
use super::words;
use crate::duration;
use crate::vip::{DELAY_MAX, REFRESH_MAX, REPEAT_MAX};

/// Sections that are read, beside instances.
pub(super) const SECTIONS: [&str; 7] = [
    "global_defs",
    "vrrp_script",
    "vrrp_track_process",
    "vrrp_track_file",
    "track_file",
    "vrrp_sync_group",
    "interface_up_down_delays",
];

/// Keywords of `global_defs` that say how keepalived itself runs, or what Evergate does anyway.
const NEEDLESS: [&str; 46] = [
    "script_user",
    "enable_script_security",
    "use_symlink_paths",
    "set_supplementary_groups",
    "process_names",
    "process_name",
    "vrrp_process_name",
    "checker_process_name",
    "lvs_process_name",
    "bfd_process_name",
    "dynamic_interfaces",
    "disable_local_igmp",
    "vrrp_garp_master_delay",
    "vrrp_garp_master_refresh_repeat",
    "vrrp_garp_lower_prio_delay",
    "vrrp_garp_lower_prio_repeat",
    "vrrp_lower_prio_no_advert",
    "vrrp_higher_prio_send_advert",
    "vrrp_skip_check_adv_addr",
    "vrrp_check_unicast_src",
    "vrrp_priority",
    "vrrp_no_swap",
    "vrrp_rt_priority",
    "vrrp_cpu_affinity",
    "vrrp_rlimit_rttime",
    "vrrp_rlimit_rtime",
    "checker_priority",
    "checker_no_swap",
    "checker_rt_priority",
    "checker_cpu_affinity",
    "max_auto_priority",
    "min_auto_priority_delay",
    "vrrp_netlink_cmd_rcv_bufs",
    "vrrp_netlink_cmd_rcv_bufs_force",
    "vrrp_netlink_monitor_rcv_bufs",
    "vrrp_netlink_monitor_rcv_bufs_force",
    "vrrp_rx_bufs_policy",
    "vrrp_rx_bufs_multiplier",
    "log_unknown_vrids",
    "umask",
    "random_seed",
    "include_check",
    "startup_script_timeout",
    "shutdown_script_timeout",
    "smtp_connect_timeout",
    "smtp_helo_name",
];

/// Why keywords of `global_defs` are not carried.
const LOST: [(&str, &str); 18] = [
    ("vrrp_garp_interval", "announcements need no delays between interfaces"),
    ("vrrp_gna_interval", "announcements need no delays between interfaces"),
    ("vrrp_min_garp", "`announce.repeat` says how often an address is announced"),
    ("vrrp_down_timer_adverts", "three missing adverts make a master dead (RFC 9568)"),
    ("vrrp_owner_ignore_adverts", "no machine owns an address for ever"),
    ("notification_email", "mail is not sent; events and metrics say the same"),
    ("notification_email_from", "mail is not sent; events and metrics say the same"),
    ("smtp_server", "mail is not sent; events and metrics say the same"),
    ("smtp_alert", "mail is not sent; events and metrics say the same"),
    ("notify_fifo", "events are had from `evergate events`, or a program in `on_change`"),
    ("vrrp_notify_fifo", "events are had from `evergate events`, or a program in `on_change`"),
    ("enable_dbus", "there is no D-Bus; the admin API says the same"),
    ("enable_snmp_vrrp", "there is no SNMP; metrics say the same"),
    ("enable_snmp_keepalived", "there is no SNMP; metrics say the same"),
    ("enable_traps", "there is no SNMP; metrics say the same"),
    ("vrrp_strict", "RFC 9568 is kept to, but for the documented exceptions"),
    ("vrrp_iptables", "no rules of a firewall are made"),
    ("nftables", "no rules of a firewall are made"),
];

/// What holds for all instances.
#[derive(Debug, Default)]
pub(super) struct Globals {
    /// `router_id`
    pub(super) node: Option<String>,
    /// `vrrp_version`
    pub(super) version: Option<u8>,
    pub(super) repeat: Option<u64>,
    pub(super) refresh: Option<Duration>,
    pub(super) startup_delay: Option<Duration>,
    pub(super) checksum_as_v2: bool,
    pub(super) default_interface: Option<String>,
    /// Scripts, processes and files that are tracked, by name.
    pub(super) watches: BTreeMap<String, Watch>,
    pub(super) groups: Vec<Group>,
}

/// `vrrp_sync_group`
#[derive(Debug)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) members: Vec<String>,
    /// What holds for each member too.
    pub(super) shared: Vec<Statement>,
}

impl Globals {
    pub(super) fn read(statements: &[Statement], notes: &mut Notes) -> Self {
        let mut globals = Self::default();
        for statement in statements {
            match statement.keyword() {
                "global_defs" => statement.body.iter().for_each(|one| globals.define(one, notes)),
                "vrrp_script" | "vrrp_track_process" | "vrrp_track_file" | "track_file" => {
                    globals.watches.extend(tracking::watch(statement, notes));
                }
                "vrrp_sync_group" => globals.group(statement, notes),
                "interface_up_down_delays" => notes.add(
                    statement.at.clone(),
                    "`interface_up_down_delays` is not carried: write `fall` and `rise` in \
                     `track.link`",
                ),
                _ => {}
            }
        }
        globals
    }

    fn define(&mut self, statement: &Statement, notes: &mut Notes) {
        let (at, keyword) = (&statement.at, statement.keyword());
        match keyword {
            "router_id" => self.node = statement.value().map(str::to_owned),
            "vrrp_version" => self.version = version(statement, notes),
            "vrrp_garp_master_repeat" => self.repeat = repeat(statement, notes),
            "vrrp_garp_master_refresh" => {
                self.refresh = seconds_up_to(statement, REFRESH_MAX, notes);
            }
            "vrrp_startup_delay" | "vrrp_delay_after_boot" => {
                self.startup_delay = seconds_up_to(statement, DELAY_MAX, notes);
            }
            "v3_checksum_as_v2" => self.checksum_as_v2 = is_on(statement),
            "default_interface" => self.default_interface = statement.value().map(str::to_owned),
            "vrrp_mcast_group4" | "vrrp_mcast_group6" => notes.add(
                at.clone(),
                format!("`{keyword}` is not carried: adverts go to 224.0.0.18 and ff02::12"),
            ),
            _ if NEEDLESS.contains(&keyword) => {}
            _ => {
                let known = LOST.iter().find(|(lost, _)| *lost == keyword);
                let why = known.map_or("it is not known here", |(_, why)| why);
                notes.add(at.clone(), format!("`{keyword}` is not carried: {why}"));
            }
        }
    }

    fn group(&mut self, statement: &Statement, notes: &mut Notes) {
        let Some(name) = statement.value().filter(|name| !name.is_empty()) else {
            return notes.add(statement.at.clone(), "a `vrrp_sync_group` needs a name");
        };
        let mut group = Group { name: name.to_owned(), members: Vec::new(), shared: Vec::new() };
        for line in &statement.body {
            match line.keyword() {
                "group" => group.members.extend(line.listed().map(|(_, word)| word.to_owned())),
                "global_tracking" => {}
                "track_interface" | "track_script" | "track_process" | "track_file" => {
                    group.shared.push(line.clone());
                }
                keyword if keyword.starts_with("notify") => group.shared.push(line.clone()),
                keyword if words::is_needless(keyword) => {}
                keyword => {
                    let why = words::lost(keyword);
                    notes.add(line.at.clone(), format!("`{keyword}` is not carried: {why}"));
                }
            }
        }
        match group.members.len() {
            0 => notes.add(statement.at.clone(), format!("the group `{name}` has no members")),
            1 => notes.add(
                statement.at.clone(),
                format!("the group `{name}` has one member, so nothing moves with it"),
            ),
            _ => self.groups.push(group),
        }
    }
}

/// 2 or 3.
pub(super) fn version(statement: &Statement, notes: &mut Notes) -> Option<u8> {
    match statement.value() {
        Some("2") => Some(2),
        Some("3") => Some(3),
        _ => {
            notes.add(statement.at.clone(), format!("`{}` is 2 or 3", statement.keyword()));
            None
        }
    }
}

pub(super) fn number(statement: &Statement, notes: &mut Notes) -> Option<u64> {
    let number = statement.value().and_then(|value| value.parse().ok());
    if number.is_none() {
        bad(statement, &statement.at, "a whole number", notes);
    }
    number
}

/// Seconds, which may have a fraction.
pub(super) fn seconds(statement: &Statement, notes: &mut Notes) -> Option<Duration> {
    let seconds = statement.value().and_then(|value| value.parse::<f64>().ok());
    let seconds = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    if seconds.is_none() {
        bad(statement, &statement.at, "a number of seconds", notes);
    }
    // What is finer than our own durations is noise of the fraction.
    seconds.map(|seconds| Duration::from_millis((seconds.as_micros() as u64).div_ceil(1000)))
}

/// Seconds, but no more than there can be here.
pub(super) fn seconds_up_to(
    statement: &Statement,
    most: Duration,
    notes: &mut Notes,
) -> Option<Duration> {
    let written = seconds(statement, notes)?;
    if written > most {
        let (keyword, most) = (statement.keyword(), duration::show(most));
        notes.add(statement.at.clone(), format!("`{keyword}` becomes {most}: no more is possible"));
    }
    Some(written.min(most))
}

/// How often an address is announced.
pub(super) fn repeat(statement: &Statement, notes: &mut Notes) -> Option<u64> {
    let written = number(statement, notes)?;
    let repeat = written.clamp(1, REPEAT_MAX);
    if repeat != written {
        let message = format!("`{}` of {written} becomes {repeat}", statement.keyword());
        notes.add(statement.at.clone(), message);
    }
    Some(repeat)
}

/// A switch without a word behind it is on.
pub(super) fn is_on(statement: &Statement) -> bool {
    !matches!(statement.value(), Some("false" | "off" | "no"))
}

fn bad(statement: &Statement, at: &Origin, wanted: &str, notes: &mut Notes) {
    let message = format!("`{}` needs {wanted}", statement.keyword());
    notes.add(at.clone(), message);
}
