//! The page on named environments: its commands are run as they stand.

use kiln_tests::Kiln;

const PAGE: &str = include_str!("../../docs/environments.md");

/// Info string and text of each block, in order.
fn blocks() -> Vec<(&'static str, &'static str)> {
    let mut rest = PAGE;
    let mut found = Vec::new();
    while let Some((_, from)) = rest.split_once("```") {
        let (info, from) = from.split_once('\n').unwrap();
        let (text, after) = from.split_once("```").unwrap();
        found.push((info, text));
        rest = after;
    }
    found
}

#[test]
fn the_commands_of_the_page_on_environments_do_what_it_says() {
    let kiln = Kiln::new();
    // The page names a public image: here the registry at hand has it.
    let base = kiln_tests::base("debian:12");
    let mut told = Vec::new();
    for (info, text) in blocks() {
        if let Some(name) = info.strip_prefix("text ") {
            kiln.write(name, &text.replace("debian:12", &base));
            continue;
        }
        assert_eq!(info, "sh");
        for line in text.lines() {
            let line = line.replace("debian:12", &base);
            let arguments: Vec<_> = line.split(' ').skip(1).collect();
            let mut command = kiln.command(&arguments);
            let output = command.current_dir(kiln.path()).output().unwrap();
            let printed = String::from_utf8_lossy(&output.stdout).into_owned();
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{line}\n{printed}\n{errors}");
            told.push((line, printed, errors));
        }
    }
    let printed = |command: &str| {
        let found = told.iter().rfind(|(line, ..)| line == command);
        found
            .unwrap_or_else(|| panic!("`{command}` is not in the page"))
            .1
            .clone()
    };
    assert!(printed("kiln env register tools requirements.txt").starts_with("tools:1 "));
    assert!(printed("kiln env add tools --pip idna==3.10").starts_with("tools:2 "));
    assert!(printed("kiln env diff tools:1 tools:2").contains("pip idna: + "));
    assert!(printed("kiln env show tools@stable").starts_with("tools:1 "));
    assert!(printed("kiln env history tools").contains("registered"));
    let image = |command: &str| {
        let text = printed(command);
        let (image, how) = text.trim().split_once(" (").unwrap();
        (image.to_owned(), how.to_owned())
    };
    assert!(printed("kiln env import app --context app").starts_with("app:1 "));
    let (first, how) = image("kiln build --env tools:1");
    assert!(how.starts_with("built"), "{how}");
    let (second, how) = image("kiln build --env tools@stable");
    assert!(how.starts_with("cached"), "{how}");
    assert_eq!(first, second);
    assert!(printed("kiln env rollback tools:1").starts_with("tools:3 "));
    let unknown = kiln.run(&["env", "show", "tools@stable"]);
    assert_eq!(unknown.code, 1, "{unknown:?}");
    assert!(printed("kiln env clone tools:2 tools-with-idna").starts_with("tools-with-idna:1 "));
}
