//! Which hosts kiln speaks to, how, and who may learn credentials.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

use crate::fault::Fault;

/// Registries whose login service lies under another registrable domain: (registry, service).
const KNOWN_REALMS: [(&str, &str); 2] = [("docker.io", "auth.docker.io"), ("lscr.io", "ghcr.io")];

/// What the settings say about hosts.
#[derive(Debug, Clone, Default)]
pub(crate) struct HostPolicy {
    /// `host[:port]` that speak plain http, beside loopback.
    pub(crate) plain_http: BTreeSet<String>,
    /// Loopback `host[:port]` that speak TLS all the same.
    pub(crate) tls: BTreeSet<String>,
    /// Further login services, by registry.
    pub(crate) realms: BTreeMap<String, BTreeSet<String>>,
}

impl HostPolicy {
    /// The address of a registry's API, with a trailing slash.
    pub(crate) fn base(&self, registry: &str) -> Result<Url, Fault> {
        let host = if registry == "docker.io" {
            "registry-1.docker.io"
        } else {
            registry
        };
        let parse = |scheme: &str| Url::parse(&format!("{scheme}://{host}/"));
        let url =
            parse("https").map_err(|_| Fault::Malformed("the host is no host name".into()))?;
        if !self.tls.contains(registry) && (self.plain_http.contains(registry) || is_loopback(&url))
        {
            return parse("http").map_err(|_| Fault::Malformed("the host is no host name".into()));
        }
        Ok(url)
    }

    /// Whether plain http is allowed to the host of an address.
    fn allows_plain(&self, url: &Url) -> bool {
        let host = url.host_str().unwrap_or_default();
        let port = url.port_or_known_default().unwrap_or(80);
        is_loopback(url)
            || self.plain_http.contains(&format!("{host}:{port}"))
            || (url.port().is_none() && self.plain_http.contains(host))
    }

    /// Checks that a registry's login service is its own: https (or plain where the registry itself is),
    /// and on the registry's host, its registrable domain, or a known or configured exception.
    pub(crate) fn check_realm(&self, registry: &str, realm: &str) -> Result<Url, Fault> {
        let fault = |realm: String, reason| Fault::Realm { realm, reason };
        let Ok(url) = Url::parse(realm) else {
            return Err(fault(
                "an address that is none".to_owned(),
                "cannot be used",
            ));
        };
        let host = url.host_str().unwrap_or_default().to_owned();
        if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
            return Err(fault(host, "has a login or a fragment in its address"));
        }
        let base = self.base(registry)?;
        let plain = url.scheme() == "http" && base.scheme() == "http" && self.allows_plain(&url);
        if url.scheme() != "https" && !plain {
            return Err(fault(host, "is not spoken to by https"));
        }
        let listed = self
            .realms
            .get(registry)
            .is_some_and(|hosts| hosts.contains(&host));
        let known = KNOWN_REALMS
            .iter()
            .any(|(r, s)| *r == registry && *s == host);
        if listed || known || is_loopback(&url) && is_loopback(&base) || same_domain(&base, &url) {
            Ok(url)
        } else {
            Err(fault(host, "does not belong to it"))
        }
    }

    /// Checks where a registry sends kiln, by a redirect or an upload's location.
    pub(crate) fn check_target(&self, from: &Url, to: &Url) -> Result<(), Fault> {
        let fault = |reason| {
            let host = to.host_str().unwrap_or_default().to_owned();
            Err(Fault::Redirect { host, reason })
        };
        if !to.username().is_empty() || to.password().is_some() {
            return fault("with a login in the address");
        }
        match to.scheme() {
            "https" => {}
            "http" if from.scheme() == "http" && self.allows_plain(to) => {}
            "http" => return fault("which is not spoken to by https"),
            _ => return fault("which is not http"),
        }
        if from.host() != to.host() && is_inward(to) && !is_loopback(from) {
            return fault("which lies inside this machine or its link");
        }
        Ok(())
    }
}

/// Whether both addresses have the same scheme, host and port.
pub(crate) fn same_origin(a: &Url, b: &Url) -> bool {
    a.scheme() == b.scheme()
        && a.host() == b.host()
        && a.port_or_known_default() == b.port_or_known_default()
}

/// Whether an address is on this machine: `localhost`, 127.0.0.0/8, `::1`.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name.trim_end_matches('.') == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

/// Whether an address is one that nothing outside this machine's link can mean.
fn is_inward(url: &Url) -> bool {
    let v4 = |ip: Ipv4Addr| {
        ip.is_loopback()
            || ip.is_link_local()
            || ip.is_unspecified()
            || ip.is_multicast()
            || ip.is_broadcast()
    };
    let v6 = |ip: Ipv6Addr| {
        ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() || ip.is_unicast_link_local()
    };
    match url.host() {
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            name == "localhost" || name.ends_with(".localhost")
        }
        Some(Host::Ipv4(ip)) => v4(ip),
        Some(Host::Ipv6(ip)) => match IpAddr::V6(ip).to_canonical() {
            IpAddr::V4(ip) => v4(ip),
            IpAddr::V6(ip) => v6(ip),
        },
        None => true,
    }
}

/// Whether two addresses are of one host, or of one registrable domain of the public suffix list.
fn same_domain(a: &Url, b: &Url) -> bool {
    if a.host() == b.host() {
        return true;
    }
    let (Some(Host::Domain(a)), Some(Host::Domain(b))) = (a.host(), b.host()) else {
        return false;
    };
    match (psl::domain_str(a), psl::domain_str(b)) {
        (Some(a), Some(b)) => a.eq_ignore_ascii_case(b),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn policy() -> HostPolicy {
        HostPolicy {
            plain_http: ["plain.example:8080".to_owned()].into(),
            tls: ["localhost:5443".to_owned()].into(),
            realms: [(
                "r.example".to_owned(),
                ["sso.other.example".to_owned()].into(),
            )]
            .into(),
        }
    }

    #[rstest]
    #[case("docker.io", "https://registry-1.docker.io/")]
    #[case("r.example", "https://r.example/")]
    #[case("r.example:5000", "https://r.example:5000/")]
    #[case("localhost:5000", "http://localhost:5000/")]
    #[case("localhost:5443", "https://localhost:5443/")]
    #[case("127.9.9.9", "http://127.9.9.9/")]
    #[case("[::1]:5000", "http://[::1]:5000/")]
    #[case("plain.example:8080", "http://plain.example:8080/")]
    #[case("plain.example", "https://plain.example/")]
    #[case("localhost.example", "https://localhost.example/")]
    #[case("128.0.0.1", "https://128.0.0.1/")]
    fn plain_http_is_for_loopback_and_listed_hosts(#[case] registry: &str, #[case] base: &str) {
        assert_eq!(policy().base(registry).unwrap().as_str(), base);
    }

    #[rstest]
    #[case("docker.io", "https://auth.docker.io/token", true)]
    #[case("ghcr.io", "https://ghcr.io/token", true)]
    #[case(
        "registry.gitlab.example.co.uk",
        "https://gitlab.example.co.uk/jwt",
        true
    )]
    #[case("registry.example.co.uk", "https://evil.co.uk/token", false)]
    #[case("r.example", "https://sso.other.example/token", true)]
    #[case("r.example", "https://evil.example/token", false)]
    #[case("a.example.com", "https://example.com.evil.net/token", false)]
    #[case("a.example.com", "http://a.example.com/token", false)]
    #[case("a.example.com", "https://user:pw@a.example.com/token", false)]
    #[case("a.example.com", "ftp://a.example.com/token", false)]
    #[case("a.example.com", "not an address", false)]
    #[case("10.0.0.1:5000", "https://10.0.0.1/token", true)]
    #[case("10.0.0.1:5000", "https://10.0.0.2/token", false)]
    #[case("localhost:5000", "http://127.0.0.1:5001/token", true)]
    #[case("localhost:5000", "https://evil.example/token", false)]
    #[case("a.example.com", "http://127.0.0.1/token", false)]
    #[case("plain.example:8080", "http://plain.example:8080/token", true)]
    #[case("plain.example:8080", "http://plain.example:9/token", false)]
    fn logins_go_to_the_registrys_own_service(
        #[case] registry: &str,
        #[case] realm: &str,
        #[case] good: bool,
    ) {
        assert_eq!(policy().check_realm(registry, realm).is_ok(), good);
    }

    #[rstest]
    #[case("https://r.example/", "https://cdn.example/x", true)]
    #[case("https://r.example/", "http://r.example/x", false)]
    #[case("https://r.example/", "https://127.0.0.1/x", false)]
    #[case("https://r.example/", "https://0x7f.1/x", false)]
    #[case("https://r.example/", "https://2130706433/x", false)]
    #[case("https://r.example/", "https://localhost./x", false)]
    #[case("https://r.example/", "https://a.localhost/x", false)]
    #[case("https://r.example/", "https://[::ffff:127.0.0.1]/x", false)]
    #[case("https://r.example/", "https://169.254.169.254/latest", false)]
    #[case("https://r.example/", "https://[fe80::1]/x", false)]
    #[case("https://r.example/", "https://0.0.0.0/x", false)]
    #[case("https://r.example/", "file:///etc/passwd", false)]
    #[case("https://r.example/", "https://u:p@cdn.example/x", false)]
    #[case("http://localhost:5000/", "http://127.0.0.1:9000/x", true)]
    #[case("http://localhost:5000/", "http://r.example/x", false)]
    fn redirects_stay_on_https_and_out_of_this_machine(
        #[case] from: &str,
        #[case] to: &str,
        #[case] good: bool,
    ) {
        let (from, to) = (Url::parse(from).unwrap(), Url::parse(to).unwrap());
        assert_eq!(policy().check_target(&from, &to).is_ok(), good);
    }
}
