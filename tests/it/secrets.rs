//! A secret appears nowhere: not in rows, logs, answers, errors or layers.

use std::path::Path;

use kiln_tests::{Docker, Kiln};

const SECRET: &str = "s3cret";

/// The private index of the test bed wants `kiln:s3cret`.
fn private_index() -> String {
    kiln_tests::channels().replace("http://", &format!("http://kiln:{SECRET}@"))
}

/// Files under a folder that hold a text.
pub(crate) fn files_with(folder: &Path, needle: &[u8], found: &mut Vec<String>) {
    for entry in fs_err::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_with(&path, needle, found);
        } else if let Ok(bytes) = fs_err::read(&path)
            && bytes.windows(needle.len()).any(|window| window == needle)
        {
            found.push(path.display().to_string());
        }
    }
}

#[test]
fn the_password_of_a_private_index_is_used_and_kept_secret() {
    let kiln = Kiln::new();
    let text = format!(
        "--index-url {}/private/simple/\nsecretpkg==1.0\n",
        private_index()
    );
    let built = kiln.build_ok("requirements.txt", &text, &[]);
    let image = built.text("image");
    let code = "import importlib.metadata as m; print(m.version('secretpkg'))";
    assert_eq!(Docker::python(&image, code), "1.0");
    assert!(
        !built.stdout.contains(SECRET) && !built.stderr.contains(SECRET),
        "{built:?}"
    );
    let mut found = Vec::new();
    files_with(&kiln.data(), SECRET.as_bytes(), &mut found);
    assert_eq!(found, Vec::<String>::new());
    let history = Docker::run(&["history", "--no-trunc", &image]);
    assert!(!history.stdout.contains(SECRET));
    let archive = kiln.path().join("image.tar");
    let saved = Docker::run(&["save", "-o", archive.to_str().unwrap(), &image]);
    assert_eq!(saved.code, 0, "{saved:?}");
    let bytes = fs_err::read(&archive).unwrap();
    assert!(
        !bytes
            .windows(SECRET.len())
            .any(|window| window == SECRET.as_bytes())
    );
    Docker::run(&["rmi", "-f", &image]);
}

#[test]
fn another_password_is_the_same_definition() {
    let kiln = Kiln::new();
    let with = |password: &str| {
        let index = kiln_tests::channels().replace("http://", &format!("http://kiln:{password}@"));
        let text = format!("--index-url {index}/private/simple/\nsecretpkg==1.0\n");
        let file = kiln.write(&format!("{password}.txt"), &text);
        kiln.run(&["hash", file.to_str().unwrap(), "--json"])
            .text("spec_hash")
    };
    assert_eq!(with("one"), with("two"));
}

#[test]
fn a_wrong_password_is_a_failure_of_auth_that_does_not_tell_it() {
    let kiln = Kiln::new();
    let index = kiln_tests::channels().replace("http://", "http://kiln:wrong-one@");
    let text = format!("--index-url {index}/private/simple/\nsecretpkg==1.0\n");
    let answer = kiln.build("requirements.txt", &text, &[]);
    assert_ne!(answer.code, 0);
    assert_eq!(answer.json()["error"]["class"], "auth", "{answer:?}");
    assert!(!answer.stdout.contains("wrong-one") && !answer.stderr.contains("wrong-one"));
}
