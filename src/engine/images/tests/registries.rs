//! Registries that mislead, and the settings that say how others are reached: mirrors, rewrites, signatures. What went
//! wrong is told, and nothing of it is kept but a partial download.

use std::time::Instant;

use super::scripted::{Reply, Request, Server};
use super::signers::Signer;
use super::*;
use crate::engine::images::{PublicKey, PullOptions, Trouble};

/// An image of one small layer.
fn small() -> (Sample, Digest) {
    let tar = Tar::default().file("a", "b").end();
    let mut sample = Sample::default();
    let image = digest_of(&sample.image(&here(), &[(&tar, gzip(&tar), GZIP)]));
    (sample, image)
}

fn settings(fixture: &Fixture, text: &str) {
    std::fs::write(fixture.path().join("registries.yaml"), text).unwrap();
}

async fn fails(fixture: &Fixture, reference: &ImageRef) -> String {
    let error = fixture.images.pull(reference, None, silent()).await.unwrap_err();
    assert!(fixture.images.list().unwrap().is_empty());
    assert_eq!((fixture.names("layers"), fixture.names("blobs/sha256")), (BTreeSet::new(), BTreeSet::new()));
    fixture.assert_no_work_left();
    error.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn mirrors_come_first_and_the_registry_last() {
    let (sample, image) = small();
    let good = {
        let sample = sample.clone();
        Server::start(move |request, _| sample.answer(image, request)).await
    };
    let empty = Server::start(|_, _| Reply::status(404)).await;
    // It has the manifest, and of all blobs only halves.
    let half = {
        let sample = sample.clone();
        Server::start(move |request, _| {
            let mut reply = sample.answer(image, request);
            if request.path.contains("/blobs/") {
                reply.cut = Some(reply.body.len() / 2);
            }
            reply
        })
        .await
    };
    let liar = Server::start(|_, _| Reply::body("{}").with("Docker-Content-Digest", Digest::of(b"x").to_string())).await;
    let origin = {
        let sample = sample.clone();
        Server::start(move |request, _| match request.path.contains("/blobs/") {
            true => sample.answer(image, request),
            false => Reply::status(500),
        })
        .await
    };
    let fixture = Fixture::new();
    let mirrors = [&empty, &half, &good].map(|mirror| format!("127.0.0.1:{}/hub", mirror.port)).join(", ");
    settings(&fixture, &format!("registries: {{'127.0.0.1:{}': {{mirrors: [{mirrors}]}}}}", origin.port));
    let reference = origin.reference("team/app:1");
    assert_eq!(fixture.images.pull(&reference, None, silent()).await.unwrap(), image);
    assert_eq!(fixture.images.find(&reference).unwrap().unwrap().digest, image);
    assert!(good.requests("/v2/hub/team/app/blobs/").iter().all(|request| request.header("range").starts_with("bytes=")));
    assert_eq!(origin.requests("").len(), 0);
    assert!(!empty.requests("/v2/hub/team/app/manifests/1").is_empty());

    // One that lies about content is found out, and what it has spoilt is fetched from the registry itself.
    let fixture = Fixture::new();
    let mirrors = [&liar, &good].map(|mirror| format!("127.0.0.1:{}", mirror.port)).join(", ");
    settings(&fixture, &format!("registries: {{'127.0.0.1:{}': {{mirrors: [{mirrors}]}}}}", origin.port));
    assert_eq!(fixture.images.pull(&reference, None, silent()).await.unwrap(), image);
    assert_eq!(origin.requests("/blobs/").len(), 2);

    // A rewrite leads elsewhere altogether, and the image keeps the name that it was asked for by.
    let fixture = Fixture::new();
    settings(&fixture, &format!("rewrites: [{{from: r.example/team, to: '127.0.0.1:{}/other'}}]", good.port));
    let reference: ImageRef = "r.example/team/app:2".parse().unwrap();
    assert_eq!(fixture.images.pull(&reference, None, silent()).await.unwrap(), image);
    assert!(fixture.images.find(&reference).unwrap().is_some());
    assert!(!good.requests("/v2/other/app/manifests/2").is_empty());

    // The limits of layers.
    let fixture = Fixture::new();
    settings(&fixture, "limits: {bytes: 1k, entries: 0}");
    let error = fails(&fixture, &good.reference("a:1")).await;
    assert!(error.contains("registries.yaml:1:1") && error.contains("lets no layer through"), "{error}");
    let tar = Tar::default().file("a", "1").file("b", "2").end();
    let mut sample = Sample::default();
    let image = digest_of(&sample.image(&here(), &[(&tar, gzip(&tar), GZIP)]));
    let server = Server::start(move |request, _| sample.answer(image, request)).await;
    settings(&fixture, "limits: {entries: 1}");
    let error = fails(&fixture, &server.reference("a:1")).await;
    assert!(error.contains("more than 1 entries"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_come_outlives_the_process() {
    let mut sample = Sample::default();
    let content: Vec<u8> = (0..40_000u32).flat_map(|i| Digest::of(&i.to_le_bytes()).hex().into_bytes()).collect();
    let tar = Tar::default().file("big", content).end();
    let layer = Digest::of(&tar);
    let image = digest_of(&sample.image(&here(), &[(&tar, tar.clone(), PLAIN)]));
    let name = layer.hex();
    let (kept, wanted) = (sample.clone(), name.clone());
    let breaks = Server::start(move |request, seen| Reply {
        cut: request.path.contains(&wanted).then_some(if seen == 0 { 1_500_000 } else { 0 }),
        ..kept.answer(image, request)
    })
    .await;
    let kept = sample.clone();
    let whole = Server::start(move |request, _| kept.answer(image, request)).await;
    let fixture = Fixture::new();
    let error = fails(&fixture, &breaks.reference("a:1")).await;
    assert!(error.contains("broke off after 1500000 of"), "{error}");
    let partial = fixture.path().join("state/images/partial").join(&name);
    assert_eq!(std::fs::metadata(&partial).unwrap().len(), 1_500_000);

    // Another process, and another registry.
    let images = open(fixture.path(), Limits::default());
    assert_eq!(images.pull(&whole.reference("a:1"), None, silent()).await.unwrap(), image);
    assert_eq!(whole.requests(&name)[0].header("range"), "bytes=1500000-");
    assert!(!partial.exists());

    // What is not what it was: it is thrown away, and all is fetched again.
    images.remove(image).unwrap();
    std::fs::write(&partial, vec![0; 1_200_000]).unwrap();
    assert_eq!(images.pull(&whole.reference("a:1"), None, silent()).await.unwrap(), image);
    let ranges: Vec<_> = whole.requests(&name).iter().map(|request| request.header("range").to_owned()).collect();
    assert_eq!(ranges, ["bytes=1500000-", "bytes=1200000-", ""]);
    assert!(!partial.exists());
    // One that is longer than the blob starts anew.
    images.remove(image).unwrap();
    std::fs::write(&partial, vec![0; 4_000_000]).unwrap();
    assert_eq!(images.pull(&whole.reference("a:1"), None, silent()).await.unwrap(), image);
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Where {
    Tag,
    Referrers,
    FallbackTag,
    Nowhere,
    Broken,
}

/// Serves an image with a signature at one of the places where signatures are.
async fn signed(at: Where, sample: &Sample, image: Digest, signature: &(Value, Vec<u8>)) -> Server {
    let mut sample = sample.clone();
    let (manifest, payload) = signature.clone();
    let simple = json!("application/vnd.dev.cosign.artifact.sig.v1+json");
    let kind = manifest.get("artifactType").cloned().unwrap_or(simple);
    sample.blob(payload);
    let (signature, size) = sample.blob(manifest.to_string().into_bytes());
    let index = json!({"schemaVersion": 2, "manifests": [{"mediaType": documents::OCI_MANIFEST, "digest": signature, "size": size,
        "artifactType": kind}]});
    Server::start(move |request: &Request, _| {
        let path = &request.path;
        let tag = format!("/manifests/sha256-{}", image.hex());
        if path.ends_with(&format!("{tag}.sig")) {
            return match at {
                Where::Tag => sample.answer(signature, request),
                Where::Broken => Reply::status(403),
                _ => Reply::status(404),
            };
        }
        if path.contains("/referrers/") || path.ends_with(&tag) {
            let here = if path.contains("/referrers/") { Where::Referrers } else { Where::FallbackTag };
            return if at == here { Reply::body(index.to_string()) } else { Reply::status(404) };
        }
        sample.answer(image, request)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn signatures_are_checked_before_anything_is_fetched() {
    let (sample, image) = small();
    let (signer, stranger) = (Signer::new(), Signer::new());
    let good = signer.sign(image, "r.example/team/app");
    let sign = "https://sigstore.dev/cosign/sign/v1";
    let bundle = signer.bundle(image, sign);
    let provenance = signer.bundle(image, "https://slsa.dev/provenance/v1");
    // The statement of another image, with the signature of this one's.
    let mut swapped = signer.bundle(Digest::of(b"other"), sign);
    let envelope = |bundle: &[u8]| serde_json::from_slice::<Value>(bundle).unwrap()["dsseEnvelope"].clone();
    let mut forged: Value = serde_json::from_slice(&bundle.1).unwrap();
    forged["dsseEnvelope"]["signatures"] = envelope(&swapped.1)["signatures"].clone();
    swapped.1 = forged.to_string().into_bytes();
    swapped.0["layers"][0]["digest"] = json!(Digest::of(&swapped.1));
    swapped.0["layers"][0]["size"] = json!(swapped.1.len());
    let rule = |server: &Server, more: &str| {
        let pem = signer.pem().replace('\n', "\\n");
        format!("verify: [{{prefix: '127.0.0.1:{}/team', keys: [\"{pem}\"]{more}}}]", server.port)
    };
    for (at, signature, more, said) in [
        (Where::Tag, &good, "", None),
        (Where::Referrers, &good, "", None),
        (Where::FallbackTag, &good, "", None),
        (Where::Nowhere, &good, "", Some("has no signature")),
        (Where::Nowhere, &good, ", required: false", None),
        (Where::Broken, &good, ", required: false", Some("look for its signatures")),
        (Where::Tag, &stranger.sign(image, "x.example/y"), ", required: false", Some("another key's")),
        (Where::Tag, &signer.sign(Digest::of(b"other"), "x.example/y"), "", Some("of another image")),
        (Where::Tag, &good, ", checkName: true", Some("another name")),
        (Where::Referrers, &bundle, "", None),
        (Where::FallbackTag, &bundle, "", None),
        (Where::Nowhere, &bundle, "", Some("has no signature")),
        (Where::Referrers, &stranger.bundle(image, sign), ", required: false", Some("another key's")),
        (Where::Referrers, &signer.bundle(Digest::of(b"other"), sign), "", Some("of another image")),
        (Where::Referrers, &swapped, "", Some("another key's")),
        (Where::Referrers, &bundle, ", checkName: true", Some("does not name")),
        // Who vouches for how it was made has not signed it.
        (Where::Referrers, &provenance, "", Some("has no signature")),
        (Where::Referrers, &provenance, ", required: false", None),
    ] {
        let server = signed(at, &sample, image, signature).await;
        let fixture = Fixture::new();
        settings(&fixture, &rule(&server, more));
        let reference = server.reference("team/app:1");
        match said {
            None => assert_eq!(fixture.images.pull(&reference, None, silent()).await.unwrap(), image, "{at:?}"),
            Some(said) => {
                let error = fails(&fixture, &reference).await;
                assert!(error.contains("refused") && error.contains(said), "{at:?} {more}: {error}");
                let config = sample.blobs.iter().find(|(_, content)| content.starts_with(b"{\"created\"")).unwrap().0;
                assert!(server.requests(&config.hex()).is_empty(), "nothing of the image was fetched");
            }
        }
        // Other repositories are not the rule's business.
        fixture.images.pull(&server.reference("other:1"), None, silent()).await.unwrap();
    }
    // A name that is the right one, and keys that come with the pull.
    let server = signed(Where::Nowhere, &sample, image, &good).await;
    let key =
        |signer: &Signer| PullOptions { verify: vec![signer.pem().parse::<PublicKey>().unwrap()], ..PullOptions::default() };
    let fixture = Fixture::new();
    let error = fixture.images.pull_with(&server.reference("a:1"), &key(&signer), silent()).await.unwrap_err();
    assert!(matches!(error, ImagesError::Verify { .. }), "{error}");
    let server = signed(Where::Tag, &sample, image, &good).await;
    fixture.images.pull_with(&server.reference("a:1"), &key(&signer), silent()).await.unwrap();
    assert!(fixture.images.pull_with(&server.reference("a:1"), &key(&stranger), silent()).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn searches_and_lists() {
    let server = Server::start(|request, _| {
        if request.path.starts_with("/v1/search?q=ng%1B&n=2") || request.path.starts_with("/v1/search?q=ngin&n=2") {
            return Reply::body(
                r#"{"results": [{"name": "nginx", "description": "a\u001bb", "star_count": 7, "is_official": true}, {"name": "b"}]}"#,
            );
        }
        match request.path.as_str() {
            "/v2/_catalog?n=1000" => Reply::body(r#"{"repositories": ["team/app", "team/other"]}"#)
                .with("Link", "</v2/_catalog?n=1000&last=x>; rel=\"next\""),
            "/v2/_catalog?n=1000&last=x" => Reply::body(r#"{"repositories": ["app"]}"#)
                .with("Link", "<http://elsewhere.example/v2/_catalog>; rel=\"next\""),
            "/v2/app/tags/list" => Reply::body(r#"{"name": "app", "tags": ["1", "2"]}"#),
            _ => Reply::status(404),
        }
    })
    .await;
    let fixture = Fixture::new();
    let images = &fixture.images;
    settings(&fixture, &format!("registries: {{docker.io: {{search: 'http://127.0.0.1:{}'}}}}", server.port));
    let found = images.search("ngin", 2, None).await.unwrap();
    assert_eq!((found[0].name.as_str(), found[0].description.as_str(), found[0].stars), ("nginx", "a b", 7));
    assert!(found[0].official && !found[1].official);
    let host = format!("127.0.0.1:{}", server.port);
    let found = images.search(&format!("{host}/app"), 10, None).await.unwrap();
    let names: Vec<_> = found.iter().map(|found| found.name.clone()).collect();
    assert_eq!(names, [format!("{host}/team/app"), format!("{host}/app")]);
    assert_eq!(images.search(&host, 1, None).await.unwrap().len(), 1);
    assert_eq!(images.tags(&server.reference("app"), None).await.unwrap(), ["1", "2"]);
    let error = images.tags(&server.reference("gone"), None).await.unwrap_err();
    assert!(matches!(&error, ImagesError::Ask { source, .. } if source.trouble() == Trouble::NotFound), "{error}");
    let begun = Instant::now();
    let error = images.tags(&"127.0.0.1:1/a".parse().unwrap(), None).await.unwrap_err();
    assert!(matches!(&error, ImagesError::Ask { source, .. } if source.trouble() == Trouble::Unreachable), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(60));
}
