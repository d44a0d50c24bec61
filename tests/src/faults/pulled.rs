//! Whether an image is whole, by the registry itself.

use anyhow::{Context as _, Result, bail, ensure};
use kiln_oci::Digest;
use serde_json::Value;

/// Pulls the manifest, the configuration and every layer of `REPOSITORY@sha256:...` from `registry` and compares them
/// with their digests; the image's own host is not asked.
pub(super) async fn check(http: &reqwest::Client, registry: &str, image: &str) -> Result<()> {
    let (repository, digest) = image.split_once('@').context("an image has a digest")?;
    let (_, path) = repository.split_once('/').context("an image has a path")?;
    let base = format!("http://{registry}/v2/{path}");
    let manifest = get(http, &format!("{base}/manifests/{digest}"), digest).await?;
    let manifest: Value = serde_json::from_slice(&manifest).context("the manifest is JSON")?;
    let layers = manifest["layers"]
        .as_array()
        .context("the manifest has layers")?;
    for blob in layers.iter().chain([&manifest["config"]]) {
        let digest = blob["digest"].as_str().context("a blob has a digest")?;
        let bytes = get(http, &format!("{base}/blobs/{digest}"), digest).await?;
        ensure!(
            blob["size"] == bytes.len(),
            "{digest} has {} bytes",
            bytes.len()
        );
    }
    Ok(())
}

async fn get(http: &reqwest::Client, url: &str, digest: &str) -> Result<Vec<u8>> {
    let request = http.get(url).header(
        "accept",
        "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json",
    );
    let answer = request.send().await?;
    if !answer.status().is_success() {
        bail!("{url}: {}", answer.status());
    }
    let bytes = answer.bytes().await?;
    ensure!(
        Digest::of(&bytes).to_string() == digest,
        "{url} has another digest"
    );
    Ok(bytes.to_vec())
}
