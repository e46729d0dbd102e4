//! `evergate demo-app`: a small web server that knows nothing of Evergate but `PORT`.
//!
//! Which release it is of, it reads from the file `release` in the folder that it is started in, as
//! other apps are other code there.

use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use evergate_core::rng::Rng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

/// Most bytes of a request head.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Most connections at once.
const CONNECTIONS_MAX: usize = 1024;
/// Longest time between two requests on a connection.
const IDLE_MAX: Duration = Duration::from_secs(120);
/// Work for a page: this many milliseconds at least, and at most this many more.
const WORK_MS: (u32, u32) = (1, 4);
/// Longest `/slow`, in milliseconds.
const SLOW_MS_MAX: u64 = 60_000;
/// Rest after a failed accept.
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// Answers on 127.0.0.1:$PORT: `/`, `/health`, `/slow?ms=N`, with its release in `x-release`.
#[derive(clap::Args)]
pub(crate) struct DemoApp {}

impl DemoApp {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let port = std::env::var("PORT").context("PORT is not set")?;
        let port: u16 = port.parse().context("PORT is not a port")?;
        let app = Arc::new(App {
            name: std::env::var("APP").unwrap_or_else(|_| "app".into()),
            instance: std::env::var("INSTANCE").unwrap_or_else(|_| "0".into()),
            release: release(),
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let listener = TcpListener::bind(("127.0.0.1", port))
                .await
                .with_context(|| format!("cannot listen on 127.0.0.1:{port}"))?;
            serve(listener, app).await
        })
    }
}

struct App {
    name: String,
    instance: String,
    release: u16,
}

/// The number in the file `release`; 0 if there is none.
fn release() -> u16 {
    let text = std::fs::read_to_string("release").unwrap_or_default();
    text.trim().parse().unwrap_or_default()
}

/// Serves until the process is ended; connections are owned by the runtime and end with it.
async fn serve(listener: TcpListener, app: Arc<App>) -> anyhow::Result<ExitCode> {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut rng = Rng::seeded(evergate_sys::random::seed());
    loop {
        let place = Arc::clone(&places).acquire_owned().await?;
        let Ok((stream, _)) = listener.accept().await else {
            sleep(ACCEPT_REST).await;
            continue;
        };
        let (app, rng) = (Arc::clone(&app), Rng::seeded(rng.next_u64()));
        tokio::spawn(async move {
            // A client that goes away is its own business.
            drop(connection(stream, &app, rng).await);
            drop(place);
        });
    }
}

async fn connection(mut stream: TcpStream, app: &App, mut rng: Rng) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::new();
    loop {
        let Ok(head) = timeout(IDLE_MAX, read_head(&mut stream, &mut buffer)).await else {
            return Ok(());
        };
        let Some(head) = head? else { return Ok(()) };
        let work = u64::from(WORK_MS.0 + rng.below(WORK_MS.1));
        let target = head.split(' ').nth(1).unwrap_or("/");
        let (status, body, work) = app.answer(target, work);
        sleep(Duration::from_millis(work)).await;
        // One write, so that a crash leaves either no answer or a whole one.
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 {status}\r\ncontent-type: text/html; charset=utf-8\r\n\
             content-length: {length}\r\nx-release: {}\r\n\r\n{body}",
            app.release
        );
        stream.write_all(answer.as_bytes()).await?;
    }
}

/// The next request's head; none at the end of the connection. Only requests without a body are
/// expected, so anything after the head belongs to the next one.
async fn read_head(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Option<String>> {
    loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head: Vec<u8> = buffer.drain(..end + 4).collect();
            return Ok(Some(String::from_utf8_lossy(&head).into_owned()));
        }
        if buffer.len() > HEAD_BYTES_MAX || stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}

impl App {
    /// Status, body, and how many milliseconds it takes.
    fn answer(&self, target: &str, work: u64) -> (&'static str, String, u64) {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        match path {
            "/" => ("200 OK", self.page(), work),
            "/health" => ("200 OK", "ok\n".into(), 0),
            "/slow" => {
                let wanted = query.split('&').find_map(|pair| pair.strip_prefix("ms="));
                let wanted = wanted.and_then(|number| number.parse().ok()).unwrap_or(1000);
                let took: u64 = SLOW_MS_MAX.min(wanted);
                ("200 OK", format!("slept {took} ms\n"), took)
            }
            _ => ("404 Not Found", "nothing here\n".into(), 0),
        }
    }

    fn page(&self) -> String {
        let Self { name, instance, release } = self;
        let pid = std::process::id();
        format!(
            "<!doctype html><title>{name}/{instance}</title><h1>{name}/{instance}</h1>\
             <p>Release {release}. Process {pid} answers. Kill it, reload, and another one does.</p>\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_is_answered_again_and_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = Arc::new(App { name: "shop".into(), instance: "2".into(), release: 7 });
        tokio::spawn(serve(listener, app));
        let mut stream = TcpStream::connect(address).await.unwrap();
        let requests = "GET / HTTP/1.1\r\n\r\nGET /health HTTP/1.1\r\n\r\nGET /slow?ms=1 HTTP/1.1\r\n\r\n\
                        GET /x HTTP/1.1\r\n\r\n";
        stream.write_all(requests.as_bytes()).await.unwrap();
        let mut text = String::new();
        while !text.contains("nothing here") {
            let mut bytes = [0; 1024];
            let count = stream.read(&mut bytes).await.unwrap();
            assert_ne!(count, 0, "{text}");
            text.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
        for part in [
            "<h1>shop/2</h1>",
            "\r\nx-release: 7\r\n",
            "\r\n\r\nok\n",
            "slept 1 ms",
            "HTTP/1.1 404",
        ] {
            assert!(text.contains(part), "no {part:?} in {text}");
        }
    }
}
