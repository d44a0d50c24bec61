//! kiln's settings: one file, then the environment, then flags; all faults are reported at once.

mod default_environment;
mod env;
mod file;
pub(crate) mod gc;
mod hooks;
pub(crate) mod limits;
mod parse;
mod queue;
mod tls;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use kiln_engine::DefaultEnvironment;
use kiln_lock::{ChannelPriority, IndexStrategy};
use kiln_queue::QueueSettings;
use kiln_server::Token;
use url::Url;

pub(crate) use env::VARIABLES;
pub(crate) use file::FileSettings;
pub(crate) use gc::Gc;
pub(crate) use hooks::Hooks;
pub(crate) use limits::Limits;
pub(crate) use tls::Tls;

/// Everything kiln can be told, with its defaults filled in.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The folder that holds everything kiln keeps.
    pub(crate) data: PathBuf,
    /// Where `kiln serve` listens.
    pub(crate) listen: SocketAddr,
    /// Where images go: `HOST[/PREFIX]`.
    pub(crate) registry: Option<String>,
    /// Registry hosts that are spoken to without TLS, beside loopback.
    pub(crate) plain_http: Vec<String>,
    /// A PEM bundle trusted beside the system's own, by kiln and by build steps.
    pub(crate) extra_ca: Option<PathBuf>,
    /// Who may do what.
    pub(crate) tokens: Vec<Token>,
    /// A catalog of base images in place of the built-in one.
    pub(crate) catalog: Option<PathBuf>,
    /// The default CPU base.
    pub(crate) base_cpu: Option<String>,
    /// The default GPU base.
    pub(crate) base_gpu: Option<String>,
    /// Prefixes of references that are read from elsewhere.
    pub(crate) mirrors: BTreeMap<String, String>,
    /// What channel names are relative to; `None` is conda's own default.
    pub(crate) channel_alias: Option<Url>,
    /// conda's channel priority.
    pub(crate) channel_priority: ChannelPriority,
    /// The index of definitions that name none; `None` is the client's default.
    pub(crate) index_url: Option<Url>,
    /// How several indexes are searched.
    pub(crate) index_strategy: IndexStrategy,
    /// The `uv` binary to use instead of fetching the pinned one.
    pub(crate) uv: Option<PathBuf>,
    /// The Docker Engine's address, `unix:///path` or `tcp://host:port`.
    pub(crate) docker_host: Option<String>,
    /// The `kiln-install` binary; `None` is the one beside kiln's own.
    pub(crate) install_binary: Option<PathBuf>,
    /// The environment of a build that names none.
    pub(crate) default_environment: DefaultEnvironment,
    /// A second listener, with TLS.
    pub(crate) tls: Option<Tls>,
    /// Webhooks.
    pub(crate) hooks: Hooks,
    /// The queue, where there is one.
    pub(crate) queue: Option<QueueSettings>,
    /// What kiln takes on at once, and for how long it tries.
    pub(crate) limits: Limits,
    /// Garbage collection.
    pub(crate) gc: Gc,
}

/// All that is wrong with the settings.
#[derive(Debug)]
pub(crate) struct SettingsError(Vec<String>);

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the settings are not usable:")?;
        for fault in &self.0 {
            write!(f, "\n  {fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for SettingsError {}

/// What flags say; they win over the environment, which wins over the file.
#[derive(Debug, Default, Clone)]
pub(crate) struct Flags {
    /// `--config`.
    pub(crate) config: Option<PathBuf>,
    /// `--data`.
    pub(crate) data: Option<PathBuf>,
    /// `--listen`.
    pub(crate) listen: Option<String>,
    /// `--registry`.
    pub(crate) registry: Option<String>,
}

impl Settings {
    /// Reads file, environment and flags.
    pub(crate) fn load(
        flags: &Flags,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, SettingsError> {
        let mut faults = Vec::new();
        let path = flags
            .config
            .clone()
            .or_else(|| variable("KILN_CONFIG").map(PathBuf::from));
        let mut file = match path {
            None => FileSettings::default(),
            Some(path) => FileSettings::read(&path).unwrap_or_else(|fault| {
                faults.push(fault);
                FileSettings::default()
            }),
        };
        env::apply(&mut file, variable, &mut faults);
        let home = variable("XDG_DATA_HOME")
            .map(PathBuf::from)
            .or_else(|| variable("HOME").map(|home| PathBuf::from(home).join(".local/share")));
        if flags.data.is_some() {
            file.data.clone_from(&flags.data);
        }
        if flags.listen.is_some() {
            file.listen.clone_from(&flags.listen);
        }
        if flags.registry.is_some() {
            file.registry.clone_from(&flags.registry);
        }
        let settings = parse::settings(file, home, &mut faults);
        if faults.is_empty() {
            Ok(settings)
        } else {
            Err(SettingsError(faults))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(flags: &Flags, variables: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        Settings::load(flags, &|name| {
            variables
                .iter()
                .find(|(n, _)| *n == name)
                .map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn flags_win_over_the_environment_and_the_environment_over_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kiln.toml");
        let text = "registry = \"file.example.org\"\n[conda]\nchannel_priority = \"strict\"\n";
        std::fs::write(&path, text).unwrap();
        let config = path.to_str().unwrap();
        let variables = [
            ("HOME", "/home/x"),
            ("KILN_CONFIG", config),
            ("KILN_REGISTRY", "env.example.org"),
        ];
        let settings = load(&Flags::default(), &variables).unwrap();
        assert_eq!(settings.registry.as_deref(), Some("env.example.org"));
        assert_eq!(settings.channel_priority, ChannelPriority::Strict);
        assert_eq!(settings.data, PathBuf::from("/home/x/.local/share/kiln"));
        let flags = Flags {
            registry: Some("flag.example.org/p".into()),
            ..Flags::default()
        };
        let settings = load(&flags, &variables).unwrap();
        assert_eq!(settings.registry.as_deref(), Some("flag.example.org/p"));
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let variables = [
            ("HOME", "/home/x"),
            ("KILN_LISTEN", "nowhere"),
            ("KILN_REGISTRY", "Bad Host"),
            ("KILN_CONDA_CHANNEL_PRIORITY", "sometimes"),
            ("KILN_PYPI_INDEX_URL", "::"),
            ("KILN_LIMITS_BUILD_TIMEOUT", "soon"),
        ];
        let text = load(&Flags::default(), &variables).unwrap_err().to_string();
        insta::assert_snapshot!(text, @r"
        the settings are not usable:
          KILN_LIMITS_BUILD_TIMEOUT: `soon` is not a whole number
          listen: `nowhere` is not ADDRESS:PORT, for example 127.0.0.1:8470
          registry: `Bad Host` is not HOST[/PREFIX], for example localhost:5000/team
          conda.channel_priority: `sometimes` is neither `flexible` nor `strict`
          pypi.index_url: `::` is not an http, https or file address
        ");
    }

    #[test]
    fn an_unknown_field_of_the_file_is_told_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kiln.toml");
        std::fs::write(&path, "data = \"/d\"\nregistri = \"x\"\n").unwrap();
        let flags = Flags {
            config: Some(path),
            ..Flags::default()
        };
        let text = load(&flags, &[("HOME", "/h")]).unwrap_err().to_string();
        assert!(
            text.contains("line 2") && text.contains("registri"),
            "{text}"
        );
    }

    #[test]
    fn listening_beyond_loopback_needs_tokens() {
        let variables = [("HOME", "/h"), ("KILN_LISTEN", "0.0.0.0:8470")];
        let text = load(&Flags::default(), &variables).unwrap_err().to_string();
        assert!(text.contains("auth.tokens"), "{text}");
    }
}
