//! Tables of builds: what they come to, and what is said of those that are wrong.

use super::*;

const FILES: [(&str, &str); 5] =
    [("app/Dockerfile", ""), ("app/docker/Web", ""), ("lib/x", ""), ("Other", ""), ("token", "s3cret")];

fn manifest(spec: &str) -> String {
    let indented: String = spec.lines().map(|line| format!("  {line}\n")).collect();
    format!("apiVersion: setpoint/v1\nkind: Image\nmetadata: {{name: app}}\nspec:\n{indented}")
}

fn with_files<'a>(file: &'a str, text: &'a str) -> Vec<(&'a str, &'a str)> {
    let mut files = FILES.to_vec();
    files.push((file, text));
    files
}

/// The build as JSON, without what is as usual, in a stack's folder called `~`.
fn build(spec: &str) -> Value {
    let dir = folder(&with_files("image.yaml", &manifest(spec)));
    let loaded =
        load_in(dir.path(), &[("HOME", "/home/me"), ("VERSION", "7")]).unwrap_or_else(|errors| panic!("{spec}: {errors}"));
    shown(&loaded.desired.images["app"].source, dir.path())
}

fn shown(source: &ImageSource, dir: &Path) -> Value {
    let text = serde_json::to_string(source).unwrap().replace(dir.to_str().unwrap(), "~");
    let mut value: Value = serde_json::from_str(&text).unwrap();
    let fields = value["build"].as_object_mut().unwrap();
    let usual = [
        ("context", json!({"folder": "~/app"})),
        ("dockerfile", json!({"incontext": null})),
        ("network", json!("default")),
        ("fingerprint", json!(Digest::of(b"context"))),
    ];
    for (name, value) in usual {
        if fields.get(name) == Some(&value) {
            fields.remove(name);
        }
    }
    value["build"].take()
}

#[test]
fn builds_in_their_forms() {
    for (spec, wanted) in [
        ("build: ./app", json!({})),
        ("build: {context: app}", json!({})),
        ("build: {}", json!({"context": {"folder": "~"}})),
        ("build: {context: app, dockerfile: docker/Web}", json!({"dockerfile": {"incontext": "docker/Web"}})),
        ("build: {context: app, dockerfile: ../Other}", json!({"dockerfile": {"file": "~/Other"}})),
        (
            "build: {context: app, dockerfile_inline: \"FROM scratch\"}",
            json!({"dockerfile": {"text": {"name": "dockerfile_inline", "text": "FROM scratch"}}}),
        ),
        ("build: {context: app, args: {A: 1, VERSION: , NONE: }}", json!({"arguments": {"A": "1", "VERSION": "7"}})),
        ("build: {context: app, args: [SOURCE_DATE_EPOCH=5]}", json!({"arguments": {"SOURCE_DATE_EPOCH": "5"}, "epoch": 5})),
        ("build: {context: app, target: web, labels: [a=b]}", json!({"target": "web", "labels": {"a": "b"}})),
        ("build: {context: app, network: none}", json!({"network": "none"})),
        ("build: {context: app, network: host}", json!({"network": "host", "allow": ["network.host"]})),
        (
            "build: {context: app, no_cache: true, pull: true, no_cache_filter: [a, b]}",
            json!({"no_cache": true, "pull": true, "no_cache_filter": ["a", "b"]}),
        ),
        ("build: {context: app, platforms: [linux/amd64, linux/arm64]}", json!({"platforms": ["linux/amd64", "linux/arm64"]})),
        (
            "build: {context: app, shm_size: 64m, ulimits: {nofile: 10}, extra_hosts: [db=10.0.0.5]}",
            json!({"shm_size": "64m", "ulimits": {"nofile": {"soft": 10, "hard": 10}}, "extra_hosts": {"db": "10.0.0.5"}}),
        ),
        ("build: {context: app, tags: [\"a:1\", b]}", json!({"tags": ["a:1", "b:latest"]})),
        ("build: {context: app, entitlements: [security.insecure]}", json!({"allow": ["security.insecure"]})),
        (
            "build: {context: app, cache_from: [a/b, \"type=local,src=c\"], cache_to: [\"type=local,dest=c,mode=max\"]}",
            json!({"cache_from": [{"registry": {"reference": "a/b:latest"}}, {"local": {"path": "~/c"}}],
                "cache_to": [{"place": {"local": {"path": "~/c"}}, "all": true}]}),
        ),
        (
            "build: {context: app, additional_contexts: {lib: ./lib, base: \"docker-image://alpine:3\"}}",
            json!({"contexts": {"lib": {"folder": "~/lib"}, "base": {"image": "alpine:3"}}}),
        ),
        (
            "build: {context: app, additional_contexts: [\"lib=https://example.com/x.git#v1\"]}",
            json!({"contexts": {"lib": {"git": "https://example.com/x.git#v1"}}}),
        ),
        ("build: {context: app, secrets: [{id: t, file: token}]}", json!({"secrets": {"t": "~/token"}})),
        ("build: {context: app, ssh: [default=/run/agent]}", json!({"ssh": {"default": "/run/agent"}})),
        ("build: {context: app, ssh: {key: ./agent}}", json!({"ssh": {"key": "~/agent"}})),
        ("build: {context: app, provenance: false, sbom: false}", json!({})),
        (
            "build: {context: app, provenance: mode=min, sbom: true}",
            json!({"provenance": {"max": false, "version": "v1", "reproducible": false, "inline_only": false}, "sbom": true}),
        ),
        ("build: https://example.com/x.git#main:docker", json!({"context": {"git": "https://example.com/x.git#main:docker"}})),
        (
            "build: {context: \"https://example.com/x.tgz\", dockerfile: a/b}",
            json!({"context": {"url": "https://example.com/x.tgz"}, "dockerfile": {"incontext": "a/b"}}),
        ),
    ] {
        assert_eq!(build(spec), wanted, "{spec}");
    }
}

#[test]
fn what_is_fetched_has_no_fingerprint_and_what_is_here_is_watched() {
    let dir = folder(&with_files("a.yaml", &manifest("build: git@example.com:a/b")));
    let loaded = load_in(dir.path(), &[]).unwrap();
    let ImageSource::Build(build) = &loaded.desired.images["app"].source else { panic!() };
    assert_eq!(build.fingerprint, None);
    let dir =
        folder(&with_files("a.yaml", &manifest("build: {context: app, dockerfile: ../Other, additional_contexts: {l: lib}}")));
    let loaded = load_in(dir.path(), &[]).unwrap();
    for name in ["app", "lib", "Other"] {
        assert!(loaded.watched.contains(&dir.path().join(name)), "{name}: {:?}", loaded.watched);
    }
}

#[test]
fn services_build_their_images() {
    let compose = "services:
  web:
    build: app
    pull_policy: build
  api:
    image: localhost:5000/api:1
    platform: linux/arm64
    build: {context: app, secrets: [token, {source: token, target: t}]}
  job:
    image: localhost:5000/api:1
secrets:
  token: {file: ./token}
";
    let dir = folder(&with_files("compose.yaml", compose));
    let loaded = load_in(dir.path(), &[]).unwrap_or_else(|errors| panic!("{errors}"));
    let Desired { images, containers, .. } = &loaded.desired;
    assert_eq!(images.len(), 2, "{:?}", images.keys());
    assert_eq!(images["web"].reference.to_string(), "s-web:latest");
    assert_eq!(shown(&images["web"].source, dir.path()), json!({}));
    assert_eq!(containers["web"].spec.image, images["web"].reference);
    assert_eq!(
        shown(&images["api"].source, dir.path()),
        json!({"platforms": ["linux/arm64"], "secrets": {"t": "~/token", "token": "~/token"}})
    );
    assert_eq!(containers["job"].spec.image, images["api"].reference);
    let request = match &images["api"].source {
        ImageSource::Build(build) => build.request(&images["api"].reference),
        other => panic!("{other:?}"),
    };
    assert_eq!(request.tags, [images["api"].reference.clone()]);
    // The content of a secret is in nothing that is recorded.
    assert!(!serde_json::to_string(&loaded.desired).unwrap().contains("s3cret"));
}

#[test]
fn errors_of_builds() {
    let mut all = String::new();
    for spec in [
        "build: ./none",
        "build: ./Other",
        "build: 5",
        "build: {context: app, dockerfile: x, dockerfile_inline: y}",
        "build: {context: app, network: mine}",
        "build: {context: app, privileged: true}",
        "build: {context: app, isolation: default}",
        "build: {context: app, provenance: most, sbom: generator=x}",
        "build: {context: app, entitlements: [all]}",
        "build: {context: app, cache_from: [\"type=gha\"]}",
        "build: {context: app, cache_to: [\"type=inline,mode=max\"]}",
        "build: {context: app, additional_contexts: {a: \"service:web\", b: ./none, c: }}",
        "build: {context: app, secrets: [token]}",
        "build: {context: app, secrets: [{id: a}, {file: x}, {source: a, file: b}, {id: a, file: b, mode: 0400}]}",
        "build: {context: app, secrets: [{id: a, file: token}, {id: a, file: Other}]}",
        "build: {context: app, ssh: [default]}",
        "build: {context: app, ssh: [\"key=./token\"]}",
        "build: {context: app, tags: [\"a:1\", \"a:1\"]}",
        "build: {context: app, platforms: [amd]}",
        "build: {context: app, args: [SOURCE_DATE_EPOCH=now]}",
        "build: {context: app, contexts: {}}",
        "build: app\npull: {}",
        "build: app\nverify: {keys: [x]}",
        "build: app\nreference: a@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    ] {
        all.push_str(&format!("{}\n", spec.replace('\n', " ⏎ ")));
        for error in errors_of(&with_files("i.yaml", &manifest(spec))) {
            all.push_str(&format!("    {}\n", error.strip_prefix("i.yaml:").unwrap_or(&error)));
        }
    }
    for service in [
        "build: none",
        "build: app, pull_policy: always",
        "build: {context: app, platforms: [linux/amd64]}, platform: linux/arm64",
        "build: {context: app, secrets: [tokne]}",
        "pull_policy: build",
        "image: \"A B\", build: app",
        "image: a@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855, build: app",
    ] {
        let text = format!("services: {{a: {{{service}}}}}\nsecrets: {{token: {{file: token}}}}\n");
        all.push_str(&format!("{service}\n"));
        for error in errors_of(&with_files("compose.yaml", &text)) {
            all.push_str(&format!("    {}\n", error.strip_prefix("compose.yaml:").unwrap_or(&error)));
        }
    }
    for secret in ["{}", "{environment: TOKEN}", "{external: true}"] {
        let text = format!("services: {{a: {{build: {{context: app, secrets: [t]}}}}}}\nsecrets: {{t: {secret}}}\n");
        all.push_str(&format!("secrets: {{t: {secret}}}\n"));
        for error in errors_of(&with_files("compose.yaml", &text)) {
            all.push_str(&format!("    {}\n", error.strip_prefix("compose.yaml:").unwrap_or(&error)));
        }
    }
    insta::assert_snapshot!(all);
}
