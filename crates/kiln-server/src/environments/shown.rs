//! Rows as the API shows them.

use std::collections::BTreeMap;

use kiln_api::{Environment, HistoryEntry};
use kiln_engine::{EnvironmentRow, HistoryRow};
use serde_json::value::RawValue;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A version without its document, as lists have it.
pub(super) fn summary(row: &EnvironmentRow) -> Environment {
    let curated = row.name.is_curated();
    Environment {
        name: row.name.to_string(),
        version: row.version.to_string(),
        latest: row.is_latest,
        labels: row.labels.iter().map(ToString::to_string).collect(),
        curated,
        archived: row.archived_ms.is_some(),
        kind: row.document.kind.to_string(),
        spec_hash: row.spec_hash.to_hex(),
        image_name: row.spec_hash.image_name(),
        generation: row.generation,
        actor: row.actor.clone(),
        via: row.via.clone(),
        created: if curated {
            String::new()
        } else {
            date(row.created_ms)
        },
        document: None,
        source: None,
        files: BTreeMap::new(),
    }
}

/// A version with its document.
pub(super) fn whole(row: &EnvironmentRow) -> Environment {
    let (name, version) = (row.name.as_str(), row.version.as_str());
    let document = row.document.azureml_json(name, Some(version), None);
    Environment {
        document: RawValue::from_string(document).ok(),
        source: Some(row.document.text.clone()),
        files: row.document.files.clone(),
        ..summary(row)
    }
}

pub(super) fn history(row: &HistoryRow) -> HistoryEntry {
    HistoryEntry {
        id: row.id,
        action: row.done.action.as_str().to_owned(),
        version: row.version.as_ref().map(ToString::to_string),
        detail: row.done.detail.clone(),
        actor: row.done.actor.clone(),
        via: row.done.via.clone(),
        time: date(row.at_ms),
    }
}

/// RFC 3339, in UTC.
pub(crate) fn date(ms: i64) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000)
        .ok()
        .and_then(|date| date.format(&Rfc3339).ok())
        .unwrap_or_default()
}
