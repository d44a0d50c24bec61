//! Who may do what: one extractor that guards every route but the health checks.

use std::str::FromStr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::request::Parts;
use kiln_api::{Failure, FailureClass};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::error::ApiError;
use crate::router::AppState;

/// What a token allows; each right includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Right {
    /// Read builds, images and logs.
    Read,
    /// Start and cancel builds.
    Build,
    /// All else.
    Admin,
}

/// A text that names no right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not one of read, build, admin")]
pub struct ParseRightError(String);

impl FromStr for Right {
    type Err = ParseRightError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "read" => Ok(Self::Read),
            "build" => Ok(Self::Build),
            "admin" => Ok(Self::Admin),
            other => Err(ParseRightError(other.to_owned())),
        }
    }
}

/// A token that the server knows by its hash alone.
#[derive(Debug, Clone)]
pub struct Token {
    /// Its name in logs and records.
    pub name: String,
    /// The SHA-256 of the token.
    pub sha256: [u8; 32],
    /// The workspace it is for; `None` is all.
    pub workspace: Option<String>,
    /// What it allows.
    pub rights: Vec<Right>,
}

/// The caller of a request, known by token or, where there are no tokens, by being local.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// The name for records.
    pub(crate) name: String,
    token: Option<Arc<Token>>,
}

impl Caller {
    /// Refuses what the token does not allow. A workspace that is not the caller's looks absent.
    pub(crate) fn require(&self, right: Right, workspace: &str) -> Result<(), ApiError> {
        let Some(token) = &self.token else {
            return Ok(());
        };
        if token
            .workspace
            .as_deref()
            .is_some_and(|own| own != workspace)
        {
            return Err(ApiError::not_found(format!(
                "there is no workspace `{workspace}`"
            )));
        }
        if token.rights.iter().any(|held| *held >= right) {
            return Ok(());
        }
        Err(forbidden(token, right, ""))
    }

    /// Refuses what concerns all workspaces to who has the right in one alone, or in none.
    pub(crate) fn require_everywhere(&self, right: Right) -> Result<(), ApiError> {
        match &self.token {
            None => Ok(()),
            Some(token) if token.workspace.is_some() => {
                Err(forbidden(token, right, " that is for all workspaces"))
            }
            // It is for all, so any name will do.
            Some(_) => self.require(right, ""),
        }
    }
}

fn forbidden(token: &Token, right: Right, more: &str) -> ApiError {
    ApiError::new(
        axum::http::StatusCode::FORBIDDEN,
        Failure::new(
            FailureClass::Auth,
            format!("the token `{}` does not allow this", token.name),
            format!(
                "use a token with the right `{}`{more}",
                format!("{right:?}").to_lowercase()
            ),
        ),
    )
}

impl Caller {
    /// Knows the caller by the request's token.
    pub(crate) fn of(headers: &HeaderMap, state: &AppState) -> Result<Self, ApiError> {
        if state.tokens.is_empty() {
            return Ok(Self {
                name: "local".into(),
                token: None,
            });
        }
        let header = headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        let bearer = header.and_then(|text| {
            let (scheme, token) = text.split_once(' ')?;
            scheme
                .eq_ignore_ascii_case("bearer")
                .then_some(token.trim())
        });
        let presented: [u8; 32] = Sha256::digest(bearer.unwrap_or_default().as_bytes()).into();
        let mut known = None;
        for token in state.tokens.iter() {
            if bool::from(token.sha256.ct_eq(&presented)) {
                known = Some(Arc::clone(token));
            }
        }
        match known {
            Some(token) if bearer.is_some() => Ok(Self {
                name: token.name.clone(),
                token: Some(token),
            }),
            _ => Err(ApiError::unauthorized()),
        }
    }
}

impl FromRequestParts<AppState> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        Self::of(&parts.headers, state)
    }
}
