//! A binary that was built with the folder `tests/data/embedded` in it:
//! `EVERGATE_EMBED=$PWD/crates/evergate/tests/data/embedded cargo test -p evergate --features embedded`

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

const CONFIG: &str = "[listener.web]\nbind = [\"127.0.0.1:0\"]\n\n[route.files]\nmatch = \"/*\"\n\
                      static = { embedded = true, spa = \"index.html\" }\n";

/// A node with nothing but its binary.
struct Node {
    keeper: Child,
    address: String,
    _folder: tempfile::TempDir,
}

impl Node {
    fn start() -> Self {
        let permissions = std::fs::Permissions::from_mode(0o755);
        let folder = tempfile::Builder::new().permissions(permissions).tempdir().unwrap();
        let head = format!("[node]\nrun_dir = {0:?}\nstate_dir = {0:?}\n\n", folder.path());
        let file = folder.path().join("evergate.toml");
        std::fs::write(&file, head + CONFIG).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_evergate"));
        command.args(["run", "--config"]).arg(&file);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let keeper = command.spawn().unwrap();
        let mut node = Self { keeper, address: String::new(), _folder: folder };
        let lines = BufReader::new(node.keeper.stderr.take().unwrap()).lines();
        let mut shown = String::new();
        for line in lines.map_while(Result::ok) {
            if let Some((_, after)) = line.split_once("web on ") {
                node.address = after.split([',', '"']).next().unwrap().to_owned();
                return node;
            }
            shown.push_str(&line);
        }
        panic!("the node does not start: {shown}");
    }

    fn get(&self, path: &str, fields: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{fields}\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        response
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        for _ in 0..2 {
            let pid = self.keeper.id().to_string();
            let _ = Command::new("kill").args(["-TERM", &pid]).status();
        }
        let _ = self.keeper.wait();
    }
}

#[test]
fn files_of_the_binary_are_served() {
    let node = Node::start();
    let page = node.get("/", "");
    assert!(page.starts_with("HTTP/1.1 200 ") && page.ends_with("embedded home\n"), "{page}");
    assert!(page.contains("Content-Type: text/html; charset=utf-8\r\n"), "{page}");
    let line = page.lines().find(|line| line.starts_with("ETag: \"")).expect("a strong tag");
    let tag = line.trim_start_matches("ETag: ");
    let again = node.get("/", &format!("If-None-Match: {tag}\r\n"));
    assert!(again.starts_with("HTTP/1.1 304 "), "{again}");
    let part = node.get("/", "Range: bytes=0-7\r\n");
    assert!(part.starts_with("HTTP/1.1 206 ") && part.ends_with("\r\n\r\nembedded"), "{part}");
    let coded = node.get("/app/app.js", "Accept-Encoding: br\r\n");
    assert!(coded.contains("Content-Encoding: br\r\n") && coded.ends_with("coded\n"), "{coded}");
    let moved = node.get("/app", "Accept: application/json\r\n");
    assert!(moved.starts_with("HTTP/1.1 404 "), "the folder has no index: {moved}");
    let page = node.get("/some/where", "Accept: text/html\r\n");
    assert!(page.ends_with("embedded home\n"), "{page}");
    assert!(node.get("/.hidden", "").starts_with("HTTP/1.1 404 "));
}
