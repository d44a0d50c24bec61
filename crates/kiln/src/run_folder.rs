//! The folder in which a run's command works.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use fs_err as fs;
use tempfile::TempDir;

use crate::error::CliError;
use crate::progress::warn;

/// The file that the command's output is kept in, in a folder that is among the run's files.
const LOG: &str = "azureml-logs/70_driver_log.txt";
/// The folders in which a command leaves what is to be kept.
const KEPT: [&str; 2] = ["outputs", "logs"];

/// A run's folder; what is temporary of it goes with this value.
#[derive(Debug)]
pub(crate) struct RunFolder {
    own: TempDir,
    work: PathBuf,
}

/// The log, which goes on where it can't be written.
#[derive(Debug)]
pub(crate) struct RunLog {
    file: fs::File,
    broken: bool,
}

fn fault(error: impl std::error::Error) -> CliError {
    CliError::input(
        format!("the run's folder can't be made: {error}"),
        "give a source folder that kiln may read, and room in the folder of temporary files",
    )
}

impl RunFolder {
    /// A copy of the source folder, or that folder itself.
    pub(crate) async fn prepare(source: &Path, copied: bool) -> Result<Self, CliError> {
        let source = source.to_owned();
        let made = tokio::task::spawn_blocking(move || -> std::io::Result<Self> {
            let source = fs::canonicalize(source)?;
            let own = TempDir::with_prefix("kiln-run-")?;
            let work = if copied {
                let work = own.path().join("work");
                copy(&source, &work)?;
                for folder in KEPT {
                    fs::create_dir_all(work.join(folder))?;
                }
                work
            } else {
                source
            };
            Ok(Self { own, work })
        });
        made.await.map_err(fault)?.map_err(fault)
    }

    /// The command's working folder.
    pub(crate) fn work(&self) -> &Path {
        &self.work
    }

    /// The log's file, empty.
    pub(crate) fn log(&self) -> Result<RunLog, CliError> {
        let path = self.own.path().join(LOG);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(fault)?;
        }
        let file = fs::File::create(path).map_err(fault)?;
        Ok(RunLog {
            file,
            broken: false,
        })
    }

    /// The folders that are to be kept, those that are there.
    pub(crate) fn kept(&self) -> Vec<PathBuf> {
        let log = Path::new(LOG).parent();
        let log = log.map(|folder| self.own.path().join(folder));
        let kept = KEPT.iter().map(|folder| self.work.join(folder)).chain(log);
        kept.filter(|folder| folder.is_dir()).collect()
    }
}

impl RunLog {
    /// Adds to it; that it can't is told once.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        if self.broken {
            return;
        }
        if let Err(error) = self.file.write_all(bytes) {
            self.broken = true;
            warn(&format!("the log is not kept any further: {error}"));
        }
    }
}

/// Copies files and folders with their modes; links are refused when the folder is sent.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
