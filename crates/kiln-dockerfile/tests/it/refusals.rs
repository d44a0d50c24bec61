//! What has no plan, and why.

use kiln_dockerfile::{Installer, PlanError};
use kiln_oci::Digest;
use kiln_spec::{Base, RSection};
use rstest::rstest;

use crate::samples::Sample;

fn refused(sample: &Sample) -> PlanError {
    sample.plan().expect_err("there is no plan")
}

#[test]
fn a_base_without_digest_or_another_than_the_locks_is_refused() {
    let mut sample = Sample::conda();
    sample.base = sample.base.map(|base| base.without_version());
    assert!(matches!(refused(&sample), PlanError::BaseNotPinned { .. }));
    sample.base = sample
        .base
        .map(|base| base.with_digest(Digest::of(b"other")));
    let error = refused(&sample);
    assert!(matches!(error, PlanError::OtherBase { .. }) && error.is_internal());
}

#[test]
fn a_base_with_an_odd_user_is_refused() {
    let mut sample = Sample::conda();
    sample.facts.user = "app\nRUN id".into();
    assert!(matches!(refused(&sample), PlanError::BaseUser { .. }));
}

#[test]
fn a_value_that_no_line_holds_is_refused_by_name() {
    let mut sample = Sample::conda();
    let variables = &mut sample.definition.environment_variables;
    variables.insert("LONG".into(), "x".repeat(65_536 - "ENV LONG=\"\"".len()));
    let error = refused(&sample).to_string();
    assert!(
        error.starts_with("environment variable LONG needs an instruction of 65536"),
        "{error}"
    );
    let value = sample
        .definition
        .environment_variables
        .get_mut("LONG")
        .expect("it is there");
    value.pop();
    assert!(sample.plan().is_ok());
}

#[rstest]
#[case("name", |s: &mut Sample| s.lock.conda[0].name = "numpy[build=*]".into())]
#[case("name", |s: &mut Sample| s.lock.conda[0].name = "--help".into())]
#[case("version", |s: &mut Sample| s.lock.conda[0].version = "1.0\n- evil".into())]
#[case("build string", |s: &mut Sample| s.lock.conda[0].build = "0 evil".into())]
#[case("subdir", |s: &mut Sample| s.lock.conda[0].subdir = "../x".into())]
#[case("file name", |s: &mut Sample| s.lock.conda[0].file_name = "../x.conda".into())]
#[case("file name", |s: &mut Sample| s.lock.conda[0].file_name = "x.zip".into())]
#[case("address", |s: &mut Sample| s.lock.conda[0].url = "https://h/c/noarch/a\nd".into())]
#[case("address", |s: &mut Sample| s.lock.conda[0].url = "ftp://h/c/noarch/a".into())]
#[case("MD5", |s: &mut Sample| s.lock.conda[0].md5 = Some("x".into()))]
#[case("name", |s: &mut Sample| s.lock.pip[0].name = "-r".into())]
#[case("version", |s: &mut Sample| s.lock.pip[0].version = "1 --hash=x".into())]
#[case("file name", |s: &mut Sample| s.lock.pip[0].file_name = "a/b.whl".into())]
fn hostile_metadata_is_refused_by_part(#[case] part: &str, #[case] change: fn(&mut Sample)) {
    for mut sample in [Sample::conda(), Sample::conda_on_conda()] {
        change(&mut sample);
        match refused(&sample) {
            PlanError::Package { part: found, .. } => assert_eq!(found, part),
            other => panic!("{other}"),
        }
    }
}

#[rstest]
#[case(|s: &mut Sample| s.lock.conda[0].url = "https://u:p@h/c/noarch/a-1-0.conda".into())]
#[case(|s: &mut Sample| s.lock.conda[0].url = "https://h/t/tk/c/noarch/a-1-0.conda".into())]
fn credentials_in_an_address_are_refused_and_not_repeated(#[case] change: fn(&mut Sample)) {
    let mut sample = Sample::conda_on_conda();
    change(&mut sample);
    assert_eq!(
        refused(&sample),
        PlanError::Credentials {
            package: "numpy".into()
        }
    );
}

#[test]
fn what_kiln_does_not_build_is_refused_with_the_remedy() {
    let mut upon_another = Sample::conda();
    upon_another.definition.python.base_conda_environment = Some("base".into());
    let mut with_r = Sample::conda();
    with_r.definition.r = Some(RSection {
        r_version: None,
        user_managed: false,
        rscript_path: None,
        snapshot_date: None,
        cran_packages: vec!["ggplot2".into()],
        github_packages: Vec::new(),
        custom_url_packages: Vec::new(),
        bioconductor_packages: Vec::new(),
    });
    let mut from_git = Sample::conda();
    from_git.definition.base = Base::Git {
        location: "https://git.example/a".into(),
        dockerfile_path: "Dockerfile".into(),
    };
    let mut from_address = Sample::conda();
    from_address.definition.base = Base::Context {
        location: "https://account.example/azureml/a/".into(),
        dockerfile_path: "Dockerfile".into(),
    };
    for sample in [upon_another, with_r, from_git, from_address] {
        assert!(matches!(refused(&sample), PlanError::Unsupported { .. }));
    }
}

#[test]
fn plain_tools_say_what_they_can_not_do() {
    let mut sample = Sample::conda();
    sample.installer = Installer::Micromamba;
    sample.lock.conda.retain(|package| package.name != "pip");
    let error = refused(&sample).to_string();
    assert!(
        error.contains("has no pip") && error.contains("add `pip`"),
        "{error}"
    );
    sample.facts.shell = false;
    assert!(matches!(refused(&sample), PlanError::NoShell { .. }));
    let mut sample = Sample::pip();
    sample.installer = Installer::Micromamba;
    sample.facts.pythons[0].has_venv = false;
    assert!(matches!(refused(&sample), PlanError::PlainTools { .. }));
}
