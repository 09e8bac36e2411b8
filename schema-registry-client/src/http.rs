//! One HTTP/1.1 request over one connection.
//!
//! A registry is asked rarely, for everything it says is kept; so connections are not. Nothing is spawned: whoever
//! drops the future closes the connection.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::base_url::BaseUrl;
use crate::error::RegistryError;

/// What the registry's interface is called in the Content-Type and Accept headers.
const CONTENT_TYPE: &str = "application/vnd.schemaregistry.v1+json";
const ACCEPT: &str = "application/vnd.schemaregistry.v1+json, application/vnd.schemaregistry+json, application/json";

/// A complete answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

/// Limits of one exchange.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) timeout: Duration,
    pub(crate) max_response_bytes: usize,
}

/// How a request is called in errors: method and URL, without credentials.
pub(crate) fn operation(base: &BaseUrl, method: &Method, path: &str) -> String {
    format!("{method} http://{}{}{path}", base.authority, base.path)
}

/// Sends one request and reads its answer. `path` begins with a slash and is encoded already.
pub(crate) async fn exchange(
    base: &BaseUrl,
    method: &Method,
    path: &str,
    body: Option<Bytes>,
    limits: Limits,
) -> Result<Answer, RegistryError> {
    match tokio::time::timeout(limits.timeout, attempt(base, method, path, body, limits.max_response_bytes)).await {
        Ok(result) => result,
        Err(_) => Err(RegistryError::Timeout { operation: operation(base, method, path), after: limits.timeout }),
    }
}

async fn attempt(
    base: &BaseUrl,
    method: &Method,
    path: &str,
    body: Option<Bytes>,
    max_response_bytes: usize,
) -> Result<Answer, RegistryError> {
    let broken = |reason: String| RegistryError::Transport { operation: operation(base, method, path), reason };
    let mut request = Request::builder()
        .method(method.clone())
        .uri(format!("{}{path}", base.path))
        .header(header::HOST, &base.authority)
        .header(header::ACCEPT, ACCEPT)
        .header(header::USER_AGENT, concat!("rkafka/", env!("CARGO_PKG_VERSION")))
        .header(header::CONNECTION, "close");
    if body.is_some() {
        request = request.header(header::CONTENT_TYPE, CONTENT_TYPE);
    }
    if let Some(authorization) = &base.authorization {
        request = request.header(header::AUTHORIZATION, authorization);
    }
    let request = request
        .body(Full::new(body.unwrap_or_default()))
        .map_err(|error| RegistryError::Argument { argument: "request", reason: error.to_string() })?;

    let stream = TcpStream::connect((base.host.as_str(), base.port))
        .await
        .map_err(|error| broken(format!("cannot connect: {error}")))?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(with_causes(&error)))?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(|error| broken(with_causes(&error)))?;
        read_answer(response, base, method, path, max_response_bytes).await
    };
    tokio::pin!(answer, connection);
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        // The connection may end before the last of the answer has been taken from it, well or not. What it handed
        // over is still readable, and where that is not all, the answer's own future fails.
        _ = &mut connection => answer.await,
    }
}

async fn read_answer(
    response: Response<hyper::body::Incoming>,
    base: &BaseUrl,
    method: &Method,
    path: &str,
    max_response_bytes: usize,
) -> Result<Answer, RegistryError> {
    let status = response.status().as_u16();
    let mut incoming = response.into_body();
    let mut body = Vec::new();
    while let Some(frame) = incoming.frame().await {
        let frame = frame.map_err(|error| RegistryError::Transport {
            operation: operation(base, method, path),
            reason: with_causes(&error),
        })?;
        let Some(data) = frame.data_ref() else { continue };
        if data.len() > max_response_bytes - body.len() {
            return Err(RegistryError::ResponseTooLarge {
                operation: operation(base, method, path),
                limit_bytes: max_response_bytes,
            });
        }
        body.extend_from_slice(data);
    }
    Ok(Answer { status, body })
}

/// An error with what caused it, for hyper's own text often says only where.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
