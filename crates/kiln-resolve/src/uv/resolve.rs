//! One resolution of a pip section.

use std::time::{Duration, Instant};

use kiln_conda::Credentials;
use kiln_lock::{IndexStrategy, Wheel};
use kiln_spec::Pip;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::private::Private;
use super::requirements::{IndexDefaults, Root, clean, roots};
use super::run::{Answer, Run};
use super::select::select;
use super::{Installed, ProcessSettings, PypiError, UvSettings, UvTool};
use crate::target::Target;

/// How long finding out what would help may take, and how many requirements are tried.
const HELP_TIME: Duration = Duration::from_secs(20);
const MOST_LOOSENED: usize = 12;

/// What is asked.
pub(crate) struct PypiRequest<'a> {
    pub(crate) pip: &'a Pip,
    pub(crate) target: &'a Target,
    pub(crate) installed: &'a [Installed],
    pub(crate) private: &'a [Private],
    pub(crate) strategy: IndexStrategy,
    pub(crate) defaults: &'a IndexDefaults,
    pub(crate) credentials: &'a Credentials,
    pub(crate) scope: &'a str,
    pub(crate) timeout: Duration,
}

/// What comes out.
#[derive(Debug, Default)]
pub(crate) struct PypiSolution {
    /// Wheels, sorted by name.
    pub(crate) wheels: Vec<Wheel>,
    /// Sentences for people.
    pub(crate) notes: Vec<String>,
    /// Pages of the index that were read for the definition's own requirements: (name, page).
    pub(crate) pages: Vec<(String, Url)>,
}

/// Resolves a pip section to wheels.
pub(crate) async fn resolve(
    uv: &UvTool,
    settings: &UvSettings,
    process: &ProcessSettings,
    request: &PypiRequest<'_>,
    cancel: &CancellationToken,
) -> Result<PypiSolution, PypiError> {
    let work = resolve_within(uv, settings, process, request);
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(PypiError::Cancelled),
        answer = tokio::time::timeout(request.timeout, work) => {
            answer.unwrap_or(Err(PypiError::Timeout { after: request.timeout }))
        }
    }
}

async fn resolve_within(
    uv: &UvTool,
    settings: &UvSettings,
    process: &ProcessSettings,
    request: &PypiRequest<'_>,
) -> Result<PypiSolution, PypiError> {
    let roots = roots(request.pip, request.private)?;
    if roots.is_empty() {
        return Ok(PypiSolution::default());
    }
    let run = Run::prepare(uv, settings, process, request, &roots)?;
    let lines: Vec<String> = roots.iter().map(|root| root.text.clone()).collect();
    match run.once(&lines).await? {
        Answer::Lock { lock, log } => {
            let mut solution = select(request, &roots, &run.stand_ins, lock)?;
            solution.pages = pages(&log, &roots);
            Ok(solution)
        }
        Answer::Refused(PypiError::Unsatisfiable { clash, .. }) => {
            let help = help(&run, &roots).await;
            Err(PypiError::Unsatisfiable { clash, help })
        }
        Answer::Refused(error) => Err(error),
    }
}

/// Loosens or leaves out one requirement at a time, and says for which of them the rest resolves.
async fn help(run: &Run<'_>, roots: &[Root]) -> Vec<String> {
    let deadline = Instant::now() + HELP_TIME;
    let mut help = Vec::new();
    for (index, root) in roots.iter().enumerate().take(MOST_LOOSENED) {
        if Instant::now() >= deadline {
            break;
        }
        let mut others: Vec<String> = roots.iter().map(|root| root.text.clone()).collect();
        if root.bare != root.text && root.url.is_none() {
            others[index].clone_from(&root.bare);
            if let Ok(Answer::Lock { lock, .. }) = run.once(&others).await {
                let found = lock
                    .packages
                    .iter()
                    .find(|package| package.name == root.name);
                let version = found.and_then(|package| package.version.clone());
                help.push(match version {
                    Some(version) => {
                        format!("loosen `{}`: {} {version} would fit", root.text, root.name)
                    }
                    None => format!("loosen `{}`", root.text),
                });
                continue;
            }
        }
        others.remove(index);
        if !others.is_empty() && matches!(run.once(&others).await, Ok(Answer::Lock { .. })) {
            help.push(format!("without `{}` the rest fits together", root.name));
        }
    }
    help
}

/// The pages that uv's client read, by the names of the definition's own requirements.
fn pages(log: &str, roots: &[Root]) -> Vec<(String, Url)> {
    let mut pages: Vec<(String, Url)> = Vec::new();
    for word in log
        .lines()
        .flat_map(str::split_whitespace)
        .filter(|word| word.starts_with("http"))
    {
        let Ok(url) = Url::parse(word) else { continue };
        if !url.path().ends_with('/') {
            continue;
        }
        let last = url
            .path_segments()
            .and_then(|segments| segments.rev().nth(1).map(str::to_owned));
        let url = clean(&url);
        let known = roots.iter().find(|root| Some(&root.name) == last.as_ref());
        if let Some(root) = known
            && pages.iter().all(|(_, page)| *page != url)
        {
            pages.push((root.name.clone(), url));
        }
    }
    pages
}
