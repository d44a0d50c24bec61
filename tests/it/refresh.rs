//! A channel gains a newer package.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use kiln_tests::{Docker, Kiln};

const SYNTHETIC: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testbed/synthetic.py");

fn synthetic(arguments: &[&str]) {
    let status = Command::new("python3")
        .arg(SYNTHETIC)
        .args(arguments)
        .status()
        .unwrap();
    assert!(status.success());
}

#[test]
fn the_same_definition_keeps_its_digest_until_a_refresh_makes_generation_two() {
    let kiln = Kiln::new();
    let channel = Channel::start(&kiln);
    let environment = |numlike: &str| {
        format!(
            "name: x\nchannels:\n  - {}\ndependencies:\n  - python=3.11\n  - {numlike}\n",
            channel.address
        )
    };
    let unpinned = environment("numlike");
    let bare = kiln_tests::base("debian:12");
    let first = kiln.build_ok("environment.yml", &unpinned, &["--base", &bare]);
    assert_eq!(first.json()["generation"], 1);
    channel.gain();
    let same = kiln.build_ok("environment.yml", &unpinned, &["--base", &bare]);
    assert_eq!(same.text("image"), first.text("image"));
    assert_eq!(same.json()["cached"], true);
    let refreshed = kiln.build_ok(
        "environment.yml",
        &unpinned,
        &["--base", &bare, "--refresh"],
    );
    assert_eq!(refreshed.json()["generation"], 2);
    assert_eq!(refreshed.json()["cached"], false);
    assert_ne!(refreshed.text("image"), first.text("image"));
    let repository = format!("{}/{}", kiln.registry, first.text("name"));
    assert_eq!(tag(&repository, "1"), first.text("image"));
    assert_eq!(tag(&repository, "2"), refreshed.text("image"));
    assert_eq!(tag(&repository, "latest"), refreshed.text("image"));
    let again = kiln.build_ok("environment.yml", &unpinned, &["--base", &bare]);
    assert_eq!(again.text("image"), refreshed.text("image"));
    let pinned = kiln.build_ok(
        "pinned.yml",
        &environment("numlike=2.0"),
        &["--base", &bare],
    );
    assert_ne!(pinned.text("name"), first.text("name"));
    assert_eq!(pinned.json()["generation"], 1);
    let answer = Docker::run_image(&pinned.text("image"), &["ls", "/opt/kiln/env/conda-meta"]);
    assert!(answer.stdout.contains("numlike-2.0"), "{answer:?}");
}

/// A conda channel of one's own behind http: kiln takes folders by `file:` only where an operator says so.
pub(crate) struct Channel {
    process: Child,
    folder: String,
    /// Its address.
    pub(crate) address: String,
}

impl Channel {
    /// Makes it in the kiln's folder, and serves it.
    pub(crate) fn start(kiln: &Kiln) -> Self {
        let made = kiln.path().join("channel");
        synthetic(&[made.to_str().unwrap()]);
        let inner = made.join("synthetic");
        let folder = if inner.exists() { inner } else { made };
        let folder = folder.to_str().unwrap().to_owned();
        let mut process = Command::new("python3")
            .args(["-u", "-c", SERVE, &folder])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut address = String::new();
        let stdout = process.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut address).unwrap();
        Self {
            process,
            folder,
            address: address.trim().to_owned(),
        }
    }

    /// A newer `numlike` is published.
    pub(crate) fn gain(&self) {
        synthetic(&["--gain", &self.folder]);
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Serves a folder on a free port.
const SERVE: &str = "
import functools, http.server, os, sys
handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=sys.argv[1])
server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler)
print('http://127.0.0.1:%d' % server.server_port, flush=True)
sys.stderr = open(os.devnull, 'w')
server.serve_forever()
";

fn tag(repository: &str, tag: &str) -> String {
    let output = Command::new("skopeo")
        .args(["inspect", "--tls-verify=false", "--format", "{{.Digest}}"])
        .arg(format!("docker://{repository}:{tag}"))
        .output()
        .unwrap();
    format!(
        "{repository}@{}",
        String::from_utf8(output.stdout).unwrap().trim()
    )
}
