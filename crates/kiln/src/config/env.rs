//! Environment variables: the only place where their names are written.

use std::path::PathBuf;

use super::FileSettings;

/// Every variable that kiln reads, and what it sets.
pub(crate) const VARIABLES: [(&str, &str); 21] = [
    ("KILN_CONFIG", "the configuration file"),
    ("KILN_DATA", "data"),
    ("KILN_LISTEN", "listen"),
    ("KILN_REGISTRY", "registry"),
    ("KILN_EXTRA_CA", "extra_ca"),
    (
        "KILN_REGISTRIES_PLAIN_HTTP",
        "registries.plain_http, comma-separated",
    ),
    ("KILN_BASE_CATALOG", "base.catalog"),
    ("KILN_BASE_CPU", "base.cpu"),
    ("KILN_BASE_GPU", "base.gpu"),
    ("KILN_DEFAULT_ENVIRONMENT_BASE", "default_environment.base"),
    (
        "KILN_DEFAULT_ENVIRONMENT_PYTHON",
        "default_environment.python",
    ),
    ("KILN_CONDA_CHANNEL_ALIAS", "conda.channel_alias"),
    ("KILN_CONDA_CHANNEL_PRIORITY", "conda.channel_priority"),
    ("KILN_PYPI_INDEX_URL", "pypi.index_url"),
    ("KILN_PYPI_INDEX_STRATEGY", "pypi.index_strategy"),
    ("KILN_PYPI_UV", "pypi.uv"),
    ("KILN_DOCKER_HOST", "docker.host"),
    ("KILN_INSTALL_PATH", "docker.install_binary"),
    (
        "KILN_SERVER",
        "the address of a running `kiln serve` that the command line uses",
    ),
    ("KILN_TOKEN", "the token for that server"),
    (
        "KILN_LOG",
        "the filter of kiln's own log, for example `info` or `kiln_engine=debug`",
    ),
];

/// Lays the environment over the file.
pub(super) fn apply(
    file: &mut FileSettings,
    variable: &dyn Fn(&str) -> Option<String>,
    faults: &mut Vec<String>,
) {
    let text = |name: &str, field: &mut Option<String>| {
        if let Some(value) = variable(name).filter(|v| !v.is_empty()) {
            *field = Some(value);
        }
    };
    let path = |name: &str, field: &mut Option<PathBuf>| {
        if let Some(value) = variable(name).filter(|v| !v.is_empty()) {
            *field = Some(PathBuf::from(value));
        }
    };
    file.limits.apply(variable, faults);
    file.gc.apply(variable, faults);
    path("KILN_DATA", &mut file.data);
    text("KILN_LISTEN", &mut file.listen);
    text("KILN_REGISTRY", &mut file.registry);
    path("KILN_EXTRA_CA", &mut file.extra_ca);
    path("KILN_BASE_CATALOG", &mut file.base.catalog);
    text("KILN_BASE_CPU", &mut file.base.cpu);
    text("KILN_BASE_GPU", &mut file.base.gpu);
    let default = &mut file.default_environment;
    text("KILN_DEFAULT_ENVIRONMENT_BASE", &mut default.base);
    text("KILN_DEFAULT_ENVIRONMENT_PYTHON", &mut default.python);
    text("KILN_CONDA_CHANNEL_ALIAS", &mut file.conda.channel_alias);
    text(
        "KILN_CONDA_CHANNEL_PRIORITY",
        &mut file.conda.channel_priority,
    );
    text("KILN_PYPI_INDEX_URL", &mut file.pypi.index_url);
    text("KILN_PYPI_INDEX_STRATEGY", &mut file.pypi.index_strategy);
    path("KILN_PYPI_UV", &mut file.pypi.uv);
    text("KILN_DOCKER_HOST", &mut file.docker.host);
    path("KILN_INSTALL_PATH", &mut file.docker.install_binary);
    if let Some(hosts) = variable("KILN_REGISTRIES_PLAIN_HTTP") {
        file.registries.plain_http = hosts
            .split(',')
            .map(str::trim)
            .filter(|h| !h.is_empty())
            .map(str::to_owned)
            .collect();
    }
}
