//! From texts to typed settings, collecting every fault.

use std::net::SocketAddr;
use std::path::PathBuf;

use kiln_lock::{ChannelPriority, IndexStrategy};
use kiln_server::{Right, Token};
use url::Url;

use super::Settings;
use super::file::{FileSettings, FileToken};

const DEFAULT_LISTEN: &str = "127.0.0.1:8470";

/// Parses all fields; a fault leaves a default in its place, for the others to be checked too.
pub(super) fn settings(
    file: FileSettings,
    home: Option<PathBuf>,
    faults: &mut Vec<String>,
) -> Settings {
    let listen = listen(file.listen.as_deref(), faults);
    let tokens: Vec<Token> = file
        .auth
        .tokens
        .iter()
        .filter_map(|t| token(t, faults))
        .collect();
    if tokens.is_empty() && !listen.ip().is_loopback() {
        faults.push(format!(
            "listen: {listen} is reachable from other machines, and that needs auth.tokens; \
             without tokens kiln listens on loopback only"
        ));
    }
    let data = file
        .data
        .or_else(|| home.map(|home| home.join("kiln")))
        .unwrap_or_else(|| {
            faults.push("data: there is no HOME; give --data or KILN_DATA".into());
            PathBuf::new()
        });
    let registry = file
        .registry
        .map(|text| text.trim_end_matches('/').to_owned());
    if let Some(registry) = &registry
        && format!("{registry}/azureml/probe")
            .parse::<kiln_oci::Reference>()
            .is_err()
    {
        faults.push(format!(
            "registry: `{registry}` is not HOST[/PREFIX], for example localhost:5000/team"
        ));
    }
    Settings {
        data,
        listen,
        registry,
        plain_http: file.registries.plain_http,
        extra_ca: file.extra_ca,
        queue: file.queue.map(|queue| queue.checked(faults)),
        hooks: file.hooks.checked(!tokens.is_empty(), faults),
        tokens,
        catalog: file.base.catalog,
        base_cpu: file.base.cpu,
        base_gpu: file.base.gpu,
        mirrors: file.base.mirrors,
        channel_priority: match file.conda.channel_priority.as_deref() {
            None | Some("flexible") => ChannelPriority::Flexible,
            Some("strict") => ChannelPriority::Strict,
            Some(other) => {
                faults.push(format!(
                    "conda.channel_priority: `{other}` is neither `flexible` nor `strict`"
                ));
                ChannelPriority::Flexible
            }
        },
        channel_alias: address("conda.channel_alias", file.conda.channel_alias, faults),
        index_url: address("pypi.index_url", file.pypi.index_url, faults),
        index_strategy: match file.pypi.index_strategy.as_deref() {
            None | Some("first-index") => IndexStrategy::FirstIndex,
            Some("unsafe-best-match") => IndexStrategy::UnsafeBestMatch,
            Some(other) => {
                faults.push(format!(
                    "pypi.index_strategy: `{other}` is neither `first-index` nor `unsafe-best-match`"
                ));
                IndexStrategy::FirstIndex
            }
        },
        uv: file.pypi.uv,
        docker_host: file.docker.host,
        install_binary: file.docker.install_binary,
        default_environment: file.default_environment.checked(faults),
        tls: file.tls.checked(faults),
        limits: file.limits.checked(),
        gc: file.gc.checked(),
    }
}

fn listen(text: Option<&str>, faults: &mut Vec<String>) -> SocketAddr {
    let text = text.unwrap_or(DEFAULT_LISTEN);
    let text = text
        .strip_prefix("localhost:")
        .map_or(text.to_owned(), |p| format!("127.0.0.1:{p}"));
    text.parse().unwrap_or_else(|_| {
        faults.push(format!(
            "listen: `{text}` is not ADDRESS:PORT, for example {DEFAULT_LISTEN}"
        ));
        SocketAddr::from(([127, 0, 0, 1], 0))
    })
}

fn address(field: &str, text: Option<String>, faults: &mut Vec<String>) -> Option<Url> {
    let text = text?;
    let parsed = Url::parse(&text).ok();
    let parsed = parsed.filter(|url| ["http", "https", "file"].contains(&url.scheme()));
    if parsed.is_none() {
        faults.push(format!(
            "{field}: `{text}` is not an http, https or file address"
        ));
    }
    parsed
}

fn token(token: &FileToken, faults: &mut Vec<String>) -> Option<Token> {
    let mut fault = |text: String| faults.push(format!("auth.tokens, `{}`: {text}", token.name));
    let mut hash = [0; 32];
    let hashed = hex::decode_to_slice(&token.sha256, &mut hash).is_ok();
    if !hashed {
        fault("sha256 is not the 64 hex digits of the token's SHA-256".into());
    }
    let mut rights = Vec::new();
    for right in &token.rights {
        match right.parse::<Right>() {
            Ok(right) => rights.push(right),
            Err(_) => fault(format!("`{right}` is not one of read, build, admin")),
        }
    }
    hashed.then(|| Token {
        name: token.name.clone(),
        sha256: hash,
        workspace: token.workspace.clone(),
        rights,
    })
}
