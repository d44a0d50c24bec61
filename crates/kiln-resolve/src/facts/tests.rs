use std::io::Write;

use kiln_oci::{ImageConfig, Platform};

use super::layer::{self, Found};
use super::*;

/// An entry of a test's layer.
enum Item<'a> {
    File(&'a str, &'a [u8]),
    Link(&'a str, &'a str),
}
use Item::{File, Link};

fn tar_of(items: &[Item<'_>]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for item in items {
        let mut header = tar::Header::new_gnu();
        match item {
            File(path, content) => {
                header.set_size(content.len() as u64);
                header.set_entry_type(tar::EntryType::Regular);
                header.set_cksum();
                tar.append_data(&mut header, path, *content)
            }
            Link(path, target) => {
                header.set_size(0);
                header.set_entry_type(tar::EntryType::Symlink);
                tar.append_link(&mut header, path, target)
            }
        }
        .expect("an entry");
    }
    tar.into_inner().expect("an archive")
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(bytes).expect("memory");
    gzip.finish().expect("memory")
}

fn config(env: &[&str]) -> ImageConfig {
    let mut config = ImageConfig::new(&Platform::default());
    config.config.env = env.iter().map(ToString::to_string).collect();
    config
}

fn facts_of(env: &[&str], layers: &[Vec<u8>]) -> BaseFacts {
    let mut files = RootFiles::default();
    for layer in layers {
        files.push(layer::read(layer.as_slice()).expect("the test's layer is readable"));
    }
    facts(&config(env), &files)
}

const DPKG: &[u8] = b"Package: libc6\nStatus: install ok installed\nVersion: 2.36-9+deb12u10\n\n\
Package: python3.11-minimal\nStatus: install ok installed\nVersion: 3.11.2-6+deb12u5\n\n\
Package: python3.9-minimal\nStatus: deinstall ok config-files\nVersion: 3.9.1-1\n";

fn debian() -> Vec<u8> {
    tar_of(&[
        Link("bin", "usr/bin"),
        Link("./etc/os-release", "../usr/lib/os-release"),
        File("usr/lib/os-release", b"ID=debian\nVERSION_ID=\"12\"\n"),
        File("var/lib/dpkg/status", DPKG),
        Link("usr/bin/sh", "dash"),
        File("usr/bin/bash", b""),
        Link("usr/bin/python3", "python3.11"),
        File("usr/bin/python3.11", b""),
        File("usr/lib/python3.11/venv/__init__.py", b""),
    ])
}

#[test]
fn a_debian_base_tells_its_release_glibc_python_and_shells() {
    let facts = facts_of(&["PATH=/usr/bin:/bin"], &[debian()]);
    assert_eq!(facts.os_id.as_deref(), Some("debian"));
    assert_eq!(facts.os_version.as_deref(), Some("12"));
    assert_eq!(facts.glibc.as_deref(), Some("2.36"));
    assert_eq!(
        facts.pythons,
        [Interpreter {
            path: "/usr/bin/python3.11".into(),
            version: "3.11.2".into(),
            has_venv: true
        }]
    );
    assert!(facts.shell && facts.bash);
    assert_eq!((facts.conda, facts.cuda), (None, None));
}

#[test]
fn whiteouts_opaque_folders_and_links_hide_lower_layers() {
    let hiding = tar_of(&[
        File("usr/bin/.wh.python3.11", b""),
        File("usr/lib/python3.11/.wh..wh..opq", b""),
    ]);
    let facts = facts_of(&[], &[debian(), gzip(&hiding)]);
    assert!(facts.pythons.is_empty());
    let gone = tar_of(&[File("usr/.wh.bin", b""), File("usr/bin/bash", b"")]);
    let facts = facts_of(&[], &[debian(), gone]);
    assert!(!facts.shell && facts.bash && facts.pythons.is_empty());
    let elsewhere = tar_of(&[Link("usr/bin", "/nowhere")]);
    assert!(facts_of(&[], &[debian(), elsewhere]).pythons.is_empty());
}

#[test]
fn gzip_zstd_and_plain_layers_read_alike() {
    let plain = debian();
    let zstd = zstd::encode_all(plain.as_slice(), 1).expect("memory");
    let expected = layer::read(plain.as_slice()).expect("plain");
    assert_eq!(
        layer::read(gzip(&plain).as_slice()).expect("gzip"),
        expected
    );
    assert_eq!(layer::read(zstd.as_slice()).expect("zstd"), expected);
    assert!(
        expected
            .found
            .iter()
            .any(|(path, found)| path == "usr/bin/bash" && *found == Found::File)
    );
}

#[test]
fn glibc_is_read_from_the_library_where_there_is_no_dpkg() {
    let banner = b"\x7fELF...GNU C Library (GNU libc) stable release version 2.34.\nCopyright";
    let facts = facts_of(&[], &[tar_of(&[File("usr/lib64/libc.so.6", banner)])]);
    assert_eq!(facts.glibc.as_deref(), Some("2.34"));
    let facts = facts_of(
        &[],
        &[tar_of(&[File("lib/x86_64-linux-gnu/libc-2.31.so", b"")])],
    );
    assert_eq!(facts.glibc.as_deref(), Some("2.31"));
    assert_eq!(facts_of(&[], &[tar_of(&[])]).glibc, None);
}

#[test]
fn cuda_comes_from_nvidias_variables() {
    let cuda = |env: &str| facts_of(&[env], &[]).cuda;
    assert_eq!(cuda("CUDA_VERSION=12.4.1").as_deref(), Some("12.4"));
    assert_eq!(
        cuda("NVIDIA_REQUIRE_CUDA=cuda>=11.8 brand=tesla,driver>=470").as_deref(),
        Some("11.8")
    );
    assert_eq!(cuda("CUDA_VERSION=latest"), None);
}

#[test]
fn conda_counts_only_on_the_path() {
    let layer = tar_of(&[
        File("opt/miniconda/bin/conda", b""),
        File("opt/miniconda/conda-meta/conda-24.7.1-py311_0.json", b"{}"),
        File(
            "opt/miniconda/conda-meta/conda-libmamba-solver-24.7.0-py_0.json",
            b"{}",
        ),
    ]);
    let layers = [layer];
    let facts = facts_of(&["PATH=/opt/miniconda/bin:/usr/bin"], &layers);
    let conda = facts.conda.expect("it is on the path");
    assert_eq!(
        (conda.root.as_str(), conda.version.as_deref()),
        ("/opt/miniconda", Some("24.7.1"))
    );
    assert_eq!(facts_of(&["PATH=/usr/bin"], &layers).conda, None);
}

#[test]
fn a_python_image_tells_its_patch_release_by_its_variable() {
    let layer = tar_of(&[
        File("usr/local/bin/python3.12", b""),
        File("usr/local/lib/python3.12/venv/__init__.py", b""),
    ]);
    let facts = facts_of(&["PYTHON_VERSION=3.12.4"], &[layer]);
    assert_eq!(facts.pythons[0].version, "3.12.4");
    assert_eq!(facts.pythons[0].path, "/usr/local/bin/python3.12");
    assert!(facts.pythons[0].has_venv);
}

#[test]
fn hostile_paths_are_passed_over_and_garbage_is_refused() {
    let findings = layer::read(tar_of(&[]).as_slice()).expect("an empty layer");
    assert_eq!(findings, LayerFindings::default());
    assert!(layer::read([0x1f, 0x8b, 0, 0].as_slice()).is_err());
    assert!(layer::read([7_u8; 2048].as_slice()).is_err());
}
