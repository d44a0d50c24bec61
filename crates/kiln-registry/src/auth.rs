//! Who kiln is at each registry: challenges learned, tokens kept.
//!
//! The token flow is the distribution project's: GET with basic credentials or none, or OAuth2's POST
//! with a refresh token.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue, Method, header};
use serde::Deserialize;
use tokio::sync::OnceCell;
use tokio::time::Instant;
use url::Url;

use crate::challenge::{self, Challenge};
use crate::credentials::{CredentialSource, Credentials};
use crate::error_body::DistributionError;
use crate::fault::Fault;
use crate::retry;
use crate::scope::Scopes;
use crate::secret::Secret;
use crate::transport::{Body, Hop, Transport};

/// The largest answer of a token service that is read, in bytes.
const TOKEN_LIMIT: u64 = 256 * 1024;
/// How many tokens are kept.
const TOKENS: usize = 1024;
/// How long a token is good for when its service does not say.
const DEFAULT_LIFE: Duration = Duration::from_mins(1);
/// The longest life of a token that is believed.
const LONGEST_LIFE: Duration = Duration::from_hours(24);
/// The client's name in OAuth2 requests.
const CLIENT_ID: &str = "kiln";

/// What a request carries to prove who it is from.
pub(crate) struct Granted {
    pub(crate) header: HeaderValue,
    expires: Option<Instant>,
    /// What must be taken out of anything the registry says.
    pub(crate) secrets: Vec<Secret>,
}

type Cell = Arc<OnceCell<Arc<Granted>>>;

/// Keeps what registries asked for and what was granted, by registry and scopes.
pub(crate) struct Authenticator {
    source: Option<Arc<dyn CredentialSource>>,
    challenges: Mutex<HashMap<String, Challenge>>,
    granted: Mutex<HashMap<(String, Scopes), Cell>>,
}

impl Authenticator {
    pub(crate) fn new(source: Option<Arc<dyn CredentialSource>>) -> Self {
        Self {
            source,
            challenges: Mutex::default(),
            granted: Mutex::default(),
        }
    }

    /// What a request to a registry carries: nothing until the registry has asked for it once.
    pub(crate) async fn authorization(
        &self,
        transport: &Transport,
        host: &str,
        scopes: &Scopes,
        deadline: Instant,
    ) -> Result<Option<Arc<Granted>>, Fault> {
        let Some(challenge) = lock(&self.challenges).get(host).cloned() else {
            return Ok(None);
        };
        let cell = self.cell(host, scopes);
        // Requests of equal needs wait here for one token together.
        let granted = cell
            .get_or_try_init(|| self.grant(transport, host, &challenge, scopes, deadline))
            .await?;
        Ok(Some(Arc::clone(granted)))
    }

    /// Takes in a 401: what the registry wants, and that what the request carried is no longer good.
    pub(crate) fn refused(
        &self,
        host: &str,
        scopes: &Scopes,
        headers: &HeaderMap,
        used: Option<&Arc<Granted>>,
    ) -> Result<(), Fault> {
        let challenge = challenge::read(headers).map_err(Fault::Challenge)?;
        lock(&self.challenges).insert(host.to_owned(), challenge);
        let key = (host.to_owned(), scopes.clone());
        let mut granted = lock(&self.granted);
        let stale = granted
            .get(&key)
            .and_then(|cell| cell.get())
            .is_some_and(|kept| used.is_none_or(|used| Arc::ptr_eq(kept, used)));
        if stale {
            granted.remove(&key);
        }
        Ok(())
    }

    fn cell(&self, host: &str, scopes: &Scopes) -> Cell {
        let mut granted = lock(&self.granted);
        let now = Instant::now();
        let live = |cell: &Cell| {
            cell.get()
                .and_then(|kept| kept.expires)
                .is_none_or(|expires| expires > now)
        };
        if granted.len() >= TOKENS {
            granted.retain(|_, cell| live(cell));
            if granted.len() >= TOKENS {
                granted.clear();
            }
        }
        let cell = granted
            .entry((host.to_owned(), scopes.clone()))
            .or_default();
        if !live(cell) {
            *cell = Cell::default();
        }
        Arc::clone(cell)
    }

    async fn grant(
        &self,
        transport: &Transport,
        host: &str,
        challenge: &Challenge,
        scopes: &Scopes,
        deadline: Instant,
    ) -> Result<Arc<Granted>, Fault> {
        let credentials = match &self.source {
            Some(source) => source.credentials(host).await.map_err(Fault::Credentials)?,
            None => None,
        };
        match (challenge, credentials) {
            (Challenge::Basic, Some(Credentials::Basic { username, password })) => {
                let (header, encoded) = basic(&username, &password)?;
                let secrets = vec![password, encoded];
                Ok(Arc::new(Granted {
                    header,
                    expires: None,
                    secrets,
                }))
            }
            (Challenge::Basic, _) => Err(Fault::NoCredentials),
            (
                Challenge::Bearer {
                    realm,
                    service,
                    scope,
                },
                credentials,
            ) => {
                let realm = transport.policy.check_realm(host, realm)?;
                let scopes = scopes.with_challenge(scope.as_deref().unwrap_or_default());
                let request = TokenRequest {
                    realm,
                    service: service.clone(),
                    scopes,
                    credentials,
                };
                request.send(transport, deadline).await.map(Arc::new)
            }
        }
    }
}

/// One request for a token.
struct TokenRequest {
    realm: Url,
    service: Option<String>,
    scopes: Scopes,
    credentials: Option<Credentials>,
}

impl TokenRequest {
    async fn send(self, transport: &Transport, deadline: Instant) -> Result<Granted, Fault> {
        let service = self.realm.host_str().unwrap_or_default().to_owned();
        let token = self.exchange(transport, deadline).await;
        token.map_err(|fault| Fault::Token {
            service,
            fault: Box::new(fault),
        })
    }

    async fn exchange(self, transport: &Transport, deadline: Instant) -> Result<Granted, Fault> {
        let mut secrets = Vec::new();
        let mut url = self.realm;
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let (method, body) = match &self.credentials {
            Some(Credentials::IdentityToken(token)) => {
                secrets.push(token.clone());
                let form = HeaderValue::from_static("application/x-www-form-urlencoded");
                headers.insert(header::CONTENT_TYPE, form);
                (
                    Method::POST,
                    Some(Body::Bytes(refresh_form(
                        token,
                        self.service.as_deref(),
                        &self.scopes,
                    ))),
                )
            }
            credentials => {
                if let Some(Credentials::Basic { username, password }) = credentials {
                    let (header, secret) = basic(username, password)?;
                    headers.insert(header::AUTHORIZATION, header);
                    secrets.extend([password.clone(), secret]);
                }
                let mut query = url.query_pairs_mut();
                if let Some(service) = &self.service {
                    query.append_pair("service", service);
                }
                for scope in self.scopes.texts() {
                    query.append_pair("scope", &scope);
                }
                drop(query);
                (Method::GET, None)
            }
        };
        let hop = Hop {
            method: &method,
            url: &url,
            headers: &headers,
            body: body.as_ref(),
            deadline,
        };
        let answer = transport.hop(hop).await?;
        let status = answer.status;
        let retry_after = retry::retry_after(&answer.headers, std::time::SystemTime::now());
        let body = answer.bytes(TOKEN_LIMIT).await?;
        if status != 200 {
            let known: Vec<&str> = secrets.iter().map(Secret::expose).collect();
            let codes = DistributionError::read(&body, &known);
            return Err(Fault::Status {
                status,
                codes,
                retry_after,
            });
        }
        let (token, life) = read_token(&body)?;
        let mut header = HeaderValue::from_str(&format!("Bearer {}", token.expose()))
            .map_err(|_| Fault::Malformed("the token has characters a header can't hold".into()))?;
        header.set_sensitive(true);
        secrets.push(token);
        // A tenth of its life is left unused, so that a token does not die on the way.
        Ok(Granted {
            header,
            expires: Some(Instant::now() + life.mul_f64(0.9)),
            secrets,
        })
    }
}

fn refresh_form(token: &Secret, service: Option<&str>, scopes: &Scopes) -> bytes::Bytes {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "refresh_token")
        .append_pair("client_id", CLIENT_ID);
    if let Some(service) = service {
        form.append_pair("service", service);
    }
    form.append_pair("scope", &scopes.texts().join(" "));
    form.append_pair("refresh_token", token.expose());
    form.finish().into()
}

/// Reads a token and its life from a token service's answer.
fn read_token(body: &[u8]) -> Result<(Secret, Duration), Fault> {
    #[derive(Deserialize)]
    struct Answer {
        token: Option<String>,
        access_token: Option<String>,
        expires_in: Option<u64>,
    }
    // serde's own error would quote the answer.
    let Ok(answer) = serde_json::from_slice::<Answer>(body) else {
        return Err(Fault::Malformed(
            "the token service's answer is no JSON of a token".into(),
        ));
    };
    let token = answer
        .token
        .filter(|token| !token.is_empty())
        .or(answer.access_token)
        .filter(|token| !token.is_empty())
        .ok_or_else(|| Fault::Malformed("the token service's answer holds no token".into()))?;
    let life = answer
        .expires_in
        .map_or(DEFAULT_LIFE, Duration::from_secs)
        .min(LONGEST_LIFE);
    Ok((Secret::new(token), life))
}

/// The header of basic authentication, RFC 7617, and its encoded part.
fn basic(username: &str, password: &Secret) -> Result<(HeaderValue, Secret), Fault> {
    let encoded = Secret::new(STANDARD.encode(format!("{username}:{}", password.expose())));
    let mut header = HeaderValue::from_str(&format!("Basic {}", encoded.expose()))
        .map_err(|_| Fault::Malformed("the credentials do not fit a header".into()))?;
    header.set_sensitive(true);
    Ok((header, encoded))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_under_both_names_and_nothing_is_quoted() {
        let read =
            |text: &str| read_token(text.as_bytes()).map(|(t, l)| (t.expose().to_owned(), l));
        assert_eq!(
            read(r#"{"token":"a"}"#).unwrap(),
            ("a".into(), DEFAULT_LIFE)
        );
        let both = r#"{"token":"","access_token":"b","expires_in":300}"#;
        assert_eq!(read(both).unwrap(), ("b".into(), Duration::from_mins(5)));
        assert_eq!(
            read(r#"{"token":"a","expires_in":99999999999}"#).unwrap().1,
            LONGEST_LIFE
        );
        for bad in ["{}", "hunter2", r#"{"token":{"hunter2":1}}"#] {
            let fault = read(bad).unwrap_err();
            assert!(!format!("{fault} {fault:?}").contains("hunter2"));
        }
    }

    #[test]
    fn basic_is_rfc_7617() {
        let (header, _) = basic("Aladdin", &Secret::new("open sesame")).unwrap();
        assert_eq!(
            header.to_str().unwrap(),
            "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
        );
        assert!(header.is_sensitive());
    }
}
