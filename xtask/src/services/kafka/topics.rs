//! Makes topics: one request of Kafka's protocol, CreateTopics, on a connection of its own.
//!
//! A client library would make this package heavy, and the broker's own tool is a start of Java
//! for each topic. Version 4 is the last whose fields all have plain sizes.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, bail};

const CREATE_TOPICS: i16 = 19;
const VERSION: i16 = 4;

/// There is one node.
const REPLICAS: i16 = 1;

/// How long the broker may take. It takes milliseconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// The length of a text that is not there.
const NO_TEXT: i16 = -1;

const MADE: i16 = 0;
const EXISTS: i16 = 36;

/// Which topics were made, and which were there already.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Topics {
    pub(super) made: Vec<String>,
    pub(super) present: Vec<String>,
}

/// Makes those of `names` that are not there, on the broker at `address`.
pub(super) fn create(address: &str, names: &[&str], partitions: i32) -> Result<Topics> {
    let request = request(names, partitions)?;
    let ask = || {
        let mut broker = TcpStream::connect(address)?;
        broker.set_read_timeout(Some(PATIENCE))?;
        broker.write_all(&request)?;
        answers(&mut broker)
    };
    let answers = ask().with_context(|| format!("asking the broker at {address} for topics"))?;
    let mut topics = Topics::default();
    for Answer { topic, code, message } in answers {
        match code {
            MADE => topics.made.push(topic),
            EXISTS => topics.present.push(topic),
            _ => bail!("the broker refused topic {topic:?}: {message} (error {code})"),
        }
    }
    Ok(topics)
}

fn request(names: &[&str], partitions: i32) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    put(&mut body, &CREATE_TOPICS.to_be_bytes());
    put(&mut body, &VERSION.to_be_bytes());
    // There is one request a connection: its number and the client's name do not matter.
    put(&mut body, &0_i32.to_be_bytes());
    put(&mut body, &NO_TEXT.to_be_bytes());
    put(&mut body, &i32::try_from(names.len())?.to_be_bytes());
    for name in names {
        let length = i16::try_from(name.len()).context("a topic's name is too long")?;
        put(&mut body, &length.to_be_bytes());
        put(&mut body, name.as_bytes());
        put(&mut body, &partitions.to_be_bytes());
        put(&mut body, &REPLICAS.to_be_bytes());
        // Neither a choice of nodes nor settings.
        put(&mut body, &[0; 8]);
    }
    put(&mut body, &i32::try_from(PATIENCE.as_millis())?.to_be_bytes());
    // It is not a trial.
    put(&mut body, &[0]);
    let mut request = i32::try_from(body.len())?.to_be_bytes().to_vec();
    put(&mut request, &body);
    Ok(request)
}

fn put(request: &mut Vec<u8>, bytes: &[u8]) {
    request.extend_from_slice(bytes);
}

/// What the broker says of one topic.
struct Answer {
    topic: String,
    code: i16,
    message: String,
}

fn answers(broker: &mut impl Read) -> io::Result<Vec<Answer>> {
    let (_size, _request, _throttled_ms) = (int32(broker)?, int32(broker)?, int32(broker)?);
    let mut answers = Vec::new();
    for _ in 0..int32(broker)? {
        let (topic, code, message) = (text(broker)?, int16(broker)?, text(broker)?);
        answers.push(Answer { topic, code, message });
    }
    Ok(answers)
}

fn text(broker: &mut impl Read) -> io::Result<String> {
    // A text that is not there is as good as an empty one.
    let length = int16(broker)?.max(0);
    let mut bytes = vec![0; usize::from(length.unsigned_abs())];
    broker.read_exact(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn int16(broker: &mut impl Read) -> io::Result<i16> {
    let mut bytes = [0; 2];
    broker.read_exact(&mut bytes)?;
    Ok(i16::from_be_bytes(bytes))
}

fn int32(broker: &mut impl Read) -> io::Result<i32> {
    let mut bytes = [0; 4];
    broker.read_exact(&mut bytes)?;
    Ok(i32::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::net::TcpListener;

    use super::*;

    /// Asks a broker that gives these codes and messages for the topics `a` and `b`.
    fn created(answers: [(i16, &str); 2]) -> Result<Topics> {
        let broker = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = broker.local_addr().unwrap().to_string();
        let mut answer = [0; 12].to_vec();
        answer.extend(2_i32.to_be_bytes());
        for (topic, (code, message)) in ["a", "b"].into_iter().zip(answers) {
            answer.extend([0, 1]);
            answer.extend(topic.as_bytes());
            answer.extend(code.to_be_bytes());
            answer.extend(i16::try_from(message.len()).unwrap().to_be_bytes());
            answer.extend(message.as_bytes());
        }
        let serve = move || {
            let (mut client, _) = broker.accept().unwrap();
            let mut request = vec![0; usize::try_from(int32(&mut client).unwrap()).unwrap()];
            client.read_exact(&mut request).unwrap();
            client.write_all(&answer).unwrap();
        };
        let serving = std::thread::spawn(serve);
        let created = create(&address, &["a", "b"], 2);
        serving.join().unwrap();
        created
    }

    #[test]
    fn topics_that_are_there_already_are_told_from_new_ones() {
        let topics = created([(EXISTS, "Topic 'a' already exists."), (MADE, "")]).unwrap();
        assert_eq!(topics, Topics { made: vec!["b".into()], present: vec!["a".into()] });
    }

    #[test]
    fn a_topic_that_the_broker_refuses_is_named_with_its_reason() {
        let error = created([(MADE, ""), (17, "Topic name is invalid")]).unwrap_err().to_string();
        assert_eq!(error, "the broker refused topic \"b\": Topic name is invalid (error 17)");
    }

    #[test]
    fn a_request_is_as_the_protocol_lays_it_out() {
        let parts: [&[u8]; 12] = [
            &[0, 0, 0, 36],
            &[0, 19, 0, 4],
            &[0, 0, 0, 0],
            &[255, 255],
            &[0, 0, 0, 1],
            &[0, 1],
            b"a",
            &[0, 0, 0, 2, 0, 1],
            &[0, 0, 0, 0],
            &[0, 0, 0, 0],
            &[0, 0, 117, 48],
            &[0],
        ];
        assert_eq!(request(&["a"], 2).unwrap(), parts.concat());
    }
}
