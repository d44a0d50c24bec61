//! Where things are.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The checkout and the cache folder.
///
/// The cache is `KILN_TESTBED`, or `kiln-testbed` in `XDG_CACHE_HOME` or `~/.cache`:
/// ```text
/// base/       root file systems and the OCI layout of the base images
/// docker/     the data root of a Docker daemon that was started here
/// registry/   the registry's storage
/// run/        pid files, ports and logs of what was started
/// stamps/     what the artefacts were made from
/// tools/      development tools
/// wheels/     downloaded wheels
/// www/        conda channels and package index, served by http
/// testbed.json  where everything answers, for the tests
/// ```
#[derive(Debug)]
pub(crate) struct Paths {
    /// The root of the checkout.
    pub(crate) root: PathBuf,
    /// The root of the cache.
    pub(crate) cache: PathBuf,
}

impl Paths {
    /// Finds both and creates the cache folder.
    pub(crate) fn find() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("xtask has no parent")?;
        let cache = match (
            std::env::var_os("KILN_TESTBED"),
            std::env::var_os("XDG_CACHE_HOME"),
        ) {
            (Some(folder), _) => PathBuf::from(folder),
            (None, Some(folder)) => PathBuf::from(folder).join("kiln-testbed"),
            (None, None) => std::env::home_dir()
                .context("no home folder: set KILN_TESTBED")?
                .join(".cache/kiln-testbed"),
        };
        fs_err::create_dir_all(&cache)?;
        Ok(Self {
            root: root.to_owned(),
            cache,
        })
    }

    /// A folder of the cache, created when missing.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.cache.join(name);
        fs_err::create_dir_all(&folder)?;
        Ok(folder)
    }

    /// The scripts of the test bed.
    pub(crate) fn scripts(&self) -> PathBuf {
        self.root.join("tests/testbed")
    }

    /// The folder of the Debian base image.
    pub(crate) fn debian(&self) -> PathBuf {
        self.root.join("base-images/debian-cpu")
    }
}
