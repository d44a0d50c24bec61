//! conda packages and wheels together.

use kiln_api::FailureClass;
use kiln_lock::PythonSource;
use kiln_spec::Definition;

use crate::bed::{Bed, CondaPackage, conda, packages, wheel, wheels, with_pip};

fn channel(bed: &Bed) -> String {
    bed.channel(
        "main",
        &[
            CondaPackage {
                name: "python",
                version: "3.11.9",
                ..Default::default()
            },
            CondaPackage {
                name: "pip",
                version: "24.0",
                depends: &["python"],
                distributions: &[("pip", "24.0", "")],
            },
            CondaPackage {
                name: "py-numlike",
                version: "1.5",
                depends: &["python"],
                distributions: &[(
                    "numlike",
                    "1.5",
                    "Requires-Dist: extra-part ; extra == 'more'\nProvides-Extra: more\n",
                )],
            },
        ],
    )
}

fn index(bed: &Bed) {
    let project = |name: &str, wheels: &[(String, Vec<u8>)]| {
        let files: Vec<(&str, Vec<u8>)> = wheels
            .iter()
            .map(|(name, bytes)| (name.as_str(), bytes.clone()))
            .collect();
        bed.project("/simple", name, &files);
    };
    project(
        "numlike",
        &[wheel("numlike", "1.0", ""), wheel("numlike", "2.0", "")],
    );
    project("app", &[wheel("app", "1.0", "Requires-Dist: numlike\n")]);
    project(
        "modern",
        &[wheel("modern", "1.0", "Requires-Dist: numlike>=2\n")],
    );
    project("extra-part", &[wheel("extra_part", "1.0", "")]);
}

fn mixed(bed: &Bed, dependencies: &[&str], requirements: &[&str]) -> Definition {
    Definition {
        conda: Some(conda(&channel(bed), dependencies)),
        ..with_pip(&bed.debian(), requirements)
    }
}

#[tokio::test]
async fn what_conda_brings_is_not_fetched_again() {
    let bed = Bed::new().await;
    index(&bed);
    let resolved = bed
        .resolve(mixed(
            &bed,
            &["python 3.11.*", "py-numlike"],
            &["app", "numlike"],
        ))
        .await;
    let resolved = resolved.expect("it resolves");
    assert_eq!(
        packages(&resolved),
        ["pip 24.0", "py-numlike 1.5", "python 3.11.9"]
    );
    assert_eq!(wheels(&resolved), ["app 1.0"]);
    assert_eq!(
        resolved.lock.notes,
        ["pip: numlike 1.5 is there already, from the conda package py-numlike"]
    );
    let python = resolved.lock.python.expect("it has a python");
    assert_eq!(
        (python.version.as_str(), python.source),
        ("3.11.9", PythonSource::Channel)
    );
}

#[tokio::test]
async fn pip_wins_where_it_must_and_says_so() {
    let bed = Bed::new().await;
    index(&bed);
    let resolved = bed
        .resolve(mixed(&bed, &["python", "py-numlike"], &["modern"]))
        .await;
    let resolved = resolved.expect("it resolves");
    assert_eq!(wheels(&resolved), ["modern 1.0", "numlike 2.0"]);
    assert_eq!(
        resolved.lock.notes,
        ["pip: numlike 2.0 takes the place of 1.5 from the conda package py-numlike"]
    );
}

#[tokio::test]
async fn extras_of_what_conda_brings_are_resolved() {
    let bed = Bed::new().await;
    index(&bed);
    let resolved = bed
        .resolve(mixed(&bed, &["python", "py-numlike"], &["numlike[more]"]))
        .await;
    assert_eq!(wheels(&resolved.expect("it resolves")), ["extra-part 1.0"]);
}

#[tokio::test]
async fn a_pip_section_without_a_python_in_conda_gets_the_channels() {
    let bed = Bed::new().await;
    index(&bed);
    let bare = bed.channel(
        "bare",
        &[CondaPackage {
            name: "tool",
            version: "1",
            ..Default::default()
        }],
    );
    let mut asked = mixed(&bed, &["py-numlike"], &["app"]);
    let resolved = bed.resolve(asked.clone()).await.expect("it resolves");
    assert_eq!(
        resolved.lock.python.map(|python| python.version).as_deref(),
        Some("3.11.9")
    );
    asked.conda = Some(conda(&bare, &["tool"]));
    let error = bed
        .resolve(asked)
        .await
        .expect_err("that channel has no python");
    assert!(
        matches!(
            error.class(),
            FailureClass::NotFound | FailureClass::Unsatisfiable
        ),
        "{error}"
    );
    assert!(error.to_string().contains("python"), "{error}");
}

#[tokio::test]
async fn a_conda_section_without_python_and_pip_has_none() {
    let bed = Bed::new().await;
    let bare = bed.channel(
        "bare",
        &[CondaPackage {
            name: "tool",
            version: "1",
            ..Default::default()
        }],
    );
    let mut asked = with_pip(&bed.debian(), &[]);
    asked.conda = Some(conda(&bare, &["tool"]));
    let resolved = bed.resolve(asked).await.expect("it resolves");
    assert_eq!(packages(&resolved), ["tool 1"]);
    assert_eq!(resolved.lock.python, None);
}
