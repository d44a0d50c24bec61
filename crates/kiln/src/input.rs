//! Reads the document and the files it may include.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use fs_err as fs;
use kiln_api::BuildRequest;
use kiln_spec::{Input, Kind, Overrides};

use crate::cli::InputArgs;
use crate::error::CliError;

/// Larger documents are refused by the parser; reading stops soon after its limit.
const READ_LIMIT_BYTES: u64 = (1 << 20) + 1;
/// Files that a document may include: more than enough, and a guard against a wrong folder.
const FILES_LIMIT: usize = 1000;
/// The SDK's name of an environment in a folder it saved, and of what lies beside it.
const SAVED_ENVIRONMENT: &str = "azureml_environment.json";
const SAVED_SIBLINGS: [&str; 2] = ["conda_dependencies.yml", "BaseDockerfile"];

/// A document in memory, with what overrides it.
#[derive(Debug)]
pub(crate) struct Document {
    /// The name for messages.
    pub(crate) file_name: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) kind: Option<Kind>,
    pub(crate) files: BTreeMap<String, String>,
    pub(crate) overrides: Overrides,
}

impl Document {
    /// Reads what the arguments name.
    pub(crate) fn read(args: &InputArgs) -> Result<Self, CliError> {
        let (path, bytes) = if args.file == Path::new("-") {
            (PathBuf::from("-"), read_limited(std::io::stdin().lock()))
        } else {
            let path = if args.file.is_dir() {
                args.file.join(SAVED_ENVIRONMENT)
            } else {
                args.file.clone()
            };
            let bytes = fs::File::open(&path).and_then(read_limited);
            (path, bytes)
        };
        let bytes = bytes.map_err(|error| {
            CliError::input(
                format!("the environment can't be read: {error}"),
                "give the path of an environment file, of a folder that the Azure ML SDK saved, or `-`",
            )
        })?;
        let mut files = match &args.files {
            Some(folder) => read_folder(folder)?,
            None => BTreeMap::new(),
        };
        if path
            .file_name()
            .is_some_and(|name| name == SAVED_ENVIRONMENT)
        {
            for name in SAVED_SIBLINGS {
                if let Ok(text) = fs::read_to_string(path.with_file_name(name)) {
                    files.entry(name.to_owned()).or_insert(text);
                }
            }
        }
        Ok(Self {
            file_name: path.display().to_string(),
            bytes,
            kind: args.kind.map(Kind::from),
            files,
            overrides: Overrides {
                base: args.base.clone(),
                gpu: args.gpu,
                platform: args.platform.clone(),
            },
        })
    }

    /// The parser's view of it.
    pub(crate) fn input(&self) -> Input<'_> {
        Input {
            file_name: &self.file_name,
            bytes: &self.bytes,
            kind: self.kind,
            files: &self.files,
            overrides: &self.overrides,
        }
    }

    /// The document as the API takes it.
    pub(crate) fn request(&self, args: &InputArgs) -> Result<BuildRequest, CliError> {
        let parsed = kiln_spec::parse(&self.input()).map_err(|errors| {
            CliError::input(
                errors.to_string(),
                "change the environment as the message says",
            )
        })?;
        let mut request = BuildRequest {
            base: args.base.clone(),
            gpu: args.gpu,
            platform: args.platform.clone(),
            files: self.files.clone(),
            ..BuildRequest::default()
        };
        let text = kiln_spec::text_of(&self.bytes)
            .map_err(|error| CliError::input(error.to_string(), "save the file as UTF-8"))?;
        match parsed.kind {
            Kind::Conda => request.conda = Some(text),
            Kind::Requirements => request.requirements = Some(text),
            Kind::AzureMl => {
                let raw = serde_json::value::RawValue::from_string(text)
                    .map_err(|error| CliError::kiln("the document is no JSON", &error))?;
                request.environment = Some(raw);
            }
        }
        Ok(request)
    }
}

fn read_limited(reader: impl std::io::Read) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(READ_LIMIT_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// All text files under a folder, by relative path; links are not followed.
fn read_folder(folder: &Path) -> Result<BTreeMap<String, String>, CliError> {
    let fault = |error: std::io::Error| {
        CliError::input(
            format!("--files: {error}"),
            "give the folder with the files that the document includes",
        )
    };
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).map_err(fault)? {
            let entry = entry.map_err(fault)?;
            let kind = entry.file_type().map_err(fault)?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                let bytes = fs::File::open(entry.path())
                    .and_then(read_limited)
                    .map_err(fault)?;
                let relative = entry.path();
                let relative = relative.strip_prefix(folder).unwrap_or(&relative);
                // Files that are no text can't be included: they are left out.
                if let (Some(name), Ok(text)) = (relative.to_str(), String::from_utf8(bytes)) {
                    files.insert(name.to_owned(), text);
                }
                if files.len() > FILES_LIMIT {
                    return Err(CliError::input(
                        format!(
                            "--files: {} has more than {FILES_LIMIT} files",
                            folder.display()
                        ),
                        "give a folder with nothing but the files that the document includes",
                    ));
                }
            }
        }
    }
    Ok(files)
}
