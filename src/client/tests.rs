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
