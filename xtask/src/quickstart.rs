//! The main job from end to end: an environment file becomes an image in a registry, the image runs, and the second build of the
//! same file is answered from the cache.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::packages;
use crate::paths::Paths;
use crate::process::{output, run as run_command, stage};
use crate::test_run::Binaries;
use crate::testbed::{self, Bed, Extent};

const EXAMPLE: &str = "examples/scikit-learn/environment.yml";
const PROGRAM: &str = "import sklearn; print('scikit-learn', sklearn.__version__)";

/// Does it all, and stops what it started.
pub(crate) fn run(paths: &Paths) -> Result<()> {
    let bed = stage("test bed up", || testbed::up(paths, Extent::Quickstart))?;
    let result = with_bed(paths, &bed);
    let down = stage("test bed down", || bed.down());
    result.and(down)
}

fn with_bed(paths: &Paths, bed: &Bed) -> Result<()> {
    let binaries = stage("build kiln", || Binaries::build(paths))?;
    // What another version of kiln left is nothing to start from.
    let data = paths.folder("quickstart")?;
    fs_err::remove_dir_all(&data)?;
    let first = stage("kiln build", || build(paths, bed, &binaries))?;
    let image = first["image"]
        .as_str()
        .context("the answer names no image")?;
    println!("{image}");

    stage("skopeo inspect", || {
        let mut inspect = Command::new("skopeo");
        inspect.args(["inspect", "--tls-verify=false", "--format", "{{.Digest}}"]);
        let digest = output(inspect.arg(format!("docker://{image}")))?;
        ensure!(
            image.ends_with(&format!("@{digest}")),
            "the registry has {digest}"
        );
        Ok(())
    })?;
    stage("docker run", || {
        run_command(packages::docker().args(["run", "--rm", image, "python", "-c", PROGRAM]))
    })?;

    let second = stage("kiln build, again", || build(paths, bed, &binaries))?;
    ensure!(
        second["image"] == first["image"],
        "the second build is another image: {second}"
    );
    ensure!(
        second["cached"] == true,
        "the second build was not answered from the cache: {second}"
    );
    println!("cached: {image}");
    Ok(())
}

/// Builds the example and returns the last JSON object that kiln printed.
fn build(paths: &Paths, bed: &Bed, binaries: &Binaries) -> Result<Value> {
    let registry = bed.registry_host();
    // A place of this run's own, so that there is something to build.
    let prefix = format!("{registry}/quickstart-{}", std::process::id());
    let mut kiln = Command::new(&binaries.kiln);
    kiln.arg("build").arg(paths.root.join(EXAMPLE));
    kiln.args([
        "--base",
        &format!("{registry}/base/debian:12"),
        "--registry",
        &prefix,
    ]);
    kiln.arg("--data")
        .arg(paths.folder("quickstart")?)
        .arg("--json");
    kiln.env("KILN_INSTALL_PATH", &binaries.install);
    kiln.env("KILN_CONDA_CHANNEL_ALIAS", bed.channels());
    if let Some(bundle) = testbed::host_ca() {
        kiln.env("KILN_EXTRA_CA", bundle);
    }
    let text = output(&mut kiln)?;
    let answer =
        last_object(&text).with_context(|| format!("no JSON object in kiln's output: {text}"))?;
    ensure!(answer["state"] == "READY", "kiln says {answer}");
    Ok(answer)
}

/// The last JSON object of a text that may hold several, one after another.
fn last_object(text: &str) -> Option<Value> {
    let values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    values.map_while(Result::ok).filter(Value::is_object).last()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::last_object;

    #[test]
    fn the_last_of_several_objects_is_the_answer() {
        let text = "{\"event\": \"solve\"}\n{\n  \"state\": \"READY\"\n}\n";
        assert_eq!(last_object(text), Some(json!({"state": "READY"})));
        assert_eq!(last_object(""), None);
    }
}
