//! Workspaces of Azure ML: reached as the SDK reaches Azure's, and closed to those of other workspaces.

use kiln_tests::{Docker, Kiln, PrivateRegistry, Server};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Row as _};

use crate::azureml::{run_with, sdk, seen};

/// A token in the form of a JWT: the SDK reads the time until which it is valid.
pub(crate) const JWT: &str = concat!(
    "eyJhbGciOiAiSFMyNTYiLCAidHlwIjogIkpXVCJ9",
    ".eyJleHAiOiA0MTAyNDQ0ODAwLCAib2lkIjogIm8iLCAidGlkIjogInQifQ",
    ".c2lnbmF0dXJl"
);

/// Service, method and path below a workspace; `NAME` is an environment, `BUILD` a build.
const ROUTES: [(&str, &str, &str); 14] = [
    ("", "GET", ""),
    ("/environment/v1.0", "GET", "/environments"),
    ("/environment/v1.0", "PUT", "/environments/NAME"),
    ("/environment/v1.0", "GET", "/environments/NAME"),
    ("/environment/v1.0", "GET", "/environments/NAME/versions/1"),
    (
        "/environment/v1.0",
        "GET",
        "/environments/NAME/labels/latest",
    ),
    (
        "/environment/v1.0",
        "PUT",
        "/environments/NAME/versions/1/metadata",
    ),
    ("/environment/v1.0", "GET", "/environments/NAME/image"),
    (
        "/environment/v1.0",
        "GET",
        "/environments/NAME/versions/1/image",
    ),
    (
        "/environment/v1.0",
        "POST",
        "/environments/NAME/versions/1/recipe",
    ),
    (
        "/environment/v2.0",
        "POST",
        "/environments/NAME/versions/1/image",
    ),
    (
        "/environment/v2.0",
        "POST",
        "/environments/NAME/versions/1/imageoncompute/c",
    ),
    ("/environment/v2.0", "GET", "/builds/BUILD"),
    ("/environment/v1.0", "GET", "/builds/BUILD"),
];

fn workspace(name: &str) -> String {
    format!(
        "/subscriptions/sub/resourceGroups/rg/providers/Microsoft.MachineLearningServices/workspaces/{name}"
    )
}

fn token(name: &str, text: &str, workspace: &str) -> String {
    let sha256 = kiln_oci::Digest::of(text.as_bytes()).to_hex();
    format!(
        "[[auth.tokens]]\nname = \"{name}\"\nsha256 = \"{sha256}\"\nworkspace = \"{workspace}\"\nrights = [\"build\"]\n"
    )
}

/// A kiln that knows Ada in `sub/rg/ws` and Bob in `sub/rg/other`.
fn with_tokens(kiln: Kiln) -> Kiln {
    let tokens = token("ada", JWT, "sub/rg/ws") + &token("bob", "bob", "sub/rg/other");
    let path = kiln.write("kiln.toml", &tokens);
    kiln.env("KILN_CONFIG", path.to_str().unwrap())
}

async fn ask(server: &Server, token: &str, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let method: Method = method.parse().unwrap();
    let url = format!("{}{path}", server.url);
    let mut request = Client::new().request(method, url).bearer_auth(token);
    if !body.is_null() {
        request = request.json(body);
    }
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::Null))
}

/// An environment on a base, with what its registry wants.
fn environment(base: &str, variable: &str, registry: &Value) -> Value {
    json!({
        "EnvironmentVariables": { "A": variable },
        "python": { "condaDependencies": { "dependencies": [
            { "pip": [format!("--index-url {}/simple/", kiln_tests::channels()), "foo==1.0"] },
        ] } },
        "Docker": { "baseImage": base, "baseImageRegistry": registry },
    })
}

#[test]
fn the_sdk_finds_a_workspace_by_azures_resource_manager_with_a_jwt() {
    let kiln = with_tokens(Kiln::new());
    let server = kiln.serve().unwrap();
    let printed = run_with(
        &sdk("KILN_TEST_AZUREML"),
        &server.url,
        "from_arm.py",
        &[],
        &[("KILN_TOKEN", JWT)],
    );
    let seen = seen(&printed);
    assert_eq!(
        (&seen["registered"], &seen["from_config"]),
        (&json!("1"), &json!("1"))
    );
    assert_eq!(seen["details"], workspace("ws"));
    // A workspace of others looks as one that there is not.
    assert_ne!(seen["other"], "there", "{seen}");
    assert_eq!(seen["other"], seen["nothing"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_right_to_a_workspace_learns_nothing_of_it() {
    let kiln = with_tokens(Kiln::new());
    let server = kiln.serve().unwrap();
    let base = kiln_tests::base("debian:12");
    let put = |name: &str, version: &str| {
        format!(
            "/environment/v1.0{}/environments/{version}",
            workspace(name)
        )
    };
    let of = |variable: &str| environment(&base, variable, &Value::Null);
    let (status, one) = ask(&server, JWT, "PUT", &put("ws", "myenv"), &of("1")).await;
    assert_eq!((status, &one["version"]), (200, &json!("1")), "{one}");
    let (status, two) = ask(&server, "bob", "PUT", &put("other", "myenv"), &of("2")).await;
    assert_eq!((status, &two["version"]), (200, &json!("1")), "{two}");
    // Both have version 1 of `myenv`, each its own.
    for (name, token, variable) in [("ws", JWT, "1"), ("other", "bob", "2")] {
        let path = put(name, "myenv/versions/1");
        let (_, read) = ask(&server, token, "GET", &path, &Value::Null).await;
        assert_eq!(read["environmentVariables"], json!({ "A": variable }));
    }
    let path = format!(
        "/environment/v2.0{}/environments/myenv/versions/1/image",
        workspace("ws")
    );
    let (status, build) = ask(&server, JWT, "POST", &path, &Value::Null).await;
    assert_eq!(status, 202, "{build}");
    let build = build["location"].as_str().unwrap();
    let build = build.rsplit('/').next().unwrap();
    for (service, method, path) in ROUTES {
        let body = match method {
            "PUT" if path.ends_with("metadata") => json!({ "labels": ["mine"] }),
            "PUT" => of("3"),
            "POST" if path.ends_with("recipe") => json!({ "useDocker": true }),
            _ => Value::Null,
        };
        let at = |name: &str, environment: &str, build: &str| {
            let path = path.replace("NAME", environment).replace("BUILD", build);
            format!("{service}{}{path}", workspace(name))
        };
        let there = at("ws", "myenv", build);
        let (status, answer) = ask(&server, "bob", method, &there, &body).await;
        assert_eq!(status, 404, "{method} {there}: {answer}");
        let nowhere = at("ws", "nothing", "01nothing");
        assert_eq!(
            ask(&server, "bob", method, &nowhere, &body).await,
            (status, answer.clone())
        );
        let nobodys = at("none", "nothing", "01nothing");
        let (_, of_nobody) = ask(&server, "bob", method, &nobodys, &body).await;
        let answer = answer.to_string().replace("sub/rg/ws", "sub/rg/none");
        assert_eq!(answer, of_nobody.to_string());
        let (status, _) = ask(&server, "eve", method, &there, &body).await;
        assert_eq!(status, 401, "{method} {there}");
    }
    // A build is not found by way of the caller's own workspace, and its log only with the signature.
    let path = format!("/environment/v2.0{}/builds/{build}", workspace("other"));
    assert_eq!(ask(&server, "bob", "GET", &path, &Value::Null).await.0, 404);
    let log = format!("/environment/v1.0/logs/{build}");
    assert_eq!(ask(&server, "bob", "GET", &log, &Value::Null).await.0, 404);
    let forged = format!("{log}?signature={}", "0".repeat(64));
    assert_eq!(
        ask(&server, "bob", "GET", &forged, &Value::Null).await.0,
        404
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_right_to_a_base_gets_no_image_on_it() {
    let registry = PrivateRegistry::start().unwrap();
    let base = format!("{}/team/base:1", registry.host);
    let copied = std::process::Command::new("skopeo")
        .args([
            "copy",
            "--quiet",
            "--src-tls-verify=false",
            "--dest-tls-verify=false",
        ])
        .args(["--dest-creds", "user:hunter2"])
        .arg(format!("docker://{}", kiln_tests::base("debian:12")))
        .arg(format!("docker://{base}"))
        .output()
        .unwrap();
    assert!(copied.status.success(), "{copied:?}");
    let kiln = with_tokens(Kiln::new()).env("DOCKER_CONFIG", "/nonexistent");
    let server = kiln.serve().unwrap();
    let login = json!({ "address": registry.host, "username": "user", "password": "hunter2" });
    let relative = "team/base:1";
    for (name, token, registry, base) in [
        ("ws", JWT, &login, relative),
        (
            "other",
            "bob",
            &json!({ "address": registry.host }),
            relative,
        ),
        (
            "other",
            "bob",
            &json!({ "address": registry.host }),
            "team/nothing:1",
        ),
    ] {
        let environment = environment(base, "1", registry);
        let body = json!({ "environment": environment, "workspace": format!("sub/rg/{name}"), "wait": 600 });
        let (_, built) = ask(&server, token, "POST", "/v1/builds", &body).await;
        if token == JWT {
            assert_eq!(built["state"], "READY", "{built}");
            let image = built["image"].as_str().unwrap();
            assert_eq!(Docker::python(image, "import foo; print(1)"), "1");
            continue;
        }
        // The same answer whether the base is there or not, and nothing of the image that another has.
        assert_eq!(built["state"], "FAILED", "{built}");
        assert_eq!(built["error"]["class"], "auth", "{built}");
        assert_eq!(built["image"], Value::Null, "{built}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_that_differ_in_a_variable_share_a_lock() {
    let kiln = Kiln::new();
    let server = kiln.serve().unwrap();
    let base = kiln_tests::base("debian:12");
    let mut built = Vec::new();
    for variable in ["1", "2"] {
        let environment = environment(&base, variable, &Value::Null);
        let body = json!({ "environment": environment, "name": "myenv", "wait": 600 });
        let (_, status) = ask(&server, "", "POST", "/v1/builds", &body).await;
        assert_eq!(status["state"], "READY", "{status}");
        assert_eq!(status["environment"]["version"], variable);
        let image = status["image"].as_str().unwrap().to_owned();
        let code = "import os; print(os.environ['A'])";
        assert_eq!(Docker::python(&image, code), variable);
        built.push(image);
    }
    assert_ne!(built[0], built[1]);
    let (_, diff) = ask(
        &server,
        "",
        "GET",
        "/v1/environments/myenv/diff",
        &Value::Null,
    )
    .await;
    assert_eq!(diff["packages_of"], "locks", "{diff}");
    assert_eq!(diff["packages"], json!([]));
    server.terminate().unwrap();
    let options = SqliteConnectOptions::new().filename(kiln.data().join("kiln.db"));
    let mut records = options.connect().await.unwrap();
    let counts = "SELECT (SELECT count(*) FROM images), (SELECT count(*) FROM locks)";
    let row = sqlx::query(counts).fetch_one(&mut records).await.unwrap();
    let (images, locks): (i64, i64) = (row.get(0), row.get(1));
    assert_eq!((images, locks), (2, 1));
}
