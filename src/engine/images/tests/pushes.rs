//! Pushes and logins: what we send, others find as it should be; what breaks off goes on; passwords are asked for first.

use std::collections::HashMap;
use std::process::Command;

use super::real::Registry;
use super::scripted::{Reply, Server};
use super::*;
use crate::engine::images::registry::{Piece, Source, Target, Written};
use crate::engine::images::{Credentials, Given, PullOptions, PushOptions, Registries, Trouble};

/// Whatever skopeo says of an image.
fn inspect(registry: &Registry, name: &str, options: &[&str]) -> Value {
    let mut command = Command::new("skopeo");
    command.args(["--override-os", "linux", "inspect", "--tls-verify=false"]).args(options);
    let output = command.arg(format!("docker://localhost:{}/{name}", registry.port)).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn others_find_what_we_push() {
    let fixture = Fixture::new();
    let registry = Registry::start(fixture.path());
    let content: Vec<u8> = (0..40_000u32).flat_map(|i| Digest::of(&i.to_le_bytes()).hex().into_bytes()).collect();
    let big = Tar::default().file("big", content).end();
    let top = Tar::default().file("top", "t").end();
    let mut sample = Sample::default();
    let mine = sample.image(&here(), &[(&big, zstd(&big), ZSTD), (&top, gzip(&top), GZIP)]);
    let other = sample.image("s390x", &[(&top, gzip(&top), GZIP)]);
    let index = sample.index(&[mine.clone(), other.clone()]);
    let from = registry.push(&sample.layout(fixture.path(), &index), "from/app:1", &["--preserve-digests"]);
    let images = &fixture.images;
    let mine = images.pull(&from, None, silent()).await.unwrap();
    let named = |name: &str| -> ImageRef { format!("localhost:{}/{name}", registry.port).parse().unwrap() };

    // To a neighbour: nothing is sent but documents, and the image is the same.
    let (sink, progress) = recorded();
    let pushed = images.push(mine, &named("to/app:2"), &PushOptions::default(), sink).await.unwrap();
    assert_eq!(pushed.digest, mine);
    assert!(
        progress.lock().unwrap().iter().all(|p| matches!(p.phase, crate::model::Phase::Waiting | crate::model::Phase::Exists))
    );
    assert_eq!(inspect(&registry, "to/app:2", &["--format", "{{json .}}"])["Digest"], mine.to_string());

    // To a registry that has none of it: layers are made anew, and the same each time.
    let elsewhere = tempfile::tempdir_in("/tmp").unwrap();
    let second = Registry::start(elsewhere.path());
    let there: ImageRef = format!("localhost:{}/app:1", second.port).parse().unwrap();
    let pushed = images.push(mine, &there, &PushOptions::default(), silent()).await.unwrap();
    assert_ne!(pushed.digest, mine);
    let raw = inspect(&second, "app:1", &["--raw"]);
    assert_eq!(raw["layers"][0]["mediaType"], GZIP);
    let again = images.push(mine, &there, &PushOptions::default(), silent()).await.unwrap();
    assert_eq!(again, pushed);
    let copied = elsewhere.path().join("copied");
    let mut copy = Command::new("skopeo");
    copy.args(["--insecure-policy", "copy", "--quiet", "--src-tls-verify=false"]);
    copy.arg(format!("docker://localhost:{}/app:1", second.port)).arg(format!("oci:{}:it", copied.display()));
    assert!(copy.status().unwrap().success());
    let fresh = Fixture::new();
    assert_eq!(fresh.images.pull(&there, None, silent()).await.unwrap(), pushed.digest);
    let rootfs = fresh.images.rootfs(pushed.digest).unwrap();
    assert_eq!(std::fs::metadata(rootfs.layers[1].join("big")).unwrap().len(), 2_560_000);

    // Blobs that were kept go as they came, in chunks: the image is the same again.
    let keep = PullOptions { keep_blobs: Some(true), ..PullOptions::default() };
    fresh.images.pull_with(&there, &keep, silent()).await.unwrap();
    let third_folder = tempfile::tempdir_in("/tmp").unwrap();
    let third = Registry::start(third_folder.path());
    let target: ImageRef = format!("localhost:{}/app:1", third.port).parse().unwrap();
    let same = fresh.images.push(pushed.digest, &target, &PushOptions::default(), silent()).await.unwrap();
    assert_eq!(same, pushed);

    // An index of two platforms.
    let foreign = PullOptions { platform: Some("linux/s390x".parse().unwrap()), ..PullOptions::default() };
    let foreign = images.pull_with(&from, &foreign, silent()).await.unwrap();
    let both = PushOptions { with: vec![foreign], ..PushOptions::default() };
    images.push(mine, &named("both:1"), &both, silent()).await.unwrap();
    let raw = inspect(&registry, "both:1", &["--raw"]);
    assert_eq!(raw["manifests"].as_array().unwrap().len(), 2);
    assert_eq!(raw["manifests"][1]["platform"]["architecture"], "s390x");
    assert_eq!(fresh.images.pull(&named("both:1"), None, silent()).await.unwrap(), mine);
    let twice = PushOptions { with: vec![mine], ..PushOptions::default() };
    let error = images.push(mine, &named("twice:1"), &twice, silent()).await.unwrap_err();
    assert!(matches!(error, ImagesError::SamePlatform { .. }), "{error}");
    let error = images.push(mine, &named("x").at(mine), &PushOptions::default(), silent()).await.unwrap_err();
    assert!(matches!(error, ImagesError::NoTag { .. }), "{error}");
    fixture.assert_no_work_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_goes_on_where_it_broke() {
    let content = "0123456789".repeat(100_000);
    let digest = Digest::of(content.as_bytes());
    // Whole uploads by session: the first one loses its session, the second one an answer.
    let sessions: Arc<Mutex<HashMap<String, String>>> = Arc::default();
    let kept = sessions.clone();
    let server = Server::start(move |request, seen| {
        let mut sessions = kept.lock().unwrap();
        let path = request.path.split('?').next().unwrap().to_owned();
        let at = |path: &str, done: usize| {
            let reply = Reply::status(202).with("Location", path.to_owned());
            reply.with("Range", format!("0-{}", done.saturating_sub(1)))
        };
        match request.method.as_str() {
            "HEAD" => Reply::status(404),
            "POST" => {
                let path = format!("/upload/{}", sessions.len());
                sessions.insert(path.clone(), String::new());
                at(&path, 0)
            }
            "PATCH" => {
                let session = sessions.get_mut(&path).unwrap();
                let expected = format!("{}-{}", session.len(), session.len() + request.body.len() - 1);
                assert_eq!(request.header("content-range"), expected);
                if path.ends_with("/0") && seen == 1 {
                    return Reply::status(404);
                }
                session.push_str(&request.text());
                if path.ends_with("/1") && seen == 1 {
                    return Reply::status(502);
                }
                at(&path, session.len())
            }
            "GET" => at(&path, sessions[&path].len()),
            "PUT" => {
                sessions.get_mut(&path).unwrap().push_str(&request.text());
                Reply::status(201)
            }
            _ => Reply::status(400),
        }
    })
    .await;
    let fixture = Fixture::new();
    let target = Target::open(&fixture.images.inner.http, &server.reference("a:1"), &BTreeSet::new(), None).unwrap();
    let piece = Piece { digest, size: content.len() as u64, content: Source::Memory(content.clone().into()) };
    let mut last = 0;
    assert_eq!(target.blob(&piece, None, |done| last = done).await.unwrap(), Written::Uploaded);
    assert_eq!(last, content.len() as u64);
    assert!(sessions.lock().unwrap()["/upload/1"] == content);
    assert_eq!(server.requests("digest=").len(), 1);

    // A blob that is there is not sent; one that a neighbour has is mounted.
    let server = Server::start(|request, _| match request.method.as_str() {
        "HEAD" if request.path.contains("/a/") => Reply::status(200),
        "HEAD" => Reply::status(404),
        "POST" if request.path.contains("mount=sha256%3A") && request.path.contains("from=a") => Reply::status(201),
        _ => Reply::status(400),
    })
    .await;
    let open = |name: &str| Target::open(&fixture.images.inner.http, &server.reference(name), &BTreeSet::new(), None).unwrap();
    assert_eq!(open("a").blob(&piece, None, |_| {}).await.unwrap(), Written::Existed);
    assert_eq!(open("b").blob(&piece, Some("a"), |_| {}).await.unwrap(), Written::Mounted);

    // An upload that is sent elsewhere does not take the authorization along.
    let elsewhere = Server::start(|request, _| match request.header("authorization") {
        "" => Reply::status(201),
        _ => Reply::status(400),
    })
    .await;
    let away = format!("http://127.0.0.1:{}/put", elsewhere.port);
    let server = Server::start(move |request, _| match (request.header("authorization"), request.method.as_str()) {
        ("", _) => Reply::status(401).with("WWW-Authenticate", "Basic realm=\"x\""),
        (_, "HEAD") => Reply::status(404),
        _ => Reply::status(202).with("Location", away.clone()),
    })
    .await;
    let given = Given {
        registry: format!("127.0.0.1:{}", server.port),
        credentials: Credentials::Password { user: "me".into(), password: "secret".into() },
    };
    let http = &fixture.images.inner.http;
    let target = Target::open(http, &server.reference("a:1"), &BTreeSet::new(), Some(&given)).unwrap();
    let small = Piece { digest: Digest::of(b"x"), size: 1, content: Source::Memory("x".into()) };
    assert_eq!(target.blob(&small, None, |_| {}).await.unwrap(), Written::Uploaded);
    assert_eq!(elsewhere.requests("digest=").len(), 1);
}

/// `me:secret`, as htpasswd writes it.
const USERS: &str = "me:$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_login_is_checked_and_then_used() {
    let fixture = Fixture::new();
    let users = fixture.path().join("htpasswd");
    std::fs::write(&users, USERS).unwrap();
    let auth = format!("auth: {{htpasswd: {{realm: x, path: {}}}}}\n", users.display());
    let registry = Registry::start_as(fixture.path(), "", &auth);
    let host = format!("localhost:{}", registry.port);
    let config = fixture.path().join("docker-config.json");
    let http = || Http::new(fixture.path().join("none"), BTreeSet::new(), Some(config.clone()), Patience::default());
    let registries = Registries::new(http());
    let error = registries.login(&host, "me", "wrong").await.unwrap_err();
    assert_eq!(error.trouble(), Trouble::Denied, "{error}");
    assert!(!config.exists());
    let login = registries.login(&format!("http://{host}/"), "me", "secret").await.unwrap();
    assert_eq!((login.registry, login.in_the_clear), (host.clone(), true));

    let tar = Tar::default().file("a", "b").end();
    let mut sample = Sample::default();
    let image = sample.image(&here(), &[(&tar, gzip(&tar), GZIP)]);
    let layout = sample.layout(fixture.path(), &image);
    let reference = registry.push(&layout, "a:1", &["--dest-creds", "me:secret"]);
    let digest = fixture.images.pull(&reference, None, silent()).await.unwrap();
    let to: ImageRef = format!("{host}/b:1").parse().unwrap();
    fixture.images.push(digest, &to, &PushOptions::default(), silent()).await.unwrap();
    assert_eq!(inspect(&registry, "b:1", &["--creds", "me:secret"])["Digest"], digest.to_string());
    let found = fixture.images.search(&host, 10, None).await.unwrap();
    assert_eq!(found.len(), 2);

    assert!(registries.logout(&host).await.unwrap());
    assert!(!registries.logout(&host).await.unwrap());
    let error = fixture.images.pull(&reference, None, silent()).await.unwrap_err().to_string();
    assert!(error.contains("setpoint login"), "{error}");
    // What comes with a request goes before what is stored, and only to the registry that it is for.
    let given = |registry: &str| PullOptions {
        credentials: Some(Given {
            registry: registry.to_owned(),
            credentials: Credentials::Password { user: "me".into(), password: "secret".into() },
        }),
        ..PullOptions::default()
    };
    fixture.images.pull_with(&reference, &given(&host), silent()).await.unwrap();
    assert!(fixture.images.pull_with(&reference, &given("other.example"), silent()).await.is_err());
}

const HELPER_FOLDER: &str = "SETPOINT_TEST_HELPER_FOLDER";

/// Not a test by itself: logs in and out in a process whose path has a helper.
#[tokio::test]
async fn helped() {
    let Some(folder) = std::env::var_os(HELPER_FOLDER).map(PathBuf::from) else { return };
    let server = Server::start(|request, _| match request.header("authorization") {
        "" => Reply::status(401).with("WWW-Authenticate", "Basic realm=\"x\""),
        _ => Reply::body("{}"),
    })
    .await;
    let host = format!("127.0.0.1:{}", server.port);
    let config = folder.join("config.json");
    std::fs::write(&config, json!({"credsStore": "test", "x": 1}).to_string()).unwrap();
    let http = Http::new(folder.join("none"), BTreeSet::new(), Some(config.clone()), Patience::default());
    let registries = Registries::new(http);
    assert!(registries.credentials(&host).await.unwrap().is_none());
    let login = registries.login(&host, "me", "secret").await.unwrap();
    assert_eq!((login.stored.as_str(), login.in_the_clear), ("docker-credential-test", false));
    let text = std::fs::read_to_string(&config).unwrap();
    assert!(!text.contains("auth\"") && text.contains(&host), "{text}");
    let found = registries.credentials(&host).await.unwrap().unwrap();
    assert_eq!(found.credentials, Credentials::Password { user: "me".into(), password: "secret".into() });
    assert!(registries.logout(&host).await.unwrap());
    assert!(registries.credentials(&host).await.unwrap().is_none());
    println!("helped");
}

#[test]
fn helpers_keep_passwords() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let helper = folder.path().join("docker-credential-test");
    let script = "#!/bin/sh\ncd \"$(dirname \"$0\")\"\ncase $1 in\nstore) cat >stored ;;\nerase) rm stored ;;\n\
                  get) [ -e stored ] && exec cat stored; echo 'credentials not found in native keychain'; exit 1 ;;\nesac\n";
    std::fs::write(&helper, script).unwrap();
    std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "engine::images::tests::pushes::helped", "--nocapture"])
        .env(HELPER_FOLDER, folder.path())
        .env("PATH", path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("helped"), "{said}{}", String::from_utf8_lossy(&output.stderr));
}
