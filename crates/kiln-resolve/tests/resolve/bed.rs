//! What the tests resolve against: a server on loopback for everything, and a store in a folder.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{Response, StatusCode, header};
use futures::StreamExt as _;
use kiln_lock::{BaseFacts, ChannelPriority, IndexStrategy, ResolverSettings};
use kiln_oci::Digest;
use kiln_registry::{RegistryClient, RetryBudget};
use kiln_resolve::{
    ArchiveStore, ArchiveStream, Catalog, ChannelSettings, Credentials, FactsCache, HoldError,
    IndexDefaults, NetworkSettings, Phase, ProcessSettings, Progress, PutError, ResolveError,
    ResolveRequest, Resolved, Resolver, ResolverConfig, SolverSettings, Timeouts, UvSettings,
};
use kiln_spec::{Base, Conda, Definition, Pip, PipRequirement, Python};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use url::Url;

/// A file of the server, and who may read it.
#[derive(Clone)]
pub(crate) struct Served {
    pub(crate) bytes: Vec<u8>,
    pub(crate) content_type: &'static str,
    /// The `Authorization` header it wants.
    pub(crate) wants: Option<&'static str>,
    /// How many requests are answered 503 before the first good one.
    pub(crate) faults: u32,
}

/// The server, the folders, and a resolver on them.
pub(crate) struct Bed {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) host: String,
    pub(crate) files: Arc<Mutex<BTreeMap<String, Served>>>,
    pub(crate) requests: Arc<Mutex<Vec<String>>>,
    pub(crate) store: Arc<FolderStore>,
    pub(crate) facts: Arc<MemoryFacts>,
}

impl Bed {
    pub(crate) async fn new() -> Self {
        let files: Arc<Mutex<BTreeMap<String, Served>>> = Arc::default();
        let requests: Arc<Mutex<Vec<String>>> = Arc::default();
        let (served, seen) = (Arc::clone(&files), Arc::clone(&requests));
        let router = axum::Router::new().fallback(move |request: Request| {
            let answer = answer(&served, &seen, &request);
            async move { answer }
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let host = listener.local_addr().expect("an address").to_string();
        #[expect(clippy::disallowed_methods, reason = "the runtime of the test ends it")]
        tokio::spawn(async move { axum::serve(listener, router).await });
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = Arc::new(FolderStore {
            folder: folder.path().join("store"),
        });
        fs_err::create_dir_all(&store.folder).expect("a folder");
        Self {
            folder,
            host,
            files,
            requests,
            store,
            facts: Arc::default(),
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.host)
    }

    pub(crate) fn serve(&self, path: &str, bytes: impl Into<Vec<u8>>, content_type: &'static str) {
        let served = Served {
            bytes: bytes.into(),
            content_type,
            wants: None,
            faults: 0,
        };
        self.files
            .lock()
            .expect("no panic")
            .insert(path.to_owned(), served);
    }

    pub(crate) fn change(&self, path: &str, change: impl FnOnce(&mut Served)) {
        change(
            self.files
                .lock()
                .expect("no panic")
                .get_mut(path)
                .expect("it is served"),
        );
    }

    /// Serves an image with one layer; its reference.
    pub(crate) fn image(&self, name: &str, env: &[&str], layer: &[u8]) -> String {
        let blob = |bytes: &[u8]| {
            let digest = Digest::of(bytes).to_string();
            self.serve(
                &format!("/v2/{name}/blobs/{digest}"),
                bytes,
                "application/octet-stream",
            );
            digest
        };
        let config = json!({
            "architecture": "amd64", "os": "linux", "config": {"Env": env},
            "rootfs": {"type": "layers", "diff_ids": [Digest::of(layer).to_string()]},
        })
        .to_string();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": blob(config.as_bytes()), "size": config.len()},
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": blob(layer), "size": layer.len()}],
        })
        .to_string();
        let digest = Digest::of(manifest.as_bytes());
        for reference in ["1".to_owned(), digest.to_string()] {
            let path = format!("/v2/{name}/manifests/{reference}");
            self.serve(
                &path,
                manifest.as_bytes(),
                "application/vnd.oci.image.manifest.v1+json",
            );
        }
        format!("{}/{name}:1", self.host)
    }

    /// A base as Debian's: glibc 2.36 and python 3.11.2.
    pub(crate) fn debian(&self) -> String {
        let dpkg = "Package: libc6\nStatus: install ok installed\nVersion: 2.36-9\n\n\
            Package: python3.11-minimal\nStatus: install ok installed\nVersion: 3.11.2-6\n";
        let layer = tar(&[
            ("etc/os-release", b"ID=debian\nVERSION_ID=12\n"),
            ("var/lib/dpkg/status", dpkg.as_bytes()),
            ("usr/bin/python3.11", b""),
            ("usr/lib/python3.11/venv/__init__.py", b""),
            ("bin/sh", b""),
        ]);
        self.image("base/debian", &["PATH=/usr/bin:/bin"], &layer)
    }

    /// Serves a project's page and files: `(file name, bytes)`.
    pub(crate) fn project(&self, index: &str, name: &str, files: &[(&str, Vec<u8>)]) {
        let mut page = String::from("<!DOCTYPE html><html><body>\n");
        for (file, bytes) in files {
            let digest = Digest::of(bytes).to_hex();
            let anchor = format!("<a href=\"{file}#sha256={digest}\">{file}</a><br>\n");
            page.push_str(&anchor);
            self.serve(
                &format!("{index}/{name}/{file}"),
                bytes.clone(),
                "application/octet-stream",
            );
        }
        page.push_str("</body></html>");
        self.serve(&format!("{index}/{name}/"), page, "text/html");
    }

    /// Writes a channel with real, tiny archives; its `file://` address.
    pub(crate) fn channel(&self, name: &str, packages: &[CondaPackage<'_>]) -> String {
        let root = self.folder.path().join(name);
        for subdir in ["linux-64", "noarch"] {
            fs_err::create_dir_all(root.join(subdir)).expect("a folder");
            let mut records = serde_json::Map::new();
            for package in packages.iter().filter(|package| package.subdir() == subdir) {
                let archive = package.archive();
                let file = format!("{}-{}-0.conda", package.name, package.version);
                let record = json!({
                    "name": package.name, "version": package.version, "build": "0", "build_number": 0,
                    "depends": package.depends, "sha256": Digest::of(&archive).to_hex(), "size": archive.len(),
                    "subdir": subdir,
                });
                fs_err::write(root.join(subdir).join(&file), archive).expect("an archive");
                records.insert(file, record);
            }
            let repodata = json!({"info": {"subdir": subdir}, "packages": {}, "packages.conda": Value::Object(records)});
            fs_err::write(
                root.join(subdir).join("repodata.json"),
                repodata.to_string(),
            )
            .expect("a list");
        }
        format!("file://{}", root.display())
    }

    pub(crate) fn config(&self) -> ResolverConfig {
        let shared = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        ResolverConfig {
            catalog: Catalog::default(),
            mirrors: Vec::new(),
            default_cpu_base: None,
            default_gpu_base: None,
            conda: SolverSettings {
                channels: ChannelSettings::default(),
                cache_dir: self.folder.path().join("repodata"),
            },
            uv: UvSettings {
                tools_dir: shared.join("tools"),
                cache_dir: self.folder.path().join("uv-cache"),
                binary: None,
                index_url: None,
            },
            process: process(),
            indexes: IndexDefaults {
                index_url: Some(Url::parse(&self.url("/simple/")).expect("a URL")),
                extra_index_urls: Vec::new(),
            },
            timeouts: Timeouts::default(),
            fetches: 4,
        }
    }

    pub(crate) fn resolver(&self, config: ResolverConfig) -> Resolver {
        let client = reqwest::Client::builder()
            .referer(false)
            .build()
            .expect("a client");
        Resolver::new(config, client, self.facts.clone())
    }

    pub(crate) fn request(&self, definition: Definition) -> ResolveRequest {
        let budget = RetryBudget {
            attempts: 2,
            base_delay: Duration::from_millis(10),
            ..RetryBudget::default()
        };
        ResolveRequest {
            definition,
            scope: "default".into(),
            wheels: Arc::new(kiln_resolve::NoPrivateWheels),
            credentials: Credentials::default(),
            registry: RegistryClient::builder()
                .retry(budget)
                .build()
                .expect("a client"),
            archives: self.store.clone(),
            settings: ResolverSettings {
                channel_priority: ChannelPriority::Flexible,
                index_strategy: IndexStrategy::FirstIndex,
            },
        }
    }

    pub(crate) async fn resolve(&self, definition: Definition) -> Result<Resolved, ResolveError> {
        self.ask(&self.request(definition)).await
    }

    pub(crate) async fn ask(&self, request: &ResolveRequest) -> Result<Resolved, ResolveError> {
        let resolver = self.resolver(self.config());
        resolver
            .resolve(request, &Silent, &CancellationToken::new())
            .await
    }
}

fn answer(
    files: &Mutex<BTreeMap<String, Served>>,
    requests: &Mutex<Vec<String>>,
    request: &Request,
) -> Response<Body> {
    let path = request.uri().path().to_owned();
    requests.lock().expect("no panic").push(path.clone());
    let plain = |status: StatusCode| {
        Response::builder()
            .status(status)
            .body(Body::empty())
            .expect("a response")
    };
    if path == "/v2/" {
        return plain(StatusCode::OK);
    }
    let mut files = files.lock().expect("no panic");
    let Some(file) = files.get_mut(&path) else {
        return plain(StatusCode::NOT_FOUND);
    };
    if file.faults > 0 {
        file.faults -= 1;
        return plain(StatusCode::SERVICE_UNAVAILABLE);
    }
    let given = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    if file.wants.is_some() && file.wants != given {
        return plain(StatusCode::UNAUTHORIZED);
    }
    Response::builder()
        .header(header::CONTENT_TYPE, file.content_type)
        .header(header::CONTENT_LENGTH, file.bytes.len())
        .body(Body::from(file.bytes.clone()))
        .expect("a response")
}

/// Child processes find python where the test's own process does.
pub(crate) fn process() -> ProcessSettings {
    let path = std::env::var_os("PATH").unwrap_or_default();
    ProcessSettings {
        search_path: std::env::split_paths(&path).collect(),
        python: None,
        network: NetworkSettings::default(),
    }
}

pub(crate) struct Silent;

impl Progress for Silent {
    fn phase(&self, _: Phase) {}
}

/// Archives as files named by their digests.
#[derive(Debug)]
pub(crate) struct FolderStore {
    pub(crate) folder: PathBuf,
}

impl FolderStore {
    pub(crate) fn file(&self, digest: &Digest) -> PathBuf {
        self.folder.join(digest.to_hex())
    }
}

#[async_trait]
impl ArchiveStore for FolderStore {
    async fn hold(&self, _: &[Digest]) -> Result<(), HoldError> {
        Ok(())
    }

    async fn path_of(&self, digest: &Digest) -> Option<PathBuf> {
        Some(self.file(digest)).filter(|path| path.exists())
    }

    async fn put(&self, digest: &Digest, mut bytes: ArchiveStream) -> Result<(), PutError> {
        let mut whole = Vec::new();
        while let Some(piece) = bytes.next().await {
            whole.extend_from_slice(&piece.map_err(PutError::Stream)?);
        }
        let actual = Digest::of(&whole);
        if actual != *digest {
            return Err(PutError::Digest { actual });
        }
        fs_err::write(self.file(digest), whole).map_err(PutError::Disk)
    }
}

#[derive(Default)]
pub(crate) struct MemoryFacts(pub(crate) Mutex<BTreeMap<Digest, BaseFacts>>);

#[async_trait]
impl FactsCache for MemoryFacts {
    async fn get(&self, manifest: &Digest) -> Option<BaseFacts> {
        self.0.lock().expect("no panic").get(manifest).cloned()
    }

    async fn put(&self, manifest: &Digest, facts: &BaseFacts) {
        self.0
            .lock()
            .expect("no panic")
            .insert(*manifest, facts.clone());
    }
}

/// A conda package that a test's channel has.
#[derive(Default)]
pub(crate) struct CondaPackage<'a> {
    pub(crate) name: &'a str,
    pub(crate) version: &'a str,
    pub(crate) depends: &'a [&'a str],
    /// Distributions inside: name, version, further lines of metadata.
    pub(crate) distributions: &'a [(&'a str, &'a str, &'a str)],
}

impl CondaPackage<'_> {
    fn subdir(&self) -> &'static str {
        if self.distributions.is_empty() {
            "linux-64"
        } else {
            "noarch"
        }
    }

    fn archive(&self) -> Vec<u8> {
        let mut files: Vec<(String, String)> = Vec::new();
        for (name, version, more) in self.distributions {
            let metadata =
                format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{more}\nText\n");
            files.push((
                format!("site-packages/{name}-{version}.dist-info/METADATA"),
                metadata,
            ));
        }
        let paths: Vec<Value> = files
            .iter()
            .map(|(path, _)| json!({"_path": path, "path_type": "hardlink"}))
            .collect();
        let paths = json!({"paths": paths, "paths_version": 1}).to_string();
        let files: Vec<(&str, &[u8])> = files
            .iter()
            .map(|(path, text)| (path.as_str(), text.as_bytes()))
            .collect();
        let stem = format!("{}-{}-0", self.name, self.version);
        let part = |tar: Vec<u8>| zstd::encode_all(tar.as_slice(), 1).expect("memory");
        zip(&[
            (
                "metadata.json",
                b"{\"conda_pkg_format_version\": 2}".to_vec(),
            ),
            (&format!("pkg-{stem}.tar.zst"), part(tar(&files))),
            (
                &format!("info-{stem}.tar.zst"),
                part(tar(&[("info/paths.json", paths.as_bytes())])),
            ),
        ])
    }
}

pub(crate) fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o755);
        header.set_cksum();
        tar.append_data(&mut header, path, *content)
            .expect("memory");
    }
    tar.into_inner().expect("memory")
}

fn zip(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (path, content) in files {
        zip.start_file(*path, options).expect("memory");
        zip.write_all(content).expect("memory");
    }
    zip.finish().expect("memory").into_inner()
}

/// A wheel's file name and bytes.
pub(crate) fn wheel(name: &str, version: &str, more: &str) -> (String, Vec<u8>) {
    wheel_for(name, version, "py3-none-any", more)
}

pub(crate) fn wheel_for(name: &str, version: &str, tag: &str, more: &str) -> (String, Vec<u8>) {
    let info = format!("{name}-{version}.dist-info");
    let metadata = format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{more}");
    let kind = format!("Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n");
    let bytes = zip(&[
        (&format!("{name}.py"), b"".to_vec()),
        (&format!("{info}/METADATA"), metadata.into_bytes()),
        (&format!("{info}/WHEEL"), kind.into_bytes()),
        (&format!("{info}/RECORD"), b"".to_vec()),
    ]);
    (format!("{name}-{version}-{tag}.whl"), bytes)
}

/// A source archive whose setup.py leaves a mark when it runs.
pub(crate) fn sdist(name: &str, version: &str, mark: &Path) -> (String, Vec<u8>) {
    let folder = format!("{name}-{version}");
    let setup = format!(
        "open({:?}, 'w').write('ran')\nfrom setuptools import setup\nsetup(name={name:?}, version={version:?})\n",
        mark.display().to_string()
    );
    let plain = tar(&[
        (&format!("{folder}/setup.py"), setup.as_bytes()),
        (
            &format!("{folder}/PKG-INFO"),
            format!("Metadata-Version: 1.0\nName: {name}\nVersion: {version}\n").as_bytes(),
        ),
    ]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).expect("memory");
    (format!("{folder}.tar.gz"), gzip.finish().expect("memory"))
}

pub(crate) fn definition(base: &str) -> Definition {
    Definition {
        platform: "linux/amd64".into(),
        base: Base::Image(base.into()),
        python: Python {
            user_managed: false,
            interpreter_path: None,
            base_conda_environment: None,
        },
        conda: None,
        pip: None,
        environment_variables: BTreeMap::new(),
        spark: None,
        r: None,
        inferencing_stack_version: None,
    }
}

pub(crate) fn pip(requirements: &[&str]) -> Pip {
    let requirement = |text: &&str| PipRequirement {
        requirement: (*text).into(),
        hashes: Vec::new(),
    };
    Pip {
        requirements: requirements.iter().map(requirement).collect(),
        ..Pip::default()
    }
}

pub(crate) fn with_pip(base: &str, requirements: &[&str]) -> Definition {
    Definition {
        pip: Some(pip(requirements)),
        ..definition(base)
    }
}

pub(crate) fn conda(channel: &str, dependencies: &[&str]) -> Conda {
    Conda {
        channels: vec![channel.into()],
        dependencies: dependencies.iter().map(ToString::to_string).collect(),
        variables: BTreeMap::new(),
    }
}

/// `name version` of every wheel of a lock.
pub(crate) fn wheels(resolved: &Resolved) -> Vec<String> {
    resolved
        .lock
        .pip
        .iter()
        .map(|wheel| format!("{} {}", wheel.name, wheel.version))
        .collect()
}

/// `name version` of every conda package of a lock.
pub(crate) fn packages(resolved: &Resolved) -> Vec<String> {
    resolved
        .lock
        .conda
        .iter()
        .map(|package| format!("{} {}", package.name, package.version))
        .collect()
}
