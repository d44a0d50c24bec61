//! Private wheels: uploaded once, checked, and built with by who may.

use std::io::Write as _;

use kiln_tests::{Docker, Kiln};
use serde_json::{Value, json};

/// Writes a wheel `private_thing-VERSION-py3-none-any.whl` whose module says a word.
pub(crate) fn wheel(kiln: &Kiln, version: &str, word: &str) -> String {
    let folder = kiln.path().join(format!("{version}-{word}"));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join(format!("private_thing-{version}-py3-none-any.whl"));
    write_wheel(&path, word);
    path.to_str().unwrap().to_owned()
}

/// Writes the wheel of a path whose module says a word; its name and version are the file name's.
pub(crate) fn write_wheel(path: &std::path::Path, word: &str) {
    const MAKE: &str = r#"
import base64, hashlib, sys, zipfile
path, word = sys.argv[1:]
name, version = path.split("/")[-1].split("-")[:2]
info = f"{name}-{version}.dist-info"
files = {
    f"{name}.py": f"WORD = {word!r}\n",
    f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
    f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
}
record = ""
with zipfile.ZipFile(path, "w") as archive:
    for name, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        record += f"{name},sha256={digest},{len(text)}\n"
        archive.writestr(zipfile.ZipInfo(name), text)
    archive.writestr(zipfile.ZipInfo(f"{info}/RECORD"), record + f"{info}/RECORD,,\n")
"#;
    let mut python = std::process::Command::new("python3")
        .args(["-", path.to_str().unwrap(), word])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    python
        .stdin
        .take()
        .unwrap()
        .write_all(MAKE.as_bytes())
        .unwrap();
    assert!(python.wait().unwrap().success());
}

fn ok(kiln: &Kiln, arguments: &[&str]) -> String {
    let answer = kiln.run(arguments);
    assert_eq!(answer.code, 0, "{arguments:?} {answer:?}");
    answer.stdout.trim().to_owned()
}

#[test]
fn a_private_wheel_is_installed_and_its_name_keeps_its_bytes() {
    let kiln = Kiln::new();
    let file = wheel(&kiln, "1.0", "secret");
    let line = ok(&kiln, &["wheel", "add", &file]);
    assert!(
        line.starts_with("private-thing @ kiln-wheel:sha256:"),
        "{line}"
    );
    assert_eq!(ok(&kiln, &["wheel", "add", &file]), line);
    assert_eq!(ok(&kiln, &["wheel", "list"]), line);
    let other = kiln.run(&["wheel", "add", &wheel(&kiln, "1.0", "other")]);
    assert_eq!(other.code, 1, "{other:?}");
    assert!(other.stderr.contains("is another wheel's"), "{other:?}");

    ok(&kiln, &["gc", "--apply", "--grace", "0"]);
    let index = format!("--index-url {}/simple/\n", kiln_tests::channels());
    let built = kiln.build_ok("requirements.txt", &format!("{index}{line}\n"), &[]);
    let word = Docker::python(
        &built.text("image"),
        "import private_thing; print(private_thing.WORD)",
    );
    assert_eq!(word.trim(), "secret");
    let digest = line.split_once(" @ ").unwrap().1;
    let alone = kiln.build_ok("alone.txt", &format!("{index}{digest}\n"), &[]);
    let word = Docker::python(
        &alone.text("image"),
        "import private_thing; print(private_thing.WORD)",
    );
    assert_eq!(word.trim(), "secret");
    let unknown = format!(
        "{index}private-thing @ kiln-wheel:sha256:{}\n",
        "0".repeat(64)
    );
    let unknown = kiln.build("unknown.txt", &unknown, &[]);
    assert_eq!(unknown.code, 1, "{unknown:?}");
    assert!(
        unknown.stdout.contains("is not in kiln's store"),
        "{unknown:?}"
    );
}

#[test]
fn a_file_that_is_no_wheel_is_refused_with_the_valid_form() {
    let kiln = Kiln::new();
    let good = wheel(&kiln, "1.0", "x");
    let folder = kiln.path().join("bad");
    std::fs::create_dir_all(&folder).unwrap();
    let named = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        std::fs::write(&path, bytes).unwrap();
        let answer = kiln.run(&["wheel", "add", path.to_str().unwrap()]);
        assert_eq!(answer.code, 1, "{answer:?}");
        answer.stderr
    };
    let bytes = std::fs::read(&good).unwrap();
    let form = named("my package.whl", &bytes);
    assert!(
        form.contains("NAME-VERSION[-BUILD]-PYTHON-ABI-PLATFORM.whl"),
        "{form}"
    );
    let renamed = named("private_thing-2.0-py3-none-any.whl", &bytes);
    assert!(renamed.contains("the wheel is not usable"), "{renamed}");
    named("private_thing-1.0-py3-none-any.whl", b"no zip");
    let mut longer = bytes.clone();
    longer.extend_from_slice(b"and more");
    named("private_thing-1.0-py3-none-any.whl", &longer);
    let mut changed = bytes.clone();
    let at = changed.windows(4).position(|part| part == b"WORD").unwrap();
    changed[at] = b'w';
    named("private_thing-1.0-py3-none-any.whl", &changed);
    assert_eq!(ok(&kiln, &["wheel", "list"]), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_right_to_a_wheel_learns_nothing_of_it() {
    let digest = |text: &str| kiln_oci::Digest::of(text.as_bytes()).to_hex();
    let kiln = Kiln::new();
    let bytes = std::fs::read(wheel(&kiln, "1.0", "mine")).unwrap();
    let configuration = format!(
        "[[auth.tokens]]\nname = \"ada\"\nsha256 = \"{}\"\nworkspace = \"one\"\nrights = [\"build\"]\n\
         [[auth.tokens]]\nname = \"bob\"\nsha256 = \"{}\"\nworkspace = \"two\"\nrights = [\"build\"]\n",
        digest("ada"),
        digest("bob"),
    );
    let file = kiln.write("kiln.toml", &configuration);
    let kiln = kiln.env("KILN_CONFIG", file.to_str().unwrap());
    let server = kiln.serve().unwrap();
    let client = reqwest::Client::new();
    let path = "/v1/wheels/private_thing-1.0-py3-none-any.whl";
    let ask = async |who: &str, method: reqwest::Method, path: &str, body: Vec<u8>| {
        let request = client.request(method, format!("{}{path}", server.url));
        let response = request.bearer_auth(who).body(body).send().await.unwrap();
        let status = response.status().as_u16();
        (status, response.json::<Value>().await.unwrap_or_default())
    };
    let (get, put, post) = (
        reqwest::Method::GET,
        reqwest::Method::PUT,
        reqwest::Method::POST,
    );
    let one = format!("{path}?workspace=one");
    let (code, kept) = ask("ada", put.clone(), &one, bytes.clone()).await;
    assert_eq!(code, 201, "{kept}");
    assert_eq!(ask("ada", put.clone(), &one, bytes).await.0, 200);
    assert_eq!(ask("bob", get.clone(), &one, Vec::new()).await.0, 404);
    let two = format!("{path}?workspace=two");
    assert_eq!(ask("bob", get, &two, Vec::new()).await.0, 404);

    let requirements = format!(
        "--index-url {}/simple/\n{}\n",
        kiln_tests::channels(),
        kept["requirement"].as_str().unwrap()
    );
    let build = |workspace: &str| {
        json!({
            "workspace": workspace, "requirements": requirements, "wait": 600,
        })
        .to_string()
        .into_bytes()
    };
    let (_, refused) = ask("bob", post.clone(), "/v1/builds", build("two")).await;
    assert_eq!(refused["state"], "FAILED", "{refused}");
    let (_, built) = ask("ada", post.clone(), "/v1/builds", build("one")).await;
    assert_eq!(built["state"], "READY", "{built}");
    // The image is in the registry now, under the same name: it is not the other workspace's for that.
    let mut again: Value = serde_json::from_slice(&build("two")).unwrap();
    again["retry"] = json!(true);
    let (_, still) = ask("bob", post, "/v1/builds", again.to_string().into_bytes()).await;
    assert_eq!(still["state"], "FAILED", "{still}");
    assert_eq!(still["error"]["message"], refused["error"]["message"]);
}
