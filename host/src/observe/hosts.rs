//! By which names this machine may be asked.
//!
//! A page in a browser can have its own name lead to this machine's loopback address, and then ask
//! as if it were from here (DNS rebinding). The browser names that name in the request. So requests
//! to names that nobody gave us are refused; addresses cannot be made to lead elsewhere.

use std::net::IpAddr;

use hyper::http::uri::Authority;
use hyper::{HeaderMap, Uri, header};

/// What requests may be for.
pub(super) struct Hosts {
    bound: IpAddr,
    /// In lower case.
    names: Vec<String>,
}

impl Hosts {
    pub(super) fn new<'a>(bound: IpAddr, names: impl Iterator<Item = &'a str>) -> Hosts {
        let names = names.filter(|name| name.parse::<IpAddr>().is_err());
        Hosts { bound, names: names.map(plain).collect() }
    }

    /// The text of a refusal, if the request is for another host. One that names none, as
    /// HTTP/1.0 allows, is no browser's.
    pub(super) fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), String> {
        let mut hosts: Vec<Option<Authority>> = Vec::new();
        hosts.extend(uri.authority().cloned().map(Some));
        for host in headers.get_all(header::HOST) {
            hosts.push(host.to_str().ok().and_then(|host| host.parse().ok()));
        }
        for host in &hosts {
            let name = host.as_ref().map(Authority::host);
            if !name.is_some_and(|name| self.allows(name)) {
                let name = name.unwrap_or("that");
                return Err(format!(
                    "this server does not answer for {name}: ask for it by its address, or start it with --metrics-host NAME\n"
                ));
            }
        }
        match hosts.len() {
            0 | 1 => Ok(()),
            _ if uri.authority().is_some() && hosts.len() == 2 => Ok(()),
            _ => Err("the request has several Host headers\n".to_owned()),
        }
    }

    fn allows(&self, host: &str) -> bool {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if let Ok(address) = bare.parse::<IpAddr>() {
            let address = address.to_canonical();
            return address.is_loopback()
                || self.bound.is_unspecified()
                || address == self.bound.to_canonical();
        }
        let name = plain(host);
        name == "localhost" || name.ends_with(".localhost") || self.names.contains(&name)
    }
}

fn plain(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_lowercase()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

    use super::*;

    fn allowed(bound: &str, names: &[&str], host: &str) -> bool {
        let hosts = Hosts::new(bound.parse().unwrap(), names.iter().copied());
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        hosts.check(&Uri::from_static("/status"), &headers).is_ok()
    }

    #[test]
    fn loopback_and_the_bound_address_are_answered_and_other_names_are_not() {
        for host in ["localhost", "LOCALHOST:80", "a.localhost", "127.0.0.1:9464", "[::1]:9464"] {
            assert!(allowed("127.0.0.1", &[], host), "{host}");
            assert!(allowed("0.0.0.0", &[], host), "{host}");
        }
        for host in ["evil.example", "localhost.evil.example", "10.0.0.1", "", "a b", "127.0.0.1.x"]
        {
            assert!(!allowed("127.0.0.1", &[], host), "{host}");
        }
        assert!(allowed("10.0.0.1", &[], "10.0.0.1:80"));
        assert!(!allowed("10.0.0.1", &[], "10.0.0.2:80"));
    }

    #[test]
    fn open_to_everybody_it_answers_for_every_address_and_for_names_that_were_given() {
        assert!(allowed("0.0.0.0", &[], "10.0.0.1:9464"));
        assert!(allowed("::", &[], "[2001:db8::1]:9464"));
        assert!(!allowed("0.0.0.0", &[], "evil.example"));
        assert!(allowed("0.0.0.0", &["mill.example"], "Mill.Example.:9464"));
    }

    #[test]
    fn a_request_is_for_one_host_or_for_none() {
        let hosts = Hosts::new("127.0.0.1".parse().unwrap(), std::iter::empty());
        let mut headers = HeaderMap::new();
        assert!(hosts.check(&Uri::from_static("/"), &headers).is_ok());
        assert!(hosts.check(&Uri::from_static("http://evil.example/"), &headers).is_err());
        headers.append(header::HOST, "localhost".parse().unwrap());
        assert!(hosts.check(&Uri::from_static("http://localhost/"), &headers).is_ok());
        headers.append(header::HOST, "localhost".parse().unwrap());
        assert!(hosts.check(&Uri::from_static("/"), &headers).is_err());
    }
}
