//! Image configurations, as in the OCI image specification, "OCI Image Configuration".

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer, Serialize};

use crate::digest::Digest;
use crate::platform::Platform;

/// An image's configuration: what it runs, and which layers it is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// When it was made, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Who made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// The architecture in Go's names.
    #[serde(default)]
    pub architecture: String,
    /// The architecture's variant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// The operating system.
    #[serde(default)]
    pub os: String,
    /// The operating system's version, on Windows.
    #[serde(
        rename = "os.version",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub os_version: Option<String>,
    /// How a container of it runs.
    #[serde(default, deserialize_with = "or_default")]
    pub config: RunConfig,
    /// Its layers.
    pub rootfs: RootFs,
    /// How each layer came to be, the base's first.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub history: Vec<History>,
}

/// How a container of an image runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RunConfig {
    /// `user[:group]`, by name or number; empty is root.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub user: String,
    /// `port[/protocol]`.
    #[serde(
        default,
        with = "set_as_map",
        skip_serializing_if = "BTreeSet::is_empty"
    )]
    pub exposed_ports: BTreeSet<String>,
    /// `NAME=value`, in order.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub env: Vec<String>,
    /// The entry point; an empty list is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// The default arguments, or the command where there is no entry point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    /// How the container's health is tested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// Folders that are kept outside the container.
    #[serde(
        default,
        with = "set_as_map",
        skip_serializing_if = "BTreeSet::is_empty"
    )]
    pub volumes: BTreeSet<String>,
    /// The working directory; empty is `/`.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub working_dir: String,
    /// Instructions that run when a Dockerfile starts from the image.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub on_build: Vec<String>,
    /// Labels, by name.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub labels: BTreeMap<String, String>,
    /// The signal that stops the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// Seconds until a stop is forced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<i64>,
    /// The shell of a Dockerfile's shell forms.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub shell: Vec<String>,
    /// Whether the arguments are escaped already, on Windows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub args_escaped: Option<bool>,
}

/// How a container's health is tested; durations are in nanoseconds, 0 or absent is the engine's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Healthcheck {
    /// `["NONE"]`, `["CMD", ...]` or `["CMD-SHELL", line]`; empty inherits.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub test: Vec<String>,
    /// The time between two tests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<i64>,
    /// How long a test may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<i64>,
    /// The time a container has to start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_period: Option<i64>,
    /// The time between two tests during the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_interval: Option<i64>,
    /// How many failures in a row make it unhealthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<i64>,
}

/// An image's layers by what they unpack to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The digests of the uncompressed layers, the base's first.
    #[serde(default, deserialize_with = "or_default")]
    pub diff_ids: Vec<Digest>,
}

/// How a layer, or a change of the configuration alone, came to be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// When, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The instruction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// Who.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// A remark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Whether it made no layer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
}

/// Says why bytes are no image configuration.
#[derive(Debug, thiserror::Error)]
#[error("image configuration is malformed")]
pub struct ParseConfigError(#[source] serde_json::Error);

impl ImageConfig {
    /// Makes a configuration without layers.
    pub fn new(platform: &Platform) -> Self {
        Self {
            created: None,
            author: None,
            architecture: platform.architecture().to_owned(),
            variant: platform.variant().map(str::to_owned),
            os: platform.os().to_owned(),
            os_version: None,
            config: RunConfig::default(),
            rootfs: RootFs::default(),
            history: Vec::new(),
        }
    }

    /// Parses a configuration; fields that are not known are passed over.
    ///
    /// # Errors
    /// When it is no JSON object with `rootfs`, or a known field has another type.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseConfigError> {
        serde_json::from_slice(bytes).map_err(ParseConfigError)
    }

    /// The configuration as JSON: equal values give equal bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts, numbers and sorted maps have a JSON form")
    }

    /// The platform in normal form.
    pub fn platform(&self) -> Platform {
        Platform::new(&self.os, &self.architecture, self.variant.as_deref())
    }
}

impl RunConfig {
    /// The value of an environment variable; of several equal names the last counts.
    pub fn env(&self, name: &str) -> Option<&str> {
        self.env_pairs()
            .filter(|(n, _)| *n == name)
            .last()
            .map(|(_, value)| value)
    }

    /// The environment as names and values, in order; an entry without `=` has an empty value.
    pub fn env_pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.env
            .iter()
            .map(|entry| entry.split_once('=').unwrap_or((entry, "")))
    }

    /// Sets an environment variable in its place, or at the end when it is new.
    pub fn set_env(&mut self, name: &str, value: &str) {
        let entry = format!("{name}={value}");
        let same = |e: &String| e.split_once('=').map_or(e.as_str(), |(n, _)| n) == name;
        let Some(first) = self.env.iter().position(same) else {
            self.env.push(entry);
            return;
        };
        self.env[first] = entry;
        let mut at = 0;
        self.env.retain(|e| {
            at += 1;
            at - 1 <= first || !same(e)
        });
    }
}

impl Default for RootFs {
    fn default() -> Self {
        Self {
            kind: "layers".to_owned(),
            diff_ids: Vec::new(),
        }
    }
}

/// Reads `null` as the default, as Go writes its empty lists and maps.
pub(crate) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// A set written as Go writes `map[string]struct{}`: `{"80/tcp": {}}`.
mod set_as_map {
    use std::collections::{BTreeMap, BTreeSet};

    use serde::ser::SerializeMap;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize)]
    struct Empty {}

    pub(super) fn serialize<S: Serializer>(
        set: &BTreeSet<String>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(set.len()))?;
        for entry in set {
            map.serialize_entry(entry, &Empty {})?;
        }
        map.end()
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeSet<String>, D::Error> {
        let map = Option::<BTreeMap<String, serde_json::Value>>::deserialize(deserializer)?;
        Ok(map.unwrap_or_default().into_keys().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> ImageConfig {
        let mut config = ImageConfig::new(&Platform::default());
        config.created = Some("2024-01-01T00:00:00Z".into());
        config.config = RunConfig {
            user: "1000:1000".into(),
            exposed_ports: ["80/tcp".into(), "443/tcp".into()].into(),
            env: vec!["PATH=/bin".into(), "B=".into()],
            entrypoint: Some(vec!["/init".into()]),
            cmd: Some(vec!["a".into()]),
            healthcheck: Some(Healthcheck {
                test: vec!["CMD".into(), "true".into()],
                interval: Some(30_000_000_000),
                ..Healthcheck::default()
            }),
            volumes: ["/data".into()].into(),
            working_dir: "/work".into(),
            on_build: vec!["RUN true".into()],
            labels: [("b".into(), "2".into()), ("a".into(), "1".into())].into(),
            stop_signal: Some("SIGTERM".into()),
            stop_timeout: Some(5),
            shell: vec!["/bin/bash".into(), "-c".into()],
            args_escaped: None,
        };
        config.rootfs.diff_ids.push(Digest::of(b"layer"));
        config.history.push(History {
            created_by: Some("COPY".into()),
            ..History::default()
        });
        config.history.push(History {
            empty_layer: true,
            ..History::default()
        });
        config
    }

    #[test]
    fn a_configuration_is_written_in_one_order() {
        insta::assert_snapshot!(String::from_utf8(full().to_bytes()).unwrap(), @r#"{"created":"2024-01-01T00:00:00Z","architecture":"amd64","os":"linux","config":{"User":"1000:1000","ExposedPorts":{"443/tcp":{},"80/tcp":{}},"Env":["PATH=/bin","B="],"Entrypoint":["/init"],"Cmd":["a"],"Healthcheck":{"Test":["CMD","true"],"Interval":30000000000},"Volumes":{"/data":{}},"WorkingDir":"/work","OnBuild":["RUN true"],"Labels":{"a":"1","b":"2"},"StopSignal":"SIGTERM","StopTimeout":5,"Shell":["/bin/bash","-c"]},"rootfs":{"type":"layers","diff_ids":["sha256:dac1d7cfa95021764849fd102524e141488c5e3a90f861dbb5a12d9ac8584f85"]},"history":[{"created_by":"COPY"},{"empty_layer":true}]}"#);
    }

    #[test]
    fn what_is_written_reads_back_and_writes_the_same_bytes() {
        let bytes = full().to_bytes();
        assert_eq!(ImageConfig::parse(&bytes).unwrap(), full());
        assert_eq!(ImageConfig::parse(&bytes).unwrap().to_bytes(), bytes);
    }

    #[test]
    fn dockers_nulls_and_extra_fields_are_tolerated() {
        let text = r#"{"architecture":"arm64","os":"linux","variant":"v8","docker_version":"20.10",
            "container_config":{"Hostname":"x"},
            "config":{"Hostname":"","User":"","Env":null,"Cmd":null,"Entrypoint":[],"Labels":null,"Volumes":null,
                "ExposedPorts":{"80/tcp":{}},"OnBuild":null,"ArgsEscaped":true,"Healthcheck":{"Test":["NONE"]}},
            "rootfs":{"type":"layers","diff_ids":null},"history":null}"#;
        let config = ImageConfig::parse(text.as_bytes()).unwrap();
        assert_eq!(config.platform().to_string(), "linux/arm64");
        assert_eq!(config.config.cmd, None);
        assert_eq!(config.config.entrypoint, Some(Vec::new()));
        assert_eq!(config.config.exposed_ports.iter().next().unwrap(), "80/tcp");
        let bare =
            r#"{"os":"linux","architecture":"amd64","config":null,"rootfs":{"type":"layers"}}"#;
        assert_eq!(
            ImageConfig::parse(bare.as_bytes()).unwrap().config,
            RunConfig::default()
        );
        assert!(ImageConfig::parse(b"{}").is_err());
    }

    #[test]
    fn setting_a_variable_keeps_its_place_and_drops_later_copies() {
        let mut config = RunConfig {
            env: ["A=1", "B=2", "A=3", "C"].map(str::to_owned).to_vec(),
            ..RunConfig::default()
        };
        assert_eq!(config.env("A"), Some("3"));
        assert_eq!(config.env("C"), Some(""));
        config.set_env("A", "4=5");
        config.set_env("D", "6");
        assert_eq!(config.env, ["A=4=5", "B=2", "C", "D=6"]);
        assert_eq!(config.env("A"), Some("4=5"));
    }
}
