//! Bases: pinned, looked into, assumed, missing.

use kiln_api::FailureClass;
use kiln_lock::{Lock, PythonSource};
use kiln_resolve::Catalog;
use kiln_spec::{Base, DefaultBase, Python};

use crate::bed::{Bed, conda, definition, tar, wheel, with_pip};

#[tokio::test]
async fn a_user_managed_environment_locks_its_base_and_nothing_else() {
    let bed = Bed::new().await;
    let mut asked = with_pip(&bed.debian(), &["foo"]);
    asked.python = Python {
        user_managed: true,
        interpreter_path: None,
        base_conda_environment: None,
    };
    let resolved = bed.resolve(asked).await.expect("it resolves");
    let lock = &resolved.lock;
    assert!(lock.conda.is_empty() && lock.pip.is_empty() && lock.python.is_none());
    let base = lock.base.as_ref().expect("it has a base");
    assert_eq!(base.reference, format!("{}/base/debian:1", bed.host));
    assert_eq!(
        Some(base.digest),
        resolved.base.map(|image| image.manifest_digest)
    );
    assert_eq!(resolved.facts.glibc.as_deref(), Some("2.36"));
    assert_eq!(
        Lock::from_json(&lock.to_json()).expect("it is readable"),
        *lock
    );
}

#[tokio::test]
async fn facts_are_read_once_per_image() {
    let bed = Bed::new().await;
    let base = bed.debian();
    bed.resolve(definition(&base)).await.expect("it resolves");
    bed.requests.lock().expect("no panic").clear();
    let again = bed.resolve(definition(&base)).await.expect("it resolves");
    assert_eq!(again.facts.pythons[0].version, "3.11.2");
    let requests = bed.requests.lock().expect("no panic").clone();
    let blobs = requests
        .iter()
        .filter(|path| path.contains("/blobs/"))
        .count();
    assert_eq!(
        blobs, 1,
        "only the configuration is read again: {requests:?}"
    );
}

#[tokio::test]
async fn the_catalog_and_the_configured_default_choose_the_base() {
    let bed = Bed::new().await;
    let base = bed.debian();
    let mut config = bed.config();
    let text = format!(
        "format = 1\n[base.gpu]\nreference = \"{base}\"\naliases = [\"example.test/azureml/cuda\"]\n"
    );
    config.catalog = Catalog::from_toml(&text).expect("a catalog");
    let resolver = bed.resolver(config);
    let cancel = tokio_util::sync::CancellationToken::new();
    let mut asked = definition("example.test/azureml/cuda:20240101");
    let resolved = resolver
        .resolve(&bed.request(asked.clone()), &crate::bed::Silent, &cancel)
        .await;
    assert_eq!(resolved.expect("the alias is known").warnings.len(), 1);
    asked.base = Base::Default(DefaultBase::Gpu);
    let resolved = resolver
        .resolve(&bed.request(asked.clone()), &crate::bed::Silent, &cancel)
        .await;
    assert!(resolved.expect("the default is known").warnings.is_empty());
    asked.base = Base::Default(DefaultBase::Cpu);
    let error = resolver
        .resolve(&bed.request(asked), &crate::bed::Silent, &cancel)
        .await;
    assert_eq!(
        error.expect_err("there is no cpu").class(),
        FailureClass::NotFound
    );
}

#[tokio::test]
async fn a_base_that_is_not_there_or_no_reference_is_told_apart() {
    let bed = Bed::new().await;
    let absent = format!("{}/absent/image:1", bed.host);
    let error = bed
        .resolve(definition(&absent))
        .await
        .expect_err("it is absent");
    assert_eq!(error.class(), FailureClass::NotFound, "{error}");
    let failure = error.to_failure();
    assert!(
        !failure.retryable && failure.message.contains("absent/image"),
        "{failure:?}"
    );
    let error = bed
        .resolve(definition("Not A Reference"))
        .await
        .expect_err("it is none");
    assert_eq!(error.class(), FailureClass::Invalid, "{error}");
}

#[tokio::test]
async fn a_damaged_layer_is_noticed() {
    let bed = Bed::new().await;
    let base = bed.image("base/odd", &[], &tar(&[("a", b"1")]));
    let layer = bed
        .files
        .lock()
        .expect("no panic")
        .iter()
        .find_map(|(path, file)| {
            (path.contains("/blobs/") && file.bytes.len() >= 1024).then(|| path.clone())
        });
    bed.change(&layer.expect("a layer"), |file| {
        if let Some(byte) = file.bytes.last_mut() {
            *byte ^= 1;
        }
    });
    let error = bed
        .resolve(definition(&base))
        .await
        .expect_err("it is damaged");
    assert_eq!(error.class(), FailureClass::Integrity, "{error}");
}

#[tokio::test]
async fn the_error_says_which_python_is_missing() {
    let bed = Bed::new().await;
    let bare = bed.image("base/bare", &[], &tar(&[("bin/sh", b"")]));
    let error = bed
        .resolve(with_pip(&bare, &["foo"]))
        .await
        .expect_err("no python");
    assert_eq!(error.class(), FailureClass::NotFound);
    assert!(error.remedy().contains("python=3.11"), "{}", error.remedy());
    let no_venv = bed.image("base/novenv", &[], &tar(&[("usr/bin/python3.11", b"")]));
    let error = bed
        .resolve(with_pip(&no_venv, &["foo"]))
        .await
        .expect_err("no venv");
    assert!(error.to_string().contains("venv"), "{error}");
}

#[tokio::test]
async fn a_dockerfile_lends_the_facts_of_what_it_starts_from() {
    let bed = Bed::new().await;
    let channel = bed.channel(
        "main",
        &[crate::bed::CondaPackage {
            name: "needs",
            version: "1",
            depends: &["__glibc >=2.36"],
            ..Default::default()
        }],
    );
    let mut asked = definition("");
    asked.base = Base::Dockerfile(format!("FROM {}\nRUN true\n", bed.debian()));
    asked.conda = Some(conda(&channel, &["needs"]));
    let resolved = bed.resolve(asked.clone()).await.expect("it resolves");
    assert!(resolved.lock.base.is_none() && resolved.base.is_none());
    assert_eq!((resolved.lock.conda.len(), resolved.warnings.len()), (1, 1));
    asked.base = Base::Dockerfile("FROM $WHAT\n".into());
    let error = bed
        .resolve(asked.clone())
        .await
        .expect_err("the base is not known");
    assert_eq!(error.class(), FailureClass::Invalid);
    asked.python.user_managed = true;
    bed.resolve(asked)
        .await
        .expect("nothing is resolved for a user-managed one");
}

#[tokio::test]
async fn the_bases_python_is_locked_by_its_path() {
    let bed = Bed::new().await;
    let (file, bytes) = wheel("foo", "1.0", "");
    bed.project("/simple", "foo", &[(&file, bytes)]);
    let resolved = bed
        .resolve(with_pip(&bed.debian(), &["foo"]))
        .await
        .expect("it resolves");
    let python = resolved.lock.python.expect("it has a python");
    assert_eq!(python.version, "3.11.2");
    assert_eq!(
        python.source,
        PythonSource::Base {
            interpreter: "/usr/bin/python3.11".into()
        }
    );
}

#[tokio::test]
async fn what_no_backend_builds_is_refused_by_name() {
    let bed = Bed::new().await;
    let mut asked = definition(&bed.debian());
    asked.inferencing_stack_version = Some("latest".into());
    asked.python.user_managed = true;
    let error = bed.resolve(asked).await.expect_err("it is not built");
    assert_eq!(error.class(), FailureClass::Invalid);
    assert!(
        error.to_string().contains("inferencingStackVersion"),
        "{error}"
    );
}
