//! The canonical definition of an environment: what is built, and what is hashed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The canonical definition of an environment.
///
/// Every field here enters the [`SpecHash`](crate::SpecHash); what does not enter it is not here. All
/// texts are in canonical form already, sets are sorted and unique, lists whose order is priority keep
/// it. `docs/spec-format.md` says for every input field where it goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// `os/arch[/variant]`, for example `linux/amd64`.
    pub platform: String,
    /// What the image starts from.
    pub base: Base,
    /// How python is managed.
    pub python: Python,
    /// The conda section; `None` when nothing is asked of conda.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conda: Option<Conda>,
    /// The pip section; `None` when nothing is asked of pip.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pip: Option<Pip>,
    /// Environment variables of the image, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment_variables: BTreeMap<String, String>,
    /// The Spark section.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spark: Option<Spark>,
    /// The R section.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r: Option<RSection>,
    /// The inferencing stack's version; `latest` is the only one the field knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inferencing_stack_version: Option<String>,
}

/// What an image starts from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Base {
    /// No base was given: the catalog's default at lock time.
    Default(DefaultBase),
    /// An image reference as it was written, without credentials.
    Image(String),
    /// The text of a user's Dockerfile, with `\n` line ends.
    Dockerfile(String),
    /// A git repository as build context.
    Git {
        /// The repository's address without credentials, `URL[#ref[:folder]]`.
        location: String,
        /// The Dockerfile's path inside the context.
        dockerfile_path: String,
    },
    /// A stored build context, by its address without a signature.
    Context {
        /// The address without query and credentials; `kiln-context:sha256:` and 64 hex digits name one
        /// that a workspace keeps.
        location: String,
        /// The Dockerfile's path inside the context.
        dockerfile_path: String,
    },
}

/// What the address of a build context begins with that a workspace keeps.
pub const STORED_CONTEXT: &str = "kiln-context:sha256:";

impl Base {
    /// The SHA-256, in hex, of a build context that a workspace keeps, and the Dockerfile's path in it.
    pub fn stored_context(&self) -> Option<(&str, &str)> {
        match self {
            Self::Context {
                location,
                dockerfile_path,
            } => Some((location.strip_prefix(STORED_CONTEXT)?, dockerfile_path)),
            _ => None,
        }
    }
}

/// The two defaults a definition can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DefaultBase {
    /// A CPU base.
    Cpu,
    /// A CUDA base.
    Gpu,
}

/// How python is managed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Python {
    /// Whether the base's own python and packages are used and nothing is installed.
    pub user_managed: bool,
    /// The interpreter inside the image when user-managed and not `python`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interpreter_path: Option<String>,
    /// The conda environment inside the base that this one is built upon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_conda_environment: Option<String>,
}

/// What is asked of conda.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conda {
    /// Channels in priority order: names (`conda-forge`) or URLs without credentials.
    pub channels: Vec<String>,
    /// MatchSpecs in kiln's canonical text, sorted, unique.
    pub dependencies: Vec<String>,
    /// Variables of the environment, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub variables: BTreeMap<String, String>,
}

/// What is asked of pip.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pip {
    /// Requirements, sorted, unique.
    pub requirements: Vec<PipRequirement>,
    /// Constraints (`-c`) in canonical PEP 508 text, sorted, unique.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub constraints: Vec<String>,
    /// `--index-url`, without credentials; `None` is the client's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index_url: Option<String>,
    /// `--extra-index-url`, in order, without credentials.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extra_index_urls: Vec<String>,
    /// `--find-links`, in order, without credentials.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub find_links: Vec<String>,
    /// `--no-index`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_index: bool,
    /// `--pre`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pre: bool,
    /// `--require-hashes`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub require_hashes: bool,
    /// `--no-binary`: PEP 503 names or `:all:`, sorted, unique.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub no_binary: Vec<String>,
    /// `--only-binary`: PEP 503 names or `:all:`, sorted, unique.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub only_binary: Vec<String>,
}

/// One requirement and the hashes it must have.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PipRequirement {
    /// The requirement in canonical PEP 508 text.
    pub requirement: String,
    /// `algorithm:hex` hashes, sorted, unique.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hashes: Vec<String>,
}

/// The Spark section of an Azure ML environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spark {
    /// Maven repositories, in order.
    pub repositories: Vec<String>,
    /// Maven coordinates `group:artifact:version`, sorted, unique.
    pub packages: Vec<String>,
    /// Whether packages are fetched while the image is built.
    pub precache_packages: bool,
}

/// The R section of an Azure ML environment, without its tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RSection {
    /// R's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r_version: Option<String>,
    /// Whether the base's own R is used and nothing is installed.
    pub user_managed: bool,
    /// The path of `Rscript` when user-managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rscript_path: Option<String>,
    /// The CRAN snapshot's date, `YYYY-MM-DD`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot_date: Option<String>,
    /// CRAN packages as `name[=version][@repository]`, sorted, unique.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cran_packages: Vec<String>,
    /// GitHub packages, sorted, unique.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub github_packages: Vec<String>,
    /// Package URLs without credentials, sorted, unique.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub custom_url_packages: Vec<String>,
    /// Bioconductor packages, sorted, unique.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bioconductor_packages: Vec<String>,
}
