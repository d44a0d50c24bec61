//! One process works with a data folder at a time.

use std::path::{Path, PathBuf};

use fs_err as fs;
use serde::{Deserialize, Serialize};

use crate::error::CliError;

/// Where a running server can be reached; beside the lock, so that the command line finds it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ServerAddress {
    /// `http://ADDRESS:PORT`.
    pub(crate) url: String,
}

/// The lock; it is the operating system's, and ends with the process.
#[derive(Debug)]
pub(crate) struct DataLock {
    file: std::fs::File,
    folder: PathBuf,
}

/// Whether the folder is ours.
#[derive(Debug)]
pub(crate) enum Claim {
    /// It is.
    Ours(DataLock),
    /// A server works with it.
    Served(ServerAddress),
    /// Another process works with it.
    Busy,
}

impl DataLock {
    /// Claims a data folder, making it first.
    pub(crate) fn claim(folder: &Path) -> Result<Claim, CliError> {
        let fault = |error: std::io::Error| {
            CliError::Failure(kiln_engine::failure::of_io("the data folder", &error))
        };
        fs::create_dir_all(folder).map_err(fault)?;
        let path = folder.join("kiln.lock");
        let file = fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path);
        let file = file.map_err(fault)?.into_file();
        match file.try_lock() {
            Ok(()) => Ok(Claim::Ours(Self {
                file,
                folder: folder.to_owned(),
            })),
            Err(std::fs::TryLockError::WouldBlock) => {
                let address = fs::read(folder.join("server.json")).ok();
                let address = address.and_then(|bytes| serde_json::from_slice(&bytes).ok());
                Ok(address.map_or(Claim::Busy, Claim::Served))
            }
            Err(std::fs::TryLockError::Error(error)) => Err(fault(error)),
        }
    }

    /// Claims a data folder that another command line works with, once that one has ended.
    pub(crate) async fn wait(folder: &Path) -> Result<Self, CliError> {
        loop {
            if let Claim::Ours(lock) = Self::claim(folder)? {
                return Ok(lock);
            }
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    }

    /// Tells the command line where the server is.
    pub(crate) fn publish(&self, address: &ServerAddress) -> Result<(), CliError> {
        let text = serde_json::to_vec(address).expect("an address is plain data");
        fs::write(self.folder.join("server.json"), text).map_err(|error| {
            CliError::Failure(kiln_engine::failure::of_io("the data folder", &error))
        })
    }
}

impl Drop for DataLock {
    fn drop(&mut self) {
        // A file that stays is harmless: without the lock nobody reads it.
        let _ = fs::remove_file(self.folder.join("server.json"));
        let _ = self.file.unlock();
    }
}
