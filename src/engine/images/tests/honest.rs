//! A registry that behaves: it has repositories, and takes uploads in sessions. What a scenario changes is changed of it.

use std::collections::BTreeMap;

use super::scripted::{Reply, Request};
use super::*;

/// What carries a session besides its path, as registries in front of object stores do it.
const STATE: &str = "_state=abc";

#[derive(Default)]
pub(super) struct Honest(Mutex<State>);

#[derive(Default)]
struct State {
    /// By repository.
    blobs: BTreeMap<(String, Digest), Vec<u8>>,
    /// By repository and tag.
    tags: BTreeMap<(String, String), Digest>,
    /// By the number of the session.
    uploads: Vec<Vec<u8>>,
}

impl Honest {
    /// Puts all of a sample into a repository.
    pub(super) fn put(&self, repository: &str, sample: &Sample, tags: &[(&str, Digest)]) {
        let mut state = self.0.lock().unwrap();
        for (digest, content) in &sample.blobs {
            state.blobs.insert((repository.to_owned(), *digest), content.clone());
        }
        for (tag, digest) in tags {
            state.tags.insert((repository.to_owned(), (*tag).to_owned()), *digest);
        }
    }

    /// What a tag of a repository names, where all that it refers to is there.
    pub(super) fn tagged(&self, repository: &str, tag: &str) -> Option<Digest> {
        let state = self.0.lock().unwrap();
        let has = |digest: Digest| state.blobs.get(&(repository.to_owned(), digest));
        let digest = *state.tags.get(&(repository.to_owned(), tag.to_owned()))?;
        let manifest: Value = serde_json::from_slice(has(digest)?).unwrap();
        let layers = manifest["layers"].as_array().unwrap().iter().chain([&manifest["config"]]);
        layers.map(digest_of).all(|digest| has(digest).is_some()).then_some(digest)
    }

    pub(super) fn answer(&self, request: &Request) -> Reply {
        let mut state = self.0.lock().unwrap();
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        let Some(rest) = path.strip_prefix("/v2/") else { return unknown() };
        let part = ["/blobs/uploads/", "/manifests/", "/blobs/", "/referrers/"].into_iter().find(|part| rest.contains(part));
        let Some((part, (repository, name))) = part.and_then(|part| Some((part, rest.split_once(part)?))) else {
            return if rest.is_empty() { Reply::body("{}") } else { unknown() };
        };
        match part {
            "/blobs/uploads/" => state.upload(request, repository, name, query),
            "/manifests/" if request.method == "PUT" => {
                let digest = Digest::of(&request.body);
                state.blobs.insert((repository.to_owned(), digest), request.body.clone());
                state.tags.insert((repository.to_owned(), name.to_owned()), digest);
                Reply::status(201).with("Docker-Content-Digest", digest.to_string())
            }
            // As those of its age, it does not know this question.
            "/referrers/" => unknown(),
            _ => state.read(request, repository, name),
        }
    }
}

fn unknown() -> Reply {
    Reply { status: 404, ..Reply::body(r#"{"errors":[{"code":"X","message":"unknown to me"}]}"#) }
}

impl State {
    fn read(&self, request: &Request, repository: &str, name: &str) -> Reply {
        let tagged = || self.tags.get(&(repository.to_owned(), name.to_owned())).copied();
        let Some(digest) = name.parse().ok().or_else(tagged) else { return unknown() };
        let Some(content) = self.blobs.get(&(repository.to_owned(), digest)) else { return unknown() };
        let range = request.header("range").strip_prefix("bytes=").map(|range| range.trim_end_matches('-'));
        let reply = match range.map(|from| from.parse::<usize>().unwrap()) {
            Some(from) => {
                let range = format!("bytes {from}-{}/{}", content.len() - 1, content.len());
                Reply { status: 206, ..Reply::body(&content[from..]) }.with("Content-Range", range)
            }
            None => Reply::body(content.clone()),
        };
        let reply = reply.with("Docker-Content-Digest", digest.to_string());
        // A length without the bytes would need a server that knows of HEAD; nobody here looks at it.
        if request.method == "HEAD" { Reply { body: Vec::new(), ..reply } } else { reply }
    }

    /// Mounts nothing, which a registry may refuse by beginning an upload.
    fn upload(&mut self, request: &Request, repository: &str, session: &str, query: &str) -> Reply {
        let at = |number: usize, length: usize, status| {
            let place = format!("/v2/{repository}/blobs/uploads/{number}?{STATE}");
            Reply::status(status).with("Location", place).with("Range", format!("0-{}", length.saturating_sub(1)))
        };
        if request.method == "POST" {
            self.uploads.push(Vec::new());
            return at(self.uploads.len() - 1, 0, 202);
        }
        let Some(number) = session.parse::<usize>().ok().filter(|number| *number < self.uploads.len()) else { return unknown() };
        if !query.contains(STATE) {
            return Reply::status(400);
        }
        let content = &mut self.uploads[number];
        match request.method.as_str() {
            "GET" => at(number, content.len(), 204),
            "DELETE" => Reply::status(204),
            "PATCH" => {
                let from = request.header("content-range").split('-').next().unwrap_or_default().parse::<usize>();
                if from != Ok(content.len()) {
                    return at(number, content.len(), 416);
                }
                content.extend_from_slice(&request.body);
                at(number, content.len(), 202)
            }
            "PUT" => {
                content.extend_from_slice(&request.body);
                let digest = Digest::of(content);
                if !query.contains(&digest.hex()) {
                    return Reply { status: 400, ..Reply::body(r#"{"errors":[{"code":"DIGEST_INVALID"}]}"#) };
                }
                self.blobs.insert((repository.to_owned(), digest), std::mem::take(content));
                Reply::status(201).with("Docker-Content-Digest", digest.to_string())
            }
            _ => Reply::status(405),
        }
    }
}
