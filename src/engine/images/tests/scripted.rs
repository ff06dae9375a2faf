//! A registry that does what the test says: wrong content, broken connections, tokens, refusals.

use std::collections::HashMap;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) method: String,
    /// With its query.
    pub(super) path: String,
    pub(super) headers: HashMap<String, String>,
    pub(super) body: Vec<u8>,
}

impl Request {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Whether this is the start of a TLS handshake.
fn is_tls(bytes: &[u8]) -> bool {
    bytes.first() == Some(&0x16)
}

/// Where the head of a request ends.
fn head_of(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|window| window == b"\r\n\r\n")
}

/// Whether a request has come with its body.
fn is_whole(bytes: &[u8]) -> bool {
    if is_tls(bytes) {
        return true;
    }
    let Some(end) = head_of(bytes) else { return false };
    let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |n| n.parse().unwrap());
    bytes.len() - end - 4 >= length
}

fn parse(bytes: &[u8]) -> Request {
    let end = head_of(bytes).unwrap();
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.lines();
    let mut first = lines.next().unwrap().split(' ').map(str::to_owned);
    let headers = lines.filter_map(|l| l.split_once(": ")).map(|(n, v)| (n.to_lowercase(), v.to_owned()));
    let (method, path) = (first.next().unwrap(), first.next().unwrap());
    Request { method, path, headers: headers.collect(), body: bytes[end + 4..].to_vec() }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    /// After so many bytes of the body the connection closes.
    pub(super) cut: Option<usize>,
    /// Instead of closing it goes silent.
    pub(super) stall: bool,
    /// The body comes byte by byte, each after a pause.
    pub(super) crawl: Option<Duration>,
    /// The body's length is not told, and the body comes again and again.
    pub(super) endless: bool,
}

impl Reply {
    pub(super) fn status(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    pub(super) fn body(body: impl Into<Vec<u8>>) -> Self {
        Self { status: 200, body: body.into(), ..Self::default() }
    }

    pub(super) fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sends it. The error is that of a client that has gone, as clients of misbehaving registries do.
    async fn send(&self, stream: &mut TcpStream) -> std::io::Result<()> {
        let mut head = format!("HTTP/1.1 {} X\r\nConnection: close\r\n", self.status);
        if !self.endless {
            head.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        stream.write_all(head.as_bytes()).await?;
        let sent = &self.body[..self.cut.unwrap_or(self.body.len())];
        if let Some(pause) = self.crawl {
            for byte in sent {
                tokio::time::sleep(pause).await;
                stream.write_all(&[*byte]).await?;
            }
            return Ok(());
        }
        stream.write_all(sent).await?;
        if self.endless {
            loop {
                stream.write_all(sent).await?;
            }
        }
        if self.stall {
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        Ok(())
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
                    let request = parse(&bytes);
                    let seen = {
                        let mut log = log.lock().unwrap();
                        log.push(request.clone());
                        log.iter().filter(|r| r.path == request.path).count() - 1
                    };
                    // A client that has had enough goes; what it makes of that is what the test looks at.
                    drop(handler(&request, seen).send(&mut stream).await);
                });
            }
        });
        Self { port, log, task }
    }

    pub(super) fn requests(&self, part: &str) -> Vec<Request> {
        self.log.lock().unwrap().iter().filter(|r| r.path.contains(part)).cloned().collect()
    }

    /// Forgets the requests so far.
    pub(super) fn forget(&self) {
        self.log.lock().unwrap().clear();
    }

    pub(super) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(super) fn reference(&self, rest: &str) -> ImageRef {
        format!("{}/{rest}", self.host()).parse().unwrap()
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
