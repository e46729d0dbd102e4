//! Requests and responses as they pass through, byte for byte.

use evergate_e2e::{Client, Node, Origin};

#[test]
fn a_request_reaches_the_server_and_its_response_the_client() {
    let origin = Origin::saying("hello");
    let node = Node::start(&format!(
        "[listener.web]\nbind = [\"127.0.0.1:0\"]\n\
         [route.all]\nmatch = \"/*\"\npool = \"one\"\n\
         [pool.one]\nservers = {{ a = {{ url = \"{}\" }} }}\n",
        origin.url()
    ));
    let response = Client::ask(node.web(), "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!((response.status, response.text()), (200, "hello"));
    assert_eq!(origin.next_request().line, "GET / HTTP/1.1");
}
