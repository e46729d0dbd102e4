//! A folder whose files are opened by names that strangers choose.
//!
//! The kernel itself sees to it that no name leads out (`openat2`, Linux 5.6). Where it cannot, or
//! a sandbox forbids the call, the way is walked step by step with the same outcome, never with a
//! weaker one.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::OnceLock;

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat, openat2, readlinkat};
use rustix::io::{Errno, retry_on_intr};

/// Symbolic links followed for one name; as many as Linux follows.
const LINKS_MAX: usize = 40;
/// How often a name is tried whose way was changed while it was walked.
const TRIES_MAX: usize = 4;
/// `NONBLOCK` matters for pipes only: without it, opening one waits for a writer.
const READ: OFlags =
    OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

/// What becomes of symbolic links below the folder. The way to the folder may hold any.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Links {
    /// They are not there.
    Never,
    /// They are followed while they stay below the folder; one that names an absolute path leads
    /// out of it, wherever that is.
    Within,
    /// They are followed.
    Anywhere,
}

/// An open folder.
#[derive(Debug)]
pub struct Folder {
    fd: OwnedFd,
    way: Way,
}

/// Who walks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Way {
    Kernel,
    Steps,
}

impl Folder {
    /// Opens the folder at `path`, which need only be searchable.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = retry_on_intr(|| openat(CWD, path, flags, Mode::empty()))?;
        Ok(Self { fd, way: way() })
    }

    /// What is the same for one folder, whatever it is called.
    pub fn identity(&self) -> io::Result<(u64, u64)> {
        let stat = fstat(&self.fd)?;
        Ok((stat.st_dev, stat.st_ino))
    }

    /// Opens what `name` stands for, to be read without waiting. It may be a folder or a device.
    ///
    /// # Errors
    /// `NotFound` also if the way leads out of the folder or over links that are not followed;
    /// `PermissionDenied` if it is there and may not be read.
    pub fn open_file(&self, name: &[u8], links: Links) -> io::Result<File> {
        let mut tries = 0;
        let opened = loop {
            tries += 1;
            let opened = match (links, self.way) {
                (Links::Never, Way::Kernel) => {
                    self.resolve(name, ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS)
                }
                (Links::Within, Way::Kernel) => self.resolve(name, ResolveFlags::BENEATH),
                (Links::Anywhere, Way::Kernel) => self.resolve(name, ResolveFlags::empty()),
                (Links::Anywhere, Way::Steps) => openat(&self.fd, name, READ, Mode::empty()),
                (Links::Never | Links::Within, Way::Steps) => walk(&self.fd, name, links),
            };
            match opened {
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if tries < TRIES_MAX => {}
                opened => break opened,
            }
        };
        opened.map(File::from).map_err(|errno| match errno {
            // EXDEV: out of the folder; ELOOP: over a link; ENXIO: a socket.
            Errno::NOENT
            | Errno::NOTDIR
            | Errno::XDEV
            | Errno::LOOP
            | Errno::NAMETOOLONG
            | Errno::INVAL
            | Errno::NXIO
            | Errno::NODEV => io::ErrorKind::NotFound.into(),
            other => other.into(),
        })
    }

    fn resolve(&self, name: &[u8], how: ResolveFlags) -> Result<OwnedFd, Errno> {
        openat2(&self.fd, name, READ, Mode::empty(), how | ResolveFlags::NO_MAGICLINKS)
    }
}

/// Whether the kernel does it; asked once.
fn way() -> Way {
    static WAY: OnceLock<Way> = OnceLock::new();
    *WAY.get_or_init(|| {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        match openat2(CWD, "/", flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS) {
            Ok(_) => Way::Kernel,
            // ENOSYS of an old kernel, or whatever a sandbox answers.
            Err(_) => Way::Steps,
        }
    })
}

/// Opens `name` below `root` one segment after the other, links read and walked by ourselves.
fn walk(root: &OwnedFd, name: &[u8], links: Links) -> Result<OwnedFd, Errno> {
    let mut passed: Vec<(OwnedFd, Vec<u8>)> = Vec::new();
    let mut ahead: Vec<Vec<u8>> = name.rsplit(|&byte| byte == b'/').map(<[u8]>::to_vec).collect();
    let mut links_left = if links == Links::Never { 0 } else { LINKS_MAX };
    while let Some(segment) = ahead.pop() {
        match segment.as_slice() {
            b"" | b"." => continue,
            b".." => {
                passed.pop().ok_or(Errno::XDEV)?;
                continue;
            }
            _ => {}
        }
        let here = passed.last().map_or(root, |(fd, _)| fd);
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let next = openat(here, segment.as_slice(), flags, Mode::empty())?;
        if FileType::from_raw_mode(fstat(&next)?.st_mode) != FileType::Symlink {
            passed.push((next, segment));
            continue;
        }
        links_left = links_left.checked_sub(1).ok_or(Errno::LOOP)?;
        let target = readlinkat(&next, "", Vec::new())?.into_bytes();
        if target.first() == Some(&b'/') {
            return Err(Errno::XDEV);
        }
        ahead.extend(target.rsplit(|&byte| byte == b'/').map(<[u8]>::to_vec));
    }
    let Some((_, last)) = passed.pop() else {
        return openat(root, ".", READ, Mode::empty());
    };
    let parent = passed.last().map_or(root, |(fd, _)| fd);
    // Should it have become a link meanwhile, this fails.
    openat(parent.as_fd(), last.as_slice(), READ | OFlags::NOFOLLOW, Mode::empty())
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read};
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    use super::*;

    /// A folder `root` with links of every kind, and a file beside it.
    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str) -> Self {
            let top = format!("evergate-folder-{name}-{}", std::process::id());
            let top = std::env::temp_dir().join(top);
            let root = top.join("root");
            std::fs::create_dir_all(root.join("deep/er")).unwrap();
            std::fs::write(top.join("secret"), "secret").unwrap();
            std::fs::write(root.join("file"), "file").unwrap();
            std::fs::write(root.join("deep/er/file"), "deep").unwrap();
            let link = |to: &str, from: &str| symlink(to, root.join(from)).unwrap();
            link("file", "in");
            link("deep/er/../er/file", "in-deep");
            link("../file", "deep/up");
            link("../../secret", "deep/out");
            link("../secret", "out");
            link("..", "above");
            link("deep", "deeper");
            link("loop", "loop");
            link("nothing", "dangling");
            symlink(root.join("file"), root.join("absolute")).unwrap();
            symlink(top.join("secret"), root.join("absolute-out")).unwrap();
            symlink("/proc/self/root", root.join("magic")).unwrap();
            Self(top)
        }

        fn open(&self, way: Way) -> Folder {
            Folder { way, ..Folder::open(&self.0.join("root")).unwrap() }
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn read(folder: &Folder, name: &str, links: Links) -> Result<String, ErrorKind> {
        let mut text = String::new();
        let opened = folder.open_file(name.as_bytes(), links);
        let mut file = opened.map_err(|error| error.kind())?;
        file.read_to_string(&mut text).map_err(|error| error.kind())?;
        Ok(text)
    }

    #[test]
    fn nothing_outside_is_reached_whoever_walks() {
        let tree = Tree::new("ways");
        let missing = Err(ErrorKind::NotFound);
        let good = |text: &str| Ok(text.to_owned());
        // Name; what it is when links are never followed, and within.
        let table = [
            ("file", good("file"), good("file")),
            ("deep/er/file", good("deep"), good("deep")),
            ("nothing", missing.clone(), missing.clone()),
            ("file/x", missing.clone(), missing.clone()),
            ("in", missing.clone(), good("file")),
            ("in-deep", missing.clone(), good("deep")),
            ("deep/up", missing.clone(), good("file")),
            ("deeper/er/file", missing.clone(), good("deep")),
            ("deeper/up", missing.clone(), good("file")),
            ("deep/out", missing.clone(), missing.clone()),
            ("deeper/out", missing.clone(), missing.clone()),
            ("out", missing.clone(), missing.clone()),
            ("above/secret", missing.clone(), missing.clone()),
            ("above/root/file", missing.clone(), missing.clone()),
            ("../secret", missing.clone(), missing.clone()),
            ("deep/../../secret", missing.clone(), missing.clone()),
            ("/etc/passwd", missing.clone(), missing.clone()),
            ("loop", missing.clone(), missing.clone()),
            ("dangling", missing.clone(), missing.clone()),
            ("absolute", missing.clone(), missing.clone()),
            ("absolute-out", missing.clone(), missing.clone()),
            ("magic/etc/passwd", missing.clone(), missing.clone()),
        ];
        for way in [Way::Kernel, Way::Steps] {
            let folder = tree.open(way);
            for (name, never, within) in &table {
                // A path that begins with a slash is not a way down; nobody asks for one.
                if way == Way::Steps && name.starts_with('/') {
                    continue;
                }
                assert_eq!(read(&folder, name, Links::Never), *never, "{way:?} never {name}");
                assert_eq!(read(&folder, name, Links::Within), *within, "{way:?} within {name}");
            }
            assert_eq!(read(&folder, "absolute-out", Links::Anywhere), good("secret"), "{way:?}");
            assert_eq!(read(&folder, "out", Links::Anywhere), good("secret"), "{way:?}");
        }
    }

    #[test]
    fn folders_and_pipes_are_opened_without_waiting() {
        let tree = Tree::new("kinds");
        let pipe = tree.0.join("root/pipe");
        rustix::fs::mknodat(CWD, &pipe, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        for way in [Way::Kernel, Way::Steps] {
            let folder = tree.open(way);
            let is_file = |name: &str| {
                let file = folder.open_file(name.as_bytes(), Links::Within).unwrap();
                file.metadata().unwrap().is_file()
            };
            assert!(is_file("file") && !is_file("deep") && !is_file("pipe"), "{way:?}");
        }
    }

    #[test]
    fn a_folder_keeps_its_identity_under_another_name() {
        let tree = Tree::new("identity");
        let identity = |name: &str| Folder::open(&tree.0.join(name)).unwrap().identity().unwrap();
        assert_eq!(identity("root/deep"), identity("root/deeper"));
        assert_ne!(identity("root"), identity("root/deep"));
        assert!(Folder::open(&tree.0.join("root/file")).is_err());
    }
}
