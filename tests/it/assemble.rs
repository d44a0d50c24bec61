//! The assemble backend: images without a container engine, equal in use to those of the docker backend.

use kiln_tests::{Docker, Kiln};

/// What is in an environment: distributions with versions and files, what can be imported, console scripts.
const SURVEY: &str = r"
import importlib, importlib.metadata as m, json, os, sys
found = {'python': sys.version.split()[0], 'distributions': {}, 'imports': {}, 'commands': {}}
for d in m.distributions():
    if 'site-packages' in str(d.locate_file('')):
        found['distributions'][d.metadata['Name']] = d.version
        for top in sorted({str(f).split('/')[0] for f in d.files or [] if str(f).endswith('/__init__.py')}):
            if top.isidentifier():
                try: importlib.import_module(top); found['imports'][top] = True
                except Exception as e: found['imports'][top] = repr(e)
        for e in d.entry_points:
            if e.group == 'console_scripts':
                found['commands'][e.name] = os.access(os.path.join(sys.prefix, 'bin', e.name), os.X_OK)
meta = os.path.join(sys.prefix, 'conda-meta')
found['conda'] = sorted(n for n in os.listdir(meta)) if os.path.isdir(meta) else None
print(json.dumps(found, sort_keys=True))
";

fn survey(image: &str) -> serde_json::Value {
    serde_json::from_str(&Docker::python(image, SURVEY)).unwrap()
}

/// An image of each backend.
fn both(kiln: &Kiln, file: &str, text: &str, base: &str) -> [String; 2] {
    let base = kiln_tests::base(base);
    // One definition has one image: each backend has a kiln and a registry prefix of its own.
    let other = Kiln::new();
    [(kiln, "assemble"), (&other, "docker")].map(|(kiln, backend)| {
        let built = kiln.build_ok(file, text, &["--base", &base, "--backend", backend]);
        assert_eq!(built.text("backend"), backend);
        built.text("image")
    })
}

fn conda_and_pip() -> String {
    let at = kiln_tests::channels();
    format!(
        "channels: [{at}/conda-forge, {at}/synthetic]\ndependencies: [python=3.11, pandas, pip, setuptools, hello, links, \
         textprefix, binprefix, {{pip: [--index-url {at}/simple/, commands, foo==2.0, everything, ns-one, ns-two]}}]\n"
    )
}

/// Variables of an image, but for those that name the environment.
fn variables(image: &str) -> Vec<String> {
    let answer = Docker::run_image(image, &["env"]);
    let mut lines: Vec<String> = answer.stdout.lines().map(str::to_owned).collect();
    lines.retain(|line| !line.starts_with("HOSTNAME="));
    lines.sort();
    lines
}

#[test]
fn a_conda_and_pip_environment_is_the_one_that_docker_makes() {
    let kiln = Kiln::new();
    let [assembled, built] = both(&kiln, "environment.yml", &conda_and_pip(), "bare:12");
    let (ours, theirs) = (survey(&assembled), survey(&built));
    assert_eq!(ours, theirs);
    assert!(
        ours["distributions"].as_object().unwrap().len() > 10,
        "{ours}"
    );
    assert_eq!(variables(&assembled), variables(&built));
    for command in [
        ["hello"].as_slice(),
        &["commands"],
        &["textprefix"],
        &["binprefix"],
        &["everything-script"],
        &[
            "python",
            "-c",
            "import pandas; print(pandas.DataFrame({'a': [1, 2]}).a.sum())",
        ],
        &[
            "sh",
            "-c",
            "readlink /azureml-envs/*; cat /opt/kiln/env/conda-meta/history",
        ],
        &[
            "sh",
            "-c",
            "cd /opt/kiln/env; stat -c '%n %a %u:%g' . bin lib bin/python3.11 lib/libx.so conda-meta",
        ],
    ] {
        let [ours, theirs] = [&assembled, &built].map(|image| Docker::run_image(image, command));
        let (ours, theirs) = ((ours.code, ours.stdout), (theirs.code, theirs.stdout));
        let name = |text: String| text.replace(|c: char| c.is_ascii_hexdigit(), "x");
        assert_eq!(
            (ours.0, name(ours.1)),
            (theirs.0, name(theirs.1)),
            "{command:?}"
        );
    }
}

#[test]
fn a_pip_environment_on_the_bases_python_is_the_one_that_docker_makes() {
    let kiln = Kiln::new();
    let text = format!(
        "--index-url {}/simple/\ncommands\neverything\nfoo==1.0\nns-one\nns-two\nnative\n",
        kiln_tests::channels()
    );
    let [assembled, built] = both(&kiln, "requirements.txt", &text, "debian:12");
    assert_eq!(survey(&assembled), survey(&built));
    assert_eq!(variables(&assembled), variables(&built));
    for command in [
        ["commands"].as_slice(),
        &["everything-script"],
        &[
            "sh",
            "-c",
            "cd /opt/kiln/env; cat pyvenv.cfg; readlink bin/python bin/python3 lib64; ls",
        ],
        &[
            "python",
            "-c",
            "import sys; print(sys.prefix, sys.base_prefix, sys.path)",
        ],
    ] {
        let [ours, theirs] = [&assembled, &built].map(|image| Docker::run_image(image, command));
        assert_eq!(
            (ours.code, ours.stdout),
            (theirs.code, theirs.stdout),
            "{command:?}"
        );
    }
}

#[test]
fn pip_works_inside_an_assembled_image() {
    let kiln = Kiln::new();
    let at = kiln_tests::channels();
    let text = format!(
        "channels: [{at}/conda-forge]\ndependencies: [python=3.11, pip, click, {{pip: [--index-url {at}/simple/, commands]}}]\n"
    );
    let base = kiln_tests::base("bare:12");
    let image = kiln
        .build_ok(
            "environment.yml",
            &text,
            &["--base", &base, "--backend", "assemble"],
        )
        .text("image");
    let index = at.replace("127.0.0.1", "172.17.0.1");
    let script = format!(
        "set -e; pip list --format=freeze | grep -i commands; pip check; pip uninstall -q -y --root-user-action ignore \
         commands click; ! commands 2>/dev/null; pip install -q --root-user-action ignore --trusted-host 172.17.0.1 \
         --index-url {index}/simple/ foo==2.0; python -c 'import foo; print(foo.__file__)'"
    );
    let answer = Docker::run_image(&image, &["bash", "-c", &script]);
    assert_eq!(answer.code, 0, "{}{}", answer.stdout, answer.stderr);
    let lines = "commands==1.0\nNo broken requirements found.\n/opt/kiln/env/lib/python3.11/site-packages/foo/__init__.py\n";
    assert_eq!(answer.stdout, lines);
}

#[test]
fn a_second_environment_makes_only_the_layers_that_are_new() {
    let kiln = Kiln::new();
    let at = kiln_tests::channels();
    let base = kiln_tests::base("bare:12");
    let mut told = Vec::new();
    for packages in ["numpy=1.26", "numpy=1.26, flask", "numpy=1.26, flask"] {
        let text = format!(
            "channels: [{at}/conda-forge]\ndependencies: [python=3.11, {packages}]\nvariables: {{N: '{}'}}\n",
            told.len()
        );
        let built = kiln.build_ok(
            "environment.yml",
            &text,
            &["--base", &base, "--backend", "assemble"],
        );
        let log = built.stderr;
        let line = |start: &str| {
            let found = log.lines().find(|line| line.contains(start));
            found
                .unwrap_or_else(|| panic!("{start} in {log}"))
                .to_owned()
        };
        told.push((line(" packages in "), line("kiln's layers: ")));
    }
    assert!(
        told[0].0.contains(" 0 known, ") && told[0].1.contains(" 0 mounted, "),
        "{told:?}"
    );
    assert!(
        !told[1].0.contains(" 0 known, ") && !told[1].1.contains(" 0 mounted, "),
        "{told:?}"
    );
    // The third has the second's lock: all is known, and only the top layer is sent.
    assert!(told[2].0.contains(" 0 made, 0 groups"), "{told:?}");
    assert!(told[2].1.contains(" 1 uploaded "), "{told:?}");
}

#[test]
fn one_environment_is_one_digest_in_whatever_folder_zone_and_number_of_threads() {
    let prefix = kiln_tests::fresh_prefix();
    let mut digests = std::collections::BTreeSet::new();
    for zone in ["UTC", "Asia/Kathmandu"] {
        let kiln = Kiln::with_registry(&prefix).env("TZ", zone);
        let file = kiln.write("environment.yml", &conda_and_pip());
        let base = kiln_tests::base("bare:12");
        let answer = kiln.run(&[
            "build",
            file.to_str().unwrap(),
            "--base",
            &base,
            "--backend",
            "assemble",
            "--json",
            "--refresh",
        ]);
        assert_eq!(answer.code, 0, "{}", answer.stderr);
        digests.insert(answer.text("image"));
    }
    assert_eq!(digests.len(), 1, "{digests:?}");
}

#[test]
fn what_layers_can_not_do_is_refused_by_name() {
    let kiln = Kiln::new();
    let at = kiln_tests::channels();
    for (packages, why) in [
        ("postlink", "the package postlink has a post-link script"),
        ("clash-file, clash-folder", "share/thing"),
    ] {
        let text = format!("channels: [{at}/synthetic]\ndependencies: [{packages}]\n");
        let file = kiln.write("environment.yml", &text);
        let base = kiln_tests::base("bare:12");
        let answer = kiln.run(&[
            "build",
            file.to_str().unwrap(),
            "--base",
            &base,
            "--backend",
            "assemble",
        ]);
        assert_eq!(answer.code, 1, "{}", answer.stderr);
        assert!(
            answer.stderr.contains(why) && answer.stderr.contains("docker backend"),
            "{}",
            answer.stderr
        );
    }
}
