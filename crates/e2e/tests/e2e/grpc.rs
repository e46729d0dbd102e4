//! Calls of gRPC through a node: clients and servers are Python's grpcio.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Stdio};

use evergate_e2e::program::{printed, python};
use evergate_e2e::{Node, wait_until};

use crate::scene::Scene;

const SERVER: &str = include_str!("grpc/server.py");
const CLIENT: &str = include_str!("grpc/client.py");

/// A server of gRPC; it ends with this value.
struct Server {
    child: Child,
    says: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl Server {
    /// None if there is no Python with grpcio here.
    fn start() -> Option<Self> {
        let mut command = python(&["grpc"])?;
        let mut child = command.args(["-c", SERVER]).stdout(Stdio::piped()).spawn().unwrap();
        let mut says = BufReader::new(child.stdout.take().unwrap());
        let mut port = String::new();
        says.read_line(&mut port).unwrap();
        let address = format!("127.0.0.1:{}", port.trim()).parse().unwrap();
        Some(Self { child, says, address })
    }

    /// The next line that it prints.
    fn next_word(&mut self) -> String {
        let mut line = String::new();
        self.says.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that has ended is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn node(server: SocketAddr) -> Node {
    Scene::new().server("a", server).pool("protocol = \"http2\"").start()
}

/// Has a client go through `case`; it fails if the client is told anything unexpected.
fn call(node: &Node, case: &str) {
    let mut command = python(&["grpc"]).unwrap();
    let said = printed(command.args(["-c", CLIENT, &node.web().port().to_string(), case]));
    assert_eq!(said, "as expected\n");
}

#[test]
fn calls_of_all_four_kinds_go_through() {
    let Some(server) = Server::start() else { return };
    let node = node(server.address);
    for case in ["unary", "large", "server_streaming", "client_streaming", "both_streaming"] {
        call(&node, case);
    }
    let metrics = node.metrics();
    let reused = metrics.iter().find(|(name, _)| name.contains("reuse"));
    assert!(reused.is_some_and(|(_, count)| *count >= 4.0), "{reused:?}");
}

#[test]
fn a_servers_status_and_metadata_arrive() {
    let Some(server) = Server::start() else { return };
    call(&node(server.address), "status");
}

#[test]
fn a_deadline_ends_the_call_at_the_server_too() {
    let Some(mut server) = Server::start() else { return };
    let node = node(server.address);
    call(&node, "deadline");
    assert_eq!(server.next_word(), "cancelled");
    assert_eq!(node.server("one", "a")["failures"], 0, "it is not to blame");
}

#[test]
fn a_client_that_cancels_ends_the_call_at_the_server_too() {
    let Some(mut server) = Server::start() else { return };
    let node = node(server.address);
    call(&node, "cancel");
    assert_eq!(server.next_word(), "cancelled");
}

#[test]
fn a_server_that_dies_in_the_middle_is_unavailable() {
    let Some(server) = Server::start() else { return };
    call(&node(server.address), "die");
}

#[test]
fn a_server_that_is_not_there_is_unavailable() {
    let Some(server) = Server::start() else { return };
    let address = server.address;
    drop(server);
    call(&node(address), "nobody");
}

#[test]
fn what_no_route_takes_is_unimplemented() {
    let Some(server) = Server::start() else { return };
    let scene = Scene::new().server("a", server.address).pool("protocol = \"http2\"");
    let node = scene.route("methods = [\"GET\"]").start();
    call(&node, "unimplemented");
}

/// Waits until a node that checks the server like this says this about it.
fn expect_verdict(server: &Server, check: &str, state: &str, reason: &str) {
    let keys = format!("protocol = \"http2\"\n{check}");
    let node = Scene::new().server("a", server.address).pool(&keys).start();
    wait_until(&format!("the server is {state}: {reason}"), || {
        let server = node.server("one", "a");
        server["state"] == state && server["reason"] == reason
    });
}

#[test]
fn only_a_service_that_is_serving_is_up() {
    let Some(server) = Server::start() else { return };
    for (service, state, reason) in [
        ("", "up", "checks pass"),
        ("e2e.Words", "up", "checks pass"),
        ("e2e.Tired", "down", "check failed: the service is NOT_SERVING"),
        ("e2e.Other", "down", "check failed: the server does not know the service `e2e.Other`"),
    ] {
        let check = format!("check.grpc = {{ service = \"{service}\", every = \"1s\", fall = 1 }}");
        expect_verdict(&server, &check, state, reason);
    }
}
