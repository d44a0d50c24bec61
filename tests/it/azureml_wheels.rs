//! Private wheels by the real Azure ML SDKs, uploaded with TLS.

use std::process::Command;

use kiln_tests::{Docker, Kiln};

use crate::azureml::{run_with, sdk, seen};
use crate::wheels::wheel;

/// A certificate for the names by which the SDKs upload, and its key.
fn certificate(kiln: &Kiln) -> (String, String) {
    let path = |name: &str| kiln.path().join(name).to_str().unwrap().to_owned();
    let (pem, key) = (path("tls.pem"), path("tls.key"));
    let names = "subjectAltName=DNS:kiln.blob.localhost,DNS:kiln.blob.core.windows.net";
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
        ])
        .args(["-subj", "/CN=kiln", "-days", "1", "-addext", names])
        .args(["-keyout", &key, "-out", &pem])
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    (pem, key)
}

/// A kiln that the SDKs can upload to, and the certificate that they have to trust.
pub(crate) fn with_tls(kiln: Kiln) -> (Kiln, String) {
    let (pem, key) = certificate(&kiln);
    let configuration = format!(
        "[tls]\nlisten = \"127.0.0.1:0\"\ncertificate = \"{pem}\"\nkey = \"{key}\"\n\
         blob_host = \"kiln.blob.localhost\"\n"
    );
    let file = kiln.write("kiln.toml", &configuration);
    (kiln.env("KILN_CONFIG", file.to_str().unwrap()), pem)
}

fn check(variable: &str) {
    let (kiln, pem) = with_tls(Kiln::new());
    let server = kiln.serve().unwrap();
    let secure = server.secure_url.clone().unwrap();
    let port = secure.rsplit_once(':').unwrap().1;
    let wheel = wheel(&kiln, "1.0", "by-the-sdk");
    let variables = [
        ("WHEEL", wheel.as_str()),
        ("KILN_TLS_PORT", port),
        ("REQUESTS_CA_BUNDLE", &pem),
    ];
    let printed = run_with(&sdk(variable), &server.url, "wheels.py", &[], &variables);
    let seen = seen(&printed);
    let url = seen["url"].as_str().unwrap();
    let at = "https://kiln.blob.localhost/azureml/sub/rg/ws/Environment/azureml-private-packages/";
    assert_eq!(url, format!("{at}private_thing-1.0-py3-none-any.whl"));
    assert_eq!(seen["again"], url);
    assert!(
        seen["twice"].as_str().unwrap().contains("already exists"),
        "{seen}"
    );
    let bad = seen["bad name"].as_str().unwrap();
    assert!(
        bad.contains("NAME-VERSION[-BUILD]-PYTHON-ABI-PLATFORM.whl"),
        "{bad}"
    );
    assert_eq!(seen["status"], "Succeeded", "{printed}");
    assert_eq!(seen["local"], "by-the-sdk", "{printed}");
    let image = format!("{}:latest", seen["image"].as_str().unwrap());
    let word = Docker::python(&image, "import private_thing; print(private_thing.WORD)");
    assert_eq!(word.trim(), "by-the-sdk");
}

#[test]
fn the_newest_sdk_uploads_a_wheel_and_builds_with_it() {
    check("KILN_TEST_AZUREML");
}

#[test]
fn the_sdk_of_2019_does_too() {
    check("KILN_TEST_AZUREML_2019");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_not_signed_too_old_or_changed_takes_nothing() {
    let kiln = Kiln::new();
    let server = kiln.serve().unwrap();
    let at = "azureml/sub/rg/ws/Environment/azureml-private-packages/a-1-py3-none-any.whl";
    let client = reqwest::Client::new();
    let signature = "0".repeat(64);
    for query in [
        "",
        "?se=99999999999",
        &format!("?se=99999999999&sig={signature}"),
        "?se=1&sig=00",
    ] {
        let url = format!("{}/{at}{query}", server.url);
        for request in [
            client.put(&url).body("x"),
            client.get(&url),
            client.head(&url),
        ] {
            assert_eq!(request.send().await.unwrap().status(), 403, "{query}");
        }
    }
}
