//! Addresses in their one form, without credentials.

use url::Url;

use crate::secret::{CredentialForm, CredentialTarget, InlineCredential, Secret};

/// Parameters that carry a credential by themselves.
const TOKENS: [&str; 10] = [
    "token",
    "access_token",
    "private_token",
    "job_token",
    "auth_token",
    "api_key",
    "apikey",
    "api-key",
    "password",
    "secret",
];
/// Parameters of a shared access signature; they are one when `sig` is there.
const SAS: [&str; 20] = [
    "sv", "ss", "srt", "sp", "se", "st", "spr", "sip", "sr", "sig", "si", "sdd", "saoid", "suoid",
    "skoid", "sktid", "skt", "ske", "sks", "skv",
];
/// Parameters of older signed addresses; they are one when `signature` is there.
const SIGNED: [&str; 6] = [
    "signature",
    "expires",
    "policy",
    "key-pair-id",
    "awsaccesskeyid",
    "googleaccessid",
];

/// Why a text is no address kiln takes, and what to do.
pub(crate) type AddressFault = (String, &'static str);

/// An address without credentials, and those it had.
#[derive(Debug)]
pub(crate) struct Address {
    pub(crate) text: String,
    pub(crate) credentials: Vec<(CredentialForm, Option<String>, Secret)>,
}

impl Address {
    /// The credentials, for the address as a target.
    pub(crate) fn into_parts(
        self,
        target: impl Fn(String) -> CredentialTarget,
    ) -> (String, Vec<InlineCredential>) {
        let text = self.text;
        let credentials = self
            .credentials
            .into_iter()
            .map(|(form, username, secret)| InlineCredential {
                target: target(text.clone()),
                form,
                username,
                secret,
            });
        let credentials = credentials.collect();
        (text, credentials)
    }
}

/// Parses an http(s) address; `${VAR}` outside the user part is refused, inside it is dropped with it.
pub(crate) fn web(text: &str) -> Result<Address, AddressFault> {
    parse(text, &["http", "https"])
}

/// Parses the address of a git repository.
pub(crate) fn git(text: &str) -> Result<Address, AddressFault> {
    parse(text, &["http", "https", "ssh", "git"])
}

/// Parses the address of a VCS requirement, `git+https://...`.
pub(crate) fn vcs(text: &str) -> Result<Address, AddressFault> {
    let (tool, rest) = text.split_once('+').ok_or_else(|| unknown_scheme(text))?;
    if !tool.eq_ignore_ascii_case("git") {
        return Err(unknown_scheme(text));
    }
    if !rest.contains("://") {
        return Err((
            format!("{} is no address", crate::error::quoted(text)),
            "write it as git+ssh://git@HOST/PATH or git+https://HOST/PATH",
        ));
    }
    let address = git(rest)?;
    Ok(Address {
        text: format!("git+{}", address.text),
        ..address
    })
}

fn unknown_scheme(text: &str) -> AddressFault {
    let scheme = text.split(':').next().unwrap_or(text);
    (
        format!(
            "the address has the scheme {}",
            crate::error::quoted(scheme)
        ),
        "use an http, https or git+https address",
    )
}

fn parse(text: &str, schemes: &[&str]) -> Result<Address, AddressFault> {
    // A variable for a password is common; kiln drops the user part, and never expands the rest.
    let (text, variable_user) = without_variable_user(text);
    if let Some(at) = text.find("${") {
        let name = text[at..].split_inclusive('}').next().unwrap_or("${");
        return Err((
            format!(
                "the address refers to the variable {}, which kiln never expands",
                crate::error::quoted(name)
            ),
            "write the address out, and give credentials to kiln's credential store",
        ));
    }
    let mut url = Url::parse(&text).map_err(|error| {
        (
            format!("{} is no address: {error}", crate::error::quoted(&text)),
            "write it as https://HOST/PATH",
        )
    })?;
    if !schemes.contains(&url.scheme()) {
        return Err(unknown_scheme(&text));
    }
    let mut credentials = Vec::new();
    let user = (!url.username().is_empty()).then(|| decoded(url.username()));
    let password = url.password().map(decoded);
    let ssh = url.scheme() == "ssh" || url.scheme() == "git";
    if let Some(password) = password {
        credentials.push((CredentialForm::Basic, user.clone(), Secret::new(password)));
    } else if let Some(user) = user.filter(|_| !ssh && !variable_user) {
        credentials.push((
            CredentialForm::Basic,
            Some(String::new()),
            Secret::new(user),
        ));
    }
    // An ssh address names its user, which is no secret.
    let _ = url.set_password(None);
    if !ssh {
        let _ = url.set_username("");
    }
    let path = url.path().to_owned();
    if let Some(rest) = path.strip_prefix("/t/")
        && let Some((token, rest)) = rest.split_once('/')
    {
        credentials.push((CredentialForm::PathToken, None, Secret::new(token)));
        url.set_path(&format!("/{rest}"));
    }
    if let Some((kept, secret)) = url.query().and_then(split_query) {
        credentials.push((CredentialForm::Query, None, Secret::new(secret)));
        url.set_query((!kept.is_empty()).then_some(kept.as_str()));
    }
    Ok(Address {
        text: url.to_string(),
        credentials,
    })
}

/// The parameters of a query that are no credential, and those that are; `None` when none is one.
fn split_query(query: &str) -> Option<(String, String)> {
    let name = |part: &str| decoded(part.split('=').next().unwrap_or(part)).to_ascii_lowercase();
    let has = |wanted: &str| query.split('&').any(|part| name(part) == wanted);
    let (sas, signed) = (has("sig"), has("signature"));
    let is_credential = |part: &&str| {
        let name = name(part);
        let name = name.as_str();
        TOKENS.contains(&name)
            || name.starts_with("x-amz-")
            || name.starts_with("x-goog-")
            || (sas && SAS.contains(&name))
            || (signed && SIGNED.contains(&name))
    };
    let (secret, kept): (Vec<&str>, Vec<&str>) = query.split('&').partition(is_credential);
    (!secret.is_empty()).then(|| (kept.join("&"), secret.join("&")))
}

/// `scheme://${USER}:${PASS}@host` without its user part.
fn without_variable_user(text: &str) -> (String, bool) {
    if let Some((scheme, rest)) = text.split_once("://") {
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        if let Some(at) = rest[..end].rfind('@')
            && rest[..at].contains("${")
        {
            return (format!("{scheme}://{}", &rest[at + 1..]), true);
        }
    }
    (text.to_owned(), false)
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let hex = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        if let Some(byte) = hex
            .and_then(|hex| u8::from_str_radix(hex, 16).ok())
            .filter(|_| first == b'%')
        {
            bytes.push(byte);
            rest = &tail[2..];
        } else {
            bytes.push(first);
            rest = tail;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_leave_the_address_in_all_their_forms() {
        let address = web("https://me:p%40ss@Example.org:443/t/tk/ch?sv=1&sig=x%3D").unwrap();
        assert_eq!(address.text, "https://example.org/ch");
        let secrets: Vec<&str> = address
            .credentials
            .iter()
            .map(|(_, _, s)| s.expose())
            .collect();
        assert_eq!(secrets, ["p@ss", "tk", "sv=1&sig=x%3D"]);
        assert_eq!(address.credentials[0].1.as_deref(), Some("me"));
        assert_eq!(
            web("https://${U}:${P}@h.org/x").unwrap().text,
            "https://h.org/x"
        );
        assert_eq!(
            web("https://h.org/x?a=1#egg=y").unwrap().text,
            "https://h.org/x?a=1#egg=y"
        );
        let kept = web("https://h.org/x?versionid=2&sv=1&sig=s&token=t").unwrap();
        assert_eq!(kept.text, "https://h.org/x?versionid=2");
        assert_eq!(kept.credentials[0].2.expose(), "sv=1&sig=s&token=t");
        assert_eq!(
            vcs("git+ssh://git@h.org/x.git@v1").unwrap().text,
            "git+ssh://git@h.org/x.git@v1"
        );
    }

    #[test]
    fn variables_and_other_schemes_are_refused_without_telling_a_password() {
        assert!(
            web("https://h.org/${X}/y")
                .unwrap_err()
                .0
                .contains("never expands")
        );
        assert!(web("ftp://h.org").is_err());
        assert!(web("file:///etc/passwd").is_err());
        assert!(
            !web("https://me:secret@[bad/x")
                .unwrap_err()
                .0
                .contains("secret")
        );
    }
}
