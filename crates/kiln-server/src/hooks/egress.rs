//! The way out for events: one client that follows no redirect and reaches no address it must not.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use reqwest::StatusCode;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use url::{Host, Url};

/// How long a receiver may take (Standard Webhooks recommends 15 to 30 s).
const TIMEOUT: Duration = Duration::from_secs(20);

/// Which addresses events may be posted to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Networks {
    /// The internet's alone.
    Public,
    /// Those of private networks and this machine too; never link-local ones, where clouds keep
    /// their credentials.
    Private,
}

impl Networks {
    fn allow(self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let never = match address {
            IpAddr::V4(v4) => {
                v4.is_link_local() || v4.is_unspecified() || v4.is_multicast() || v4.is_broadcast()
            }
            IpAddr::V6(v6) => {
                v6.is_unicast_link_local() || v6.is_unspecified() || v6.is_multicast()
            }
        };
        let private = match address {
            IpAddr::V4(v4) => {
                // 100.64.0.0/10 is shared address space (RFC 6598).
                let [a, b, ..] = v4.octets();
                v4.is_private() || v4.is_loopback() || (a == 100 && b & 0xc0 == 64)
            }
            IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local(),
        };
        !never && (self == Self::Private || !private)
    }
}

/// Why an event did not reach its receiver.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EgressError {
    /// The address is one that events are not posted to.
    #[error("events are not posted to {0}")]
    Forbidden(String),
    /// The receiver answered otherwise than with 2xx.
    #[error("the receiver answered {0}")]
    Status(StatusCode),
    /// The receiver does not answer.
    #[error("the receiver does not answer: {0}")]
    Network(String),
}

/// Posts events.
#[derive(Debug, Clone)]
pub struct Egress {
    http: reqwest::Client,
    networks: Networks,
}

impl Egress {
    /// A client that reaches these networks alone.
    ///
    /// # Errors
    /// When the TLS library can't start.
    pub fn new(networks: Networks) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .referer(false)
            .user_agent(concat!("kiln/", env!("CARGO_PKG_VERSION")))
            .timeout(TIMEOUT)
            .dns_resolver(Guarded(networks))
            .build()?;
        Ok(Self { http, networks })
    }

    /// Posts one message; a 2xx is success.
    pub(crate) async fn post(
        &self,
        url: &Url,
        headers: [(&'static str, String); 3],
        body: Bytes,
    ) -> Result<(), EgressError> {
        let literal = match url.host() {
            Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
            _ => None,
        };
        if let Some(address) = literal.filter(|address| !self.networks.allow(*address)) {
            return Err(EgressError::Forbidden(address.to_string()));
        }
        let mut request = self
            .http
            .post(url.clone())
            .header("content-type", kiln_events::STRUCTURED)
            .body(body);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let answer = request
            .send()
            .await
            .map_err(|error| EgressError::Network(chain(&error.without_url())))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        Err(EgressError::Status(status))
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Names are looked up here and nowhere else, so that what is checked is what is connected to.
struct Guarded(Networks);

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let networks = self.0;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<SocketAddr> = found
                .filter(|address| networks.allow(address.ip()))
                .collect();
            if allowed.is_empty() {
                return Err(EgressError::Forbidden(name.as_str().to_owned()).into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_clouds_credentials_are_never_reached_and_private_ones_by_setting() {
        for (address, public, private) in [
            ("93.184.216.34", true, true),
            ("10.1.2.3", false, true),
            ("127.0.0.1", false, true),
            ("100.64.0.1", false, true),
            ("169.254.169.254", false, false),
            ("0.0.0.0", false, false),
            ("::1", false, true),
            ("fe80::1", false, false),
            ("::ffff:169.254.169.254", false, false),
            ("::ffff:10.0.0.1", false, true),
            ("fd00::1", false, true),
        ] {
            let ip: IpAddr = address.parse().unwrap();
            assert_eq!(Networks::Public.allow(ip), public, "{address}");
            assert_eq!(Networks::Private.allow(ip), private, "{address}");
        }
    }

    #[tokio::test]
    async fn a_forbidden_address_is_not_connected_to() {
        let egress = Egress::new(Networks::Public).unwrap();
        let headers = || {
            [
                ("webhook-id", "1".to_owned()),
                ("webhook-timestamp", "1".to_owned()),
                ("webhook-signature", "v1,".to_owned()),
            ]
        };
        for address in [
            "http://127.0.0.1:9/",
            "http://localhost:9/",
            "http://[::1]:9/",
        ] {
            let url = Url::parse(address).unwrap();
            let error = egress
                .post(&url, headers(), Bytes::new())
                .await
                .unwrap_err();
            assert!(
                error.to_string().contains("events are not posted to"),
                "{error}"
            );
        }
    }
}
