//! Models: registered, listed, downloaded, kept apart and kept.

use kiln_tests::Kiln;
use serde_json::{Value, json};

fn ok(kiln: &Kiln, arguments: &[&str]) -> kiln_tests::Answer {
    let answer = kiln.run(arguments);
    assert_eq!(answer.code, 0, "{arguments:?} {answer:?}");
    answer
}

#[test]
fn a_model_is_registered_listed_downloaded_and_survives_a_collection() {
    let kiln = Kiln::new();
    let folder = kiln.path().join("mdir");
    std::fs::create_dir_all(folder.join("sub")).unwrap();
    std::fs::write(folder.join("a.bin"), b"weights").unwrap();
    std::fs::write(folder.join("sub/b.bin"), vec![7; 1 << 20]).unwrap();
    let path = folder.to_str().unwrap();
    let register = [
        "model",
        "register",
        "m",
        path,
        "--tag",
        "kind=test",
        "--json",
    ];
    let first = ok(&kiln, &register).json();
    assert_eq!(
        (&first["version"], &first["tags"]),
        (&json!(1), &json!({ "kind": "test" }))
    );
    let second = ok(&kiln, &register).json();
    assert_eq!(second["version"], 2);
    assert_eq!(first["files"], second["files"]);
    let paths: Vec<_> = first["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| &f["path"])
        .collect();
    assert_eq!(paths, ["mdir/a.bin", "mdir/sub/b.bin"]);

    let collected = ok(&kiln, &["gc", "--apply", "--grace", "0", "--json"]).json();
    assert_eq!(collected["archives"]["count"], 0, "{collected}");
    let out = kiln.path().join("out");
    let out = out.to_str().unwrap();
    ok(&kiln, &["model", "download", "m:1", "-o", out]);
    let same = std::fs::read(format!("{out}/mdir/sub/b.bin")).unwrap();
    assert_eq!(same, vec![7; 1 << 20]);
    let again = kiln.run(&["model", "download", "m:1", "-o", out]);
    assert_eq!(again.code, 1, "{again:?}");

    ok(&kiln, &["model", "delete", "m:2"]);
    let listed = ok(&kiln, &["model", "list"]).stdout;
    assert_eq!(listed.trim(), "m:1  1.00 MiB");
    ok(&kiln, &["model", "delete", "m:1"]);
    let missing = kiln.run(&["model", "show", "m"]);
    assert_eq!(missing.code, 1, "{missing:?}");
    assert!(
        missing.stderr.contains("there is no model `m`"),
        "{missing:?}"
    );
    let collected = ok(&kiln, &["gc", "--apply", "--grace", "0", "--json"]).json();
    assert_eq!(collected["archives"]["count"], 2, "{collected}");
}

/// A tar of one entry.
fn tar(path: &str, kind: tar::EntryType, size: u64, content: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
    header.set_cksum();
    let mut tar = tar::Builder::new(Vec::new());
    tar.append(&header, content).unwrap();
    tar.into_inner().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_leaves_the_folder_is_too_large_or_belongs_to_another_workspace_is_refused() {
    let digest = |text: &str| kiln_oci::Digest::of(text.as_bytes()).to_hex();
    let kiln = Kiln::new();
    let configuration = format!(
        "limits.model_mib = 1\n\
         [[auth.tokens]]\nname = \"ada\"\nsha256 = \"{}\"\nworkspace = \"one\"\nrights = [\"build\"]\n\
         [[auth.tokens]]\nname = \"bob\"\nsha256 = \"{}\"\nworkspace = \"two\"\nrights = [\"build\"]\n",
        digest("ada"),
        digest("bob"),
    );
    let file = kiln.write("kiln.toml", &configuration);
    let kiln = kiln.env("KILN_CONFIG", file.to_str().unwrap());
    let server = kiln.serve().unwrap();
    let client = reqwest::Client::new();
    let send = async |who: &str, name: &str, workspace: &str, body: Vec<u8>| {
        let url = format!("{}/v1/models/{name}?workspace={workspace}", server.url);
        let request = client.post(url).bearer_auth(who).body(body);
        let response = request.send().await.unwrap();
        (
            response.status().as_u16(),
            response.json::<Value>().await.unwrap(),
        )
    };
    let file = tar::EntryType::Regular;
    for (path, kind) in [
        ("../up", file),
        ("/etc/cron.d/x", file),
        ("link", tar::EntryType::Symlink),
        ("device", tar::EntryType::Block),
    ] {
        let (code, answer) = send("ada", "m", "one", tar(path, kind, 0, b"")).await;
        assert_eq!(code, 400, "{answer}");
        assert!(
            answer["error"]["message"].as_str().unwrap().contains(path),
            "{answer}"
        );
    }
    let cut = tar("a", file, 1000, b"short")[..600].to_vec();
    assert_eq!(send("ada", "m", "one", cut).await.0, 400);
    let large = tar("a", file, (1 << 20) + 1, &vec![0; (1 << 20) + 1]);
    let (code, answer) = send("ada", "m", "one", large).await;
    assert_eq!(code, 400, "{answer}");
    assert!(
        answer["error"]["remedy"]
            .as_str()
            .unwrap()
            .contains("limits.model_mib")
    );
    let good = tar("a", file, 3, b"abc");
    assert_eq!(send("ada", "-m", "one", good.clone()).await.0, 400);
    assert_eq!(send("ada", "m", "two", good.clone()).await.0, 404);
    assert_eq!(send("ada", "m", "one", good.clone()).await.0, 201);
    assert_eq!(send("bob", "m", "two", good).await.1["version"], 1);

    let get = async |who: &str, path: &str| {
        let request = client.get(format!("{}{path}", server.url)).bearer_auth(who);
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(
        get("ada", "/v1/models/m/1/content?workspace=one").await,
        200
    );
    assert_eq!(
        get("bob", "/v1/models/m/1/content?workspace=one").await,
        404
    );
    assert_eq!(get("ada", "/v1/models/m/9?workspace=one").await, 404);
}
