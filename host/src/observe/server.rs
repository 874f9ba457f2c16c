//! `/metrics` and `/status` over HTTP/1.1.
//!
//! For a scraper, a browser and curl: one request a connection, no encryption, no names and
//! passwords. It runs on a thread of its own, and what it shares with the queries is locked for
//! as long as a few texts are copied.
//!
//! **Invariant:** whoever asks is answered, whatever others do. A client can hold a connection for
//! so long, send so many bytes, and be one of so many; when there is one more, the oldest is cut.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::http::HeaderName;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use super::Address;
use super::board::Board;
use super::hosts::Hosts;

/// Connections that are open at a time. A scraper needs one for a moment; what more there are wait
/// for their clients, and cost a handle and a few kilobytes each.
const CONNECTIONS_MAX: usize = 64;
/// Bytes of a request's head. Scrapers send some hundred, browsers with cookies a few thousand.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Headers of a request.
const HEADERS_MAX: usize = 64;
/// From the connection to the last byte of a request's head: one packet, usually the first.
const HEAD_TIME_MAX: Duration = Duration::from_secs(5);
/// From the connection to the last byte of the answer.
const TIME_MAX: Duration = Duration::from_secs(10);
/// After the system had no connection to give, so that a lack of handles is not a busy loop.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";
const PLACES: &str = "tidemill\n\n/metrics   for Prometheus\n/status    the queries, as JSON\n";

/// Serves until the process ends.
pub struct Server {
    address: SocketAddr,
}

impl Server {
    /// Opens the address, and answers from a thread of its own. `names` are those that this
    /// machine may be asked by, beside the address.
    pub fn start(address: &Address, names: &[String], board: &Arc<Board>) -> io::Result<Server> {
        let listener = address.listen()?;
        listener.set_nonblocking(true)?;
        let bound = listener.local_addr()?;
        let pages = Pages {
            board: Arc::clone(board),
            hosts: Hosts::new(bound.ip(), names.iter().map(String::as_str).chain([address.host()])),
        };
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let listener = {
            let _inside = runtime.enter();
            TcpListener::from_std(listener)?
        };
        let serve = move |runtime: Runtime| runtime.block_on(serve(listener, Arc::new(pages)));
        let thread = thread::Builder::new().name("tidemill-http".to_owned());
        thread.spawn(move || serve(runtime))?;
        Ok(Server { address: bound })
    }

    /// Where it listens, with the port that was chosen where the address left it open.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Takes connections for ever.
async fn serve(listener: TcpListener, pages: Arc<Pages>) {
    // The oldest first. As each serves one request, the oldest is the slowest.
    let mut open: VecDeque<AbortHandle> = VecDeque::with_capacity(CONNECTIONS_MAX);
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                open.retain(|connection| !connection.is_finished());
                if open.len() >= CONNECTIONS_MAX
                    && let Some(oldest) = open.pop_front()
                {
                    oldest.abort();
                }
                let connection = tokio::spawn(connection(stream, from, Arc::clone(&pages)));
                open.push_back(connection.abort_handle());
                // Many connections at once must not cut one before it was looked at.
                tokio::task::yield_now().await;
            }
            Err(error) => {
                tracing::warn!(%error, "no connection could be taken");
                sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, from: SocketAddr, pages: Arc<Pages>) {
    let service = service_fn(|request: Request<Incoming>| {
        let answer = pages.answer(&request);
        async move { Ok::<_, Infallible>(answer) }
    });
    let served = http1::Builder::new()
        .keep_alive(false)
        // A client may close its side when it has asked.
        .half_close(true)
        .title_case_headers(true)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME_MAX)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(TIME_MAX, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%from, %error, "a request was not answered"),
        Err(_) => tracing::debug!(%from, "a request took too long"),
    }
}

type Answer = Response<Full<Bytes>>;

/// What there is to see.
struct Pages {
    board: Arc<Board>,
    hosts: Hosts,
}

impl Pages {
    fn answer<B>(&self, request: &Request<B>) -> Answer {
        if let Err(reason) = self.hosts.check(request.uri(), request.headers()) {
            return text(StatusCode::MISDIRECTED_REQUEST, reason);
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let refusal = "there is only GET and HEAD\n".to_owned();
            return with(text(StatusCode::METHOD_NOT_ALLOWED, refusal), ALLOW, "GET, HEAD");
        }
        match request.uri().path() {
            "/metrics" => page(StatusCode::OK, OPEN_METRICS, self.board.metrics()),
            "/status" => match self.board.status() {
                Ok(body) => page(StatusCode::OK, JSON, body + "\n"),
                Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
            },
            "/" => text(StatusCode::OK, PLACES.to_owned()),
            _ => text(StatusCode::NOT_FOUND, PLACES.to_owned()),
        }
    }
}

fn text(status: StatusCode, body: String) -> Answer {
    page(status, TEXT, body)
}

fn page(status: StatusCode, kind: &'static str, body: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    with(answer, CONTENT_TYPE, kind)
}

fn with(mut answer: Answer, name: HeaderName, value: &'static str) -> Answer {
    answer.headers_mut().insert(name, HeaderValue::from_static(value));
    answer
}
