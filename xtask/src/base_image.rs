//! Building base images into a registry.

use std::process::Command;

use anyhow::Result;
use clap::Subcommand;

use crate::paths::Paths;
use crate::{packages, process, testbed};

/// A base image that can be built here.
#[derive(Debug, Subcommand)]
pub(crate) enum Image {
    /// Debian 12 with python, from Debian's archive alone.
    Debian {
        /// The registry, `HOST[:PORT][/PREFIX]`.
        #[arg(long)]
        registry: String,
        /// The image's name in the registry.
        #[arg(long, default_value = "base/debian:12")]
        name: String,
    },
}

/// Builds the image (or takes it from the cache) and copies it to the registry; prints the reference by digest.
pub(crate) fn run(paths: &Paths, image: &Image) -> Result<()> {
    let Image::Debian { registry, name } = image;
    packages::ensure(packages::ARTEFACTS)?;
    let (layout, tag) = testbed::debian_layout(paths)?;
    let target = format!("{registry}/{name}");
    testbed::push(&layout, tag, &target, false)?;
    let mut inspect = Command::new("skopeo");
    inspect.args(["inspect", "--format", "{{.Digest}}"]);
    let digest = process::output(inspect.arg(format!("oci:{}:{tag}", layout.display())))?;
    let repository = target
        .rsplit_once(':')
        .map_or(target.as_str(), |(repository, _)| repository);
    println!("{target}\n{repository}@{digest}");
    Ok(())
}
