//! Where a redirect leads.

use http::Method;
use url::Url;

use crate::fault::Fault;
use crate::transport::{Answer, Request};

/// How many redirects are followed in a row.
const LIMIT: usize = 3;

/// The target of a redirect; `None` when the answer is none.
///
/// # Errors
/// When a writing request is redirected, there are too many in a row, or the target is no address.
pub(crate) fn target(
    request: &Request,
    answer: &Answer,
    followed: usize,
) -> Result<Option<Url>, Fault> {
    if !matches!(answer.status, 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let location = answer.header("location").unwrap_or_default();
    let next = answer
        .url
        .join(location)
        .ok()
        .filter(|_| !location.is_empty())
        .ok_or_else(|| Fault::Malformed("a redirect without a target".into()))?;
    let host = next.host_str().unwrap_or_default().to_owned();
    if !matches!(request.method, Method::GET | Method::HEAD) {
        return Err(Fault::Redirect {
            host,
            reason: "which kiln follows only to read",
        });
    }
    if followed >= LIMIT {
        return Err(Fault::Redirect {
            host,
            reason: "one redirect too many",
        });
    }
    Ok(Some(next))
}
