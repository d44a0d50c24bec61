//! `tls`: a second listener, with TLS.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

/// `tls` of the file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct FileTls {
    listen: Option<String>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    blob_host: Option<String>,
}

/// A listener with TLS.
#[derive(Debug, Clone)]
pub(crate) struct Tls {
    /// Where it listens.
    pub(crate) listen: SocketAddr,
    /// The certificate and those above it, PEM.
    pub(crate) certificate: PathBuf,
    /// Its private key, PEM.
    pub(crate) key: PathBuf,
    /// `ACCOUNT.blob.DOMAIN[:PORT]`: the name by which the Azure ML SDK uploads to it.
    pub(crate) blob_host: Option<String>,
}

impl FileTls {
    /// The listener; none where nothing is set.
    pub(super) fn checked(self, faults: &mut Vec<String>) -> Option<Tls> {
        if let Some(host) = &self.blob_host
            && !is_blob_host(host)
        {
            faults.push(format!(
                "tls.blob_host: `{host}` is not ACCOUNT.blob.DOMAIN[:PORT], which the Azure ML SDK asks for"
            ));
        }
        match (self.listen, self.certificate, self.key) {
            (Some(listen), Some(certificate), Some(key)) => {
                let Ok(listen) = listen.parse() else {
                    faults.push(format!(
                        "tls.listen: `{listen}` is no ADDRESS:PORT, for example 0.0.0.0:8471"
                    ));
                    return None;
                };
                Some(Tls {
                    listen,
                    certificate,
                    key,
                    blob_host: self.blob_host,
                })
            }
            (None, None, None) if self.blob_host.is_none() => None,
            _ => {
                faults.push("tls: `listen`, `certificate` and `key` are needed together".into());
                None
            }
        }
    }
}

/// Whether the SDK can take a host apart, and nothing else is in it.
fn is_blob_host(host: &str) -> bool {
    let (name, port) = match host.split_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (host, None),
    };
    let label = |label: &str| {
        !label.is_empty() && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    let mut labels = name.split('.');
    labels.next().is_some_and(label)
        && labels.next() == Some("blob")
        && labels.clone().count() >= 1
        && labels.all(label)
        && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_half_said_or_no_address_is_a_fault() {
        let check = |toml: &str| {
            let mut faults = Vec::new();
            let file: FileTls = toml::from_str(toml).unwrap();
            (file.checked(&mut faults).is_some(), faults.len())
        };
        assert_eq!(check(""), (false, 0));
        let whole = "listen = \"127.0.0.1:0\"\ncertificate = \"c\"\nkey = \"k\"\n";
        assert_eq!(check(whole), (true, 0));
        assert_eq!(check("certificate = \"c\""), (false, 1));
        assert_eq!(check("blob_host = \"a.blob.example\""), (false, 1));
        assert_eq!(check(&whole.replace("127.0.0.1:0", "here")), (false, 1));
        for (host, faults) in [
            ("kiln.blob.localhost:8471", 0),
            ("kiln.blob.example.org", 0),
            ("kiln.example.org", 1),
            ("a.blob", 1),
            ("a.blob.x/y", 1),
            ("a.blob.x:port", 1),
        ] {
            let found = check(&format!("{whole}blob_host = \"{host}\""));
            assert_eq!(found, (true, faults), "{host}");
        }
    }
}
