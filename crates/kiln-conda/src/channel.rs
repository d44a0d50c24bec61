//! Channels: names, addresses, `defaults`.

use rattler_conda_types::{Channel, ChannelConfig};
use url::Url;

use crate::CondaError;

/// What `defaults` stands for below the alias when nothing else is configured.
pub const MULTI_CHANNEL_DEFAULTS: [&str; 2] = ["main", "r"];

/// How names of channels become addresses.
#[derive(Debug, Clone, Default)]
pub struct ChannelSettings {
    /// The address below which channel names lie; `None` is the conda library's own default.
    pub alias: Option<Url>,
    /// Channels that `defaults` stands for, in order; empty is [`MULTI_CHANNEL_DEFAULTS`].
    ///
    /// A definition that names no channel at all gets them too, as conda does. One that names a channel
    /// gets that channel and no other: nothing is appended in silence.
    pub defaults: Vec<String>,
}

/// A channel as it was asked for and as rattler knows it.
#[derive(Debug, Clone)]
pub(crate) struct NamedChannel {
    /// The name or address without credentials, for people and the lock.
    pub(crate) text: String,
    /// rattler's channel; its address ends with `/`.
    pub(crate) channel: Channel,
}

impl ChannelSettings {
    /// Resolves channels in order: `defaults` is expanded, `nodefaults` and repetitions are dropped.
    pub(crate) fn resolve(&self, texts: &[String]) -> Result<Vec<NamedChannel>, CondaError> {
        let defaults = || -> Vec<String> {
            if self.defaults.is_empty() {
                MULTI_CHANNEL_DEFAULTS.map(String::from).to_vec()
            } else {
                self.defaults.clone()
            }
        };
        let mut expanded = Vec::new();
        for text in texts {
            match text.as_str() {
                "defaults" => expanded.extend(defaults()),
                "nodefaults" => {}
                _ => expanded.push(text.clone()),
            }
        }
        if texts.is_empty() {
            expanded = defaults();
        }
        let mut channels: Vec<NamedChannel> = Vec::new();
        for text in &expanded {
            let one = self.one(text)?;
            if channels
                .iter()
                .all(|known| known.channel.base_url != one.channel.base_url)
            {
                channels.push(one);
            }
        }
        Ok(channels)
    }

    /// Resolves one name or address.
    pub(crate) fn one(&self, text: &str) -> Result<NamedChannel, CondaError> {
        let invalid = |reason: &str| CondaError::Channel {
            channel: redacted(text),
            reason: reason.to_owned(),
        };
        if text.chars().any(char::is_control) || text.trim().is_empty() {
            return Err(invalid("it is empty or has control characters"));
        }
        if text.contains("://") {
            let url = Url::parse(text).map_err(|_| invalid("its address is not a URL"))?;
            if !matches!(url.scheme(), "https" | "http" | "file") {
                return Err(invalid("only https, http and file addresses are channels"));
            }
            if !url.username().is_empty() || url.password().is_some() {
                return Err(invalid("its address carries credentials"));
            }
            if url.query().is_some() || url.fragment().is_some() {
                return Err(invalid("its address has a query or a fragment"));
            }
            if url.scheme() == "file" && url.to_file_path().is_err() {
                return Err(invalid("its address is not a path of this machine"));
            }
            let text = url.as_str().trim_end_matches('/').to_owned();
            return Ok(NamedChannel {
                channel: Channel::from_url(directory(url)),
                text,
            });
        }
        let name = text.trim_matches('/');
        let plain = |part: &str| {
            !part.is_empty()
                && part != "."
                && part != ".."
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'+'))
        };
        if text.starts_with('/') || !name.split('/').all(plain) {
            return Err(invalid("it is neither a channel's name nor an address"));
        }
        let mut config = ChannelConfig::default_with_root_dir("/".into());
        if let Some(alias) = &self.alias {
            config.channel_alias = directory(alias.clone());
        }
        let channel = Channel::from_str(name, &config)
            .map_err(|_| invalid("it does not lie below the channel alias"))?;
        Ok(NamedChannel {
            text: name.to_owned(),
            channel,
        })
    }
}

/// The address with a `/` at its end: rattler and URL joining need it.
fn directory(mut url: Url) -> Url {
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    url
}

/// A channel's text without userinfo and token, for messages about texts that could not be parsed.
fn redacted(text: &str) -> String {
    let text: String = text.chars().filter(|c| !c.is_control()).take(200).collect();
    match (text.find("://"), text.find('@')) {
        (Some(scheme), Some(at)) if at > scheme => {
            format!("{}://***@{}", &text[..scheme], &text[at + 1..])
        }
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(settings: &ChannelSettings, texts: &[&str]) -> Vec<String> {
        let texts: Vec<String> = texts.iter().map(ToString::to_string).collect();
        settings
            .resolve(&texts)
            .expect("the test's channels are fine")
            .iter()
            .map(|channel| format!("{} {}", channel.text, channel.channel.base_url))
            .collect()
    }

    #[test]
    fn names_lie_below_the_alias_and_addresses_stand_for_themselves() {
        let settings = ChannelSettings {
            alias: Some(Url::parse("http://localhost:1/mirror").expect("a URL")),
            defaults: vec!["corp/main".into()],
        };
        assert_eq!(
            addresses(
                &settings,
                &[
                    "conda-forge",
                    "defaults",
                    "nodefaults",
                    "file:///srv/chan",
                    "conda-forge",
                    "pkgs/r"
                ]
            ),
            [
                "conda-forge http://localhost:1/mirror/conda-forge/",
                "corp/main http://localhost:1/mirror/corp/main/",
                "file:///srv/chan file:///srv/chan/",
                "pkgs/r http://localhost:1/mirror/pkgs/r/",
            ]
        );
        assert_eq!(
            addresses(&settings, &[]),
            ["corp/main http://localhost:1/mirror/corp/main/"]
        );
    }

    #[test]
    fn hostile_channels_are_refused_without_printing_credentials() {
        for text in [
            "",
            "..",
            "a/../b",
            "/srv/channel",
            "./here",
            "ftp://example.org/c",
            "https://example.org/c?x=1",
            "https://u:pw@example.org/c",
            "file://host/c",
            "a\nb",
            "c:\\x",
            "name[linux-64]",
        ] {
            let error = ChannelSettings::default().one(text).expect_err(text);
            assert!(!error.to_string().contains("pw"), "{error}");
        }
    }
}
