//! Rows of environments: how they are read, and what is written with them.

use kiln_spec::{EnvironmentName, EnvironmentVersion, Overrides, SpecHash, StoredDocument};
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use super::convert::get;
use crate::error::StoreError;
use crate::rows::{Action, Done, EnvironmentRow, HistoryRow};
use crate::scope::Scope;

/// The highest number of `v`'s name that is not archived.
pub(super) const NEWEST: &str = "(SELECT max(w.number) FROM environment_versions w
     WHERE w.scope = v.scope AND w.name = v.name AND w.archived_ms IS NULL)";

/// Selects versions `v` of environments `e`.
pub(super) fn select() -> String {
    format!(
        "SELECT v.name, v.version, v.kind, v.document, v.files, v.overrides, v.digest, v.spec_hash,
         v.generation, coalesce(v.archived_ms, e.archived_ms) AS archived_ms, v.actor, v.via,
         v.created_ms, v.number IS {NEWEST} AS is_latest,
         (SELECT json_group_array(label) FROM (SELECT label FROM environment_labels l
          WHERE l.scope = v.scope AND l.name = v.name AND l.version = v.version ORDER BY label))
             AS labels
         FROM environment_versions v JOIN environments e ON e.scope = v.scope AND e.name = v.name"
    )
}

/// A row of [`select`].
pub(super) fn version(row: &SqliteRow) -> Result<EnvironmentRow, StoreError> {
    let unreadable = || StoreError::Row {
        what: "environment",
    };
    let text = |column: &str| get::<String>(row, column);
    let overrides: serde_json::Value =
        serde_json::from_str(&text("overrides")?).map_err(|_| unreadable())?;
    let generation: Option<i64> = get(row, "generation")?;
    Ok(EnvironmentRow {
        name: text("name")?.parse().map_err(|_| unreadable())?,
        version: text("version")?.parse().map_err(|_| unreadable())?,
        document: StoredDocument {
            kind: text("kind")?.parse().map_err(|_| unreadable())?,
            text: text("document")?,
            files: serde_json::from_str(&text("files")?).map_err(|_| unreadable())?,
            overrides: Overrides {
                base: overrides["base"].as_str().map(str::to_owned),
                gpu: overrides["gpu"].as_bool().unwrap_or(false),
                platform: overrides["platform"].as_str().map(str::to_owned),
            },
        },
        digest: text("digest")?.parse().map_err(|_| unreadable())?,
        spec_hash: text("spec_hash")?.parse().map_err(|_| unreadable())?,
        generation: generation
            .map(u64::try_from)
            .transpose()
            .map_err(|_| unreadable())?,
        labels: serde_json::from_str(&text("labels")?).map_err(|_| unreadable())?,
        is_latest: get(row, "is_latest")?,
        archived_ms: get(row, "archived_ms")?,
        actor: text("actor")?,
        via: text("via")?,
        created_ms: get(row, "created_ms")?,
    })
}

/// What is said beside a document, as its row keeps it.
pub(super) fn overrides_json(overrides: &Overrides) -> String {
    serde_json::json!({
        "base": overrides.base,
        "gpu": overrides.gpu,
        "platform": overrides.platform,
    })
    .to_string()
}

/// Writes what was done to a name or one of its versions.
pub(super) async fn tell(
    connection: &mut SqliteConnection,
    scope: &Scope,
    name: &EnvironmentName,
    version: Option<&EnvironmentVersion>,
    done: &Done,
    now_ms: i64,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO environment_history (scope, name, version, action, detail, actor, via, at_ms)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(scope.as_str())
    .bind(name.as_str())
    .bind(version.map(EnvironmentVersion::as_str))
    .bind(done.action.as_str())
    .bind(&done.detail)
    .bind(&done.actor)
    .bind(&done.via)
    .bind(now_ms)
    .execute(connection)
    .await
    .map_err(StoreError::database("write an environment's history"))?;
    Ok(())
}

pub(super) fn history(row: &SqliteRow) -> Result<HistoryRow, StoreError> {
    let version: Option<String> = get(row, "version")?;
    let version = version.map(|version| version.parse()).transpose();
    Ok(HistoryRow {
        id: get(row, "id")?,
        version: version.map_err(|_| StoreError::Row {
            what: "environment's history",
        })?,
        done: Done {
            action: Action::parse(&get::<String>(row, "action")?)?,
            detail: get(row, "detail")?,
            actor: get(row, "actor")?,
            via: get(row, "via")?,
        },
        at_ms: get(row, "at_ms")?,
    })
}

/// The versions of a definition that have no generation yet get the one that is current now; what
/// versions that are not archived have is kept from the garbage collection.
pub(super) async fn settle(
    connection: &mut SqliteConnection,
    scope: &Scope,
    spec_hash: &SpecHash,
) -> Result<(), StoreError> {
    for sql in [
        "UPDATE environment_versions AS v SET generation = i.generation
         FROM definitions d JOIN images i ON i.scope = d.scope AND i.spec_hash = d.spec_hash
              AND i.generation = d.current_generation AND i.lost = 0
         WHERE v.scope = ?1 AND v.spec_hash = ?2 AND v.generation IS NULL
           AND d.scope = v.scope AND d.spec_hash = v.spec_hash",
        "DELETE FROM pins WHERE scope = ?1 AND spec_hash = ?2
         AND holder IN (SELECT 'environment ' || v.scope || ' ' || v.name || ':' || v.version
                        FROM environment_versions v WHERE v.scope = ?1 AND v.spec_hash = ?2
                        AND v.archived_ms IS NOT NULL)",
        "INSERT INTO pins (holder, scope, spec_hash, generation)
         SELECT 'environment ' || v.scope || ' ' || v.name || ':' || v.version,
                v.scope, v.spec_hash, v.generation
         FROM environment_versions v JOIN images i ON i.scope = v.scope
              AND i.spec_hash = v.spec_hash AND i.generation = v.generation
         WHERE v.scope = ?1 AND v.spec_hash = ?2 AND v.archived_ms IS NULL
         ON CONFLICT DO NOTHING",
    ] {
        sqlx::query(sql)
            .bind(scope.as_str())
            .bind(spec_hash.to_hex())
            .execute(&mut *connection)
            .await
            .map_err(StoreError::database("note what environments were built as"))?;
    }
    Ok(())
}
