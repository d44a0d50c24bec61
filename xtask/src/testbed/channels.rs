//! The conda channels and the package index below `www/`.

use anyhow::Result;
use std::path::PathBuf;

use super::images::debian_rootfs;
use crate::packages;
use crate::paths::Paths;
use crate::process::run;
use crate::stamp::Stamp;

/// The lists of wheels that become conda packages; a second one for what has two versions.
const LISTS: [&str; 2] = ["channel-wheels.txt", "channel-wheels-older.txt"];

/// Downloads the wheels of the conda channel; returns their stamp.
pub(super) fn channel_wheels(paths: &Paths) -> Result<String> {
    download(paths, "channel", &LISTS)
}

/// Downloads the wheels that lists name with their hashes into `wheels/NAME`; returns their stamp.
pub(super) fn download(paths: &Paths, name: &str, lists: &[&str]) -> Result<String> {
    let lists: Vec<PathBuf> = lists
        .iter()
        .map(|list| paths.scripts().join(list))
        .collect();
    let folder = paths.cache.join("wheels").join(name);
    Stamp::new(paths, &format!("wheels {name}"))?
        .files(&lists)?
        .make(&folder, || {
            let part = folder.with_extension("part");
            for list in &lists {
                let mut pip = packages::python();
                pip.args([
                    "-m",
                    "pip",
                    "download",
                    "--quiet",
                    "--disable-pip-version-check",
                ]);
                pip.args(["--no-deps", "--only-binary", ":all:", "--require-hashes"]);
                pip.args([
                    "--implementation",
                    "cp",
                    "--python-version",
                    "3.11",
                    "--abi",
                    "cp311",
                ]);
                for platform in [
                    "manylinux_2_28_x86_64",
                    "manylinux_2_17_x86_64",
                    "manylinux2014_x86_64",
                ] {
                    pip.args(["--platform", platform]);
                }
                run(pip.arg("--dest").arg(&part).arg("--requirement").arg(list))?;
            }
            if folder.exists() {
                fs_err::remove_dir_all(&folder)?;
            }
            Ok(fs_err::rename(part, &folder)?)
        })
}

/// The channel of real packages: CPython and its libraries from the Debian base, the rest from wheels.
pub(super) fn conda_forge(paths: &Paths) -> Result<()> {
    let scripts = paths.scripts();
    let script = |name: &str| scripts.join(name);
    let inputs = [
        "conda_package.py",
        "repack_python.py",
        "repack_wheels.py",
        "index_channel.py",
    ]
    .map(script);
    let channel = paths.folder("www")?.join("conda-forge");
    Stamp::new(paths, "channel conda-forge")?
        .files(&inputs)?
        .text(&debian_rootfs(paths)?)
        .text(&channel_wheels(paths)?)
        .make(&channel, || {
            let part = channel.with_extension("part");
            if part.exists() {
                fs_err::remove_dir_all(&part)?;
            }
            let rootfs = paths.cache.join("base/debian.tar");
            run(packages::python()
                .arg(script("repack_python.py"))
                .arg(rootfs)
                .arg(&part))?;
            let mut wheels = Vec::new();
            for wheel in fs_err::read_dir(paths.cache.join("wheels/channel"))? {
                wheels.push(wheel?.path());
            }
            run(packages::python()
                .arg(script("repack_wheels.py"))
                .arg(&part)
                .args(wheels))?;
            run(packages::python()
                .arg(script("index_channel.py"))
                .arg(&part))?;
            if channel.exists() {
                fs_err::remove_dir_all(&channel)?;
            }
            Ok(fs_err::rename(part, &channel)?)
        })?;
    Ok(())
}

/// The synthetic channels and the package index.
pub(super) fn synthetic(paths: &Paths) -> Result<()> {
    let scripts = paths.scripts();
    let www = paths.folder("www")?;
    let synthetic = scripts.join("synthetic.py");
    Stamp::new(paths, "synthetic channels")?
        .files(&[&synthetic, &scripts.join("conda_package.py")])?
        .make(&www.join("synthetic-two"), || {
            run(packages::python().arg(&synthetic).arg(&www))
        })?;
    let index = scripts.join("simple_index.py");
    Stamp::new(paths, "package index")?
        .files(&[&index])?
        .make(&www.join("simple"), || {
            run(packages::python().arg(&index).arg(&www))
        })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::packages;
    use crate::process::run;

    fn repodata(channel: &Path) -> String {
        fs_err::read_to_string(channel.join("linux-64/repodata.json")).unwrap()
    }

    #[test]
    fn the_synthetic_channel_has_the_same_bytes_every_time_and_can_gain_a_version() {
        let folder = std::env::temp_dir().join(format!("kiln-synthetic-{}", std::process::id()));
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/testbed/synthetic.py");
        let channel = |name: &str| {
            let out = folder.join(name);
            fs_err::create_dir_all(&out).unwrap();
            run(packages::python().arg(&script).arg(&out)).unwrap();
            out.join("synthetic")
        };
        let (one, two) = (channel("one"), channel("two"));
        assert_eq!(repodata(&one), repodata(&two));
        assert!(!repodata(&one).contains("numlike-2.0"));
        run(packages::python().arg(&script).arg("--gain").arg(&one)).unwrap();
        assert!(repodata(&one).contains("numlike-2.0"));
        fs_err::remove_dir_all(&folder).unwrap();
    }
}
