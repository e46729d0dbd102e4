//! Clients of HTTP/2: which tasks serve their streams.

use super::*;
use h2::client::SendRequest;

async fn client(gateway: &Gateway) -> SendRequest<Bytes> {
    let tcp = TcpStream::connect(gateway.address).await.unwrap();
    let (client, connection) = h2::client::handshake(tcp).await.unwrap();
    spawn_local(connection);
    client.ready().await.unwrap()
}

/// Asks and returns the status.
async fn ask(client: &mut SendRequest<Bytes>) -> u16 {
    let request = Request::get("http://x.example/").body(()).unwrap();
    let (response, _) = client.send_request(request, true).unwrap();
    response.await.unwrap().status().as_u16()
}

/// Returns when so many tasks wait for a stream.
async fn until_waiting(gateway: &Gateway, count: usize) {
    while gateway.shard.workers.waiting() != count {
        tokio::task::yield_now().await;
    }
}

#[test]
fn streams_of_all_connections_are_served_by_one_task_as_long_as_they_come_one_by_one() {
    run(async {
        let server = serve(server::Builder::new(), async |_, (_, mut respond): Incoming| {
            respond.send_response(Response::new(()), true).unwrap();
        });
        let gateway = Gateway::before(server.await).await;
        for _ in 0..3 {
            let mut client = client(&gateway).await;
            for _ in 0..3 {
                assert_eq!(ask(&mut client).await, 200);
                until_waiting(&gateway, 1).await;
            }
        }
    });
}

#[test]
fn a_task_that_nothing_came_for_ends_with_the_second_sweep() {
    run(async {
        let server = serve(server::Builder::new(), async |_, (_, mut respond): Incoming| {
            respond.send_response(Response::new(()), true).unwrap();
        });
        let gateway = Gateway::before(server.await).await;
        let mut client = client(&gateway).await;
        assert_eq!(ask(&mut client).await, 200);
        until_waiting(&gateway, 1).await;
        gateway.shard.workers.sweep();
        assert_eq!(gateway.shard.workers.waiting(), 1, "it served one since the last");
        gateway.shard.workers.sweep();
        assert_eq!(gateway.shard.workers.waiting(), 0);
        assert_eq!(ask(&mut client).await, 200);
        until_waiting(&gateway, 1).await;
    });
}
