//! Environments that cost next to nothing to build, and are all different.

use anyhow::{Context as _, Result, ensure};
use kiln_oci::Digest;
use serde_json::{Value, json};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Numbered environments on a base of one small file.
#[derive(Debug)]
pub(super) struct Environments {
    base: String,
    name: String,
}

impl Environments {
    /// Puts the base into a registry (`HOST/PATH`); kiln knows the registry as `host`.
    pub(super) async fn new(prefix: &str, host: &str, name: &str) -> Result<Self> {
        let (registry, path) = prefix.split_once('/').context("a prefix has a path")?;
        push_base(registry, &format!("{path}/base")).await?;
        Ok(Self {
            base: format!("{host}/{path}/base:1"),
            name: name.to_owned(),
        })
    }

    /// The body of a request for an environment. One in four has a layer of its own, the others differ in a
    /// variable alone.
    pub(super) fn body(&self, number: usize) -> Value {
        let variables = json!({ "NUMBER": format!("{} {number}", self.name) });
        if number % 4 == 3 {
            let steps = format!("WORKDIR /{}/{number}\n", self.name);
            return self.with_steps(&steps, &variables);
        }
        json!({ "environment": {
            "python": { "userManagedDependencies": true },
            "docker": { "baseImage": self.base },
            "environmentVariables": variables,
        } })
    }

    /// An environment that can't be built.
    pub(super) fn failing(&self, number: usize) -> Value {
        let variables = json!({ "NUMBER": format!("{} {number}", self.name) });
        self.with_steps("RUN [\"/nothing\"]\n", &variables)
    }

    fn with_steps(&self, steps: &str, variables: &Value) -> Value {
        json!({ "environment": {
            "python": { "userManagedDependencies": true },
            "docker": { "baseDockerfile": format!("FROM {}\n{steps}", self.base) },
            "environmentVariables": variables,
        } })
    }
}

/// An image with a layer of one file.
async fn push_base(registry: &str, repository: &str) -> Result<()> {
    let layer = one_file("file", b"a file\n");
    let layer_digest = Digest::of(&layer);
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "config": { "Env": ["PATH=/usr/bin:/bin"] },
        "rootfs": { "type": "layers", "diff_ids": [layer_digest.to_string()] },
        "history": [{ "created_by": "a test" }],
    });
    let config = config.to_string().into_bytes();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": Digest::of(&config).to_string(),
            "size": config.len(),
        },
        "layers": [{
            "mediaType": "application/vnd.oci.image.layer.v1.tar",
            "digest": layer_digest.to_string(),
            "size": layer.len(),
        }],
    });
    let http = reqwest::Client::new();
    let repository = format!("http://{registry}/v2/{repository}");
    for blob in [layer, config] {
        let begun = http
            .post(format!("{repository}/blobs/uploads/"))
            .send()
            .await?;
        let location = begun
            .headers()
            .get("location")
            .context("an upload has a location")?
            .to_str()?;
        let digest = Digest::of(&blob).to_string();
        let put = http.put(location).query(&[("digest", digest)]).body(blob);
        ensure!(
            put.send().await?.status() == 201,
            "the base could not be pushed"
        );
    }
    let put = http
        .put(format!("{repository}/manifests/1"))
        .header("content-type", MANIFEST)
        .body(manifest.to_string());
    let status = put.send().await?.status();
    ensure!(status == 201, "the base could not be pushed: {status}");
    Ok(())
}

/// A tar archive (POSIX.1-1988 ustar) of one file.
fn one_file(name: &str, content: &[u8]) -> Vec<u8> {
    const BLOCK: usize = 512;
    let mut header = [0_u8; BLOCK];
    let mut field = |at: usize, text: &str| {
        header[at..at + text.len()].copy_from_slice(text.as_bytes());
    };
    field(0, name);
    field(100, "0000644\0");
    field(108, "0000000\0");
    field(116, "0000000\0");
    field(124, &format!("{:011o}\0", content.len()));
    field(136, "00000000000\0");
    // The checksum counts itself as spaces.
    field(148, "        ");
    field(156, "0");
    field(257, "ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut archive = header.to_vec();
    archive.extend(content);
    archive.resize(archive.len().next_multiple_of(BLOCK) + 2 * BLOCK, 0);
    archive
}
