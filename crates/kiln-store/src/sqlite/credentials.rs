//! Credentials of a workspace, sealed.

use async_trait::async_trait;
use kiln_spec::{CredentialForm, CredentialTarget, InlineCredential, Secret};

use super::SqliteRecords;
use super::convert::get;
use crate::error::StoreError;
use crate::records::Credentials;
use crate::rows::CredentialRow;
use crate::scope::Scope;

/// The associated data of a sealed secret: where it belongs.
fn place(scope: &str, kind: &str, target: &str, form: &str) -> String {
    format!("{scope}\0{kind}\0{target}\0{form}")
}

fn parts(target: &CredentialTarget) -> (&'static str, &str) {
    match target {
        CredentialTarget::Registry(host) => ("registry", host),
        CredentialTarget::Index(url) => ("index", url),
        CredentialTarget::Channel(url) => ("channel", url),
        CredentialTarget::Package(url) => ("package", url),
        CredentialTarget::RPackage(name) => ("r-package", name),
    }
}

fn form(form: CredentialForm) -> &'static str {
    match form {
        CredentialForm::Basic => "basic",
        CredentialForm::PathToken => "path-token",
        CredentialForm::Query => "query",
        CredentialForm::Token => "token",
    }
}

fn to_target(kind: &str, target: String) -> Result<CredentialTarget, StoreError> {
    Ok(match kind {
        "registry" => CredentialTarget::Registry(target),
        "index" => CredentialTarget::Index(target),
        "channel" => CredentialTarget::Channel(target),
        "package" => CredentialTarget::Package(target),
        "r-package" => CredentialTarget::RPackage(target),
        _ => return Err(StoreError::Row { what: "credential" }),
    })
}

fn to_form(form: &str) -> Result<CredentialForm, StoreError> {
    Ok(match form {
        "basic" => CredentialForm::Basic,
        "path-token" => CredentialForm::PathToken,
        "query" => CredentialForm::Query,
        "token" => CredentialForm::Token,
        _ => return Err(StoreError::Row { what: "credential" }),
    })
}

#[async_trait]
impl Credentials for SqliteRecords {
    async fn put_inline_credential(
        &self,
        scope: &Scope,
        credential: &InlineCredential,
    ) -> Result<bool, StoreError> {
        // What does not open any more is replaced.
        let kept = self.credentials_for(scope, &credential.target).await;
        let kept = kept.unwrap_or_default();
        let is_same = |kept: &InlineCredential| {
            kept.form == credential.form
                && kept.username == credential.username
                && kept.secret.expose() == credential.secret.expose()
        };
        if kept.iter().any(is_same) {
            return Ok(false);
        }
        self.add_workspace(scope).await?;
        let (kind, target) = parts(&credential.target);
        let form = form(credential.form);
        let place = place(scope.as_str(), kind, target, form);
        let sealed = self.sealer.seal(credential.secret.expose(), &place);
        sqlx::query(
        "INSERT INTO credentials (scope, kind, target, form, username, sealed, updated_ms)
         VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (scope, kind, target, form)
         DO UPDATE SET username = excluded.username, sealed = excluded.sealed, updated_ms = excluded.updated_ms",
    )
    .bind(scope.as_str())
    .bind(kind)
    .bind(target)
    .bind(form)
    .bind(&credential.username)
    .bind(sealed)
    .bind(self.now_ms())
    .execute(&self.writer)
    .await
    .map_err(StoreError::database("keep a credential"))?;
        Ok(true)
    }

    async fn credentials(&self, scope: &Scope) -> Result<Vec<InlineCredential>, StoreError> {
        let rows = sqlx::query(
            "SELECT kind, target, form, username, sealed FROM credentials WHERE scope = ?
         ORDER BY kind, target, form",
        )
        .bind(scope.as_str())
        .fetch_all(&self.reader)
        .await
        .map_err(StoreError::database("read credentials"))?;
        let mut credentials = Vec::with_capacity(rows.len());
        for row in &rows {
            let (kind, target, form): (String, String, String) =
                (get(row, "kind")?, get(row, "target")?, get(row, "form")?);
            let sealed: Vec<u8> = get(row, "sealed")?;
            let place = place(scope.as_str(), &kind, &target, &form);
            let secret = self.sealer.unseal(&sealed, &place)?;
            credentials.push(InlineCredential {
                target: to_target(&kind, target)?,
                form: to_form(&form)?,
                username: get(row, "username")?,
                secret: Secret::new(secret.as_str()),
            });
        }
        Ok(credentials)
    }

    async fn list_credentials(&self, scope: &Scope) -> Result<Vec<CredentialRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT kind, target, form, username, updated_ms FROM credentials WHERE scope = ?
         ORDER BY kind, target, form",
        )
        .bind(scope.as_str())
        .fetch_all(&self.reader)
        .await
        .map_err(StoreError::database("list credentials"))?;
        let row = |row| {
            Ok(CredentialRow {
                target: to_target(&get::<String>(row, "kind")?, get(row, "target")?)?,
                form: to_form(&get::<String>(row, "form")?)?,
                username: get(row, "username")?,
                updated_ms: get(row, "updated_ms")?,
            })
        };
        rows.iter().map(row).collect()
    }

    async fn delete_credentials(
        &self,
        scope: &Scope,
        target: &CredentialTarget,
    ) -> Result<bool, StoreError> {
        let (kind, target) = parts(target);
        let done =
            sqlx::query("DELETE FROM credentials WHERE scope = ? AND kind = ? AND target = ?")
                .bind(scope.as_str())
                .bind(kind)
                .bind(target)
                .execute(&self.writer)
                .await
                .map_err(StoreError::database("delete credentials"))?;
        Ok(done.rows_affected() > 0)
    }
}
