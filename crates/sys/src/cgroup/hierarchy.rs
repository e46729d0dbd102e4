//! Which hierarchies there are, where in them we are, and what may be done there.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::Access;

use super::group::Part;
use super::{Controller, LEAF, Support, Version, why};

/// A hierarchy that groups can be made in.
#[derive(Debug)]
pub(super) struct Hierarchy {
    pub(super) version: Version,
    /// The group that we were started in.
    pub(super) directory: PathBuf,
    /// Those of its controllers that we use.
    pub(super) controllers: Vec<Controller>,
    pub(super) is_freezer: bool,
}

/// A hierarchy that is mounted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Found {
    version: Version,
    /// Of version 1; those of version 2 are asked for.
    controllers: Vec<String>,
    /// The group that we are in; `None` if it is not below the mount.
    directory: Option<PathBuf>,
}

/// Reads proc_pid_mountinfo(5) and, from cgroups(7), `/proc/self/cgroup`.
pub(super) fn find(mountinfo: &str, own: &str) -> Vec<Found> {
    mountinfo.lines().filter_map(|line| mount(line, own)).collect()
}

fn mount(line: &str, own: &str) -> Option<Found> {
    let (fields, rest) = line.split_once(" - ")?;
    let mut fields = fields.split(' ').skip(3);
    let (root, point) = (unescape(fields.next()?), unescape(fields.next()?));
    let mut rest = rest.split(' ');
    let version = match rest.next()? {
        "cgroup" => Version::V1,
        "cgroup2" => Version::V2,
        _ => return None,
    };
    let options = rest.nth(1).unwrap_or_default();
    // Each line is "number:controllers:path"; version 2 has no controllers there.
    let memberships = own.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        Some((parts.next()?, parts.next()?))
    });
    let is_ours = |listed: &str| match version {
        Version::V1 => !listed.is_empty() && listed.split(',').all(|one| lists(options, one)),
        Version::V2 => listed.is_empty(),
    };
    let (listed, path) = memberships.into_iter().find(|(listed, _)| is_ours(listed))?;
    let below = Path::new(path).strip_prefix(&root).ok();
    // A path with ".." is outside of our namespace.
    let below = below.filter(|below| !below.components().any(|part| part.as_os_str() == ".."));
    Some(Found {
        version,
        controllers: listed.split(',').filter(|one| !one.is_empty()).map(str::to_owned).collect(),
        // Put together anew, so that nothing joined leaves no slash at the end.
        directory: below.map(|below| Path::new(&point).join(below).components().collect()),
    })
}

fn lists(options: &str, controller: &str) -> bool {
    options.split(',').any(|option| option == controller)
}

/// Blanks and the like are written as three octal digits.
fn unescape(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) => {
                plain.push(char::from(code));
                plain.push_str(&part[3..]);
            }
            None => {
                plain.push('\\');
                plain.push_str(part);
            }
        }
    }
    plain
}

/// Which of them are of use, best first for knowing all processes of a run, and what they can do.
pub(super) fn choose(found: Vec<Found>, base: &str) -> (Vec<Hierarchy>, Support) {
    let missing = |controller: Controller| {
        format!("no cgroup {} controller is mounted here", controller.name())
    };
    let mut support = Support {
        memory: Err(missing(Controller::Memory)),
        cpu: Err(missing(Controller::Cpu)),
        pids: Err(missing(Controller::Pids)),
        tree: Err("no control groups are mounted here".to_owned()),
    };
    let mut hierarchies = Vec::new();
    for one in found {
        let Offer { directory, usable, refused } = one.examine(base);
        for &(controller, ref why) in &refused {
            let known = support.of_mut(controller);
            if known.is_err() {
                *known = Err(why.clone());
            }
        }
        let directory = match directory {
            Ok(directory) => directory,
            Err(why) => {
                if support.tree.is_err() {
                    support.tree = Err(why);
                }
                continue;
            }
        };
        for &controller in &usable {
            *support.of_mut(controller) = Ok(one.version);
        }
        let is_freezer = one.controllers.iter().any(|name| name == "freezer");
        // The service manager's own hierarchy of version 1 is not ours to use.
        if one.version == Version::V2 || is_freezer || !usable.is_empty() {
            let version = one.version;
            hierarchies.push(Hierarchy { version, directory, controllers: usable, is_freezer });
        }
    }
    sort(&mut hierarchies, &mut support);
    (hierarchies, support)
}

/// Puts the best one for knowing all processes of a run first.
pub(super) fn sort(hierarchies: &mut [Hierarchy], support: &mut Support) {
    hierarchies.sort_by_key(|one| match (one.version, one.is_freezer) {
        (Version::V2, _) => 0,
        (Version::V1, true) => 1,
        (Version::V1, false) if one.controllers.contains(&Controller::Pids) => 2,
        (Version::V1, false) => 3,
    });
    if let Some(first) = hierarchies.first() {
        support.tree = Ok(first.version);
    }
}

/// What a hierarchy has for us.
struct Offer {
    /// Where groups can be made, or why nowhere.
    directory: Result<PathBuf, String>,
    usable: Vec<Controller>,
    refused: Vec<(Controller, String)>,
}

impl Found {
    fn examine(&self, base: &str) -> Offer {
        let Some(own) = &self.directory else {
            let why = format!("our own group of {} is out of sight", self.version);
            return self.refuse(self.listed(None), &why);
        };
        // Started anew in place, we are where we put ourselves.
        let settled = own.parent().filter(|parent| own.ends_with(LEAF) && parent.ends_with(base));
        let directory = settled.and_then(Path::parent).unwrap_or(own).to_owned();
        let listed = self.listed(Some(&directory));
        if let Err(error) = writable(&directory) {
            let why = format!("{} is not ours to use: {}", directory.display(), why(&error));
            return self.refuse(listed, &why);
        }
        match self.version {
            Version::V1 => Offer { directory: Ok(directory), usable: listed, refused: vec![] },
            Version::V2 => match delegated(&directory, settled.is_some()) {
                Ok(()) => Offer { directory: Ok(directory), usable: listed, refused: vec![] },
                // To know its processes a group needs no controllers.
                Err(why) => Offer {
                    directory: Ok(directory),
                    usable: vec![],
                    refused: listed.into_iter().map(|one| (one, why.clone())).collect(),
                },
            },
        }
    }

    fn refuse(&self, listed: Vec<Controller>, why: &str) -> Offer {
        Offer {
            directory: Err(why.to_owned()),
            usable: vec![],
            refused: listed.into_iter().map(|one| (one, why.to_owned())).collect(),
        }
    }

    /// Those of its controllers that we know what to do with.
    fn listed(&self, directory: Option<&Path>) -> Vec<Controller> {
        let available = match (self.version, directory) {
            (Version::V1, _) => self.controllers.join(" "),
            (Version::V2, Some(directory)) => {
                fs::read_to_string(directory.join("cgroup.controllers")).unwrap_or_default()
            }
            (Version::V2, None) => String::new(),
        };
        let lists = |one: &Controller| available.split_whitespace().any(|name| name == one.name());
        Controller::ALL.into_iter().filter(lists).collect()
    }
}

/// Whether groups can be made in `directory` and processes be moved out of it.
fn writable(directory: &Path) -> io::Result<()> {
    rustix::fs::access(directory, Access::WRITE_OK)?;
    Ok(rustix::fs::access(directory.join("cgroup.procs"), Access::WRITE_OK)?)
}

/// Whether the groups below `directory`, of version 2, can have controllers: nobody may be in it
/// but us, who will move.
fn delegated(directory: &Path, is_settled: bool) -> Result<(), String> {
    let is_root = !directory.join("cgroup.events").exists();
    if is_root || is_settled {
        return Ok(());
    }
    let control = directory.join("cgroup.subtree_control");
    rustix::fs::access(&control, Access::WRITE_OK).map_err(|error| {
        format!("{} is not ours to use: {}", control.display(), why(&error.into()))
    })?;
    let members = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    let own = std::process::id().to_string();
    if members.lines().all(|pid| pid == own) {
        return Ok(());
    }
    Err(format!(
        "{} holds other processes than ours; a service with Delegate=yes has a group of its own",
        directory.display()
    ))
}

impl Hierarchy {
    /// Lets the groups of version 2 below have controllers, and moves this process into a group
    /// beside them, because none may be above them. Returns the controllers that are refused.
    pub(super) fn delegate(&self, base: &str) -> Vec<(Controller, String)> {
        let ours = self.directory.join(base);
        let moved = || -> io::Result<()> {
            fs::create_dir_all(&ours)?;
            // Only the root of all may have both processes and controllers below.
            if !self.directory.join("cgroup.events").exists() {
                return Ok(());
            }
            fs::create_dir_all(ours.join(LEAF))?;
            fs::write(ours.join(LEAF).join("cgroup.procs"), "0")
        };
        if let Err(error) = moved() {
            let why = format!("cannot move to {}: {}", ours.join(LEAF).display(), why(&error));
            return self.controllers.iter().map(|&one| (one, why.clone())).collect();
        }
        let enable = |controller: Controller| -> io::Result<()> {
            let line = format!("+{}", controller.name());
            fs::write(self.directory.join("cgroup.subtree_control"), &line)?;
            fs::write(ours.join("cgroup.subtree_control"), &line)
        };
        let refused = self.controllers.iter().filter_map(|&one| {
            let error = enable(one).err()?;
            Some((one, format!("it cannot be enabled in {}: {}", ours.display(), why(&error))))
        });
        refused.collect()
    }

    /// Makes the group `name`.
    pub(super) fn make(&self, base: &str, name: &str) -> io::Result<Part> {
        let directory = self.directory.join(base).join(name);
        fs::create_dir_all(&directory)?;
        let (version, controllers) = (self.version, self.controllers.clone());
        Ok(Part { version, directory, controllers, is_freezer: self.is_freezer })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(version: Version, controllers: &[&str], directory: Option<&str>) -> Found {
        Found {
            version,
            controllers: controllers.iter().map(|&one| one.to_owned()).collect(),
            directory: directory.map(PathBuf::from),
        }
    }

    #[test]
    fn our_group_is_found_in_every_hierarchy() {
        use Version::{V1, V2};

        let mountinfo = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
41 31 0:38 / /sys/fs/cgroup/my\\040unified rw,relatime - cgroup2 cgroup2 rw
not a mount
";
        let own = "9:name=systemd:/\n7:pids:/a\n4:memory:/app/x\n1:cpu,cpuacct:/\n0::/u\n";
        let expected = [
            found(V1, &["cpu", "cpuacct"], Some("/sys/fs/cgroup/cpu,cpuacct/")),
            found(V1, &["memory"], Some("/sys/fs/cgroup/memory/app/x")),
            found(V1, &["name=systemd"], Some("/sys/fs/cgroup/systemd/")),
            found(V1, &["pids"], Some("/sys/fs/cgroup/pids/a")),
            found(V2, &[], Some("/sys/fs/cgroup/my unified/u")),
        ];
        assert_eq!(find(mountinfo, own), expected);
    }

    #[test]
    fn a_mount_of_a_part_shows_only_what_is_below() {
        let inside = "1 1 0:1 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
        let all = find(inside, "0::/docker/abc/init\n");
        assert_eq!(all, [found(Version::V2, &[], Some("/sys/fs/cgroup/init"))]);
        assert_eq!(find(inside, "0::/elsewhere\n"), [found(Version::V2, &[], None)]);
        let other = "1 1 0:1 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n";
        assert_eq!(find(other, "0::/../up\n"), [found(Version::V2, &[], None)]);
        assert_eq!(find(other, "garbage\n"), []);
    }

    /// A directory that looks like a group of version 2 to those who only read and write files.
    fn imitation(name: &str, members: &str) -> PathBuf {
        let place = std::env::temp_dir().join(format!("evergate-v2-{name}-{}", std::process::id()));
        fs::create_dir_all(&place).unwrap();
        let files = [
            ("cgroup.events", "populated 1\n"),
            ("cgroup.procs", members),
            ("cgroup.controllers", "cpuset cpu io memory pids\n"),
            ("cgroup.subtree_control", ""),
        ];
        for (file, text) in files {
            fs::write(place.join(file), text).unwrap();
        }
        place
    }

    #[test]
    fn a_delegated_group_gives_its_controllers_once_we_are_out_of_the_way() {
        let place = imitation("delegated", &format!("{}\n", std::process::id()));
        let us = |place: &Path| vec![found(Version::V2, &[], place.to_str())];
        let (hierarchies, support) = choose(us(&place), "evergate-1-1");
        assert_eq!(hierarchies[0].controllers, Controller::ALL);
        assert_eq!((support.cpu, support.tree), (Ok(Version::V2), Ok(Version::V2)));
        assert!(hierarchies[0].delegate("evergate-1-1").is_empty());
        let ours = place.join("evergate-1-1");
        let read = |path: PathBuf| fs::read_to_string(path).unwrap();
        assert_eq!(read(ours.join(LEAF).join("cgroup.procs")), "0");
        for above in [&place, &ours] {
            assert_eq!(read(above.join("cgroup.subtree_control")), "+pids", "the last of three");
        }
        // The same keeper, started anew in place, knows where it is, whoever else is there by now.
        fs::write(place.join("cgroup.procs"), "1\n2\n").unwrap();
        let (hierarchies, _) = choose(us(&ours.join(LEAF)), "evergate-1-1");
        assert_eq!(hierarchies[0].directory, place);
        assert_eq!(hierarchies[0].controllers, Controller::ALL);
        fs::remove_dir_all(place).unwrap();
    }

    #[test]
    fn a_group_that_we_share_with_others_still_tells_who_belongs_to_a_run() {
        let place = imitation("shared", &format!("1\n{}\n", std::process::id()));
        let found = vec![found(Version::V2, &[], place.to_str())];
        let (hierarchies, support) = choose(found, "evergate-1-1");
        assert!(hierarchies[0].controllers.is_empty());
        assert_eq!(support.tree, Ok(Version::V2));
        let why = support.memory.unwrap_err();
        assert!(why.contains("holds other processes") && why.contains("Delegate=yes"), "{why}");
        fs::remove_dir_all(place).unwrap();
    }

    #[test]
    fn what_is_missing_is_said_in_words() {
        let (hierarchies, support) = choose(vec![], "evergate-1-1");
        assert!(hierarchies.is_empty());
        assert_eq!(support.cpu, Err("no cgroup cpu controller is mounted here".to_owned()));
        let hidden = vec![found(Version::V1, &["memory"], None)];
        let (_, support) = choose(hidden, "evergate-1-1");
        let why = "our own group of cgroup v1 is out of sight".to_owned();
        assert_eq!((support.memory, support.tree), (Err(why.clone()), Err(why)));
        let (_, support) = choose(vec![found(Version::V1, &["pids"], Some("/no/such"))], "x");
        assert!(support.pids.unwrap_err().starts_with("/no/such is not ours to use: "));
    }
}
