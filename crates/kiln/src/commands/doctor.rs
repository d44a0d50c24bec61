//! `kiln doctor`: what kiln needs, and what is missing.

use clap::Args;
use kiln_engine::Backend as _;
use kiln_registry::RegistryClient;

use crate::compose;
use crate::config::Settings;
use crate::data_lock::{Claim, DataLock};
use crate::error::CliError;

/// Arguments of `kiln doctor`.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Where images go, HOST[/PREFIX] [env: KILN_REGISTRY].
    #[arg(long, value_name = "HOST[/PREFIX]")]
    pub(crate) registry: Option<String>,
}

/// The oldest engine on which other people's Dockerfiles are safe to build (BuildKit 0.28.1 inside).
const ADVISED_ENGINE: u32 = 28;

/// Checks one thing after the other; the exit code tells whether all is well.
pub(crate) async fn run(settings: Settings, _args: DoctorArgs) -> Result<(), CliError> {
    let mut missing = 0;
    let mut tell = |what: &str, found: Result<String, String>| {
        let (mark, text) = match found {
            Ok(text) => ("ok     ", text),
            Err(text) => {
                missing += 1;
                ("missing", text)
            }
        };
        super::print(&format!("{mark} {what}: {text}"))
    };
    tell("data folder", data_folder(&settings))?;
    let docker = compose::docker(&settings)?;
    let version = docker.version().await;
    let version = version.map_err(|failure| format!("{}; {}", failure.message, failure.remedy));
    let major = version
        .as_ref()
        .ok()
        .and_then(|(v, _)| v.split('.').next()?.parse::<u32>().ok());
    tell(
        "Docker Engine",
        version.map(|(version, api)| format!("{version}, API {api}")),
    )?;
    let installer = docker.check().await.map(|()| "found".to_owned());
    let installer = installer.map_err(|failure| format!("{}; {}", failure.message, failure.remedy));
    tell("kiln-install", installer)?;
    tell("registry", registry(&settings).await)?;
    tell("python3 with pip, or uv", python())?;
    if major.is_some_and(|major| major < ADVISED_ENGINE) {
        super::print(
            "note    Docker Engine: an engine this old is fine for environments of people you trust; \
             others' Dockerfiles should be built by a newer, rootless one",
        )?;
    }
    if missing == 0 {
        return Ok(());
    }
    Err(CliError::Failure(kiln_api::Failure::new(
        kiln_api::FailureClass::Internal,
        format!("{missing} of what kiln needs is missing"),
        "see the lines above",
    )))
}

fn data_folder(settings: &Settings) -> Result<String, String> {
    let folder = settings.data.display();
    match DataLock::claim(&settings.data) {
        Ok(Claim::Ours(_)) => Ok(format!("{folder}")),
        Ok(Claim::Served(address)) => Ok(format!("{folder}, served at {}", address.url)),
        Ok(Claim::Busy) => Ok(format!("{folder}, in use by another kiln")),
        Err(_) => Err(format!(
            "{folder} can't be written; give --data or KILN_DATA"
        )),
    }
}

async fn registry(settings: &Settings) -> Result<String, String> {
    let Some(registry) = &settings.registry else {
        return Err("none is configured; give --registry HOST[/PREFIX] or KILN_REGISTRY".into());
    };
    let host = registry.split('/').next().unwrap_or(registry);
    let mut builder = RegistryClient::builder().retry(kiln_registry::RetryBudget::once(
        std::time::Duration::from_secs(10),
    ));
    for plain in &settings.plain_http {
        builder = builder.plain_http(plain);
    }
    let client = builder.build().map_err(|error| error.to_string())?;
    match client.ping(host).await {
        Ok(()) => Ok(registry.clone()),
        Err(error) => Err(format!("{error}; {}", error.remedy())),
    }
}

fn python() -> Result<String, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let find = |name: &str| {
        std::env::split_paths(&path)
            .map(|folder| folder.join(name))
            .find(|path| path.is_file())
    };
    find("python3")
        .or_else(|| find("uv"))
        .map(|path| path.display().to_string())
        .ok_or_else(|| "neither is on PATH; install python3 and python3-pip".into())
}
