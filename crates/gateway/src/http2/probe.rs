//! Checks of a server that speaks HTTP/2: its status for a GET, or what it says about a service of
//! gRPC (grpc.health.v1).

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;

use bytes::Bytes;
use h2::client;
use http::header::HeaderMap;
use http::{Method, Request};
use tokio::io::{AsyncRead, AsyncWrite};

/// Bytes of an answer about a service; the message is two.
const ANSWER_BYTES_MAX: usize = 1024;
/// Bytes in front of each message: not compressed, and the length.
const PREFIX_BYTES: usize = 5;
/// Bytes of a head, names and values with 32 bytes for each.
const HEAD_BYTES_MAX: u32 = 16 * 1024;

/// Who is asked for what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    /// `http` or `https`.
    pub(crate) scheme: &'a str,
    /// Host and port.
    pub(crate) authority: &'a str,
    /// Path and query.
    pub(crate) path: &'a str,
}

/// What came of asking.
struct Answer {
    status: u16,
    fields: HeaderMap,
    body: Vec<u8>,
    trailers: HeaderMap,
}

/// The status of the response to a GET.
pub(crate) async fn get<T>(io: T, target: Target<'_>) -> Result<u16, String>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let request = request(Method::GET, target)?;
    Ok(ask(io, request, None).await?.status)
}

/// Whether the server says that `service` is served.
pub(crate) async fn is_serving<T>(
    io: T,
    mut target: Target<'_>,
    service: &str,
) -> Result<(), String>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    target.path = "/grpc.health.v1.Health/Check";
    let mut request = request(Method::POST, target)?;
    let fields = request.headers_mut();
    fields.insert("content-type", http::HeaderValue::from_static("application/grpc"));
    fields.insert("te", http::HeaderValue::from_static("trailers"));
    let answer = ask(io, request, Some(question(service))).await?;
    if answer.status != 200 {
        return Err(format!("status {}", answer.status));
    }
    let code =
        [&answer.trailers, &answer.fields].into_iter().find_map(|map| map.get("grpc-status"));
    match code.and_then(|code| code.to_str().ok()) {
        Some("0") => judge(&answer.body),
        Some("5") => Err(format!("the server does not know the service `{service}`")),
        Some("12") => Err("the server has no grpc.health.v1.Health".to_owned()),
        Some(code) => Err(format!("gRPC status {code}")),
        None => Err("the answer has no gRPC status".to_owned()),
    }
}

fn request(method: Method, target: Target<'_>) -> Result<Request<()>, String> {
    let uri = http::Uri::builder()
        .scheme(target.scheme)
        .authority(target.authority)
        .path_and_query(target.path)
        .build();
    Request::builder()
        .method(method)
        .uri(uri.map_err(|error| format!("cannot be asked for: {error}"))?)
        .header("user-agent", "evergate-check")
        .body(())
        .map_err(|error| format!("cannot be asked for: {error}"))
}

/// Asks on a connection of its own; with a `message` the body of the answer is read too.
async fn ask<T>(io: T, request: Request<()>, message: Option<Bytes>) -> Result<Answer, String>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let mut builder = client::Builder::new();
    builder.enable_push(false).max_header_list_size(HEAD_BYTES_MAX);
    let (sender, mut connection) = builder.handshake::<_, Bytes>(io).await.map_err(broken)?;
    let asking = async move {
        let mut sender = sender.ready().await?;
        let (response, mut sending) = sender.send_request(request, message.is_none())?;
        let wants_body = message.is_some();
        if let Some(message) = message {
            sending.send_data(message, true)?;
        }
        let (parts, mut stream) = response.await?.into_parts();
        let (mut body, mut trailers) = (Vec::new(), None);
        if wants_body {
            while let Some(data) = stream.data().await {
                let data = data?;
                let room = ANSWER_BYTES_MAX - body.len();
                body.extend_from_slice(&data[..data.len().min(room)]);
                stream.flow_control().release_capacity(data.len())?;
            }
            trailers = stream.trailers().await?;
        }
        let (status, fields) = (parts.status.as_u16(), parts.headers);
        Ok(Answer { status, fields, body, trailers: trailers.unwrap_or_default() })
    };
    let mut asking = pin!(asking);
    poll_fn(|cx| {
        let over = Pin::new(&mut connection).poll(cx);
        if let Poll::Ready(answer) = asking.as_mut().poll(cx) {
            return Poll::Ready(answer.map_err(broken));
        }
        match over {
            Poll::Ready(Err(error)) => Poll::Ready(Err(broken(error))),
            Poll::Ready(Ok(())) => {
                Poll::Ready(Err("connection closed before the response".to_owned()))
            }
            // What the request has to say goes out with the next turn.
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// A `HealthCheckRequest`: field 1 is the service. Names are shorter than 128 bytes.
fn question(service: &str) -> Bytes {
    let mut message = Vec::with_capacity(PREFIX_BYTES + 2 + service.len());
    let length = if service.is_empty() { 0 } else { 2 + service.len() };
    message.push(0);
    message.extend_from_slice(&(length as u32).to_be_bytes());
    if !service.is_empty() {
        message.extend_from_slice(&[0x0a, service.len() as u8]);
        message.extend_from_slice(service.as_bytes());
    }
    message.into()
}

/// Reads a `HealthCheckResponse`: field 1 is the status; what is 0 may be left out.
fn judge(body: &[u8]) -> Result<(), String> {
    let message = body.get(PREFIX_BYTES..).ok_or("the answer has no message")?;
    match message {
        [0x08, 1, ..] => Ok(()),
        [] | [0x08, 0, ..] => Err("the service is UNKNOWN".to_owned()),
        [0x08, 2, ..] => Err("the service is NOT_SERVING".to_owned()),
        [0x08, 3, ..] => Err("the service is SERVICE_UNKNOWN".to_owned()),
        _ => Err("the answer is not about health".to_owned()),
    }
}

fn broken(error: h2::Error) -> String {
    match error.is_library() {
        true => "the server does not speak HTTP/2".to_owned(),
        false => format!("connection broken: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_names_the_service() {
        assert_eq!(&question("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&question("ab")[..], [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
    }

    #[test]
    fn only_serving_is_up() {
        assert_eq!(judge(&[0, 0, 0, 0, 2, 8, 1]), Ok(()));
        for (body, why) in [
            (&[0, 0, 0, 0, 2, 8, 2][..], "the service is NOT_SERVING"),
            (&[0, 0, 0, 0, 2, 8, 3], "the service is SERVICE_UNKNOWN"),
            (&[0, 0, 0, 0, 0], "the service is UNKNOWN"),
            (&[0, 0, 0, 0, 1, 9], "the answer is not about health"),
            (&[], "the answer has no message"),
        ] {
            assert_eq!(judge(body), Err(why.to_owned()));
        }
    }
}
