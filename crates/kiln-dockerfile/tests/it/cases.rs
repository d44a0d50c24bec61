//! Snapshots of every kind of environment.

use insta::assert_snapshot;
use kiln_dockerfile::{Installer, Tool, UserContext};
use kiln_oci::Digest;
use kiln_spec::Base;

use crate::samples::{Sample, file, shown, wheel};

#[test]
fn conda_on_a_base_with_conda() {
    let plan = Sample::conda_on_conda().planned();
    assert_snapshot!(shown(&plan));
    let conda_file = "azureml-environment-setup/mutated_conda_dependencies.yml";
    assert_snapshot!("the_conda_file", file(&plan, conda_file));
    assert_snapshot!("the_addresses", file(&plan, "kiln/addresses.sed"));
    assert_snapshot!(
        "an_index",
        file(&plan, "kiln/channel-001/linux-64/repodata.json")
    );
}

#[test]
fn wheels_on_a_base_with_conda_where_the_lock_has_no_pip() {
    let mut sample = Sample::conda_on_conda();
    sample.lock.conda.retain(|package| package.name != "pip");
    let plan = sample.planned();
    assert_eq!(plan.tool, Tool::CondaEnvCreate);
    assert_snapshot!(shown(&plan));
    let lock = kiln_lock::Lock::from_json(file(&plan, "kiln/lock.json")).expect("a lock");
    assert_eq!((lock.conda.len(), lock.pip.len()), (0, 1));
}

#[test]
fn conda_on_a_bare_base() {
    assert_snapshot!(shown(&Sample::conda().planned()));
}

#[test]
fn pip_alone_on_the_bases_python() {
    assert_snapshot!(shown(&Sample::pip().planned()));
}

#[test]
fn user_managed() {
    assert_snapshot!(shown(&Sample::user_managed().planned()));
}

#[test]
fn a_custom_base_with_its_own_user_and_no_path() {
    let mut sample = Sample::conda();
    sample.facts.user = "app:users".into();
    sample.facts.env.clear();
    assert_snapshot!(shown(&sample.planned()));
}

#[test]
fn a_users_dockerfile_and_dependencies() {
    let mut sample = Sample::conda();
    sample.definition.base = Base::Dockerfile("FROM debian:12\nRUN true \\\n".into());
    sample.base = None;
    sample.lock.base = None;
    sample.facts = kiln_lock::BaseFacts::default();
    let plan = sample.planned();
    assert_snapshot!(shown(&plan));
    let user = plan.user_dockerfile.as_ref().expect("it is built first");
    assert_eq!(user.text, "FROM debian:12\nRUN true \\\n");
    assert!(
        plan.dockerfile
            .to_text()
            .contains(&format!("\nFROM {}\n", user.image))
    );
}

#[test]
fn a_build_context() {
    let mut sample = Sample::user_managed();
    sample.definition.base = Base::Context {
        location: format!("{}{}", kiln_spec::STORED_CONTEXT, "0".repeat(64)),
        dockerfile_path: "it's/$(id)".into(),
    };
    sample.context = Some(UserContext {
        dockerfile: "FROM debian:12\n".into(),
        dockerfile_path: "it's/$(id)".into(),
        tar: Digest::of(b"tar"),
    });
    sample.base = None;
    sample.lock.base = None;
    let plan = sample.planned();
    let user = plan.user_dockerfile.as_ref().expect("it is built first");
    assert_eq!(user.context, sample.context);
    let folder = plan.folder();
    let paths: Vec<_> = folder.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "Dockerfile",
            "README.md",
            "lock.json",
            "user.Dockerfile",
            "user.tar"
        ]
    );
    let commands = user.commands();
    assert_eq!(
        commands[0],
        "mkdir -p user && tar --extract --file user.tar --directory user"
    );
    let image = &user.image;
    let build = format!("DOCKER_BUILDKIT=1 docker build -t {image} -f user.Dockerfile user");
    assert_eq!(commands[1..], [build]);
}

#[test]
fn a_gpu_base() {
    let mut sample = Sample::conda_on_conda();
    sample.facts.cuda = Some("12.4".into());
    sample
        .facts
        .env
        .insert("LD_LIBRARY_PATH".into(), "/usr/local/nvidia/lib64".into());
    assert_snapshot!(shown(&sample.planned()));
}

#[test]
fn a_private_index_needs_no_secret_in_a_build_because_kiln_fetched_the_archives() {
    let mut sample = Sample::conda();
    sample.private = true;
    let plan = sample.planned();
    assert_eq!(plan.secrets, []);
    assert_eq!(shown(&plan), shown(&Sample::conda().planned()));
}

#[test]
fn a_private_index_is_a_secret_mount_where_the_build_fetches() {
    let mut sample = Sample::pip();
    sample.private = true;
    sample.installer = Installer::Micromamba;
    let plan = sample.planned();
    assert_snapshot!(shown(&plan));
    assert_snapshot!(
        "requirements_by_address",
        file(&plan, "kiln/requirements.txt")
    );
}

#[test]
fn an_extra_ca() {
    let mut sample = Sample::conda_on_conda();
    sample.extra_ca = true;
    assert_snapshot!(shown(&sample.planned()));
}

#[test]
fn plain_tools_on_a_bare_base() {
    let mut sample = Sample::conda();
    sample.installer = Installer::Micromamba;
    sample.extra_ca = true;
    let plan = sample.planned();
    assert_snapshot!(shown(&plan));
    assert_snapshot!("the_explicit_file", file(&plan, "kiln/explicit.txt"));
}

#[test]
fn plain_tools_on_a_base_with_conda() {
    let mut sample = Sample::conda_on_conda();
    sample.installer = Installer::Micromamba;
    // Neither can be fetched by a build.
    sample.lock.conda[0].url = "file:///srv/channel/linux-64/numpy-1.26.4-h1_0.conda".into();
    sample.lock.pip[0].built_from = Some("git+https://git.example/flask".into());
    assert_snapshot!(shown(&sample.planned()));
}

#[test]
fn kiln_installs_itself_where_conda_can_not() {
    let tool = |sample: &Sample| {
        let plan = sample.planned();
        (plan.tool, plan.notes.join("\n"))
    };
    assert_eq!(tool(&Sample::conda_on_conda()).0, Tool::CondaEnvCreate);
    let mut without_pip = Sample::conda_on_conda();
    without_pip
        .lock
        .conda
        .retain(|package| package.name != "pip");
    without_pip.lock.pip.push(wheel("numpy", "2.0.0"));
    let mut old = Sample::conda_on_conda();
    old.facts.conda.as_mut().expect("it has one").version = Some("4.5.11".into());
    let mut shell_less = Sample::conda_on_conda();
    shell_less.facts.shell = false;
    let mut pip_only = Sample::pip();
    pip_only.facts.conda = Sample::conda_on_conda().facts.conda;
    for (sample, reason) in [
        (without_pip, "need its pip package"),
        (old, "older than 4.7"),
        (shell_less, "no /bin/sh"),
        (pip_only, "no conda packages"),
    ] {
        let (tool, notes) = tool(&sample);
        assert_eq!(tool, Tool::KilnInstall);
        assert!(notes.contains(reason), "{notes}");
    }
}

#[test]
fn an_ejected_folder_explains_itself() {
    let mut sample = Sample::conda_on_conda();
    sample.definition.base = Base::Dockerfile("FROM debian:12\n".into());
    sample.extra_ca = true;
    let plan = sample.planned();
    let paths: Vec<_> = plan.folder().into_iter().map(|file| file.path).collect();
    assert_snapshot!("the_folder", paths.join("\n"));
    let text = |path: &str| {
        let file = plan.folder().into_iter().find(|file| file.path == path);
        match file.expect("it is there").content {
            kiln_dockerfile::Content::Bytes(bytes) => String::from_utf8(bytes).expect("text"),
            other => panic!("{other:?}"),
        }
    };
    assert_snapshot!("the_page", text("README.md"));
    assert_snapshot!("the_archives", text("archives.txt"));
    assert_eq!(text("lock.json"), sample.lock.to_json());
}
