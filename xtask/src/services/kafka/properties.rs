//! The broker's configuration, and what a client has to set to reach it.

use std::path::{Path, PathBuf};

use super::certificates::Certificates;

/// The user that may log in, and its password.
pub(crate) const USER: &str = "tidemill";
pub(crate) const PASSWORD: &str = "tidemill";

/// The key of the line in which a configuration is recognised.
const LISTENERS: &str = "listeners=PLAINTEXT://127.0.0.1:";

/// Where a broker listens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Listeners {
    pub(crate) port: u16,
    pub(crate) secure: bool,
}

impl Listeners {
    pub(crate) fn plaintext(self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The certificate is for this name, and the broker tells clients this one.
    pub(crate) fn sasl_ssl(self) -> String {
        format!("localhost:{}", self.port + 2)
    }

    pub(crate) fn ssl(self) -> String {
        format!("localhost:{}", self.port + 3)
    }

    /// All ports that it takes.
    pub(super) fn ports(self) -> Vec<u16> {
        let count = if self.secure { 4 } else { 2 };
        (self.port..self.port + count).collect()
    }

    /// As [`Configuration::text`] has them.
    pub(super) fn read(text: &str) -> Option<Listeners> {
        let line = text.lines().find_map(|line| line.strip_prefix(LISTENERS))?;
        let port = line.split(',').next()?.parse().ok()?;
        Some(Listeners { port, secure: line.contains("SASL_SSL") })
    }
}

/// What a broker is started with.
pub(super) struct Configuration<'a> {
    pub(super) listeners: Listeners,
    pub(super) data: PathBuf,
    pub(super) certificates: &'a Certificates,
}

impl Configuration<'_> {
    /// In the form of Java's properties.
    pub(super) fn text(&self) -> String {
        let port = self.listeners.port;
        let controller = port + 1;
        let mut listen = format!("{LISTENERS}{port},CONTROLLER://127.0.0.1:{controller}");
        let mut advertised = format!("advertised.listeners=PLAINTEXT://127.0.0.1:{port}");
        let mut protocols =
            "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned();
        let mut secure = String::new();
        if self.listeners.secure {
            let (sasl, ssl) = (port + 2, port + 3);
            listen += &format!(",SASL_SSL://127.0.0.1:{sasl},SSL://127.0.0.1:{ssl}");
            advertised += &format!(",SASL_SSL://localhost:{sasl},SSL://localhost:{ssl}");
            protocols += ",SASL_SSL:SASL_SSL,SSL:SSL";
            secure = self.secure();
        }
        let data = self.data.display();
        // Everything is there once, since there is one node. Segments of 128 MiB: the largest
        // that a partition leaves behind when it is emptied.
        format!(
            "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
{listen}
{advertised}
{protocols}
log.dirs={data}
log.segment.bytes=134217728
num.partitions=1
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
{secure}"
        )
    }

    fn secure(&self) -> String {
        let scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;";
        let plain = "org.apache.kafka.common.security.plain.PlainLoginModule required";
        let (server, authority) = (self.certificates.server(), self.certificates.authority());
        let (server, authority) = (server.display(), authority.display());
        format!(
            "sasl.enabled.mechanisms=SCRAM-SHA-256,SCRAM-SHA-512,PLAIN
listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config={scram}
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config={scram}
listener.name.sasl_ssl.plain.sasl.jaas.config={plain} user_{USER}=\"{PASSWORD}\";
ssl.keystore.type=PEM
ssl.keystore.location={server}
ssl.truststore.type=PEM
ssl.truststore.location={authority}
listener.name.ssl.ssl.client.auth=required
"
        )
    }
}

/// What a job's source or sink has to say to reach the broker, as TOML.
pub(super) fn options(listeners: Listeners, certificates: &Certificates) -> String {
    let option = |name: &str, value: &str| format!("\"kafka.{name}\" = {value:?}\n");
    let file = |name: &str, path: &Path| option(name, &path.display().to_string());
    let mut text = String::from("# For [source.NAME.options] and [sink.options] of a job:\n");
    text += &option("bootstrap.servers", &listeners.plaintext());
    if listeners.secure {
        text += "\n# or with a password (SCRAM-SHA-256 and PLAIN work as well):\n";
        text += &option("bootstrap.servers", &listeners.sasl_ssl());
        text += &option("security.protocol", "SASL_SSL");
        text += &option("sasl.mechanism", "SCRAM-SHA-512");
        text += &option("sasl.username", USER);
        text += &option("sasl.password", PASSWORD);
        text += &file("ssl.ca.location", &certificates.authority());
        text += "\n# or with a client certificate:\n";
        text += &option("bootstrap.servers", &listeners.ssl());
        text += &option("security.protocol", "SSL");
        text += &file("ssl.ca.location", &certificates.authority());
        text += &file("ssl.certificate.location", &certificates.client_certificate());
        text += &file("ssl.key.location", &certificates.client_key());
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_configuration_says_where_its_broker_listens() {
        let certificates = Certificates { folder: "/tls".into() };
        for secure in [false, true] {
            let listeners = Listeners { port: 9192, secure };
            let text =
                Configuration { listeners, data: "/data".into(), certificates: &certificates }
                    .text();
            assert_eq!(Listeners::read(&text), Some(listeners));
            assert_eq!(text.contains("/tls/server.pem"), secure);
        }
    }
}
