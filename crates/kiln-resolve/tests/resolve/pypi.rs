//! The pip section alone.

use kiln_api::FailureClass;
use kiln_oci::Digest;
use kiln_resolve::{Credential, Credentials, Secret, UrlSecret};
use kiln_spec::PipRequirement;
use url::Url;

use crate::bed::{Bed, Silent, sdist, wheel, wheel_for, wheels, with_pip};

fn files(all: &[(String, Vec<u8>)]) -> Vec<(&str, Vec<u8>)> {
    all.iter()
        .map(|(name, bytes)| (name.as_str(), bytes.clone()))
        .collect()
}

#[tokio::test]
async fn dependencies_are_locked_with_address_hash_and_the_best_wheel() {
    let bed = Bed::new().await;
    let native = [
        wheel("native", "1.0", ""),
        wheel_for("native", "1.0", "cp311-cp311-manylinux_2_28_x86_64", ""),
        wheel_for("native", "1.0", "cp311-cp311-manylinux_2_99_x86_64", ""),
        wheel_for("native", "1.0", "cp312-cp312-manylinux_2_28_x86_64", ""),
    ];
    bed.project("/simple", "native", &files(&native));
    bed.project(
        "/simple",
        "app",
        &files(&[wheel("app", "1.0", "Requires-Dist: native>=1\n")]),
    );
    let resolved = bed
        .resolve(with_pip(&bed.debian(), &["app"]))
        .await
        .expect("it resolves");
    assert_eq!(wheels(&resolved), ["app 1.0", "native 1.0"]);
    let [app, native_wheel] = resolved.lock.pip.as_slice() else {
        panic!("two wheels")
    };
    assert_eq!(native_wheel.file_name, native[1].0);
    assert_eq!(native_wheel.sha256, Digest::of(&native[1].1));
    assert_eq!(
        native_wheel.url,
        bed.url(&format!("/simple/native/{}", native[1].0))
    );
    assert!(app.requested && !native_wheel.requested);
}

#[tokio::test]
async fn no_package_code_runs_on_the_host() {
    let bed = Bed::new().await;
    let mark = bed.folder.path().join("canary");
    let source = sdist("canary", "2.0", &mark);
    bed.project("/simple", "canary", &files(&[source]));
    let base = bed.debian();
    let error = bed
        .resolve(with_pip(&base, &["canary"]))
        .await
        .expect_err("it has no wheel");
    assert_eq!(error.class(), FailureClass::NotFound, "{error}");
    assert!(error.remedy().contains("canary"), "{}", error.remedy());
    let address = format!("canary @ {}", bed.url("/simple/canary/canary-2.0.tar.gz"));
    let error = bed
        .resolve(with_pip(&base, &[&address]))
        .await
        .expect_err("it is a source");
    assert_eq!(error.class(), FailureClass::Invalid, "{error}");
    // Beside it a wheel that depends on it: only metadata of wheels is read.
    bed.project(
        "/simple",
        "app",
        &files(&[wheel("app", "1.0", "Requires-Dist: canary\n")]),
    );
    bed.resolve(with_pip(&base, &["app"]))
        .await
        .expect_err("its dependency has no wheel");
    assert!(!mark.exists(), "setup.py ran on the host");
}

#[tokio::test]
async fn a_newer_source_is_passed_over_and_said() {
    let bed = Bed::new().await;
    let mark = bed.folder.path().join("canary");
    let all = [wheel("foo", "1.0", ""), sdist("foo", "2.0", &mark)];
    bed.project("/simple", "foo", &files(&all));
    let resolved = bed
        .resolve(with_pip(&bed.debian(), &["foo"]))
        .await
        .expect("it resolves");
    assert_eq!(wheels(&resolved), ["foo 1.0"]);
    assert_eq!(
        resolved.lock.notes,
        ["pip: passed over foo 2.0, which has no wheel; 1.0 is locked"]
    );
    assert!(!mark.exists(), "setup.py ran on the host");
}

#[tokio::test]
async fn a_clash_brings_uvs_explanation_and_what_would_help() {
    let bed = Bed::new().await;
    bed.project(
        "/simple",
        "foo",
        &files(&[wheel("foo", "1.0", ""), wheel("foo", "2.0", "")]),
    );
    bed.project(
        "/simple",
        "old",
        &files(&[wheel("old", "1.0", "Requires-Dist: foo<2\n")]),
    );
    let error = bed
        .resolve(with_pip(&bed.debian(), &["foo>=2", "old"]))
        .await
        .expect_err("they clash");
    assert_eq!(error.class(), FailureClass::Unsatisfiable, "{error}");
    assert!(error.to_string().contains("foo<2"), "{error}");
    assert_eq!(
        error.remedy(),
        "loosen `foo>=2`: foo 1.0 would fit; without `old` the rest fits together"
    );
}

#[tokio::test]
async fn a_name_that_is_nowhere_and_an_index_that_is_down_are_told_apart() {
    let bed = Bed::new().await;
    let base = bed.debian();
    let error = bed
        .resolve(with_pip(&base, &["nowhere"]))
        .await
        .expect_err("it is nowhere");
    assert_eq!(error.class(), FailureClass::NotFound, "{error}");
    bed.project("/simple", "foo", &files(&[wheel("foo", "1.0", "")]));
    bed.change("/simple/foo/", |page| page.faults = u32::MAX);
    let error = bed
        .resolve(with_pip(&base, &["foo"]))
        .await
        .expect_err("it is down");
    assert_eq!(error.class(), FailureClass::Network, "{error}");
}

#[tokio::test]
async fn credentials_open_an_index_and_stay_out_of_the_lock_and_the_errors() {
    let bed = Bed::new().await;
    let all = [wheel("secretpkg", "1.0", "")];
    bed.project("/private/simple", "secretpkg", &files(&all));
    // "kiln:s3cret/word"
    let basic = "Basic a2lsbjpzM2NyZXQvd29yZA==";
    bed.change("/private/simple/secretpkg/", |page| {
        page.wants = Some(basic);
    });
    let file = format!("/private/simple/secretpkg/{}", all[0].0);
    bed.change(&file, |wheel| wheel.wants = Some(basic));
    let mut asked = with_pip(&bed.debian(), &["secretpkg"]);
    if let Some(pip) = &mut asked.pip {
        pip.index_url = Some(bed.url("/private/simple/"));
    }
    let mut request = bed.request(asked);
    let error = bed.ask(&request).await.expect_err("no credentials");
    assert_eq!(error.class(), FailureClass::Auth, "{error}");
    request.credentials = Credentials::new(vec![Credential {
        prefix: Url::parse(&bed.url("/private/")).expect("a URL"),
        secret: UrlSecret::Basic {
            user: "kiln".into(),
            password: Secret::new("s3cret/word"),
        },
    }]);
    let resolved = bed.ask(&request).await.expect("the credentials open it");
    assert_eq!(resolved.lock.pip[0].url, bed.url(&file));
    assert!(!format!("{resolved:?}").contains("s3cret"));
    if let Some(pip) = &mut request.definition.pip {
        pip.requirements.push(PipRequirement {
            requirement: "secretpkg>=2".into(),
            hashes: Vec::new(),
        });
    }
    let failure = bed
        .ask(&request)
        .await
        .expect_err("no such version")
        .to_failure();
    assert!(!format!("{failure:?}").contains("s3cret"), "{failure:?}");
    let tools = bed.config().uv.tools_dir;
    let left: Vec<_> = fs_err::read_dir(tools)
        .expect("a folder")
        .filter_map(Result::ok)
        .collect();
    for entry in left
        .iter()
        .filter(|entry| entry.path().join("requirements.in").exists())
    {
        let text = fs_err::read_to_string(entry.path().join("requirements.in")).unwrap_or_default();
        assert!(
            !text.contains(&bed.host),
            "the private folder is gone with its request"
        );
    }
}

#[tokio::test]
async fn stated_hashes_are_enforced() {
    let bed = Bed::new().await;
    let foo = wheel("foo", "1.0", "");
    let good = format!("sha256:{}", Digest::of(&foo.1).to_hex());
    bed.project("/simple", "foo", &files(std::slice::from_ref(&foo)));
    bed.project(
        "/simple",
        "app",
        &files(&[wheel("app", "1.0", "Requires-Dist: foo\n")]),
    );
    let base = bed.debian();
    let hashed = |text: &str, hash: &str| PipRequirement {
        requirement: text.into(),
        hashes: vec![hash.into()],
    };
    let mut asked = with_pip(&base, &[]);
    let mut with = |requirements: Vec<PipRequirement>| {
        if let Some(pip) = &mut asked.pip {
            pip.requirements = requirements;
        }
        asked.clone()
    };
    bed.resolve(with(vec![hashed("foo==1.0", &good)]))
        .await
        .expect("the hash is right");
    let other = format!("sha256:{}", "0".repeat(64));
    let error = bed
        .resolve(with(vec![hashed("foo==1.0", &other)]))
        .await
        .expect_err("a wrong hash");
    assert_eq!(error.class(), FailureClass::Integrity, "{error}");
    let app = Digest::of(b"x").to_hex();
    let error = bed
        .resolve(with(vec![hashed("app==1.0", &format!("sha256:{app}"))]))
        .await
        .expect_err("foo has none");
    assert!(
        matches!(
            error.class(),
            FailureClass::Invalid | FailureClass::Integrity
        ),
        "{error}"
    );
}

#[tokio::test]
async fn the_first_index_that_has_a_name_is_the_only_one_asked() {
    let bed = Bed::new().await;
    bed.project("/private", "foo", &files(&[wheel("foo", "1.0", "")]));
    bed.project("/simple", "foo", &files(&[wheel("foo", "9.0", "")]));
    let mut asked = with_pip(&bed.debian(), &["foo"]);
    if let Some(pip) = &mut asked.pip {
        pip.index_url = Some(bed.url("/simple/"));
        pip.extra_index_urls = vec![bed.url("/private/")];
    }
    let mut request = bed.request(asked);
    assert_eq!(
        wheels(&bed.ask(&request).await.expect("it resolves")),
        ["foo 1.0"]
    );
    request.settings.index_strategy = kiln_lock::IndexStrategy::UnsafeBestMatch;
    assert_eq!(
        wheels(&bed.ask(&request).await.expect("it resolves")),
        ["foo 9.0"]
    );
}

#[tokio::test]
async fn constraints_pre_releases_and_wheel_addresses_are_kept_to() {
    let bed = Bed::new().await;
    bed.project(
        "/simple",
        "foo",
        &files(&[
            wheel("foo", "1.0", ""),
            wheel("foo", "2.0", ""),
            wheel("foo", "3.0rc1", ""),
        ]),
    );
    let base = bed.debian();
    let mut asked = with_pip(&base, &["foo"]);
    assert_eq!(
        wheels(&bed.resolve(asked.clone()).await.expect("it resolves")),
        ["foo 2.0"]
    );
    if let Some(pip) = &mut asked.pip {
        pip.pre = true;
    }
    assert_eq!(
        wheels(&bed.resolve(asked.clone()).await.expect("it resolves")),
        ["foo 3.0rc1"]
    );
    if let Some(pip) = &mut asked.pip {
        pip.constraints = vec!["foo<2".into()];
    }
    assert_eq!(
        wheels(&bed.resolve(asked).await.expect("it resolves")),
        ["foo 1.0"]
    );
    let address = format!("foo @ {}", bed.url("/simple/foo/foo-1.0-py3-none-any.whl"));
    let resolved = bed
        .resolve(with_pip(&base, &[&address]))
        .await
        .expect("it resolves");
    assert_eq!(wheels(&resolved), ["foo 1.0"]);
}

#[tokio::test]
async fn cancelling_ends_a_resolution() {
    let bed = Bed::new().await;
    let request = bed.request(with_pip(&bed.debian(), &["foo"]));
    let cancel = tokio_util::sync::CancellationToken::new();
    cancel.cancel();
    let error = bed
        .resolver(bed.config())
        .resolve(&request, &Silent, &cancel)
        .await;
    assert_eq!(
        error.expect_err("it is cancelled").class(),
        FailureClass::Cancelled
    );
}

#[tokio::test]
async fn a_changed_wheel_of_uv_is_not_taken() {
    let bed = Bed::new().await;
    let machine = std::env::consts::ARCH;
    let name = format!(
        "uv-{}-py3-none-manylinux_2_17_{machine}.whl",
        kiln_resolve::UV_VERSION
    );
    bed.project("/simple", "uv", &[(name.as_str(), b"not uv".to_vec())]);
    let mut config = bed.config();
    config.uv.tools_dir = bed.folder.path().join("tools");
    config.uv.index_url = config.indexes.index_url.clone();
    config
        .process
        .search_path
        .retain(|folder| !folder.join("uv").exists());
    let error = bed
        .resolver(config)
        .uv(&tokio_util::sync::CancellationToken::new())
        .await;
    let error = error.expect_err("it is another file");
    assert_eq!(error.class(), FailureClass::Integrity, "{error}");
    let left = fs_err::read_dir(bed.folder.path().join("tools"))
        .expect("a folder")
        .count();
    assert_eq!(left, 0);
}
