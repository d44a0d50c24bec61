//! `kiln build`: the image of an environment, from the cache or new.

use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use futures::StreamExt as _;
use kiln_api::{
    BackendChoice, BuildRequest, BuildState, BuildStatus, Environment, Failure, FailureClass,
    ReproduceRequest, Reproduction,
};
use kiln_engine::{Engine, Options, Origin, Recovery, Scope, Submission, Verify, Waiting};
use kiln_spec::{EnvironmentReference, Which};
use serde::Serialize;

use crate::cli::InputArgs;
use crate::client::Client;
use crate::commands::env::path as environment_path;
use crate::compose;
use crate::config::Settings;
use crate::data_lock::{Claim, DataLock, ServerAddress};
use crate::env_text;
use crate::error::CliError;
use crate::input::Document;
use crate::own_server::Api;
use crate::progress::{Progress, warn};

/// Arguments of `kiln build`.
#[derive(Debug, Args)]
pub(crate) struct BuildArgs {
    #[command(flatten)]
    input: Option<InputArgs>,
    /// Build a registered environment: NAME, NAME:VERSION or NAME@LABEL.
    #[arg(long, value_name = "NAME[:VERSION]", conflicts_with_all = ["file", "locked"])]
    env: Option<EnvironmentReference>,
    /// Make the image of a registered version again from its recorded lock, and compare the two.
    #[arg(long, value_name = "NAME:VERSION", conflicts_with_all = ["file", "refresh", "retry", "backend"])]
    locked: Option<EnvironmentReference>,
    /// Where the image goes, HOST[/PREFIX] [env: KILN_REGISTRY].
    #[arg(long, value_name = "HOST[/PREFIX]")]
    pub(crate) registry: Option<String>,
    /// Resolve anew, and make the result the current generation.
    #[arg(long)]
    refresh: bool,
    /// Forget a remembered failure.
    #[arg(long)]
    retry: bool,
    /// The backend that builds.
    #[arg(long, value_name = "B", default_value = "auto")]
    backend: BackendArg,
    /// Print the answer as a JSON object; progress goes to standard error.
    #[arg(long)]
    json: bool,
    /// No progress.
    #[arg(long, short)]
    quiet: bool,
    /// A running `kiln serve` that builds in place of this process [env: KILN_SERVER].
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// The workspace.
    #[arg(long, value_name = "NAME")]
    workspace: Option<String>,
}

/// Names of backends.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum BackendArg {
    Auto,
    Assemble,
    Docker,
}

impl From<BackendArg> for BackendChoice {
    fn from(backend: BackendArg) -> Self {
        match backend {
            BackendArg::Auto => Self::Auto,
            BackendArg::Assemble => Self::Assemble,
            BackendArg::Docker => Self::Docker,
        }
    }
}

/// The last object of `--json`: the API's fields and how long it took. A failure before kiln could
/// accept the environment has no more than `error`.
#[derive(Serialize)]
struct Answer<'a> {
    #[serde(flatten)]
    status: Option<&'a BuildStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a Failure>,
    duration_ms: u64,
}

/// Runs the command.
pub(crate) async fn run(settings: Settings, args: BuildArgs) -> Result<(), CliError> {
    let began = Instant::now();
    if let Some(environment) = &args.locked {
        let locked = reproduce(&settings, &args, environment).await;
        return tell_locked(locked, args.json, began.elapsed());
    }
    let status = build(&settings, &args).await;
    tell(status, args.json, began.elapsed())
}

/// Builds where it must be: in a running server, or in this process.
async fn build(settings: &Settings, args: &BuildArgs) -> Result<BuildStatus, CliError> {
    let asked = Asked::read(args)?;
    let progress = Progress::choose(args.quiet);
    let server = args
        .server
        .clone()
        .or_else(|| std::env::var("KILN_SERVER").ok());
    if let Some(url) = server {
        return remote(&ServerAddress { url }, args, &asked, progress).await;
    }
    let data = settings.data.display();
    let _lock = match DataLock::claim(&settings.data)? {
        Claim::Served(address) => {
            warn(&format!("{data} is served at {}: using it", address.url));
            return remote(&address, args, &asked, progress).await;
        }
        Claim::Ours(lock) => lock,
        Claim::Busy => {
            warn(&format!("{data} is in use by another kiln: waiting"));
            DataLock::wait(&settings.data).await?
        }
    };
    // Boxed: it holds the engine's whole start.
    Box::pin(local(settings, args, &asked, progress)).await
}

async fn local(
    settings: &Settings,
    args: &BuildArgs,
    asked: &Asked<'_>,
    mut progress: Progress,
) -> Result<BuildStatus, CliError> {
    let options = Options {
        backend: args.backend.into(),
        refresh: args.refresh,
        retry: args.retry,
        dry_run: false,
        registry: settings.registry.clone(),
        request: None,
        callbacks: Vec::new(),
    };
    let origin = Origin {
        actor: "local".into(),
        via: "cli".into(),
    };
    let workspace = args.workspace.as_deref();
    let (engine, submission) = match asked {
        Asked::Document(document, _) => {
            // What is wrong with a document is told before anything starts.
            let input = document.input();
            let submission = Submission::parse(&input, workspace, options, origin)?;
            (compose::engine(settings, Verify::First).await?, submission)
        }
        Asked::Environment(environment) => {
            let (name, which) = (&environment.name, &environment.which);
            let scope = scope(workspace)?;
            let engine = compose::engine(settings, Verify::First).await?;
            let found = engine.submission_of(&scope, name, which, options, origin);
            let submission = found.await?;
            (engine, submission)
        }
    };
    for warning in submission.warnings() {
        warn(&warning);
    }
    engine.recover(Recovery::Abandon).await?;
    engine.work();
    let ticket = engine.submit(submission).await?;
    let id = ticket
        .status()
        .build_id
        .clone()
        .filter(|_| !ticket.status().cached);
    let waiting = ticket.wait(Duration::MAX);
    tokio::pin!(waiting);
    let status = tokio::select! {
        status = &mut waiting => status,
        () = show_log(&engine, id.as_deref(), &mut progress) => waiting.await,
        _ = tokio::signal::ctrl_c() => {
            if let Some(id) = &id {
                engine.withdraw(id, &Waiting::All).await?;
            }
            waiting.await
        }
    };
    if id.is_some() {
        // What came after the last look.
        show_log(&engine, id.as_deref(), &mut progress).await;
    }
    progress.finish();
    engine.shutdown(Duration::from_secs(10)).await;
    Ok(status)
}

/// Shows the log until the build is over; never ends by itself where there is no build.
async fn show_log(engine: &Engine, id: Option<&str>, progress: &mut Progress) {
    let Some(id) = id else {
        return std::future::pending().await;
    };
    let mut events = std::pin::pin!(engine.follow_log(id, progress.last_event()));
    while let Some(event) = events.next().await {
        progress.show(&event);
    }
}

async fn remote(
    address: &ServerAddress,
    args: &BuildArgs,
    asked: &Asked<'_>,
    progress: Progress,
) -> Result<BuildStatus, CliError> {
    let client = Client::new(address, std::env::var("KILN_TOKEN").ok())?;
    let request = request(&client, args, asked).await?;
    asked_of(&client, &request, progress).await
}

/// Asks a server for an image, and shows its build until it is over; Ctrl-C withdraws.
pub(super) async fn asked_of(
    client: &Client,
    request: &BuildRequest,
    mut progress: Progress,
) -> Result<BuildStatus, CliError> {
    let status = client.build(request).await?;
    for warning in &status.warnings {
        warn(warning);
    }
    let Some(id) = status.build_id.clone().filter(|_| !status.state.is_final()) else {
        return Ok(status);
    };
    let following = client.follow(&id, |event| progress.show(event));
    tokio::select! {
        followed = following => followed?,
        _ = tokio::signal::ctrl_c() => {
            client.cancel(&id).await?;
        }
    }
    progress.finish();
    // The log ends a moment before the state is final in the store.
    let mut ended = client.status(&id).await?;
    for _ in 0..50 {
        if ended.state.is_final() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        ended = client.status(&id).await?;
    }
    Ok(BuildStatus {
        joined: status.joined,
        cached: false,
        warnings: status.warnings,
        environment: status.environment,
        ..ended
    })
}

/// What is to be built.
enum Asked<'a> {
    Document(Document, &'a InputArgs),
    Environment(&'a EnvironmentReference),
}

impl<'a> Asked<'a> {
    fn read(args: &'a BuildArgs) -> Result<Self, CliError> {
        match (&args.input, &args.env) {
            (Some(input), None) => Ok(Self::Document(Document::read(input)?, input)),
            (None, Some(environment)) => Ok(Self::Environment(environment)),
            _ => Err(CliError::input(
                "a document's options stand beside a registered environment",
                "leave --base, --gpu, --platform, --files and --kind out",
            )),
        }
    }
}

fn scope(workspace: Option<&str>) -> Result<Scope, CliError> {
    let name = workspace.unwrap_or("default");
    name.parse().map_err(|_| {
        CliError::input(
            format!("`{}` is no name of a workspace", name.escape_debug()),
            "use letters, digits, `.`, `_`, `-` and `/`",
        )
    })
}

/// The request as the API takes it.
async fn request(
    client: &Client,
    args: &BuildArgs,
    asked: &Asked<'_>,
) -> Result<BuildRequest, CliError> {
    let request = match asked {
        Asked::Document(document, input) => document.request(input)?,
        Asked::Environment(environment) => BuildRequest {
            name: Some(environment.name.to_string()),
            version: version(client, args, environment).await?,
            ..BuildRequest::default()
        },
    };
    Ok(BuildRequest {
        workspace: args.workspace.clone(),
        backend: args.backend.into(),
        refresh: args.refresh,
        retry: args.retry,
        ..request
    })
}

/// The version that a reference names; a label is looked up.
async fn version(
    client: &Client,
    args: &BuildArgs,
    environment: &EnvironmentReference,
) -> Result<Option<String>, CliError> {
    match &environment.which {
        Which::Latest => Ok(None),
        Which::Version(version) => Ok(Some(version.to_string())),
        Which::Label(label) => {
            let query = url::form_urlencoded::Serializer::new(String::new())
                .append_pair("label", label.as_str())
                .append_pair("workspace", args.workspace.as_deref().unwrap_or("default"))
                .finish();
            let path = environment_path(&environment.name, &format!("?{query}"));
            let found: Environment = client.get(&path).await?;
            Ok(Some(found.version))
        }
    }
}

/// Has a version made again from its recorded lock.
async fn reproduce(
    settings: &Settings,
    args: &BuildArgs,
    environment: &EnvironmentReference,
) -> Result<Reproduction, CliError> {
    if args.input.is_some() {
        return Err(CliError::input(
            "a document's options stand beside a registered environment",
            "leave --base, --gpu, --platform, --files and --kind out",
        ));
    }
    let api = Api::open(settings, args.server.clone()).await?;
    let asking = async {
        let request = ReproduceRequest {
            version: version(&api.client, args, environment).await?,
            workspace: args.workspace.clone(),
        };
        let path = environment_path(&environment.name, "/reproduce");
        api.client.post(&path, &request).await
    };
    let answer = asking.await;
    api.close().await;
    answer
}

fn tell_locked(
    outcome: Result<Reproduction, CliError>,
    json: bool,
    took: Duration,
) -> Result<(), CliError> {
    match outcome {
        Ok(made) if json => {
            super::print(&serde_json::to_string(&made).expect("an answer is plain data"))
        }
        Ok(made) => super::print(&env_text::reproduction(&made)),
        Err(error) => tell(Err(error), json, took),
    }
}

fn tell(
    outcome: Result<BuildStatus, CliError>,
    json: bool,
    took: Duration,
) -> Result<(), CliError> {
    let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    let status = match outcome {
        Err(CliError::Failure(failure)) if json => {
            print_json(&Answer {
                status: None,
                error: Some(&failure),
                duration_ms,
            })?;
            return Err(CliError::Told(failure));
        }
        other => other?,
    };
    let failure = status.error.clone().or_else(|| {
        (status.state != BuildState::Ready).then(|| {
            Failure::new(
                FailureClass::Internal,
                format!("the build ended as {}", status.state.as_str()),
                "see its log",
            )
        })
    });
    if json {
        print_json(&Answer {
            status: Some(&status),
            error: None,
            duration_ms,
        })?;
        return failure.map_or(Ok(()), |failure| Err(CliError::Told(failure)));
    }
    if let Some(failure) = failure {
        return Err(CliError::Failure(failure));
    }
    let how = if status.cached { "cached" } else { "built" };
    let generation = status.generation.unwrap_or(1);
    let seconds = took.as_secs_f64();
    super::print(&format!(
        "{} ({how}, generation {generation}, {seconds:.1} s)",
        status.image.as_deref().unwrap_or(&status.name)
    ))
}

fn print_json(answer: &Answer<'_>) -> Result<(), CliError> {
    super::print(&serde_json::to_string(answer).expect("an answer is plain data"))
}
