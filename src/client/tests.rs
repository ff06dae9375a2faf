//! The client against a server that is not ours: what it makes of refusals and of nonsense.

use axum::Json;
use axum::http::StatusCode;
use axum::routing::get;

use super::*;

#[tokio::test]
async fn refusals_and_nonsense() {
    let refusal = ErrorBody { kind: ErrorKind::NotFound, message: "none".into(), hint: Some("try".into()), exit_code: Some(127) };
    let said = refusal.clone();
    let router = axum::Router::new()
        .route("/v1/containers", get(async || "nonsense"))
        .route("/v1/containers/x", get(async move || (StatusCode::NOT_FOUND, Json(said))))
        .route("/v1/images", get(async || (StatusCode::BAD_GATEWAY, "broken")));
    let client = Client::embedded(router);
    assert!(matches!(client.containers().await, Err(ClientError::Answer(_))));
    match client.container("x").await {
        Err(ClientError::Refused(body)) => assert_eq!(body, refusal),
        other => panic!("{other:?}"),
    }
    let error = client.images().await.unwrap_err().to_string();
    assert!(error.contains("502") && error.contains("broken"), "{error}");
    // The same connection is used again and again.
    for _ in 0..3 {
        assert!(client.container("x").await.is_err());
    }
}

#[tokio::test]
async fn nobody_there_is_not_an_error() {
    let folder = tempfile::tempdir().unwrap();
    assert!(knock(&folder.path().join("none")).unwrap().is_none());
    let left_behind = folder.path().join("old");
    drop(std::os::unix::net::UnixListener::bind(&left_behind).unwrap());
    assert!(knock(&left_behind).unwrap().is_none());
}

/// A router whose `exec` runs its command here rather than in a container; all else is as it is.
fn executing() -> Client {
    use crate::server::native::session;
    use crate::wire::native::Exec;
    use axum::extract::Request;
    use std::process::Stdio;

    let exec = axum::routing::post(async |mut request: Request| {
        let upgrade = hyper::upgrade::on(&mut request);
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let exec: Exec = serde_json::from_slice(&body).unwrap();
        let mut command = tokio::process::Command::new(&exec.argv[0]);
        command.args(&exec.argv[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        tokio::spawn(session::executing(upgrade, command.spawn().unwrap()));
        (StatusCode::SWITCHING_PROTOCOLS, [(CONNECTION, "upgrade"), (UPGRADE, FRAMES)])
    });
    Client::embedded(axum::Router::new().route("/v1/containers/x/exec", exec))
}

async fn shell(line: &str) -> Session {
    let argv = ["/bin/sh", "-c", line].map(String::from).to_vec();
    let exec = crate::wire::native::Exec {
        argv,
        env: Default::default(),
        user: None,
        working_dir: None,
        tty: false,
        privileged: false,
        window: None,
    };
    executing().exec("x", &exec).await.unwrap()
}

/// Output, error output and exit code.
async fn finish(mut session: Session) -> (Vec<u8>, Vec<u8>, i32) {
    use crate::wire::frame::Frame;
    use futures_util::StreamExt;
    let (mut out, mut err) = (Vec::new(), Vec::new());
    loop {
        match session.frames.next().await.unwrap().unwrap() {
            Frame::Stdout(bytes) => out.extend_from_slice(&bytes),
            Frame::Stderr(bytes) => err.extend_from_slice(&bytes),
            Frame::Exit(code) => return (out, err, code),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_session_keeps_streams_apart_and_gives_the_exit_code() {
    use crate::wire::frame::Frame;
    let mut session = shell("echo out; echo err >&2; cat; exit 7").await;
    session.input.send(Frame::Stdin(Bytes::from_static(b"from here"))).await.unwrap();
    session.input.send(Frame::StdinEnd).await.unwrap();
    assert_eq!(finish(session).await, (b"out\nfrom here".to_vec(), b"err\n".to_vec(), 7));
}

#[tokio::test]
async fn a_session_passes_much_both_ways_at_once() {
    use crate::wire::frame::Frame;
    let Session { frames, mut input } = shell("cat").await;
    let much: Vec<u8> = (0..8_000_000u32).map(|n| (n % 251) as u8).collect();
    let sent = Bytes::from(much.clone());
    let feeding = tokio::spawn(async move {
        for start in (0..sent.len()).step_by(50_000) {
            let end = (start + 50_000).min(sent.len());
            input.send(Frame::Stdin(sent.slice(start..end))).await.unwrap();
        }
        input.send(Frame::StdinEnd).await.unwrap();
        input
    });
    let mut frames = frames;
    let mut out = Vec::new();
    use futures_util::StreamExt;
    while let Some(frame) = frames.next().await {
        match frame.unwrap() {
            Frame::Stdout(bytes) => out.extend_from_slice(&bytes),
            Frame::Exit(code) => {
                assert_eq!(code, 0);
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(out == much);
    drop(feeding.await.unwrap());
}

#[tokio::test]
async fn signals_reach_the_command_and_others_that_hold_its_output_do_not_hold_its_exit() {
    use crate::wire::frame::Frame;
    let mut session = shell("trap 'echo caught; exit 3' TERM; echo ready; while :; do sleep 0.05; done").await;
    use futures_util::StreamExt;
    assert_eq!(session.frames.next().await.unwrap().unwrap(), Frame::Stdout(Bytes::from_static(b"ready\n")));
    session.input.send(Frame::Signal(crate::model::Signal::TERM)).await.unwrap();
    assert_eq!(finish(session).await, (b"caught\n".to_vec(), vec![], 3));

    let started = std::time::Instant::now();
    let session = shell("sleep 3 & echo gone; kill -9 $$").await;
    assert_eq!(finish(session).await, (b"gone\n".to_vec(), vec![], 137));
    assert!(started.elapsed().as_secs() < 3);
}
