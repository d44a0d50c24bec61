//! `kiln eject`: a folder that builds the image with plain `docker build`.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use fs_err as fs;
use kiln_dockerfile::{Content, ContextFile, Installer};
use kiln_engine::{Archives, Verify};

use crate::cli::InputArgs;
use crate::compose;
use crate::config::Settings;
use crate::error::CliError;

/// Arguments of `kiln eject`.
#[derive(Debug, Args)]
pub(crate) struct EjectArgs {
    #[command(flatten)]
    input: InputArgs,
    /// The folder; it must be empty or not exist.
    #[arg(long, short, value_name = "DIR")]
    output: PathBuf,
    /// What installs the packages: kiln's own way, with all archives in the folder, or widely used
    /// tools that fetch them.
    #[arg(long, value_name = "TOOL", default_value = "kiln")]
    installer: InstallerArg,
    /// The workspace.
    #[arg(long, value_name = "NAME")]
    workspace: Option<String>,
}

/// Names of installers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum InstallerArg {
    Kiln,
    Micromamba,
}

/// Writes the folder.
pub(crate) async fn run(settings: Settings, args: EjectArgs) -> Result<(), CliError> {
    let submission = super::lock::submission(&args.input, false, args.workspace.as_deref())?;
    check_empty(&args.output)?;
    let _lock = super::lock::exclusive(&settings).await?;
    let engine = compose::engine(&settings, Verify::First).await?;
    let installer = match args.installer {
        InstallerArg::Kiln => Installer::Kiln,
        InstallerArg::Micromamba => Installer::Micromamba,
    };
    let ejected = engine.eject(&submission, installer, true).await;
    let ejected = ejected.map_err(CliError::Failure)?;
    let (planned, archives) = (ejected.plan, ejected.archives);
    let install_binary = compose::install_binary(&settings)?;
    let output = args.output.clone();
    let files = planned.folder();
    let written = tokio::task::spawn_blocking(move || {
        files
            .iter()
            .try_for_each(|file| write(file, &output, archives.as_ref(), &install_binary))
    });
    written
        .await
        .map_err(|error| CliError::kiln("the folder could not be written", &error))?
        .map_err(|error| CliError::Failure(kiln_engine::failure::of_io("the folder", &error)))?;
    for note in &planned.notes {
        crate::progress::warn(note);
    }
    super::print(&format!(
        "docker build -t {} {}",
        planned.image_name(),
        args.output.display()
    ))
}

fn check_empty(folder: &Path) -> Result<(), CliError> {
    // A folder that can't be read is told when it is written.
    let empty = fs::read_dir(folder).map_or(true, |mut entries| entries.next().is_none());
    if empty {
        return Ok(());
    }
    Err(CliError::input(
        format!("{} is not empty", folder.display()),
        "give a folder that is empty or does not exist",
    ))
}

/// Paths come from kiln's own plan: relative, without `..`.
fn write(
    file: &ContextFile,
    folder: &Path,
    archives: &dyn Archives,
    install_binary: &Path,
) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;

    let path = folder.join(&file.path);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let source = match &file.content {
        Content::Bytes(bytes) => {
            fs::write(&path, bytes)?;
            None
        }
        Content::Link(target) => return fs::os::unix::fs::symlink(target, &path),
        Content::InstallBinary => Some(install_binary.to_owned()),
        Content::Archive(digest) => Some(archives.path(digest).ok_or_else(|| {
            std::io::Error::other(format!("the archive {digest} was not fetched"))
        })?),
    };
    if let Some(source) = source {
        let mut reader = fs::File::open(source)?;
        let mut writer = fs::File::create(&path)?;
        std::io::copy(&mut reader.by_ref(), &mut writer)?;
    }
    fs::set_permissions(&path, std::fs::Permissions::from_mode(file.mode))
}
