//! What each field of a document changes: the table of `docs/spec-format.md`, which a test flips field by
//! field.

use std::fmt::{self, Write as _};

/// A field of an input and the keys that it enters.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// The document that has it: `azureml`, `conda`, `requirements` or `overrides`.
    pub document: &'static str,
    /// Its path; `[]` is any item of a list and `*` any name of a map.
    pub path: &'static str,
    /// Whether it changes the spec hash, and with it the image key, which the spec hash is part of.
    pub spec_hash: Enters,
    /// Whether it changes what is resolved, and with it the lock.
    pub lock: bool,
    /// What else there is to know.
    pub note: &'static str,
}

/// Whether a field enters a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enters {
    /// It always does.
    Always,
    /// It never does.
    Never,
    /// It does under a condition.
    When(Condition),
}

/// When a field counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// `userManagedDependencies` is false.
    KilnManaged,
    /// `userManagedDependencies` is true.
    UserManaged,
    /// kiln manages python, and there is a conda dependency or a variable.
    CondaAsked,
    /// The base image names no registry of its own.
    ImageWithoutHost,
    /// No base is named, or one of the SDK's CPU defaults.
    DefaultBase,
    /// GPU support is not asked for, or the image is none of the SDK's CPU defaults.
    BaseKept,
    /// There are Spark packages or repositories.
    SparkAsked,
    /// R's `userManaged` is true.
    RUserManaged,
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::KilnManaged => "unless user-managed",
            Self::UserManaged => "when user-managed and not `python`",
            Self::CondaAsked => "when a conda dependency or variable is there, unless user-managed",
            Self::ImageWithoutHost => "unless the image names a host",
            Self::DefaultBase => "when no base or an SDK CPU default is named",
            Self::BaseKept => "unless GPU support replaces it",
            Self::SparkAsked => "when packages or repositories are there",
            Self::RUserManaged => "when R is user-managed",
        })
    }
}

impl fmt::Display for Enters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Always => f.write_str("yes"),
            Self::Never => f.write_str("–"),
            Self::When(condition) => condition.fmt(f),
        }
    }
}

const fn row(
    document: &'static str,
    path: &'static str,
    spec_hash: Enters,
    lock: bool,
    note: &'static str,
) -> Field {
    Field {
        document,
        path,
        spec_hash,
        lock,
        note,
    }
}

const AZUREML: &str = "azureml";
const CONDA: &str = "conda";
const REQUIREMENTS: &str = "requirements";
const OVERRIDES: &str = "overrides";
const RUN_TIME: &str = "a setting of the run";
const CREDENTIAL: &str = "leaves the document for the credential store";

/// Every field of every input.
pub const FIELDS: &[Field] = &[
    row(
        AZUREML,
        "name",
        Enters::Never,
        false,
        "labels the environment",
    ),
    row(
        AZUREML,
        "version",
        Enters::Never,
        false,
        "labels the environment",
    ),
    row(AZUREML, "assetId", Enters::Never, false, "set by a server"),
    row(
        AZUREML,
        "environmentVariables.*",
        Enters::Always,
        false,
        "becomes ENV of the image",
    ),
    row(
        AZUREML,
        "python.userManagedDependencies",
        Enters::Always,
        true,
        "",
    ),
    row(
        AZUREML,
        "python.interpreterPath",
        Enters::When(Condition::UserManaged),
        false,
        "",
    ),
    row(
        AZUREML,
        "python.condaDependenciesFile",
        Enters::Never,
        false,
        "names the supplied file to read when `condaDependencies` is absent (else `conda_dependencies.yml`)",
    ),
    row(
        AZUREML,
        "python.baseCondaEnvironment",
        Enters::When(Condition::KilnManaged),
        true,
        "",
    ),
    row(
        AZUREML,
        "python.condaDependencies.name",
        Enters::Never,
        false,
        "",
    ),
    row(
        AZUREML,
        "python.condaDependencies.prefix",
        Enters::Never,
        false,
        "",
    ),
    row(
        AZUREML,
        "python.condaDependencies.channels[]",
        Enters::When(Condition::CondaAsked),
        true,
        "order is priority",
    ),
    row(
        AZUREML,
        "python.condaDependencies.dependencies[]",
        Enters::When(Condition::KilnManaged),
        true,
        "a set: order and duplicates don't count",
    ),
    row(
        AZUREML,
        "python.condaDependencies.dependencies[].pip[]",
        Enters::When(Condition::KilnManaged),
        true,
        "a line of a requirements file: see there",
    ),
    row(
        AZUREML,
        "python.condaDependencies.variables.*",
        Enters::When(Condition::KilnManaged),
        false,
        "",
    ),
    row(AZUREML, "docker.enabled", Enters::Never, false, RUN_TIME),
    row(
        AZUREML,
        "docker.sharedVolumes",
        Enters::Never,
        false,
        RUN_TIME,
    ),
    row(AZUREML, "docker.shmSize", Enters::Never, false, RUN_TIME),
    row(
        AZUREML,
        "docker.arguments[]",
        Enters::Never,
        false,
        RUN_TIME,
    ),
    row(
        AZUREML,
        "docker.baseImage",
        Enters::When(Condition::BaseKept),
        true,
        "as written",
    ),
    row(
        AZUREML,
        "docker.baseDockerfile",
        Enters::Always,
        true,
        "with `\\n` line ends",
    ),
    row(
        AZUREML,
        "docker.buildContext.locationType",
        Enters::Always,
        true,
        "",
    ),
    row(
        AZUREML,
        "docker.buildContext.location",
        Enters::Always,
        true,
        "without credentials; `kiln-context:sha256:` and 64 hex digits name an uploaded folder",
    ),
    row(
        AZUREML,
        "docker.buildContext.dockerfilePath",
        Enters::Always,
        true,
        "",
    ),
    row(
        AZUREML,
        "docker.baseImageRegistry",
        Enters::When(Condition::ImageWithoutHost),
        true,
        "a plain text is the address",
    ),
    row(
        AZUREML,
        "docker.baseImageRegistry.address",
        Enters::When(Condition::ImageWithoutHost),
        true,
        "goes before the image's name",
    ),
    row(
        AZUREML,
        "docker.baseImageRegistry.username",
        Enters::Never,
        false,
        CREDENTIAL,
    ),
    row(
        AZUREML,
        "docker.baseImageRegistry.password",
        Enters::Never,
        false,
        CREDENTIAL,
    ),
    row(
        AZUREML,
        "docker.baseImageRegistry.registryIdentity.*",
        Enters::Never,
        false,
        "an identity of Azure's own machines",
    ),
    row(
        AZUREML,
        "docker.platform.os",
        Enters::Always,
        true,
        "Linux is the only one",
    ),
    row(
        AZUREML,
        "docker.platform.architecture",
        Enters::Always,
        true,
        "",
    ),
    row(
        AZUREML,
        "docker.gpuSupport",
        Enters::When(Condition::DefaultBase),
        true,
        "",
    ),
    row(
        AZUREML,
        "spark.repositories[]",
        Enters::Always,
        false,
        "order is priority",
    ),
    row(
        AZUREML,
        "spark.packages[].group",
        Enters::Always,
        false,
        "packages are a set",
    ),
    row(
        AZUREML,
        "spark.packages[].artifact",
        Enters::Always,
        false,
        "",
    ),
    row(
        AZUREML,
        "spark.packages[].version",
        Enters::Always,
        false,
        "",
    ),
    row(
        AZUREML,
        "spark.precachePackages",
        Enters::When(Condition::SparkAsked),
        false,
        "",
    ),
    row(
        AZUREML,
        "databricks.**",
        Enters::Never,
        false,
        "for Databricks clusters",
    ),
    row(AZUREML, "r.rVersion", Enters::Always, false, ""),
    row(AZUREML, "r.userManaged", Enters::Always, false, ""),
    row(
        AZUREML,
        "r.rscriptPath",
        Enters::When(Condition::RUserManaged),
        false,
        "",
    ),
    row(AZUREML, "r.snapshotDate", Enters::Always, false, ""),
    row(
        AZUREML,
        "r.cranPackages[].name",
        Enters::Always,
        false,
        "packages are sets",
    ),
    row(
        AZUREML,
        "r.cranPackages[].version",
        Enters::Always,
        false,
        "",
    ),
    row(
        AZUREML,
        "r.cranPackages[].repository",
        Enters::Always,
        false,
        "without credentials",
    ),
    row(
        AZUREML,
        "r.githubPackages[].repository",
        Enters::Always,
        false,
        "",
    ),
    row(
        AZUREML,
        "r.githubPackages[].authToken",
        Enters::Never,
        false,
        CREDENTIAL,
    ),
    row(
        AZUREML,
        "r.customUrlPackages[]",
        Enters::Always,
        false,
        "without credentials",
    ),
    row(
        AZUREML,
        "r.bioconductorPackages[]",
        Enters::Always,
        false,
        "",
    ),
    row(
        AZUREML,
        "inferencingStackVersion",
        Enters::Always,
        false,
        "`latest` is the only one",
    ),
    row(
        CONDA,
        "name",
        Enters::Never,
        false,
        "labels the environment",
    ),
    row(
        CONDA,
        "prefix",
        Enters::Never,
        false,
        "a folder of the author's machine",
    ),
    row(
        CONDA,
        "channels[]",
        Enters::When(Condition::CondaAsked),
        true,
        "order is priority",
    ),
    row(
        CONDA,
        "dependencies[]",
        Enters::Always,
        true,
        "a set: order and duplicates don't count",
    ),
    row(
        CONDA,
        "dependencies[].pip[]",
        Enters::Always,
        true,
        "a line of a requirements file: see there",
    ),
    row(CONDA, "variables.*", Enters::Always, false, ""),
    row(
        REQUIREMENTS,
        "requirement",
        Enters::Always,
        true,
        "a set: order and duplicates don't count",
    ),
    row(
        REQUIREMENTS,
        "`--hash`",
        Enters::Always,
        true,
        "a set, of its requirement",
    ),
    row(
        REQUIREMENTS,
        "constraint (`-c`)",
        Enters::Always,
        true,
        "a set of their own",
    ),
    row(
        REQUIREMENTS,
        "option",
        Enters::Always,
        true,
        "by the table of options",
    ),
    row(REQUIREMENTS, "comment", Enters::Never, false, ""),
    row(
        OVERRIDES,
        "base",
        Enters::Always,
        true,
        "takes the place of the document's image",
    ),
    row(
        OVERRIDES,
        "gpu",
        Enters::When(Condition::DefaultBase),
        true,
        "",
    ),
    row(
        OVERRIDES,
        "platform",
        Enters::Always,
        true,
        "takes the place of the document's",
    ),
    row(
        OVERRIDES,
        "files.*",
        Enters::Always,
        true,
        "by what the document includes of them",
    ),
];

/// The table of all fields in Markdown.
pub fn field_table() -> String {
    let mut table = String::from(
        "| document | field | SpecHash | Lock | image key | note |\n|---|---|---|---|---|---|\n",
    );
    for field in FIELDS {
        let lock = if field.lock && field.spec_hash != Enters::Never {
            "as SpecHash"
        } else {
            "–"
        };
        let image = if field.spec_hash == Enters::Never {
            "–"
        } else {
            "as SpecHash"
        };
        let path = if field.path.contains(['`', ' ']) {
            field.path.to_owned()
        } else {
            format!("`{}`", field.path)
        };
        writeln!(
            table,
            "| {} | {path} | {} | {lock} | {image} | {} |",
            field.document, field.spec_hash, field.note
        )
        .expect("writing to a String never fails");
    }
    table
}

#[cfg(test)]
mod tests {
    /// The part of `docs/spec-format.md` between two marks.
    fn part(mark: &str) -> String {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/spec-format.md");
        let page = std::fs::read_to_string(path).unwrap();
        let (_, rest) = page.split_once(&format!("<!-- {mark} -->\n")).unwrap();
        rest.split_once(&format!("<!-- /{mark} -->"))
            .unwrap()
            .0
            .to_owned()
    }

    #[test]
    fn the_tables_of_the_format_page_are_those_of_the_code() {
        // On a difference, the right side is what the page must say.
        assert_eq!(part("fields"), super::field_table());
        assert_eq!(part("options"), crate::option_table());
    }
}
