//! `kiln build`: the image of an environment, from the cache or new.

use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use futures::StreamExt as _;
use kiln_api::{BackendChoice, BuildRequest, BuildState, BuildStatus, Failure, FailureClass};
use kiln_engine::{Engine, Options, Origin, Recovery, Submission, Verify, Waiting};
use serde::Serialize;

use crate::cli::InputArgs;
use crate::client::Client;
use crate::compose;
use crate::config::Settings;
use crate::data_lock::{Claim, DataLock, ServerAddress};
use crate::error::CliError;
use crate::input::Document;
use crate::progress::{Progress, warn};

/// Arguments of `kiln build`.
#[derive(Debug, Args)]
pub(crate) struct BuildArgs {
    #[command(flatten)]
    input: InputArgs,
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
    let status = build(&settings, &args).await;
    tell(status, args.json, began.elapsed())
}

/// Builds where it must be: in a running server, or in this process.
async fn build(settings: &Settings, args: &BuildArgs) -> Result<BuildStatus, CliError> {
    let document = Document::read(&args.input)?;
    let progress = Progress::choose(args.quiet);
    let server = args
        .server
        .clone()
        .or_else(|| std::env::var("KILN_SERVER").ok());
    if let Some(url) = server {
        return remote(&ServerAddress { url }, args, &document, progress).await;
    }
    let data = settings.data.display();
    let _lock = match DataLock::claim(&settings.data)? {
        Claim::Served(address) => {
            warn(&format!("{data} is served at {}: using it", address.url));
            return remote(&address, args, &document, progress).await;
        }
        Claim::Ours(lock) => lock,
        Claim::Busy => {
            warn(&format!("{data} is in use by another kiln: waiting"));
            DataLock::wait(&settings.data).await?
        }
    };
    // Boxed: it holds the engine's whole start.
    Box::pin(local(settings, args, &document, progress)).await
}

async fn local(
    settings: &Settings,
    args: &BuildArgs,
    document: &Document,
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
    let submission = Submission::parse(&document.input(), workspace, options, origin)?;
    for warning in submission.warnings() {
        warn(&warning);
    }
    let engine = compose::engine(settings, Verify::First).await?;
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
    document: &Document,
    progress: Progress,
) -> Result<BuildStatus, CliError> {
    let client = Client::new(address, std::env::var("KILN_TOKEN").ok())?;
    asked_of(&client, &request(args, document)?, progress).await
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

/// The request as the API takes it.
fn request(args: &BuildArgs, document: &Document) -> Result<BuildRequest, CliError> {
    Ok(BuildRequest {
        workspace: args.workspace.clone(),
        backend: args.backend.into(),
        refresh: args.refresh,
        retry: args.retry,
        ..document.request(&args.input)?
    })
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
