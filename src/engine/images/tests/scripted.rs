//! Against a registry that does what the test says: wrong content, broken connections, tokens, refusals.

use std::collections::HashMap;
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) method: String,
    /// With its query.
    pub(super) path: String,
    pub(super) headers: HashMap<String, String>,
    pub(super) body: String,
}

impl Request {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// Whether this is the start of a TLS handshake.
fn is_tls(bytes: &[u8]) -> bool {
    bytes.first() == Some(&0x16)
}

/// Whether a request has come with its body.
fn is_whole(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes).to_lowercase();
    if is_tls(bytes) {
        return true;
    }
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |n| n.parse().unwrap());
    body.len() >= length
}

#[derive(Clone, Debug, Default)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
    /// After so many bytes of the body the connection closes.
    pub(super) cut: Option<usize>,
    /// Instead of closing it goes silent.
    pub(super) stall: bool,
    /// The body comes byte by byte, each after a pause.
    pub(super) crawl: Option<Duration>,
}

impl Reply {
    pub(super) fn status(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    pub(super) fn body(body: impl Into<Vec<u8>>) -> Self {
        Self { status: 200, body: body.into(), ..Self::default() }
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

pub(super) struct Server {
    pub(super) port: u16,
    log: Arc<Mutex<Vec<Request>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Answers by `handler`, which also gets how often the same path was asked for before.
    pub(super) async fn start(handler: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let log = Arc::new(Mutex::new(Vec::<Request>::new()));
        let (handler, kept) = (Arc::new(handler), log.clone());
        let task = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (handler, log) = (handler.clone(), kept.clone());
                tokio::spawn(async move {
                    let mut bytes = Vec::new();
                    while !is_whole(&bytes) {
                        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                            return;
                        }
                    }
                    if is_tls(&bytes) {
                        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
                        return;
                    }
                    let text = String::from_utf8_lossy(&bytes).into_owned();
                    let (head, body) = text.split_once("\r\n\r\n").unwrap();
                    let mut lines = head.lines();
                    let mut first = lines.next().unwrap().split(' ').map(str::to_owned);
                    let headers = lines.filter_map(|l| l.split_once(": ")).map(|(n, v)| (n.to_lowercase(), v.to_owned()));
                    let (method, path) = (first.next().unwrap(), first.next().unwrap());
                    let request = Request { method, path, headers: headers.collect(), body: body.to_owned() };
                    let seen = {
                        let mut log = log.lock().unwrap();
                        log.push(request.clone());
                        log.iter().filter(|r| r.path == request.path).count() - 1
                    };
                    let reply = handler(&request, seen);
                    let mut head =
                        format!("HTTP/1.1 {} X\r\nConnection: close\r\nContent-Length: {}\r\n", reply.status, reply.body.len());
                    for (name, value) in &reply.headers {
                        head.push_str(&format!("{name}: {value}\r\n"));
                    }
                    let sent = &reply.body[..reply.cut.unwrap_or(reply.body.len())];
                    let first = if reply.crawl.is_some() { &sent[..0] } else { sent };
                    let all = [head.as_bytes(), b"\r\n", first].concat();
                    if let Some(pause) = reply.crawl
                        && stream.write_all(&all).await.is_ok()
                    {
                        for byte in sent {
                            tokio::time::sleep(pause).await;
                            if stream.write_all(&[*byte]).await.is_err() {
                                return;
                            }
                        }
                        return;
                    }
                    if stream.write_all(&all).await.is_ok() && reply.stall {
                        tokio::time::sleep(Duration::from_secs(60)).await;
                    }
                });
            }
        });
        Self { port, log, task }
    }

    pub(super) fn requests(&self, part: &str) -> Vec<Request> {
        self.log.lock().unwrap().iter().filter(|r| r.path.contains(part)).cloned().collect()
    }

    pub(super) fn reference(&self, rest: &str) -> ImageRef {
        format!("127.0.0.1:{}/{rest}", self.port).parse().unwrap()
    }
}

impl Sample {
    /// What an honest registry answers, where `tag` is what any tag names.
    pub(super) fn answer(&self, tag: Digest, request: &Request) -> Reply {
        let name = request.path.rsplit('/').next().unwrap();
        let digest = name.parse().unwrap_or(tag);
        let Some((_, content)) = self.blobs.iter().find(|(known, _)| *known == digest) else {
            return Reply { body: br#"{"errors":[{"code":"X","message":"unknown to me"}]}"#.to_vec(), ..Reply::status(404) };
        };
        if request.path.contains("/manifests/") {
            return Reply::body(content.clone()).with("Docker-Content-Digest", digest.to_string());
        }
        match request.header("range").strip_prefix("bytes=").and_then(|r| r.trim_end_matches('-').parse::<usize>().ok()) {
            Some(start) => {
                let reply = Reply { status: 206, ..Reply::body(&content[start..]) };
                reply.with("Content-Range", format!("bytes {start}-{}/{}", content.len() - 1, content.len()))
            }
            None => Reply::body(content.clone()),
        }
    }
}

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
async fn wrong_content_is_refused() {
    let (sample, layer, image) = simple();
    type Spoil = fn(Reply, &Request, Digest) -> Reply;
    let cases: [(&str, Spoil); 6] = [
        ("has digest", |mut reply, request, layer| {
            if request.path.contains(&layer.hex()) {
                reply.body[60_000] ^= 1;
            }
            reply
        }),
        ("longer than", |mut reply, request, layer| {
            if request.path.contains(&layer.hex()) {
                reply.body.push(0);
            }
            reply
        }),
        ("manifest has digest", |mut reply, request, _| {
            if request.path.contains("/manifests/") {
                reply.body.push(b' ');
            }
            reply
        }),
        ("longer than", |mut reply, request, _| {
            if request.path.contains("/manifests/") {
                reply.body = vec![b' '; 5 << 20];
            }
            reply
        }),
        (
            "not what it should be",
            |reply, request, _| {
                if request.path.contains("/manifests/") { Reply::body("<html>hello</html>") } else { reply }
            },
        ),
        ("no such blob: unknown to me", |reply, request, layer| {
            if request.path.contains(&layer.hex()) {
                return Reply { body: br#"{"errors":[{"code":"X","message":"unknown to me"}]}"#.to_vec(), ..Reply::status(404) };
            }
            reply
        }),
    ];
    for (expected, spoil) in cases {
        let sample = sample.clone();
        let server = Server::start(move |request, _| spoil(sample.answer(image, request), request, layer)).await;
        let error = pull(&Fixture::new(), &server).await.unwrap_err();
        assert!(error.contains(expected), "{expected}: {error}");
    }
    // The layer is what its descriptor says, but not what the configuration says.
    let mut lying = Sample::default();
    let tar = Tar::default().file("a", "b").end();
    let other = digest_of(&lying.image(&here(), &[(b"another tar", tar, PLAIN)]));
    let server = Server::start(move |request, _| lying.answer(other, request)).await;
    let error = pull(&Fixture::new(), &server).await.unwrap_err();
    assert!(error.contains("configuration says"), "{error}");
    // A pinned digest is checked whatever the registry says of it.
    let pinned = Digest::of(b"pinned");
    let kept = sample.clone();
    let server = Server::start(move |request, _| {
        let mut asked = request.clone();
        asked.path = asked.path.replace(&pinned.to_string(), "tag");
        kept.answer(image, &asked)
    })
    .await;
    let reference = server.reference("a/b").at(pinned);
    let error = Fixture::new().images.pull(&reference, None, silent()).await.unwrap_err().to_string();
    assert!(error.contains("manifest has digest") && error.contains(&pinned.to_string()), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn waits_as_it_is_asked_to() {
    let (sample, _, image) = simple();
    let kept = sample.clone();
    let server = Server::start(move |request, seen| match seen {
        0 if request.path.contains("/manifests/") => Reply::status(503).with("Retry-After", "1"),
        1 if request.path.contains("/manifests/") => Reply::status(429),
        0 => Reply::status(502),
        _ => kept.answer(image, request),
    })
    .await;
    let begun = Instant::now();
    assert_eq!(pull(&Fixture::new(), &server).await, Ok(image));
    assert!(begun.elapsed() >= Duration::from_secs(1));
    let server = Server::start(|_, _| Reply::status(503).with("Retry-After", "3600")).await;
    let error = pull(&Fixture::new(), &server).await.unwrap_err();
    assert!(error.contains("503") && error.contains("3600 s"), "{error}");
    assert_eq!(server.requests("").len(), 1);
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
        server.requests("/token")[0].body,
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
