//! Listing tags, as in the distribution specification, "Listing Tags".

use std::collections::BTreeSet;

use http::Method;
use kiln_oci::{Reference, Tag};
use serde::Deserialize;
use tokio::time::Instant;
use url::Url;

use crate::MANIFEST_LIMIT;
use crate::client::{Exchange, RegistryClient};
use crate::error::{Operation, RegistryError};
use crate::fault::Fault;
use crate::policy::same_origin;
use crate::scope::Scopes;
use crate::transport::{Answer, Request};

/// How many pages a list may have.
const PAGES: usize = 100;
/// How many tags are asked for at a time.
const PAGE_SIZE: usize = 1000;

#[derive(Deserialize)]
struct Page {
    tags: Option<Vec<String>>,
}

impl RegistryClient {
    /// The tags of a repository, sorted. Names outside the grammar are left out.
    ///
    /// # Errors
    /// Also when the list has more than 100 pages or leads in a circle.
    pub async fn list_tags(&self, repository: &Reference) -> Result<Vec<Tag>, RegistryError> {
        let scopes = Scopes::pull(repository.repository());
        let exchange = Exchange::new(self, repository, Operation::ListTags, None, scopes);
        let first = exchange.url(&format!("tags/list?n={PAGE_SIZE}"));
        let mut next = Some(first.map_err(|fault| exchange.error(fault))?);
        let mut seen: BTreeSet<Url> = BTreeSet::new();
        let mut tags = BTreeSet::new();
        while let Some(url) = next {
            if seen.len() >= PAGES || !seen.insert(url.clone()) {
                return Err(exchange.error(Fault::EndlessList));
            }
            let (names, link) = exchange
                .retrying(|deadline| exchange.page_once(url.clone(), deadline))
                .await?;
            tags.extend(names.iter().filter_map(|name| name.parse::<Tag>().ok()));
            next = link;
        }
        Ok(tags.into_iter().collect())
    }
}

impl Exchange {
    async fn page_once(
        &self,
        url: Url,
        deadline: Instant,
    ) -> Result<(Vec<String>, Option<Url>), Fault> {
        let answer = self
            .send(&Request::new(Method::GET, url, &[200]), deadline)
            .await?;
        let link = next_page(&answer)?;
        let body = answer.bytes(MANIFEST_LIMIT as u64).await?;
        let page: Page = serde_json::from_slice(&body)
            .map_err(|_| Fault::Malformed("the list of tags is no JSON of tags".into()))?;
        Ok((page.tags.unwrap_or_default(), link))
    }
}

/// The next page, RFC 8288: `</v2/name/tags/list?last=x>; rel="next"`. It must be on the same registry.
fn next_page(answer: &Answer) -> Result<Option<Url>, Fault> {
    let Some(link) = answer.header("link") else {
        return Ok(None);
    };
    let target = link
        .trim()
        .strip_prefix('<')
        .and_then(|rest| rest.split_once('>'))
        .filter(|(_, parameters)| parameters.replace([' ', '"'], "").contains("rel=next"));
    let Some((target, _)) = target else {
        return Ok(None);
    };
    let next = answer
        .url
        .join(target)
        .map_err(|_| Fault::Malformed("the next page's address is none".into()))?;
    if same_origin(&answer.url, &next) {
        Ok(Some(next))
    } else {
        let host = next.host_str().unwrap_or_default().to_owned();
        Err(Fault::Redirect {
            host,
            reason: "for the next page of its tags",
        })
    }
}
