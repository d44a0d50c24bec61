//! The Spark and R sections: kept and hashed, without their secrets.

use crate::address;
use crate::definition::{RSection, Spark};
use crate::document::Node;
use crate::error::Place;
use crate::input::Reading;
use crate::secret::{CredentialForm, CredentialTarget, InlineCredential, Secret};

use super::fields::Section;

/// The Spark section; the SDK always sends one, and an empty one asks for nothing.
pub(super) fn spark(environment: &Section<'_>, reading: &mut Reading<'_>) -> Option<Spark> {
    let entry = environment.get("spark")?;
    let section = Section::of(&entry.value, "spark", reading);
    section.only(&["repositories", "packages", "precachePackages"], reading);
    let repositories = texts(&section, "repositories", reading, true);
    let mut packages = Vec::new();
    for node in section.list("packages", reading) {
        let package = Section::of(node, "spark.packages", reading);
        let mut part = |key: &str| {
            package
                .required(key, reading)
                .unwrap_or_default()
                .to_owned()
        };
        let coordinate = format!("{}:{}:{}", part("group"), part("artifact"), part("version"));
        packages.push(coordinate);
    }
    packages.sort();
    packages.dedup();
    let precache_packages =
        section.get("precachePackages").is_none() || section.flag("precachePackages", reading);
    let asked = !repositories.is_empty() || !packages.is_empty();
    asked.then_some(Spark {
        repositories,
        packages,
        precache_packages,
    })
}

/// The R section; one that asks for nothing is none.
pub(super) fn r(environment: &Section<'_>, reading: &mut Reading<'_>) -> Option<RSection> {
    let entry = environment.get("r")?;
    let section = Section::of(&entry.value, "r", reading);
    section.only(
        &[
            "rVersion",
            "userManaged",
            "rscriptPath",
            "snapshotDate",
            "cranPackages",
            "githubPackages",
            "customUrlPackages",
            "bioconductorPackages",
        ],
        reading,
    );
    section.warn(
        reading,
        entry.line,
        "",
        "the R section is deprecated",
        "install R packages by conda, as r-NAME",
    );
    let user_managed = section.flag("userManaged", reading);
    let mut text = |key: &str| section.text(key, reading).map(str::to_owned);
    let (r_version, rscript_path, snapshot_date) =
        (text("rVersion"), text("rscriptPath"), text("snapshotDate"));
    if snapshot_date.as_deref().is_some_and(|date| !is_date(date)) {
        section.error(
            reading,
            entry.line,
            "snapshotDate",
            "this is no date",
            "write it as YYYY-MM-DD",
        );
    }
    let mut r = RSection {
        r_version,
        user_managed,
        rscript_path: rscript_path.filter(|_| user_managed),
        snapshot_date,
        cran_packages: cran(&section, reading),
        github_packages: github(&section, reading),
        custom_url_packages: texts(&section, "customUrlPackages", reading, true),
        bioconductor_packages: texts(&section, "bioconductorPackages", reading, false),
    };
    for list in [
        &mut r.cran_packages,
        &mut r.github_packages,
        &mut r.custom_url_packages,
        &mut r.bioconductor_packages,
    ] {
        list.sort();
        list.dedup();
    }
    let nothing = r
        == RSection {
            r_version: None,
            user_managed: false,
            rscript_path: None,
            snapshot_date: None,
            cran_packages: Vec::new(),
            github_packages: Vec::new(),
            custom_url_packages: Vec::new(),
            bioconductor_packages: Vec::new(),
        };
    (!nothing).then_some(r)
}

fn cran(section: &Section<'_>, reading: &mut Reading<'_>) -> Vec<String> {
    let mut packages = Vec::new();
    for node in section.list("cranPackages", reading) {
        let package = Section::of(node, "r.cranPackages", reading);
        let mut text = package
            .required("name", reading)
            .unwrap_or_default()
            .to_owned();
        let mut part = |key: &str| package.text(key, reading).map(str::to_owned);
        let (version, repository) = (part("version"), part("repository"));
        if let Some(version) = version {
            text = format!("{text}={version}");
        }
        if let Some(repository) = repository.and_then(|url| clean(&url, node, reading)) {
            text = format!("{text}@{repository}");
        }
        packages.push(text);
    }
    packages
}

fn github(section: &Section<'_>, reading: &mut Reading<'_>) -> Vec<String> {
    let mut packages = Vec::new();
    for node in section.list("githubPackages", reading) {
        let package = Section::of(node, "r.githubPackages", reading);
        let repository = package
            .required("repository", reading)
            .unwrap_or_default()
            .to_owned();
        if let Some(token) = package.text("authToken", reading) {
            reading.credentials.push(InlineCredential {
                target: CredentialTarget::RPackage(repository.clone()),
                form: CredentialForm::Token,
                username: None,
                secret: Secret::new(token),
            });
        }
        packages.push(repository);
    }
    packages
}

/// A list of texts; addresses lose their credentials.
fn texts(
    section: &Section<'_>,
    key: &str,
    reading: &mut Reading<'_>,
    addresses: bool,
) -> Vec<String> {
    let mut texts = Vec::new();
    for node in section.list(key, reading) {
        match node.text() {
            Some(text) if text.chars().any(char::is_control) => {
                section.error(
                    reading,
                    node.line,
                    key,
                    "the text has a control character",
                    "remove it",
                );
            }
            Some(text) if addresses => texts.extend(clean(text, node, reading)),
            Some(text) => texts.push(text.to_owned()),
            None => {
                let reason = format!("{} stands where a text is expected", node.kind());
                section.error(reading, node.line, key, &reason, "write a text");
            }
        }
    }
    texts
}

/// `YYYY-MM-DD`; whether the day exists is for the snapshot's server to say.
fn is_date(text: &str) -> bool {
    text.len() == 10
        && text.bytes().enumerate().all(|(at, byte)| match at {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        })
}

fn clean(text: &str, node: &Node, reading: &mut Reading<'_>) -> Option<String> {
    match address::web(text) {
        Ok(address) => {
            let (text, credentials) = address.into_parts(CredentialTarget::Package);
            reading.credentials.extend(credentials);
            Some(text)
        }
        Err((reason, remedy)) => {
            let place = Place {
                file: reading.input.file_name,
                line: node.line,
                field: "",
            };
            reading.findings.error(place, reason, remedy);
            None
        }
    }
}
