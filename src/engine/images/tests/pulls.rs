//! Pulls from a registry that does what the test says: broken connections, tokens and passwords, many pulls at once.

use super::scripted::{Reply, Server};
use super::*;

/// An image of one layer, that layer's digest, and the image's.
fn simple() -> (Sample, Digest, Digest) {
    let mut sample = Sample::default();
    // Random enough to stay big when it is compressed.
    let content: Vec<u8> = (0..20_000u32).flat_map(|i| Digest::of(&i.to_le_bytes()).hex().into_bytes()).collect();
    let tar = Tar::default().file("big", content).end();
    let packed = gzip(&tar);
    let layer = Digest::of(&packed);
    let image = digest_of(&sample.image(&here(), &[(&tar, packed, GZIP)]));
    (sample, layer, image)
}

async fn pull(fixture: &Fixture, server: &Server) -> Result<Digest, String> {
    let result = fixture.images.pull(&server.reference("a/b:1"), None, silent()).await.map_err(|e| e.to_string());
    if result.is_err() {
        assert!(fixture.images.list().unwrap().is_empty());
        assert_eq!((fixture.names("layers"), fixture.names("blobs/sha256")), (BTreeSet::new(), BTreeSet::new()));
    }
    fixture.assert_no_work_left();
    result
}

#[tokio::test(flavor = "multi_thread")]
async fn goes_on_where_a_connection_broke() {
    let (sample, layer, image) = simple();
    let blob = format!("blobs/{layer}");
    for stall in [false, true] {
        let (sample, blob) = (sample.clone(), blob.clone());
        let server = Server::start(move |request, seen| {
            let reply = sample.answer(image, request);
            // Breaks more often than a pull has patience, but each time something has come.
            let cut = (request.path.contains(&blob) && seen < if stall { 2 } else { 9 }).then_some(50_000);
            Reply { cut, stall: stall && cut.is_some(), ..reply }
        })
        .await;
        let fixture = Fixture::new();
        assert_eq!(pull(&fixture, &server).await, Ok(image));
        let ranges: Vec<String> = server.requests("/blobs/").iter().map(|r| r.header("range").to_owned()).collect();
        assert!(ranges.contains(&"bytes=50000-".to_owned()) && ranges.contains(&"bytes=100000-".to_owned()), "{ranges:?}");
        // A second pull asks for the manifest only.
        let before = server.requests("/blobs/").len();
        assert_eq!(pull(&fixture, &server).await, Ok(image));
        assert_eq!(server.requests("/blobs/").len(), before);
    }
    // A registry that knows no ranges sends all of it again; one that never sends more ends the pull.
    let (kept, path) = (sample.clone(), blob.clone());
    let server = Server::start(move |request, seen| {
        let mut plain = request.clone();
        plain.headers.remove("range");
        Reply { cut: (request.path.contains(&path) && seen < 2).then_some(50_000 * (seen + 1)), ..kept.answer(image, &plain) }
    })
    .await;
    assert_eq!(pull(&Fixture::new(), &server).await, Ok(image));
    let server = Server::start(move |request, _| Reply {
        cut: request.path.contains(&blob).then_some(0),
        ..sample.answer(image, request)
    })
    .await;
    let error = pull(&Fixture::new(), &server).await.unwrap_err();
    assert!(error.contains("broke off after 0 of"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_listens() {
    let server = Server::start(|_, _| Reply::status(503)).await;
    let dead = server.reference("a:1");
    drop(server);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let error = Fixture::new().images.pull(&dead, None, silent()).await.unwrap_err().to_string();
    assert!(error.contains("does not answer") && error.to_lowercase().contains("refused"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_and_passwords() {
    use base64::Engine as _;
    let (sample, _, image) = simple();
    // A token service that wants the password, and tokens that run out after four uses.
    let kept = sample.clone();
    let issued = Arc::new(Mutex::new((0, 0)));
    let server = Server::start(move |request, _| {
        let mut issued = issued.lock().unwrap();
        if request.path.starts_with("/token") {
            if !request.header("authorization").starts_with("Basic ") {
                return Reply::status(401);
            }
            *issued = (issued.0 + 1, 4);
            return Reply::body(format!(r#"{{"token":"t{}"}}"#, issued.0));
        }
        if issued.1 > 0 && request.header("authorization") == format!("Bearer t{}", issued.0) {
            issued.1 -= 1;
            return kept.answer(image, request);
        }
        let port = request.header("host").rsplit(':').next().unwrap();
        Reply::status(401).with(
            "WWW-Authenticate",
            format!(r#"Bearer realm="http://127.0.0.1:{port}/token?x=y",service="the registry",scope="repository:a/b:pull""#),
        )
    })
    .await;
    let fixture = Fixture::new();
    let error = pull(&fixture, &server).await.unwrap_err();
    assert!(error.contains("refuses the token"), "{error}");
    let auth = base64::engine::general_purpose::STANDARD.encode("me:secret");
    let login = json!({"auths": {format!("127.0.0.1:{}", server.port): {"auth": auth}}});
    std::fs::write(fixture.path().join("docker-config.json"), login.to_string()).unwrap();
    assert_eq!(pull(&fixture, &server).await, Ok(image));
    let asked = server.requests("/token");
    let asked = asked.last().unwrap();
    assert_eq!(asked.header("authorization"), format!("Basic {auth}"));
    assert!(asked.path.contains("x=y&service=the+registry&scope=repository%3Aa%2Fb%3Apull&account=me"), "{}", asked.path);

    // An identity token is exchanged by POST.
    let kept = sample.clone();
    let server = Server::start(move |request, _| {
        let port = request.header("host").rsplit(':').next().unwrap();
        match request.header("authorization") {
            "Bearer refreshed" => kept.answer(image, request),
            _ if request.method == "POST" => Reply::body(r#"{"access_token":"refreshed"}"#),
            _ => Reply::status(401)
                .with("WWW-Authenticate", format!(r#"Bearer realm="http://127.0.0.1:{port}/token",service="s""#)),
        }
    })
    .await;
    let fixture = Fixture::new();
    let login = json!({"auths": {format!("127.0.0.1:{}", server.port): {"identitytoken": "id&1"}}});
    std::fs::write(fixture.path().join("docker-config.json"), login.to_string()).unwrap();
    assert_eq!(pull(&fixture, &server).await, Ok(image));
    assert_eq!(
        server.requests("/token")[0].text(),
        "grant_type=refresh_token&service=s&client_id=setpoint&scope=repository%3Aa%2Fb%3Apull&refresh_token=id%261"
    );

    // Basic, first without and then with a password; and a redirect to another host, which must not see it.
    let kept = sample.clone();
    let elsewhere = Server::start(move |request, _| match request.header("authorization") {
        "" => kept.answer(image, request),
        _ => Reply::status(400),
    })
    .await;
    let target = elsewhere.port;
    let server = Server::start(move |request, _| match request.header("authorization") {
        "" => Reply::status(401).with("WWW-Authenticate", "Basic realm=\"x\""),
        _ => Reply::status(307).with("Location", format!("http://127.0.0.1:{target}{}", request.path)),
    })
    .await;
    let fixture = Fixture::new();
    let error = pull(&fixture, &server).await.unwrap_err();
    assert!(error.contains("not authorized") && error.contains("setpoint login"), "{error}");
    let login = json!({"auths": {format!("127.0.0.1:{}", server.port): {"auth": auth}}});
    std::fs::write(fixture.path().join("docker-config.json"), login.to_string()).unwrap();
    assert_eq!(pull(&fixture, &server).await, Ok(image));
    assert!(elsewhere.requests("").len() >= 3);
    let helper = json!({"credsStore": "vault"});
    std::fs::write(fixture.path().join("docker-config.json"), helper.to_string()).unwrap();
    let error = fixture.images.pull(&server.reference("c:1"), None, silent()).await.unwrap_err().to_string();
    assert!(error.contains("docker-credential-vault"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_is_fetched_once_however_many_want_it() {
    let (sample, layer, image) = simple();
    let server = Server::start(move |request, _| sample.answer(image, request)).await;
    let fixture = Fixture::new();
    let references: Vec<_> = (0..8).map(|i| server.reference(&format!("a:{i}"))).collect();
    let pulls = references.iter().map(|reference| fixture.images.pull(reference, None, silent()));
    for result in futures_util::future::join_all(pulls).await {
        assert_eq!(result.unwrap(), image);
    }
    assert_eq!(server.requests(&layer.hex()).len(), 1);
    assert_eq!(fixture.images.list().unwrap()[0].references.len(), 8);
    // Processes do not know of each other's work: each fetches, and one of them publishes.
    fixture.images.remove(image).unwrap();
    let others: Vec<_> = (0..4).map(|_| open(fixture.path(), Limits::default())).collect();
    let pulls = others.iter().zip(&references).map(|(other, reference)| other.pull(reference, None, silent()));
    for result in futures_util::future::join_all(pulls).await {
        assert_eq!(result.unwrap(), image);
    }
    drop(others);
    assert_eq!((fixture.names("layers").len(), fixture.images.list().unwrap()[0].references.len()), (1, 4));
    // An abandoned pull leaves nothing, and does not spoil the next one.
    fixture.images.remove(image).unwrap();
    for pause in [1, 5, 20, 60] {
        let pull = fixture.images.pull(&references[0], None, silent());
        drop(tokio::time::timeout(Duration::from_millis(pause), pull).await);
    }
    assert_eq!(fixture.images.pull(&references[0], None, silent()).await.unwrap(), image);
    tokio::time::sleep(Duration::from_millis(500)).await;
    fixture.assert_no_work_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_goes_away_meanwhile_is_fetched_again() {
    let mut sample = Sample::default();
    let (shared, own) = (Tar::default().file("shared", "s").end(), Tar::default().file("own", "o").end());
    let first = digest_of(&sample.image(&here(), &[(&shared, shared.clone(), PLAIN)]));
    let second = digest_of(&sample.image(&here(), &[(&shared, shared.clone(), PLAIN), (&own, own.clone(), PLAIN)]));
    let fixture = Fixture::new();
    let (images, own_digest) = (fixture.images.clone(), Digest::of(&own));
    let server = Server::start(move |request, _| {
        // By now the pull has seen that the shared layer is here, and will not fetch it.
        if request.path.contains(&own_digest.hex()) {
            images.remove(first).unwrap();
        }
        sample.answer(if request.path.contains("/first/") { first } else { second }, request)
    })
    .await;
    fixture.images.pull(&server.reference("first"), None, silent()).await.unwrap();
    assert_eq!(fixture.images.pull(&server.reference("second"), None, silent()).await.unwrap(), second);
    assert_eq!(fixture.images.rootfs(second).unwrap().layers.len(), 2);
    assert_eq!(server.requests(&Digest::of(&shared).hex()).len(), 2);
    assert_eq!(server.requests(&own_digest.hex()).len(), 1);
    fixture.assert_no_work_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_needs_to_be_named() {
    let (sample, _, image) = simple();
    let server = Server::start(move |request, _| sample.answer(image, request)).await;
    // An address that leads here and is not a loopback address by its text.
    let name = format!("0.0.0.0:{}", server.port);
    let reference: ImageRef = format!("{name}/a:1").parse().unwrap();
    let fixture = Fixture::new();
    let error = fixture.images.pull(&reference, None, silent()).await.unwrap_err().to_string();
    assert!(error.contains("SETPOINT_INSECURE_REGISTRIES"), "{error}");
    let http = Http::new(fixture.path().join("registries.yaml"), BTreeSet::from([name]), None, Patience::default());
    let instance = Instance::new(fixture.path().join("state"), fixture.path().join("run"), None);
    let db = Arc::new(Db::open(instance.state_dir()).unwrap());
    let images = Images::with(&instance, db, http, Limits::default(), StoreSettings::default()).unwrap();
    assert_eq!(images.pull(&reference, None, silent()).await.unwrap(), image);
}
