//! What container registries tell of pushes and deletions: the notifications of distribution, Docker
//! Hub, Harbor and Azure Container Registry, known by their shape.

use serde::Deserialize;
use serde_json::Value;

/// Changes that one notification may tell.
const CHANGES_LIMIT: usize = 1000;

/// Something changed in a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryChange {
    /// `HOST[:PORT]`; none where the notification doesn't tell.
    pub host: Option<String>,
    /// The repository's path.
    pub repository: String,
    /// The tag, where it is about one.
    pub tag: Option<String>,
    /// `sha256:...` of the manifest, where it is told.
    pub digest: Option<String>,
    /// What happened.
    pub action: Action,
}

/// What happened to a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It was pushed.
    Push,
    /// It was deleted.
    Delete,
}

/// A notification of no known shape.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnknownNotification {
    /// Not JSON.
    #[error("the notification is not JSON: {0}")]
    Json(String),
    /// No registry's that kiln knows.
    #[error(
        "the notification has no known shape; kiln reads those of distribution, Docker Hub, Harbor and Azure Container Registry"
    )]
    Shape,
    /// Too much at once.
    #[error("the notification tells more than {CHANGES_LIMIT} changes")]
    TooMany,
}

/// The changes of manifests that a notification tells; none when it tells of other things, such as pulls.
pub fn registry_changes(body: &[u8]) -> Result<Vec<RegistryChange>, UnknownNotification> {
    let value: Value = serde_json::from_slice(body)
        .map_err(|error| UnknownNotification::Json(error.to_string()))?;
    let changes = distribution(&value)
        .or_else(|| azure(&value))
        .or_else(|| harbor(&value))
        .or_else(|| docker_hub(&value))
        .ok_or(UnknownNotification::Shape)?;
    if changes.len() > CHANGES_LIMIT {
        return Err(UnknownNotification::TooMany);
    }
    Ok(changes)
}

fn read<'a, T: Deserialize<'a>>(value: &'a Value) -> Option<T> {
    T::deserialize(value).ok()
}

/// Whether a media type is a manifest's or an index's; registries also tell of blobs.
fn is_manifest(media_type: Option<&str>) -> bool {
    media_type.is_none_or(|name| name.contains("manifest") || name.contains("index"))
}

fn action(word: &str) -> Option<Action> {
    match word {
        "push" | "PUSH_ARTIFACT" | "pushImage" => Some(Action::Push),
        "delete" | "DELETE_ARTIFACT" | "deleteImage" => Some(Action::Delete),
        _ => None,
    }
}

/// The envelope of distribution: `events[]`.
fn distribution(value: &Value) -> Option<Vec<RegistryChange>> {
    #[derive(Deserialize)]
    struct Envelope {
        events: Vec<Event>,
    }
    let envelope: Envelope = read(value)?;
    Some(
        envelope
            .events
            .into_iter()
            .filter_map(Event::change)
            .collect(),
    )
}

/// An event of distribution and of Azure Container Registry, which took its form.
#[derive(Deserialize)]
struct Event {
    action: String,
    target: Target,
    #[serde(default)]
    request: Option<Request>,
}

#[derive(Deserialize)]
struct Target {
    repository: String,
    #[serde(default)]
    tag: Option<String>,
    #[serde(default)]
    digest: Option<String>,
    #[serde(default, rename = "mediaType")]
    media_type: Option<String>,
    #[serde(default)]
    url: Option<String>,
}

#[derive(Deserialize)]
struct Request {
    #[serde(default)]
    host: Option<String>,
}

impl Event {
    fn change(self) -> Option<RegistryChange> {
        let action = action(&self.action)?;
        if !is_manifest(self.target.media_type.as_deref()) {
            return None;
        }
        let from_url = || {
            let (_, rest) = self.target.url.as_deref()?.split_once("://")?;
            rest.split('/').next().map(str::to_owned)
        };
        let host = self
            .request
            .as_ref()
            .and_then(|request| request.host.clone());
        Some(RegistryChange {
            host: host.filter(|host| !host.is_empty()).or_else(from_url),
            repository: self.target.repository,
            tag: self.target.tag.filter(|tag| !tag.is_empty()),
            digest: self.target.digest,
            action,
        })
    }
}

/// Azure Container Registry posts one event alone.
fn azure(value: &Value) -> Option<Vec<RegistryChange>> {
    let event: Event = read(value)?;
    Some(event.change().into_iter().collect())
}

fn harbor(value: &Value) -> Option<Vec<RegistryChange>> {
    #[derive(Deserialize)]
    struct Notification {
        #[serde(rename = "type")]
        kind: String,
        event_data: EventData,
    }
    #[derive(Deserialize)]
    struct EventData {
        #[serde(default)]
        resources: Vec<Resource>,
        #[serde(default)]
        repository: Option<Repository>,
    }
    #[derive(Deserialize)]
    struct Resource {
        #[serde(default)]
        digest: Option<String>,
        #[serde(default)]
        tag: Option<String>,
        #[serde(default, rename = "resource_url")]
        url: Option<String>,
    }
    #[derive(Deserialize)]
    struct Repository {
        repo_full_name: String,
    }
    let notification: Notification = read(value)?;
    let Some(action) = action(&notification.kind) else {
        return Some(Vec::new());
    };
    let repository = notification.event_data.repository?.repo_full_name;
    let changes = notification.event_data.resources.into_iter();
    Some(
        changes
            .map(|resource| {
                let url = resource.url.unwrap_or_default();
                let host = url.split_once('/').map(|(host, _)| host.to_owned());
                RegistryChange {
                    host,
                    repository: repository.clone(),
                    // Of an artifact without a tag Harbor gives the digest in its place.
                    tag: resource.tag.filter(|tag| !tag.starts_with("sha256:")),
                    digest: resource.digest,
                    action,
                }
            })
            .collect(),
    )
}

/// Docker Hub tells of pushes alone, without a digest.
fn docker_hub(value: &Value) -> Option<Vec<RegistryChange>> {
    #[derive(Deserialize)]
    struct Notification {
        push_data: PushData,
        repository: Repository,
    }
    #[derive(Deserialize)]
    struct PushData {
        #[serde(default)]
        tag: Option<String>,
    }
    #[derive(Deserialize)]
    struct Repository {
        repo_name: String,
    }
    let notification: Notification = read(value)?;
    Some(vec![RegistryChange {
        host: Some("docker.io".to_owned()),
        repository: notification.repository.repo_name,
        tag: notification.push_data.tag,
        digest: None,
        action: Action::Push,
    }])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const DIGEST: &str = "sha256:aaaa";

    fn change(
        host: &str,
        repository: &str,
        digest: Option<&str>,
        action: Action,
    ) -> RegistryChange {
        RegistryChange {
            host: Some(host.to_owned()),
            repository: repository.to_owned(),
            tag: (action == Action::Push).then(|| "22.04".to_owned()),
            digest: digest.map(str::to_owned),
            action,
        }
    }

    fn read(value: &Value) -> Vec<RegistryChange> {
        registry_changes(value.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn distribution_tells_of_manifests_among_blobs_and_pulls() {
        let target = |media: &str, tag: &str| json!({ "mediaType": media, "digest": DIGEST, "repository": "base/ubuntu", "tag": tag });
        let manifest = "application/vnd.oci.image.manifest.v1+json";
        let request = json!({ "host": "localhost:5000" });
        let envelope = json!({ "events": [
            { "action": "push", "target": target("application/octet-stream", ""), "request": request },
            { "action": "push", "target": target(manifest, "22.04"), "request": request },
            { "action": "pull", "target": target(manifest, "22.04"), "request": request },
            { "action": "delete", "target": { "digest": DIGEST, "repository": "base/ubuntu" }, "request": request },
        ] });
        assert_eq!(
            read(&envelope),
            [
                change("localhost:5000", "base/ubuntu", Some(DIGEST), Action::Push),
                change(
                    "localhost:5000",
                    "base/ubuntu",
                    Some(DIGEST),
                    Action::Delete
                ),
            ]
        );
    }

    #[test]
    fn azure_harbor_and_docker_hub_are_known_by_their_shape() {
        let azure = json!({
            "id": "1", "timestamp": "2026-01-01T00:00:00Z", "action": "push",
            "target": { "mediaType": "application/vnd.docker.distribution.manifest.v2+json", "size": 1,
                "digest": DIGEST, "length": 1, "repository": "base/ubuntu", "tag": "22.04" },
            "request": { "id": "2", "host": "me.azurecr.io", "method": "PUT" },
        });
        assert_eq!(
            read(&azure),
            [change(
                "me.azurecr.io",
                "base/ubuntu",
                Some(DIGEST),
                Action::Push
            )]
        );
        let harbor = json!({ "type": "PUSH_ARTIFACT", "occur_at": 1, "operator": "admin", "event_data": {
            "resources": [{ "digest": DIGEST, "tag": "22.04", "resource_url": "harbor.example/base/ubuntu:22.04" }],
            "repository": { "repo_full_name": "base/ubuntu", "name": "ubuntu" },
        } });
        assert_eq!(
            read(&harbor),
            [change(
                "harbor.example",
                "base/ubuntu",
                Some(DIGEST),
                Action::Push
            )]
        );
        let hub = json!({
            "push_data": { "tag": "22.04", "pusher": "x" },
            "repository": { "repo_name": "library/ubuntu" }, "callback_url": "https://x",
        });
        assert_eq!(
            read(&hub),
            [change("docker.io", "library/ubuntu", None, Action::Push)]
        );
        let scan = json!({ "type": "SCANNING_COMPLETED", "event_data": {} });
        assert_eq!(read(&scan), []);
    }

    #[test]
    fn another_shape_is_refused_with_those_that_are_known() {
        let fault = registry_changes(br#"{"hello":"world"}"#).unwrap_err();
        assert_eq!(fault, UnknownNotification::Shape);
        assert!(fault.to_string().contains("Harbor"));
        assert!(matches!(
            registry_changes(b"{"),
            Err(UnknownNotification::Json(_))
        ));
    }

    proptest! {
        #[test]
        fn nothing_panics(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = registry_changes(&body);
        }
    }
}
