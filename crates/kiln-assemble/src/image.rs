//! The image's configuration and its top layer, out of the same plan by which the docker backend writes its
//! Dockerfile: what an instruction does there, it does here.

use std::collections::BTreeMap;

use kiln_dockerfile::{Content, Instruction, Part, Plan};
use kiln_engine::BuildJob;
use kiln_layer::SmallEntry;
use kiln_oci::{History, ImageConfig, RunConfig};

use crate::error::{AssembleError, Obstacle};
use crate::layers::NamedLayer;
use crate::packages::Packages;

/// `created` of an image: nothing from the clock is in it.
const CREATED: &str = "1970-01-01T00:00:00Z";
/// Names in one line of the history.
const NAMED: usize = 12;

/// What stands above the packages' layers.
pub(crate) fn top(
    plan: &Plan,
    packages: &Packages,
    job: &BuildJob,
) -> Result<BTreeMap<String, SmallEntry>, AssembleError> {
    let mut entries = packages.environment().clone();
    let conda = &job.lock.conda;
    if !conda.is_empty() {
        let prefix = crate::PREFIX.trim_start_matches('/');
        let history = SmallEntry::File {
            mode: 0o644,
            content: kiln_install::history_text(conda).into_bytes(),
        };
        entries.insert(format!("{prefix}/conda-meta/history"), history);
    }
    for instruction in plan.dockerfile.instructions() {
        match instruction {
            Instruction::Copy {
                source,
                destination,
            } => copy(plan, source, destination, &mut entries)?,
            Instruction::Run { .. } => return Err(not_layers("a step that runs")),
            _ => {}
        }
    }
    Ok(entries)
}

fn copy(
    plan: &Plan,
    source: &str,
    destination: &str,
    entries: &mut BTreeMap<String, SmallEntry>,
) -> Result<(), AssembleError> {
    let folder = destination.trim_start_matches('/');
    for file in &plan.context {
        let Some(below) = file.path.strip_prefix(source) else {
            continue;
        };
        let entry = match &file.content {
            Content::Bytes(content) => SmallEntry::File {
                mode: file.mode,
                content: content.clone(),
            },
            Content::Link(target) => SmallEntry::Symlink(target.clone()),
            _ => return Err(not_layers("a file of another kind")),
        };
        entries.insert(format!("{folder}{below}"), entry);
    }
    Ok(())
}

fn not_layers(what: &str) -> AssembleError {
    AssembleError::Obstacle(Obstacle::Plan(format!("the plan has {what}")))
}

/// The configuration of the image upon its base.
///
/// | field of the base | in the image |
/// |---|---|
/// | `Env` | kept in order; kiln's and the definition's set in place or added |
/// | `Labels` | kept; kiln's added |
/// | `Cmd` | kept; replaced where the image serves |
/// | `Entrypoint`, `User`, `WorkingDir`, `ExposedPorts`, `Volumes`, `StopSignal`, `Shell`, `Healthcheck` | kept |
/// | `OnBuild` | none: a base that has triggers is refused |
/// | `created` | constant |
/// | `history` | kept, one entry for each layer added |
pub(crate) fn config(
    base: &ImageConfig,
    plan: &Plan,
    layers: &[NamedLayer],
    labels: &BTreeMap<String, String>,
) -> ImageConfig {
    let mut config = base.clone();
    config.created = Some(CREATED.to_owned());
    config.author = None;
    for instruction in plan.dockerfile.instructions() {
        apply(instruction, &mut config.config);
    }
    for (name, value) in labels {
        config.config.labels.insert(name.clone(), value.clone());
    }
    // A base may have no history, or one that doesn't tell its layers.
    let told = config
        .history
        .iter()
        .filter(|entry| !entry.empty_layer)
        .count();
    let tells_all = told == config.rootfs.diff_ids.len();
    for layer in layers {
        config.rootfs.diff_ids.push(layer.layer.diff_id);
        if tells_all {
            config.history.push(History {
                created: Some(CREATED.to_owned()),
                created_by: Some(created_by(&layer.packages)),
                ..History::default()
            });
        }
    }
    config
}

fn apply(instruction: &Instruction, config: &mut RunConfig) {
    match instruction {
        Instruction::Env { name, value } => {
            let mut text = String::new();
            for part in value.parts() {
                match part {
                    Part::Literal(literal) => text.push_str(literal),
                    Part::AfterColon(other) => {
                        if let Some(value) = config.env(other).filter(|value| !value.is_empty()) {
                            text.push(':');
                            text.push_str(value);
                        }
                    }
                    Part::OrElse(other, default) => {
                        let value = config.env(other).filter(|value| !value.is_empty());
                        text.push_str(value.unwrap_or(default));
                    }
                }
            }
            config.set_env(name.as_str(), &text);
        }
        Instruction::Cmd(command) => config.cmd = Some(command.clone()),
        Instruction::Label { name, value } => {
            config.labels.insert((*name).to_owned(), value.clone());
        }
        _ => {}
    }
}

fn created_by(packages: &[String]) -> String {
    let mut names = packages
        .iter()
        .take(NAMED)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(", ");
    if packages.len() > NAMED {
        names.push_str(", ...");
    }
    match names.as_str() {
        "" => "kiln: environment".to_owned(),
        names => format!("kiln: {names}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histories_name_packages_and_no_more_than_a_line_of_them() {
        let names = |n: usize| (0..n).map(|n| format!("p{n}")).collect::<Vec<_>>();
        assert_eq!(created_by(&names(2)), "kiln: p0, p1");
        assert_eq!(created_by(&[]), "kiln: environment");
        assert!(created_by(&names(13)).ends_with("p11, ..."));
    }
}
