//! Debian's `docker-registry`, on the test's own host. Knows nothing of what is in the images.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::{Host, net, tool, wait_until};

/// A registry on loopback. Dropping it ends it.
pub(crate) struct Registry {
    child: Child,
    /// `user:password`, where it lets nobody else in.
    login: Option<&'static str>,
}

impl Registry {
    /// Where it answers. The port cannot be taken: the test's network namespace is its own.
    pub(crate) const ADDRESS: &str = "127.0.0.1:5000";
    pub(crate) const LOGIN: &str = "me:secret";

    pub(crate) fn start(host: &Host) -> Self {
        let registry = Self::spawn(host, 5000, "", "");
        wait_until("the registry answers", Duration::from_secs(30), || net::http(5000, "/v2/").is_ok());
        registry
    }

    /// One that wants [`Self::LOGIN`].
    pub(crate) fn start_locked(host: &Host) -> Self {
        // The password as htpasswd writes it.
        let users = host.write("users", "me:$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n");
        let auth = format!("auth: {{htpasswd: {{realm: it, path: {}}}}}\n", users.display());
        let mut registry = Self::spawn(host, 5000, "", &auth);
        registry.login = Some(Self::LOGIN);
        registry
    }

    /// One that speaks TLS, with a certificate and its key, on this port. All that a test starts have the same content.
    pub(crate) fn start_tls(host: &Host, port: u16, certificate: &Path, key: &Path) -> Self {
        let tls = format!(", tls: {{certificate: {}, key: {}}}", certificate.display(), key.display());
        Self::spawn(host, port, &tls, "")
    }

    fn spawn(host: &Host, port: u16, more: &str, rest: &str) -> Self {
        let folder = host.dir.join("registry");
        fs::create_dir_all(&folder).unwrap();
        let config = folder.join(format!("config-{port}.yml"));
        let text = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
             storage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\nhttp: {{addr: \"127.0.0.1:{port}\"{more}}}\n{rest}",
            folder.join("data").display(),
        );
        fs::write(&config, text).unwrap();
        let log = fs::File::create(folder.join(format!("log-{port}"))).unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|e| panic!("docker-registry: {e}; `make test` installs what the tests need"));
        let mut registry = Self { child, login: None };
        wait_until("the registry listens", Duration::from_secs(60), || {
            let log = || fs::read_to_string(folder.join(format!("log-{port}"))).unwrap_or_default();
            assert!(registry.child.try_wait().unwrap().is_none(), "the registry ended: {}", log());
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        registry
    }

    /// Pushes the image with this tag of an OCI layout, under the name `name:tag`.
    pub(crate) fn push(&self, layout: &Path, tag: &str, name: &str) -> String {
        let reference = format!("{}/{name}:{tag}", Self::ADDRESS);
        let (from, to) = (format!("oci:{}:{tag}", layout.display()), format!("docker://{reference}"));
        let mut line = vec!["--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false"];
        line.extend(self.login.iter().flat_map(|login| ["--dest-creds", login]));
        line.extend([from.as_str(), to.as_str()]);
        tool("skopeo", &line);
        reference
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // Fails when it has ended already, which is as well.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
