//! kiln's layers, read by those who read layers: container engines, GNU tar, Python.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use kiln_layer::{
    Compressors, Directories, Layer, PackageLayer, PackageWriter, SmallEntry, small_layer,
    write_group,
};
use kiln_link::{Entry, Node, Origin, PrefixPath, Sink as _, TargetPrefix};
use kiln_oci::{Descriptor, Digest, ImageConfig, ImageManifest, Platform, media_type};
use kiln_tests::Docker;
use sha2::{Digest as _, Sha256};

/// Packages in a group.
const GROUPED: usize = 3;
/// kiln's layers above a base at most.
const LAYERS: usize = 64;

fn prefix() -> TargetPrefix {
    TargetPrefix::new("/opt/kiln/env").unwrap()
}

/// Files of a made-up package: an executable, a link, a long and a non-ASCII name, one of several members.
fn files(number: usize) -> BTreeMap<String, Vec<u8>> {
    let long = "long/".repeat(40);
    let mut files = BTreeMap::from([
        (
            format!("bin/tool-{number}"),
            format!("#!/bin/sh\necho {number}\n").into_bytes(),
        ),
        (format!("lib/p{number}/données-{number}"), "é".into()),
        (
            format!("lib/p{number}/{long}file"),
            number.to_string().into_bytes(),
        ),
        (format!("lib/p{number}/empty"), Vec::new()),
    ]);
    if number == 1 {
        let bytes = (0..2_500_000_u32).map(|n| (n.wrapping_mul(n) >> 7) as u8);
        files.insert("lib/large".to_owned(), bytes.collect());
    }
    files
}

fn package(number: usize, compressors: &Compressors) -> (Vec<u8>, PackageLayer) {
    let files = files(number);
    let path = |text: &str| PrefixPath::new(text).unwrap();
    let mut directories = Directories::of_prefix(&prefix());
    for name in files.keys() {
        directories.add_parents(&prefix(), &path(name));
    }
    let mut writer = PackageWriter::begin(Vec::new(), compressors, &prefix(), directories).unwrap();
    for (name, content) in &files {
        let node = Node::File {
            mode: if name.starts_with("bin/") {
                0o755
            } else {
                0o644
            },
            mtime: 1_600_000_000,
            size: content.len() as u64,
            content: &mut content.as_slice(),
        };
        let path = path(name);
        let origin = Origin::Shipped;
        writer
            .put(Entry {
                path: &path,
                origin,
                node,
            })
            .unwrap();
    }
    let link = path(&format!("lib/p{number}/link"));
    let node = Node::Symlink {
        target: "empty",
        mtime: 1_600_000_000,
    };
    let origin = Origin::Shipped;
    writer
        .put(Entry {
            path: &link,
            origin,
            node,
        })
        .unwrap();
    writer.finish().unwrap()
}

/// 64 layers: groups of three packages, and a top one.
fn layers() -> Vec<(Vec<u8>, Layer)> {
    let compressors = Compressors::threads(2).unwrap();
    let mut layers = Vec::new();
    for group in 0..LAYERS - 1 {
        let made: Vec<_> = (0..GROUPED)
            .map(|n| package(group * GROUPED + n, &compressors))
            .collect();
        let mut all = Directories::of_prefix(&prefix());
        for (_, package) in &made {
            all.extend(&package.directories);
        }
        let parts = made
            .iter()
            .map(|(bytes, package)| (package.clone(), bytes.as_slice()));
        layers.push(write_group(Vec::new(), parts, &all).unwrap());
    }
    let link = SmallEntry::Symlink("/opt/kiln/env".to_owned());
    let top = BTreeMap::from([("azureml-envs/azureml_0".to_owned(), link)]);
    layers.push(small_layer(&top).unwrap());
    layers
}

/// What must be at every path below the prefix, as `sha256  path` lines, sorted.
fn expected() -> String {
    let mut lines: Vec<String> = (0..(LAYERS - 1) * GROUPED)
        .flat_map(files)
        .map(|(path, content)| format!("{}  ./{path}", hex(&Sha256::digest(&content))))
        .collect();
    lines.sort();
    lines.join("\n")
}

fn hex(bytes: &[u8]) -> String {
    Digest::from_bytes(bytes.try_into().unwrap()).to_hex()
}

fn sorted(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines.join("\n")
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {text}");
    String::from_utf8(output.stdout).unwrap()
}

/// The hashes of the files below a folder.
fn hashes(folder: &Path) -> String {
    let script = format!(
        "cd '{}' && find . -type f -print0 | xargs -0 sha256sum",
        folder.display()
    );
    sorted(&run("sh", &["-c", &script]))
}

/// An image of layers as an OCI layout, by the name `x`, upon the layers of the bare base in the registry.
fn layout(folder: &Path, layers: &[(Vec<u8>, Layer)], base: &str) {
    let source = format!("docker://{base}");
    let target = format!("oci:{}:x", folder.display());
    run(
        "skopeo",
        &["copy", "-q", "--src-tls-verify=false", &source, &target],
    );
    let blob = |digest: &Digest| folder.join("blobs/sha256").join(digest.to_hex());
    let index: serde_json::Value =
        serde_json::from_slice(&fs_err::read(folder.join("index.json")).unwrap()).unwrap();
    let digest = |value: &serde_json::Value| -> Digest { value.as_str().unwrap().parse().unwrap() };
    let read = |digest: &Digest| fs_err::read(blob(digest)).unwrap();
    let manifest = read(&digest(&index["manifests"][0]["digest"]));
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    let mut config = ImageConfig::parse(&read(&digest(&manifest["config"]["digest"]))).unwrap();
    assert_eq!(config.platform(), Platform::default());
    let mut descriptors: Vec<Descriptor> =
        serde_json::from_value(manifest["layers"].clone()).unwrap();
    config.history.clear();
    for (bytes, layer) in layers {
        config.rootfs.diff_ids.push(layer.diff_id);
        descriptors.push(Descriptor::new(
            media_type::OCI_LAYER_GZIP,
            layer.digest,
            layer.size,
        ));
        fs_err::write(blob(&layer.digest), bytes).unwrap();
    }
    let config = config.to_bytes();
    let config_descriptor = Descriptor::of(media_type::OCI_CONFIG, &config);
    fs_err::write(blob(&config_descriptor.digest), &config).unwrap();
    let manifest = ImageManifest::new(config_descriptor, descriptors).to_bytes();
    let descriptor = Descriptor::of(media_type::OCI_MANIFEST, &manifest);
    fs_err::write(blob(&descriptor.digest), &manifest).unwrap();
    let mut entry = serde_json::to_value(&descriptor).unwrap();
    entry["annotations"] = serde_json::json!({ "org.opencontainers.image.ref.name": "x" });
    let index = serde_json::json!({ "schemaVersion": 2, "manifests": [entry] });
    fs_err::write(folder.join("index.json"), index.to_string()).unwrap();
}

#[test]
fn gnu_tar_and_python_read_all_of_a_group() {
    let folder = tempfile::tempdir().unwrap();
    for (number, (bytes, _)) in layers().iter().enumerate() {
        let file = folder.path().join(format!("{number}.tar.gz"));
        fs_err::write(&file, bytes).unwrap();
    }
    let (tar, python) = (folder.path().join("tar"), folder.path().join("python"));
    for target in [&tar, &python] {
        fs_err::create_dir(target).unwrap();
    }
    let at = folder.path().display();
    let script = format!(
        "for n in $(seq 0 63); do tar -xzf {at}/$n.tar.gz -C {} 2>&1 || exit 1; done",
        tar.display()
    );
    assert_eq!(run("sh", &["-c", &script]), "", "no complaint");
    let script = format!(
        "import tarfile\nfor n in range(64):\n    with tarfile.open('{at}/%d.tar.gz' % n) as t:\n        \
         names = t.getnames(); assert len(names) == len(set(names)); t.extractall('{}')",
        python.display()
    );
    run("/usr/bin/python3", &["-c", &script]);
    for target in [tar, python] {
        assert_eq!(hashes(&target.join("opt/kiln/env")), expected());
        let link = fs_err::read_link(target.join("azureml-envs/azureml_0")).unwrap();
        assert_eq!(link, Path::new("/opt/kiln/env"));
    }
}

#[test]
fn docker_runs_64_layers_that_it_pulled_and_that_it_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    layout(&image, &layers(), &kiln_tests::base("bare:12"));
    let source = format!("oci:{}:x", image.display());
    let pushed = format!("{}:x", kiln_tests::fresh_prefix());
    let remote = format!("docker://{pushed}");
    run(
        "skopeo",
        &["copy", "-q", "--dest-tls-verify=false", &source, &remote],
    );
    let archive = folder.path().join("archive.tar");
    let loaded = format!(
        "kiln.invalid/{}:loaded",
        pushed.rsplit_once('/').unwrap().1.replace(":x", "")
    );
    let target = format!("docker-archive:{}:{loaded}", archive.display());
    run("skopeo", &["copy", "-q", &source, &target]);
    assert_eq!(Docker::run(&["pull", "-q", &pushed]).code, 0);
    let answer = Docker::run(&["load", "-q", "-i", archive.to_str().unwrap()]);
    assert_eq!(answer.code, 0, "{}", answer.stderr);
    for name in [&pushed, &loaded] {
        let script = "cd /azureml-envs/azureml_0 && find . -type f -print0 | xargs -0 sha256sum";
        let answer = Docker::run_image(name, &["bash", "-c", script]);
        assert_eq!(sorted(&answer.stdout), expected(), "{}", answer.stderr);
        let script = "/opt/kiln/env/bin/tool-7; stat -c '%a %u %Y' /opt /opt/kiln/env/lib /opt/kiln/env/bin/tool-7; cat /opt/kiln/env/lib/p7/link";
        let answer = Docker::run_image(name, &["bash", "-c", script]);
        let lines = "7\n755 0 315532800\n755 0 315532800\n755 0 1600000000\n";
        assert_eq!(answer.stdout, lines, "{}", answer.stderr);
        Docker::run(&["rmi", "-f", name]);
    }
}

#[test]
fn umoci_unpacks_64_layers() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    layout(&image, &layers(), &kiln_tests::base("bare:12"));
    let bundle = folder.path().join("bundle");
    let image = format!("{}:x", image.display());
    run(
        "umoci",
        &[
            "unpack",
            "--rootless",
            "--image",
            &image,
            bundle.to_str().unwrap(),
        ],
    );
    assert_eq!(hashes(&bundle.join("rootfs/opt/kiln/env")), expected());
}

/// A containerd of the test's own; it is ended when dropped.
struct Containerd {
    process: std::process::Child,
    socket: String,
}

impl Containerd {
    fn start(folder: &Path) -> Self {
        let at = folder.display();
        let socket = format!("{at}/containerd.sock");
        let config = format!(
            "version = 2\nroot = \"{at}/root\"\nstate = \"{at}/state\"\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = \"{socket}\"\n"
        );
        let file = folder.join("config.toml");
        fs_err::write(&file, config).unwrap();
        let mut process = Command::new("containerd")
            .arg("-c")
            .arg(&file)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        while std::os::unix::net::UnixStream::connect(&socket).is_err() {
            let ended = process.try_wait().unwrap();
            assert!(ended.is_none(), "containerd ended: {ended:?}");
            std::thread::yield_now();
        }
        Self { process, socket }
    }

    fn ctr(&self, arguments: &[&str]) -> String {
        run("ctr", &[&["-a", &self.socket], arguments].concat())
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn containerd_unpacks_64_layers() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    layout(&image, &layers(), &kiln_tests::base("bare:12"));
    let archive = folder.path().join("archive.tar");
    let target = format!("oci-archive:{}", archive.display());
    run(
        "skopeo",
        &["copy", "-q", &format!("oci:{}:x", image.display()), &target],
    );
    let containerd = Containerd::start(folder.path());
    containerd.ctr(&[
        "images",
        "import",
        "--index-name",
        "x",
        archive.to_str().unwrap(),
    ]);
    let names = containerd.ctr(&["images", "list", "-q"]);
    let mount = folder.path().join("mount");
    fs_err::create_dir(&mount).unwrap();
    let mount = mount.to_str().unwrap();
    containerd.ctr(&["images", "mount", names.lines().next().unwrap(), mount]);
    let found = hashes(&Path::new(mount).join("opt/kiln/env"));
    run("umount", &[mount]);
    assert_eq!(found, expected());
}
