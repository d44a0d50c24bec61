//! Records and blobs of one data folder.

use std::path::Path;
use std::sync::Arc;

use crate::blobs::Blobs;
use crate::data_dir::DataDir;
use crate::error::StoreError;
use crate::records::Records;
use crate::sqlite::SqliteRecords;

/// A data folder that is open; cheap to clone.
#[derive(Clone)]
pub struct Store {
    data: DataDir,
    records: Arc<dyn Records>,
    blobs: Blobs,
}

impl Store {
    /// Opens a data folder with SQLite in it, making and migrating what is needed.
    pub async fn open(root: &Path) -> Result<Self, StoreError> {
        let data = DataDir::open(root)?;
        let records = SqliteRecords::open(&data.database(), &data.secret_key()).await?;
        let blobs = Blobs::open(data.blobs())?;
        Ok(Self {
            data,
            records: Arc::new(records),
            blobs,
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

    /// The blobs.
    pub fn blobs(&self) -> &Blobs {
        &self.blobs
    }
}
