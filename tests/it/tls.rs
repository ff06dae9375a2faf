//! Registries that speak TLS, with certificates made by openssl: who signed them, for which name and for how long is
//! checked, and what a host trusts is its own store and what registries.yaml names.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;

use crate::harness::image::Layout;
use crate::harness::{Host, PATIENCE, Ran, Registry, Running, tool, wait_until};

/// The name of the host that all registries here are on.
const NAME: &str = "registry.test";

/// An authority with its folder: `NAME.pem` and `NAME.key` of all that it has made.
struct Authority {
    folder: PathBuf,
}

impl Authority {
    fn new(host: &Host, name: &str) -> Self {
        let folder = host.dir.join(name);
        fs::create_dir_all(folder.join("new")).unwrap();
        let at = |file: &str| folder.join(file).display().to_string();
        fs::write(at("index.txt"), "").unwrap();
        fs::write(at("serial"), "01\n").unwrap();
        let config = format!(
            "[ca]\ndefault_ca = it\n[it]\ndatabase = {}\nserial = {}\nnew_certs_dir = {}\ncertificate = {}\nprivate_key = {}\n\
             default_md = sha256\npolicy = any\ncopy_extensions = copy\nunique_subject = no\n[any]\ncommonName = supplied\n\
             [req]\ndistinguished_name = name\n[name]\n",
            at("index.txt"),
            at("serial"),
            at("new"),
            at("ca.pem"),
            at("ca.key")
        );
        fs::write(at("openssl.cnf"), config).unwrap();
        let authority = Self { folder };
        authority.openssl(&format!(
            "req -x509 -newkey rsa:2048 -nodes -subj /CN={name} -days 3650 -keyout ca.key -out ca.pem \
                                    -addext basicConstraints=critical,CA:TRUE"
        ));
        authority
    }

    /// Words without white space in them.
    fn openssl(&self, line: &str) {
        let config = self.folder.join("openssl.cnf");
        let output = Command::new("openssl")
            .args(line.split_whitespace())
            .current_dir(&self.folder)
            .env("OPENSSL_CONF", &config)
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|e| panic!("openssl: {e}; `make test` installs what the tests need"));
        assert!(output.status.success(), "openssl {line}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.join(file)
    }

    /// A certificate for a host's name, for the years from and until.
    fn certify(&self, file: &str, name: &str, years: (u32, u32)) -> (PathBuf, PathBuf) {
        let (from, until) = years;
        self.openssl(&format!(
            "req -new -newkey rsa:2048 -nodes -subj /CN={name} -addext subjectAltName=DNS:{name} -keyout {file}.key -out {file}.csr"
        ));
        self.openssl(&format!(
            "ca -config openssl.cnf -batch -notext -startdate {from}0101000000Z -enddate {until}0101000000Z \
             -in {file}.csr -out {file}.pem"
        ));
        (self.path(&format!("{file}.pem")), self.path(&format!("{file}.key")))
    }

    /// A certificate that is signed by nobody else.
    fn self_signed(&self, file: &str, name: &str) -> (PathBuf, PathBuf) {
        self.openssl(&format!(
            "req -x509 -newkey rsa:2048 -nodes -subj /CN={name} -days 3650 -keyout {file}.key -out {file}.pem \
             -addext subjectAltName=DNS:{name} -addext basicConstraints=critical,CA:FALSE"
        ));
        (self.path(&format!("{file}.pem")), self.path(&format!("{file}.key")))
    }
}

/// Makes the names known on the test's host.
fn name_hosts(host: &Host) {
    let hosts = host.write("hosts", &format!("127.0.0.1 localhost {NAME} other.test\n"));
    tool("mount", &["--bind", hosts.to_str().unwrap(), "/etc/hosts"]);
}

/// Runs the program with these settings of registries.
fn with(host: &Host, settings: &str, args: &[&str]) -> Ran {
    let file = host.write("registries.yaml", settings);
    let mut command = host.command(args);
    command.env("SETPOINT_REGISTRIES", file);
    Running::spawn(command).wait(PATIENCE)
}

/// The settings of one registry.
fn of(port: u16, what: &str) -> String {
    format!("registries: {{'{NAME}:{port}': {{{what}}}}}\n")
}

fn ca(path: &Path) -> String {
    format!("ca: {}", path.display())
}

/// Pulls with these settings; afterwards it is as it was before.
fn pull(host: &Host, settings: &str, reference: &str) -> Ran {
    let ran = with(host, settings, &["pull", reference]);
    let images = host.sp(&["images", "--json"]).ok().json();
    assert_eq!(images.as_array().unwrap().len(), usize::from(ran.code == 0), "{images}");
    if ran.code == 0 {
        host.sp(&["rmi", reference]).ok();
    }
    ran
}

/// Fills the registries of this host.
fn fill(host: &Host) {
    let registry = Registry::start(host);
    let mut layout = Layout::new(host.dir.join("layout"));
    layout.add_files(&[("file", Some("content"))]);
    registry.push(&layout.finish("1", &json!({})), "1", "test/app");
}

#[test]
fn certificates_are_checked_against_what_is_trusted() {
    let host = Host::new();
    name_hosts(&host);
    fill(&host);
    let (ours, others) = (Authority::new(&host, "ours"), Authority::new(&host, "others"));
    let (pem, key) = ours.certify("good", NAME, (2020, 2120));
    let _good = Registry::start_tls(&host, 5443, &pem, &key);
    let reference = format!("{NAME}:5443/test/app:1");

    pull(&host, "", &reference).fails_with(1).says(&["does not answer", "UnknownIssuer"]);
    pull(&host, &of(5443, &ca(&ours.path("ca.pem"))), &reference).ok();
    pull(&host, &of(5443, &ca(&others.path("ca.pem"))), &reference).fails_with(1).says(&["UnknownIssuer"]);
    pull(&host, &of(5443, "skipTlsVerify: true"), &reference).ok();
    // One registry's authority is nobody else's.
    pull(&host, &of(1, &ca(&ours.path("ca.pem"))), &reference).fails_with(1).says(&["UnknownIssuer"]);
    pull(&host, &of(5443, "ca: /nowhere/ca.pem"), &reference).fails_with(1).says(&["/nowhere/ca.pem"]);
    pull(&host, &of(5443, &ca(&key)), &reference).fails_with(1).says(&["no certificate in PEM"]);
    pull(&host, &of(5443, "plainHttp: true"), &reference).fails_with(1).says(&["400"]);

    // The same registry by a name that the certificate does not have.
    let other = "other.test:5443";
    let trusted = format!("registries: {{'{other}': {{{}}}}}\n", ca(&ours.path("ca.pem")));
    pull(&host, &trusted, &format!("{other}/test/app:1")).fails_with(1).says(&["does not answer", "not valid for name"]);
    let skipped = format!("registries: {{'{other}': {{skipTlsVerify: true}}}}\n");
    pull(&host, &skipped, &format!("{other}/test/app:1")).ok();

    let (pem, key) = ours.certify("old", NAME, (2020, 2021));
    let _old = Registry::start_tls(&host, 5444, &pem, &key);
    let expired = format!("{NAME}:5444/test/app:1");
    pull(&host, &of(5444, &ca(&ours.path("ca.pem"))), &expired).fails_with(1).says(&["xpired"]);
    pull(&host, &of(5444, "skipTlsVerify: true"), &expired).ok();

    let (pem, key) = ours.self_signed("self", NAME);
    let _own = Registry::start_tls(&host, 5445, &pem, &key);
    let own = format!("{NAME}:5445/test/app:1");
    pull(&host, "", &own).fails_with(1).says(&["does not answer", "UnknownIssuer"]);
    pull(&host, &of(5445, &ca(&pem)), &own).ok();

    // A push takes the same way.
    let trusted = of(5443, &ca(&ours.path("ca.pem")));
    with(&host, &trusted, &["pull", &reference]).ok();
    let pushed = format!("{NAME}:5443/test/pushed:1");
    host.sp(&["tag", &reference, &pushed]).ok();
    with(&host, "", &["push", &pushed]).fails_with(1).says(&["UnknownIssuer"]);
    with(&host, &trusted, &["push", &pushed]).ok();
}

#[test]
fn a_host_that_trusts_nobody_pulls_where_it_is_told_whom_to_trust() {
    let host = Host::new();
    name_hosts(&host);
    fill(&host);
    let ours = Authority::new(&host, "ours");
    let (pem, key) = ours.certify("good", NAME, (2020, 2120));
    let _registry = Registry::start_tls(&host, 5443, &pem, &key);
    let reference = format!("{NAME}:5443/test/app:1");
    // As on a host without the package of authorities.
    for folder in ["/etc/ssl/certs", "/usr/share/ca-certificates", "/usr/local/share/ca-certificates", "/etc/pki", "/usr/lib/ssl"]
    {
        if Path::new(folder).is_dir() {
            tool("mount", &["-t", "tmpfs", "none", folder]);
        }
    }
    pull(&host, "", &reference).fails_with(1);
    pull(&host, &of(5443, &ca(&ours.path("ca.pem"))), &reference).ok();
    pull(&host, &of(5443, "skipTlsVerify: true"), &reference).ok();
    // The one on this host itself needs no authorities.
    let _plain = Registry::start(&host);
    pull(&host, "", &format!("{}/test/app:1", Registry::ADDRESS)).ok();
}

/// openssl's server of files, each of which is a whole answer.
struct Answers(Child);

impl Answers {
    fn start(host: &Host, port: u16, certificate: &Path, key: &Path, folder: &Path) -> Self {
        let log = fs::File::create(host.dir.join(format!("answers-{port}.log"))).unwrap();
        let child = Command::new("openssl")
            .args(["s_server", "-quiet", "-HTTP", "-accept", &port.to_string()])
            .arg("-cert")
            .arg(certificate)
            .arg("-key")
            .arg(key)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut answers = Self(child);
        wait_until("openssl's server listens", Duration::from_secs(60), || {
            assert!(answers.0.try_wait().unwrap().is_none(), "openssl's server ended");
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        answers
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        // Fails when it has ended already, which is as well.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[test]
fn nobody_leads_from_tls_down_to_plain_http() {
    let host = Host::new();
    name_hosts(&host);
    // It would give away what it has, and whatever password it is sent.
    fill(&host);
    let _plain = Registry::start(&host);
    let ours = Authority::new(&host, "ours");
    let (pem, key) = ours.certify("good", NAME, (2020, 2120));
    let trusted = of(5443, &ca(&ours.path("ca.pem")));
    let folder = host.dir.join("answers");
    let answer = |repository: &str, head: &str| {
        let head = format!("HTTP/1.1 {head}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        host.write(&format!("answers/v2/test/{repository}/manifests/1"), &head);
    };
    answer("redirected", &format!("307 X\r\nLocation: http://{NAME}:5000/v2/test/app/manifests/1"));
    answer("challenged", &format!("401 X\r\nWWW-Authenticate: Bearer realm=\"http://{NAME}:5000/token\",service=\"s\""));
    let _answers = Answers::start(&host, 5443, &pem, &key, &folder);
    let refused = |repository: &str, said: &str| {
        pull(&host, &trusted, &format!("{NAME}:5443/test/{repository}:1")).fails_with(1).says(&[said]);
    };
    refused("redirected", "redirects from HTTPS to plain HTTP");
    refused("challenged", "not an https address");
}
