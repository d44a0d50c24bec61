//! Docker's `config.json`: plain entries, identity tokens, credential helpers and stores.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use docker_credential::{CredentialRetrievalError, DockerCredential};

use crate::credentials::{CredentialError, CredentialSource, Credentials};
use crate::secret::Secret;

/// How long a credential helper may take.
const HELPER_TIMEOUT: Duration = Duration::from_secs(30);
/// What helpers answer when they know nothing of a host.
const UNKNOWN_TO_HELPER: &str = "credentials not found";

/// Reads credentials from a `config.json` each time they are asked for, so that a new login counts at
/// once. Helpers (`credHelpers`, `credsStore`) are run as `docker-credential-NAME get`.
#[derive(Debug, Clone)]
pub struct DockerConfig {
    path: PathBuf,
}

impl DockerConfig {
    /// Reads the file at `path`; a file that does not exist holds nothing.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where Docker keeps the file: `$DOCKER_CONFIG/config.json`, else `$HOME/.docker/config.json`.
    pub fn default_path(environment: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
        let set = |name| {
            environment(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        set("DOCKER_CONFIG")
            .or_else(|| set("HOME").map(|home| home.join(".docker")))
            .map(|folder| folder.join("config.json"))
    }
}

#[async_trait]
impl CredentialSource for DockerConfig {
    async fn credentials(&self, host: &str) -> Result<Option<Credentials>, CredentialError> {
        let (path, host) = (self.path.clone(), host.to_owned());
        let reading = tokio::task::spawn_blocking(move || read(&path, &host));
        match tokio::time::timeout(HELPER_TIMEOUT, reading).await {
            Ok(Ok(found)) => found,
            Ok(Err(_)) => Err(CredentialError::new(
                "reading docker's credentials was interrupted",
            )),
            Err(_) => Err(CredentialError::new(format!(
                "docker's credential helper did not answer within {} s",
                HELPER_TIMEOUT.as_secs()
            ))),
        }
    }
}

/// The names under which the file and the helpers may know a host.
fn names(host: &str) -> Vec<&str> {
    match host {
        "docker.io" => vec![
            "https://index.docker.io/v1/",
            "index.docker.io",
            "docker.io",
        ],
        host => vec![host],
    }
}

fn read(path: &Path, host: &str) -> Result<Option<Credentials>, CredentialError> {
    let text = match fs_err::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(CredentialError::new(format!(
                "cannot read docker's credentials: {error}"
            )));
        }
    };
    for name in names(host) {
        match docker_credential::get_credential_from_reader(text.as_slice(), name) {
            Ok(DockerCredential::UsernamePassword(username, password)) => {
                return Ok(Some(Credentials::basic(username, password)));
            }
            Ok(DockerCredential::IdentityToken(token)) => {
                return Ok(Some(Credentials::IdentityToken(Secret::new(token))));
            }
            Err(error) => match reason(&error) {
                None => {}
                Some(reason) => {
                    let path = path.display();
                    return Err(CredentialError::new(format!("{path} for {host}: {reason}")));
                }
            },
        }
    }
    Ok(None)
}

/// The reason in words that hold nothing of what a helper printed; `None` when there simply is no login.
fn reason(error: &CredentialRetrievalError) -> Option<String> {
    use CredentialRetrievalError as E;
    match error {
        E::NoCredentialConfigured | E::ConfigNotFound => None,
        E::HelperFailure { stdout, stderr, .. }
            if stdout.contains(UNKNOWN_TO_HELPER) || stderr.contains(UNKNOWN_TO_HELPER) =>
        {
            None
        }
        E::HelperFailure { helper, .. } => Some(format!("credential helper `{helper}` failed")),
        E::HelperCommunicationError => Some(
            "the credential helper it names could not be run; is it installed and on PATH?"
                .to_owned(),
        ),
        E::MalformedHelperResponse => Some("the credential helper's answer is no JSON".to_owned()),
        E::CredentialDecodingError => Some("`auth` is not base64 of user:password".to_owned()),
        E::CredentialMismatchError => {
            Some("`auth` disagrees with `username` and `password`".to_owned())
        }
        E::ConfigReadError => Some("the file is no JSON of docker's form".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use rstest::rstest;

    use super::*;

    async fn lookup(config: &str, host: &str) -> Result<Option<Credentials>, CredentialError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        fs_err::write(&path, config).unwrap();
        DockerConfig::at(path).credentials(host).await
    }

    #[rstest]
    // `user:hunter2` in base64.
    #[case(r#"{"auths":{"r.example":{"auth":"dXNlcjpodW50ZXIy"}}}"#, "r.example")]
    #[case(
        r#"{"auths":{"https://r.example":{"auth":"dXNlcjpodW50ZXIy"}}}"#,
        "r.example"
    )]
    #[case(
        r#"{"auths":{"https://index.docker.io/v1/":{"auth":"dXNlcjpodW50ZXIy"}}}"#,
        "docker.io"
    )]
    #[case(r#"{"auths":{"docker.io":{"auth":"dXNlcjpodW50ZXIy"}}}"#, "docker.io")]
    #[case(
        r#"{"auths":{"localhost:5000":{"username":"user","password":"hunter2"}}}"#,
        "localhost:5000"
    )]
    #[tokio::test]
    async fn plain_entries_are_found(#[case] config: &str, #[case] host: &str) {
        let found = lookup(config, host).await.unwrap();
        assert_eq!(found, Some(Credentials::basic("user", "hunter2")));
    }

    #[tokio::test]
    async fn an_identity_token_comes_before_the_password() {
        let config = r#"{"auths":{"r.example":{"auth":"dXNlcjpodW50ZXIy","identitytoken":"tok"}}}"#;
        let found = lookup(config, "r.example").await.unwrap();
        assert_eq!(found, Some(Credentials::IdentityToken(Secret::new("tok"))));
    }

    #[tokio::test]
    async fn no_entry_and_no_file_are_no_login() {
        assert_eq!(lookup("{}", "r.example").await.unwrap(), None);
        let missing = DockerConfig::at("/nonexistent/config.json");
        assert_eq!(missing.credentials("r.example").await.unwrap(), None);
    }

    #[rstest]
    #[case("not json")]
    #[case(r#"{"auths":{"r.example":{"auth":"%%%"}}}"#)]
    #[case(r#"{"credsStore":"kiln-test-no-such-helper"}"#)]
    #[tokio::test]
    async fn a_broken_file_or_helper_is_an_error_that_names_the_host(#[case] config: &str) {
        let error = lookup(config, "r.example").await.unwrap_err().to_string();
        assert!(error.contains("for r.example"), "{error}");
    }

    #[test]
    fn a_helper_is_run_and_its_output_stays_out_of_errors() {
        let folder = tempfile::tempdir().unwrap();
        let helper = folder.path().join("docker-credential-kiln-test");
        let script = "#!/bin/sh\nread host\ncase $host in\n\
            known*) echo '{\"Username\":\"user\",\"Secret\":\"hunter2\"}';;\n\
            token*) echo '{\"Username\":\"<token>\",\"Secret\":\"hunter2\"}';;\n\
            broken*) echo hunter2; exit 1;;\n\
            *) echo 'credentials not found in native keychain'; exit 1;;\nesac\n";
        fs_err::write(&helper, script).unwrap();
        fs_err::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).unwrap();
        let config = folder.path().join("config.json");
        fs_err::write(&config, r#"{"credsStore":"kiln-test"}"#).unwrap();

        // The helper is found on PATH, which is the process's; a child of this test sets its own.
        if std::env::var_os("KILN_TEST_CONFIG").is_none() {
            let path = std::env::var("PATH").unwrap_or_default();
            let status = std::process::Command::new(std::env::current_exe().unwrap())
                .args([
                    "--exact",
                    "docker_config::tests::a_helper_is_run_and_its_output_stays_out_of_errors",
                ])
                .env("PATH", format!("{}:{path}", folder.path().display()))
                .env("KILN_TEST_CONFIG", &config)
                .status()
                .unwrap();
            assert!(status.success());
            return;
        }
        let config = PathBuf::from(std::env::var_os("KILN_TEST_CONFIG").unwrap());
        let found = |host| read(&config, host);
        assert_eq!(
            found("known.example").unwrap(),
            Some(Credentials::basic("user", "hunter2"))
        );
        let token = Credentials::IdentityToken(Secret::new("hunter2"));
        assert_eq!(found("token.example").unwrap(), Some(token));
        assert_eq!(found("other.example").unwrap(), None);
        let error = found("broken.example").unwrap_err();
        assert!(
            error
                .to_string()
                .contains("docker-credential-kiln-test` failed"),
            "{error}"
        );
        assert!(!format!("{error:?}").contains("hunter2"));
    }

    #[test]
    fn the_default_path_is_dockers() {
        let with = |name: &'static str| {
            DockerConfig::default_path(move |n| (n == name).then(|| "/x".into()))
        };
        assert_eq!(with("DOCKER_CONFIG"), Some("/x/config.json".into()));
        assert_eq!(with("HOME"), Some("/x/.docker/config.json".into()));
        assert_eq!(with("OTHER"), None);
    }
}
