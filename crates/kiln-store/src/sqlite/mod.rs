//! Records in SQLite: WAL, `synchronous=FULL`, one connection that writes and several that read.

mod builds;
mod convert;
mod credentials;
mod images;

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use kiln_spec::{CredentialTarget, InlineCredential, SpecHash};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection as _, SqliteConnection, SqlitePool};

use crate::error::StoreError;
use crate::records::Records;
use crate::rows::{
    BuildRow, CredentialRow, Finish, FoundImage, ImageRow, NewBuild, NewImage, RememberedFailure,
    Started,
};
use crate::scope::Scope;
use crate::sealed::Sealer;

/// A write that waits longer for the lock than this is answered as busy.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections that read at once.
const READERS: u32 = 4;

/// The migrations, oldest first: version, description, SQL. One that was released never changes.
const MIGRATIONS: [(i64, &str, &str); 1] = [(
    1,
    "spine",
    include_str!("../../migrations/sqlite/0001_spine.sql"),
)];

fn migrator() -> Migrator {
    let migrations = MIGRATIONS.iter().map(|&(version, description, sql)| {
        let sql = sqlx::SqlSafeStr::into_sql_str(sql);
        Migration::new(
            version,
            description.into(),
            MigrationType::Simple,
            sql,
            false,
        )
    });
    Migrator::with_migrations(migrations.collect())
}

/// A pool whose connections live as long as it: a local file's don't go stale, and to ask before
/// each use would double the time of a read.
fn pool(connections: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(BUSY_TIMEOUT)
        .test_before_acquire(false)
        .idle_timeout(None)
        .max_lifetime(None)
}

/// Whether a connection that was given back can write again. On a full disk SQLite itself rolls back;
/// sqlx takes the failure of its own rollback then for a transaction that is still open, and would
/// refuse every later one.
async fn is_usable(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    // What was queued when the transaction was dropped is done before this answers.
    connection.ping().await?;
    Ok(!connection.is_in_transaction())
}

/// The records of one database file.
pub struct SqliteRecords {
    pub(crate) writer: SqlitePool,
    pub(crate) reader: SqlitePool,
    pub(crate) sealer: Sealer,
}

impl SqliteRecords {
    /// Opens the database and the key of its credentials, making and migrating what is needed.
    pub async fn open(path: &Path, key: &Path) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT);
        let writer = pool(1)
            .after_release(|connection, _| Box::pin(is_usable(connection)))
            .connect_with(options.clone())
            .await
            .map_err(StoreError::database("be opened"))?;
        migrator().run(&writer).await.map_err(StoreError::Migrate)?;
        let reader = pool(READERS)
            .connect_with(options.read_only(true))
            .await
            .map_err(StoreError::database("be opened"))?;
        let sealer = Sealer::open(key)?;
        let records = Self {
            writer,
            reader,
            sealer,
        };
        records.add_workspace(&Scope::default_scope()).await?;
        Ok(records)
    }

    /// Makes a workspace known; one that is known already stays as it is.
    async fn add_workspace(&self, scope: &Scope) -> Result<(), StoreError> {
        builds::add_workspace(&self.writer, scope).await
    }

    /// SQLite's own check of the whole file; `ok` when nothing is wrong.
    pub async fn integrity_check(&self) -> Result<String, StoreError> {
        sqlx::query_scalar("PRAGMA integrity_check")
            .fetch_one(&self.reader)
            .await
            .map_err(StoreError::database("check itself"))
    }
}

#[async_trait]
impl Records for SqliteRecords {
    async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT 1")
            .execute(&self.reader)
            .await
            .map_err(StoreError::database("answer"))?;
        Ok(())
    }

    async fn begin_build(
        &self,
        scope: &Scope,
        spec_hash: &SpecHash,
        new: &NewBuild,
    ) -> Result<Started, StoreError> {
        builds::begin(self, scope, spec_hash, new).await
    }

    async fn build(&self, id: &str) -> Result<Option<BuildRow>, StoreError> {
        builds::get(self, id).await
    }

    async fn list_builds(
        &self,
        scope: &Scope,
        limit: u32,
        before: Option<&str>,
    ) -> Result<Vec<BuildRow>, StoreError> {
        builds::list(self, scope, limit, before).await
    }

    async fn unfinished_builds(&self) -> Result<Vec<(BuildRow, String)>, StoreError> {
        builds::unfinished(self).await
    }

    async fn take_over(&self, id: &str) -> Result<Option<BuildRow>, StoreError> {
        builds::take_over(self, id).await
    }

    async fn advance(&self, id: &str, fence: i64, state: &str) -> Result<bool, StoreError> {
        builds::advance(self, id, fence, state).await
    }

    async fn put_lock(
        &self,
        scope: &Scope,
        spec_hash: &SpecHash,
        canonical: &str,
        build_id: Option<&str>,
        lock_hash: &str,
        json: &str,
    ) -> Result<(), StoreError> {
        self.add_workspace(scope).await?;
        images::put_lock(self, scope, spec_hash, canonical, build_id, lock_hash, json).await
    }

    async fn lock_of(
        &self,
        scope: &Scope,
        spec_hash: &SpecHash,
    ) -> Result<Option<String>, StoreError> {
        images::lock_of(self, scope, spec_hash).await
    }

    async fn current_image(
        &self,
        scope: &Scope,
        spec_hash: &SpecHash,
    ) -> Result<Option<ImageRow>, StoreError> {
        images::current(self, scope, spec_hash).await
    }

    async fn image_by_key(
        &self,
        scope: &Scope,
        image_key: &str,
    ) -> Result<Option<ImageRow>, StoreError> {
        images::by_key(self, scope, image_key).await
    }

    async fn adopt_image(
        &self,
        scope: &Scope,
        spec_hash: &SpecHash,
        canonical: &str,
        found: &FoundImage,
    ) -> Result<ImageRow, StoreError> {
        self.add_workspace(scope).await?;
        images::adopt(self, scope, spec_hash, canonical, found).await
    }

    async fn mark_image_lost(
        &self,
        scope: &Scope,
        spec_hash: &SpecHash,
        generation: u64,
    ) -> Result<(), StoreError> {
        images::mark_lost(self, scope, spec_hash, generation).await
    }

    async fn finish_ready(
        &self,
        id: &str,
        fence: i64,
        image: &NewImage,
    ) -> Result<Finish, StoreError> {
        images::finish_ready(self, id, fence, image).await
    }

    async fn finish_failed(
        &self,
        id: &str,
        fence: i64,
        state: &str,
        failure_json: &str,
        remember: Option<(String, Duration)>,
    ) -> Result<bool, StoreError> {
        builds::finish_failed(self, id, fence, state, failure_json, remember).await
    }

    async fn remembered_failure(
        &self,
        scope: &Scope,
        spec_hash: &SpecHash,
        settings: &str,
    ) -> Result<Option<RememberedFailure>, StoreError> {
        builds::remembered_failure(self, scope, spec_hash, settings).await
    }

    async fn forget_failure(&self, scope: &Scope, spec_hash: &SpecHash) -> Result<(), StoreError> {
        builds::forget_failure(self, scope, spec_hash).await
    }

    async fn base_facts(&self, digest: &str) -> Result<Option<String>, StoreError> {
        sqlx::query_scalar("SELECT json FROM base_facts WHERE digest = ?")
            .bind(digest)
            .fetch_optional(&self.reader)
            .await
            .map_err(StoreError::database("read base facts"))
    }

    async fn put_base_facts(&self, digest: &str, json: &str) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO base_facts (digest, json, created_ms) VALUES (?, ?, ?)
             ON CONFLICT (digest) DO UPDATE SET json = excluded.json",
        )
        .bind(digest)
        .bind(json)
        .bind(convert::now_ms())
        .execute(&self.writer)
        .await
        .map_err(StoreError::database("keep base facts"))?;
        Ok(())
    }

    async fn put_inline_credential(
        &self,
        scope: &Scope,
        credential: &InlineCredential,
    ) -> Result<(), StoreError> {
        credentials::put(self, scope, credential).await
    }

    async fn credentials(&self, scope: &Scope) -> Result<Vec<InlineCredential>, StoreError> {
        credentials::all(self, scope).await
    }

    async fn list_credentials(&self, scope: &Scope) -> Result<Vec<CredentialRow>, StoreError> {
        credentials::list(self, scope).await
    }

    async fn delete_credentials(
        &self,
        scope: &Scope,
        target: &CredentialTarget,
    ) -> Result<bool, StoreError> {
        credentials::delete(self, scope, target).await
    }
}
