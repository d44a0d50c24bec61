//! Subscriptions and their secrets.

use async_trait::async_trait;
use kiln_spec::Secret;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use super::SqliteRecords;
use super::convert::get;
use crate::error::StoreError;
use crate::records::Hooks;
use crate::rows::{EventType, HookRow, NewHook};
use crate::scope::Scope;

/// The associated data of a sealed secret: where it belongs.
fn place(hook: &str, number: i64) -> String {
    format!("hook\0{hook}\0{number}")
}

/// Types as a row keeps them: `,ready,failed,`, or nothing for all.
fn types_text(types: &[EventType]) -> String {
    let names: Vec<_> = types.iter().map(|kind| format!("{kind},")).collect();
    if names.is_empty() {
        return String::new();
    }
    format!(",{}", names.concat())
}

const HOOKS: &str = "SELECT h.id, h.scope, h.url, h.types, h.disabled, h.actor, h.created_ms,
    (SELECT group_concat(s.number, ',') FROM hook_secrets s WHERE s.hook_id = h.id) AS secrets
    FROM hooks h";

fn row(row: &SqliteRow) -> Result<HookRow, StoreError> {
    let unreadable = || StoreError::Row { what: "hook" };
    let types: String = get(row, "types")?;
    let types = types.split(',').filter(|word| !word.is_empty());
    let secrets: Option<String> = get(row, "secrets")?;
    let secrets = secrets.as_deref().unwrap_or_default().split(',');
    let mut secrets: Vec<i64> = secrets.filter_map(|number| number.parse().ok()).collect();
    secrets.sort_unstable_by(|a, b| b.cmp(a));
    Ok(HookRow {
        id: get(row, "id")?,
        scope: get::<String>(row, "scope")?
            .parse()
            .map_err(|_| unreadable())?,
        url: get(row, "url")?,
        types: types
            .map(|word| word.parse().map_err(|_| unreadable()))
            .collect::<Result<_, _>>()?,
        disabled: get(row, "disabled")?,
        secrets,
        actor: get(row, "actor")?,
        created_ms: get(row, "created_ms")?,
    })
}

impl SqliteRecords {
    /// Adds the next secret of a hook that exists.
    async fn insert_secret(
        &self,
        connection: &mut SqliteConnection,
        hook: &str,
        secret: &Secret,
    ) -> Result<i64, StoreError> {
        let failed = || StoreError::database("keep a hook's secret");
        // Numbers are not used again: a sealed secret opens under its own alone.
        let number: i64 = sqlx::query_scalar(
            "UPDATE hooks SET last_secret = last_secret + 1 WHERE id = ? RETURNING last_secret",
        )
        .bind(hook)
        .fetch_one(&mut *connection)
        .await
        .map_err(failed())?;
        sqlx::query(
            "INSERT INTO hook_secrets (hook_id, number, sealed, created_ms) VALUES (?, ?, ?, ?)",
        )
        .bind(hook)
        .bind(number)
        .bind(self.sealer.seal(secret.expose(), &place(hook, number)))
        .bind(self.now_ms())
        .execute(connection)
        .await
        .map_err(failed())?;
        Ok(number)
    }
}

async fn one(connection: &mut SqliteConnection, id: &str) -> Result<Option<HookRow>, StoreError> {
    let found = sqlx::query(sqlx::AssertSqlSafe(format!("{HOOKS} WHERE h.id = ?")))
        .bind(id)
        .fetch_optional(connection)
        .await
        .map_err(StoreError::database("read a hook"))?;
    found.as_ref().map(row).transpose()
}

#[async_trait]
impl Hooks for SqliteRecords {
    async fn add_hook(&self, scope: &Scope, new: &NewHook) -> Result<HookRow, StoreError> {
        const WHAT: &str = "add a hook";
        self.add_workspace(scope).await?;
        let mut transaction = self.write(WHAT).await?;
        let id = uuid::Uuid::now_v7().to_string();
        sqlx::query(
            "INSERT INTO hooks (id, scope, url, types, actor, created_ms) VALUES (?, ?, ?, ?, ?, ?)",
        )
        .bind(&id)
        .bind(scope.as_str())
        .bind(&new.url)
        .bind(types_text(&new.types))
        .bind(&new.actor)
        .bind(self.now_ms())
        .execute(&mut *transaction)
        .await
        .map_err(StoreError::database(WHAT))?;
        self.insert_secret(&mut transaction, &id, &new.secret)
            .await?;
        let hook = one(&mut transaction, &id).await?;
        let committed = transaction.commit().await;
        committed.map_err(StoreError::database(WHAT))?;
        hook.ok_or(StoreError::Row { what: "hook" })
    }

    async fn hooks(&self, scope: &Scope) -> Result<Vec<HookRow>, StoreError> {
        let sql = format!("{HOOKS} WHERE h.scope = ? ORDER BY h.id");
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(scope.as_str())
            .fetch_all(&self.reader)
            .await
            .map_err(StoreError::database("list hooks"))?;
        rows.iter().map(row).collect()
    }

    async fn hook(&self, id: &str) -> Result<Option<HookRow>, StoreError> {
        let connection = self.reader.acquire().await;
        let mut connection = connection.map_err(StoreError::database("read a hook"))?;
        one(&mut connection, id).await
    }

    async fn remove_hook(&self, id: &str) -> Result<bool, StoreError> {
        const WHAT: &str = "remove a hook";
        let mut transaction = self.write(WHAT).await?;
        let mut removed = 0;
        for sql in [
            "DELETE FROM deliveries WHERE kind = 'hook' AND target = ?",
            "DELETE FROM hook_secrets WHERE hook_id = ?",
            "DELETE FROM hooks WHERE id = ?",
        ] {
            let done = sqlx::query(sql).bind(id).execute(&mut *transaction).await;
            removed = done.map_err(StoreError::database(WHAT))?.rows_affected();
        }
        let committed = transaction.commit().await;
        committed.map_err(StoreError::database(WHAT))?;
        Ok(removed == 1)
    }

    async fn disable_hook(&self, id: &str, reason: &str) -> Result<bool, StoreError> {
        const WHAT: &str = "disable a hook";
        let mut transaction = self.write(WHAT).await?;
        let done = sqlx::query("UPDATE hooks SET disabled = ? WHERE id = ?")
            .bind(reason)
            .bind(id)
            .execute(&mut *transaction)
            .await
            .map_err(StoreError::database(WHAT))?;
        sqlx::query(
            "UPDATE deliveries SET state = 'dead', last_error = ?
             WHERE kind = 'hook' AND target = ? AND state = 'pending'",
        )
        .bind(reason)
        .bind(id)
        .execute(&mut *transaction)
        .await
        .map_err(StoreError::database(WHAT))?;
        let committed = transaction.commit().await;
        committed.map_err(StoreError::database(WHAT))?;
        Ok(done.rows_affected() == 1)
    }

    async fn enable_hook(&self, id: &str) -> Result<bool, StoreError> {
        let done = sqlx::query("UPDATE hooks SET disabled = NULL WHERE id = ?")
            .bind(id)
            .execute(&self.writer)
            .await
            .map_err(StoreError::database("enable a hook"))?;
        Ok(done.rows_affected() == 1)
    }

    async fn add_hook_secret(&self, id: &str, secret: &Secret) -> Result<Option<i64>, StoreError> {
        const WHAT: &str = "keep a hook's secret";
        let mut transaction = self.write(WHAT).await?;
        if one(&mut transaction, id).await?.is_none() {
            return Ok(None);
        }
        let number = self.insert_secret(&mut transaction, id, secret).await?;
        let committed = transaction.commit().await;
        committed.map_err(StoreError::database(WHAT))?;
        Ok(Some(number))
    }

    async fn remove_hook_secret(&self, id: &str, number: i64) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "DELETE FROM hook_secrets WHERE hook_id = ?1 AND number = ?2
             AND (SELECT count(*) FROM hook_secrets WHERE hook_id = ?1) > 1",
        )
        .bind(id)
        .bind(number)
        .execute(&self.writer)
        .await
        .map_err(StoreError::database("remove a hook's secret"))?;
        Ok(done.rows_affected() == 1)
    }

    async fn hook_secrets(&self, id: &str) -> Result<Vec<Secret>, StoreError> {
        let rows = sqlx::query(
            "SELECT number, sealed FROM hook_secrets WHERE hook_id = ? ORDER BY number DESC",
        )
        .bind(id)
        .fetch_all(&self.reader)
        .await
        .map_err(StoreError::database("read a hook's secrets"))?;
        let mut secrets = Vec::with_capacity(rows.len());
        for row in &rows {
            let sealed: Vec<u8> = get(row, "sealed")?;
            let place = place(id, get(row, "number")?);
            let secret = self.sealer.unseal(&sealed, &place)?;
            secrets.push(Secret::new(secret.as_str()));
        }
        Ok(secrets)
    }
}
