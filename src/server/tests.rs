//! The router over a pipe: what every answer has in common. What the engine does is tested where it is done.

use hyper::body::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::model::Instance;

async fn answer(request: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let instance = Instance::new(folder.path().join("state"), folder.path().join("run"), None);
    let engine = Engine::open(instance).await.unwrap();
    let router = router(engine.clone(), Reconciler::new(engine));
    let (mut near, far) = tokio::io::duplex(64 << 10);
    let serving = tokio::spawn(serve_connection(router, far));
    near.write_all(request.as_bytes()).await.unwrap();
    // The client is done with asking, and still reads.
    near.shutdown().await.unwrap();
    let mut text = String::new();
    near.read_to_string(&mut text).await.unwrap();
    serving.await.unwrap().unwrap();
    text
}

#[tokio::test]
async fn every_refusal_is_json_with_a_fitting_status() {
    let body = r#"{"name":"no name","auto_remove":false,"spec":{}}"#;
    let create = format!(
        "POST /v1/containers HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    for (request, status, kind) in [
        ("GET /nowhere HTTP/1.1\r\nhost: x\r\n\r\n", 404, "not_found"),
        ("GET /v1/nowhere HTTP/1.1\r\nhost: x\r\n\r\n", 404, "not_found"),
        ("PUT /v1/containers HTTP/1.1\r\nhost: x\r\n\r\n", 400, "invalid"),
        ("DELETE /v1/containers/none HTTP/1.1\r\nhost: x\r\n\r\n", 404, "not_found"),
        ("GET /v1/containers/none/logs?tail=many HTTP/1.1\r\nhost: x\r\n\r\n", 400, "invalid"),
        ("GET /v1/stacks/no%20name HTTP/1.1\r\nhost: x\r\n\r\n", 404, "not_found"),
        ("DELETE /v1/volumes/no%2Fname HTTP/1.1\r\nhost: x\r\n\r\n", 404, "not_found"),
        ("POST /v1/containers/none/exec HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n", 400, "invalid"),
        (create.as_str(), 400, "invalid"),
    ] {
        let text = answer(request).await;
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{request}{text}");
        let error: crate::wire::native::ErrorBody = serde_json::from_str(body).unwrap_or_else(|e| panic!("{e}: {text}"));
        assert_eq!(serde_json::to_value(error.kind).unwrap(), kind, "{request}");
    }
}

#[tokio::test]
async fn lists_and_versions() {
    for path in ["/v1/containers", "/v1/images", "/v1/networks", "/v1/volumes", "/v1/stacks"] {
        let text = answer(&format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
        assert!(text.starts_with("HTTP/1.1 200 ") && text.ends_with("[]"), "{path}: {text}");
    }
    let text = answer("GET /v1/version HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(text.contains(&format!(r#""pid":{}"#, std::process::id())), "{text}");
}

#[tokio::test]
async fn lines_end_with_what_went_wrong() {
    let error = || ApiError::new(ErrorKind::Conflict, "moved".into());
    // Before the first value: an answer of its own.
    let (sender, values) = tokio::sync::mpsc::channel::<u32>(1);
    drop(sender);
    assert_eq!(stream::lines(values, async move { Err(error()) }).await.unwrap_err().0.kind, ErrorKind::Conflict);
    // After it: the last line.
    let (sender, values) = tokio::sync::mpsc::channel(2);
    sender.send(1).await.unwrap();
    sender.send(2).await.unwrap();
    drop(sender);
    let response = stream::lines(values, async move { Err(error()) }).await.unwrap();
    let body: Bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let expected = "1\n2\n{\"error\":{\"kind\":\"conflict\",\"message\":\"moved\"}}\n";
    assert_eq!(std::str::from_utf8(&body).unwrap(), expected);
}

#[tokio::test]
async fn a_server_stops_and_lets_answers_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let router = axum::Router::new().route(
        "/slow",
        axum::routing::get(async || {
            tokio::time::sleep(Duration::from_millis(200)).await;
            "done"
        }),
    );
    let stop = CancellationToken::new();
    let serving = tokio::spawn(serve_unix(router, UnixListener::bind(&path).unwrap(), stop.clone()));
    let mut client = tokio::net::UnixStream::connect(&path).await.unwrap();
    client.write_all(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    stop.cancel();
    let mut text = String::new();
    client.read_to_string(&mut text).await.unwrap();
    assert!(text.ends_with("done"), "{text}");
    serving.await.unwrap();
}
