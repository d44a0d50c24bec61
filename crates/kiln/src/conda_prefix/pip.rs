//! What pip installed beside conda's packages.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use fs_err as fs;
use serde::Deserialize;
use url::Url;

/// `direct_url.json` (PEP 610), as far as it matters.
#[derive(Debug, Deserialize)]
struct Direct {
    url: String,
    vcs_info: Option<Vcs>,
    dir_info: Option<serde_json::Value>,
}

#[derive(Debug, Deserialize)]
struct Vcs {
    vcs: String,
    commit_id: String,
}

/// The requirements that bring the distributions which are not conda's, sorted. What comes from a folder of
/// this machine is left out, and told.
pub(super) fn installed(
    prefix: &Path,
    owned: &BTreeSet<&str>,
    warnings: &mut Vec<String>,
) -> Vec<String> {
    let mut requirements = BTreeSet::new();
    for site in site_packages(prefix) {
        for entry in fs::read_dir(&site).into_iter().flatten().flatten() {
            let info = entry.path();
            if info
                .extension()
                .is_none_or(|extension| extension != "dist-info")
            {
                continue;
            }
            let own = |file: &str| {
                let path = info.join(file);
                let below = path.strip_prefix(prefix).ok().and_then(Path::to_str);
                below.is_some_and(|below| owned.contains(below))
            };
            if own("METADATA") || own("RECORD") {
                continue;
            }
            let Ok(metadata) = fs::read(info.join("METADATA")) else {
                continue;
            };
            let Some((name, version)) = name_and_version(&String::from_utf8_lossy(&metadata))
            else {
                warnings.push(format!(
                    "{} names no distribution: it is left out",
                    info.display()
                ));
                continue;
            };
            let direct = fs::read(info.join("direct_url.json")).ok();
            let direct = direct.and_then(|bytes| serde_json::from_slice::<Direct>(&bytes).ok());
            match direct.map(|direct| address(&direct)) {
                None => requirements.insert(format!("{name}=={version}")),
                Some(Some(address)) => requirements.insert(format!("{name} @ {address}")),
                Some(None) => {
                    warnings.push(format!(
                        "{name} {version} was installed from a folder of this machine, and is left out: build a \
                         wheel of it, and `kiln wheel add` it"
                    ));
                    continue;
                }
            };
        }
    }
    requirements.into_iter().collect()
}

fn site_packages(prefix: &Path) -> Vec<PathBuf> {
    let lib = fs::read_dir(prefix.join("lib"));
    let versions = lib.into_iter().flatten().flatten();
    versions
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("python3"))
        .map(|entry| entry.path().join("site-packages"))
        .filter(|folder| folder.is_dir())
        .collect()
}

/// The first `Name` and `Version` of the head.
fn name_and_version(metadata: &str) -> Option<(String, String)> {
    let head = metadata.lines().take_while(|line| !line.trim().is_empty());
    let (mut name, mut version) = (None, None);
    for line in head {
        match line.split_once(':') {
            Some(("Name", text)) if name.is_none() => name = Some(text.trim().to_owned()),
            Some(("Version", text)) if version.is_none() => version = Some(text.trim().to_owned()),
            _ => {}
        }
    }
    let plain = |text: &String| {
        !text.is_empty()
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "._-+!".contains(c))
    };
    Some((name.filter(plain)?, version.filter(plain)?))
}

/// The address without credentials; none where it is a folder of this machine.
fn address(direct: &Direct) -> Option<String> {
    let mut url = Url::parse(&direct.url).ok()?;
    if direct.dir_info.is_some() || !matches!(url.scheme(), "http" | "https") {
        return None;
    }
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    Some(match &direct.vcs_info {
        Some(vcs) => format!("{}+{url}@{}", vcs.vcs, vcs.commit_id),
        None => url.to_string(),
    })
}
