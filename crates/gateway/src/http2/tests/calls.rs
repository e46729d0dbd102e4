//! Calls of gRPC, as HTTP/1 shows them.

use super::*;

/// A call of gRPC from a client of HTTP/1, with more fields and the beginning of a body.
fn call(fields: &str, body: &str) -> String {
    format!(
        "POST /s/m HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc\r\nTE: trailers\r\n\
         Connection: close\r\nTransfer-Encoding: chunked\r\n{fields}\r\n{body}"
    )
}

#[test]
fn a_call_that_no_server_takes_is_answered_with_nothing_but_trailers() {
    run(async {
        let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = nobody.local_addr().unwrap();
        drop(nobody);
        let gateway = Gateway::before(address).await;
        let response = gateway.ask(&call("", "0\r\n\r\n")).await;
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
        assert!(head.contains("\r\nContent-Type: application/grpc\r\n"), "{response}");
        assert!(head.contains("\r\ngrpc-status: 14\r\n"), "{response}");
        assert!(head.contains("\r\ngrpc-message: no server could be reached"), "{response}");
        assert_eq!(body, "");
    });
}

#[test]
fn a_call_whose_response_breaks_off_is_told_so_in_trailers() {
    run(async {
        let server = serve(server::Builder::new(), |_, (_, mut respond)| async move {
            let mut sending = respond.send_response(Response::new(()), false).unwrap();
            sending.send_data(Bytes::from_static(b"half"), false).unwrap();
            tokio::task::yield_now().await;
            sending.send_reset(Reason::INTERNAL_ERROR);
        });
        let gateway = Gateway::before(server.await).await;
        let response = gateway.ask(&call("", "0\r\n\r\n")).await;
        let end = "0\r\ngrpc-status: 14\r\ngrpc-message: the server's response broke off\r\n\r\n";
        assert!(response.ends_with(end), "{response}");
    });
}

#[test]
fn a_call_ends_when_its_client_wants_it_to_and_the_server_is_not_blamed() {
    run(async {
        let (reason, ended) = (Rc::new(Cell::new(None)), Rc::new(Notify::new()));
        let (heard, told) = (Rc::clone(&reason), Rc::clone(&ended));
        let server = serve(server::Builder::new(), move |_, (_, mut respond)| {
            let (heard, told) = (Rc::clone(&heard), Rc::clone(&told));
            async move {
                heard.set(Some(poll_fn(|cx| respond.poll_reset(cx)).await.unwrap()));
                told.notify_one();
            }
        });
        let gateway = Gateway::before(server.await).await;
        let response = gateway.ask(&call("grpc-timeout: 50m\r\n", "0\r\n\r\n")).await;
        assert!(response.contains("\r\ngrpc-status: 4\r\n"), "{response}");
        ended.notified().await;
        assert_eq!(reason.get(), Some(Reason::CANCEL));
        let plan = gateway.shard.plan();
        assert_eq!(plan.pools[0].pool.endpoints[0].totals(), (1, 0));
    });
}

#[test]
fn a_response_flows_while_the_request_goes_on() {
    run(async {
        let server = serve(server::Builder::new(), |_, (request, mut respond)| async move {
            let mut stream = request.into_body();
            let mut sending = respond.send_response(Response::new(()), false).unwrap();
            while let Some(data) = stream.data().await {
                let data = data.unwrap();
                stream.flow_control().release_capacity(data.len()).unwrap();
                sending.send_data(data, false).unwrap();
            }
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
            sending.send_trailers(trailers).unwrap();
        });
        let gateway = Gateway::before(server.await).await;
        let mut tcp = TcpStream::connect(gateway.address).await.unwrap();
        tcp.write_all(call("", "").as_bytes()).await.unwrap();
        let mut seen = String::new();
        for word in ["one", "two", "three"] {
            tcp.write_all(format!("{:x}\r\n{word}\r\n", word.len()).as_bytes()).await.unwrap();
            while !seen.ends_with(&format!("{word}\r\n")) {
                seen.push(char::from(tcp.read_u8().await.unwrap()));
            }
        }
        tcp.write_all(b"0\r\n\r\n").await.unwrap();
        tcp.read_to_string(&mut seen).await.unwrap();
        assert!(seen.ends_with("5\r\nthree\r\n0\r\ngrpc-status: 0\r\n\r\n"), "{seen}");
    });
}

#[test]
fn a_response_that_is_nothing_but_trailers_arrives_as_such() {
    run(async {
        let server = serve(server::Builder::new(), |_, (_, mut respond)| async move {
            let response = Response::builder().header("grpc-status", "5").body(()).unwrap();
            respond.send_response(response, true).unwrap();
        });
        let gateway = Gateway::before(server.await).await;
        let response = gateway.ask(&call("", "0\r\n\r\n")).await;
        assert!(response.contains("\r\ngrpc-status: 5\r\n"), "{response}");
        assert!(response.contains("\r\nContent-Length: 0\r\n"), "{response}");
    });
}
