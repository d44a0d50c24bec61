//! The test bed: Docker, a registry, base images, conda channels and a package index, all on this machine.

mod channels;
mod images;
mod services;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Subcommand;
use serde_json::json;

pub(crate) use self::images::{debian_layout, push};
use self::services::Started;
use crate::packages;
use crate::paths::Paths;

/// What to do with the test bed.
#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Installs what is missing, starts what does not answer, makes what has changed.
    Up,
    /// Stops what `up` started, and nothing else.
    Down,
    /// Says what answers where.
    Status,
}

/// How much of the test bed to bring up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Docker, the registry, the Debian base and the conda channel.
    Quickstart,
    /// Everything.
    Full,
}

/// A test bed that is up: where everything answers, and what this process started for it.
#[derive(Debug)]
pub(crate) struct Bed {
    /// Port of the registry on the loopback address.
    pub(crate) registry: u16,
    /// Port of the channels and the package index.
    pub(crate) http: u16,
    started: Vec<Started>,
}

impl Bed {
    /// The registry as images name it.
    pub(crate) fn registry_host(&self) -> String {
        format!("localhost:{}", self.registry)
    }

    /// The root of channels and index, for clients on this machine.
    pub(crate) fn channels(&self) -> String {
        format!("http://127.0.0.1:{}", self.http)
    }

    /// Stops what [`up`] had to start for this bed; what was up before stays.
    pub(crate) fn down(self) -> Result<()> {
        self.started.into_iter().rev().try_for_each(Started::stop)
    }
}

/// Does one action.
pub(crate) fn run(paths: &Paths, action: &Action) -> Result<()> {
    match action {
        Action::Up => {
            let bed = up(paths, Extent::Full)?;
            println!(
                "registry {}, channels {}",
                bed.registry_host(),
                bed.channels()
            );
            println!("{}", paths.cache.join("testbed.json").display());
            Ok(())
        }
        Action::Down => services::down(paths),
        Action::Status => services::status(paths),
    }
}

/// Brings the test bed up. Everything that is there already is used as it is.
///
/// A failure stops what this call had started.
pub(crate) fn up(paths: &Paths, extent: Extent) -> Result<Bed> {
    let lock = fs_err::File::create(paths.folder("run")?.join("lock"))?.into_file();
    lock.lock()
        .context("wait for another task to bring the test bed up")?;
    let mut started = Vec::new();
    match fill(paths, extent, &mut started) {
        Ok((registry, http)) => Ok(Bed {
            registry,
            http,
            started,
        }),
        Err(error) => {
            for service in started.into_iter().rev() {
                let _ = service.stop();
            }
            Err(error)
        }
    }
}

fn fill(paths: &Paths, extent: Extent, started: &mut Vec<Started>) -> Result<(u16, u16)> {
    packages::ensure(packages::ARTEFACTS)?;
    if extent == Extent::Full {
        packages::ensure(packages::BROKER)?;
    }
    let docker = services::docker(paths, started)?;
    let registry = services::registry(paths, started)?;
    let registry_host = format!("localhost:{registry}");

    // The slow artefacts come from different places and do not need each other.
    std::thread::scope(|scope| {
        let full = extent == Extent::Full;
        let bare = scope.spawn(move || {
            if full {
                images::bare_rootfs(paths).map(drop)
            } else {
                Ok(())
            }
        });
        let wheels = scope.spawn(move || {
            channels::channel_wheels(paths)?;
            if full {
                images::conda_wheels(paths).map(drop)
            } else {
                Ok(())
            }
        });
        images::debian_rootfs(paths)?;
        bare.join()
            .map_err(|_| anyhow::anyhow!("building the bare root file system panicked"))??;
        wheels
            .join()
            .map_err(|_| anyhow::anyhow!("downloading wheels panicked"))?
    })?;

    match extent {
        Extent::Quickstart => images::push_debian(paths, registry)?,
        Extent::Full => images::push_all(paths, registry)?,
    }
    channels::conda_forge(paths)?;
    channels::synthetic(paths)?;
    let bridge = services::bridge_address();
    let http = services::http(paths, bridge.as_deref(), started)?;
    write_description(paths, &docker, &registry_host, http, bridge.as_deref())?;
    Ok((registry, http))
}

/// `testbed.json`: what the tests read.
fn write_description(
    paths: &Paths,
    docker: &Path,
    registry: &str,
    http: u16,
    bridge: Option<&str>,
) -> Result<()> {
    let ca = host_ca();
    let text = serde_json::to_string_pretty(&json!({
        "docker": format!("unix://{}", docker.display()),
        "registry": registry,
        "channels": format!("http://127.0.0.1:{http}"),
        "channels_from_containers": bridge.map(|address| format!("http://{address}:{http}")),
        "www": paths.cache.join("www"),
        "extra_ca": ca,
        "bases": {
            "debian": format!("{registry}/base/debian:12"),
            "bare": format!("{registry}/base/bare:12"),
            "conda": format!("{registry}/base/conda:1"),
            "foo": format!("{registry}/base/foo:1"),
            "odd": format!("{registry}/base/odd:1"),
            "cuda": format!("{registry}/base/cuda:12.4"),
        },
    }))?;
    fs_err::write(paths.cache.join("testbed.json"), text + "\n")?;
    Ok(())
}

/// The CA bundle that this machine was told to use: containers need it too when a proxy signs what they fetch.
pub(crate) fn host_ca() -> Option<PathBuf> {
    std::env::var_os("SSL_CERT_FILE")
        .map(PathBuf::from)
        .filter(|file| file.is_file())
}
