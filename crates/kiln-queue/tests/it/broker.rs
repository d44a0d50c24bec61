//! A message broker of a test's own: started on a free port with a store folder of its own, killed and started again.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long a broker may take to answer.
const READY: Duration = Duration::from_secs(20);

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
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Starts the broker again, with what it had stored.
    pub(crate) fn run(&mut self) {
        assert!(self.child.is_none(), "it runs");
        let folder = self.folder.path();
        let port = self.port.map_or("-1".to_owned(), |port| port.to_string());
        let mut command = Command::new(program());
        command
            .args(["-a", "127.0.0.1", "-p", &port, "-js"])
            .arg("-sd")
            .arg(folder.join("store"))
            .arg("--ports_file_dir")
            .arg(folder)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.join("log")).unwrap());
        let child = self.child.insert(command.spawn().unwrap());
        let start = Instant::now();
        loop {
            assert!(
                start.elapsed() < READY && child.try_wait().unwrap().is_none(),
                "the broker does not answer: {}",
                std::fs::read_to_string(folder.join("log")).unwrap()
            );
            let found = self.port.or_else(|| written_port(folder, child.id()));
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
fn written_port(folder: &std::path::Path, pid: u32) -> Option<u16> {
    let program = program();
    let name = program.file_name()?.to_str()?;
    let text = std::fs::read_to_string(folder.join(format!("{name}_{pid}.ports"))).ok()?;
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
