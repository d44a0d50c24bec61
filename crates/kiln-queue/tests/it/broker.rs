//! A message broker of a test's own: started on a free port with a store folder of its own, killed and started again.
//! It dies with the test's process, also when that is killed.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long a broker may take to answer.
const READY: Duration = Duration::from_secs(20);

/// Runs a command until standard input ends, then kills it. What holds the other end of the pipe may be killed too.
const GUARD: &str = r#""$@" & read -r _; kill -9 $!; wait"#;

/// A broker with JetStream, which is killed when this is dropped.
pub(crate) struct TestBroker {
    folder: TempDir,
    arguments: Vec<String>,
    port: Option<u16>,
    child: Option<Child>,
}

impl TestBroker {
    /// Starts a broker.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a broker with more arguments.
    pub(crate) fn start_with(arguments: &[&str]) -> Self {
        let mut broker = Self {
            folder: tempfile::tempdir().unwrap(),
            arguments: arguments.iter().map(ToString::to_string).collect(),
            port: None,
            child: None,
        };
        broker.run();
        broker
    }

    /// The broker's address; the same after a restart.
    pub(crate) fn address(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port.unwrap())
    }

    /// Kills the broker as a crash would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut guard) = self.child.take() {
            drop(guard.stdin.take());
            guard.wait().unwrap();
        }
    }

    /// Starts the broker again, with what it had stored.
    pub(crate) fn run(&mut self) {
        assert!(self.child.is_none(), "it runs");
        let folder = self.folder.path();
        let port = self.port.map_or("-1".to_owned(), |port| port.to_string());
        let mut command = Command::new("sh");
        command
            .args(["-c", GUARD, "guard"])
            .arg(program())
            .args(["-a", "127.0.0.1", "-p", &port, "-js"])
            .arg("-sd")
            .arg(folder.join("store"))
            .arg("--ports_file_dir")
            .arg(folder)
            .args(&self.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.join("log")).unwrap());
        self.child = Some(command.spawn().unwrap());
        let start = Instant::now();
        loop {
            assert!(
                start.elapsed() < READY,
                "the broker does not answer: {}",
                std::fs::read_to_string(folder.join("log")).unwrap()
            );
            let found = self.port.or_else(|| written_port(folder));
            if let Some(port) = found
                && std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
            {
                self.port = Some(port);
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for TestBroker {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The port that the broker took, from the file it writes.
fn written_port(folder: &Path) -> Option<u16> {
    let mut files = std::fs::read_dir(folder).ok()?.flatten();
    let file = files.find(|file| file.path().extension() == Some("ports".as_ref()))?;
    let text = std::fs::read_to_string(file.path()).ok()?;
    let ports: serde_json::Value = serde_json::from_str(&text).ok()?;
    let (_, port) = ports["nats"][0].as_str()?.rsplit_once(':')?;
    port.parse().ok()
}

/// The broker's program.
fn program() -> PathBuf {
    let found = std::env::var_os("KILN_TEST_NATS_SERVER")
        .map_or_else(|| PathBuf::from("/usr/sbin/nats-server"), PathBuf::from);
    assert!(
        found.is_file(),
        "there is no {}: run `cargo xtask tools nats-server`, or name the program in KILN_TEST_NATS_SERVER",
        found.display()
    );
    found
}
