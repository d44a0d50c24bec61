//! Uploads that a registry keeps open: written down while they are, so that a process that comes after a
//! crash can end them.

use std::fmt;
use std::sync::Arc;

use http::Method;
use kiln_oci::Reference;
use tokio::time::Instant;
use url::Url;

use crate::client::{Exchange, RegistryClient};
use crate::error::{Operation, RegistryError};
use crate::fault::Fault;
use crate::policy::same_origin;
use crate::scope::Scopes;
use crate::transport::Request;

/// Writes down which uploads are open.
pub trait UploadJournal: Send + Sync {
    /// A registry has opened an upload into this repository; what is answered names the entry.
    fn opened(&self, repository: &str, location: &str) -> String;

    /// The upload of an entry is done.
    fn closed(&self, entry: &str);
}

/// An upload's entry in a journal. When it is dropped the entry stays: the upload may be open still.
pub(crate) struct Entry {
    journal: Arc<dyn UploadJournal>,
    name: String,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Entry").field(&self.name).finish()
    }
}

impl Entry {
    pub(crate) fn open(
        journal: &Arc<dyn UploadJournal>,
        repository: &Reference,
        location: &Url,
    ) -> Self {
        Self {
            name: journal.opened(&repository.without_version().to_string(), location.as_str()),
            journal: Arc::clone(journal),
        }
    }

    pub(crate) fn close(self) {
        self.journal.closed(&self.name);
    }
}

impl RegistryClient {
    /// Ends an upload that another process has left open. One that is done, or that the registry does not
    /// know any more, is ended.
    ///
    /// # Errors
    /// When the registry does not answer, or the location is not the registry's.
    pub async fn abandon_upload(
        &self,
        repository: &Reference,
        location: &str,
    ) -> Result<(), RegistryError> {
        let scopes = Scopes::push(repository.repository());
        let exchange = Exchange::new(self, repository, Operation::PushBlob, None, scopes);
        exchange
            .retrying(|deadline| exchange.abandon_once(location, deadline))
            .await
    }
}

impl Exchange {
    async fn abandon_once(&self, location: &str, deadline: Instant) -> Result<(), Fault> {
        let malformed = || Fault::Malformed("an upload's location is no address".into());
        let location = Url::parse(location).map_err(|_| malformed())?;
        let own = self.url("blobs/uploads/")?;
        if !same_origin(&own, &location) {
            self.transport().policy.check_target(&own, &location)?;
        }
        // Whatever the registry thinks of the upload, it does not go on.
        let known = &[200, 202, 204, 400, 404, 405, 416];
        let request = Request::new(Method::DELETE, location, known);
        self.send(&request, deadline).await.map(drop)
    }
}
