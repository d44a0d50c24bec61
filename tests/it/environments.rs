//! Named environments, by the API and by the command line.

use kiln_tests::{Docker, Kiln, Server};
use reqwest::{Client, Method};
use serde_json::{Value, json};

/// An environment that resolves from the test bed's index, on a base with python.
fn requirements(version: &str) -> String {
    format!(
        "--index-url {}/simple/\nfoo=={version}\n",
        kiln_tests::channels()
    )
}

fn azureml(variable: &str) -> Value {
    json!({
        "name": "ignored",
        "environmentVariables": { "A": variable },
        "python": { "userManagedDependencies": true },
        "docker": {
            "baseImage": kiln_tests::base("debian:12"),
            "baseImageRegistry": { "address": null, "username": "me", "password": "pw-canary-7731" },
        },
    })
}

/// A caller of one server.
struct Api {
    client: Client,
    url: String,
    token: Option<String>,
}

impl Api {
    fn of(server: &Server) -> Self {
        Self {
            client: Client::new(),
            url: server.url.clone(),
            token: None,
        }
    }

    fn with_token(&self, token: &str) -> Self {
        Self {
            client: self.client.clone(),
            url: self.url.clone(),
            token: Some(token.to_owned()),
        }
    }

    async fn ask(&self, method: Method, path: &str, body: &Value) -> (u16, Value) {
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if !body.is_null() {
            request = request.json(body);
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        self.ask(Method::GET, path, &Value::Null).await
    }

    async fn put(&self, name: &str, body: &Value) -> (u16, Value) {
        self.ask(Method::PUT, &format!("/v1/environments/{name}"), body)
            .await
    }

    async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.ask(Method::POST, path, body).await
    }

    /// The versions of a name, newest first.
    async fn versions(&self, name: &str) -> Vec<String> {
        let (_, list) = self.get(&format!("/v1/environments/{name}/versions")).await;
        let versions = list["value"].as_array().unwrap().iter();
        versions
            .map(|one| one["version"].as_str().unwrap().to_owned())
            .collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_are_made_labelled_rolled_back_archived_and_told() {
    let kiln = Kiln::new();
    let server = kiln.serve().unwrap();
    let api = Api::of(&server);
    let (status, first) = api
        .put("myenv", &json!({ "environment": azureml("1") }))
        .await;
    assert_eq!((status, &first["version"]), (201, &json!("1")), "{first}");
    assert_eq!(first["document"]["name"], "myenv");
    assert!(!first.to_string().contains("7731"), "{first}");
    let (status, same) = api
        .put("myenv", &json!({ "environment": azureml("1") }))
        .await;
    assert_eq!((status, &same["version"]), (200, &json!("1")));
    // What was read is the same document, and so makes no version.
    let back = json!({ "environment": first["document"] });
    assert_eq!(api.put("myenv", &back).await.0, 200);
    let (status, second) = api
        .put("myenv", &json!({ "environment": azureml("2") }))
        .await;
    assert_eq!((status, &second["version"]), (201, &json!("2")));
    let other = json!({ "environment": azureml("3"), "version": "2" });
    let (status, refused) = api.put("myenv", &other).await;
    assert_eq!(status, 409, "{refused}");
    assert!(
        refused["error"]["message"]
            .as_str()
            .unwrap()
            .contains("myenv:2")
    );

    let labels = json!({ "version": "1", "labels": ["stable", "tested"] });
    let (status, _) = api.post("/v1/environments/myenv/labels", &labels).await;
    assert_eq!(status, 204);
    let (_, stable) = api.get("/v1/environments/myenv?label=stable").await;
    assert_eq!(stable["version"], "1");
    assert_eq!(stable["labels"], json!(["stable", "tested"]));
    let path = "/v1/environments/myenv/labels/stable";
    let gone = api.ask(Method::DELETE, path, &Value::Null).await;
    assert_eq!(gone.0, 204);
    assert_eq!(api.get("/v1/environments/myenv?label=stable").await.0, 404);

    let (_, diff) = api.get("/v1/environments/myenv/diff").await;
    assert_eq!(diff["from"]["version"], "1");
    assert_eq!(
        diff["variables"],
        json!([{"name": "A", "from": "1", "to": "2"}])
    );
    assert_eq!(diff["same_definition"], false);

    let (status, third) = api
        .post(
            "/v1/environments/myenv/rollback",
            &json!({ "version": "1" }),
        )
        .await;
    assert_eq!((status, &third["version"]), (201, &json!("3")));
    assert_eq!(third["spec_hash"], first["spec_hash"]);
    let clone = json!({ "name": "a b/c", "version": "2" });
    let (status, cloned) = api.post("/v1/environments/myenv/clone", &clone).await;
    assert_eq!((status, &cloned["name"]), (201, &json!("a b/c")));
    let (_, sharing) = api.get("/v1/environments/a%20b%2Fc/sharing").await;
    let names = sharing["value"].as_array().unwrap().iter();
    let names: Vec<_> = names.map(|one| (&one["name"], &one["version"])).collect();
    let (cloned, original) = ((json!("a b/c"), json!("1")), (json!("myenv"), json!("2")));
    assert_eq!(names, [(&cloned.0, &cloned.1), (&original.0, &original.1)]);

    let archive = json!({ "version": "3" });
    assert_eq!(
        api.post("/v1/environments/myenv/archive", &archive).await.0,
        204
    );
    assert_eq!(api.get("/v1/environments/myenv").await.1["version"], "2");
    assert_eq!(api.versions("myenv").await, ["3", "2", "1"]);
    let whole = api.post("/v1/environments/myenv/archive", &json!({})).await;
    assert_eq!(whole.0, 204);
    let (_, listed) = api.get("/v1/environments?limit=1").await;
    assert_eq!(listed["value"][0]["name"], "AzureML-Default");
    let (_, listed) = api.get("/v1/environments?prefix=my").await;
    assert_eq!(listed["value"], json!([]));
    let (_, history) = api.get("/v1/environments/myenv/history").await;
    let told = history["value"].as_array().unwrap().iter();
    let told: Vec<_> = told
        .map(|entry| entry["action"].as_str().unwrap())
        .collect();
    let expected = [
        "archived",
        "archived",
        "rolled_back",
        "unlabelled",
        "labelled",
        "registered",
        "registered",
    ];
    assert_eq!(told, expected, "{history}");
    assert_eq!(history["value"][0]["actor"], "local");
    assert_eq!(history["value"][0]["via"], "http");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_registers_its_environment_and_a_name_builds_it() {
    let kiln = Kiln::new();
    let server = kiln.serve().unwrap();
    let api = Api::of(&server);
    let by_document = json!({ "requirements": requirements("1.0"), "name": "tools", "wait": 600 });
    let (_, built) = api.post("/v1/builds", &by_document).await;
    assert_eq!(built["state"], "READY", "{built}");
    let id = json!({ "name": "tools", "version": "1" });
    assert_eq!(built["environment"], id);
    // The same again is the same version, and what is named is that image.
    assert_eq!(
        api.post("/v1/builds", &by_document).await.1["environment"],
        id
    );
    let by_name = json!({ "name": "tools", "version": "1", "wait": 600 });
    let (_, named) = api.post("/v1/builds", &by_name).await;
    assert_eq!(
        (&named["image"], &named["cached"]),
        (&built["image"], &json!(true))
    );
    assert_eq!(named["environment"], id);
    assert_eq!(api.versions("tools").await, ["1"]);
    let (_, shown) = api.get("/v1/environments/tools").await;
    assert_eq!(shown["generation"], 1, "{shown}");
    assert_eq!(shown["via"], "http");

    // Another name with the same definition shares the image.
    let twin = json!({ "requirements": requirements("1.0") });
    api.put("twin", &twin).await;
    let (_, same) = api
        .post("/v1/builds", &json!({ "name": "twin", "wait": 600 }))
        .await;
    assert_eq!(same["image"], built["image"]);
    assert_eq!(api.get("/v1/environments/twin").await.1["generation"], 1);

    let (_, second) = api
        .post(
            "/v1/environments/tools/packages",
            &json!({ "pip": ["foo==2.0"] }),
        )
        .await;
    assert_eq!(second["version"], "2", "{second}");
    let (_, built) = api
        .post("/v1/builds", &json!({ "name": "tools", "wait": 600 }))
        .await;
    assert_eq!(built["state"], "READY", "{built}");
    let (_, diff) = api.get("/v1/environments/tools/diff").await;
    assert_eq!(diff["packages_of"], "locks");
    let package = json!([{ "manager": "pip", "name": "foo", "from": "1.0", "to": "2.0" }]);
    assert_eq!(diff["packages"], package, "{diff}");
    assert!(diff["layers"]["shared"].as_u64().unwrap() >= 1, "{diff}");
    assert!(diff["sizes"]["from"].as_u64().unwrap() > 0, "{diff}");

    for (body, code) in [
        (json!({ "name": "none" }), 404),
        (json!({ "name": "tools", "version": "9" }), 404),
        (json!({ "name": "tools", "base": "x" }), 400),
        (json!({ "name": "a:b" }), 400),
        (json!({ "requirements": "x", "name": "AzureML-mine" }), 400),
        (
            json!({ "requirements": requirements("1.0"), "name": "tools", "version": "2" }),
            409,
        ),
    ] {
        let (status, answer) = api.post("/v1/builds", &body).await;
        assert_eq!(status, code, "{body}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn curated_environments_are_everywhere_and_the_default_is_built_where_none_is_named() {
    let kiln = Kiln::new();
    let server = kiln.serve().unwrap();
    let api = Api::of(&server);
    for workspace in ["default", "sub/rg/ws"] {
        let workspace = workspace.replace('/', "%2F");
        let path = format!("/v1/environments?workspace={workspace}");
        let (_, list) = api.get(&path).await;
        let names = list["value"].as_array().unwrap().iter();
        let names: Vec<_> = names.map(|one| one["name"].as_str().unwrap()).collect();
        assert_eq!(
            names,
            ["AzureML-Default", "AzureML-Minimal", "AzureML-Scikit-Learn"]
        );
    }
    let (_, curated) = api.get("/v1/environments/AzureML-Minimal").await;
    assert_eq!(
        (&curated["curated"], &curated["version"]),
        (&json!(true), &json!("1"))
    );
    // As it is it may be sent back; it can't be changed.
    let back = json!({ "environment": curated["document"], "version": "1" });
    assert_eq!(api.put("AzureML-Minimal", &back).await.0, 200);
    for name in ["AzureML-Minimal", "azureml-x", "Microsoft%2Fx"] {
        let (status, refused) = api.put(name, &json!({ "environment": azureml("1") })).await;
        assert_eq!(status, 400, "{name}: {refused}");
    }
    let archive = api
        .post("/v1/environments/AzureML-Minimal/archive", &json!({}))
        .await;
    assert_eq!(archive.0, 400);
    let clone = json!({ "name": "mine" });
    let (status, cloned) = api
        .post("/v1/environments/AzureML-Minimal/clone", &clone)
        .await;
    assert_eq!((status, &cloned["spec_hash"]), (201, &curated["spec_hash"]));

    let (_, dry) = api.post("/v1/builds", &json!({ "dry_run": true })).await;
    assert_eq!(dry["environment"]["name"], "AzureML-Default", "{dry}");
    assert!(dry.get("warnings").is_none(), "{dry}");
    let (_, built) = api.post("/v1/builds", &json!({ "wait": 600 })).await;
    assert_eq!(built["state"], "READY", "{built}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_tells_nothing_of_another() {
    let token = |text: &str| kiln_oci::Digest::of(text.as_bytes()).to_hex();
    let kiln = Kiln::new();
    let configuration = format!(
        "[[auth.tokens]]\nname = \"ada\"\nsha256 = \"{}\"\nworkspace = \"one\"\nrights = [\"build\"]\n\
         [[auth.tokens]]\nname = \"bob\"\nsha256 = \"{}\"\nworkspace = \"two\"\nrights = [\"build\"]\n\
         [[auth.tokens]]\nname = \"eve\"\nsha256 = \"{}\"\nworkspace = \"one\"\nrights = [\"read\"]\n",
        token("ada"),
        token("bob"),
        token("eve")
    );
    let path = kiln.write("kiln.toml", &configuration);
    let kiln = kiln.env("KILN_CONFIG", path.to_str().unwrap());
    let server = kiln.serve().unwrap();
    let api = Api::of(&server);
    let (ada, bob, eve) = (
        api.with_token("ada"),
        api.with_token("bob"),
        api.with_token("eve"),
    );
    let of = |variable: &str, workspace: &str| json!({ "environment": azureml(variable), "workspace": workspace });
    assert_eq!(ada.put("myenv", &of("1", "one")).await.0, 201);
    assert_eq!(bob.put("myenv", &of("2", "two")).await.0, 201);
    let (_, one) = ada.get("/v1/environments/myenv?workspace=one").await;
    let (_, two) = bob.get("/v1/environments/myenv?workspace=two").await;
    assert_eq!(
        (&one["version"], &two["version"]),
        (&json!("1"), &json!("1"))
    );
    assert_ne!(one["spec_hash"], two["spec_hash"]);
    assert_eq!(one["actor"], "ada");
    for path in [
        "/v1/environments?workspace=one",
        "/v1/environments/myenv?workspace=one",
        "/v1/environments/other?workspace=one",
        "/v1/environments/myenv/history?workspace=one",
        "/v1/environments/myenv?workspace=three",
    ] {
        let (status, answer) = bob.get(path).await;
        assert_eq!(status, 404, "{path}");
        assert!(!answer.to_string().contains("ada"), "{answer}");
        assert_eq!(api.get(path).await.0, 401);
    }
    let steal = json!({ "name": "mine", "workspace": "one", "to_workspace": "two" });
    assert_eq!(
        bob.post("/v1/environments/myenv/clone", &steal).await.0,
        404
    );
    let build = json!({ "name": "myenv", "workspace": "one" });
    assert_eq!(bob.post("/v1/builds", &build).await.0, 404);
    // Who may only read makes nothing.
    assert_eq!(eve.get("/v1/environments/myenv?workspace=one").await.0, 200);
    assert_eq!(eve.put("myenv", &of("3", "one")).await.0, 403);
    let archive = json!({ "workspace": "one" });
    assert_eq!(
        eve.post("/v1/environments/myenv/archive", &archive).await.0,
        403
    );
}

#[test]
fn the_command_line_does_the_same_with_and_without_a_server() {
    let kiln = Kiln::new();
    let file = kiln.write("requirements.txt", &requirements("1.0"));
    let file = file.to_str().unwrap();
    let ok = |arguments: &[&str]| {
        let answer = kiln.run(arguments);
        assert_eq!(answer.code, 0, "{arguments:?}: {answer:?}");
        answer
    };
    let made = ok(&["env", "register", "tools", file]);
    assert!(
        made.stdout.starts_with("tools:1  azureml/azureml_"),
        "{made:?}"
    );
    let server = kiln.serve().unwrap();
    ok(&["env", "add", "tools", "--pip", "foo==2.0"]);
    ok(&["env", "label", "tools:1", "stable"]);
    let listed = ok(&["env", "versions", "tools"]);
    let lines: Vec<&str> = listed.stdout.lines().collect();
    assert!(
        lines[0].starts_with("tools:2 ") && lines[0].ends_with("latest"),
        "{listed:?}"
    );
    assert!(
        lines[1].starts_with("tools:1 ") && lines[1].ends_with("stable"),
        "{listed:?}"
    );
    let exported = ok(&["env", "export", "tools@stable", "--source"]);
    assert_eq!(exported.stdout, requirements("1.0"));
    let diff = ok(&["env", "diff", "tools:1", "tools:2"]);
    assert!(diff.stdout.contains("pip foo: ==1 -> ==2"), "{diff:?}");
    server.terminate().unwrap();

    ok(&["env", "rollback", "tools:1"]);
    ok(&["env", "clone", "tools:2", "a b/c"]);
    ok(&["env", "archive", "tools:2"]);
    let history = ok(&["env", "history", "tools", "--json"]).json();
    let told = history["value"].as_array().unwrap().iter();
    let told: Vec<_> = told
        .map(|entry| entry["action"].as_str().unwrap())
        .collect();
    assert_eq!(
        told,
        [
            "archived",
            "rolled_back",
            "labelled",
            "registered",
            "registered"
        ]
    );
    let listed = ok(&["env", "list", "--prefix", "a b"]);
    assert!(listed.stdout.starts_with("a b/c:1 "), "{listed:?}");
    let missing = kiln.run(&["env", "show", "none"]);
    assert_eq!(missing.code, 1, "{missing:?}");
    let reserved = kiln.run(&["env", "register", "AzureML-x", file]);
    assert_eq!(reserved.code, 1, "{reserved:?}");
}

#[test]
fn a_version_is_made_again_from_its_recorded_lock_and_compared() {
    let kiln = Kiln::new();
    let text = requirements("1.0");
    let file = kiln.write("requirements.txt", &text);
    let ok = |arguments: &[&str]| {
        let answer = kiln.run(arguments);
        assert_eq!(answer.code, 0, "{arguments:?}: {answer:?}");
        answer
    };
    ok(&["env", "register", "tools", file.to_str().unwrap()]);
    let early = kiln.run(&["build", "--locked", "tools:1"]);
    assert_eq!(early.code, 1, "{early:?}");
    assert!(early.stderr.contains("was not built yet"), "{early:?}");
    let built = ok(&["build", "--env", "tools:1", "--json"]);
    assert_eq!(built.json()["environment"]["version"], "1", "{built:?}");

    let again = ok(&["build", "--locked", "tools:1", "--json"]).json();
    assert_eq!(again["recorded"]["image"], built.json()["image"]);
    assert_eq!(again["same_lock"], true, "{again}");
    assert_eq!(again["recorded"]["lock_hash"], again["built"]["lock_hash"]);
    assert_eq!(again["packages"], 1, "{again}");
    // Every step ran anew: only the base's layers are shared, whatever BuildKit's cache has.
    let same = again["recorded"]["image"] == again["built"]["image"];
    assert_eq!(again["same_digest"], same);
    assert_eq!(again["recorded_is_there"], true);
    assert!(again["layers"]["shared"].as_u64().unwrap() >= 1, "{again}");
    assert_eq!(again["layers"]["added"], again["layers"]["removed"]);
    let image = again["built"]["image"].as_str().unwrap();
    let code = "import importlib.metadata as m; print(m.version('foo'))";
    assert_eq!(Docker::python(image, code), "1.0");

    // What is current did not move.
    let current = ok(&["build", "--env", "tools", "--json"]).json();
    assert_eq!(
        (&current["image"], &current["cached"]),
        (&built.json()["image"], &true.into())
    );
    let told = ok(&["build", "--locked", "tools"]).stdout;
    assert!(
        told.contains("packages  the same (1 installed as locked)"),
        "{told}"
    );
    assert!(told.contains("lock      the same"), "{told}");

    let missing = kiln.run(&["build", "--locked", "tools:9"]);
    assert_eq!(missing.code, 1, "{missing:?}");
    let both = kiln.run(&["build", "--locked", "tools:1", file.to_str().unwrap()]);
    assert_eq!(both.code, 64, "{both:?}");
    let neither = kiln.run(&["build"]);
    assert_eq!(neither.code, 64, "{neither:?}");
}
