//! Encrypted connections, with a name and a password or with a certificate.

use std::time::Instant;

use tidemill_tests::Workbench;

use super::broker::{Plain, Topic, setting, tls};

/// Copies `input` to `output` with these settings at both ends.
fn job(input: &Topic, output: &Topic, settings: &[(&str, &str)]) -> String {
    let settings: String =
        settings.iter().map(|(name, value)| format!("\"kafka.{name}\" = '{value}', ")).collect();
    format!(
        "trigger = {{ available_now = true }}\n\
         [source.t]\nformat = \"kafka\"\n\
         options = {{ {settings} subscribe = \"{}\", startingOffsets = \"earliest\" }}\n\
         [[step]]\nname = \"copy\"\nsql = \"SELECT key, value FROM t\"\n\
         [sink]\nformat = \"kafka\"\noptions = {{ {settings} topic = \"{}\" }}\n",
        input.name, output.name
    )
}

fn copies(settings: &[(&str, &str)]) {
    let (Some(input), Some(output)) = (Topic::new(1), Topic::new(1)) else { return };
    let records = [Plain::value(0, "1"), Plain::value(0, "2")];
    input.write(&records);
    let bench = Workbench::new();
    // Not where the command runs: files that a job names are beside the job.
    std::fs::create_dir(bench.path("jobs")).unwrap();
    for file in ["ca.pem", "client.crt", "client.key"] {
        std::fs::copy(tls(file), bench.path("jobs").join(file)).unwrap();
    }
    bench.write("jobs/job.toml", job(&input, &output, settings));
    bench.run(&["run", "jobs/job.toml"]).expect_success();
    assert_eq!(output.read(), records);
}

#[test]
fn sasl_ssl_with_the_settings_of_spark_jobs() {
    let Some(servers) = setting("TIDEMILL_KAFKA_SASL_SSL") else { return };
    copies(&[
        ("bootstrap.servers", &servers),
        ("security.protocol", "SASL_SSL"),
        ("sasl.mechanism", "SCRAM-SHA-512"),
        (
            "sasl.jaas.config",
            "org.apache.kafka.common.security.scram.ScramLoginModule required username=\"tidemill\" password=\"tidemill\";",
        ),
        ("ssl.truststore.type", "PEM"),
        ("ssl.truststore.location", "ca.pem"),
    ]);
}

#[test]
fn ssl_with_a_certificate_of_the_client() {
    let Some(servers) = setting("TIDEMILL_KAFKA_SSL") else { return };
    copies(&[
        ("bootstrap.servers", &servers),
        ("security.protocol", "SSL"),
        ("ssl.ca.location", "ca.pem"),
        ("ssl.certificate.location", "client.crt"),
        ("ssl.key.location", "client.key"),
    ]);
}

#[test]
fn a_wrong_password_ends_the_start_with_the_brokers_reason() {
    let Some(servers) = setting("TIDEMILL_KAFKA_SASL_SSL") else { return };
    let (Some(input), Some(output)) = (Topic::new(1), Topic::new(1)) else { return };
    let bench = Workbench::new();
    let settings = [
        ("bootstrap.servers", servers.as_str()),
        ("security.protocol", "SASL_SSL"),
        ("sasl.mechanism", "PLAIN"),
        ("sasl.username", "tidemill"),
        ("sasl.password", "guessed"),
        ("ssl.ca.location", &tls("ca.pem")),
    ];
    bench.write("job.toml", job(&input, &output, &settings));
    let began = Instant::now();
    let finished = bench.run(&["run", "job.toml"]);
    finished.expect_failure(2, &["Kafka refuses the connection", "Authentication failed"]);
    // Not the time that an absent broker is waited for.
    assert!(began.elapsed().as_secs() < 25);
}
