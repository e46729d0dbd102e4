//! Who listens on a port already, for the error message.

use std::fs;
use std::path::Path;

use evergate_sys::table;

/// The process that listens on the TCP port, as `name (process PID)`; `None` if it is not to be
/// found, or another user's.
pub(crate) fn of_port(port: u16) -> Option<String> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let inode = tables.iter().find_map(|table| {
        fs::read_to_string(table)
            .ok()?
            .lines()
            .find_map(|line| listener(line, port).map(str::to_owned))
    })?;
    of_socket(&inode)
}

/// The same for the Unix socket at `path`; one of another user is named as that.
pub(crate) fn of_path(path: &str) -> Option<String> {
    let table = table::read("/proc/net/unix").ok()?;
    let inode = table.lines().find_map(|line| unix_listener(line, path))?;
    Some(of_socket(inode).unwrap_or_else(|| "a process of another user".to_owned()))
}

fn of_socket(inode: &str) -> Option<String> {
    let socket = format!("socket:[{inode}]");
    let processes = fs::read_dir("/proc").ok()?.filter_map(Result::ok);
    processes.map(|process| process.path()).find_map(|process| {
        // Not `self`, which is a process too.
        process.file_name()?.to_str()?.parse::<u32>().ok()?;
        let fds = fs::read_dir(process.join("fd")).ok()?.filter_map(Result::ok);
        let mut targets = fds.filter_map(|fd| fs::read_link(fd.path()).ok());
        targets.any(|target| target == Path::new(&socket)).then(|| describe(&process))?
    })
}

/// The inode of the socket in a line of `/proc/net/tcp`, if it listens on `port`.
fn listener(line: &str, port: u16) -> Option<&str> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (_, local_port) = fields.next()?.rsplit_once(':')?;
    let listens = fields.nth(1)? == "0A";
    let same = u16::from_str_radix(local_port, 16) == Ok(port);
    (listens && same).then(|| fields.nth(5))?
}

/// The inode of the socket in a line of `/proc/net/unix`, if it listens at `path`.
fn unix_listener<'l>(line: &'l str, path: &str) -> Option<&'l str> {
    let mut fields = line.split_ascii_whitespace();
    // __SO_ACCEPTCON
    let listens = fields.nth(3)? == "00010000";
    let inode = fields.nth(2)?;
    (listens && line.ends_with(&format!(" {path}"))).then_some(inode)
}

fn describe(process: &Path) -> Option<String> {
    let name = table::read(process.join("comm")).ok()?;
    let pid = process.file_name()?.to_str()?;
    Some(format!("{} (process {pid})", name.trim()))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn the_holder_of_a_port_is_named() {
        for host in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(host) else { continue };
            let port = listener.local_addr().unwrap().port();
            let holder = of_port(port).unwrap();
            assert!(holder.ends_with(&format!(" (process {})", std::process::id())), "{holder}");
            drop(listener);
            assert_eq!(of_port(port), None);
        }
    }

    #[test]
    fn the_holder_of_a_path_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a socket");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let holder = of_path(path.to_str().unwrap()).unwrap();
        assert!(holder.ends_with(&format!(" (process {})", std::process::id())), "{holder}");
        drop(listener);
        assert_eq!(of_path(path.to_str().unwrap()), None);
    }

    #[test]
    fn only_sockets_that_listen_count() {
        let line = |state| {
            format!(
                "   0: 0100007F:1F90 00000000:0000 {state} 00000000:00000000 00:00000000 00000000     0        0 4711 1 0"
            )
        };
        assert_eq!(listener(&line("0A"), 8080), Some("4711"));
        assert_eq!(listener(&line("01"), 8080), None);
        assert_eq!(listener(&line("0A"), 8081), None);
        assert_eq!(listener("  sl  local_address rem_address   st", 80), None);
    }
}
