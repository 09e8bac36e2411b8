//! Creating topics over the bare protocol, so that the tools of the tests do not hang on the clients under test.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use rkafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use rkafka_protocol::messages::{CreateTopicsRequest, CreateTopicsResponse, RequestHeader, ResponseHeader};
use rkafka_protocol::wire::{Message, Reader, Request, Writer};
use rkafka_protocol::{ApiKey, ErrorCode};

const VERSION: i16 = 7;
/// No answer about a topic is larger.
const ANSWER_MAX: u32 = 1 << 20;

/// Creates a topic with the default number of replicas, through the first address of `bootstrap`. Blocks.
///
/// # Panics
/// The topic cannot be created.
pub fn create_topic(bootstrap: &str, name: &str, partitions: i32, configs: &[(&str, &str)]) {
    match try_create(bootstrap, name, partitions, configs) {
        Ok(()) => {}
        Err(why) => panic!("topic {name} cannot be created at {bootstrap}: {why}"),
    }
}

fn try_create(bootstrap: &str, name: &str, partitions: i32, configs: &[(&str, &str)]) -> Result<(), String> {
    let request = CreateTopicsRequest {
        topics: vec![CreatableTopic {
            name: name.to_owned(),
            num_partitions: partitions,
            replication_factor: -1,
            configs: configs
                .iter()
                .map(|(name, value)| CreatableTopicConfig {
                    name: (*name).to_owned(),
                    value: Some((*value).to_owned()),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        }],
        ..Default::default()
    };
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let mut writer = Writer::new();
    let header = RequestHeader {
        request_api_key: ApiKey::CreateTopics as i16,
        request_api_version: VERSION,
        correlation_id: 1,
        client_id: Some("testkit".to_owned()),
        ..Default::default()
    };
    header.encode(&mut writer, CreateTopicsRequest::header_version(VERSION)).map_err(|error| text(&error))?;
    request.encode(&mut writer, VERSION).map_err(|error| text(&error))?;
    let body = writer.into_vec();
    let address = bootstrap.split(',').next().unwrap_or_default();
    let mut stream = TcpStream::connect(address).map_err(|error| text(&error))?;
    stream.set_read_timeout(Some(Duration::from_secs(60))).map_err(|error| text(&error))?;
    let length = u32::try_from(body.len()).map_err(|error| text(&error))?;
    stream.write_all(&length.to_be_bytes()).and_then(|()| stream.write_all(&body)).map_err(|error| text(&error))?;
    let mut length = [0; 4];
    stream.read_exact(&mut length).map_err(|error| text(&error))?;
    let length = u32::from_be_bytes(length);
    if length > ANSWER_MAX {
        return Err(format!("an answer of {length} bytes"));
    }
    let mut answer = vec![0; length as usize];
    stream.read_exact(&mut answer).map_err(|error| text(&error))?;
    let mut reader = Reader::new(answer.into());
    ResponseHeader::decode(&mut reader, CreateTopicsRequest::response_header_version(VERSION))
        .map_err(|error| text(&error))?;
    let response = CreateTopicsResponse::decode(&mut reader, VERSION).map_err(|error| text(&error))?;
    match response.topics.first() {
        Some(topic) if topic.error_code == 0 => Ok(()),
        Some(topic) => Err(format!(
            "{}: {}",
            ErrorCode::from_code(topic.error_code),
            topic.error_message.as_deref().unwrap_or_default()
        )),
        None => Err("the answer names no topic".to_owned()),
    }
}
