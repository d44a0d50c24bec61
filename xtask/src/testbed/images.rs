//! The base images: made in an OCI layout by the scripts of `base-images/` and `tests/testbed/`, then copied to the registry.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::channels::download;
use crate::http;
use crate::packages;
use crate::paths::Paths;
use crate::process::{self, output, run};
use crate::stamp::Stamp;

/// An image of the layout: its tag there, its name in the registry, and how it is made.
struct Base {
    tag: &'static str,
    name: &'static str,
    arguments: fn(&Paths) -> Vec<String>,
    /// Docker's own manifest format, as most public images have it.
    docker_format: bool,
}

const DEBIAN: Base = Base {
    tag: "debian",
    name: "base/debian:12",
    arguments: |paths| {
        layer(paths, "debian")
            .into_iter()
            .chain(title("Debian 12 with python"))
            .collect()
    },
    docker_format: false,
};

const OTHERS: [Base; 4] = [
    Base {
        tag: "bare",
        name: "base/bare:12",
        arguments: |paths| {
            layer(paths, "bare")
                .into_iter()
                .chain(title("Debian 12"))
                .collect()
        },
        docker_format: false,
    },
    Base {
        tag: "foo",
        name: "base/foo:1",
        arguments: |paths| {
            from("debian")
                .into_iter()
                .chain(layer(paths, "foo"))
                .collect()
        },
        docker_format: false,
    },
    Base {
        tag: "odd",
        name: "base/odd:1",
        arguments: |paths| {
            from("debian")
                .into_iter()
                .chain(config(paths, "odd"))
                .collect()
        },
        docker_format: true,
    },
    Base {
        tag: "cuda",
        name: "base/cuda:12.4",
        arguments: |paths| {
            from("bare")
                .into_iter()
                .chain(layer(paths, "cuda"))
                .chain(config(paths, "cuda"))
                .collect()
        },
        docker_format: true,
    },
];

fn layer(paths: &Paths, name: &str) -> [String; 2] {
    [
        "--layer".into(),
        paths
            .cache
            .join(format!("base/{name}.tar"))
            .display()
            .to_string(),
    ]
}

fn config(paths: &Paths, name: &str) -> [String; 2] {
    [
        "--config".into(),
        paths
            .scripts()
            .join(format!("{name}.json"))
            .display()
            .to_string(),
    ]
}

fn from(tag: &str) -> [String; 2] {
    ["--from".into(), tag.into()]
}

fn title(text: &str) -> [String; 2] {
    ["--title".into(), text.into()]
}

/// The root file system of Debian 12 with python; returns its stamp.
pub(super) fn debian_rootfs(paths: &Paths) -> Result<String> {
    rootfs(paths, "debian", &[])
}

/// The root file system of Debian 12 without python; returns its stamp.
pub(super) fn bare_rootfs(paths: &Paths) -> Result<String> {
    rootfs(paths, "bare", &["ca-certificates"])
}

fn rootfs(paths: &Paths, name: &str, packages: &[&str]) -> Result<String> {
    let script = paths.debian().join("build.sh");
    let tar = paths.folder("base")?.join(format!("{name}.tar"));
    Stamp::new(paths, &format!("root file system {name}"))?
        .files(&[&script])?
        .text(&packages.join(" "))
        .make(&tar, || run(Command::new(&script).arg(&tar).args(packages)))
}

/// The layout with the Debian base in it, and the image's tag there.
pub(crate) fn debian_layout(paths: &Paths) -> Result<(PathBuf, &'static str)> {
    debian_rootfs(paths)?;
    in_layout(paths, &DEBIAN)?;
    Ok((paths.cache.join("base/oci"), DEBIAN.tag))
}

/// Makes one image in the layout; returns its stamp.
fn in_layout(paths: &Paths, base: &Base) -> Result<String> {
    let script = paths.debian().join("oci_layout.py");
    let scripts = paths.scripts();
    let inputs = [
        script.clone(),
        scripts.join("base_variants.py"),
        scripts.join("cuda.json"),
        scripts.join("odd.json"),
    ];
    let layout = paths.folder("base")?.join("oci");
    let mut stamp = Stamp::new(paths, &format!("image {}", base.tag))?.files(&inputs)?;
    stamp = stamp.text(&debian_rootfs(paths)?);
    if base.tag != DEBIAN.tag {
        stamp = stamp.text(&bare_rootfs(paths)?);
    }
    stamp.make(&layout.join("index.json"), || {
        let arguments = (base.arguments)(paths);
        output(
            packages::python()
                .arg(&script)
                .arg(&layout)
                .arg(base.tag)
                .args(arguments),
        )
        .map(drop)
    })
}

/// Puts the Debian base into the registry.
pub(super) fn push_debian(paths: &Paths, registry: u16) -> Result<()> {
    let stamp = in_layout(paths, &DEBIAN)?;
    push_base(paths, registry, &DEBIAN, &stamp)
}

/// Puts every base into the registry.
pub(super) fn push_all(paths: &Paths, registry: u16) -> Result<()> {
    let script = paths.scripts().join("base_variants.py");
    let folder = paths.folder("base")?;
    Stamp::new(paths, "layers of the base variants")?
        .files(&[&script])?
        .make(&folder.join("cuda.tar"), || {
            run(packages::python().arg(&script).arg(&folder))
        })?;
    push_debian(paths, registry)?;
    for base in &OTHERS {
        let stamp = in_layout(paths, base)?;
        push_base(paths, registry, base, &stamp)?;
    }
    conda(paths, registry)
}

fn push_base(paths: &Paths, registry: u16, base: &Base, stamp: &str) -> Result<()> {
    in_registry(paths, registry, base.name, stamp, || {
        let layout = paths.cache.join("base/oci");
        let target = format!("localhost:{registry}/{}", base.name);
        push(&layout, base.tag, &target, base.docker_format)
    })
}

/// Copies an image of a layout to a registry. Plain http is accepted for a registry on this machine only.
pub(crate) fn push(layout: &Path, tag: &str, target: &str, docker_format: bool) -> Result<()> {
    let mut copy = Command::new("skopeo");
    copy.args(["copy", "--quiet", "--retry-times", "3"]);
    let host = target.split(['/', ':']).next().unwrap_or_default();
    if matches!(host, "localhost" | "127.0.0.1") {
        copy.arg("--dest-tls-verify=false");
    }
    if docker_format {
        copy.args(["--format", "v2s2"]);
    }
    run(copy
        .arg(format!("oci:{}:{tag}", layout.display()))
        .arg(format!("docker://{target}")))
}

/// Does `work` unless the registry has the image `name` as of this stamp.
fn in_registry(
    paths: &Paths,
    registry: u16,
    name: &str,
    stamp: &str,
    work: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let (repository, tag) = name.rsplit_once(':').unwrap_or((name, "latest"));
    let present = http::head(registry, &format!("/v2/{repository}/manifests/{tag}")) == Some(200);
    // The note lives and dies with the registry's storage.
    let note = paths
        .folder("registry/kiln-notes")?
        .join(name.replace(['/', ':'], "-"));
    if present && fs_err::read_to_string(&note).is_ok_and(|text| text == stamp) {
        return Ok(());
    }
    process::stage(&format!("put {name} into the registry"), work)?;
    Ok(fs_err::write(note, stamp)?)
}

/// The wheels of the base with a real conda; returns their stamp.
pub(super) fn conda_wheels(paths: &Paths) -> Result<String> {
    download(paths, "conda", &["conda-base/wheels.txt"])
}

/// The base with a real conda, built by Docker on the Debian base.
fn conda(paths: &Paths, registry: u16) -> Result<()> {
    let source = paths.scripts().join("conda-base");
    let files = ["Dockerfile", "install_conda.py", "conda.sh", "condarc"];
    let inputs: Vec<PathBuf> = files.iter().map(|file| source.join(file)).collect();
    let context = paths.folder("base")?.join("conda");
    let stamp = Stamp::new(paths, "context of base/conda")?
        .files(&inputs)?
        .text(&conda_wheels(paths)?)
        .text(&in_layout(paths, &DEBIAN)?)
        .make(&context.join("Dockerfile"), || {
            if context.exists() {
                fs_err::remove_dir_all(&context)?;
            }
            fs_err::create_dir_all(context.join("wheels"))?;
            for (name, input) in files.iter().zip(&inputs) {
                fs_err::copy(input, context.join(name))?;
            }
            for wheel in fs_err::read_dir(paths.cache.join("wheels/conda"))? {
                let wheel = wheel?;
                fs_err::copy(wheel.path(), context.join("wheels").join(wheel.file_name()))?;
            }
            Ok(())
        })?;
    in_registry(paths, registry, "base/conda:1", &stamp, || {
        let image = format!("localhost:{registry}/base/conda:1");
        let base = format!("BASE=localhost:{registry}/{}", DEBIAN.name);
        let mut build = packages::docker();
        build.args([
            "build",
            "--quiet",
            "--pull",
            "--tag",
            &image,
            "--build-arg",
            &base,
        ]);
        run(build.arg(&context))?;
        run(packages::docker().args(["push", "--quiet", &image]))
    })
}
