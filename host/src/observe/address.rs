//! Where metrics are served.

use std::fmt;
use std::net::{TcpListener, ToSocketAddrs};
use std::str::FromStr;

/// Where a bare port is served: to this machine alone.
const LOOPBACK: &str = "127.0.0.1";

/// `PORT`, which is served to this machine alone, or `HOST:PORT`. Port 0 is any that is free.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Address {
    host: String,
    port: u16,
}

/// What was written is no address.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "\"{0}\" is neither PORT (9464: this machine alone) nor HOST:PORT (0.0.0.0:9464: everybody)"
)]
pub struct AddressError(String);

impl Address {
    /// The name or address of the machine, without brackets.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// Opens the address.
    pub(super) fn listen(&self) -> std::io::Result<TcpListener> {
        let addresses: Vec<_> = (self.host.as_str(), self.port).to_socket_addrs()?.collect();
        TcpListener::bind(addresses.as_slice())
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Address, AddressError> {
        let (host, port) = text.rsplit_once(':').unwrap_or((LOOPBACK, text));
        // An IPv6 address has colons of its own, so it stands in brackets.
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let is_clear = !host.is_empty() && (bare.is_some() || !host.contains(':'));
        match port.parse() {
            Ok(port) if is_clear => Ok(Address { host: bare.unwrap_or(host).to_owned(), port }),
            _ => Err(AddressError(text.to_owned())),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Result<String, AddressError> {
        text.parse::<Address>().map(|address| address.to_string())
    }

    #[test]
    fn a_bare_port_is_for_this_machine_alone() {
        assert_eq!(shown("9464"), Ok("127.0.0.1:9464".to_owned()));
    }

    #[test]
    fn another_host_has_to_be_written_out() {
        assert_eq!(shown("0.0.0.0:9464"), Ok("0.0.0.0:9464".to_owned()));
        assert_eq!(shown("[::1]:0"), Ok("[::1]:0".to_owned()));
        for wrong in [":9464", "::1", "localhost", "localhost:", "localhost:99999", "", "-1"] {
            assert!(shown(wrong).is_err(), "{wrong}");
        }
    }
}
