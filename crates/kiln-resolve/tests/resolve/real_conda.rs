//! kiln's locks beside what the genuine conda and pip install from the same files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use kiln_lock::{ChannelPriority, IndexStrategy, Lock, ResolverSettings};
use kiln_registry::RegistryClient;
use kiln_resolve::{
    Catalog, ChannelSettings, Credentials, IndexDefaults, ResolveRequest, Resolver, ResolverConfig,
    SolverSettings, Timeouts, UvSettings,
};
use kiln_spec::{Input, Kind, Overrides};
use tokio_util::sync::CancellationToken;

use crate::bed::{FolderStore, MemoryFacts, Silent, process};

/// Environment files: conda packages, pip requirements and both, with a note of what each is for.
/// `CHANNELS` and `INDEX` are the test bed's.
const ENVIRONMENTS: [(&str, &str); 12] = [
    ("an old numpy beside a wheel", "
channels: [CHANNELS/conda-forge]
dependencies: [python=3.11, numpy=1.26, pip, {pip: ['--index-url INDEX', foo]}]"),
    ("a science stack and a pinned wheel", "
channels: [CHANNELS/conda-forge]
dependencies: [scikit-learn, pandas, pip, {pip: ['--index-url INDEX', foo==1.0]}]"),
    ("a web stack and an extra", "
channels: [CHANNELS/conda-forge]
dependencies: [python>=3.10, flask, pip, {pip: ['--index-url INDEX', 'with-deps[fancy]']}]"),
    ("a source that is newer than the wheels, when only wheels may be taken", "
channels: [CHANNELS/conda-forge]
dependencies: [python, requests, pyyaml, pip, {pip: ['--index-url INDEX', '--only-binary :all:', newer-sdist]}]"),
    ("a dependency that holds another back", "
channels: [CHANNELS/conda-forge]
dependencies: [pytest, pip, {pip: ['--index-url INDEX', wants-foo-1, foo]}]"),
    ("native wheels and a range", "
channels: [CHANNELS/conda-forge]
dependencies: ['numpy<2', scipy, pip, {pip: ['--index-url INDEX', native, 'foo>=1,<3']}]"),
    ("pre-releases, yanked releases, releases for later pythons", "
channels: [CHANNELS/conda-forge]
dependencies: [pandas=2.2, tqdm, pip, {pip: ['--index-url INDEX', pre, yanked, future]}]"),
    ("requirements that conda's packages meet already", "
channels: [CHANNELS/conda-forge]
dependencies: [python=3.11, numpy=1.26.4, cloudpickle, joblib, pip, {pip: ['--index-url INDEX', 'numpy>=1.20', joblib, cloudpickle, foo]}]"),
    ("names in other spellings, and a pip nobody asked for", "
channels: [CHANNELS/conda-forge]
dependencies: [python=3.11, {pip: ['--index-url INDEX', 'mixed.case-name', ns-one, ns-two]}]"),
    ("a wheel in the place of a conda package", "
channels: [CHANNELS/conda-forge]
dependencies: [python=3.11, idna, click, pip, {pip: ['idna==3.6', 'colorama==0.4.6', 'itsdangerous<2.2']}]"),
    ("a lower channel where the higher one does not do", "
channels: [CHANNELS/synthetic, CHANNELS/synthetic-two, CHANNELS/conda-forge]
dependencies: ['numlike>=5', bar, 'foo', generic]"),
    ("versions with epochs, local parts and features that weigh down", "
channels: [CHANNELS/synthetic]
dependencies: [epoch, local, pre, tracked, blas, oldformat]"),
];

/// What an environment holds: `name version [build]`, by who brings it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Content {
    conda: BTreeSet<String>,
    pip: BTreeSet<String>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn locks_hold_what_the_genuine_conda_and_pip_install() {
    let bed = testbed();
    let folder = tempfile::tempdir().expect("the test bed is whole");
    for (index, (_, text)) in ENVIRONMENTS.iter().enumerate() {
        fs_err::write(
            folder.path().join(format!("{index}.yml")),
            written(&bed, text),
        )
        .expect("the test bed is whole");
    }
    let genuine = genuine(&bed, folder.path());
    let resolver = resolver(folder.path());
    let mut differences = Vec::new();
    for (index, (what, text)) in ENVIRONMENTS.iter().enumerate() {
        let lock = lock(&bed, &resolver, folder.path(), &written(&bed, text)).await;
        let (kilns, genuine) = (content_of(&lock), &genuine[index]);
        println!(
            "{what}: {} conda, {} pip, notes {:?}",
            kilns.conda.len(),
            kilns.pip.len(),
            lock.notes
        );
        assert!(!genuine.conda.is_empty(), "{what}");
        if kilns != *genuine {
            let only = |a: &BTreeSet<String>, b: &BTreeSet<String>| -> Vec<String> {
                a.difference(b).cloned().collect()
            };
            differences.push(format!(
                "{what}\n  kiln alone: {:?} {:?}\n  conda and pip alone: {:?} {:?}",
                only(&kilns.conda, &genuine.conda),
                only(&kilns.pip, &genuine.pip),
                only(&genuine.conda, &kilns.conda),
                only(&genuine.pip, &kilns.pip),
            ));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// Where the test bed is, as `cargo xtask test` tells it.
fn testbed() -> serde_json::Value {
    let folder =
        std::env::var("KILN_TESTBED").expect("cargo xtask test says where the test bed is");
    let text = fs_err::read_to_string(Path::new(&folder).join("testbed.json"))
        .expect("the test bed is whole");
    serde_json::from_str(&text).expect("the test bed is whole")
}

fn written(bed: &serde_json::Value, text: &str) -> String {
    let channels = bed["channels"].as_str().expect("the test bed is whole");
    text.trim_start()
        .replace("CHANNELS", channels)
        .replace("INDEX", &format!("{channels}/simple/"))
}

/// What the conda of the test bed's base installs, in one container.
fn genuine(bed: &serde_json::Value, folder: &Path) -> Vec<Content> {
    let script = "for f in /specs/*.yml; do n=$(basename $f .yml); \
        conda env create -q -p /tmp/$n -f $f >/specs/$n.log 2>&1 || { cat /specs/$n.log; exit 1; }; \
        conda list -p /tmp/$n --json >/specs/$n.json || exit 1; done";
    let mut docker = Command::new("docker");
    docker
        .args(["run", "--rm", "--network", "host"])
        .args(["-e", "PIP_DISABLE_PIP_VERSION_CHECK=1"])
        .arg("-v")
        .arg(format!("{}:/specs", folder.display()));
    if let Some(extra_ca) = bed["extra_ca"].as_str() {
        docker
            .args(["-e", "PIP_CERT=/ca.pem", "-v"])
            .arg(format!("{extra_ca}:/ca.pem:ro"));
    }
    let image = bed["bases"]["conda"]
        .as_str()
        .expect("the test bed is whole");
    let output = docker
        .args([image, "bash", "-c", script])
        .output()
        .expect("the test bed is whole");
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    (0..ENVIRONMENTS.len())
        .map(|index| {
            let text = fs_err::read_to_string(folder.join(format!("{index}.json")))
                .expect("the test bed is whole");
            let packages: Vec<BTreeMap<String, serde_json::Value>> =
                serde_json::from_str(&text).expect("the test bed is whole");
            let mut content = Content::default();
            for package in packages {
                let part = |name: &str| package[name].as_str().unwrap_or_default().to_owned();
                if part("channel") == "pypi" {
                    let name = part("name").to_lowercase().replace(['_', '.'], "-");
                    content.pip.insert(format!("{name} {}", part("version")));
                } else {
                    content.conda.insert(format!(
                        "{} {} {}",
                        part("name"),
                        part("version"),
                        part("build_string")
                    ));
                }
            }
            content
        })
        .collect()
}

/// The lock's packages as `conda list` would show them: what a wheel replaces is not shown.
fn content_of(lock: &Lock) -> Content {
    let replaced = |name: &str| lock.pip.iter().any(|wheel| wheel.name == name);
    let conda = lock.conda.iter().filter(|package| !replaced(&package.name));
    Content {
        conda: conda
            .map(|p| format!("{} {} {}", p.name, p.version, p.build))
            .collect(),
        pip: lock
            .pip
            .iter()
            .map(|wheel| format!("{} {}", wheel.name, wheel.version))
            .collect(),
    }
}

async fn lock(bed: &serde_json::Value, resolver: &Resolver, folder: &Path, text: &str) -> Lock {
    let overrides = Overrides {
        base: bed["bases"]["conda"].as_str().map(str::to_owned),
        ..Overrides::default()
    };
    let input = Input {
        file_name: "environment.yml",
        bytes: text.as_bytes(),
        kind: Some(Kind::Conda),
        files: &BTreeMap::new(),
        overrides: &overrides,
    };
    let parsed = kiln_spec::parse(&input).expect("the test bed is whole");
    let request = ResolveRequest {
        definition: parsed.definition,
        scope: "default".into(),
        wheels: Arc::new(kiln_resolve::NoPrivateWheels),
        credentials: Credentials::default(),
        registry: RegistryClient::builder()
            .build()
            .expect("the test bed is whole"),
        archives: Arc::new(FolderStore {
            folder: folder.to_owned(),
        }),
        settings: ResolverSettings {
            channel_priority: ChannelPriority::Flexible,
            index_strategy: IndexStrategy::FirstIndex,
        },
    };
    let resolved = resolver
        .resolve(&request, &Silent, &CancellationToken::new())
        .await;
    match resolved {
        Ok(resolved) => resolved.lock,
        Err(error) => panic!("{text}\n{:?}", error.to_failure()),
    }
}

fn resolver(folder: &Path) -> Resolver {
    let config = ResolverConfig {
        catalog: Catalog::default(),
        mirrors: Vec::new(),
        default_cpu_base: None,
        default_gpu_base: None,
        conda: SolverSettings {
            channels: ChannelSettings::default(),
            cache_dir: folder.join("repodata"),
        },
        uv: UvSettings {
            tools_dir: Path::new(env!("CARGO_TARGET_TMPDIR")).join("tools"),
            cache_dir: folder.join("uv"),
            binary: None,
            index_url: None,
        },
        process: process(),
        indexes: IndexDefaults::default(),
        timeouts: Timeouts::default(),
        fetches: 4,
    };
    let client = reqwest::Client::builder()
        .referer(false)
        .build()
        .expect("the test bed is whole");
    Resolver::new(config, client, Arc::new(MemoryFacts::default()))
}
