//! The client's settings: options that begin with `kafka.`, passed on to librdkafka.
//!
//! Users write the names of Kafka's own Java client, as for Spark. Most are librdkafka's too;
//! those that are not are translated here. What Tidemill decides itself is refused.

use std::collections::BTreeMap;
use std::path::Path;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaConfRes;

use crate::options::suggestion;
use crate::{ConfigError, OptionText};

const PREFIX: &str = "kafka.";

/// Other names of a setting, the Java client's above all, and the one that we set it by: of two
/// names in one configuration librdkafka takes either.
const SAME: [(&str, &str); 9] = [
    ("fetch.max.wait.ms", "fetch.wait.max.ms"),
    ("max.partition.fetch.bytes", "fetch.message.max.bytes"),
    ("max.request.size", "message.max.bytes"),
    ("queue.buffering.max.ms", "linger.ms"),
    ("receive.buffer.bytes", "socket.receive.buffer.bytes"),
    ("request.required.acks", "acks"),
    ("send.buffer.bytes", "socket.send.buffer.bytes"),
    ("ssl.truststore.certificates", "ssl.ca.pem"),
    ("ssl.keystore.certificate.chain", "ssl.certificate.pem"),
];

/// Settings whose value is a file's path.
const FILES: [&str; 8] = [
    "sasl.kerberos.keytab",
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.crl.location",
    "ssl.engine.location",
    "ssl.key.location",
    "ssl.keystore.location",
    "ssl.truststore.location",
];

/// What the names of settings have in common whose values are secret: passwords of stores and
/// logins, keys and their chains as text, OAuth's client secret and its free configuration.
pub(crate) const SECRETS: [&str; 6] =
    ["password", "secret", "jaas", "oauthbearer", ".pem", "keystore.key"];

/// In place of a file with authorities: librdkafka looks for the system's.
const PROBE: &str = "probe";

/// Settings that may not be given, and why.
const DECIDED: [(&str, &str); 14] = [
    (
        "auto.offset.reset",
        "startingOffsets says where a query begins; after that its checkpoint does",
    ),
    (
        "enable.auto.commit",
        "the checkpoint keeps how far the query has read; nothing is committed to Kafka",
    ),
    ("enable.auto.offset.store", "the checkpoint keeps how far the query has read"),
    (
        "group.id",
        "no consumer group is joined: the checkpoint keeps how far the query has read; remove it",
    ),
    ("key.deserializer", "keys are bytes; cast the column key in SQL"),
    ("value.deserializer", "values are bytes; decode the column value in SQL"),
    ("key.serializer", "keys are sent as they are; make them in SQL"),
    ("value.serializer", "values are sent as they are; make them in SQL"),
    ("interceptor.classes", "there is no JVM to run them; remove it"),
    ("enable.partition.eof", "the source needs it to find the ends of its ranges"),
    (
        "transactional.id",
        "the sink does not write in transactions yet: it delivers at least once; remove it",
    ),
    ("delivery.report.only.error", "the sink counts what has arrived"),
    ("max.poll.records", "records are fetched ahead within queued.max.messages.kbytes; remove it"),
    (
        "partitioner.class",
        "write kafka.partitioner with one of librdkafka's: murmur2_random (Java's), consistent_random, fnv1a_random",
    ),
];

/// Settings that are used most, for a hint where a name is wrong.
const COMMON: [&str; 34] = [
    "kafka.bootstrap.servers",
    "kafka.security.protocol",
    "kafka.sasl.mechanism",
    "kafka.sasl.jaas.config",
    "kafka.sasl.username",
    "kafka.sasl.password",
    "kafka.sasl.kerberos.service.name",
    "kafka.sasl.kerberos.keytab",
    "kafka.sasl.kerberos.principal",
    "kafka.ssl.ca.location",
    "kafka.ssl.certificate.location",
    "kafka.ssl.key.location",
    "kafka.ssl.key.password",
    "kafka.ssl.truststore.type",
    "kafka.ssl.truststore.location",
    "kafka.ssl.keystore.type",
    "kafka.ssl.keystore.location",
    "kafka.ssl.endpoint.identification.algorithm",
    "kafka.isolation.level",
    "kafka.client.id",
    "kafka.client.rack",
    "kafka.fetch.min.bytes",
    "kafka.fetch.max.bytes",
    "kafka.fetch.max.wait.ms",
    "kafka.max.partition.fetch.bytes",
    "kafka.metadata.max.age.ms",
    "kafka.acks",
    "kafka.linger.ms",
    "kafka.batch.size",
    "kafka.compression.type",
    "kafka.enable.idempotence",
    "kafka.delivery.timeout.ms",
    "kafka.max.request.size",
    "kafka.buffer.memory",
];

/// Whether the value of an option is the path of a file, which may be relative to the job's file.
#[must_use]
pub fn names_file(option: &str, value: &str) -> bool {
    let setting = option.strip_prefix(PREFIX);
    value != PROBE && setting.is_some_and(|setting| FILES.contains(&setting))
}

const BYTES_A_KILOBYTE: u64 = 1024;

/// Takes the client's settings out of the options, checks them, and adds `defaults` where they
/// say nothing. Gives the settings and the other options.
pub(super) fn split(
    place: &str,
    options: &BTreeMap<String, OptionText>,
    defaults: &[(&str, &str)],
) -> Result<(ClientConfig, BTreeMap<String, OptionText>), ConfigError> {
    let mut given = BTreeMap::new();
    let mut others = BTreeMap::new();
    for (name, value) in options {
        // Written without the prefix in other tools; said here, where it can be told what it is.
        let bare = DECIDED.iter().find(|(decided, _)| decided == name);
        let setting = name.strip_prefix(PREFIX).map(str::to_owned);
        match (setting, bare) {
            (Some(setting), _) => drop(given.insert(setting, value.reveal().to_owned())),
            (None, Some((_, why))) => return Err(bad(place, name, &value.shown(), why)),
            (None, None) => drop(others.insert(name.clone(), value.clone())),
        }
    }
    for (name, why) in DECIDED {
        if let Some(value) = given.get(name) {
            return Err(bad(place, &format!("{PREFIX}{name}"), value, why));
        }
    }
    let servers = given.get("bootstrap.servers").map(|servers| servers.trim());
    if servers.is_none_or(str::is_empty) {
        return Err(ConfigError::Missing {
            place: place.to_owned(),
            what: "option kafka.bootstrap.servers".to_owned(),
            hint: "write options = { \"kafka.bootstrap.servers\" = \"host:9092\" }".to_owned(),
        });
    }
    let mut config = ClientConfig::new();
    for (name, value) in defaults {
        config.set(*name, *value);
    }
    for (name, value) in translated(place, given)? {
        config.set(name, value);
    }
    config.create_native_config().map_err(|error| refused(place, &error))?;
    Ok((config, others))
}

fn bad(place: &str, option: &str, value: &str, wanted: &str) -> ConfigError {
    let is_secret = SECRETS.iter().any(|word| option.contains(word));
    ConfigError::BadValue {
        place: place.to_owned(),
        option: option.to_owned(),
        value: if is_secret { "…".to_owned() } else { value.to_owned() },
        wanted: wanted.to_owned(),
    }
}

fn refused(place: &str, error: &KafkaError) -> ConfigError {
    match error {
        KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, _, name, _) => {
            let option = format!("{PREFIX}{name}");
            let nearest = suggestion(&option, COMMON.iter().copied(), "common settings");
            ConfigError::UnknownOption { place: place.to_owned(), option, nearest }
        }
        KafkaError::ClientConfig(_, reason, name, value) => {
            bad(place, &format!("{PREFIX}{name}"), value, reason)
        }
        other => bad(place, "kafka.*", "", &other.to_string()),
    }
}

/// From the Java client's names to librdkafka's.
fn translated(
    place: &str,
    mut given: BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, ConfigError> {
    for (java, ours) in SAME {
        if let Some(value) = given.remove(java) {
            given.insert(ours.to_owned(), value);
        }
    }
    if let Some(bytes) = given.remove("buffer.memory") {
        let kilobytes = bytes.trim().parse::<u64>().ok().filter(|bytes| *bytes >= BYTES_A_KILOBYTE);
        let kilobytes = kilobytes.map(|bytes| bytes / BYTES_A_KILOBYTE).ok_or_else(|| {
            bad(
                place,
                "kafka.buffer.memory",
                &bytes,
                "it has to be a number of bytes, at least 1024",
            )
        })?;
        given.insert("queue.buffering.max.kbytes".to_owned(), kilobytes.to_string());
    }
    // As the Java client does: asked for fewer acknowledgements, it gives up idempotence.
    let is_weak = given.get("acks").is_some_and(|acks| !matches!(acks.trim(), "all" | "-1"));
    if is_weak && !given.contains_key("enable.idempotence") {
        given.insert("enable.idempotence".to_owned(), "false".to_owned());
    }
    if given.get("ssl.endpoint.identification.algorithm").is_some_and(String::is_empty) {
        given.insert("ssl.endpoint.identification.algorithm".to_owned(), "none".to_owned());
    }
    stores(place, &mut given)?;
    login(place, &mut given)?;
    Ok(given)
}

/// Java's key stores: PEM files are handed on, PKCS#12 for the key, and JKS nobody else reads.
fn stores(place: &str, given: &mut BTreeMap<String, String>) -> Result<(), ConfigError> {
    let pem = "only PEM is read; export it: keytool -importkeystore -srckeystore store.jks -destkeystore store.p12 -deststoretype PKCS12, then openssl pkcs12 -in store.p12 -nokeys -out ca.pem, and write kafka.ssl.ca.location = \"ca.pem\"";
    let kind = |given: &mut BTreeMap<String, String>, which: &str, location: &str| {
        let stated = given.remove(&format!("ssl.{which}.type")).map(|kind| kind.to_uppercase());
        let extension = Path::new(location).extension().map(|e| e.to_string_lossy().to_lowercase());
        stated.unwrap_or_else(|| match extension.as_deref() {
            Some("pem" | "crt" | "key") => "PEM".to_owned(),
            Some("p12" | "pfx") => "PKCS12".to_owned(),
            _ => "JKS".to_owned(),
        })
    };
    match given.remove("ssl.truststore.location") {
        None => drop(given.remove("ssl.truststore.type")),
        Some(location) if kind(given, "truststore", &location) == "PEM" => {
            given.insert("ssl.ca.location".to_owned(), location);
        }
        Some(location) => return Err(bad(place, "kafka.ssl.truststore.location", &location, pem)),
    }
    match given.get("ssl.keystore.location").cloned() {
        None => drop(given.remove("ssl.keystore.type")),
        Some(location) => match kind(given, "keystore", &location).as_str() {
            "PEM" => {
                given.remove("ssl.keystore.location");
                given.insert("ssl.certificate.location".to_owned(), location.clone());
                given.insert("ssl.key.location".to_owned(), location);
            }
            "PKCS12" => {}
            _ => {
                let hint = "only PEM and PKCS12 are read; convert it: keytool -importkeystore -srckeystore store.jks -destkeystore store.p12 -deststoretype PKCS12, and write kafka.ssl.keystore.type = \"PKCS12\"";
                return Err(bad(place, "kafka.ssl.keystore.location", &location, hint));
            }
        },
    }
    if given.contains_key("ssl.certificate.pem")
        && let Some(key) = given.remove("ssl.keystore.key")
    {
        given.insert("ssl.key.pem".to_owned(), key);
    }
    Ok(())
}

/// Java's `sasl.jaas.config`: name and password of the login modules that have them.
fn login(place: &str, given: &mut BTreeMap<String, String>) -> Result<(), ConfigError> {
    let Some(jaas) = given.remove("sasl.jaas.config") else {
        return Ok(());
    };
    let name = "kafka.sasl.jaas.config";
    if !jaas.contains("ScramLoginModule") && !jaas.contains("PlainLoginModule") {
        let hint = "only ScramLoginModule and PlainLoginModule are understood; for Kerberos write kafka.sasl.kerberos.keytab, .principal and .service.name";
        return Err(bad(place, name, &jaas, hint));
    }
    for (word, setting) in [("username", "sasl.username"), ("password", "sasl.password")] {
        let quoted = jaas.split_once(&format!("{word}=")).and_then(|(_, rest)| {
            let quote = rest.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
            rest[1..].split_once(quote).map(|(value, _)| value.to_owned())
        });
        let value = quoted
            .ok_or_else(|| bad(place, name, &jaas, &format!("it has to have {word}=\"…\"")))?;
        given.insert(setting.to_owned(), value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    const SERVERS: (&str, &str) = ("kafka.bootstrap.servers", "localhost:9092");

    fn with(settings: &[(&str, &str)]) -> Result<ClientConfig, String> {
        let options = settings.iter().chain([&SERVERS]);
        let options = options.map(|(k, v)| ((*k).to_owned(), (*v).into())).collect();
        let split = split("source \"s\"", &options, &[("acks", "all")]);
        split.map(|(config, _)| config).map_err(|error| error.to_string())
    }

    #[test]
    fn settings_are_passed_on_and_stand_above_defaults() {
        let config = with(&[("kafka.acks", "1"), ("kafka.client.id", "me")]).unwrap();
        assert_eq!((config.get("acks"), config.get("client.id")), (Some("1"), Some("me")));
        assert_eq!(with(&[]).unwrap().get("acks"), Some("all"));
    }

    #[test]
    fn fewer_acknowledgements_give_up_idempotence_unless_it_is_asked_for() {
        let idempotence = |settings: &[(&str, &str)]| {
            let options = settings.iter().chain([&SERVERS]);
            let options = options.map(|(k, v)| ((*k).to_owned(), (*v).into())).collect();
            let (config, _) = split("s", &options, &[("enable.idempotence", "true")]).unwrap();
            config.get("enable.idempotence").map(str::to_owned)
        };
        assert_eq!(idempotence(&[("kafka.acks", "1")]).as_deref(), Some("false"));
        assert_eq!(idempotence(&[("kafka.acks", "all")]).as_deref(), Some("true"));
        let both = [("kafka.acks", "1"), ("kafka.enable.idempotence", "true")];
        assert_eq!(idempotence(&both).as_deref(), Some("true"), "the client says what is wrong");
    }

    #[test]
    fn what_is_no_option_of_the_client_is_left_to_the_caller() {
        let options = [SERVERS, ("subscribe", "t")];
        let options = options.map(|(k, v)| (k.to_owned(), v.into())).into();
        let (_, others) = split("s", &options, &[]).unwrap();
        assert_eq!(others, [("subscribe".to_owned(), "t".into())].into());
    }

    #[test]
    fn the_java_clients_names_are_understood() {
        let jaas = "org.apache.kafka.common.security.scram.ScramLoginModule required username=\"u\" password=\"p=1\";";
        let config = with(&[
            ("kafka.sasl.jaas.config", jaas),
            ("kafka.ssl.truststore.type", "PEM"),
            ("kafka.ssl.truststore.location", "/ca"),
            ("kafka.ssl.keystore.location", "/me.pem"),
            ("kafka.fetch.max.wait.ms", "9"),
            ("kafka.buffer.memory", "33554432"),
            ("kafka.ssl.endpoint.identification.algorithm", ""),
        ])
        .unwrap();
        let expected = [
            ("sasl.username", "u"),
            ("sasl.password", "p=1"),
            ("ssl.ca.location", "/ca"),
            ("ssl.certificate.location", "/me.pem"),
            ("ssl.key.location", "/me.pem"),
            ("fetch.wait.max.ms", "9"),
            ("queue.buffering.max.kbytes", "32768"),
            ("ssl.endpoint.identification.algorithm", "none"),
        ];
        for (name, value) in expected {
            assert_eq!(config.get(name), Some(value), "{name}");
        }
    }

    #[test]
    fn what_the_source_decides_itself_is_refused_with_the_reason() {
        for name in [
            "kafka.auto.offset.reset",
            "kafka.enable.auto.commit",
            "kafka.key.deserializer",
            "kafka.value.deserializer",
            "kafka.interceptor.classes",
            "kafka.group.id",
            "kafka.transactional.id",
            "group.id",
        ] {
            let error = with(&[(name, "x")]).unwrap_err();
            assert!(error.contains(name), "{error}");
        }
    }

    #[test]
    fn wrong_settings_are_refused_before_anything_starts() {
        let unknown = with(&[("kafka.securty.protocol", "SSL")]).unwrap_err();
        assert!(unknown.contains("did you mean \"kafka.security.protocol\"?"), "{unknown}");
        let wrong = with(&[("kafka.security.protocol", "TLS")]).unwrap_err();
        assert!(wrong.contains("kafka.security.protocol = \"TLS\""), "{wrong}");
        let jks = with(&[("kafka.ssl.truststore.location", "/trust.jks")]).unwrap_err();
        assert!(jks.contains("only PEM is read"), "{jks}");
        let missing = split("source \"s\"", &BTreeMap::new(), &[]).unwrap_err().to_string();
        assert!(missing.contains("kafka.bootstrap.servers"), "{missing}");
    }

    #[test]
    fn secrets_are_not_shown() {
        let error =
            with(&[("kafka.sasl.jaas.config", "Krb5LoginModule keyTab=hidden")]).unwrap_err();
        assert!(!error.contains("hidden"), "{error}");
        for name in [
            "sasl.oauthbearer.client.secret",
            "sasl.oauthbearer.config",
            "sasl.password",
            "ssl.key.password",
            "ssl.key.pem",
            "ssl.keystore.key",
            "ssl.keystore.password",
            "ssl.truststore.password",
        ] {
            let error = bad("s", name, "hidden", "it is wrong").to_string();
            assert!(!error.contains("hidden"), "{error}");
        }
    }
}
