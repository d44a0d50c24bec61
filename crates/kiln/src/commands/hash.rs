//! `kiln hash`: the name of an environment's image, offline.

use clap::Args;
use kiln_api::{Failure, FailureClass};

use crate::cli::InputArgs;
use crate::error::CliError;
use crate::input::Document;

/// Arguments of `kiln hash`.
#[derive(Debug, Args)]
pub(crate) struct HashArgs {
    #[command(flatten)]
    input: InputArgs,
    /// Print an object with `name`, `image`, `spec_hash` and `kind`.
    #[arg(long)]
    json: bool,
    /// Print the canonical definition that is hashed.
    #[arg(long, conflicts_with = "json")]
    canonical: bool,
}

/// Prints the name.
pub(crate) fn run(args: &HashArgs) -> Result<(), CliError> {
    let document = Document::read(&args.input)?;
    let parsed = kiln_spec::parse(&document.input()).map_err(|errors| {
        CliError::Failure(Failure::new(
            FailureClass::Invalid,
            errors.to_string(),
            "change the environment as the message says",
        ))
    })?;
    for warning in &parsed.warnings {
        crate::progress::warn(&warning.to_string());
    }
    if args.canonical {
        return super::print(&parsed.definition.canonical_json());
    }
    let hash = parsed.definition.spec_hash();
    let name = hash.image_name();
    if !args.json {
        return super::print(&name);
    }
    let answer = serde_json::json!({
        "name": name,
        "image": name,
        "spec_hash": hash.to_hex(),
        "kind": parsed.kind.as_str(),
    });
    super::print(&answer.to_string())
}
