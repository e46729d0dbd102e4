//! Clients that others wrote: curl, nghttp, h2load, Python's websockets, Chromium.

use evergate_e2e::program::{command, printed, python};
use evergate_e2e::{Node, Origin, Program};

use crate::scene::Scene;

/// A listener `web` with TLS and a listener `plain` without.
fn both(origin: &Origin) -> Node {
    Scene::to(origin).more("[listener.plain]\nbind = [\"127.0.0.1:0\"]").start_secure()
}

#[test]
fn curl_speaks_every_version_over_tls() {
    let origin = Origin::saying("hello");
    let node = both(&origin);
    let url = format!("https://localhost:{}/", node.web().port());
    let ca = node.path("ca.pem");
    let table: [(&[&str], &str, &str); 6] = [
        (&["--http1.1"], "1.1", "TLSv1.3"),
        (&["--http2"], "2", "TLSv1.3"),
        (&["--http1.1", "--tlsv1.2", "--tls-max", "1.2"], "1.1", "TLSv1.2"),
        (&["--http2", "--tlsv1.2", "--tls-max", "1.2"], "2", "TLSv1.2"),
        (&["--http2", "--tlsv1.3"], "2", "TLSv1.3"),
        (&["--no-alpn"], "1.1", "TLSv1.3"),
    ];
    for (arguments, http, tls) in table {
        let Some(mut curl) = command("curl") else { return };
        curl.args(arguments).args([
            "-sS",
            "-v",
            "--stderr",
            "-",
            "-w",
            "\n%{http_code} v%{http_version}",
        ]);
        let said = printed(curl.arg("--cacert").arg(&ca).arg(&url));
        assert!(said.contains("hello"), "{arguments:?}: {said}");
        assert!(said.ends_with(&format!("200 v{http}")), "{arguments:?}: {said}");
        assert!(said.contains(&format!("SSL connection using {tls}")), "{arguments:?}: {said}");
    }
    let Some(mut curl) = command("curl") else { return };
    let old = curl.args(["-sS", "--tlsv1.0", "--tls-max", "1.1", "--cacert"]).arg(&ca).arg(&url);
    assert!(!old.output().unwrap().status.success(), "nobody needs TLS 1.1 any more");
}

#[test]
fn curl_speaks_every_version_without_tls() {
    let origin = Origin::saying("hello");
    let node = both(&origin);
    let url = format!("http://{}/", node.address("plain"));
    for (argument, http) in [
        ("--http1.0", "1.1"),
        ("--http1.1", "1.1"),
        ("--http2", "1.1"),
        ("--http2-prior-knowledge", "2"),
    ] {
        let Some(mut curl) = command("curl") else { return };
        let said = printed(curl.args(["-sS", "-w", " v%{http_version}", argument, &url]));
        assert_eq!(said, format!("hello v{http}"), "{argument}");
    }
}

#[test]
fn curl_uploads_and_downloads_over_every_version() {
    let origin = Origin::scripted(|served| {
        while let Some(request) = served.read_request() {
            let length = request.body.len();
            served.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"));
            served.write(request.body);
        }
    });
    let node = both(&origin);
    let body = "0123456789abcdef".repeat(64 * 1024);
    node.write("body", &body);
    let url = format!("https://{}/", node.web());
    for version in ["--http1.1", "--http2"] {
        let Some(mut curl) = command("curl") else { return };
        curl.args(["-sS", version, "--insecure", "-T"]).arg(node.path("body")).arg(&url);
        assert!(printed(&mut curl) == body, "{version} changed the body");
    }
}

#[test]
fn nghttp_is_answered_with_and_without_tls() {
    let origin = Origin::saying("hello");
    let node = both(&origin);
    for url in [format!("https://{}/", node.web()), format!("http://{}/", node.address("plain"))] {
        let Some(mut nghttp) = command("nghttp") else { return };
        let said = printed(nghttp.args(["-v", "--timeout=60", &url]));
        assert!(said.contains(":status: 200") && said.contains("hello"), "{url}: {said}");
        assert!(said.contains("GOAWAY"), "it ends in order: {said}");
    }
}

#[test]
fn a_hundred_streams_on_ten_connections_are_all_answered() {
    let origin = Origin::saying("never");
    let scene = Scene::to(&origin);
    let text = "[route.text]\nmatch = \"/text\"\nrespond = { body = \"hello\" }";
    let node = scene.more(text).start_secure();
    let url = format!("https://{}/text", node.web());
    let Some(mut h2load) = command("h2load") else { return };
    let said = printed(h2load.args(["-n", "5000", "-c", "10", "-m", "100", &url]));
    let all = "5000 total, 5000 started, 5000 done, 5000 succeeded, 0 failed, 0 errored, 0 timeout";
    assert!(said.contains(all), "{said}");
    assert!(said.contains("5000 2xx, 0 3xx, 0 4xx, 0 5xx"), "{said}");
    assert!(said.contains("Application protocol: h2"), "{said}");
}

/// Says back whatever it hears.
const ECHO: &str = "
import socket
from websockets.sync.server import serve
def echo(connection):
    for message in connection:
        connection.send(message)
with serve(echo, sock=socket.socket(fileno=0)) as server:
    server.serve_forever()
";

/// Says things and hears them again.
const TALK: &str = "
import ssl, sys
from websockets.sync.client import connect
url, ca = sys.argv[1:]
with connect(url, ssl=ssl.create_default_context(cafile=ca), open_timeout=60) as connection:
    for message in ['hello', 'x' * 300000, b'\\0\\xff' * 5000, '']:
        connection.send(message)
        assert connection.recv(timeout=60) == message
    connection.ping().wait(60)
print('understood')
";

#[test]
fn websockets_of_python_talk_over_tls() {
    let Some(echo) = Program::python(&["websockets.sync.server"], ECHO) else { return };
    let Some(mut talk) = python(&["websockets.sync.client"]) else { return };
    let node = Scene::new().server("echo", echo.address()).start_secure();
    let url = format!("wss://localhost:{}/", node.web().port());
    let said = printed(talk.args(["-c", TALK, &url]).arg(node.path("ca.pem")));
    assert_eq!(said.trim(), "understood");
    let line = &node.stdout.wait_for(1, "\"statusCode\":101")[0];
    assert!(line.contains("https://localhost"), "{line}");
}

#[test]
fn chromium_loads_a_page_with_its_resources_over_http2() {
    let scripts: String =
        (0..30).map(|number| format!("<script src='/script/{number}.js'></script>")).collect();
    // The page says itself what it was loaded over.
    let page = format!(
        "<!doctype html><title>page</title><body><script>let loaded = 0;</script>{scripts}\
         <script>window.onload = () => {{ \
         const entries = performance.getEntries().filter(entry => entry.nextHopProtocol); \
         const by = entries.map(entry => entry.nextHopProtocol); \
         document.body.textContent = loaded + ' scripts, ' + entries.length + ' entries, ' \
         + [...new Set(by)].join(); }}</script>"
    );
    let routes = format!(
        "[route.page]\nmatch = \"/\"\n\
         respond = {{ body = {page:?}, content_type = \"text/html; charset=utf-8\" }}\n\
         [route.script]\nmatch = \"/script/*\"\n\
         respond = {{ body = \"loaded += 1;\", content_type = \"text/javascript\" }}\n"
    );
    let origin = Origin::saying("never");
    let node = Scene::to(&origin).more(&routes).start_secure();
    let Some(mut chromium) = command("chromium") else { return };
    chromium.args(["--headless", "--no-sandbox", "--disable-gpu", "--no-proxy-server"]);
    chromium.args(["--disable-dev-shm-usage", "--ignore-certificate-errors"]);
    chromium.arg(format!("--user-data-dir={}", node.path("chromium").display()));
    let url = format!("https://localhost:{}/", node.web().port());
    let dom = printed(chromium.args(["--dump-dom", &url]));
    assert!(dom.contains("30 scripts, 31 entries, h2"), "{dom}");
}
