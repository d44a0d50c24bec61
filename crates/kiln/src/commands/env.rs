//! `kiln env`: named environments.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use kiln_api::{
    AddPackagesRequest, ArchiveRequest, CloneRequest, ContextInfo, Environment, EnvironmentDiff,
    EnvironmentList, HistoryList, LabelRequest, RegisterRequest, RollbackRequest,
};
use kiln_spec::{EnvironmentName, EnvironmentReference, EnvironmentVersion, Kind, Which};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cli::InputArgs;
use crate::client::Client;
use crate::conda_prefix;
use crate::config::Settings;
use crate::context_folder;
use crate::env_text;
use crate::error::CliError;
use crate::folder_tar::{Entry, stream};
use crate::input::Document;
use crate::own_server::Api;

/// Arguments of `kiln env`.
#[derive(Debug, Args)]
pub(crate) struct EnvArgs {
    #[command(subcommand)]
    action: Action,
    /// The `kiln serve` that has them [env: KILN_SERVER].
    #[arg(long, global = true, value_name = "URL")]
    server: Option<String>,
    /// The workspace.
    #[arg(long, global = true, value_name = "NAME", default_value = "default")]
    workspace: String,
    /// Print the API's answer as JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Registers an environment: nothing happens where the newest version is equal.
    Register {
        /// The name.
        name: EnvironmentName,
        #[command(flatten)]
        input: Box<InputArgs>,
        /// The version; the next number where none is given.
        #[arg(long, value_name = "VERSION")]
        version: Option<EnvironmentVersion>,
    },
    /// Registers what exists elsewhere: an installed conda environment, an image, a Dockerfile, a folder with one.
    Import {
        /// The name.
        name: EnvironmentName,
        #[command(flatten)]
        from: ImportFrom,
        /// The Dockerfile's path in the folder of `--context`.
        #[arg(
            long,
            value_name = "PATH",
            default_value = "Dockerfile",
            requires = "context"
        )]
        dockerfile_path: String,
        /// The version; the next number where none is given.
        #[arg(long, value_name = "VERSION")]
        version: Option<EnvironmentVersion>,
    },
    /// Lists the environments, the newest version of each.
    List {
        /// Only names that begin so.
        #[arg(long)]
        prefix: Option<String>,
        /// Archived ones too.
        #[arg(long)]
        archived: bool,
    },
    /// Shows a version.
    Show {
        /// NAME, NAME:VERSION or NAME@LABEL.
        environment: EnvironmentReference,
    },
    /// Lists the versions of a name, newest first.
    Versions {
        /// The name.
        name: EnvironmentName,
    },
    /// Tells what was done to a name, newest first.
    History {
        /// The name.
        name: EnvironmentName,
    },
    /// Tells how two versions differ.
    Diff {
        /// NAME or NAME:VERSION; alone, it is compared with the version before it.
        from: EnvironmentReference,
        /// NAME or NAME:VERSION.
        to: Option<EnvironmentReference>,
    },
    /// Sets labels on a version, or takes them away.
    Label {
        /// NAME:VERSION; the name alone to take labels away.
        environment: EnvironmentReference,
        /// The labels.
        #[arg(required = true)]
        labels: Vec<String>,
        /// Take them away.
        #[arg(long)]
        remove: bool,
    },
    /// Archives a version, or a whole name: it is neither listed nor `latest`.
    Archive {
        /// NAME or NAME:VERSION.
        environment: EnvironmentReference,
    },
    /// Takes a version, or a whole name, back from the archive.
    Restore {
        /// NAME or NAME:VERSION.
        environment: EnvironmentReference,
    },
    /// Makes the document of an older version the newest again.
    Rollback {
        /// NAME:VERSION.
        environment: EnvironmentReference,
    },
    /// Makes a version of another name, or in another workspace, with the same document.
    Clone {
        /// NAME or NAME:VERSION.
        environment: EnvironmentReference,
        /// The new name.
        name: EnvironmentName,
        /// The workspace of the new name.
        #[arg(long, value_name = "NAME")]
        to_workspace: Option<String>,
    },
    /// Prints the document of a version.
    Export {
        /// NAME, NAME:VERSION or NAME@LABEL.
        environment: EnvironmentReference,
        /// Print the text as it was registered, not as the Azure ML SDK reads it.
        #[arg(long)]
        source: bool,
    },
    /// Makes a version with more packages: one of the same name gives way.
    Add {
        /// The name.
        name: EnvironmentName,
        /// A conda package, as a conda file has it.
        #[arg(long, value_name = "SPEC")]
        conda: Vec<String>,
        /// A pip requirement.
        #[arg(long, value_name = "REQUIREMENT")]
        pip: Vec<String>,
    },
}

/// What is imported.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct ImportFrom {
    /// A conda environment as it is installed, its folder or its name: read without conda.
    #[arg(long, value_name = "FOLDER|NAME")]
    conda_prefix: Option<String>,
    /// An image that brings its own python.
    #[arg(long, value_name = "REF")]
    image: Option<String>,
    /// A Dockerfile whose image brings its own python.
    #[arg(long, value_name = "FILE")]
    dockerfile: Option<PathBuf>,
    /// A folder with a Dockerfile whose image brings its own python; `.dockerignore` counts.
    #[arg(long, value_name = "DIR")]
    context: Option<PathBuf>,
}

impl ImportFrom {
    /// The document of what is imported; that of a folder is known once it is uploaded.
    fn request(&self) -> Result<RegisterRequest, CliError> {
        let mut request = RegisterRequest {
            imported: true,
            ..RegisterRequest::default()
        };
        if let Some(text) = &self.conda_prefix {
            let prefix = conda_prefix::find(text, &|name| std::env::var(name).ok())?;
            let installed = conda_prefix::read(&prefix)?;
            for warning in &installed.warnings {
                crate::progress::warn(warning);
            }
            request.conda = Some(installed.yaml);
            request.platform = installed.platform.map(str::to_owned);
        } else if let Some(image) = &self.image {
            request.environment = Some(own_python(&serde_json::json!({ "baseImage": image })));
        } else if let Some(file) = &self.dockerfile {
            let text = fs_err::read_to_string(file).map_err(|error| {
                let remedy = "give the path of a Dockerfile that kiln may read";
                CliError::input(format!("the Dockerfile can't be read: {error}"), remedy)
            })?;
            request.environment = Some(own_python(&serde_json::json!({ "baseDockerfile": text })));
        }
        Ok(request)
    }
}

/// A document whose image brings its own python.
fn own_python(docker: &serde_json::Value) -> Box<serde_json::value::RawValue> {
    let document = serde_json::json!({
        "python": { "userManagedDependencies": true },
        "docker": docker,
    });
    let raw = serde_json::value::RawValue::from_string(document.to_string());
    raw.expect("the text is JSON")
}

/// Runs the command.
pub(crate) async fn run(settings: Settings, args: EnvArgs) -> Result<(), CliError> {
    // What is wrong with a document needs no server to be told.
    let action = prepare(args.action)?;
    let api = Api::open(&settings, args.server).await?;
    let done = act(&api.client, &args.workspace, args.json, action).await;
    api.close().await;
    done
}

/// An action whose document is read.
enum Prepared {
    Register(EnvironmentName, Box<RegisterRequest>),
    /// What is registered when these files are uploaded, and their Dockerfile's path.
    Upload(EnvironmentName, Box<RegisterRequest>, Vec<Entry>, String),
    Other(Action),
}

fn prepare(action: Action) -> Result<Prepared, CliError> {
    if let Action::Import {
        name,
        from,
        dockerfile_path,
        version,
    } = action
    {
        let request = RegisterRequest {
            version: version.map(|version| version.to_string()),
            ..from.request()?
        };
        if let Some(folder) = &from.context {
            let files = context_folder::entries(folder, &dockerfile_path)?;
            return Ok(Prepared::Upload(
                name,
                Box::new(request),
                files,
                dockerfile_path,
            ));
        }
        return Ok(Prepared::Register(name, Box::new(request)));
    }
    let Action::Register {
        name,
        input,
        version,
    } = action
    else {
        return Ok(Prepared::Other(action));
    };
    let document = Document::read(&input)?;
    let parsed = kiln_spec::parse(&document.input()).map_err(|errors| {
        CliError::input(
            errors.to_string(),
            "change the environment as the message says",
        )
    })?;
    for warning in &parsed.warnings {
        crate::progress::warn(&warning.to_string());
    }
    let text = kiln_spec::text_of(&document.bytes)
        .map_err(|error| CliError::input(error.to_string(), "save the file as UTF-8"))?;
    let mut request = RegisterRequest {
        version: version.map(|version| version.to_string()),
        base: input.base,
        gpu: input.gpu,
        platform: input.platform,
        files: document.files,
        ..RegisterRequest::default()
    };
    match parsed.kind {
        Kind::Conda => request.conda = Some(text),
        Kind::Requirements => request.requirements = Some(text),
        Kind::AzureMl => {
            let raw = serde_json::value::RawValue::from_string(text)
                .map_err(|error| CliError::kiln("the document is no JSON", &error))?;
            request.environment = Some(raw);
        }
    }
    Ok(Prepared::Register(name, Box::new(request)))
}

async fn act(
    client: &Client,
    workspace: &str,
    json: bool,
    action: Prepared,
) -> Result<(), CliError> {
    let own = || Some(workspace.to_owned());
    let asked = Asked {
        client,
        workspace,
        json,
    };
    let action = match action {
        Prepared::Register(name, request) => return asked.register(&name, *request).await,
        Prepared::Upload(name, request, files, dockerfile_path) => {
            let uploads = format!("/v1/contexts?workspace={}", quoted(workspace));
            let kept: ContextInfo = client.post_tar(&uploads, stream(files)).await?;
            let environment = own_python(&serde_json::json!({ "buildContext": {
                "locationType": "storageAccount",
                "location": kept.location,
                "dockerfilePath": dockerfile_path,
            }}));
            let request = RegisterRequest {
                environment: Some(environment),
                ..*request
            };
            return asked.register(&name, request).await;
        }
        Prepared::Other(action) => action,
    };
    match action {
        Action::Register { .. } | Action::Import { .. } => Ok(()),
        Action::List { prefix, archived } => asked.list(prefix.as_deref(), archived).await,
        Action::Show { environment } => {
            let shown = asked.show(&environment).await?;
            asked.tell(&shown, &env_text::whole(&shown))
        }
        Action::Versions { name } => asked.versions(&name).await,
        Action::History { name } => asked.history(&name).await,
        Action::Diff { from, to } => asked.diff(&from, to.as_ref()).await,
        Action::Label {
            environment,
            labels,
            remove,
        } => asked.label(&environment, labels, remove).await,
        Action::Archive { environment } => asked.archive(&environment, "/archive").await,
        Action::Restore { environment } => asked.archive(&environment, "/restore").await,
        Action::Rollback { environment } => {
            let request = RollbackRequest {
                version: required(&environment)?,
                workspace: own(),
            };
            asked.make(&environment.name, "/rollback", &request).await
        }
        Action::Clone {
            environment,
            name,
            to_workspace,
        } => {
            let request = CloneRequest {
                name: name.to_string(),
                to_workspace,
                version: Some(asked.show(&environment).await?.version),
                workspace: own(),
            };
            asked.make(&environment.name, "/clone", &request).await
        }
        Action::Export {
            environment,
            source,
        } => {
            let shown = asked.show(&environment).await?;
            let document = shown.document.as_ref().map(|raw| raw.get());
            let text = match &shown.source {
                Some(text) if source => text.trim_end().to_owned(),
                _ => env_text::indented(document.unwrap_or_default()),
            };
            super::print(&text)
        }
        Action::Add { name, conda, pip } => {
            let request = AddPackagesRequest {
                conda,
                pip,
                workspace: own(),
            };
            asked.make(&name, "/packages", &request).await
        }
    }
}

/// Where to ask, and how to tell.
struct Asked<'a> {
    client: &'a Client,
    workspace: &'a str,
    json: bool,
}

impl Asked<'_> {
    fn tell(&self, answer: &impl Serialize, text: &str) -> Result<(), CliError> {
        if !self.json {
            return super::print(text);
        }
        super::print(&serde_json::to_string(answer).expect("an answer is plain data"))
    }

    async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, Option<&str>)],
    ) -> Result<T, CliError> {
        let mut text = url::form_urlencoded::Serializer::new(String::new());
        text.append_pair("workspace", self.workspace);
        for (key, value) in query {
            if let Some(value) = value {
                text.append_pair(key, value);
            }
        }
        self.client.get(&format!("{path}?{}", text.finish())).await
    }

    async fn register(
        &self,
        name: &EnvironmentName,
        request: RegisterRequest,
    ) -> Result<(), CliError> {
        let request = RegisterRequest {
            workspace: Some(self.workspace.to_owned()),
            ..request
        };
        let made: Environment = self.client.put(&path(name, ""), &request).await?;
        self.tell(&made, &env_text::version(&made))
    }

    /// Posts what makes a version, and tells which.
    async fn make(
        &self,
        name: &EnvironmentName,
        rest: &str,
        request: &impl Serialize,
    ) -> Result<(), CliError> {
        let made: Environment = self.client.post(&path(name, rest), request).await?;
        self.tell(&made, &env_text::version(&made))
    }

    async fn show(&self, environment: &EnvironmentReference) -> Result<Environment, CliError> {
        let (version, label) = match &environment.which {
            Which::Latest => (None, None),
            Which::Version(version) => (Some(version.as_str()), None),
            Which::Label(label) => (None, Some(label.as_str())),
        };
        let query = [("version", version), ("label", label)];
        self.get(&path(&environment.name, ""), &query).await
    }

    /// All pages of a list, as one.
    async fn all(
        &self,
        path: &str,
        key: &str,
        query: &[(&str, Option<&str>)],
    ) -> Result<EnvironmentList, CliError> {
        let mut all = EnvironmentList {
            value: Vec::new(),
            next: None,
        };
        loop {
            let mut query = query.to_vec();
            query.push((key, all.next.as_deref()));
            let page: EnvironmentList = self.get(path, &query).await?;
            all.value.extend(page.value);
            all.next = page.next;
            if all.next.is_none() {
                return Ok(all);
            }
        }
    }

    async fn list(&self, prefix: Option<&str>, archived: bool) -> Result<(), CliError> {
        let query = [("prefix", prefix), ("archived", archived.then_some("true"))];
        let all = self.all("/v1/environments", "after", &query).await?;
        self.tell(&all, &env_text::list(&all.value))
    }

    async fn versions(&self, name: &EnvironmentName) -> Result<(), CliError> {
        let all = self.all(&path(name, "/versions"), "before", &[]).await?;
        self.tell(&all, &env_text::list(&all.value))
    }

    async fn history(&self, name: &EnvironmentName) -> Result<(), CliError> {
        let mut all = HistoryList {
            value: Vec::new(),
            next: None,
        };
        loop {
            let before = all.next.map(|id| id.to_string());
            let query = [("before", before.as_deref())];
            let page: HistoryList = self.get(&path(name, "/history"), &query).await?;
            all.value.extend(page.value);
            all.next = page.next;
            if all.next.is_none() {
                return self.tell(&all, &env_text::history(&all.value));
            }
        }
    }

    async fn diff(
        &self,
        from: &EnvironmentReference,
        to: Option<&EnvironmentReference>,
    ) -> Result<(), CliError> {
        let (from_version, to) = match to {
            // Alone, it is the newer of two.
            None => (None, from),
            Some(to) => (Some(self.show(from).await?.version), to),
        };
        let to_version = self.show(to).await?.version;
        let other = (to.name != from.name).then(|| to.name.as_str());
        let query = [
            ("from", from_version.as_deref()),
            ("to", Some(to_version.as_str())),
            ("other", other),
        ];
        let diff: EnvironmentDiff = self.get(&path(&from.name, "/diff"), &query).await?;
        self.tell(&diff, &env_text::diff(&diff))
    }

    async fn label(
        &self,
        environment: &EnvironmentReference,
        labels: Vec<String>,
        remove: bool,
    ) -> Result<(), CliError> {
        let name = &environment.name;
        if remove {
            for label in &labels {
                let path = path(name, &format!("/labels/{}", quoted(label)));
                let workspace = quoted(self.workspace);
                self.client
                    .delete(&format!("{path}?workspace={workspace}"))
                    .await?;
            }
            return Ok(());
        }
        let request = LabelRequest {
            version: required(environment)?,
            labels,
            workspace: Some(self.workspace.to_owned()),
        };
        self.client
            .post_empty(&path(name, "/labels"), &request)
            .await
    }

    async fn archive(
        &self,
        environment: &EnvironmentReference,
        rest: &str,
    ) -> Result<(), CliError> {
        let request = ArchiveRequest {
            version: match &environment.which {
                Which::Latest => None,
                _ => Some(required(environment)?),
            },
            workspace: Some(self.workspace.to_owned()),
        };
        self.client
            .post_empty(&path(&environment.name, rest), &request)
            .await
    }
}

/// The version that is named.
fn required(environment: &EnvironmentReference) -> Result<String, CliError> {
    match &environment.which {
        Which::Version(version) => Ok(version.to_string()),
        _ => Err(CliError::input(
            format!("`{environment}` names no version"),
            "write NAME:VERSION",
        )),
    }
}

fn quoted(text: &str) -> String {
    // A `+` of a form is a space; in a path it is itself.
    let form: String = url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
    form.replace('+', "%20")
}

/// The address of a name, and what follows it.
pub(crate) fn path(name: &EnvironmentName, rest: &str) -> String {
    format!("/v1/environments/{}{rest}", quoted(name.as_str()))
}
