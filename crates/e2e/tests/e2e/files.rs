//! The `static` action: which files are there, in which form they go out, and how much of them.

use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};

use evergate_e2e::program::{printed, python};
use evergate_e2e::{Client, Node, Response, Setup};
use rustix::fs::{CWD, FileType, Mode};

const TEXT: &str = "<!doctype html><title>home</title>\n";
/// Bytes of a file that no cache holds: 64 MiB, almost all of it a hole.
const BIG_BYTES: u64 = 64 << 20;

/// A route for everything with these keys of `static` beside its root.
fn config(keys: &str) -> String {
    let comma = if keys.is_empty() { "" } else { ", " };
    format!(
        "[listener.web]\nbind = [\"127.0.0.1:0\"]\n\n[route.files]\nmatch = \"/*\"\n\
         static = {{ root = \"www\"{comma}{keys} }}\n"
    )
}

fn setup() -> Setup {
    let digits: String = (0..10_000).map(|number| format!("{number:09}\n")).collect();
    Setup::new()
        .file("secret", "secret")
        .file("www/index.html", TEXT)
        .file("www/page.html", "page")
        .file("www/digits.bin", "0123456789")
        .file("www/many.txt", &digits)
        .file("www/docs/index.html", "docs")
        .file("www/empty.txt", "")
        .file("www/bare/file", "x")
        .file("www/.env", "KEY=1")
        .file("www/.git/config", "x")
        .file("www/.well-known/security.txt", "mail us")
        .file("www/with space.txt", "space")
        .file("www/ümlaut.txt", "umlaut")
}

fn node(keys: &str) -> Node {
    setup().start(&config(keys))
}

fn ask(node: &Node, method: &str, path: &str, fields: &[(&str, &str)]) -> Response {
    let mut client = Client::connect(node.web());
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n");
    for (name, value) in fields {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    client.send(text + "\r\n");
    if method == "HEAD" { client.read_head() } else { client.read_response() }
}

fn get(node: &Node, path: &str, fields: &[(&str, &str)]) -> Response {
    ask(node, "GET", path, fields)
}

/// Makes a file look as if nobody had touched it for a while, so that its tag is strong. Its
/// status change cannot be set back, so what was just made has to be waited for.
fn settled(node: &Node, path: &str) -> Response {
    let until = std::time::Instant::now() + evergate_e2e::PATIENCE;
    loop {
        let response = get(node, path, &[]);
        if !response.field("etag").unwrap().starts_with("W/") {
            return response;
        }
        assert!(std::time::Instant::now() < until, "the tag stays weak");
        std::thread::park_timeout(std::time::Duration::from_millis(100));
    }
}

#[test]
fn a_file_is_answered_with_all_that_is_known_of_it() {
    let node = node("");
    let response = settled(&node, "/");
    assert_eq!((response.status, response.text()), (200, TEXT));
    assert_eq!(response.field("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(response.field("content-length"), Some(TEXT.len().to_string().as_str()));
    assert_eq!(response.field("accept-ranges"), Some("bytes"));
    assert_eq!(response.field("x-content-type-options"), Some("nosniff"));
    assert!(response.field("etag").is_some() && response.field("last-modified").is_some());
    assert_eq!(response.all("vary"), [""; 0]);
    let head = ask(&node, "HEAD", "/", &[]);
    let same = |name: &str| assert_eq!(head.field(name), response.field(name), "{name}");
    ["content-length", "content-type", "etag", "last-modified"].iter().for_each(|name| same(name));
    for (path, body) in [
        ("/docs/", "docs"),
        ("/with%20space.txt", "space"),
        ("/%C3%BCmlaut.txt", "umlaut"),
        ("/.well-known/security.txt", "mail us"),
        ("/empty.txt", ""),
    ] {
        let response = get(&node, path, &[]);
        assert_eq!((response.status, response.text()), (200, body), "{path}");
    }
    let line = node.stdout.wait_for(1, "\"url\":\"http://a/docs/\"");
    assert!(
        line[0].contains("\"bytes\":4,") && line[0].contains("\"route\":\"files\""),
        "{line:?}"
    );
}

#[test]
fn no_path_leads_to_what_is_not_to_be_seen() {
    let node = node("");
    let www = node.path("www");
    symlink("page.html", www.join("link-in")).unwrap();
    symlink("../secret", www.join("link-out")).unwrap();
    symlink(www.join("page.html"), www.join("link-absolute")).unwrap();
    symlink("..", www.join("above")).unwrap();
    let mode = Mode::from_raw_mode(0o644);
    rustix::fs::mknodat(CWD, www.join("pipe"), FileType::Fifo, mode, 0).unwrap();
    assert_eq!(get(&node, "/link-in", &[]).text(), "page");
    let long = format!("/{}", "a".repeat(300));
    for path in [
        "/.env",
        "/%2eenv",
        "/.git/config",
        "/.git/",
        "/docs/../.env",
        "/link-out",
        "/link-absolute",
        "/above/secret",
        "/above/www/page.html",
        "/pipe",
        "/nothing",
        "/page.html/",
        "/page.html/x",
        "/bare/",
        "/bare",
        &long,
        "/con:",
        "/docs/index.html%20",
    ] {
        let response = get(&node, path, &[]);
        assert_eq!(response.status, 404, "{path}: {}", response.text());
        assert!(response.text().contains("404"), "{path}");
    }
    for path in [
        "/../secret",
        "/%2e%2e/secret",
        "/..%2fsecret",
        "/docs/..%2f..%2fsecret",
        "/..\\secret",
        "/..%5csecret",
        "/%00",
        "/page.html%00",
        "/docs%2findex.html",
        "/.%2e/secret",
        "/%",
        "/..;/secret",
    ] {
        assert_eq!(get(&node, path, &[]).status, 400, "{path}");
    }
    assert_eq!(get(&node, "//secret", &[]).status, 404);
    assert_eq!(get(&node, "/docs/../page.html", &[]).text(), "page");
}

#[test]
fn links_and_dot_files_are_there_for_whoever_wants_them() {
    let strict = node("symlinks = \"never\"");
    symlink("page.html", strict.path("www/link")).unwrap();
    assert_eq!(get(&strict, "/link", &[]).status, 404);
    let open = node("symlinks = \"anywhere\", dotfiles = true");
    symlink("../secret", open.path("www/link")).unwrap();
    assert_eq!(get(&open, "/link", &[]).text(), "secret");
    assert_eq!(get(&open, "/.env", &[]).text(), "KEY=1");
}

#[test]
fn folders_get_their_slash_and_other_methods_are_refused() {
    let node = node("");
    let response = get(&node, "/docs?a=b", &[]);
    assert_eq!((response.status, response.field("location")), (308, Some("/docs/?a=b")));
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        let response = ask(&node, method, "/page.html", &[("Content-Length", "0")]);
        assert_eq!((response.status, response.field("allow")), (405, Some("GET, HEAD, OPTIONS")));
    }
    let response = ask(&node, "OPTIONS", "/page.html", &[]);
    assert_eq!((response.status, response.field("allow")), (204, Some("GET, HEAD, OPTIONS")));
}

#[test]
fn a_prefix_is_taken_off_before_a_file_is_looked_for() {
    let config = "[listener.web]\nbind = [\"127.0.0.1:0\"]\n\n[route.files]\n\
                  match = \"/app/*\"\nstrip_prefix = \"/app\"\nstatic = { root = \"www\" }\n\
                  [route.bare]\nmatch = \"/app\"\nstrip_prefix = \"/app\"\n\
                  static = { root = \"www\" }\n";
    let node = setup().start(config);
    assert_eq!(get(&node, "/app/page.html", &[]).text(), "page");
    assert_eq!(get(&node, "/app/", &[]).text(), TEXT);
    let response = get(&node, "/app", &[]);
    assert_eq!((response.status, response.field("location")), (308, Some("/app/")));
    let response = get(&node, "/app/docs", &[]);
    assert_eq!((response.status, response.field("location")), (308, Some("/app/docs/")));
}

#[test]
fn whoever_has_the_file_is_told_so() {
    let node = node("cache_control = { \"*.html\" = \"no-cache\" }");
    let response = settled(&node, "/page.html");
    let tag = response.field("etag").unwrap();
    let date = response.field("last-modified").unwrap();
    let weak = format!("W/{tag}");
    let never = "Thu, 01 Jan 1970 00:00:00 GMT";
    for (name, value, status) in [
        ("If-None-Match", tag, 304),
        ("If-None-Match", weak.as_str(), 304),
        ("If-None-Match", "*", 304),
        ("If-None-Match", "\"other\"", 200),
        ("If-Modified-Since", date, 304),
        ("If-Modified-Since", never, 200),
        ("If-Match", tag, 200),
        ("If-Match", weak.as_str(), 412),
        ("If-Match", "\"other\"", 412),
        ("If-Unmodified-Since", date, 200),
        ("If-Unmodified-Since", never, 412),
    ] {
        let response = get(&node, "/page.html", &[(name, value)]);
        assert_eq!(response.status, status, "{name}: {value}");
        if status == 304 {
            assert_eq!(response.field("etag"), Some(tag));
            assert_eq!(response.field("cache-control"), Some("no-cache"));
            assert_eq!(response.field("content-length"), None);
            assert!(response.body.is_empty());
        }
    }
    // The connection goes on behind a 304.
    let mut client = Client::connect(node.web());
    for _ in 0..2 {
        client.send(format!("GET /page.html HTTP/1.1\r\nHost: a\r\nIf-None-Match: {tag}\r\n\r\n"));
        assert_eq!(client.read_response().status, 304);
    }
}

#[test]
fn parts_of_a_file_are_sent_one_or_several() {
    let node = node("");
    settled(&node, "/digits.bin");
    let part = |value: &str| get(&node, "/digits.bin", &[("Range", value)]);
    for (value, range, text) in [
        ("bytes=0-0", "bytes 0-0/10", "0"),
        ("bytes=2-4", "bytes 2-4/10", "234"),
        ("bytes=7-", "bytes 7-9/10", "789"),
        ("bytes=-3", "bytes 7-9/10", "789"),
        ("bytes=5-99", "bytes 5-9/10", "56789"),
    ] {
        let response = part(value);
        assert_eq!((response.status, response.text()), (206, text), "{value}");
        assert_eq!(response.field("content-range"), Some(range), "{value}");
    }
    let response = part("bytes=10-");
    assert_eq!((response.status, response.field("content-range")), (416, Some("bytes */10")));
    for value in ["bytes=4-2", "lines=1-2", "bytes=0-9,1-9"] {
        assert_eq!((part(value).status, part(value).text()), (200, "0123456789"), "{value}");
    }
    let several = part("bytes=0-1,-2");
    assert_eq!(several.status, 206);
    let media = several.field("content-type").unwrap();
    let boundary = media.strip_prefix("multipart/byteranges; boundary=").unwrap();
    let of = |range: &str, text: &str| {
        format!(
            "\r\n--{boundary}\r\nContent-Type: application/octet-stream\r\n\
             Content-Range: bytes {range}/10\r\n\r\n{text}"
        )
    };
    let whole = format!("{}{}\r\n--{boundary}--\r\n", of("0-1", "01"), of("8-9", "89"));
    assert_eq!(several.text(), whole);
    assert_eq!(several.field("content-range"), None);
    let head = ask(&node, "HEAD", "/digits.bin", &[("Range", "bytes=0-0")]);
    assert_eq!((head.status, head.field("content-length")), (200, Some("10")));
}

#[test]
fn a_part_is_sent_only_of_the_state_that_the_client_has() {
    let node = node("");
    let response = settled(&node, "/digits.bin");
    let (tag, date) = (response.field("etag").unwrap(), response.field("last-modified").unwrap());
    let range = ("Range", "bytes=0-1");
    for (value, status) in [
        (tag, 206),
        (date, 206),
        (&*format!("W/{tag}"), 200),
        ("\"other\"", 200),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 200),
    ] {
        let response = get(&node, "/digits.bin", &[range, ("If-Range", value)]);
        assert_eq!(response.status, status, "{value}");
    }
}

#[test]
fn files_beside_a_file_are_sent_in_its_place() {
    let node = node("");
    let write = |name: &str, text: &str| node.write(&format!("www/{name}"), text);
    write("app.js", "plain");
    write("app.js.br", "brotli");
    write("app.js.gz", "gzip");
    write("old.js.gz", "old");
    write("old.js", "new");
    let old = std::time::SystemTime::UNIX_EPOCH;
    let file = OpenOptions::new().write(true).open(node.path("www/old.js.gz")).unwrap();
    file.set_modified(old).unwrap();
    let coded = |accept: &str| get(&node, "/app.js", &[("Accept-Encoding", accept)]);
    for (accept, text, coding) in [
        ("gzip, br, zstd", "brotli", Some("br")),
        ("gzip", "gzip", Some("gzip")),
        ("gzip;q=1, br;q=0.5", "gzip", Some("gzip")),
        ("identity, gzip;q=0.5", "plain", None),
        ("zstd", "plain", None),
        ("br;q=0, gzip;q=0", "plain", None),
    ] {
        let response = coded(accept);
        assert_eq!((response.status, response.text()), (200, text), "{accept}");
        assert_eq!(response.field("content-encoding"), coding, "{accept}");
        assert_eq!(response.field("vary"), Some("Accept-Encoding"), "{accept}");
        assert_eq!(response.field("content-type"), Some("text/javascript; charset=utf-8"));
    }
    let refused = coded("identity;q=0, zstd");
    assert_eq!((refused.status, refused.field("vary")), (406, Some("Accept-Encoding")));
    let (plain, packed) = (coded("identity"), coded("br"));
    assert_ne!(plain.field("etag"), packed.field("etag"));
    let tag = packed.field("etag").unwrap();
    let fields = [("Accept-Encoding", "br"), ("If-None-Match", tag)];
    let response = get(&node, "/app.js", &fields);
    assert_eq!((response.status, response.field("vary")), (304, Some("Accept-Encoding")));
    let response = get(&node, "/app.js", &[("Accept-Encoding", "br"), ("Range", "bytes=1-2")]);
    assert_eq!((response.status, response.text()), (206, "ro"));
    assert_eq!(response.field("content-encoding"), Some("br"));
    assert_eq!(get(&node, "/old.js", &[("Accept-Encoding", "gzip")]).text(), "new");
}

#[test]
fn text_is_compressed_on_the_way_for_those_who_like_it() {
    let keys = "compress = [\"br\", \"zstd\", \"gzip\"], \
                cache_control = { \"*.csv\" = \"no-transform\" }";
    let node = node(keys);
    let many = fs::read(node.path("www/many.txt")).unwrap();
    fs::copy(node.path("www/many.txt"), node.path("www/many.csv")).unwrap();
    fs::copy(node.path("www/many.txt"), node.path("www/many.png")).unwrap();
    let coded = |path: &str, accept: &str| get(&node, path, &[("Accept-Encoding", accept)]);
    for (accept, coding) in [("gzip", "gzip"), ("gzip, br", "br"), ("zstd, br;q=0.9", "zstd")] {
        let response = coded("/many.txt", accept);
        assert_eq!(response.field("content-encoding"), Some(coding), "{accept}");
        assert_eq!(response.field("vary"), Some("Accept-Encoding"));
        assert_eq!(response.field("accept-ranges"), None);
        let tag = response.field("etag").unwrap();
        assert!(tag.starts_with("W/\"") && tag.ends_with(&format!("-{coding}\"")), "{tag}");
        assert!(response.body.len() < many.len() / 2, "{} bytes", response.body.len());
        assert_eq!(unpacked(coding, &response.body), many, "{coding}");
        let again = get(&node, "/many.txt", &[("Accept-Encoding", accept), ("If-None-Match", tag)]);
        assert_eq!((again.status, again.field("vary")), (304, Some("Accept-Encoding")));
    }
    let plain = get(&node, "/many.txt", &[]);
    assert_eq!(plain.field("vary"), Some("Accept-Encoding"));
    assert!(plain.field("content-encoding").is_none() && plain.body == many);
    let range = get(&node, "/many.txt", &[("Accept-Encoding", "gzip"), ("Range", "bytes=0-9")]);
    assert_eq!((range.status, range.field("content-encoding")), (200, Some("gzip")));
    for path in ["/many.csv", "/many.png", "/page.html"] {
        let response = coded(path, "gzip, br, zstd");
        assert!(response.field("content-encoding").is_none(), "{path}");
        assert_eq!(response.all("vary"), [""; 0], "{path}");
    }
    let head = ask(&node, "HEAD", "/many.txt", &[("Accept-Encoding", "gzip")]);
    let length = coded("/many.txt", "gzip").body.len().to_string();
    assert_eq!(head.field("content-length"), Some(length.as_str()));
}

fn unpacked(coding: &str, packed: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    match coding {
        "gzip" => {
            flate2::read::GzDecoder::new(packed).read_to_end(&mut bytes).unwrap();
        }
        "br" => brotli::BrotliDecompress(&mut &*packed, &mut bytes).unwrap(),
        "zstd" => bytes = zstd::decode_all(packed).unwrap(),
        other => panic!("what is {other}?"),
    }
    bytes
}

#[test]
fn an_applications_own_paths_get_its_page() {
    let node = node("spa = \"index.html\", cache_control = { \"/index.html\" = \"no-cache\" }");
    let page = [("Accept", "text/html,*/*;q=0.8")];
    for path in ["/users/7", "/users/", "/deep/er/path", "/bare"] {
        let response = get(&node, path, &page);
        assert_eq!((response.status, response.text()), (200, TEXT), "{path}");
        assert_eq!(response.field("cache-control"), Some("no-cache"), "{path}");
    }
    assert_eq!(get(&node, "/users/7", &[]).status, 200);
    assert_eq!(get(&node, "/users/7", &[("Accept", "application/json")]).status, 404);
    assert_eq!(get(&node, "/missing.js", &page).status, 404);
    assert_eq!(get(&node, "/page.html", &page).text(), "page");
    assert_eq!(ask(&node, "POST", "/users/7", &[("Content-Length", "0")]).status, 405);
}

#[test]
fn what_caches_may_do_follows_the_longest_pattern() {
    let node = node(
        "cache_control = { \"*\" = \"no-store\", \"*.html\" = \"no-cache\", \
         \"/docs/*\" = \"max-age=60\" }",
    );
    for (path, value) in [("/", "no-cache"), ("/docs/", "max-age=60"), ("/digits.bin", "no-store")]
    {
        assert_eq!(get(&node, path, &[]).field("cache-control"), Some(value), "{path}");
    }
}

#[test]
fn a_big_file_arrives_whole_at_a_slow_reader() {
    let node = node("");
    let file = File::create(node.path("www/big.bin")).unwrap();
    file.set_len(BIG_BYTES).unwrap();
    file.write_all_at(b"start", 0).unwrap();
    file.write_all_at(b"end", BIG_BYTES - 3).unwrap();
    let mut client = Client::connect(node.web());
    client.send("GET /big.bin HTTP/1.1\r\nHost: a\r\n\r\n");
    let head = client.read_head();
    assert_eq!(head.field("content-length"), Some(BIG_BYTES.to_string().as_str()));
    assert_eq!(client.read_exact_bytes(5), b"start");
    // Another is served while this one does not read.
    assert_eq!(get(&node, "/page.html", &[]).text(), "page");
    let mut rest = BIG_BYTES - 5;
    while rest > 3 {
        let count = (rest - 3).min(1 << 20);
        assert!(client.read_exact_bytes(count as usize).iter().all(|&byte| byte == 0));
        rest -= count;
    }
    assert_eq!(client.read_exact_bytes(3), b"end");
    client.send("GET /page.html HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.read_response().text(), "page");
    node.stdout.wait_for(1, &format!("\"bytes\":{BIG_BYTES},"));
    let part = format!("bytes={}-{}", BIG_BYTES / 2, BIG_BYTES - 1);
    let response = get(&node, "/big.bin", &[("Range", &part)]);
    assert_eq!((response.status, response.body.len() as u64), (206, BIG_BYTES / 2));
    assert!(response.body.ends_with(b"\0end"));
}

#[test]
fn a_file_that_shrinks_while_it_is_sent_breaks_off() {
    let node = node("");
    let file = File::create(node.path("www/big.bin")).unwrap();
    file.set_len(BIG_BYTES).unwrap();
    let mut client = Client::connect(node.web());
    client.send("GET /big.bin HTTP/1.1\r\nHost: a\r\n\r\n");
    client.read_head();
    file.set_len(1 << 20).unwrap();
    let (rest, _) = client.read_to_end();
    assert!((rest.len() as u64) < BIG_BYTES, "nothing is made up");
    node.stdout.wait_for(1, "\"reason\":\"file_shrank\"");
}

#[test]
fn a_file_that_is_replaced_under_load_is_always_one_or_the_other() {
    let node = node("");
    let (one, two) = ("1".repeat(20_000), "2".repeat(40_000));
    let replace = |text: &str| {
        node.write("www/next", text);
        fs::rename(node.path("www/next"), node.path("www/live.bin")).unwrap();
    };
    replace(&one);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut seen = std::collections::BTreeMap::new();
                    let mut client = Client::connect(node.web());
                    for _ in 0..200 {
                        client.send("GET /live.bin HTTP/1.1\r\nHost: a\r\n\r\n");
                        let response = client.read_response();
                        assert_eq!(response.status, 200);
                        let text = response.text();
                        assert!(text == one || text == two, "{} bytes", text.len());
                        let tag = response.field("etag").unwrap().trim_start_matches("W/");
                        let before = seen.insert(tag.to_owned(), text.len());
                        assert!(before.is_none_or(|before| before == text.len()), "same tag");
                    }
                })
            })
            .collect();
        let mut turn = 0;
        while !readers.iter().all(|reader| reader.is_finished()) {
            replace(if turn % 2 == 0 { &two } else { &one });
            turn += 1;
            std::thread::yield_now();
        }
    });
}

#[test]
fn a_new_folder_in_place_of_the_root_is_seen() {
    let node = setup().start(&config("").replace("\"www\"", "\"current\""));
    let link = |to: &str| {
        symlink(to, node.path("link")).unwrap();
        fs::rename(node.path("link"), node.path("current")).unwrap();
    };
    assert_eq!(get(&node, "/page.html", &[]).status, 404, "nothing is there yet");
    node.stderr.wait_for(1, "files_unreadable");
    link("www");
    assert_eq!(get(&node, "/page.html", &[]).text(), "page");
    node.write("next/page.html", "next");
    link("next");
    let until = std::time::Instant::now() + evergate_e2e::PATIENCE;
    while get(&node, "/page.html", &[]).text() != "next" {
        assert!(std::time::Instant::now() < until, "the old folder is still served");
    }
}

#[test]
fn what_may_not_be_read_is_refused_and_told_once() {
    let node = node("");
    let path = node.path("www/page.html");
    let is_root = fs::metadata("/proc/self").unwrap();
    let is_root = std::os::unix::fs::MetadataExt::uid(&is_root) == 0;
    fs::set_permissions(&path, fs::Permissions::from_mode(if is_root { 0o600 } else { 0 }))
        .unwrap();
    for _ in 0..3 {
        assert_eq!(get(&node, "/page.html", &[]).status, 403);
    }
    let told = node.stderr.wait_for(1, "file_denied");
    assert!(told[0].contains("page.html") && told[0].contains("route.files"), "{told:?}");
    assert_eq!(node.stderr.all().iter().filter(|line| line.contains("file_denied")).count(), 1);
}

#[test]
fn explain_names_the_file_and_the_reason() {
    let node = node("spa = \"index.html\"");
    let explain = |path: &str| {
        let (status, told) =
            node.api("GET", &format!("/api/v1/explain?method=GET&url=http://a{path}"), None);
        assert_eq!(status, 200, "{told}");
        told.to_string()
    };
    assert!(explain("/page.html").contains("`page.html`"));
    assert!(explain("/docs/").contains("it is the folder's index"));
    assert!(explain("/docs").contains("with a slash behind it"));
    assert!(explain("/users/7").contains("it is the application's page"));
    assert!(explain("/.env").contains("dotfiles"));
}

#[test]
fn a_binary_without_files_says_so() {
    let config = config("").replace("root = \"www\"", "embedded = true");
    let mut node = setup().launch(&config);
    assert!(!node.wait_for_exit().success());
    node.stderr.wait_for(1, "built without files");
}

/// REDbot looks at responses with eyes of its own: <https://redbot.org/>
#[test]
fn a_robot_that_knows_the_standard_finds_no_fault() {
    let Some(mut python) = python(&["redbot.cli"]) else { return };
    let node = node("compress = [\"gzip\"], cache_control = { \"*\" = \"max-age=60\" }");
    settled(&node, "/many.txt");
    let url = format!("http://{}/many.txt", node.web());
    python.args(["-c", "import redbot.cli; redbot.cli.main()", "-o", "text", &url]);
    let told = printed(&mut python);
    for praise in [
        "The Content-Length header is correct.",
        "Content negotiation for gzip compression is supported",
        "If-None-Match conditional requests are supported.",
        "If-Modified-Since conditional requests are supported.",
        "A ranged request returned the correct partial content.",
        "This response is fresh for",
    ] {
        assert!(told.contains(praise), "no {praise:?} in\n{told}");
    }
    for complaint in ["incorrect", "isn't", "not correct", "invalid", "violat", "missing", "error"]
    {
        assert!(!told.to_lowercase().contains(complaint), "{complaint:?} in\n{told}");
    }
}
