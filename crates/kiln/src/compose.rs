//! Settings into a running engine: the composition root.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kiln_assemble::AssembleBackend;
use kiln_docker::{Connection, DEFAULT_HOST, DockerBackend, DockerSettings};
use kiln_engine::{
    Backend, ConnectRegistry, Engine, EngineSettings, Logs, NoCredentials, Parts, StoredFacts,
    Verify, failure,
};
use kiln_lock::ResolverSettings;
use kiln_registry::{CredentialSource, DockerConfig, RegistryClient, RetryBudget};
use kiln_resolve::{
    Catalog, ChannelSettings, IndexDefaults, Mirror, NetworkSettings, ProcessSettings, Resolver,
    ResolverConfig, SolverSettings, Timeouts, UvSettings,
};
use kiln_store::Store;

use crate::config::Settings;
use crate::error::CliError;

/// The catalog that is built in.
const CATALOG: &str = include_str!("../../../base-images/catalog.toml");
/// How long a failure that asking again would repeat is remembered.
const REMEMBER_FAILURE: Duration = Duration::from_mins(10);
/// Archives that are fetched at once.
const FETCHES: usize = 8;

/// Opens the data folder and puts the engine together.
pub(crate) async fn engine(settings: &Settings, verify: Verify) -> Result<Engine, CliError> {
    let store = Store::open(&settings.data)
        .await
        .map_err(|error| CliError::Failure(failure::of_store(&error)))?;
    let extra_ca = extra_ca(settings)?;
    let catalog = catalog(settings)?;
    let default_bases = default_bases(settings, &catalog);
    let resolver = resolver(settings, &store, catalog, extra_ca.as_ref())?;
    let connect_registry = connect_registry(settings, extra_ca.clone())?;
    let data = store.data().clone();
    let backends = backends(settings, &store)?;
    let limits = &settings.limits;
    Ok(Engine::new(Parts {
        store,
        resolver,
        connect_registry,
        operator_logins: operator_logins(),
        backends,
        logs: Logs::new(data.logs()),
        settings: EngineSettings {
            registry: settings.registry.clone(),
            max_builds: limits.max_builds,
            queue_bound: limits.queue,
            scope_bound: limits.queue_per_workspace,
            disk_reserve_bytes: limits.disk_reserve_bytes,
            model_bytes: limits.model_bytes,
            context_bytes: limits.context_bytes,
            lease: limits.lease,
            retry_budget: match verify {
                Verify::Background => limits.retry_budget,
                // Who waits at a terminal tries again himself.
                Verify::First => Duration::ZERO,
            },
            resolve_timeout: limits.resolve_timeout,
            build_timeout: limits.build_timeout,
            verify_after: limits.verify_after,
            verify,
            remember_failure: REMEMBER_FAILURE,
            keep: settings.gc.keep,
            extra_ca,
            work_dir: data.work(),
            resolver: ResolverSettings {
                channel_priority: settings.channel_priority,
                index_strategy: settings.index_strategy,
            },
            default_environment: settings.default_environment.clone(),
            resolver_key: resolver_key(settings),
        },
        default_bases,
    }))
}

/// The backends; the first is taken where nobody chooses.
fn backends(settings: &Settings, store: &Store) -> Result<Vec<Arc<dyn Backend>>, CliError> {
    let assemble = AssembleBackend::new(store.clone())
        .map_err(|error| CliError::kiln("the assemble backend can't start", &error))?;
    let docker: Arc<dyn Backend> = Arc::new(docker(settings)?);
    Ok(vec![docker, Arc::new(assemble)])
}

/// The docker backend of these settings.
pub(crate) fn docker(settings: &Settings) -> Result<DockerBackend, CliError> {
    let host = settings.docker_host.as_deref().unwrap_or(DEFAULT_HOST);
    Ok(DockerBackend::new(DockerSettings {
        connection: Connection::new(host),
        install_binary: install_binary(settings)?,
    }))
}

/// The static installer: the configured one, or the one beside kiln itself.
pub(crate) fn install_binary(settings: &Settings) -> Result<PathBuf, CliError> {
    if let Some(path) = &settings.install_binary {
        return Ok(path.clone());
    }
    let own = std::env::current_exe()
        .map_err(|error| CliError::kiln("kiln does not know where it lies", &error))?;
    Ok(own.with_file_name("kiln-install"))
}

fn extra_ca(settings: &Settings) -> Result<Option<Bytes>, CliError> {
    let Some(path) = &settings.extra_ca else {
        return Ok(None);
    };
    match fs_err::read(path) {
        Ok(pem) => Ok(Some(pem.into())),
        Err(error) => Err(CliError::input(
            format!("extra_ca: {error}"),
            "give the path of a PEM bundle that kiln can read",
        )),
    }
}

fn catalog(settings: &Settings) -> Result<Catalog, CliError> {
    let text = match &settings.catalog {
        None => CATALOG.to_owned(),
        Some(path) => fs_err::read_to_string(path).map_err(|error| {
            CliError::input(
                format!("base.catalog: {error}"),
                "give the path of a catalog",
            )
        })?,
    };
    Catalog::from_toml(&text).map_err(|error| {
        let cause = std::error::Error::source(&error)
            .map(|c| format!(": {c}"))
            .unwrap_or_default();
        CliError::input(
            format!("base.catalog: {error}{cause}"),
            "correct the catalog",
        )
    })
}

fn default_bases(settings: &Settings, catalog: &Catalog) -> (String, String) {
    use kiln_spec::DefaultBase::{Cpu, Gpu};
    let name = |kind, configured: &Option<String>| {
        let chosen = catalog.default_base(kind, configured.as_deref(), &[]);
        chosen
            .map(|choice| choice.reference.to_string())
            .unwrap_or_default()
    };
    (name(Cpu, &settings.base_cpu), name(Gpu, &settings.base_gpu))
}

fn mirrors(settings: &Settings) -> Vec<Mirror> {
    let mirrors = settings.mirrors.iter();
    mirrors
        .map(|(prefix, replacement)| Mirror {
            prefix: prefix.trim_end_matches('/').to_owned(),
            replacement: replacement.trim_end_matches('/').to_owned(),
        })
        .collect()
}

fn resolver(
    settings: &Settings,
    store: &Store,
    catalog: Catalog,
    extra_ca: Option<&Bytes>,
) -> Result<Resolver, CliError> {
    let data = store.data();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let config = ResolverConfig {
        catalog,
        mirrors: mirrors(settings),
        default_cpu_base: settings.base_cpu.clone(),
        default_gpu_base: settings.base_gpu.clone(),
        conda: SolverSettings {
            channels: ChannelSettings {
                alias: settings.channel_alias.clone(),
                defaults: Vec::new(),
            },
            cache_dir: data.cache().join("repodata"),
        },
        uv: UvSettings {
            tools_dir: data.tools(),
            cache_dir: data.cache().join("uv"),
            binary: settings.uv.clone(),
            index_url: settings.index_url.clone(),
        },
        process: ProcessSettings {
            search_path: std::env::split_paths(&path).collect(),
            python: None,
            network: network(settings),
        },
        indexes: IndexDefaults {
            index_url: settings.index_url.clone(),
            extra_index_urls: Vec::new(),
        },
        timeouts: Timeouts {
            conda: settings.limits.resolve_timeout,
            pypi: settings.limits.resolve_timeout,
            whole: settings.limits.resolve_timeout,
        },
        fetches: FETCHES,
    };
    let facts = Arc::new(StoredFacts(store.shared_records()));
    Ok(Resolver::new(config, http(extra_ca)?, facts))
}

/// How child processes reach the network: as the operator's environment says.
fn network(settings: &Settings) -> NetworkSettings {
    let variable = |names: [&str; 2]| names.iter().find_map(|name| std::env::var(name).ok());
    NetworkSettings {
        http_proxy: variable(["http_proxy", "HTTP_PROXY"]).map(kiln_resolve::Secret::new),
        https_proxy: variable(["https_proxy", "HTTPS_PROXY"]).map(kiln_resolve::Secret::new),
        no_proxy: variable(["no_proxy", "NO_PROXY"]),
        extra_ca: settings.extra_ca.clone(),
    }
}

fn http(extra_ca: Option<&Bytes>) -> Result<reqwest::Client, CliError> {
    let mut builder = reqwest::Client::builder()
        .referer(false)
        .user_agent(concat!("kiln/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(Duration::from_secs(30))
        .read_timeout(Duration::from_mins(1));
    if let Some(pem) = extra_ca {
        let certificates = reqwest::Certificate::from_pem_bundle(pem)
            .map_err(|error| CliError::kiln("extra_ca is no PEM bundle", &error))?;
        for certificate in certificates {
            builder = builder.add_root_certificate(certificate);
        }
    }
    builder
        .build()
        .map_err(|error| CliError::kiln("the HTTP client can't start", &error))
}

fn connect_registry(
    settings: &Settings,
    extra_ca: Option<Bytes>,
) -> Result<ConnectRegistry, CliError> {
    let mut builder = RegistryClient::builder().retry(RetryBudget {
        total: settings.limits.registry_budget,
        ..RetryBudget::default()
    });
    for host in &settings.plain_http {
        builder = builder.plain_http(host);
    }
    if let Some(pem) = extra_ca {
        builder = builder.extra_ca(pem);
    }
    // Faults of the settings are told now, not at the first build.
    let anonymous = builder.clone().build();
    let anonymous =
        anonymous.map_err(|error| CliError::kiln("the registry client can't start", &error))?;
    Ok(Arc::new(move |logins: Arc<dyn CredentialSource>| {
        builder
            .clone()
            .credentials(logins)
            .build()
            .unwrap_or_else(|_| anonymous.clone())
    }))
}

/// Docker's own logins, which count in every workspace.
pub(crate) fn operator_logins() -> Arc<dyn CredentialSource> {
    match DockerConfig::default_path(|name| std::env::var_os(name)) {
        Some(path) => Arc::new(DockerConfig::at(path)),
        None => Arc::new(NoCredentials),
    }
}

/// A failure is remembered while nothing of this changes.
fn resolver_key(settings: &Settings) -> String {
    let path = |path: &Option<PathBuf>| path.as_deref().map(Path::display).map(|p| p.to_string());
    format!(
        "{:?}",
        (
            (
                settings.channel_alias.as_ref().map(ToString::to_string),
                settings.channel_priority
            ),
            (
                settings.index_url.as_ref().map(ToString::to_string),
                settings.index_strategy
            ),
            (
                &settings.base_cpu,
                &settings.base_gpu,
                &settings.mirrors,
                path(&settings.catalog)
            ),
        )
    )
}
