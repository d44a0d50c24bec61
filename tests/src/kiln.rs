//! A kiln with its own data folder and registry prefix.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal};
use serde_json::Value;
use tempfile::TempDir;

/// A kiln of a test's own.
#[derive(Debug)]
pub struct Kiln {
    folder: TempDir,
    /// `HOST/PREFIX` of its images.
    pub registry: String,
    environment: BTreeMap<String, String>,
}

/// What a command answered.
#[derive(Debug)]
pub struct Answer {
    /// The exit code.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Answer {
    /// The last JSON object of standard output.
    pub fn json(&self) -> Value {
        let line = self
            .stdout
            .lines()
            .rfind(|line| line.starts_with('{'))
            .unwrap_or_else(|| {
                panic!("no JSON in the answer: {self:#?}");
            });
        serde_json::from_str(line).expect("the line is JSON")
    }

    /// A text field of [`Self::json`].
    pub fn text(&self, field: &str) -> String {
        self.json()[field]
            .as_str()
            .unwrap_or_else(|| panic!("no text `{field}`: {self:#?}"))
            .to_owned()
    }
}

impl From<Output> for Answer {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// The kiln to test: the named one, or the one that cargo built beside this test.
pub(crate) fn binary(name: &str) -> PathBuf {
    if let Some(path) = std::env::var_os("KILN_TEST_BINARY") {
        return path.into();
    }
    let test = std::env::current_exe().expect("a test has a path");
    let folder = test
        .parent()
        .and_then(Path::parent)
        .expect("tests lie in target/PROFILE/deps");
    let path = folder.join(name);
    assert!(
        path.exists(),
        "{} is missing: run `cargo build -p kiln` first",
        path.display()
    );
    path
}

impl Default for Kiln {
    fn default() -> Self {
        Self::new()
    }
}

impl Kiln {
    /// A fresh data folder and a fresh prefix.
    pub fn new() -> Self {
        Self::with_registry(&crate::fresh_prefix())
    }

    /// A fresh data folder and a given prefix.
    pub fn with_registry(registry: &str) -> Self {
        let mut environment = BTreeMap::new();
        for name in [
            "PATH",
            "HOME",
            "SSL_CERT_FILE",
            "KILN_INSTALL_PATH",
            "PIP_CERT",
            "KILN_PYPI_UV",
        ] {
            if let Ok(value) = std::env::var(name) {
                environment.insert(name.to_owned(), value);
            }
        }
        environment.insert("KILN_CONDA_CHANNEL_ALIAS".into(), crate::channels());
        environment.insert("KILN_BASE_CPU".into(), crate::base("debian:12"));
        Self {
            folder: tempfile::tempdir().expect("a temporary folder"),
            registry: registry.to_owned(),
            environment,
        }
    }

    /// Sets a variable of all its processes.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// The folder for a test's own files; the data folder is `data` in it.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The data folder.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Writes a file of the test's own and gives its path.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        if let Some(parent) = path.parent() {
            fs_err::create_dir_all(parent).expect("a folder for the test's files");
        }
        fs_err::write(&path, text).expect("a file of the test's own");
        path
    }

    /// A command of this kiln that was not started yet.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary("kiln"));
        command.args(arguments).env_clear().envs(&self.environment);
        command
            .env("KILN_DATA", self.data())
            .env("KILN_REGISTRY", &self.registry);
        command.stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, arguments: &[&str]) -> Answer {
        self.command(arguments)
            .output()
            .expect("kiln starts")
            .into()
    }

    /// Runs `kiln build --json` on a text.
    pub fn build(&self, name: &str, text: &str, more: &[&str]) -> Answer {
        let file = self.write(name, text);
        let mut arguments = vec!["build", file.to_str().expect("a UTF-8 path"), "--json"];
        arguments.extend(more);
        self.run(&arguments)
    }

    /// Runs [`Self::build`] and insists on success.
    pub fn build_ok(&self, name: &str, text: &str, more: &[&str]) -> Answer {
        let answer = self.build(name, text, more);
        assert_eq!(answer.code, 0, "{}\n{}", answer.stdout, answer.stderr);
        answer
    }

    /// Starts `kiln serve` on a free port.
    pub fn serve(&self) -> Result<Server> {
        Server::start(self.command(&["serve", "--listen", "127.0.0.1:0"]))
    }
}

/// Signals for a process that was not waited for yet.
#[derive(Debug, Clone, Copy)]
pub struct Signals(Pid);

impl Signals {
    /// Sends one.
    pub fn send(self, signal: Signal) -> Result<()> {
        Ok(rustix::process::kill_process(self.0, signal)?)
    }
}

/// A running `kiln serve`; it is killed when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// `http://127.0.0.1:PORT`.
    pub url: String,
    /// `https://127.0.0.1:PORT`, where it listens with TLS too.
    pub secure_url: Option<String>,
}

impl Server {
    /// Starts `kiln serve` and waits until it listens.
    pub fn start(mut command: Command) -> Result<Self> {
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .context("kiln serve starts")?;
        let stdout = child.stdout.take().context("kiln serve has an output")?;
        let mut lines = BufReader::new(stdout).lines();
        let mut secure_url = None;
        while let Some(line) = lines.next() {
            let line = line?;
            if let Some(url) = line.strip_prefix("kiln listens with TLS on ") {
                secure_url = Some(url.to_owned());
            }
            if let Some(url) = line.strip_prefix("kiln listens on ") {
                let url = url.to_owned();
                // The pipe stays open and empty: kiln writes no more.
                std::mem::forget(lines);
                return Ok(Self {
                    child,
                    url,
                    secure_url,
                });
            }
        }
        let status = child.wait()?;
        bail!("kiln serve ended before it listened: {status}")
    }

    /// Sends it signals, from elsewhere too.
    pub fn signals(&self) -> Signals {
        Signals(Pid::from_child(&self.child))
    }

    /// Kills it with SIGKILL, as a crash would.
    pub fn kill(mut self) {
        self.end();
    }

    /// Waits until it ends by itself.
    pub fn wait(mut self) -> Result<std::process::ExitStatus> {
        Ok(self.child.wait()?)
    }

    /// Sends SIGTERM and waits for its end.
    pub fn terminate(mut self) -> Result<std::process::ExitStatus> {
        Command::new("kill")
            .args(["-TERM", &self.child.id().to_string()])
            .status()?;
        Ok(self.child.wait()?)
    }

    fn end(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}
