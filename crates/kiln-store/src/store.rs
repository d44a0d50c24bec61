//! Records and blobs of one data folder.

use std::path::Path;
use std::sync::Arc;

use crate::blobs::Blobs;
use crate::clock::{Clock, SystemClock};
use crate::data_dir::DataDir;
use crate::error::StoreError;
use crate::links::LinkSigner;
use crate::records::Records;
use crate::sqlite::SqliteRecords;

/// A data folder that is open; cheap to clone.
#[derive(Clone)]
pub struct Store {
    data: DataDir,
    records: Arc<dyn Records>,
    blobs: Blobs,
    links: LinkSigner,
}

impl Store {
    /// Opens a data folder with SQLite in it, making and migrating what is needed.
    pub async fn open(root: &Path) -> Result<Self, StoreError> {
        Self::open_with(root, Arc::new(SystemClock::new()?)).await
    }

    /// As [`Store::open`], with another clock.
    pub async fn open_with(root: &Path, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let data = DataDir::open(root)?;
        let (database, key) = (data.database(), data.secret_key());
        let records = SqliteRecords::open_with(&database, &key, clock).await?;
        let blobs = Blobs::open(data.blobs())?;
        let links = LinkSigner::open(&key)?;
        Ok(Self {
            data,
            records: Arc::new(records),
            blobs,
            links,
        })
    }

    /// The folder's paths.
    pub fn data(&self) -> &DataDir {
        &self.data
    }

    /// The records.
    pub fn records(&self) -> &dyn Records {
        self.records.as_ref()
    }

    /// The records, to be kept.
    pub fn shared_records(&self) -> Arc<dyn Records> {
        Arc::clone(&self.records)
    }

    /// Signs addresses that need no token.
    pub fn links(&self) -> &LinkSigner {
        &self.links
    }

    /// The blobs.
    pub fn blobs(&self) -> &Blobs {
        &self.blobs
    }
}
