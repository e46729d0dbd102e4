//! Who this process is, and giving that up.
//!
//! Users and groups are looked up in `/etc/passwd` and `/etc/group` themselves: the binary is
//! static, where the C library's own look-up would need plugins that are not there.

use std::io;

use rustix::process::DumpableBehavior;

use crate::table;

/// Most supplementary groups that are taken from `/etc/group`.
pub const GROUPS_MAX: usize = 256;

/// What the kernel takes for "as it is", where somebody is to become another (setresuid(2)).
const NO_ID: u32 = u32::MAX;

/// A user of this machine.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Every group, the primary one first.
    pub groups: Vec<u32>,
}

/// Whether a crash may leave a core file, and processes of the same user may look inside.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Dumpable {
    /// It may.
    Yes,
    /// It may not; `/proc/self` then belongs to root.
    No,
}

/// Whether this process runs as root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The user that this process acts as.
pub fn current_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// The user called `name`, or `NotFound`. A number is taken as user id and group id.
///
/// `InvalidInput` if it is nobody's number: who is asked to become that one stays who they are.
pub fn user(name: &str) -> io::Result<User> {
    let user = look_up(name)?;
    if user.uid == NO_ID || user.gid == NO_ID {
        let why = format!("{name} has the number {NO_ID}, which is nobody's");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    Ok(user)
}

fn look_up(name: &str) -> io::Result<User> {
    if let Ok(id) = name.parse() {
        return Ok(User { uid: id, gid: id, groups: vec![id] });
    }
    let passwd = table::read("/etc/passwd")?;
    let group = table::read("/etc/group").unwrap_or_default();
    find(name, &passwd, &group).ok_or_else(|| {
        io::Error::new(io::ErrorKind::NotFound, format!("no user {name} in /etc/passwd"))
    })
}

/// What people call the user with this number: its name in `/etc/passwd`, or else the number.
pub fn name(uid: u32) -> String {
    let passwd = table::read("/etc/passwd").unwrap_or_default();
    find_name(uid, &passwd).map_or_else(|| uid.to_string(), str::to_owned)
}

/// Reads passwd(5).
fn find_name(uid: u32, passwd: &str) -> Option<&str> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then_some(name)
    })
}

/// Reads passwd(5) and group(5).
fn find(name: &str, passwd: &str, group: &str) -> Option<User> {
    let mut entry = passwd
        .lines()
        .map(|line| line.split(':'))
        .find_map(|mut fields| (fields.next() == Some(name)).then_some(fields))?;
    let uid = entry.nth(1)?.parse().ok()?;
    let gid = entry.next()?.parse().ok()?;
    let mut groups = vec![gid];
    for line in group.lines() {
        let mut fields = line.split(':').skip(2);
        let (Some(Ok(id)), Some(members)) = (fields.next().map(str::parse), fields.next()) else {
            continue;
        };
        let listed = members.split(',').any(|member| member.trim() == name);
        if listed && !groups.contains(&id) && groups.len() < GROUPS_MAX {
            groups.push(id);
        }
    }
    Some(User { uid, gid, groups })
}

/// Becomes `user` for good, groups included; needs root. Every thread of the process changes.
///
/// An error may leave it half done, so the caller must end the process.
#[expect(unsafe_code, reason = "rustix changes one thread only; the C library changes all")]
pub fn become_user(user: &User) -> io::Result<()> {
    // SAFETY: the pointer and the length are those of a live slice, which the call only reads.
    check(unsafe { libc::setgroups(user.groups.len() as _, user.groups.as_ptr()) })?;
    // SAFETY: takes and returns plain numbers.
    check(unsafe { libc::setresgid(user.gid, user.gid, user.gid) })?;
    // SAFETY: takes and returns plain numbers.
    check(unsafe { libc::setresuid(user.uid, user.uid, user.uid) })?;
    Ok(())
}

/// Sees to it that nothing this process or its children execute gains rights (set-user-id files).
/// Of the calling thread and those it starts, so call it before there are others.
pub fn no_new_privileges() -> io::Result<()> {
    Ok(rustix::thread::set_no_new_privs(true)?)
}

/// Sets whether this process is dumpable. Becoming another user makes it [`Dumpable::No`].
pub fn set_dumpable(dumpable: Dumpable) -> io::Result<()> {
    let behavior = match dumpable {
        Dumpable::Yes => DumpableBehavior::Dumpable,
        Dumpable::No => DumpableBehavior::NotDumpable,
    };
    Ok(rustix::process::set_dumpable_behavior(behavior)?)
}

/// What root may do one by one (capabilities(7)), as far as it is needed here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Right {
    /// To configure the network.
    NetAdmin,
    /// To send and hear packets of any kind.
    NetRaw,
    /// To keep any amount of memory from being paged out.
    IpcLock,
    /// To run before others.
    SysNice,
}

/// Whether the calling thread has this right now.
pub fn has(right: Right) -> bool {
    let sets = rustix::thread::capabilities(None);
    sets.is_ok_and(|sets| sets.effective.contains(right.raw()))
}

impl Right {
    fn raw(self) -> rustix::thread::CapabilitySet {
        use rustix::thread::CapabilitySet;
        match self {
            Self::NetAdmin => CapabilitySet::NET_ADMIN,
            Self::NetRaw => CapabilitySet::NET_RAW,
            Self::IpcLock => CapabilitySet::IPC_LOCK,
            Self::SysNice => CapabilitySet::SYS_NICE,
        }
    }
}

/// Gives every right up but those of `kept` that it has, for good: also if it becomes another program.
/// Of the calling thread and those it starts, so call it before there are others.
pub fn keep_only(kept: &[Right]) -> io::Result<()> {
    use rustix::io::Errno;
    use rustix::thread::{
        CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
        remove_capability_from_bounding_set, set_capabilities,
    };

    let set = kept.iter().map(|right| right.raw());
    let permitted = capabilities(None)?.permitted & set.collect::<CapabilitySet>();
    // Those that this kernel does not know, or that we may not drop, are none of ours.
    for one in CapabilitySet::all().iter() {
        match remove_capability_from_bounding_set(one) {
            Ok(()) | Err(Errno::INVAL | Errno::PERM) => {}
            Err(error) => return Err(error.into()),
        }
    }
    match clear_ambient_capability_set() {
        Ok(()) | Err(Errno::INVAL) => {}
        Err(error) => return Err(error.into()),
    }
    let sets =
        CapabilitySets { effective: permitted, permitted, inheritable: CapabilitySet::empty() };
    Ok(set_capabilities(None, sets)?)
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn users_are_found_with_their_groups() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nshop:x:990:980::/opt:/bin/false\n";
        let group = "shop:x:980:\ndialout:x:20:bob,shop\nbad line\nvideo:x:44:shopper\n";
        let shop = User { uid: 990, gid: 980, groups: vec![980, 20] };
        assert_eq!(find("shop", passwd, group), Some(shop));
        assert_eq!(find("sho", passwd, group), None);
        assert_eq!(find("bad", "bad:x:one:2", group), None);
        assert_eq!(find_name(990, passwd), Some("shop"));
        assert_eq!(find_name(99, passwd), None);
    }

    #[test]
    fn names_and_numbers_are_looked_up_on_this_machine() {
        assert_eq!(user("root").unwrap().uid, 0);
        assert_eq!(user("65534").unwrap().gid, 65534);
        let error = user("no such user").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().contains("no such user"));
        let error = user("4294967295").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "it would stay root");
    }

    #[test]
    fn rights_that_are_not_kept_are_gone_for_good() {
        // In a thread of its own, because there is no way back.
        let status = std::thread::spawn(|| {
            keep_only(&[Right::NetAdmin, Right::NetRaw]).unwrap();
            assert!(!has(Right::IpcLock) && !has(Right::SysNice));
            assert!(!is_root() || has(Right::NetAdmin) && has(Right::NetRaw));
            fs::read_to_string("/proc/thread-self/status").unwrap()
        });
        let status = status.join().unwrap();
        let line = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            u64::from_str_radix(line.trim(), 16).unwrap()
        };
        let both = 1 << 12 | 1 << 13;
        for name in ["CapEff:", "CapPrm:"] {
            assert_eq!(line(name) & !both, 0, "{status}");
            assert!(!is_root() || line(name) == both, "{status}");
        }
        assert_eq!(line("CapInh:"), 0, "{status}");
        assert!(!is_root() || line("CapBnd:") == 0, "{status}");
    }

    #[test]
    fn dropping_rights_changes_every_thread_for_good() {
        // In a process of its own, because there is no way back.
        if std::env::var_os("EVERGATE_TEST_DROP").is_none() {
            let test = "privilege::tests::dropping_rights_changes_every_thread_for_good";
            let own = std::env::current_exe().unwrap();
            let output = std::process::Command::new(own)
                .args(["--exact", test, "--nocapture"])
                .env("EVERGATE_TEST_DROP", "1")
                .output()
                .unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            return;
        }
        no_new_privileges().unwrap();
        assert!(rustix::thread::no_new_privs().unwrap());
        let nobody = User { uid: 65534, gid: 65534, groups: vec![65534, 20] };
        if !is_root() {
            assert!(become_user(&nobody).is_err(), "only root may");
            return;
        }
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || {
            wait.recv().unwrap();
            fs::read_to_string("/proc/thread-self/status").unwrap()
        });
        become_user(&nobody).unwrap();
        go.send(()).unwrap();
        let status = other.join().unwrap();
        assert!(status.contains("Uid:\t65534\t65534\t65534\t65534"), "{status}");
        assert!(status.contains("Groups:\t20 65534"), "{status}");
        assert!(become_user(&User { uid: 0, gid: 0, groups: vec![0] }).is_err());
        set_dumpable(Dumpable::Yes).unwrap();
        assert!(fs::read_dir("/proc/self/fd").is_ok(), "readable again");
    }
}
