//! `build_local`: a zip whose scripts make the environment on the caller's machine, with Docker or without.

use std::fmt::Write as _;
use std::io::{Cursor, Write as _};
use std::path::Path;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiln_api::{Failure, FailureClass};
use kiln_dockerfile::{Content, ContextFile, Installer, Plan, install_folder};
use kiln_engine::{Archives, Ejected, EngineError};
use kiln_oci::Digest;
use kiln_spec::SpecHash;
use serde::Deserialize;
use serde_json::{Value, json};
use zip::write::SimpleFileOptions;

use super::blob;
use super::builds::submission;
use super::error::AzureError;
use super::place::Place;
use crate::access::Right;
use crate::body;
use crate::error::ApiError;
use crate::router::AppState;

/// The folder in the zip.
const FOLDER: &str = "azureml-environment-setup";
/// What runs a script for the SDKs of 2019: they hand the name to `bash -c` and make no file executable. A
/// name that begins with `/` is taken as it is.
const SHELL_2019: &str = "/bin/bash ";

/// What the caller wants. The SDKs of 2019 say nothing.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Wish {
    platform: Option<String>,
    use_docker: Option<bool>,
}

/// Files and the two scripts.
pub(super) struct Recipe {
    files: Vec<ContextFile>,
    check: String,
    build: String,
}

impl Recipe {
    /// Gives private wheels signed addresses in the list of archives: the script has no token.
    pub(super) async fn with_private_wheels(
        &mut self,
        state: &AppState,
        place: &Place,
    ) -> Result<(), AzureError> {
        let scope = place.scope(Right::Build)?;
        for file in &mut self.files {
            let Content::Bytes(bytes) = &mut file.content else {
                continue;
            };
            if file.path != "archives.txt" {
                continue;
            }
            let mut lines = String::new();
            for line in String::from_utf8_lossy(bytes).lines() {
                let wheel = match line.split_once(' ').map(|(hex, _)| Digest::from_hex(hex)) {
                    Some(Ok(digest)) => state.engine.wheel_by_digest(scope, &digest).await?,
                    _ => None,
                };
                match (wheel, line.rsplit_once(' ')) {
                    (Some(wheel), Some((rest, _))) => {
                        let address = blob::read_address(state, place, &wheel.file_name);
                        let _ = writeln!(lines, "{rest} {address}");
                    }
                    _ => {
                        let _ = writeln!(lines, "{line}");
                    }
                }
            }
            *bytes = lines.into_bytes();
        }
        Ok(())
    }
}

/// The recipe of an environment.
pub(super) async fn recipe(
    State(state): State<AppState>,
    place: Place,
    bytes: Bytes,
) -> Result<Json<Value>, AzureError> {
    let asked = submission(&state, &place, Right::Build, false).await?;
    let (wish, shell): (Wish, _) = if bytes.is_empty() {
        (Wish::default(), SHELL_2019)
    } else {
        (body::read(&bytes)?, "")
    };
    if let Some(platform) = wish
        .platform
        .filter(|name| !name.eq_ignore_ascii_case("linux"))
    {
        let message = format!("environments are not built for the platform `{platform}`");
        return Err(ApiError::invalid(message, "leave `platform` out, or give `Linux`").into());
    }
    let ejected = state.engine.eject(&asked, Installer::Kiln, false).await;
    let Ejected { plan, archives } = ejected.map_err(EngineError::Failed)?;
    let mut recipe = if wish.use_docker.unwrap_or(false) {
        with_docker(&plan, archives.as_ref()).await?
    } else {
        without_docker(&plan, &asked.spec_hash)?
    };
    recipe.with_private_wheels(&state, &place).await?;
    let install_binary = state.install_binary.clone();
    let zipped = tokio::task::spawn_blocking(move || zipped(&recipe, &install_binary));
    let zipped = written(zipped.await)?;
    Ok(Json(json!({
        "setupContentZip": STANDARD.encode(zipped),
        "checkEnvironmentScriptName": format!("{shell}{FOLDER}/check.sh"),
        "buildEnvironmentScriptName": format!("{shell}{FOLDER}/build.sh"),
        "environmentVariables": null,
    })))
}

/// The bytes of a zip, or why there are none.
pub(super) fn written(
    zipped: Result<std::io::Result<Vec<u8>>, tokio::task::JoinError>,
) -> Result<Vec<u8>, EngineError> {
    let zipped = zipped.unwrap_or_else(|error| Err(std::io::Error::other(error)));
    zipped.map_err(|error| {
        let failure = Failure::new(
            FailureClass::Internal,
            format!("the recipe could not be written: {error}"),
            "see that kiln-install lies beside kiln",
        );
        EngineError::Failed(failure)
    })
}

const START: &str = "#!/bin/bash\nset -euo pipefail\ncd \"$(dirname \"$0\")\"\n";

/// Builds the image with the machine's Docker.
async fn with_docker(plan: &Plan, archives: &dyn Archives) -> Result<Recipe, ApiError> {
    if let Some(secret) = plan.secrets.first() {
        return Err(ApiError::invalid(
            format!("the build needs {}, which a recipe can't hold", secret.what),
            "let kiln build the image: `env.build(ws)`",
        ));
    }
    let image = plan.image_name();
    let mut build = START.to_owned();
    let mut files = plan.folder();
    for file in &files {
        match &file.content {
            // A zip keeps neither links nor modes as the SDK unpacks it.
            Content::Link(target) => {
                let _ = writeln!(
                    build,
                    "mkdir -p \"$(dirname '{0}')\" && ln -sfn '{target}' '{0}'",
                    file.path
                );
            }
            _ if file.mode & 0o100 != 0 => {
                let _ = writeln!(build, "chmod 755 '{}'", file.path);
            }
            _ => {}
        }
    }
    if files.iter().any(|file| file.path == "fetch.sh") {
        build.push_str("./fetch.sh\n");
    }
    build.push_str("export DOCKER_BUILDKIT=1\n");
    if let Some(user) = &plan.user_dockerfile {
        for line in user.commands() {
            let _ = writeln!(build, "{line}");
        }
    }
    let _ = writeln!(build, "docker build -t '{image}' .");
    let context = plan.user_dockerfile.as_ref();
    if let Some(context) = context.and_then(|user| user.context.as_ref()) {
        // There is no address that it could be fetched from.
        let tar = Content::Archive(context.tar);
        for file in files.iter_mut().filter(|file| file.content == tar) {
            file.content = Content::Bytes(bytes_of(archives, &context.tar).await?);
        }
    }
    files.retain(|file| matches!(file.content, Content::Bytes(_) | Content::InstallBinary));
    Ok(Recipe {
        files,
        check: format!(
            "{START}docker image inspect '{image}' > /dev/null 2>&1 || {{\n    \
             echo 'Materialized image not found on target: {image}'\n    exit 1\n}}\n"
        ),
        build,
    })
}

async fn bytes_of(archives: &dyn Archives, digest: &Digest) -> Result<Vec<u8>, EngineError> {
    let missing = || std::io::Error::other(format!("the build context {digest} is gone"));
    let path = archives.path(digest).ok_or_else(missing)?;
    Ok(fs_err::tokio::read(path).await?)
}

/// The folder of an environment that was prepared without Docker, for a shell.
pub(super) fn prefix(spec_hash: &SpecHash) -> String {
    format!("${{HOME}}/.azureml/envs/azureml_{}", spec_hash.short())
}

/// Installs the packages into a folder of the caller's.
pub(super) fn without_docker(plan: &Plan, spec_hash: &SpecHash) -> Result<Recipe, ApiError> {
    let lock = plan.lock();
    if !lock.conda.iter().any(|package| package.name == "python") {
        return Err(ApiError::invalid(
            "the environment takes its python from its base image, which is not on this machine",
            "use Docker (`env.build_local(ws, useDocker=True)`), or name python in the conda dependencies",
        ));
    }
    let prefix = prefix(spec_hash);
    let done = format!("{prefix}/conda-meta/kiln-complete");
    let build = format!(
        "{START}chmod 755 fetch.sh kiln-install\n./fetch.sh\nrm -rf \"{prefix}\"\nmkdir -p \"{prefix}\"\n\
         ./kiln-install --lock lock.json --archives archives --prefix \"{prefix}\"\ntouch \"{done}\"\n\
         echo \"The environment is in {prefix}\"\n"
    );
    let check = format!(
        "{START}test -e \"{done}\" || {{\n    \
         echo \"Materialized conda environment not found on target: {prefix}\"\n    exit 1\n}}\n"
    );
    Ok(Recipe {
        files: install_folder(lock),
        check,
        build,
    })
}

/// The recipe's files and scripts in one folder of a zip.
fn zipped(recipe: &Recipe, install_binary: &Path) -> std::io::Result<Vec<u8>> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    add(&mut zip, recipe, install_binary)?;
    Ok(zip.finish()?.into_inner())
}

/// Adds the recipe's files and scripts to a zip.
pub(super) fn add(
    zip: &mut zip::ZipWriter<Cursor<Vec<u8>>>,
    recipe: &Recipe,
    install_binary: &Path,
) -> std::io::Result<()> {
    let mut add = |path: &str, mode: u32, bytes: &[u8]| {
        let options = SimpleFileOptions::default().unix_permissions(mode);
        zip.start_file(format!("{FOLDER}/{path}"), options)?;
        zip.write_all(bytes)
    };
    for file in &recipe.files {
        match &file.content {
            Content::Bytes(bytes) => add(&file.path, file.mode, bytes)?,
            Content::InstallBinary => add(&file.path, file.mode, &fs_err::read(install_binary)?)?,
            // Archives are fetched; links are made by the script.
            Content::Archive(_) | Content::Link(_) => {}
        }
    }
    add("check.sh", 0o755, recipe.check.as_bytes())?;
    add("build.sh", 0o755, recipe.build.as_bytes())
}
