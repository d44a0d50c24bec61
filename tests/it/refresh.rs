//! A channel gains a newer package.

use std::process::Command;

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
    let channel = kiln.path().join("channel");
    let channel = channel.to_str().unwrap().to_owned();
    synthetic(&[&channel]);
    let server = kiln.path().join("channel/synthetic");
    let folder = if server.exists() {
        server.to_str().unwrap().to_owned()
    } else {
        channel.clone()
    };
    let environment = |numlike: &str| {
        format!(
            "name: x\nchannels:\n  - {}\ndependencies:\n  - python=3.11\n  - {numlike}\n",
            serve(&folder)
        )
    };
    let unpinned = environment("numlike");
    let bare = kiln_tests::base("debian:12");
    let first = kiln.build_ok("environment.yml", &unpinned, &["--base", &bare]);
    assert_eq!(first.json()["generation"], 1);
    synthetic(&["--gain", &folder]);
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

/// The channel's address; kiln takes folders by `file:` only where an operator says so.
fn serve(folder: &str) -> String {
    use std::sync::OnceLock;
    static SERVER: OnceLock<String> = OnceLock::new();
    SERVER
        .get_or_init(|| {
            let mut child = Command::new("python3")
                .args(["-u", "-c", SERVE])
                .arg(folder)
                .stdout(std::process::Stdio::piped())
                .spawn()
                .unwrap();
            let mut line = String::new();
            let stdout = child.stdout.take().unwrap();
            std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).unwrap();
            line.trim().to_owned()
        })
        .clone()
}

/// Serves a folder on a free port until its parent is gone.
const SERVE: &str = "
import functools, http.server, os, sys, threading, time
handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=sys.argv[1])
handler.log_message = lambda *a: None
server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler)
print('http://127.0.0.1:%d' % server.server_port, flush=True)
parent = os.getppid()
def watch():
    while os.getppid() == parent: time.sleep(0.5)
    os._exit(0)
threading.Thread(target=watch, daemon=True).start()
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
