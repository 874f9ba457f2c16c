//! Ports on loopback: whether one is free, who has it, whether somebody answers.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::TICK;

/// How long a process that has just ended may hold its port.
pub(super) const RELEASE: Duration = Duration::from_secs(5);

/// A connection on loopback takes microseconds, or the machine is overloaded.
const CONNECT: Duration = Duration::from_secs(1);

/// The state `LISTEN` in `/proc/net/tcp`.
const LISTENING: &str = "0A";

/// Whether something accepts connections on `port`.
pub(super) fn answers(port: u16) -> bool {
    TcpStream::connect_timeout(&loopback(port), CONNECT).is_ok()
}

/// Fails if another process still has one of `ports` after `patience`, and names it.
pub(super) fn ensure_free(ports: &[u16], patience: Duration) -> Result<()> {
    let deadline = Instant::now() + patience;
    for &port in ports {
        while let Err(error) = TcpListener::bind(loopback(port)) {
            if Instant::now() >= deadline {
                let holder = match holder(port) {
                    Some(holder) => format!("{holder} listens there"),
                    None => format!("{error}; no process of this user listens there"),
                };
                bail!("port {port} is taken: {holder}. End it, or choose another with --port");
            }
            std::thread::sleep(TICK);
        }
    }
    Ok(())
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// The process that listens on `port`, as far as this user may know.
fn holder(port: u16) -> Option<String> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(fs::read_to_string);
    let lines: Vec<&str> = tables.iter().flatten().flat_map(|table| table.lines()).collect();
    let socket = format!("socket:[{}]", lines.iter().find_map(|line| listener(line, port))?);
    processes().find(|process| has_open(process, &socket)).and_then(|process| describe(&process))
}

/// The inode of a line's socket, if that listens on `port`.
fn listener(line: &str, port: u16) -> Option<&str> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
    let (_, in_hex) = local.rsplit_once(':')?;
    (*state == LISTENING && u16::from_str_radix(in_hex, 16) == Ok(port)).then_some(inode)
}

fn processes() -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    // Among other things there is `self`, too.
    let is_id = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().parse::<u32>().is_ok())
    };
    entries.map(|entry| entry.path()).filter(is_id)
}

fn has_open(process: &Path, socket: &str) -> bool {
    let Ok(files) = fs::read_dir(process.join("fd")) else {
        return false;
    };
    files.flatten().any(|file| fs::read_link(file.path()).is_ok_and(|to| to == Path::new(socket)))
}

/// Program, last argument (a server's is often its configuration) and process id.
fn describe(process: &Path) -> Option<String> {
    let id = process.file_name()?.to_str()?;
    let line = fs::read(process.join("cmdline")).ok()?;
    let line = String::from_utf8_lossy(&line).into_owned();
    let mut words = line.split('\0').filter(|word| !word.is_empty());
    let program = words.next()?;
    Some(match words.next_back() {
        Some(last) => format!("{program} … {last} (process {id})"),
        None => format!("{program} (process {id})"),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_port_that_is_taken_is_refused_by_naming_the_process() {
        let taken = TcpListener::bind(loopback(0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        assert!(answers(port));
        let error = ensure_free(&[port], Duration::ZERO).unwrap_err().to_string();
        let us = format!("(process {})", std::process::id());
        assert!(error.contains(&port.to_string()) && error.contains(&us), "{error}");
        drop(taken);
        assert!(!answers(port));
        ensure_free(&[port], Duration::ZERO).unwrap();
    }
}
