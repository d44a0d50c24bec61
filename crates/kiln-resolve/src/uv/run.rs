//! Runs uv.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use kiln_conda::{Credentials, UrlSecret};
use kiln_lock::IndexStrategy;
use kiln_oci::Digest;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::error::failed;
use super::installed::{preferences, write_stand_ins};
use super::outcome::{failure, message};
use super::pylock::PyLock;
use super::requirements::{RequirementsFile, Root, write};
use super::resolve::PypiRequest;
use super::{ProcessSettings, PypiError, UvSettings, UvTool};

/// The most bytes of uv's output that are kept.
const MOST_OUTPUT: u64 = 64 << 20;
/// The most bytes of a lock.
const MOST_LOCK: u64 = 64 << 20;

/// Everything that stays the same when a resolution is repeated with other requirements.
pub(super) struct Run<'a> {
    uv: &'a UvTool,
    process: &'a ProcessSettings,
    request: &'a PypiRequest<'a>,
    roots: &'a [Root],
    folder: tempfile::TempDir,
    pub(super) stand_ins: PathBuf,
    cache_dir: PathBuf,
    python: PathBuf,
    certificates: Option<PathBuf>,
}

/// What a run gives.
pub(super) enum Answer {
    Lock { lock: PyLock, log: String },
    Refused(PypiError),
}

impl<'a> Run<'a> {
    /// Prepares a private folder with all that uv is given.
    pub(super) fn prepare(
        uv: &'a UvTool,
        settings: &UvSettings,
        process: &'a ProcessSettings,
        request: &'a PypiRequest<'a>,
        roots: &'a [Root],
    ) -> Result<Self, PypiError> {
        let doing = failed("preparing the pip resolver's folder failed");
        fs_err::create_dir_all(&settings.tools_dir).map_err(&doing)?;
        // A temporary folder is readable by its owner alone: the file of requirements may hold secrets.
        let folder = tempfile::tempdir_in(&settings.tools_dir).map_err(&doing)?;
        let stand_ins = folder.path().join("conda");
        fs_err::create_dir(&stand_ins).map_err(&doing)?;
        write_stand_ins(&stand_ins, request.installed).map_err(&doing)?;
        let constraints = request.pip.constraints.join("\n") + "\n";
        fs_err::write(folder.path().join("constraints.txt"), constraints).map_err(&doing)?;
        let cache_dir = if request.credentials.is_empty() {
            settings.cache_dir.join("public")
        } else {
            let scope = Digest::of(request.scope.as_bytes()).to_hex();
            settings.cache_dir.join("scoped").join(&scope[..32])
        };
        fs_err::create_dir_all(&cache_dir).map_err(&doing)?;
        Ok(Self {
            uv,
            process,
            request,
            roots,
            stand_ins,
            cache_dir,
            python: process
                .pythons()
                .into_iter()
                .next()
                .ok_or(PypiError::NoPython)?,
            certificates: process.certificates(folder.path()).map_err(&doing)?,
            folder,
        })
    }

    /// Runs uv once.
    pub(super) async fn once(&self, lines: &[String]) -> Result<Answer, PypiError> {
        let doing = failed("running uv failed");
        let request = self.request;
        let file = write(
            request.pip,
            lines,
            self.roots,
            request.defaults,
            request.credentials,
            self.folder.path(),
        )?;
        let folder = self.folder.path();
        let (input, output) = (
            folder.join("requirements.in"),
            folder.join("pylock.kiln.toml"),
        );
        fs_err::write(&input, &file.text).map_err(&doing)?;
        if request.installed.is_empty() {
            let _ = fs_err::remove_file(&output);
        } else {
            fs_err::write(&output, preferences(request.installed)).map_err(&doing)?;
        }
        let mut command = self.command(&input, &output);
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(&doing)?;
        let stderr = match child.stderr.take() {
            Some(stderr) => capped(stderr).await.map_err(&doing)?,
            None => String::new(),
        };
        let status = child.wait().await.map_err(&doing)?;
        if !status.success() {
            let said = message(&stderr, &secrets(request.credentials));
            return Ok(Answer::Refused(failure(&restored(&said, &file))));
        }
        let mut text = String::new();
        let lock = fs_err::File::open(&output).map_err(&doing)?;
        io::Read::read_to_string(&mut io::Read::take(lock, MOST_LOCK), &mut text)
            .map_err(&doing)?;
        let lock = toml::from_str::<PyLock>(&restored(&text, &file)).map_err(|error| {
            PypiError::Failed {
                message: format!("its lock is not readable: {}", error.message()),
            }
        })?;
        Ok(Answer::Lock { lock, log: stderr })
    }

    fn command(&self, input: &Path, output: &Path) -> tokio::process::Command {
        let request = self.request;
        let folder = self.folder.path();
        let mut command = self.process.command(self.uv.path(), folder, false);
        command
            .args(["pip", "compile"])
            .arg(input)
            .args(["--format", "pylock.toml", "--output-file"])
            .arg(output)
            .args([
                "--no-config",
                "--no-python-downloads",
                "--only-binary",
                ":all:",
            ])
            .args([
                "--color",
                "never",
                "--no-progress",
                "--no-header",
                "--no-annotate",
            ])
            .arg("--python")
            .arg(&self.python)
            .args(["--python-version", &request.target.python])
            .args(["--python-platform", &request.target.uv_platform])
            .args([
                "--index-strategy",
                match request.strategy {
                    IndexStrategy::FirstIndex => "first-index",
                    IndexStrategy::UnsafeBestMatch => "unsafe-best-match",
                },
            ])
            .env("UV_CACHE_DIR", &self.cache_dir)
            // The pages that were read are learned from the client's log.
            .env("RUST_LOG", "uv_client=debug");
        if request.pip.pre {
            command.args(["--prerelease", "allow"]);
        }
        if !request.pip.constraints.is_empty() {
            command
                .arg("--constraints")
                .arg(folder.join("constraints.txt"));
        }
        if !request.installed.is_empty() {
            command.arg("--find-links").arg(&self.stand_ins);
        }
        command.arg("--system-certs");
        if let Some(bundle) = &self.certificates {
            command.env("SSL_CERT_FILE", bundle);
        }
        command
    }
}

async fn capped(output: impl AsyncRead + Unpin) -> io::Result<String> {
    let mut bytes = Vec::new();
    let mut output = output.take(MOST_OUTPUT);
    output.read_to_end(&mut bytes).await?;
    // What is beyond the cap must be read too, or the child waits for ever.
    tokio::io::copy(&mut output.into_inner(), &mut tokio::io::sink()).await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The text with the credentials' addresses as the definition has them.
fn restored(text: &str, file: &RequirementsFile) -> String {
    let mut text = text.to_owned();
    for (secret, plain) in &file.secret_addresses {
        text = text.replace(secret.as_str(), plain.as_str());
    }
    text
}

/// Everything that must not be printed.
fn secrets(credentials: &Credentials) -> Vec<String> {
    let mut secrets = Vec::new();
    for credential in credentials.iter() {
        let secret = match &credential.secret {
            UrlSecret::Basic { password, .. } => password.expose(),
            UrlSecret::Bearer(token)
            | UrlSecret::CondaToken(token)
            | UrlSecret::UserToken(token) => token.expose(),
            UrlSecret::Query(query) => query.expose(),
        };
        secrets.push(secret.to_owned());
        secrets.push(url::form_urlencoded::byte_serialize(secret.as_bytes()).collect());
    }
    secrets
}
