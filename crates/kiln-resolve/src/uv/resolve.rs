//! One resolution of a pip section.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use kiln_conda::{Credentials, UrlSecret};
use kiln_lock::{IndexStrategy, Wheel};
use kiln_oci::Digest;
use kiln_spec::Pip;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::installed::{preferences, stand_in_name, write_stand_ins};
use super::outcome::{failure, message};
use super::pylock::{File, Package, PyLock};
use super::requirements::{IndexDefaults, RequirementsFile, Root, clean, roots, write};
use super::{Installed, ProcessSettings, UvSettings, UvTool};
use crate::tags::{TagRanks, WheelName};
use crate::target::Target;

/// The most bytes of uv's output that are kept.
const MOST_OUTPUT: u64 = 64 << 20;
/// The most bytes of a lock.
const MOST_LOCK: u64 = 64 << 20;
/// How long finding out what would help may take, and how many requirements are tried.
const HELP_TIME: Duration = Duration::from_secs(20);
const MOST_LOOSENED: usize = 12;

/// What is asked.
pub(crate) struct PypiRequest<'a> {
    pub(crate) pip: &'a Pip,
    pub(crate) target: &'a Target,
    pub(crate) installed: &'a [Installed],
    pub(crate) strategy: IndexStrategy,
    pub(crate) defaults: &'a IndexDefaults,
    pub(crate) credentials: &'a Credentials,
    pub(crate) scope: &'a str,
    pub(crate) timeout: Duration,
}

/// What comes out.
#[derive(Debug, Default)]
pub(crate) struct PypiSolution {
    /// Wheels, sorted by name.
    pub(crate) wheels: Vec<Wheel>,
    /// Sentences for people.
    pub(crate) notes: Vec<String>,
    /// Pages of the index that were read for the definition's own requirements: (name, page).
    pub(crate) pages: Vec<(String, Url)>,
}

/// Why a pip section does not resolve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PypiError {
    /// A requirement is not usable.
    #[error("pip requirement `{requirement}` is not usable: {reason}")]
    Requirement {
        /// The requirement, without secrets.
        requirement: String,
        /// Why.
        reason: String,
    },
    /// A requirement would have to be built from source.
    #[error("pip requirement `{requirement}` would have to be built: {why}")]
    NeedsBuild {
        /// The requirement, without secrets.
        requirement: String,
        /// Why.
        why: String,
    },
    /// An index's address is not usable.
    #[error("package index `{index}` is not usable: {reason}")]
    Index {
        /// The address, without secrets.
        index: String,
        /// Why.
        reason: String,
    },
    /// There are no wheels for such a platform.
    #[error("the pip section can't be resolved for {0}")]
    Target(String),
    /// A package exists nowhere.
    #[error("{message}")]
    NotFound {
        /// uv's explanation.
        message: String,
    },
    /// Packages exist as source alone.
    #[error("{message}")]
    OnlySource {
        /// The packages' names.
        packages: Vec<String>,
        /// uv's explanation.
        message: String,
    },
    /// The requirements clash.
    #[error("{clash}")]
    Unsatisfiable {
        /// uv's explanation.
        clash: String,
        /// What would help.
        help: Vec<String>,
    },
    /// An index refuses access.
    #[error("{message}")]
    Denied {
        /// uv's explanation.
        message: String,
    },
    /// An index can't be reached.
    #[error("{message}")]
    Unreachable {
        /// uv's explanation.
        message: String,
    },
    /// A wheel's hash is none of those that the definition allows.
    #[error("no wheel of {name} {version} has one of the hashes that the definition states")]
    Hash {
        /// The package.
        name: String,
        /// Its version.
        version: String,
    },
    /// Hashes are required and one is missing.
    #[error("the definition states hashes, and none for `{name}`, which is needed too")]
    HashMissing {
        /// The package.
        name: String,
    },
    /// The index gives no hash.
    #[error("the package index gives no sha256 for {file_name}")]
    NoHash {
        /// The wheel.
        file_name: String,
    },
    /// A package's files are not what they claim.
    #[error(
        "the package index offers `{file_name}` for {name} {version}, which is not a file of it"
    )]
    Foreign {
        /// The file's name, cleaned.
        file_name: String,
        /// The package.
        name: String,
        /// Its version.
        version: String,
    },
    /// The host has no python.
    #[error("the host has no python3, which uv needs to run")]
    NoPython,
    /// A file or process of kiln's failed.
    #[error("{doing}")]
    Io {
        /// What kiln was doing.
        doing: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// uv failed in a way kiln does not know.
    #[error("uv failed: {message}")]
    Failed {
        /// What it said.
        message: String,
    },
    /// The deadline passed.
    #[error("resolving the pip section took longer than {} s", .after.as_secs())]
    Timeout {
        /// The time it had.
        after: Duration,
    },
    /// Somebody cancelled.
    #[error("resolving the pip section was cancelled")]
    Cancelled,
}

/// The class of a [`PypiError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PypiErrorKind {
    /// The input is at fault.
    Invalid,
    /// The requirements clash.
    Unsatisfiable,
    /// A package or its wheel does not exist.
    NotFound,
    /// Credentials are missing or wrong.
    Auth,
    /// An index can't be reached.
    Network,
    /// Files are not what they must be.
    Integrity,
    /// The deadline passed.
    Timeout,
    /// Somebody cancelled.
    Cancelled,
    /// The disk failed.
    Disk,
    /// kiln is at fault, or what it runs on.
    Internal,
}

impl PypiError {
    /// The error's class.
    pub const fn kind(&self) -> PypiErrorKind {
        match self {
            Self::Requirement { .. }
            | Self::NeedsBuild { .. }
            | Self::Index { .. }
            | Self::Target(_)
            | Self::HashMissing { .. }
            | Self::NoHash { .. } => PypiErrorKind::Invalid,
            Self::NotFound { .. } | Self::OnlySource { .. } => PypiErrorKind::NotFound,
            Self::Unsatisfiable { .. } => PypiErrorKind::Unsatisfiable,
            Self::Denied { .. } => PypiErrorKind::Auth,
            Self::Unreachable { .. } => PypiErrorKind::Network,
            Self::Hash { .. } | Self::Foreign { .. } => PypiErrorKind::Integrity,
            Self::Io { .. } => PypiErrorKind::Disk,
            Self::NoPython | Self::Failed { .. } => PypiErrorKind::Internal,
            Self::Timeout { .. } => PypiErrorKind::Timeout,
            Self::Cancelled => PypiErrorKind::Cancelled,
        }
    }

    /// What to do about it.
    pub fn remedy(&self) -> String {
        match self {
            Self::Requirement { .. } => "write a name with a version, or the https address of a wheel".into(),
            Self::NeedsBuild { .. } => {
                "build a wheel of it, put it into a package index or give its https address; kiln runs no package's code to resolve".into()
            }
            Self::OnlySource { packages, .. } => {
                let names = if packages.is_empty() { "it".to_owned() } else { packages.join(", ") };
                format!("build a wheel of {names} and put it into a package index, allow another version that has one, or take it from a conda channel; kiln runs no package's code to resolve")
            }
            Self::Index { .. } => "give the index's http or https address, and credentials apart from it".into(),
            Self::Target(_) => "choose a glibc base on linux/amd64 or linux/arm64, with glibc 2.17 or newer".into(),
            Self::NotFound { .. } => "check the spelling of the package, or name the index that has it with --extra-index-url".into(),
            Self::Unsatisfiable { help, .. } if help.is_empty() => "loosen one of the constraints named above".into(),
            Self::Unsatisfiable { help, .. } => help.join("; "),
            Self::Denied { .. } => "give credentials for this package index, or check that they may read it".into(),
            Self::Unreachable { .. } => "check the index's address, the network, the proxy and the extra CA of the configuration, then try again".into(),
            Self::Hash { .. } => "compare the hashes with the index's; a file under a used name may have been changed".into(),
            Self::HashMissing { name } => format!("state `{name}` with version and hash too, as pip asks for"),
            Self::NoHash { .. } => "state the wheel's `--hash=sha256:...` in the requirement, or use an index that gives hashes".into(),
            Self::Foreign { .. } => "use another package index: this one is faulty or hostile".into(),
            Self::NoPython => "install python3 on kiln's machine".into(),
            Self::Io { .. } => "check the rights and the free space of kiln's folders".into(),
            Self::Failed { .. } => "report this with the environment file".into(),
            Self::Timeout { .. } => "pin the versions of the main packages, or raise the limit".into(),
            Self::Cancelled => "ask again".into(),
        }
    }
}

fn failed(doing: &'static str) -> impl Fn(io::Error) -> PypiError {
    move |source| PypiError::Io { doing, source }
}

/// Resolves a pip section to wheels.
pub(crate) async fn resolve(
    uv: &UvTool,
    settings: &UvSettings,
    process: &ProcessSettings,
    request: &PypiRequest<'_>,
    cancel: &CancellationToken,
) -> Result<PypiSolution, PypiError> {
    let work = resolve_within(uv, settings, process, request);
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(PypiError::Cancelled),
        answer = tokio::time::timeout(request.timeout, work) => {
            answer.unwrap_or(Err(PypiError::Timeout { after: request.timeout }))
        }
    }
}

async fn resolve_within(
    uv: &UvTool,
    settings: &UvSettings,
    process: &ProcessSettings,
    request: &PypiRequest<'_>,
) -> Result<PypiSolution, PypiError> {
    let roots = roots(request.pip)?;
    if roots.is_empty() {
        return Ok(PypiSolution::default());
    }
    let run = Run::prepare(uv, settings, process, request, &roots)?;
    let lines: Vec<String> = roots.iter().map(|root| root.text.clone()).collect();
    match run.once(&lines).await? {
        Answer::Lock { lock, log } => {
            let mut solution = select(request, &roots, &run, lock)?;
            solution.pages = pages(&log, &roots);
            Ok(solution)
        }
        Answer::Refused(PypiError::Unsatisfiable { clash, .. }) => {
            let help = help(&run, &roots).await;
            Err(PypiError::Unsatisfiable { clash, help })
        }
        Answer::Refused(error) => Err(error),
    }
}

/// Everything that stays the same when a resolution is repeated with other requirements.
struct Run<'a> {
    uv: &'a UvTool,
    process: &'a ProcessSettings,
    request: &'a PypiRequest<'a>,
    roots: &'a [Root],
    folder: tempfile::TempDir,
    stand_ins: PathBuf,
    cache_dir: PathBuf,
    python: PathBuf,
    certificates: Option<PathBuf>,
}

enum Answer {
    Lock { lock: PyLock, log: String },
    Refused(PypiError),
}

impl<'a> Run<'a> {
    fn prepare(
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
    async fn once(&self, lines: &[String]) -> Result<Answer, PypiError> {
        let doing = failed("running uv failed");
        let request = self.request;
        let file = write(
            request.pip,
            lines,
            self.roots,
            request.defaults,
            request.credentials,
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

/// Loosens or leaves out one requirement at a time, and says for which of them the rest resolves.
async fn help(run: &Run<'_>, roots: &[Root]) -> Vec<String> {
    let deadline = Instant::now() + HELP_TIME;
    let mut help = Vec::new();
    for (index, root) in roots.iter().enumerate().take(MOST_LOOSENED) {
        if Instant::now() >= deadline {
            break;
        }
        let mut others: Vec<String> = roots.iter().map(|root| root.text.clone()).collect();
        if root.bare != root.text && root.url.is_none() {
            others[index].clone_from(&root.bare);
            if let Ok(Answer::Lock { lock, .. }) = run.once(&others).await {
                let found = lock
                    .packages
                    .iter()
                    .find(|package| package.name == root.name);
                let version = found.and_then(|package| package.version.clone());
                help.push(match version {
                    Some(version) => {
                        format!("loosen `{}`: {} {version} would fit", root.text, root.name)
                    }
                    None => format!("loosen `{}`", root.text),
                });
                continue;
            }
        }
        others.remove(index);
        if !others.is_empty() && matches!(run.once(&others).await, Ok(Answer::Lock { .. })) {
            help.push(format!("without `{}` the rest fits together", root.name));
        }
    }
    help
}

/// Chooses one wheel of each locked package.
fn select(
    request: &PypiRequest<'_>,
    roots: &[Root],
    run: &Run<'_>,
    lock: PyLock,
) -> Result<PypiSolution, PypiError> {
    let ranks = &request.target.ranks;
    let hashed = request.pip.require_hashes || roots.iter().any(|root| root.hashed);
    let stand_ins = Url::from_directory_path(&run.stand_ins).ok();
    let mut solution = PypiSolution::default();
    for package in lock.packages {
        let root = roots.iter().find(|root| root.name == package.name);
        let installed = request
            .installed
            .iter()
            .find(|known| known.name == package.name);
        if let Some(installed) =
            installed.filter(|known| is_stand_in(&package, known, stand_ins.as_ref()))
        {
            if root.is_some() {
                solution.notes.push(format!(
                    "pip: {} {} is there already, from the conda package {}",
                    installed.name, installed.version, installed.conda_package
                ));
            }
            continue;
        }
        let wheel = wheel(&package, root, ranks, hashed)?;
        if let Some(installed) = installed {
            solution.notes.push(format!(
                "pip: {} {} takes the place of {} from the conda package {}",
                wheel.name, wheel.version, installed.version, installed.conda_package
            ));
        }
        solution.wheels.push(wheel);
    }
    solution.wheels.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(solution)
}

/// Whether the version that was chosen is the one conda installs.
fn is_stand_in(package: &Package, installed: &Installed, folder: Option<&Url>) -> bool {
    let Some(name) = stand_in_name(installed) else {
        return false;
    };
    let below = |address: &str| {
        folder.is_some_and(|folder| address.starts_with(folder.as_str()))
            || address.ends_with(&format!("conda/{name}"))
    };
    package.wheels.iter().any(|file| {
        file.url
            .as_deref()
            .is_some_and(|url| url.starts_with("file:") && below(url))
            || file.path.as_deref().is_some_and(below)
    })
}

fn wheel(
    package: &Package,
    root: Option<&Root>,
    ranks: &TagRanks,
    hashed: bool,
) -> Result<Wheel, PypiError> {
    let name = package.name.clone();
    let version = package.version.clone().unwrap_or_default();
    let files: Vec<&File> = package.wheels.iter().chain(&package.archive).collect();
    if files.is_empty() || package.vcs.is_some() || package.directory.is_some() {
        return Err(PypiError::OnlySource {
            message: format!("{name} {version} has no wheel"),
            packages: vec![name],
        });
    }
    if hashed && root.is_none_or(|root| !root.hashed) {
        return Err(PypiError::HashMissing { name });
    }
    let mut candidates = Vec::new();
    for file in files {
        let Some(file_name) = file.file_name() else {
            continue;
        };
        let foreign = || PypiError::Foreign {
            file_name: file_name
                .chars()
                .filter(|c| !c.is_control())
                .take(200)
                .collect(),
            name: name.clone(),
            version: version.clone(),
        };
        let parsed = WheelName::parse(&file_name).ok_or_else(foreign)?;
        if !is_of(&parsed, &name, &version) {
            return Err(foreign());
        }
        if let Some(rank) = ranks.rank(&parsed) {
            candidates.push((rank, std::cmp::Reverse(parsed.build), file_name, file));
        }
    }
    candidates.sort_by(|a, b| (a.0, &a.1, &a.2).cmp(&(b.0, &b.1, &b.2)));
    let allowed = root.map(|root| root.sha256.as_slice()).unwrap_or_default();
    let states_hashes = root.is_some_and(|root| root.hashed);
    let fits = |file: &File| {
        !states_hashes
            || file
                .hashes
                .sha256
                .as_ref()
                .is_none_or(|hash| allowed.contains(hash))
    };
    if candidates.is_empty() {
        return Err(PypiError::OnlySource {
            message: format!("{name} {version} has no wheel for this platform and python"),
            packages: vec![name],
        });
    }
    let Some((.., file_name, file)) = candidates.iter().find(|(.., file)| fits(file)) else {
        return Err(PypiError::Hash { name, version });
    };
    let no_hash = || PypiError::NoHash {
        file_name: file_name.clone(),
    };
    let hex = match (&file.hashes.sha256, allowed) {
        (Some(hex), _) => hex,
        (None, [only]) => only,
        (None, _) => return Err(no_hash()),
    };
    let url = file
        .url
        .as_deref()
        .and_then(|url| Url::parse(url).ok())
        .filter(|url| matches!(url.scheme(), "http" | "https"))
        .ok_or_else(|| PypiError::Foreign {
            file_name: file_name.clone(),
            name: name.clone(),
            version: version.clone(),
        })?;
    Ok(Wheel {
        sha256: Digest::from_hex(hex).map_err(|_| no_hash())?,
        file_name: file_name.clone(),
        url: lockable(&url).to_string(),
        size_bytes: file.size,
        requested: root.is_some(),
        built_from: None,
        name,
        version,
    })
}

/// Whether a wheel's file name names the package and version.
fn is_of(wheel: &WheelName, name: &str, version: &str) -> bool {
    let normal: String = wheel.distribution.to_lowercase().replace(['_', '.'], "-");
    let same_version = match (
        wheel.version.parse::<pep440_rs::Version>(),
        version.parse::<pep440_rs::Version>(),
    ) {
        // uv knows the version of a direct address from the file alone.
        (Ok(_), Err(_)) => version.is_empty(),
        (one, other) => one.ok() == other.ok(),
    };
    normal == name && same_version
}

/// The address as a lock may hold it: no userinfo, no fragment, no signature in the query.
fn lockable(url: &Url) -> Url {
    const SIGNATURES: [&str; 6] = [
        "sig",
        "signature",
        "x-amz-signature",
        "x-goog-signature",
        "token",
        "access_token",
    ];
    let signed = url
        .query_pairs()
        .any(|(name, _)| SIGNATURES.contains(&name.to_lowercase().as_str()));
    if signed {
        return clean(url);
    }
    let query = url.query().map(str::to_owned);
    let mut url = clean(url);
    url.set_query(query.as_deref());
    url
}

/// The pages that uv's client read, by the names of the definition's own requirements.
fn pages(log: &str, roots: &[Root]) -> Vec<(String, Url)> {
    let mut pages: Vec<(String, Url)> = Vec::new();
    for word in log
        .lines()
        .flat_map(str::split_whitespace)
        .filter(|word| word.starts_with("http"))
    {
        let Ok(url) = Url::parse(word) else { continue };
        if !url.path().ends_with('/') {
            continue;
        }
        let last = url
            .path_segments()
            .and_then(|segments| segments.rev().nth(1).map(str::to_owned));
        let url = clean(&url);
        let known = roots.iter().find(|root| Some(&root.name) == last.as_ref());
        if let Some(root) = known
            && pages.iter().all(|(_, page)| *page != url)
        {
            pages.push((root.name.clone(), url));
        }
    }
    pages
}
