//! The verbs of the operating system that Evergate needs, each safe to call.
//!
//! This is the only crate with `unsafe`, and even here it is denied by default: each use is allowed
//! where it stands, with the reason it is sound and a test. Where rustix has the call, rustix makes
//! it. Files are named after the thing they handle; none of them decides anything.

pub mod cgroup;
pub mod child;
pub mod clock;
pub mod code;
pub mod cpus;
mod datagram;
pub mod delivery;
pub mod directory;
pub mod echo;
pub mod exec;
pub mod exit;
pub mod family;
pub mod flow;
pub mod folder;
pub mod guard;
pub mod image;
pub mod inherited;
pub mod limits;
pub mod listen;
pub mod listening;
pub mod mac;
pub mod memfd;
pub mod namespace;
pub mod neighbour;
pub mod netlink;
pub mod notify_socket;
pub mod oom;
mod packet_filter;
pub mod peek;
pub mod pipe;
pub mod privilege;
pub mod process;
pub mod random;
pub mod real_time;
pub mod regular_file;
pub mod rlimit;
pub mod sendfile;
pub mod seqpacket;
pub mod shared_page;
pub mod signal;
mod sockopt;
pub mod splice;
pub mod stderr;
mod strings;
pub mod table;
pub mod timer;
pub mod tree;
pub mod vrrp_socket;
pub mod wait;
