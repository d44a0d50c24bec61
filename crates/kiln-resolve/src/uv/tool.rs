//! Provides the pinned `uv`: the same version that is there already, or its wheel, fetched by hash.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use kiln_conda::Credentials;
use kiln_oci::Digest;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::ProcessSettings;
use crate::simple_index::{IndexPageError, page_of, project};

/// The version of `uv` that kiln is tested with; another one may resolve differently.
pub const UV_VERSION: &str = "0.13.9";

/// The wheels of that version: the machine's architecture, the digest.
const WHEELS: [(&str, &str); 2] = [
    (
        "x86_64",
        "d7f459fe4fd247d830351c75686d3996ace3c6f3f728eb0e85a30b7ada0cef19",
    ),
    (
        "aarch64",
        "5435c5ce14a56431208ca0996416d310f1598e8c2c8ba707688985a16bb82dbe",
    ),
];
/// The most bytes that are read of the wheel or its binary.
const MOST_BYTES: u64 = 512 << 20;
/// How long fetching the wheel may take.
const FETCH_TIME: Duration = Duration::from_mins(5);

/// Where `uv` comes from.
#[derive(Debug, Clone)]
pub struct UvSettings {
    /// kiln's folder for tools; the binary is kept there.
    pub tools_dir: PathBuf,
    /// uv's own cache of index pages and metadata. What was read with credentials lies apart, by scope.
    pub cache_dir: PathBuf,
    /// A binary to use instead; it must be of the pinned version.
    pub binary: Option<PathBuf>,
    /// The package index its wheel is fetched from; `None` is pip's own default.
    pub index_url: Option<Url>,
}

/// A `uv` binary of the pinned version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UvTool {
    path: PathBuf,
}

/// Why there is no `uv`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UvToolError {
    /// The configured binary is another version.
    #[error("{} is `{found}`, kiln needs uv {UV_VERSION}", .path.display())]
    Version {
        /// The binary.
        path: PathBuf,
        /// What it says of itself.
        found: String,
    },
    /// There is no wheel for the machine.
    #[error("there is no pinned wheel of uv for this machine ({0})")]
    Machine(&'static str),
    /// The host has no python.
    #[error("the host has no python3, which fetching uv needs")]
    NoPython,
    /// pip failed.
    #[error("fetching uv {UV_VERSION} by pip failed: {0}")]
    Pip(String),
    /// The index's page can't be read.
    #[error("looking for uv {UV_VERSION} in the configured package index failed")]
    Index(#[source] IndexPageError),
    /// The index does not have it.
    #[error("the configured package index does not have uv {UV_VERSION}")]
    NotInIndex,
    /// The download failed.
    #[error("downloading uv {UV_VERSION} failed")]
    Download(#[source] reqwest::Error),
    /// The wheel is another one.
    #[error("the fetched wheel of uv has digest {actual}, kiln knows {expected}")]
    Digest {
        /// The pinned digest.
        expected: Digest,
        /// What came.
        actual: Digest,
    },
    /// The wheel is not readable.
    #[error("the wheel of uv is not readable")]
    Wheel(#[source] zip::result::ZipError),
    /// A file can't be written or started.
    #[error("{doing}")]
    Io {
        /// What kiln was doing.
        doing: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// It took too long.
    #[error("fetching uv {UV_VERSION} took longer than {} s", FETCH_TIME.as_secs())]
    Timeout,
    /// Somebody cancelled.
    #[error("fetching uv was cancelled")]
    Cancelled,
}

impl UvToolError {
    /// What to do about it.
    pub fn remedy(&self) -> String {
        match self {
            Self::Version { .. } => {
                format!("install uv {UV_VERSION}, or leave the setting out so that kiln fetches it")
            }
            Self::NoPython => format!(
                "install python3 with pip on kiln's machine, configure a package index, or put uv {UV_VERSION} on the PATH"
            ),
            Self::Pip(_) => format!(
                "check python3 -m pip on kiln's machine, configure a package index, or put uv {UV_VERSION} on the PATH"
            ),
            Self::Machine(_) | Self::NotInIndex => {
                format!("put uv {UV_VERSION} on the PATH of kiln's machine")
            }
            Self::Digest { .. } | Self::Wheel(_) => {
                "fetch from another package index: this one gives a changed file".into()
            }
            Self::Io { .. } => "check the rights and the free space of kiln's tools folder".into(),
            _ => "check that the package index can be reached, then try again".into(),
        }
    }
}

fn failed(doing: &'static str) -> impl Fn(io::Error) -> UvToolError {
    move |source| UvToolError::Io { doing, source }
}

impl UvTool {
    /// The binary's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Finds or fetches the binary. Two calls at a time do no harm: the file appears whole or not at all.
    pub async fn provide(
        settings: &UvSettings,
        process: &ProcessSettings,
        client: &reqwest::Client,
        credentials: &Credentials,
        cancel: &CancellationToken,
    ) -> Result<Self, UvToolError> {
        let work = Self::find_or_fetch(settings, process, client, credentials);
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(UvToolError::Cancelled),
            answer = tokio::time::timeout(FETCH_TIME, work) => answer.unwrap_or(Err(UvToolError::Timeout)),
        }
    }

    async fn find_or_fetch(
        settings: &UvSettings,
        process: &ProcessSettings,
        client: &reqwest::Client,
        credentials: &Credentials,
    ) -> Result<Self, UvToolError> {
        fs_err::create_dir_all(&settings.tools_dir)
            .map_err(failed("making kiln's tools folder failed"))?;
        let folder = tempfile::tempdir_in(&settings.tools_dir)
            .map_err(failed("making a folder in kiln's tools folder failed"))?;
        if let Some(path) = &settings.binary {
            let found = version(process, path, folder.path()).await;
            let found = found.unwrap_or_else(|| "no uv".to_owned());
            if is_pinned(&found) {
                return Ok(Self { path: path.clone() });
            }
            return Err(UvToolError::Version {
                path: path.clone(),
                found,
            });
        }
        let kept = settings.tools_dir.join(format!("uv-{UV_VERSION}"));
        for path in std::iter::once(kept.clone()).chain(process.find("uv")) {
            let found = version(process, &path, folder.path()).await;
            if found.is_some_and(|found| is_pinned(&found)) {
                return Ok(Self { path });
            }
        }
        let machine = std::env::consts::ARCH;
        let (_, expected) = WHEELS
            .iter()
            .find(|(known, _)| *known == machine)
            .ok_or(UvToolError::Machine(machine))?;
        let expected = Digest::from_hex(expected).expect("the pinned digests are hex");
        let wheel = match &settings.index_url {
            Some(index) => from_index(index, machine, client, credentials, folder.path()).await?,
            None => by_pip(process, folder.path()).await?,
        };
        let target = kept.clone();
        tokio::task::spawn_blocking(move || unpack(&wheel, expected, &target))
            .await
            .map_err(|error| failed("unpacking uv failed")(io::Error::other(error)))??;
        tracing::info!(version = UV_VERSION, "uv was fetched");
        Ok(Self { path: kept })
    }
}

fn is_pinned(said: &str) -> bool {
    let mut words = said.split_whitespace();
    words.next() == Some("uv") && words.next() == Some(UV_VERSION)
}

/// What a binary says of its version; `None` when it can't be started.
async fn version(process: &ProcessSettings, path: &Path, home: &Path) -> Option<String> {
    let mut command = process.command(path, home, false);
    let output = command.arg("--version").output();
    let output = tokio::time::timeout(Duration::from_secs(20), output)
        .await
        .ok()?
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    output
        .status
        .success()
        .then(|| text.trim().chars().take(80).collect())
}

/// Fetches the wheel from a configured index.
async fn from_index(
    index: &Url,
    machine: &str,
    client: &reqwest::Client,
    credentials: &Credentials,
    folder: &Path,
) -> Result<PathBuf, UvToolError> {
    let page = page_of(index, "uv").ok_or(UvToolError::NotInIndex)?;
    let files = project(client, credentials, &page)
        .await
        .map_err(UvToolError::Index)?;
    let start = format!("uv-{UV_VERSION}-");
    let file = files
        .into_iter()
        .find(|file| {
            file.file_name.starts_with(&start)
                && file
                    .file_name
                    .contains(&format!("manylinux_2_17_{machine}"))
        })
        .ok_or(UvToolError::NotInIndex)?;
    let authorized = credentials.authorize(&file.url);
    let mut request = client.get(authorized.url);
    if let Some(header) = authorized.header {
        request = request.header(reqwest::header::AUTHORIZATION, header);
    }
    let download = |error: reqwest::Error| UvToolError::Download(error.without_url());
    let response = request
        .send()
        .await
        .and_then(reqwest::Response::error_for_status)
        .map_err(download)?;
    let path = folder.join("uv.whl");
    let mut out = fs_err::tokio::File::create(&path)
        .await
        .map_err(failed("writing uv's wheel failed"))?;
    let mut stream = response.bytes_stream();
    let mut left = MOST_BYTES;
    while let Some(bytes) = futures::TryStreamExt::try_next(&mut stream)
        .await
        .map_err(download)?
    {
        left = left
            .checked_sub(bytes.len() as u64)
            .ok_or(UvToolError::NotInIndex)?;
        tokio::io::AsyncWriteExt::write_all(&mut out, &bytes)
            .await
            .map_err(failed("writing uv's wheel failed"))?;
    }
    tokio::io::AsyncWriteExt::flush(&mut out)
        .await
        .map_err(failed("writing uv's wheel failed"))?;
    Ok(path)
}

/// Lets a pip of the host fetch the wheel from its own default index; no package code runs.
async fn by_pip(process: &ProcessSettings, folder: &Path) -> Result<PathBuf, UvToolError> {
    let mut first = None;
    for python in process.pythons() {
        match by_pip_of(&python, process, folder).await {
            Ok(wheel) => return Ok(wheel),
            Err(error) => {
                first.get_or_insert(error);
            }
        }
    }
    Err(first.unwrap_or(UvToolError::NoPython))
}

async fn by_pip_of(
    python: &Path,
    process: &ProcessSettings,
    folder: &Path,
) -> Result<PathBuf, UvToolError> {
    let mut pinned = format!("uv=={UV_VERSION}");
    for (_, digest) in WHEELS {
        pinned.push_str(" --hash=sha256:");
        pinned.push_str(digest);
    }
    let requirements = folder.join("uv.txt");
    let target = folder.join("wheel");
    fs_err::write(&requirements, pinned + "\n").map_err(failed("writing a requirement failed"))?;
    let certificates = process
        .certificates(folder)
        .map_err(failed("reading the extra CA failed"))?;
    let mut command = process.command(python, folder, true);
    command
        .args([
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-input",
            "--disable-pip-version-check",
        ])
        .args([
            "--no-cache-dir",
            "--no-deps",
            "--only-binary",
            ":all:",
            "--require-hashes",
        ])
        .arg("--dest")
        .arg(&target)
        .arg("-r")
        .arg(&requirements);
    if let Some(certificates) = certificates {
        command.arg("--cert").arg(certificates);
    }
    let output = command
        .output()
        .await
        .map_err(failed("starting the host's python failed"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said
            .lines()
            .rfind(|line| !line.trim().is_empty())
            .unwrap_or("it said nothing");
        return Err(UvToolError::Pip(
            said.chars().filter(|c| !c.is_control()).take(400).collect(),
        ));
    }
    let mut files = fs_err::read_dir(&target).map_err(failed("reading pip's download failed"))?;
    files
        .find_map(|file| Some(file.ok()?.path()))
        .ok_or_else(|| UvToolError::Pip("it fetched nothing".into()))
}

/// Checks the wheel and puts its one binary in place.
fn unpack(wheel: &Path, expected: Digest, target: &Path) -> Result<(), UvToolError> {
    use std::os::unix::fs::PermissionsExt as _;
    let bytes = fs_err::read(wheel).map_err(failed("reading uv's wheel failed"))?;
    let actual = Digest::of(&bytes);
    if actual != expected {
        return Err(UvToolError::Digest { expected, actual });
    }
    let mut zip = zip::ZipArchive::new(io::Cursor::new(bytes)).map_err(UvToolError::Wheel)?;
    let name = format!("uv-{UV_VERSION}.data/scripts/uv");
    let member = zip.by_name(&name).map_err(UvToolError::Wheel)?;
    let folder = target.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed("writing uv failed"))?;
    io::copy(&mut member.take(MOST_BYTES), &mut file).map_err(failed("writing uv failed"))?;
    let mode = std::fs::Permissions::from_mode(0o755);
    file.as_file()
        .set_permissions(mode)
        .map_err(failed("writing uv failed"))?;
    file.as_file()
        .sync_all()
        .map_err(failed("writing uv failed"))?;
    file.persist(target)
        .map_err(|error| failed("putting uv in place failed")(error.error))?;
    Ok(())
}
