//! Bodies of `/v1/gc`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The body of `POST /v1/gc`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GcRequest {
    /// Whether what is not needed is removed; otherwise it is only told.
    #[serde(default)]
    pub apply: bool,
    /// What was used within so many seconds stays; the server's setting when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_seconds: Option<u64>,
}

/// What a collection would remove, or removed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GcReport {
    /// Whether it was removed.
    pub applied: bool,
    /// What was used within so many seconds stayed.
    pub grace_seconds: u64,
    /// Packages and wheels; a later build of them fetches them again.
    pub archives: GcShare,
    /// Locks that no image, definition or running build has.
    pub locks: u64,
    /// Logs of builds that ended long ago.
    pub logs: GcShare,
    /// What crashes and faults left of work that is over.
    pub leftovers: GcShare,
    /// Rows that were kept long enough: idempotency keys, remembered failures, events; a look alone
    /// does not count them.
    pub rows: u64,
    /// The archives, the longest unused first; at most 100 of them.
    pub first: Vec<GcArchive>,
}

/// A part of what is removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GcShare {
    /// How many.
    pub count: u64,
    /// The bytes of their files.
    pub size_bytes: u64,
}

/// An archive that nothing needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GcArchive {
    /// `sha256:` and 64 hex digits.
    pub digest: String,
    /// Its size.
    pub size_bytes: u64,
    /// When it was last used, RFC 3339.
    pub used: String,
}

impl GcReport {
    /// The bytes of all files.
    pub const fn size_bytes(&self) -> u64 {
        self.archives.size_bytes + self.logs.size_bytes + self.leftovers.size_bytes
    }
}

impl GcShare {
    /// One more file.
    pub const fn add(&mut self, size_bytes: u64) {
        self.count += 1;
        self.size_bytes += size_bytes;
    }
}

impl FromIterator<u64> for GcShare {
    /// Counts files by their sizes.
    fn from_iter<I: IntoIterator<Item = u64>>(sizes: I) -> Self {
        let mut share = Self::default();
        sizes.into_iter().for_each(|size| share.add(size));
        share
    }
}
