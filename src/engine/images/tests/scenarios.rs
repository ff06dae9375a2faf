//! Runs the files of `scenarios/`, each a misbehaviour: what of an honest registry is otherwise, how a pull or a push
//! from it must end, what may be left, and what must have been asked. `scenarios/README.md` says what a file can say.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use futures_util::{StreamExt, stream};
use serde::Deserialize;

use super::honest::Honest;
use super::scripted::{Reply, Request, Server};
use super::signers::Signer;
use super::*;
use crate::engine::images::{PullOptions, PushOptions, Trouble};
use crate::model::Span;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Scenario {
    /// What the registry does, in a sentence.
    about: String,
    does: Verb,
    image: Kind,
    #[serde(default = "usual")]
    reference: String,
    /// `user:password`, stored for the registry.
    credentials: Option<String>,
    /// The text of registries.yaml.
    #[serde(default)]
    settings: String,
    #[serde(default)]
    patience: Pace,
    /// What is otherwise: the first rule that fits a request answers it.
    #[serde(default)]
    registry: Vec<Rule>,
    /// The same of another server, which is nothing but its rules.
    #[serde(default)]
    elsewhere: Vec<Rule>,
    ends: Ends,
    #[serde(default)]
    requests: Vec<Asked>,
}

fn usual() -> String {
    "{host}/a/b:1".to_owned()
}

#[derive(Deserialize, Clone, Copy, PartialEq)]
#[serde(rename_all = "camelCase")]
enum Verb {
    Pull,
    Push,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "camelCase")]
enum Kind {
    /// A layer of some bytes.
    Small,
    /// A layer that is worth keeping when it breaks off.
    Large,
    /// An index of two platforms; the image is this host's.
    Index,
    /// A layer that is what its digest says, and not what the configuration says.
    Lying,
    /// Small, with cosign's signature by the key `{key}`, to be found by the tag that stands in for referrers.
    Signed,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct Pace {
    attempts: Option<u32>,
    longest: Option<Span>,
    stall: Option<Span>,
    crawl: Option<Span>,
}

#[derive(Deserialize, Clone)]
#[serde(deny_unknown_fields)]
struct Rule {
    #[serde(default)]
    when: When,
    /// Takes only so many requests; those after them are for the rules that follow.
    times: Option<usize>,
    answer: Answer,
}

#[derive(Deserialize, Clone, Default)]
#[serde(default, deny_unknown_fields)]
struct When {
    method: Option<String>,
    /// Part of the path with its query.
    path: Option<String>,
    /// Each as it is; `""` is that there is none, `"*"` any.
    headers: BTreeMap<String, String>,
}

#[derive(Deserialize, Clone, Default)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct Answer {
    /// Where there is none, the honest answer is what is changed.
    status: Option<u16>,
    headers: BTreeMap<String, String>,
    without_headers: Vec<String>,
    body: Option<String>,
    /// So many bytes in the place of the body.
    fill: Option<usize>,
    append: Option<String>,
    /// A bit of the byte at this place is turned.
    flip: Option<usize>,
    /// So many bytes, and nothing says that there were to be more.
    truncate: Option<usize>,
    /// Changes JSON: by pointers. `null` takes away.
    set: BTreeMap<String, Value>,
    /// The honest answer to a request without these headers.
    as_if_without: Vec<String>,
    /// The honest answer to a request for another path.
    as_if_for: Option<String>,
    cut: Option<usize>,
    stall: bool,
    crawl: Option<Span>,
    endless: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ends {
    with: End,
    /// What the error says, each.
    #[serde(default)]
    says: Vec<String>,
    /// How many bytes of the layer are kept for another attempt.
    #[serde(default)]
    keeps: u64,
}

#[derive(Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
enum End {
    /// The image is there, whole.
    Image,
    NotFound,
    Denied,
    Unreachable,
    Untrue,
    Settings,
    Document,
    DiffId,
    Unpack,
    Verify,
}

/// What was asked. More than once in all when nothing says how often.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Asked {
    #[serde(default)]
    like: When,
    #[serde(default)]
    elsewhere: bool,
    count: Option<usize>,
    at_most: Option<usize>,
}

impl When {
    fn fits(&self, names: &Names, request: &Request) -> bool {
        let header = |(name, wanted): (&String, &String)| match wanted.as_str() {
            "*" => !request.header(name).is_empty(),
            wanted => request.header(name) == names.fill(wanted),
        };
        self.method.as_ref().is_none_or(|method| *method == request.method)
            && self.path.as_ref().is_none_or(|path| request.path.contains(&names.fill(path)))
            && self.headers.iter().all(header)
    }
}

/// What stands for the words in braces.
#[derive(Clone, Default)]
struct Names(BTreeMap<&'static str, String>);

impl Names {
    fn fill(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
    }

    fn fill_json(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.fill(text)),
            Value::Array(items) => items.iter().map(|item| self.fill_json(item)).collect(),
            Value::Object(fields) => fields.iter().map(|(key, item)| (key.clone(), self.fill_json(item))).collect(),
            other => other.clone(),
        }
    }
}

impl Answer {
    fn to(&self, names: &Names, request: &Request, honest: &dyn Fn(&Request) -> Reply) -> Reply {
        let mut names = names.clone();
        let mut reply = match self.status {
            Some(status) => Reply::status(status),
            None => {
                let mut asked = request.clone();
                asked.headers.retain(|name, _| !self.as_if_without.contains(name));
                if let Some(path) = &self.as_if_for {
                    asked.path = names.fill(path);
                }
                honest(&asked)
            }
        };
        if let Some((_, place)) = reply.headers.iter().find(|(name, _)| name == "Location") {
            names.0.insert("location", place.clone());
        }
        names.0.insert("path", request.path.clone());
        reply.headers.retain(|(name, _)| !self.without_headers.contains(name) && !self.headers.contains_key(name));
        reply.headers.extend(self.headers.iter().map(|(name, value)| (name.clone(), names.fill(value))));
        if let Some(body) = &self.body {
            reply.body = names.fill(body).into_bytes();
        }
        if let Some(size) = self.fill {
            reply.body = vec![b' '; size];
        }
        if !self.set.is_empty() {
            let mut document: Value = serde_json::from_slice(&reply.body).unwrap();
            for (pointer, value) in &self.set {
                set(&mut document, pointer, names.fill_json(value));
            }
            reply.body = document.to_string().into_bytes();
            reply.headers.retain(|(name, _)| name != "Docker-Content-Digest");
        }
        reply.body.extend_from_slice(self.append.as_deref().unwrap_or_default().as_bytes());
        if let Some(at) = self.flip {
            reply.body[at] ^= 1;
        }
        if let Some(length) = self.truncate {
            reply.body.truncate(length);
        }
        let pause = self.crawl.map(|pause| pause.0);
        Reply { cut: self.cut, stall: self.stall, crawl: pause, endless: self.endless, ..reply }
    }
}

/// Puts a value where a pointer leads; the last step may be new.
fn set(document: &mut Value, pointer: &str, value: Value) {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    match (document.pointer_mut(parent).unwrap(), value) {
        (Value::Object(fields), Value::Null) => drop(fields.remove(name)),
        (Value::Object(fields), value) => drop(fields.insert(name.to_owned(), value)),
        (Value::Array(items), value) => items[name.parse::<usize>().unwrap()] = value,
        (other, _) => panic!("{pointer} leads into {other}"),
    }
}

/// Starts a server of rules, and says by what its requests were answered.
async fn start(rules: Vec<Rule>, names: Names, honest: Arc<Honest>) -> Server {
    let used = Mutex::new(vec![0; rules.len()]);
    Server::start(move |request, _| {
        let mut names = names.clone();
        names.0.insert("host", request.header("host").to_owned());
        let honest = |request: &Request| honest.answer(request);
        let mut used = used.lock().unwrap();
        for (rule, used) in rules.iter().zip(used.iter_mut()) {
            if rule.when.fits(&names, request) && rule.times.is_none_or(|times| *used < times) {
                *used += 1;
                return rule.answer.to(&names, request, &honest);
            }
        }
        honest(request)
    })
    .await
}

/// A key is made once; signing with it is quick.
fn signer() -> &'static Signer {
    static SIGNER: OnceLock<Signer> = OnceLock::new();
    SIGNER.get_or_init(Signer::new)
}

/// The image of a kind, the digest of its layer's blob, and what its names stand for.
fn sample(kind: Kind, names: &mut Names) -> (Sample, Value) {
    let mut sample = Sample::default();
    let content: Vec<u8> = match kind {
        Kind::Large => (0..20_000u32).flat_map(|i| Digest::of(&i.to_le_bytes()).hex().into_bytes()).collect(),
        _ => b"content".to_vec(),
    };
    let tar = Tar::default().file("file", content).end();
    let claimed: &[u8] = if matches!(kind, Kind::Lying) { b"another tar" } else { &tar };
    let image = sample.image(&here(), &[(claimed, tar.clone(), PLAIN)]);
    let named = match kind {
        Kind::Index => {
            let other = sample.image("s390x", &[(&tar, gzip(&tar), GZIP)]);
            sample.index(&[other, image.clone()])
        }
        _ => image.clone(),
    };
    let manifest = sample.blobs.iter().find(|(digest, _)| *digest == digest_of(&image)).unwrap().1.clone();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let digest = digest_of(&image);
    names.0.extend([
        ("image", digest.to_string()),
        ("named", digest_of(&named).to_string()),
        ("layer", Digest::of(&tar).to_string()),
        ("size", tar.len().to_string()),
        ("config", digest_of(&manifest["config"]).to_string()),
        ("key", signer().pem().replace('\n', "\\n")),
        ("fallback", format!("sha256-{}", digest.hex())),
    ]);
    (sample, named)
}

/// Adds a signature, and the index that lists it.
fn sign(sample: &mut Sample, image: Digest) -> Digest {
    let (manifest, payload) = signer().sign(image, "r.example/team/app");
    sample.blob(payload);
    let (signature, size) = sample.blob(manifest.to_string().into_bytes());
    let index = json!({"schemaVersion": 2, "manifests": [{"mediaType": documents::OCI_MANIFEST, "digest": signature,
        "size": size, "artifactType": "application/vnd.dev.cosign.artifact.sig.v1+json"}]});
    sample.blob(index.to_string().into_bytes()).0
}

fn kind_of(error: &ImagesError) -> End {
    match error {
        ImagesError::Registry { source, .. } | ImagesError::Push { source, .. } => match source.trouble() {
            Trouble::NotFound => End::NotFound,
            Trouble::Denied => End::Denied,
            Trouble::Unreachable => End::Unreachable,
            Trouble::Untrue => End::Untrue,
            Trouble::Settings => End::Settings,
        },
        ImagesError::Document { .. } => End::Document,
        ImagesError::DiffId { .. } => End::DiffId,
        ImagesError::Unpack { .. } => End::Unpack,
        ImagesError::Verify { .. } => End::Verify,
        other => panic!("a scenario ends with {other}"),
    }
}

fn fixture(pace: &Pace) -> Fixture {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let long = Duration::from_secs(60);
    let patience = Patience {
        attempts: pace.attempts.unwrap_or(3),
        first: Duration::from_millis(5),
        longest: pace.longest.map_or(long, |span| span.0),
        stall: pace.stall.map_or(long, |span| span.0),
        crawl: (2_000, pace.crawl.map_or(long, |span| span.0)),
        chunk: 300_000,
    };
    let images = open_with(folder.path(), Limits::default(), patience, StoreSettings::default());
    Fixture { folder, images }
}

async fn run(name: String, text: String) -> String {
    let scenario: Scenario = serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(!scenario.about.is_empty(), "{name}");
    let mut names = Names::default();
    let (mut sample, named) = sample(scenario.image, &mut names);
    let image: Digest = names.0["image"].parse().unwrap();
    let honest = Arc::new(Honest::default());
    let signatures = matches!(scenario.image, Kind::Signed).then(|| sign(&mut sample, image));
    let fallback = names.0["fallback"].clone();
    let tags: Vec<_> = [("1", digest_of(&named))].into_iter().chain(signatures.map(|index| (fallback.as_str(), index))).collect();
    let target: ImageRef = scenario.reference.replace("{host}", "x.example").replace("{port}", "1").parse().unwrap();
    let (repository, tag) = (target.repository().to_owned(), target.tag().unwrap_or_default().to_owned());
    let from = if scenario.does == Verb::Push { "from/app" } else { "a/b" };
    honest.put(from, &sample, &tags);

    let elsewhere = start(scenario.elsewhere, names.clone(), Arc::clone(&honest)).await;
    names.0.insert("elsewhere", elsewhere.host());
    names.0.insert("elsewherePort", elsewhere.port.to_string());
    let server = start(scenario.registry, names.clone(), Arc::clone(&honest)).await;
    names.0.insert("host", server.host());
    names.0.insert("port", server.port.to_string());
    let fixture = fixture(&scenario.patience);
    std::fs::write(fixture.path().join("registries.yaml"), names.fill(&scenario.settings)).unwrap();
    if let Some(pair) = &scenario.credentials {
        use base64::Engine as _;
        let auth = base64::engine::general_purpose::STANDARD.encode(pair);
        let login = json!({"auths": {server.host(): {"auth": auth}}});
        std::fs::write(fixture.path().join("docker-config.json"), login.to_string()).unwrap();
    }
    let images = &fixture.images;
    let reference: ImageRef = names.fill(&scenario.reference).parse().unwrap();
    let result = match scenario.does {
        Verb::Pull => images.pull(&reference, None, silent()).await,
        Verb::Push => {
            let keep = PullOptions { keep_blobs: Some(true), ..PullOptions::default() };
            images.pull_with(&server.reference("from/app:1"), &keep, silent()).await.unwrap();
            server.forget();
            images.push(image, &reference, &PushOptions::default(), silent()).await.map(|pushed| pushed.digest)
        }
    };
    let (ended, said) = match &result {
        Ok(digest) => (End::Image, digest.to_string()),
        Err(error) => (kind_of(error), error.to_string()),
    };
    assert_eq!(ended, scenario.ends.with, "{name}: {said}");
    for part in &scenario.ends.says {
        let part = names.fill(part);
        assert!(said.contains(&part), "{name}: {said:?} does not say {part:?}");
    }
    match (scenario.does, result) {
        (Verb::Pull, Ok(digest)) => {
            assert_eq!((digest, images.find(&reference).unwrap().map(|found| found.digest)), (image, Some(image)), "{name}");
            assert_eq!(fixture.names("layers").len(), 1, "{name}");
        }
        (Verb::Pull, Err(_)) => {
            assert!(images.list().unwrap().is_empty(), "{name}");
            assert_eq!((fixture.names("layers"), fixture.names("blobs/sha256")), (BTreeSet::new(), BTreeSet::new()), "{name}");
        }
        (Verb::Push, Ok(digest)) => assert_eq!((digest, honest.tagged(&repository, &tag)), (image, Some(image)), "{name}"),
        (Verb::Push, Err(_)) => assert_eq!(honest.tagged(&repository, &tag), None, "{name}"),
    }
    fixture.assert_no_work_left();
    let partials = fixture.path().join("state/images/partial");
    let kept = if partials.is_dir() { names_and_sizes(&partials) } else { BTreeMap::new() };
    let layer: Digest = names.0["layer"].parse().unwrap();
    let expected = if scenario.ends.keeps > 0 { BTreeMap::from([(layer.hex(), scenario.ends.keeps)]) } else { BTreeMap::new() };
    assert_eq!(kept, expected, "{name}: what is kept of the download");
    for asked in &scenario.requests {
        let server = if asked.elsewhere { &elsewhere } else { &server };
        let all = server.requests("");
        let count = all.iter().filter(|request| asked.like.fits(&names, request)).count();
        let right = match (asked.count, asked.at_most) {
            (Some(exactly), _) => count == exactly,
            (None, Some(most)) => count <= most,
            (None, None) => count > 0,
        };
        let seen: Vec<_> =
            all.iter().map(|request| format!("{} {} {:?}", request.method, request.path, request.headers)).collect();
        assert!(
            right,
            "{name}: {count} requests like {:?} {:?} {:?}:\n{}",
            asked.like.method,
            asked.like.path,
            asked.like.headers,
            seen.join("\n")
        );
    }
    name
}

fn names_and_sizes(folder: &Path) -> BTreeMap<String, u64> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries.map(|entry| (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().len())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_scenario_ends_as_its_file_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/engine/images/tests/scenarios");
    let files = names(&folder);
    let scenarios: BTreeSet<_> = files.iter().filter(|name| name.ends_with(".yaml")).cloned().collect();
    assert_eq!(files.len(), scenarios.len() + 1, "only scenarios and their README are in the folder");
    let runs = scenarios.iter().map(|name| {
        let text = std::fs::read_to_string(folder.join(name)).unwrap();
        // A task of its own each, so that all failures are told and not only the first.
        tokio::spawn(run(name.clone(), text))
    });
    let ended: Vec<_> = stream::iter(runs).buffer_unordered(8).collect().await;
    let failed = ended.iter().filter(|ended| ended.is_err()).count();
    assert_eq!(failed, 0, "{failed} of {} scenarios do not end as their files say", ended.len());
    let run: BTreeSet<_> = ended.into_iter().map(Result::unwrap).collect();
    assert_eq!(run, scenarios);
    assert!(run.len() >= 60, "{} scenarios", run.len());
}
