//! Records in SQLite: WAL, `synchronous=FULL`, one connection that writes and several that read.

mod builds;
mod claim;
mod collection;
mod commits;
mod contexts;
mod convert;
mod credentials;
mod environment_rows;
mod environments;
mod events;
mod failures;
mod finish;
mod generations;
mod hooks;
mod images;
mod layers;
mod locks;
mod models;
mod outbox;
mod queue;
mod requests;
mod run_rows;
mod runs;
mod wheels;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection as _, Sqlite, SqliteConnection, SqlitePool, Transaction};

use crate::clock::{Clock, Moment, SystemClock};
use crate::error::StoreError;
use crate::records::Records;
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
    clock: Arc<dyn Clock>,
}

impl SqliteRecords {
    /// Opens the database and the key of its credentials, making and migrating what is needed.
    pub async fn open(path: &Path, key: &Path) -> Result<Self, StoreError> {
        Self::open_with(path, key, Arc::new(SystemClock::new()?)).await
    }

    /// As [`SqliteRecords::open`], with another clock.
    pub async fn open_with(
        path: &Path,
        key: &Path,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StoreError> {
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
            clock,
        };
        records.add_workspace(&Scope::default_scope()).await?;
        Ok(records)
    }

    /// Makes a workspace known; one that is known already stays as it is.
    async fn add_workspace(&self, scope: &Scope) -> Result<(), StoreError> {
        builds::add_workspace(&self.writer, scope, self.now_ms()).await
    }

    /// Begins a transaction that writes; from here on nobody else does.
    async fn write(&self, what: &'static str) -> Result<Transaction<'static, Sqlite>, StoreError> {
        self.writer
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(StoreError::database(what))
    }

    /// Now as a date.
    fn now_ms(&self) -> i64 {
        self.clock.wall_ms()
    }

    /// Now on the clock of leases.
    fn moment(&self) -> Moment {
        self.clock.moment()
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
}

/// The statements that are run often, and the steps SQLite takes for each.
#[cfg(test)]
pub(crate) async fn plans(records: &SqliteRecords) -> Vec<(String, Vec<String>)> {
    use sqlx::{AssertSqlSafe, Row as _};

    let mut statements = claim::next_sql().to_vec();
    statements.push(queue::waiting_sql(None));
    statements.push(queue::waiting_sql(Some("s")));
    statements.push(builds::active_sql());
    statements.push(images::current_sql());
    statements.push(images::verify_sql());
    statements.push(events::due_sql());
    statements.push(collection::may_go_sql());
    let mut plans = Vec::new();
    for sql in statements {
        let rows = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}")))
            .fetch_all(&records.writer)
            .await
            .expect("the statement is one that runs");
        let steps = rows.iter().map(|row| row.get("detail")).collect();
        plans.push((sql, steps));
    }
    plans
}
