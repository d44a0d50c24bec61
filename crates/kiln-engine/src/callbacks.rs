//! Addresses that kiln posts events to.

use url::Url;

use crate::error::EngineError;

/// Longer addresses are refused.
const LIMIT_BYTES: usize = 2048;

/// Checks an address that events are posted to: http or https, a host, no credentials.
///
/// # Errors
/// [`EngineError::Invalid`] with the remedy; credentials are not told.
pub fn check_callback(address: &str) -> Result<Url, EngineError> {
    let invalid = |message: &str, remedy: &str| EngineError::Invalid {
        message: message.to_owned(),
        remedy: remedy.to_owned(),
    };
    let url = Url::parse(address)
        .ok()
        .filter(|url| address.len() <= LIMIT_BYTES && matches!(url.scheme(), "http" | "https"))
        .filter(Url::has_host)
        .ok_or_else(|| {
            invalid(
                "the callback is not an http or https address",
                "give an address such as https://platform.example/kiln-events",
            )
        })?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(invalid(
            "the callback's address holds credentials",
            "leave them out: every message is signed, and the receiver checks the signature",
        ));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_http_with_a_host_and_without_credentials() {
        assert!(check_callback("https://platform.example/events?x=1").is_ok());
        for address in [
            "",
            "platform.example",
            "file:///etc/passwd",
            "ftp://x/",
            "https://user:hunter2@x/",
        ] {
            let error = check_callback(address).unwrap_err();
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }
}
