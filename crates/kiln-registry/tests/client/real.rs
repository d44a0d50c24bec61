//! The client against the distribution project's registry (Debian's `docker-registry`), with `skopeo` as
//! the second opinion. Each test starts its own registry and ends it.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use axum::http::Method;
use kiln_oci::{Descriptor, Digest, ImageManifest, Platform, Reference, Tag, media_type};
use kiln_registry::{
    BlobPush, Credentials, ErrorKind, Probe, Pushed, RegistryClient, RegistryClientBuilder,
    RetryBudget, StaticCredentials, TagRule,
};
use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;

use crate::fake::Fake;
use crate::images::{builder, client_as, content, image, quick};

/// bcrypt of `hunter2`, cost 4.
const HTPASSWD: &str = "user:$2b$04$sJPRNXGs1g1wZYvpkdUtdeJqtEhNyB9n8N8SBiEGW2/vajTAznMgi\n";

struct Real {
    host: String,
    process: Child,
    _folder: TempDir,
}

impl Drop for Real {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Real {
    /// Starts a registry on a free port; `extra` is more of its configuration, made for its folder.
    fn start(extra: impl Fn(&Path) -> (String, String)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let (http, more) = extra(folder.path());
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: {root}}}\n  \
             delete: {{enabled: true}}\nhttp:\n  addr: 127.0.0.1:{port}\n{http}{more}",
            root = folder.path().join("root").display(),
        );
        let path = folder.path().join("config.yml");
        std::fs::write(&path, config).unwrap();
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry (Debian package docker-registry) is on PATH");
        Self {
            host: format!("localhost:{port}"),
            process,
            _folder: folder,
        }
    }

    fn plain() -> Self {
        Self::start(|_| (String::new(), String::new()))
    }

    fn repo(&self, name: &str) -> Reference {
        format!("{}/{name}", self.host).parse().unwrap()
    }

    /// A client, once the registry answers it.
    async fn client(&self, builder: RegistryClientBuilder) -> RegistryClient {
        let client = builder.build().unwrap();
        let until_up = RetryBudget {
            attempts: u32::MAX,
            total: Duration::from_secs(30),
            base_delay: Duration::from_millis(20),
            max_delay: Duration::from_millis(20),
            ..quick()
        };
        client.with_retry(until_up).ping(&self.host).await.unwrap();
        client
    }
}

/// A layer that is a real gzipped archive of nothing, and an image of it.
fn small_image() -> (Vec<u8>, Vec<u8>, ImageManifest) {
    let layer = content(2_000_000);
    let descriptor = Descriptor::of(media_type::OCI_LAYER_GZIP, &layer);
    let (config, manifest) = image(&Platform::default(), &descriptor);
    (layer, config, manifest)
}

async fn push_image(client: &RegistryClient, to: &Reference) -> Reference {
    let (layer, config, manifest) = small_image();
    for (descriptor, bytes) in [(&manifest.layers[0], layer), (&manifest.config, config)] {
        let push = BlobPush::new(descriptor.clone(), bytes);
        assert_eq!(client.push_blob(to, push).await.unwrap(), Pushed::Uploaded);
    }
    let bytes = manifest.to_bytes();
    let to = to.with_digest(Digest::of(&bytes));
    client
        .push_manifest(&to, bytes.into(), media_type::OCI_MANIFEST)
        .await
        .unwrap();
    to
}

fn skopeo(arguments: &[&str], reference: &Reference) -> String {
    let output = Command::new("skopeo")
        .arg("inspect")
        .args(arguments)
        .arg(format!("docker://{reference}"))
        .output()
        .expect("skopeo (Debian package skopeo) is on PATH");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn an_image_is_pushed_probed_mounted_pulled_tagged_and_deleted() {
    let registry = Real::plain();
    let client = registry.client(builder()).await;
    let first = registry.repo("team/first");
    assert!(matches!(client.probe(&first).await, Probe::Absent));
    let pinned = push_image(&client, &first).await;
    let Probe::Present { digest, size, .. } = client.probe(&pinned).await else {
        panic!("present");
    };
    let (layer, config, manifest) = small_image();
    assert_eq!(
        (Some(digest), size),
        (pinned.digest(), manifest.to_bytes().len() as u64)
    );

    // The second repository gets all by mounts.
    let second = registry.repo("team/second");
    for (descriptor, bytes) in [
        (&manifest.layers[0], layer.clone()),
        (&manifest.config, config),
    ] {
        let push = BlobPush::new(descriptor.clone(), bytes).mount_from(first.repository().clone());
        assert_eq!(
            client.push_blob(&second, push).await.unwrap(),
            Pushed::Mounted
        );
    }
    let bytes = manifest.to_bytes();
    let second = second.with_digest(digest);
    client
        .push_manifest(&second, bytes.into(), media_type::OCI_MANIFEST)
        .await
        .unwrap();

    let resolved = client
        .resolve_platform(&second, &Platform::default())
        .await
        .unwrap();
    assert_eq!(
        (resolved.manifest_digest, resolved.index_digest),
        (digest, None)
    );
    assert_eq!(resolved.manifest, manifest);
    let stream = client
        .blob_stream(&second, &manifest.layers[0])
        .await
        .unwrap();
    let mut read = Vec::new();
    stream
        .into_async_read()
        .read_to_end(&mut read)
        .await
        .unwrap();
    assert!(read == layer);

    for tag in ["1", "latest"] {
        client
            .put_tag(&second, &tag.parse().unwrap(), TagRule::Keep)
            .await
            .unwrap();
    }
    let tags = client.list_tags(&second).await.unwrap();
    assert_eq!(
        tags.iter().map(Tag::as_str).collect::<Vec<_>>(),
        ["1", "latest"]
    );
    let tagged = second.with_tag("1".parse().unwrap());
    let seen = skopeo(&["--tls-verify=false"], &tagged);
    assert!(
        seen.contains(&digest.to_string()) && seen.contains("PATH=/usr/bin"),
        "{seen}"
    );
    let raw = skopeo(&["--tls-verify=false", "--raw"], &tagged);
    assert_eq!(raw.as_bytes(), manifest.to_bytes());

    assert!(client.delete_manifest(&second).await.unwrap());
    assert!(matches!(client.probe(&second).await, Probe::Absent));
    assert!(matches!(client.probe(&pinned).await, Probe::Present { .. }));
}

#[tokio::test]
async fn a_mount_of_what_is_not_there_becomes_an_upload() {
    let registry = Real::plain();
    let client = registry.client(builder()).await;
    let bytes = content(100_000);
    let push = BlobPush::new(Descriptor::of(media_type::OCI_LAYER, &bytes), bytes)
        .mount_from("team/other".parse().unwrap());
    let pushed = client
        .push_blob(&registry.repo("team/new"), push)
        .await
        .unwrap();
    assert_eq!(pushed, Pushed::Uploaded);
}

#[tokio::test]
async fn a_manifest_without_its_blobs_is_refused_with_the_registrys_code() {
    let registry = Real::plain();
    let client = registry.client(builder()).await;
    let bytes = small_image().2.to_bytes();
    let to = registry.repo("team/hollow:v1");
    let error = client
        .push_manifest(&to, bytes.into(), media_type::OCI_MANIFEST)
        .await
        .unwrap_err();
    assert!(error.has_code("MANIFEST_BLOB_UNKNOWN"), "{error}");
    assert_eq!(error.kind(), ErrorKind::Integrity);
}

#[tokio::test]
async fn a_registry_with_passwords_takes_the_right_one() {
    let registry = Real::start(|folder| {
        let path = folder.join("htpasswd");
        std::fs::write(&path, HTPASSWD).unwrap();
        (
            String::new(),
            format!(
                "auth: {{htpasswd: {{realm: r, path: {}}}}}\n",
                path.display()
            ),
        )
    });
    let login = |password| {
        StaticCredentials::new().with(&registry.host, Credentials::basic("user", password))
    };
    let client = registry
        .client(builder().credentials(std::sync::Arc::new(login("hunter2"))))
        .await;
    let pinned = push_image(&client, &registry.repo("team/app")).await;
    client
        .put_tag(&pinned, &"v1".parse().unwrap(), TagRule::Keep)
        .await
        .unwrap();
    let tagged = registry.repo("team/app:v1");
    let seen = skopeo(&["--tls-verify=false", "--creds", "user:hunter2"], &tagged);
    assert!(seen.contains(&pinned.identifier()), "{seen}");
    for stranger in [client_as(login("wrong")), builder().build().unwrap()] {
        let Probe::Unknown(error) = stranger.probe(&tagged).await else {
            panic!("unknown")
        };
        assert_eq!(error.kind(), ErrorKind::Auth, "{error}");
    }
}

#[tokio::test]
async fn a_registry_behind_an_own_authority_needs_the_extra_bundle() {
    let issued = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let registry = Real::start(|folder| {
        let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
        std::fs::write(&certificate, issued.cert.pem()).unwrap();
        std::fs::write(&key, issued.signing_key.serialize_pem()).unwrap();
        let tls = format!(
            "  tls: {{certificate: {}, key: {}}}\n",
            certificate.display(),
            key.display()
        );
        (tls, String::new())
    });
    let trusting = builder()
        .tls_on_loopback(&registry.host)
        .extra_ca(issued.cert.pem());
    let client = registry.client(trusting).await;
    push_image(&client, &registry.repo("team/app")).await;
    let stranger = builder().tls_on_loopback(&registry.host).build().unwrap();
    let error = stranger.ping(&registry.host).await.unwrap_err();
    assert!(
        error.remedy().contains("extra CA bundle"),
        "{error} {}",
        error.remedy()
    );
    assert!(!error.is_retryable());
    // Plain http is not tried on a host that has TLS.
    let Probe::Unknown(error) = stranger.probe(&registry.repo("team/app:v1")).await else {
        panic!("unknown");
    };
    assert_eq!(error.attempts(), 1);
}

#[tokio::test]
async fn the_fake_and_the_real_registry_see_the_same_requests_answered_alike() {
    let (registry, fake) = (Real::plain(), Fake::start().await);
    let client = registry.client(builder()).await;
    for host in [&registry.host, &fake.host] {
        let to: Reference = format!("{host}/team/app").parse().unwrap();
        let pinned = push_image(&client, &to).await;
        let resolved = client
            .resolve_platform(&pinned, &Platform::default())
            .await
            .unwrap();
        assert_eq!(resolved.config_bytes, small_image().1);
        let missing = client
            .blob_exists(&to, &Digest::of(b"missing"))
            .await
            .unwrap();
        assert!(!missing);
        let error = client
            .manifest(&to.with_tag("missing".parse().unwrap()))
            .await
            .unwrap_err();
        assert!(error.has_code("MANIFEST_UNKNOWN"), "{error}");
    }
    assert_eq!(fake.count(&Method::PUT, "/uploads/"), 2);
}
