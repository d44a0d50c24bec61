//! What child processes are given: a clean environment, and nothing of the daemon's own.

use std::io;
use std::path::{Path, PathBuf};

use tokio::process::Command;

/// How child processes reach the network.
#[derive(Debug, Clone, Default)]
pub struct NetworkSettings {
    /// The proxy for http addresses; it may carry credentials and is never printed.
    pub http_proxy: Option<kiln_conda::Secret>,
    /// The proxy for https addresses.
    pub https_proxy: Option<kiln_conda::Secret>,
    /// Hosts that are reached without a proxy.
    pub no_proxy: Option<String>,
    /// A PEM bundle that is trusted beside the system's own.
    pub extra_ca: Option<PathBuf>,
}

/// What child processes are started with.
#[derive(Debug, Clone, Default)]
pub struct ProcessSettings {
    /// Folders in which `python3` and `uv` are looked for; children get no other PATH.
    pub search_path: Vec<PathBuf>,
    /// The host's python; `None` looks for `python3` in the search path.
    pub python: Option<PathBuf>,
    /// The network.
    pub network: NetworkSettings,
}

/// Bundles of trusted certificates of the usual distributions.
const SYSTEM_BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

impl ProcessSettings {
    /// The executables of a name in the search path, in its order.
    pub(crate) fn find(&self, name: &str) -> Vec<PathBuf> {
        self.search_path
            .iter()
            .map(|folder| folder.join(name))
            .filter(|path| path.is_absolute() && is_executable(path))
            .collect()
    }

    /// The host's pythons, best first. Scripts that only lead to one (version managers have them) come
    /// last: they need a whole environment of their own.
    pub(crate) fn pythons(&self) -> Vec<PathBuf> {
        if let Some(python) = &self.python {
            return vec![python.clone()];
        }
        let mut pythons = self.find("python3");
        pythons.sort_by_key(|path| !is_program(path));
        pythons
    }

    /// A command with a clean environment whose home and temporary folder is `home`; its PATH is empty
    /// unless `with_path`, so that uv finds neither git nor a compiler.
    pub(crate) fn command(&self, program: &Path, home: &Path, with_path: bool) -> Command {
        let mut command = Command::new(program);
        let path = if with_path {
            std::env::join_paths(&self.search_path).unwrap_or_default()
        } else {
            home.join("no-programs").into_os_string()
        };
        command
            .env_clear()
            .env("PATH", path)
            .env("HOME", home)
            .env("TMPDIR", home)
            .env("LANG", "C.UTF-8")
            .current_dir(home)
            .stdin(std::process::Stdio::null())
            .kill_on_drop(true);
        let proxies = [
            ("HTTP_PROXY", "http_proxy", &self.network.http_proxy),
            ("HTTPS_PROXY", "https_proxy", &self.network.https_proxy),
        ];
        for (upper, lower, proxy) in proxies {
            if let Some(proxy) = proxy {
                command
                    .env(upper, proxy.expose())
                    .env(lower, proxy.expose());
            }
        }
        if let Some(hosts) = &self.network.no_proxy {
            command.env("NO_PROXY", hosts).env("no_proxy", hosts);
        }
        command
    }

    /// Writes the bundle that children trust into a private folder: the system's own and the extra
    /// one. `None` when there is no extra one.
    pub(crate) fn certificates(&self, folder: &Path) -> io::Result<Option<PathBuf>> {
        let Some(extra) = &self.network.extra_ca else {
            return Ok(None);
        };
        let system = SYSTEM_BUNDLES
            .iter()
            .find_map(|path| fs_err::read(path).ok());
        let mut bundle = system.unwrap_or_default();
        if !bundle.ends_with(b"\n") {
            bundle.push(b'\n');
        }
        bundle.extend(fs_err::read(extra)?);
        let path = folder.join("certificates.pem");
        fs_err::write(&path, bundle)?;
        Ok(Some(path))
    }
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    fs_err::metadata(path)
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// Whether a file is a program itself and not a script.
fn is_program(path: &Path) -> bool {
    let mut magic = [0; 4];
    let read =
        fs_err::File::open(path).and_then(|mut file| io::Read::read_exact(&mut file, &mut magic));
    read.is_ok() && magic == *b"\x7fELF"
}
