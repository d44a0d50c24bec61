//! `kiln explain`: why an environment is a hit or a miss.

use std::fmt::Write as _;

use clap::Args;
use kiln_api::{
    Comparison, ExplainRequest, Explanation, PackageChange, RefreshChange, ValueChange, Verdict,
};

use crate::cli::InputArgs;
use crate::config::Settings;
use crate::env_text::{package_change, value_change};
use crate::error::CliError;
use crate::input::Document;
use crate::own_server::Api;

/// Arguments of `kiln explain`.
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    #[command(flatten)]
    input: InputArgs,
    /// The version to compare with; without it, the latest of the document's own name.
    #[arg(long, value_name = "NAME[:VERSION]")]
    against: Option<String>,
    /// Resolve anew, without keeping what comes of it, and tell what a refresh would change.
    #[arg(long)]
    resolve: bool,
    /// Explain a refresh.
    #[arg(long)]
    refresh: bool,
    /// Where the image goes, HOST[/PREFIX] [env: KILN_REGISTRY].
    #[arg(long, value_name = "HOST[/PREFIX]")]
    pub(crate) registry: Option<String>,
    /// Print the explanation as a JSON object.
    #[arg(long)]
    json: bool,
    /// The `kiln serve` to ask [env: KILN_SERVER].
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// The workspace.
    #[arg(long, value_name = "NAME")]
    workspace: Option<String>,
}

/// Runs the command.
pub(crate) async fn run(settings: Settings, args: ExplainArgs) -> Result<(), CliError> {
    let mut build = Document::read(&args.input)?.request(&args.input)?;
    build.workspace = args.workspace;
    build.refresh = args.refresh;
    let request = ExplainRequest {
        build,
        against: args.against,
        resolve: args.resolve,
    };
    let api = Api::open(&settings, args.server).await?;
    let explanation: Result<Explanation, _> = api.client.post("/v1/explain", &request).await;
    api.close().await;
    let explanation = explanation?;
    if args.json {
        let json = serde_json::to_string(&explanation).expect("an explanation is plain data");
        super::print(&json)
    } else {
        super::print(text(&explanation).trim_end())
    }
}

/// The explanation for people.
fn text(explanation: &Explanation) -> String {
    let status = &explanation.status;
    let verdict = match explanation.verdict {
        Verdict::Hit => "hit",
        Verdict::Building => "building",
        Verdict::Failed => "failed",
        Verdict::Miss => "miss",
    };
    let image = status.image.as_deref().unwrap_or(&status.name);
    let mut text = format!("{verdict}: {image}\n{}\n", explanation.reason);
    if let Some(error) = &status.error {
        let _ = writeln!(
            text,
            "{}: {}\n  {}",
            error.class, error.message, error.remedy
        );
    }
    for warning in &status.warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
    if let Some(compared) = &explanation.compared {
        text += &comparison(compared);
    }
    if let Some(change) = &explanation.refresh {
        text += &refresh(change);
    }
    for hint in &explanation.hints {
        let _ = writeln!(text, "hint: {hint}");
    }
    text
}

fn comparison(compared: &Comparison) -> String {
    let with = format!("{}:{}", compared.with.name, compared.with.version);
    if compared.same_definition {
        return format!("one definition with {with}: they share their images\n");
    }
    let mut text = format!("what differs from {with}:\n");
    lines(
        &mut text,
        &compared.packages,
        &compared.variables,
        compared.base.iter().chain(&compared.fields),
    );
    text
}

fn refresh(change: &RefreshChange) -> String {
    if !change.resolved_before {
        return "a refresh is its first resolution: it can be resolved\n".into();
    }
    if change.same {
        return "a refresh would choose the same packages on the same base\n".into();
    }
    let mut text = String::from("a refresh would change:\n");
    lines(&mut text, &change.packages, &[], change.base.iter());
    text
}

fn lines<'a>(
    text: &mut String,
    packages: &[PackageChange],
    variables: &[ValueChange],
    others: impl Iterator<Item = &'a ValueChange>,
) {
    let packages = packages.iter().map(package_change);
    let variables = variables.iter().map(|one| value_change("variable ", one));
    let others = others.map(|one| value_change("", one));
    for line in packages.chain(variables).chain(others) {
        text.push_str(&line);
        text.push('\n');
    }
}
