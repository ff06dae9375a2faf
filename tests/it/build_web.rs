//! ADD of addresses: what is fetched, and what need not be.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use setpoint::model::Digest;

use crate::harness::{BUSYBOX, Host, Ran};

/// A server on the loopback of the test's own network.
struct Web {
    port: u16,
    pages: Arc<Mutex<BTreeMap<&'static str, Page>>>,
    /// What was asked for, and what the answer was.
    log: Arc<Mutex<Vec<String>>>,
}

#[derive(Clone)]
struct Page {
    header: &'static str,
    content: &'static str,
}

impl Web {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let web = Self { port, pages: Arc::default(), log: Arc::default() };
        let (pages, log) = (web.pages.clone(), web.log.clone());
        // Goes with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                answer(stream, &pages, &log);
            }
        });
        web
    }

    fn has(&self, path: &'static str, header: &'static str, content: &'static str) {
        self.pages.lock().unwrap().insert(path, Page { header, content });
    }

    /// What has been asked since the last look.
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.log.lock().unwrap())
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }
}

fn answer(mut stream: TcpStream, pages: &Mutex<BTreeMap<&'static str, Page>>, log: &Mutex<Vec<String>>) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let Some(first) = lines.next() else { return };
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let given: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let page = pages.lock().unwrap().get(path.as_str()).cloned();
    let (status, header, content) = match page {
        None => ("404 Not Found", "", "no such page"),
        Some(Page { header, content }) => {
            let validator = header.split_once(": ").map(|(_, value)| value).unwrap_or_default();
            let condition = if header.starts_with("ETag") { "if-none-match: " } else { "if-modified-since: " };
            let known = |line: &String| {
                let lower = line.to_ascii_lowercase();
                lower.strip_prefix(condition).is_some_and(|value| value == validator.to_ascii_lowercase())
            };
            if !validator.is_empty() && given.iter().any(known) {
                ("304 Not Modified", header, "")
            } else {
                ("200 OK", header, content)
            }
        }
    };
    log.lock().unwrap().push(format!("{path} {}", &status[..3]));
    let header = if header.is_empty() { String::new() } else { format!("{header}\r\n") };
    let length = if status.starts_with("304") { String::new() } else { format!("Content-Length: {}\r\n", content.len()) };
    // Whoever goes away before the end of the answer does not want it.
    drop(stream.write_all(format!("HTTP/1.1 {status}\r\n{header}{length}Connection: close\r\n\r\n{content}").as_bytes()));
}

fn build(host: &Host, text: &str, args: &[&str]) -> Ran {
    host.write("c/Dockerfile", &format!("FROM {BUSYBOX}\n{text}"));
    host.sp(&[&["build", "--progress", "plain", "-t", "app:1"], args, &["c"]].concat())
}

#[test]
fn a_server_is_asked_only_for_what_is_newer() {
    let host = Host::new().with_busybox();
    let web = Web::start();
    web.has("/tagged", "ETag: \"v1\"", "first");
    web.has("/dated", "Last-Modified: Wed, 21 Oct 2015 07:28:00 GMT", "dated");
    web.has("/plain", "", "plain");
    let text = format!("ADD {} /t/\nADD {} /d/\n", web.url("/tagged"), web.url("/dated"));
    build(&host, &text, &[]).ok();
    assert_eq!(web.asked(), ["/tagged 200", "/dated 200"]);
    let again = build(&host, &text, &[]).ok();
    assert_eq!(web.asked(), ["/tagged 304", "/dated 304"]);
    assert_eq!(again.stderr.matches(" CACHED").count(), 3, "{}", again.stderr);
    // What stands before it has changed, so that the file itself is needed again.
    build(&host, &format!("RUN touch /before\n{text}"), &[]).ok();
    assert_eq!(web.asked(), ["/tagged 304", "/tagged 200", "/dated 304", "/dated 200"]);
    web.has("/tagged", "ETag: \"v2\"", "second");
    build(&host, &text, &[]).ok();
    assert_eq!(web.asked(), ["/tagged 200", "/dated 304", "/dated 200"]);
    assert_eq!(host.sp(&["run", "--rm", "app:1", "cat", "/t/tagged", "/d/dated"]).ok().stdout, "seconddated");
    build(&host, &text, &["--no-cache"]).ok();
    assert_eq!(web.asked(), ["/tagged 200", "/dated 200"]);
    // A server that says nothing of versions is believed in nothing.
    let text = format!("ADD {} /\n", web.url("/plain"));
    for _ in 0..2 {
        build(&host, &text, &[]).ok();
        assert_eq!(web.asked(), ["/plain 200"]);
    }
    build(&host, &format!("ADD {} /\n", web.url("/none")), &[]).fails_with(1).says(&["/none", "Dockerfile:2"]);
}

#[test]
fn with_a_checksum_nobody_is_asked_twice() {
    let host = Host::new().with_busybox();
    let web = Web::start();
    web.has("/file", "", "content");
    let add = |checksum: &Digest| format!("ADD --checksum={checksum} {} /\n", web.url("/file"));
    let good = add(&Digest::of(b"content"));
    build(&host, &good, &[]).ok();
    assert_eq!(web.asked(), ["/file 200"]);
    web.has("/file", "", "another");
    let again = build(&host, &good, &[]).ok();
    assert_eq!((web.asked(), again.stderr.matches(" CACHED").count()), (Vec::new(), 2), "{}", again.stderr);
    assert_eq!(host.sp(&["run", "--rm", "app:1", "cat", "/file"]).ok().stdout, "content");
    let wrong = Digest::of(b"content").to_string();
    build(&host, &good, &["--no-cache"]).fails_with(1).says(&[&wrong, "Dockerfile:2"]);
    build(&host, &add(&Digest::of(b"another")), &[]).ok();
    assert_eq!(host.sp(&["run", "--rm", "app:1", "cat", "/file"]).ok().stdout, "another");
}
