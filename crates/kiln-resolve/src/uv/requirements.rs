//! Writes a definition's pip section as uv reads it, and refuses what would need a build.

use std::path::Path;

use kiln_conda::{Credentials, UrlSecret};
use kiln_spec::Pip;
use pep508_rs::{Requirement, VerbatimUrl, VersionOrUrl};
use url::Url;

use super::PypiError;
use super::error::failed;
use super::private::{Private, address_of};

/// Indexes that a definition does not name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IndexDefaults {
    /// Taken where the definition names no index; `None` is uv's own default.
    pub index_url: Option<Url>,
    /// Taken beside it.
    pub extra_index_urls: Vec<Url>,
}

/// The text of a requirements file, and the secrets in it.
pub(super) struct RequirementsFile {
    pub(super) text: String,
    /// Addresses with secrets and without, to undo them in uv's answers.
    pub(super) secret_addresses: Vec<(Url, Url)>,
}

/// A definition's own requirement.
#[derive(Debug, Clone)]
pub(super) struct Root {
    /// The PEP 503 name.
    pub(super) name: String,
    /// The requirement's text.
    pub(super) text: String,
    /// Its text without a version.
    pub(super) bare: String,
    /// sha256 hashes it must have, in hex; empty when it states none.
    pub(super) sha256: Vec<String>,
    /// Whether it states hashes of any kind.
    pub(super) hashed: bool,
    /// Its address without a secret, where it is one.
    pub(super) url: Option<Url>,
    /// The wheel of that address, where the workspace keeps it itself.
    pub(super) private: Option<Private>,
}

/// Parses the requirements and refuses those that need a build or a file of the daemon's machine.
pub(super) fn roots(pip: &Pip, private: &[Private]) -> Result<Vec<Root>, PypiError> {
    if let Some(names) = pip.no_binary.first() {
        return Err(PypiError::NeedsBuild {
            requirement: names.clone(),
            why: "the definition asks for a build from source (`--no-binary`)".into(),
        });
    }
    pip.requirements
        .iter()
        .map(|requirement| {
            let text = &requirement.requirement;
            let address = address_of(text);
            let private =
                address.and_then(|address| private.iter().find(|known| known.address == address));
            if private.is_none() && address.is_some_and(|a| a.starts_with("kiln-wheel:")) {
                return Err(PypiError::Requirement {
                    requirement: shown(text),
                    reason: "the private wheel it names is not in kiln's store".into(),
                });
            }
            let readable = private.map(|known| known.readable(text));
            let text = readable.as_ref().unwrap_or(text);
            let unreadable = |reason: String| PypiError::Requirement {
                requirement: shown(text),
                reason,
            };
            if text.chars().any(char::is_control) || text.starts_with('-') {
                return Err(unreadable(
                    "it has control characters or is an option".into(),
                ));
            }
            let parsed: Requirement<VerbatimUrl> =
                text.parse()
                    .map_err(|error: pep508_rs::Pep508Error<VerbatimUrl>| {
                        unreadable(first_line(&error))
                    })?;
            let url = match &parsed.version_or_url {
                Some(VersionOrUrl::Url(url)) if private.is_some() => Some(Url::clone(url)),
                Some(VersionOrUrl::Url(url)) => Some(wheel_address(text, url)?),
                _ => None,
            };
            Ok(Root {
                name: parsed.name.to_string(),
                bare: bare(&parsed),
                text: text.clone(),
                sha256: requirement
                    .hashes
                    .iter()
                    .filter_map(|hash| hash.strip_prefix("sha256:").map(str::to_owned))
                    .collect(),
                hashed: !requirement.hashes.is_empty(),
                url,
                private: private.cloned(),
            })
        })
        .collect()
}

fn first_line(error: &impl ToString) -> String {
    error
        .to_string()
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// A requirement for messages: without userinfo and query.
fn shown(text: &str) -> String {
    let text: String = text.chars().filter(|c| !c.is_control()).take(300).collect();
    match text.split_once(" @ ") {
        Some((name, address)) => match Url::parse(address.split(" ;").next().unwrap_or(address)) {
            Ok(url) => format!("{name} @ {}", clean(&url)),
            Err(_) => name.to_owned(),
        },
        None => text,
    }
}

/// An address without userinfo, query and fragment.
pub(super) fn clean(url: &Url) -> Url {
    let mut url = url.clone();
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url
}

/// The address of a wheel; every other address needs a build or a program of the host.
fn wheel_address(text: &str, url: &VerbatimUrl) -> Result<Url, PypiError> {
    let url: &Url = url;
    let needs = |why: &str| PypiError::NeedsBuild {
        requirement: shown(text),
        why: why.into(),
    };
    match url.scheme() {
        "http" | "https" if has_wheel_name(url) => Ok(url.clone()),
        "http" | "https" => Err(needs("it is the address of a source archive")),
        scheme
            if scheme.starts_with("git+")
                || scheme.starts_with("hg+")
                || scheme.starts_with("svn+")
                || scheme.starts_with("bzr+")
                || scheme == "git" =>
        {
            Err(needs("it is a version control address"))
        }
        _ => Err(PypiError::Requirement {
            requirement: shown(text),
            reason: "only http and https addresses of wheels can be taken".into(),
        }),
    }
}

fn has_wheel_name(url: &Url) -> bool {
    let name = url
        .path_segments()
        .and_then(|mut segments| segments.next_back());
    name.is_some_and(|name| {
        name.rsplit_once('.')
            .is_some_and(|(_, extension)| extension == "whl")
    })
}

/// The requirement's name and extras, and its marker, without a version.
fn bare(requirement: &Requirement<VerbatimUrl>) -> String {
    let mut bare = requirement.clone();
    bare.version_or_url = None;
    bare.to_string()
}

/// Writes the options and requirements. Addresses carry their credentials here, in a private file, and
/// on no command line.
pub(super) fn write(
    pip: &Pip,
    requirements: &[String],
    roots: &[Root],
    defaults: &IndexDefaults,
    credentials: &Credentials,
    folder: &Path,
) -> Result<RequirementsFile, PypiError> {
    let mut file = RequirementsFile {
        text: String::new(),
        secret_addresses: Vec::new(),
    };
    if pip.no_index {
        file.text.push_str("--no-index\n");
    } else {
        let configured = defaults.index_url.as_ref().map(Url::to_string);
        if let Some(index) = pip.index_url.as_ref().or(configured.as_ref()) {
            file.option("--index-url", index, credentials)?;
        }
        for index in &pip.extra_index_urls {
            file.option("--extra-index-url", index, credentials)?;
        }
        if pip.index_url.is_none() && pip.extra_index_urls.is_empty() {
            for index in &defaults.extra_index_urls {
                file.option("--extra-index-url", index.as_str(), credentials)?;
            }
        }
    }
    for links in &pip.find_links {
        file.option("--find-links", links, credentials)?;
    }
    for line in requirements {
        let root = roots.iter().find(|root| root.text == *line);
        match root.and_then(|root| root.url.as_ref().map(|url| (root, url))) {
            Some((root, url)) => {
                let there = match &root.private {
                    Some(private) => private
                        .place(folder)
                        .map_err(failed("a private wheel could not be given to the resolver"))?,
                    None => file.authorized(url, credentials),
                };
                file.text
                    .push_str(&line.replacen(url.as_str(), there.as_str(), 1));
            }
            None => file.text.push_str(line),
        }
        file.text.push('\n');
    }
    Ok(file)
}

impl RequirementsFile {
    fn option(
        &mut self,
        option: &str,
        address: &str,
        credentials: &Credentials,
    ) -> Result<(), PypiError> {
        let unusable = |reason: &str| PypiError::Index {
            index: Url::parse(address)
                .map_or_else(|_| "?".to_owned(), |url| clean(&url).to_string()),
            reason: reason.into(),
        };
        let url = Url::parse(address).map_err(|_| unusable("it is no address"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(unusable(
                "only http and https addresses are package indexes",
            ));
        }
        let secret = self.authorized(&url, credentials);
        self.text.push_str(option);
        self.text.push(' ');
        self.text.push_str(secret.as_str());
        self.text.push('\n');
        Ok(())
    }

    /// The address with its credentials, remembered so that they can be taken out again.
    fn authorized(&mut self, url: &Url, credentials: &Credentials) -> Url {
        let mut secret = credentials.authorize(url).url;
        let (user, password) = match credentials.find(url).map(|credential| &credential.secret) {
            Some(UrlSecret::Basic { user, password }) => (user.as_str(), Some(password.expose())),
            Some(UrlSecret::UserToken(token)) => (token.expose(), None),
            // Package indexes take a bearer token as the password of this user.
            Some(UrlSecret::Bearer(token)) => ("__token__", Some(token.expose())),
            Some(UrlSecret::CondaToken(_) | UrlSecret::Query(_)) | None => ("", None),
        };
        // Fails only for addresses without a host, which were refused before.
        let _ = secret.set_username(user);
        let _ = secret.set_password(password);
        if secret != *url {
            self.secret_addresses.push((secret.clone(), url.clone()));
        }
        secret
    }
}

#[cfg(test)]
mod tests {
    use kiln_conda::{Credential, Secret};
    use kiln_spec::PipRequirement;

    use super::*;

    fn pip(requirements: &[&str]) -> Pip {
        Pip {
            requirements: requirements
                .iter()
                .map(|text| PipRequirement {
                    requirement: (*text).into(),
                    hashes: Vec::new(),
                })
                .collect(),
            ..Pip::default()
        }
    }

    #[test]
    fn sources_and_local_files_are_refused_before_anything_runs() {
        for text in [
            "foo @ git+https://example.org/foo.git",
            "foo @ https://example.org/foo-1.0.tar.gz",
            "foo @ https://example.org/foo.zip",
            "foo @ file:///etc/foo-1.0-py3-none-any.whl",
            "foo @ ssh://example.org/x",
            "-e .",
            "foo\n--index-url http://evil.test",
        ] {
            assert!(roots(&pip(&[text]), &[]).is_err(), "{text}");
        }
        let mut from_source = pip(&["foo"]);
        from_source.no_binary = vec!["foo".into()];
        assert!(matches!(
            roots(&from_source, &[]),
            Err(PypiError::NeedsBuild { .. })
        ));
    }

    #[test]
    fn credentials_stand_in_the_file_and_can_be_taken_out_again() {
        let credentials = Credentials::new(vec![
            Credential {
                prefix: Url::parse("https://example.org/private").expect("a URL"),
                secret: UrlSecret::Basic {
                    user: "kiln".into(),
                    password: Secret::new("s3/cret"),
                },
            },
            Credential {
                prefix: Url::parse("https://blob.test/").expect("a URL"),
                secret: UrlSecret::Query(Secret::new("sig=abc")),
            },
        ]);
        let mut pip = pip(&["foo>=1", "bar @ https://blob.test/bar-1-py3-none-any.whl"]);
        pip.index_url = Some("https://example.org/private/simple/".into());
        pip.extra_index_urls = vec!["https://example.org/public/simple/".into()];
        let roots = roots(&pip, &[]).expect("they are fine");
        let lines: Vec<String> = roots.iter().map(|root| root.text.clone()).collect();
        let file = write(
            &pip,
            &lines,
            &roots,
            &IndexDefaults::default(),
            &credentials,
            Path::new("/"),
        )
        .expect("it is written");
        assert_eq!(
            file.text,
            "--index-url https://kiln:s3%2Fcret@example.org/private/simple/\n\
             --extra-index-url https://example.org/public/simple/\n\
             foo>=1\n\
             bar @ https://blob.test/bar-1-py3-none-any.whl?sig=abc\n"
        );
        assert_eq!(file.secret_addresses.len(), 2);
    }

    #[test]
    fn a_bare_requirement_keeps_extras_and_marker() {
        let roots =
            roots(&pip(&["foo[a,b]>=1,<2 ; python_version >= '3.8'"]), &[]).expect("it is fine");
        assert_eq!(roots[0].name, "foo");
        assert!(
            !roots[0].bare.contains(">=1") && roots[0].bare.contains("foo[a,b]"),
            "{}",
            roots[0].bare
        );
        assert!(roots[0].bare.contains("python_"), "{}", roots[0].bare);
    }
}
