//! Who may use the broker, and encryption.

use std::path::PathBuf;

use kiln_queue::{Access, Broker, ConnectError, Queue, QueueSettings};
use kiln_spec::Secret;
use tokio_util::sync::CancellationToken;

use crate::bench::{Notes, fault, running, settings};
use crate::broker::TestBroker;

/// Why a queue with these settings takes nothing.
async fn fault_of(settings: &QueueSettings) -> String {
    let client = Broker::connect(settings.clone()).await.unwrap();
    let queue = Queue::start(&client, Notes::open(), &CancellationToken::new());
    let reason = fault(&queue).await;
    queue.stop().await;
    reason
}

#[tokio::test]
async fn a_token_opens_the_broker_and_a_wrong_one_is_told() {
    let broker = TestBroker::start_with(&["--auth", "let-me-in"]);
    let mut settings = settings(&broker);
    settings.access = Access::Token(Secret::new("wrong-token"));
    let reason = fault_of(&settings).await;
    assert!(reason.contains("authorization"), "{reason}");
    assert!(!reason.contains("wrong-token"), "{reason}");
    settings.access = Access::Token(Secret::new("let-me-in"));
    running(&settings, &Notes::open()).await.stop().await;
    assert!(!format!("{settings:?}").contains("let-me-in"));
}

#[tokio::test]
async fn a_user_and_a_password_open_the_broker() {
    let broker = TestBroker::start_with(&["--user", "kiln", "--pass", "let-me-in"]);
    let mut settings = settings(&broker);
    settings.access = Access::Password {
        user: "kiln".to_owned(),
        password: Secret::new("let-me-in"),
    };
    running(&settings, &Notes::open()).await.stop().await;
}

#[tokio::test]
async fn a_broker_with_a_certificate_is_used_only_when_its_certificate_is_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let issued = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = folder.path().join("certificate.pem");
    let key = folder.path().join("key.pem");
    std::fs::write(&certificate, issued.cert.pem()).unwrap();
    std::fs::write(&key, issued.signing_key.serialize_pem()).unwrap();
    let (certificate_text, key_text) = (certificate.to_str().unwrap(), key.to_str().unwrap());
    let broker = TestBroker::start_with(&[
        "--tlsverify",
        "--tlscert",
        certificate_text,
        "--tlscacert",
        certificate_text,
        "--tlskey",
        key_text,
    ]);
    let mut settings = settings(&broker);
    settings.tls.required = true;
    let reason = fault_of(&settings).await;
    assert!(reason.contains("certificate"), "{reason}");
    settings.tls.ca = Some(certificate.clone());
    settings.tls.identity = Some((certificate, key));
    running(&settings, &Notes::open()).await.stop().await;
}

#[tokio::test]
async fn an_unencrypted_broker_is_refused_when_encryption_is_required() {
    let broker = TestBroker::start();
    let mut settings = settings(&broker);
    settings.tls.required = true;
    let reason = fault_of(&settings).await;
    // What the client makes of a greeting where a handshake should be.
    assert!(reason.contains("corrupt message"), "{reason}");
}

#[tokio::test]
async fn files_that_are_not_there_or_hold_something_else_are_named_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    let garbage = folder.path().join("garbage");
    std::fs::write(&garbage, "hunter2").unwrap();
    let with = |change: &dyn Fn(&mut QueueSettings, PathBuf), file: &PathBuf| {
        let mut settings = QueueSettings::default();
        change(&mut settings, file.clone());
        settings
    };
    let ca = |settings: &mut QueueSettings, file| settings.tls.ca = Some(file);
    let credentials = |settings: &mut QueueSettings, file| {
        settings.access = Access::CredentialsFile(file);
    };
    for settings in [
        with(&ca, &missing),
        with(&credentials, &missing),
        with(&credentials, &garbage),
    ] {
        let error = Broker::connect(settings).await.unwrap_err();
        assert!(matches!(error, ConnectError::File { .. }), "{error:?}");
        assert!(!format!("{error:?}").contains("hunter2"));
    }
}
