//! A registry of a test's own: Debian's `docker-registry`.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

/// `user:hunter2`, as bcrypt.
const HTPASSWD: &str = "user:$2b$04$sJPRNXGs1g1wZYvpkdUtdeJqtEhNyB9n8N8SBiEGW2/vajTAznMgi\n";

/// A running registry that wants the user `user` with the password `hunter2`; it is killed when dropped.
#[derive(Debug)]
pub struct PrivateRegistry {
    /// `localhost:PORT`.
    pub host: String,
    process: Child,
    folder: TempDir,
}

impl PrivateRegistry {
    /// Starts one on a free port and waits until it answers.
    pub fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        fs_err::write(folder.path().join("htpasswd"), HTPASSWD)?;
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {root}/root}}}}\n\
             http: {{addr: {address}}}\nauth: {{htpasswd: {{realm: r, path: {root}/htpasswd}}}}\n",
            root = folder.path().display(),
        );
        let file = folder.path().join("config.yml");
        fs_err::write(&file, config)?;
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("docker-registry (Debian package docker-registry) is on PATH")?;
        let registry = Self {
            host: format!("localhost:{}", address.port()),
            process,
            folder,
        };
        let until = Instant::now() + Duration::from_secs(30);
        while std::net::TcpStream::connect(address).is_err() {
            if Instant::now() > until {
                bail!("docker-registry does not listen on {address}");
            }
            std::thread::yield_now();
        }
        Ok(registry)
    }

    /// A folder whose `config.json` has the login, as `docker login` writes it: a `DOCKER_CONFIG`.
    pub fn docker_config(&self) -> Result<String> {
        // base64 of `user:hunter2`
        let config =
            serde_json::json!({ "auths": { (&self.host): { "auth": "dXNlcjpodW50ZXIy" } } });
        let folder = self.folder.path().join("docker");
        fs_err::create_dir_all(&folder)?;
        fs_err::write(folder.join("config.json"), config.to_string())?;
        Ok(folder.display().to_string())
    }
}

impl Drop for PrivateRegistry {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
