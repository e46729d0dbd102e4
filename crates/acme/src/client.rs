//! HTTPS to the authority: what `instant-acme` sends its requests through.
//!
//! Each request has a connection of its own, with HTTP/1.1: an order takes a dozen of them every
//! few weeks, and nothing has to be known about connections that went stale. Everything is bounded:
//! the connection, the whole exchange, the response.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use evergate_pki::{Authorities, provider};
use evergate_sys::clock;
use http::header::{CONNECTION, CONTENT_TYPE, HOST, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// For a name to be looked up, a connection, and its handshake.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// For a whole request with its response.
const EXCHANGE_WITHIN: Duration = Duration::from_secs(30);
/// No response is larger: a directory, an order of a hundred names, a chain of certificates.
const RESPONSE_BYTES_MAX: usize = 1024 * 1024;
/// What problems are written in (RFC 7807).
const PROBLEM: &[u8] = b"application/problem+json";

/// A client of one authority. Clones are the same client.
#[derive(Clone)]
pub(crate) struct Client {
    tls: TlsConnector,
    retry_after: Arc<Mutex<Option<Duration>>>,
}

impl Client {
    /// Believes servers that `authorities` vouch for.
    pub(crate) fn new(authorities: &Authorities) -> Self {
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("our cryptography has what TLS needs")
            .with_root_certificates(Arc::clone(authorities.roots()))
            .with_no_client_auth();
        Self { tls: Arc::new(config).into(), retry_after: Arc::default() }
    }

    /// What the last response said about when to come back.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        *self.retry_after.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn exchange(&self, request: Request<BodyWrapper<Bytes>>) -> io::Result<BytesResponse> {
        let uri = request.uri().clone();
        let tls = timeout(CONNECT_WITHIN, self.connect(&uri));
        let tls = tls.await.map_err(|_| slow(&uri, "no connection", CONNECT_WITHIN))??;
        let response = send(tls, request).await?;
        let told = retry_after(response.headers());
        *self.retry_after.lock().unwrap_or_else(PoisonError::into_inner) = told;
        let status = response.status();
        if status.is_client_error() || status.is_server_error() {
            told_in_words(&uri, status, response.headers())?;
        }
        Ok(BytesResponse::from(response.map(Full::new)))
    }

    async fn connect(&self, uri: &Uri) -> io::Result<TlsStream<TcpStream>> {
        if uri.scheme() != Some(&uri::Scheme::HTTPS) {
            return Err(io::Error::other(format!("{uri} is not HTTPS")));
        }
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let within = |error: io::Error| at(uri, &error);
        let addresses = lookup_host((host, uri.port_u16().unwrap_or(443))).await.map_err(within)?;
        let mut last = io::Error::other("its name has no address");
        for address in addresses {
            match TcpStream::connect(address).await {
                Ok(stream) => return self.tls.connect(name, stream).await.map_err(within),
                Err(error) => last = error,
            }
        }
        Err(at(uri, &last))
    }
}

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let client = self.clone();
        *self.retry_after.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Box::pin(async move {
            let uri = request.uri().clone();
            let answer = timeout(EXCHANGE_WITHIN, client.exchange(request)).await;
            let answer = answer.unwrap_or_else(|_| Err(slow(&uri, "no answer", EXCHANGE_WITHIN)));
            answer.map_err(|error| Error::Other(Box::new(error)))
        })
    }
}

/// One request and the whole response on a fresh connection.
async fn send(
    tls: TlsStream<TcpStream>,
    request: Request<BodyWrapper<Bytes>>,
) -> io::Result<Response<Bytes>> {
    let (mut parts, body) = request.into_parts();
    let uri = std::mem::take(&mut parts.uri);
    let authority = uri.authority().map_or("", uri::Authority::as_str);
    parts.headers.insert(HOST, HeaderValue::from_str(authority).map_err(io::Error::other)?);
    parts.headers.insert(CONNECTION, HeaderValue::from_static("close"));
    // Origin form (RFC 9112, 3.2.1).
    let target = uri.path_and_query().map_or("/", uri::PathAndQuery::as_str);
    parts.uri = target.parse().map_err(io::Error::other)?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(tls)).await.map_err(|error| at(&uri, &error))?;
    let exchange = async {
        let response = sender.send_request(Request::from_parts(parts, body)).await;
        let (parts, body) = response.map_err(|error| at(&uri, &error))?.into_parts();
        let body = Limited::new(body, RESPONSE_BYTES_MAX).collect().await;
        let body = body.map_err(|error| at(&uri, &*error))?.to_bytes();
        Ok(Response::from_parts(parts, body))
    };
    let (mut exchange, mut connection) = (pin!(exchange), pin!(connection));
    tokio::select! {
        biased;
        response = &mut exchange => return response,
        // What is to say about its end, the exchange says.
        _ = &mut connection => {}
    }
    exchange.await
}

/// An error unless the response holds a problem in words, which is read by others.
fn told_in_words(uri: &Uri, status: StatusCode, headers: &HeaderMap) -> io::Result<()> {
    let kind = headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    if kind.starts_with(PROBLEM) {
        return Ok(());
    }
    Err(io::Error::other(format!("{} answered {status}", uri.host().unwrap_or_default())))
}

/// RFC 9110, 10.2.3.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = httpdate::parse_http_date(value).ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(at.saturating_sub(Duration::from_secs(clock::unix_seconds())))
}

fn slow(uri: &Uri, what: &str, within: Duration) -> io::Error {
    let host = uri.host().unwrap_or_default();
    io::Error::new(io::ErrorKind::TimedOut, format!("{what} from {host} within {within:?}"))
}

/// With whom it happened, and every cause.
fn at(uri: &Uri, error: &(dyn std::error::Error + 'static)) -> io::Error {
    let authority = uri.authority().map_or("", uri::Authority::as_str);
    let mut text = format!("{authority}: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    io::Error::other(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: http::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(retry_after(&headers(RETRY_AFTER, "90")), Some(Duration::from_secs(90)));
        let past = headers(RETRY_AFTER, "Fri, 31 Dec 1999 23:59:59 GMT");
        assert_eq!(retry_after(&past), Some(Duration::ZERO));
        let future = headers(RETRY_AFTER, "Fri, 31 Dec 2100 23:59:59 GMT");
        assert!(retry_after(&future).unwrap() > Duration::from_secs(365 * 24 * 3600));
        for none in ["", "soon", "-1"] {
            assert_eq!(retry_after(&headers(RETRY_AFTER, none)), None, "{none}");
        }
    }

    #[test]
    fn an_error_page_of_somebody_else_is_no_problem_document() {
        let uri = Uri::from_static("https://ca.example/new-order");
        let words = headers(CONTENT_TYPE, "application/problem+json; charset=utf-8");
        assert!(told_in_words(&uri, StatusCode::FORBIDDEN, &words).is_ok());
        let page = headers(CONTENT_TYPE, "text/html");
        let error = told_in_words(&uri, StatusCode::BAD_GATEWAY, &page).unwrap_err();
        assert_eq!(error.to_string(), "ca.example answered 502 Bad Gateway");
    }
}
