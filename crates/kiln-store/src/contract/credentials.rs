//! Credentials.

use kiln_spec::{CredentialForm, CredentialTarget, InlineCredential, Secret};

use super::Bed;
use crate::{Records, Scope};

pub(crate) async fn credentials_come_back_in_their_scope_alone(bed: &Bed) {
    put_the_canary(bed.records()).await;
}

/// Keeps a credential with the secret `canary-7731`, and finds it again.
pub(crate) async fn put_the_canary(records: &dyn Records) {
    let scope: Scope = "vault".parse().unwrap();
    let credential = InlineCredential {
        target: CredentialTarget::Index("https://h/simple".into()),
        form: CredentialForm::Basic,
        username: Some("me".into()),
        secret: Secret::new("canary-7731"),
    };
    for is_new in [true, false] {
        let kept = records.put_inline_credential(&scope, &credential).await;
        assert_eq!(kept.unwrap(), is_new);
    }
    let found = records.credentials(&scope).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].secret.expose(), "canary-7731");
    assert!(
        records
            .credentials(&Scope::default_scope())
            .await
            .unwrap()
            .is_empty()
    );
}

pub(crate) async fn credentials_are_found_by_exact_use_and_can_be_removed(bed: &Bed) {
    let records = bed.records();
    let scope: Scope = "keys".parse().unwrap();
    let registry = CredentialTarget::Registry("registry.example:5000".into());
    let index = CredentialTarget::Index("registry.example:5000".into());
    for (target, secret) in [(&registry, "of-the-registry"), (&index, "of-the-index")] {
        let credential = InlineCredential {
            target: target.clone(),
            form: CredentialForm::Basic,
            username: None,
            secret: Secret::new(secret),
        };
        records
            .put_inline_credential(&scope, &credential)
            .await
            .unwrap();
    }
    let found = records.credentials_for(&scope, &registry).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].secret.expose(), "of-the-registry");
    let other_host = CredentialTarget::Registry("registry.example".into());
    assert!(
        records
            .credentials_for(&scope, &other_host)
            .await
            .unwrap()
            .is_empty()
    );
    let listed = records.list_credentials(&scope).await.unwrap();
    assert!(!format!("{listed:?}").contains("of-the"), "{listed:?}");
    assert_eq!(listed.len(), 2);
    assert!(records.delete_credentials(&scope, &registry).await.unwrap());
    assert!(!records.delete_credentials(&scope, &registry).await.unwrap());
    let left = records.list_credentials(&scope).await.unwrap();
    assert_eq!(
        left.into_iter().map(|row| row.target).collect::<Vec<_>>(),
        [index]
    );
}
