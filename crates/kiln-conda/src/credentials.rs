//! Credentials of channels, indexes and archives, bound to an exact origin and path.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use kiln_spec::{CredentialForm, CredentialTarget, InlineCredential};
use url::Url;

/// A secret text; it prints as `***` and has no other form than [`Secret::expose`].
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for the one call that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// How a server is told who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UrlSecret {
    /// HTTP basic authentication (RFC 7617).
    Basic {
        /// The user's name.
        user: String,
        /// The password or token.
        password: Secret,
    },
    /// A bearer token (RFC 6750).
    Bearer(Secret),
    /// A token in the place of the user's name, with an empty password.
    UserToken(Secret),
    /// conda's token at the beginning of the path, `/t/<token>/`.
    CondaToken(Secret),
    /// A query that signs the address, as shared access signatures do, without `?`.
    Query(Secret),
}

/// A credential and where it may be sent: only to addresses of the same scheme, host and port whose
/// path lies below the prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// The prefix, without credentials.
    pub prefix: Url,
    /// The secret.
    pub secret: UrlSecret,
}

/// The credentials of one request.
#[derive(Debug, Clone, Default)]
pub struct Credentials(Vec<Credential>);

/// An address with what is needed to be let in; neither may be stored or printed.
pub struct Authorized {
    /// The address to ask.
    pub url: Url,
    /// The `Authorization` header's value, marked sensitive.
    pub header: Option<HeaderValue>,
}

impl Credential {
    /// A credential that stood in a document; `None` when it is for a container registry or its
    /// address is no web address.
    ///
    /// An index's credential covers its whole origin, as its files often lie beside its pages and pip
    /// sends it there too; every other one covers its address and what lies below.
    pub fn of_inline(inline: &InlineCredential) -> Option<Self> {
        let (address, whole_origin) = match &inline.target {
            CredentialTarget::Index(address) => (address, true),
            CredentialTarget::Channel(address) | CredentialTarget::Package(address) => {
                (address, false)
            }
            CredentialTarget::Registry(_) | CredentialTarget::RPackage(_) => return None,
        };
        let mut prefix = without_userinfo(&Url::parse(address).ok()?);
        if !matches!(prefix.scheme(), "http" | "https") {
            return None;
        }
        prefix.set_query(None);
        prefix.set_fragment(None);
        if whole_origin && inline.form != CredentialForm::Query {
            prefix.set_path("/");
        }
        let secret = Secret::new(inline.secret.expose());
        let secret = match (inline.form, inline.username.as_deref()) {
            (CredentialForm::Basic, Some(user)) if !user.is_empty() => UrlSecret::Basic {
                user: user.to_owned(),
                password: secret,
            },
            (CredentialForm::Basic, _) => UrlSecret::UserToken(secret),
            (CredentialForm::PathToken, _) => UrlSecret::CondaToken(secret),
            (CredentialForm::Query, _) => UrlSecret::Query(secret),
            (CredentialForm::Token, _) => UrlSecret::Bearer(secret),
        };
        Some(Self { prefix, secret })
    }
}

impl Credentials {
    /// Takes credentials in any order.
    pub fn new(credentials: Vec<Credential>) -> Self {
        Self(credentials)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Credential> {
        self.0.iter()
    }

    /// The credential with the longest prefix that covers an address.
    pub fn find(&self, url: &Url) -> Option<&Credential> {
        self.0
            .iter()
            .filter(|credential| covers(&credential.prefix, url))
            .max_by_key(|credential| credential.prefix.path().len())
    }

    /// The address as it must be asked, with the credential that covers it if there is one.
    pub fn authorize(&self, url: &Url) -> Authorized {
        let mut authorized = Authorized {
            url: without_userinfo(url),
            header: None,
        };
        let Some(credential) = self.find(url) else {
            return authorized;
        };
        match &credential.secret {
            UrlSecret::Basic { user, password } => {
                authorized.header = basic(user, password.expose());
            }
            UrlSecret::Bearer(token) => {
                authorized.header = sensitive(&format!("Bearer {}", token.expose()));
            }
            UrlSecret::UserToken(token) => {
                authorized.header = basic(token.expose(), "");
            }
            UrlSecret::CondaToken(token) => {
                let path = format!("/t/{}{}", token.expose(), url.path());
                authorized.url.set_path(&path);
            }
            UrlSecret::Query(query) => {
                let query = query.expose().trim_start_matches('?');
                let joined = match url.query().filter(|own| !own.is_empty()) {
                    Some(own) => format!("{own}&{query}"),
                    None => query.to_owned(),
                };
                authorized.url.set_query(Some(&joined));
            }
        }
        authorized
    }
}

fn covers(prefix: &Url, url: &Url) -> bool {
    let path = prefix.path().trim_end_matches('/');
    prefix.scheme() == url.scheme()
        && prefix.host_str() == url.host_str()
        && prefix.port_or_known_default() == url.port_or_known_default()
        && url
            .path()
            .strip_prefix(path)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn without_userinfo(url: &Url) -> Url {
    let mut url = url.clone();
    // Fails for addresses that can carry none, which is what is wanted.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url
}

fn basic(user: &str, password: &str) -> Option<HeaderValue> {
    let encoded = STANDARD.encode(format!("{user}:{password}"));
    sensitive(&format!("Basic {encoded}"))
}

fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).expect("the test writes a URL")
    }

    fn credentials(prefix: &str, secret: UrlSecret) -> Credentials {
        Credentials::new(vec![Credential {
            prefix: url(prefix),
            secret,
        }])
    }

    #[test]
    fn a_credential_stays_on_its_origin_and_below_its_path() {
        let all = credentials(
            "https://example.org/private",
            UrlSecret::Bearer(Secret::new("s3cret")),
        );
        for covered in [
            "https://example.org/private",
            "https://example.org/private/linux-64/repodata.json",
            "https://example.org:443/private/x",
        ] {
            assert!(all.authorize(&url(covered)).header.is_some(), "{covered}");
        }
        for foreign in [
            "http://example.org/private",
            "https://example.org/privateer/x",
            "https://example.org/",
            "https://example.org:8443/private",
            "https://other.example.org/private",
            "https://example.org.evil.test/private",
        ] {
            assert!(all.authorize(&url(foreign)).header.is_none(), "{foreign}");
        }
    }

    #[test]
    fn each_kind_of_secret_has_its_place() {
        let basic = UrlSecret::Basic {
            user: "kiln".into(),
            password: Secret::new("s3cret"),
        };
        let asked =
            credentials("https://example.org/", basic).authorize(&url("https://example.org/a"));
        assert_eq!(
            asked.header.expect("basic is a header"),
            "Basic a2lsbjpzM2NyZXQ="
        );

        let token = UrlSecret::CondaToken(Secret::new("tk-1"));
        let asked = credentials("https://example.org/chan", token)
            .authorize(&url("https://example.org/chan/linux-64/repodata.json"));
        assert_eq!(
            asked.url.as_str(),
            "https://example.org/t/tk-1/chan/linux-64/repodata.json"
        );

        let query = UrlSecret::Query(Secret::new("?sig=abc"));
        let asked = credentials("https://example.org/", query)
            .authorize(&url("https://example.org/w.whl?v=1"));
        assert_eq!(asked.url.as_str(), "https://example.org/w.whl?v=1&sig=abc");
    }

    #[test]
    fn the_longest_prefix_wins_and_nothing_prints_a_secret() {
        let secret = |text: &str| UrlSecret::Bearer(Secret::new(text));
        let all = Credentials::new(vec![
            Credential {
                prefix: url("https://example.org/"),
                secret: secret("wide"),
            },
            Credential {
                prefix: url("https://example.org/a/b"),
                secret: secret("narrow"),
            },
        ]);
        let header = all.authorize(&url("https://example.org/a/b/c")).header;
        assert_eq!(header.expect("one covers it"), "Bearer narrow");
        let printed = format!("{all:?}");
        assert!(
            !printed.contains("wide") && !printed.contains("narrow"),
            "{printed}"
        );
    }

    #[test]
    fn a_credential_of_a_document_finds_its_place() {
        let inline = |target, form, username: Option<&str>| InlineCredential {
            target,
            form,
            username: username.map(str::to_owned),
            secret: kiln_spec::Secret::new("s3cret"),
        };
        let index = || CredentialTarget::Index("https://example.org/a/simple/".into());
        let of = |inline: InlineCredential| Credential::of_inline(&inline);
        let basic = of(inline(index(), CredentialForm::Basic, Some("me"))).expect("it has a place");
        assert_eq!(basic.prefix.as_str(), "https://example.org/");
        let user = of(inline(index(), CredentialForm::Basic, Some(""))).expect("it has a place");
        assert_eq!(user.secret, UrlSecret::UserToken(Secret::new("s3cret")));
        let channel = CredentialTarget::Channel("https://example.org/chan".into());
        let token = of(inline(channel, CredentialForm::PathToken, None)).expect("it has a place");
        assert_eq!(token.prefix.as_str(), "https://example.org/chan");
        let registry = CredentialTarget::Registry("example.org".into());
        assert_eq!(
            of(inline(registry, CredentialForm::Basic, Some("me"))),
            None
        );
    }
}
