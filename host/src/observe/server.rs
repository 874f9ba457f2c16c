//! `/metrics` and `/status` over HTTP/1.1.
//!
//! Just enough of it for a scraper, a browser and curl: one request a connection, no body, no
//! encryption, no names and passwords. What a client can make the process hold is bounded: so many
//! connections at a time, so many bytes, so much time. Others wait in the system's queue.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::Address;
use super::board::Board;

/// Connections that are served at a time: one may be slow without keeping a scraper out.
const THREADS: usize = 2;
/// Bytes of a request's head. Scrapers send some hundred, browsers with cookies a few thousand.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Headers of a request.
const HEADERS_MAX: usize = 64;
/// From the connection to the last byte of the answer.
const TIME_MAX: Duration = Duration::from_secs(5);
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
    /// Opens the address, and answers from threads of its own.
    pub fn start(address: &Address, board: &Arc<Board>) -> io::Result<Server> {
        let listener = address.listen()?;
        for _ in 0..THREADS {
            let (listener, board) = (listener.try_clone()?, Arc::clone(board));
            let thread = thread::Builder::new().name("tidemill-http".to_owned());
            thread.spawn(move || serve(&listener, &board))?;
        }
        Ok(Server { address: listener.local_addr()? })
    }

    /// Where it listens, with the port that was chosen where the address left it open.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

fn serve(listener: &TcpListener, board: &Board) {
    loop {
        match listener.accept() {
            Ok((stream, from)) => {
                let connection = Connection { stream, until: Instant::now() + TIME_MAX };
                if let Err(error) = connection.serve(board) {
                    tracing::debug!(%from, %error, "a request was not answered");
                }
            }
            Err(error) => {
                tracing::warn!(%error, "no connection could be taken");
                thread::sleep(ACCEPT_AGAIN);
            }
        }
    }
}

struct Answer {
    status: &'static str,
    kind: &'static str,
    body: String,
}

impl Answer {
    fn text(status: &'static str, body: &str) -> Answer {
        Answer { status, kind: TEXT, body: body.to_owned() }
    }

    fn to(request: &Request, board: &Board) -> Answer {
        let found = |kind, body| Answer { status: "200 OK", kind, body };
        match request.path.as_str() {
            _ if !request.is_read => {
                Answer::text("405 Method Not Allowed", "there is only GET and HEAD\n")
            }
            "/metrics" => found(OPEN_METRICS, board.metrics()),
            "/status" => match board.status() {
                Ok(body) => found(JSON, body + "\n"),
                Err(error) => Answer::text("500 Internal Server Error", &error.to_string()),
            },
            "/" => Answer::text("200 OK", PLACES),
            _ => Answer::text("404 Not Found", PLACES),
        }
    }
}

struct Request {
    /// Of GET and HEAD.
    is_read: bool,
    has_body: bool,
    path: String,
}

struct Connection {
    stream: TcpStream,
    until: Instant,
}

impl Connection {
    fn serve(mut self, board: &Board) -> io::Result<()> {
        let head = self.head()?;
        let request = parse(&head);
        let answer = match &request {
            Some(request) => Answer::to(request, board),
            None => Answer::text("400 Bad Request", "this is no HTTP/1.1 request\n"),
        };
        let mut bytes = format!(
            "HTTP/1.1 {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nAllow: GET, HEAD\r\nConnection: close\r\n\r\n",
            answer.status,
            answer.kind,
            answer.body.len()
        )
        .into_bytes();
        if request.is_none_or(|request| request.has_body) {
            bytes.extend(answer.body.as_bytes());
        }
        self.write(&bytes)?;
        self.stream.shutdown(std::net::Shutdown::Write)
    }

    /// Bytes up to the empty line, or as many as are allowed.
    fn head(&mut self) -> io::Result<Vec<u8>> {
        let mut head = Vec::new();
        let mut block = [0; 1024];
        while head.len() < HEAD_BYTES_MAX && !head.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
            self.stream.set_read_timeout(Some(self.time_left()?))?;
            match self.stream.read(&mut block)? {
                0 => break,
                count => head.extend(&block[..count]),
            }
        }
        Ok(head)
    }

    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            self.stream.set_write_timeout(Some(self.time_left()?))?;
            match self.stream.write(bytes)? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                count => bytes = &bytes[count..],
            }
        }
        Ok(())
    }

    /// Never zero, which would mean for ever.
    fn time_left(&self) -> io::Result<Duration> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
    }
}

fn parse(head: &[u8]) -> Option<Request> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    if !request.parse(head).ok()?.is_complete() {
        return None;
    }
    let (method, target) = (request.method?, request.path?);
    let path = target.split_once('?').map_or(target, |(path, _)| path);
    Some(Request {
        is_read: matches!(method, "GET" | "HEAD"),
        has_body: method != "HEAD",
        path: path.to_owned(),
    })
}
