//! Uploads are written down while they are open, and can be ended by who reads it.

use std::sync::{Arc, Mutex};

use http::Method;
use kiln_registry::UploadJournal;

use crate::fake::{Fake, error};
use crate::images::{builder, client, content};
use crate::push::push;

/// Repository and location of each upload; a closed one is taken out.
#[derive(Default)]
struct Open(Mutex<Vec<Option<(String, String)>>>);

impl Open {
    fn all(&self) -> Vec<(String, String)> {
        self.0.lock().unwrap().iter().flatten().cloned().collect()
    }
}

impl UploadJournal for Open {
    fn opened(&self, repository: &str, location: &str) -> String {
        let mut open = self.0.lock().unwrap();
        open.push(Some((repository.to_owned(), location.to_owned())));
        (open.len() - 1).to_string()
    }

    fn closed(&self, entry: &str) {
        self.0.lock().unwrap()[entry.parse::<usize>().unwrap()] = None;
    }
}

#[tokio::test]
async fn an_upload_is_written_down_until_it_is_done() {
    let fake = Fake::start().await;
    let open = Arc::new(Open::default());
    let client_with = builder().build().unwrap().with_journal(open.clone());
    client_with
        .push_blob(&fake.repo("a/b"), push(&content(100_000)))
        .await
        .unwrap();
    assert_eq!(open.0.lock().unwrap().len(), 1);
    assert_eq!(open.all(), []);
}

#[tokio::test]
async fn an_upload_that_failed_is_ended_by_who_reads_of_it_and_one_that_is_gone_is_no_error() {
    let fake = Fake::start().await;
    let open = Arc::new(Open::default());
    fake.fail(1, Method::PUT, "/uploads/", || error(403, "DENIED"));
    let client_with = builder().build().unwrap().with_journal(open.clone());
    let repository = fake.repo("a/b");
    client_with
        .push_blob(&repository, push(&content(100_000)))
        .await
        .unwrap_err();
    let [(named, location)] = open.all().try_into().unwrap();
    assert_eq!(named, repository.without_version().to_string());
    for _ in 0..2 {
        client()
            .abandon_upload(&repository, &location)
            .await
            .unwrap();
        fake.fail(1, Method::DELETE, "/uploads/", || {
            error(404, "BLOB_UPLOAD_UNKNOWN")
        });
    }
    assert_eq!(fake.count(&Method::DELETE, "/uploads/"), 2);
}
