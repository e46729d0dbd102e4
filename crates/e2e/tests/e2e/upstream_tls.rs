//! TLS with servers: whom we believe, what we show, and responses that break off.

use evergate_e2e::certificates::Issued;
use evergate_e2e::program::{command, printed};
use evergate_e2e::{Ca, Client, Node, Program, Setup};

use crate::scene::{Scene, get};

/// A server with TLS: says who was asked for and who asked, and ends connections well or badly.
const SERVER: &str = r#"
import socket, ssl, tempfile, threading

def kept(text):
    file = tempfile.NamedTemporaryFile("w", suffix=".pem")
    file.write(text)
    file.flush()
    return file

context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
pair = kept("""PAIR""")
context.load_cert_chain(pair.name)
clients = """CLIENTS"""
if clients:
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=clients)

def asked(connection, name, context):
    connection.name = name
context.sni_callback = asked

def answer(connection):
    head = b""
    while b"\r\n\r\n" not in head:
        more = connection.recv(65536)
        if not more:
            return False
        head += more
    path = head.split(b" ")[1]
    if path.startswith(b"/close"):
        # Its end is that of the connection.
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 100000)
        if path == b"/close-well":
            connection.unwrap()
        return False
    if path == b"/short":
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort")
        connection.unwrap()
        return False
    subject = dict(pair[0] for pair in (connection.getpeercert() or {}).get("subject", ()))
    words = [getattr(connection, "name", None), subject.get("commonName")]
    body = " ".join(str(word) for word in words).encode()
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    return True

def serve(raw):
    try:
        raw.settimeout(20)
        with context.wrap_socket(raw, server_side=True) as connection:
            while answer(connection):
                pass
    except OSError:
        pass

listener = socket.socket(fileno=0)
while True:
    raw, _ = listener.accept()
    threading.Thread(target=serve, args=(raw,), daemon=True).start()
"#;

/// A server that shows `issued` and, if there are `clients`, lets in only whom these vouch for.
fn server(issued: &Issued, clients: Option<&Ca>) -> Option<Program> {
    let pair = format!("{}{}", issued.cert, issued.key);
    let clients = clients.map(Ca::pem).unwrap_or_default();
    let script = SERVER.replace("PAIR", &pair).replace("CLIENTS", &clients);
    Program::python(&["ssl", "socket"], &script)
}

/// A node before `server`, whose pool has these keys in its `tls`.
fn before(server: &Program, setup: Setup, tls: &str) -> Node {
    let config = Scene::new()
        .server("a", server.address())
        .pool(&format!("tls = {{ {tls} }}"))
        .config()
        .replace("http://", "https://");
    setup.start(&config)
}

/// A node before a server that shows `issued`, which says in the log why it is not believed.
fn expect_refusal(issued: &Issued, setup: Setup, tls: &str, why: &str) -> bool {
    let Some(server) = server(issued, None) else { return false };
    let node = before(&server, setup, tls);
    let answer = Client::ask(node.web(), get("/", ""));
    assert_eq!(answer.status, 502, "{tls}: {}", answer.text());
    node.stderr.wait_for(1, why);
    node.stdout.wait_for(1, "upstream_tls");
    true
}

#[test]
fn a_server_is_believed_whose_authority_is_known() {
    let ca = Ca::new();
    let Some(server) = server(&ca.issue(&["127.0.0.1"]), None) else { return };
    let node = before(&server, Setup::new().file("ca.pem", &ca.pem()), "ca = \"ca.pem\"");
    let mut client = Client::connect(node.web());
    for _ in 0..3 {
        client.send(get("/", ""));
        assert_eq!(client.read_response().text(), "None None", "an address is not asked for");
    }
}

#[test]
fn servers_are_asked_for_the_name_that_is_configured() {
    let ca = Ca::new();
    let Some(server) = server(&ca.issue(&["inside.test"]), None) else { return };
    let tls = "ca = \"ca.pem\", server_name = \"inside.test\"";
    let node = before(&server, Setup::new().file("ca.pem", &ca.pem()), tls);
    assert_eq!(Client::ask(node.web(), get("/", "")).text(), "inside.test None");
}

#[test]
fn servers_that_cannot_prove_who_they_are_get_no_request() {
    let ca = Ca::new();
    let with_ca = || Setup::new().file("ca.pem", &ca.pem());
    let good = ca.issue(&["127.0.0.1"]);
    let table = [
        (ca.issue_expired(&["127.0.0.1"]), "ca = \"ca.pem\"", "certificate expired"),
        (Ca::called("Other").issue(&["127.0.0.1"]), "ca = \"ca.pem\"", "unknown issuer"),
        (Ca::new().issue(&["127.0.0.1"]), "ca = \"ca.pem\"", "not signed by the issuer"),
        (good.clone(), "", "unknown issuer"),
        (ca.issue(&["inside.test"]), "ca = \"ca.pem\"", "certificate is for another name"),
        (good, "ca = \"ca.pem\", server_name = \"inside.test\"", "certificate is for another name"),
        (ca.issue_client("127.0.0.1"), "ca = \"ca.pem\"", "certificate is not for servers"),
    ];
    for (issued, tls, why) in table {
        if !expect_refusal(&issued, with_ca(), tls, why) {
            return;
        }
    }
}

#[test]
fn a_server_is_believed_whose_own_certificate_is_known() {
    let issued = Ca::new().issue(&["127.0.0.1"]);
    let Some(server) = server(&issued, None) else { return };
    let node = before(&server, Setup::new().file("ca.pem", &issued.cert), "ca = \"ca.pem\"");
    assert_eq!(Client::ask(node.web(), get("/", "")).status, 200);
    let late = Ca::new().issue_expired(&["127.0.0.1"]);
    let setup = Setup::new().file("ca.pem", &late.cert);
    expect_refusal(&late, setup, "ca = \"ca.pem\"", "certificate expired");
}

#[test]
fn whoever_is_not_to_be_verified_is_believed() {
    let issued = Ca::new().issue_expired(&["elsewhere.test"]);
    let Some(server) = server(&issued, None) else { return };
    let node = before(&server, Setup::new(), "verify = false");
    assert_eq!(Client::ask(node.web(), get("/", "")).status, 200);
}

#[test]
fn servers_that_ask_for_a_certificate_get_ours() {
    let (ca, clients) = (Ca::new(), Ca::new());
    let Some(server) = server(&ca.issue(&["127.0.0.1"]), Some(&clients)) else { return };
    let setup = || {
        let setup = Setup::new().file("ca.pem", &ca.pem());
        setup.certificate("gateway", &clients.issue_client("gateway"))
    };
    let tls = "ca = \"ca.pem\", cert = \"gateway.pem\", key = \"gateway.key\"";
    let node = before(&server, setup(), tls);
    assert_eq!(Client::ask(node.web(), get("/", "")).text(), "None gateway");
    let without = before(&server, setup(), "ca = \"ca.pem\"");
    assert_eq!(Client::ask(without.web(), get("/", "")).status, 502);
}

#[test]
fn a_response_that_is_cut_off_is_broken_for_the_client_too() {
    let ca = Ca::new();
    let Some(server) = server(&ca.issue(&["127.0.0.1"]), None) else { return };
    let node = before(&server, Setup::new().file("ca.pem", &ca.pem()), "ca = \"ca.pem\"");
    let ask = |path: &str| {
        let mut client = Client::connect(node.web());
        client.send(get(path, ""));
        client.try_read_response()
    };
    let whole = ask("/close-well").unwrap();
    assert_eq!(whole.body.len(), 100_000);
    // Anybody on the way can end a TCP connection; only the server can end that of TLS.
    let broken = ask("/close-badly").unwrap_err();
    assert!(broken.raw.len() > 1000, "{broken}");
    ask("/short").unwrap_err();
    assert_eq!(node.stdout.wait_for(2, "upstream_truncated").len(), 2);
    let url = format!("http://{}/close-badly", node.web());
    let Some(mut curl) = command("curl") else { return };
    let output = curl.args(["-sS", "--http2-prior-knowledge", &url]).output().unwrap();
    assert!(!output.status.success(), "HTTP/2 has its own way to say so");
    let Some(mut curl) = command("curl") else { return };
    let url = url.replace("badly", "well");
    assert_eq!(printed(curl.args(["-sS", "--http2-prior-knowledge", &url])).len(), 100_000);
}
