//! conda channels: names or addresses, in their one form.

use crate::address::{self, AddressFault};
use crate::secret::{CredentialTarget, InlineCredential};

/// The canonical channel and the credentials it had. `None` is `nodefaults`, which says only that
/// nothing is added, and kiln never adds a channel.
pub(crate) fn canonical(
    text: &str,
) -> Result<Option<(String, Vec<InlineCredential>)>, AddressFault> {
    let text = text.trim();
    if text == "nodefaults" {
        return Ok(None);
    }
    if text.contains("://") {
        let (url, credentials) = address::web(text)?.into_parts(CredentialTarget::Channel);
        let url = url.trim_end_matches('/').to_owned();
        let credentials = credentials.into_iter().map(|c| InlineCredential {
            target: CredentialTarget::Channel(url.clone()),
            ..c
        });
        let credentials = credentials.collect();
        return Ok(Some((url, credentials)));
    }
    let name = text.trim_end_matches('/');
    let word = |part: &str| {
        !part.is_empty()
            && part != ".."
            && part != "."
            && part
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "._-+".contains(c))
    };
    if name.starts_with('-') || !name.split('/').all(word) {
        return Err((
            format!("{} is no channel", crate::error::quoted(text)),
            "write a channel's name, as `conda-forge`, or its https address",
        ));
    }
    Ok(Some((name.to_owned(), Vec::new())))
}

/// The channel of a `channel::name`, where credentials have no place.
pub(crate) fn canonical_without_credentials(text: &str) -> Result<String, AddressFault> {
    match canonical(text)? {
        Some((channel, credentials)) if credentials.is_empty() => Ok(channel),
        Some(_) => Err((
            "a dependency names a channel with credentials".into(),
            "list the channel under `channels`, and name it without credentials here",
        )),
        None => Err((
            "`nodefaults` is no channel of a package".into(),
            "name a channel",
        )),
    }
}
