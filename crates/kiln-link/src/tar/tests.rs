use ::tar::EntryType;
use rstest::rstest;

use super::*;
use crate::testing::{TarItem, block, file, header, link, tar};

fn list(bytes: &[u8]) -> Result<Vec<TarEntry>, Problem> {
    let mut reader = TarReader::new(bytes, 1000);
    let mut entries = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        entries.push(entry);
    }
    Ok(entries)
}

fn pax(records: &[(&str, &str)]) -> Vec<u8> {
    let mut content = Vec::new();
    for (key, value) in records {
        let rest = format!(" {key}={value}\n");
        let mut length = rest.len() + 1;
        while length != rest.len() + length.to_string().len() {
            length += 1;
        }
        content.extend(format!("{length}{rest}").into_bytes());
    }
    extension(EntryType::XHeader, &content)
}

fn extension(kind: EntryType, content: &[u8]) -> Vec<u8> {
    let item = TarItem {
        name: "ext",
        kind,
        link: "",
        mode: 0o644,
        content,
    };
    [header(&item).as_bytes().to_vec(), block(content)].concat()
}

fn entry(item: &TarItem<'_>) -> Vec<u8> {
    [header(item).as_bytes().to_vec(), block(item.content)].concat()
}

#[test]
fn entries_come_with_names_kinds_and_content() {
    let bytes = tar(&[
        file("./a", b"one"),
        link("b", EntryType::Symlink, "a"),
        link("c", EntryType::Link, "a"),
        TarItem {
            mode: 0o2755,
            ..link("d/", EntryType::Directory, "")
        },
    ]);
    let mut reader = TarReader::new(bytes.as_slice(), 1000);
    let first = reader.next_entry().expect("valid").expect("there is one");
    assert_eq!(
        (first.name.as_str(), first.kind, first.size),
        ("./a", TarKind::File, 3)
    );
    let mut content = String::new();
    reader.read_to_string(&mut content).expect("it is there");
    assert_eq!(content, "one");
    let kinds: Vec<TarKind> = std::iter::from_fn(|| reader.next_entry().expect("valid"))
        .map(|entry| entry.kind)
        .collect();
    let expected = [
        TarKind::Symlink("a".into()),
        TarKind::HardLink("a".into()),
        TarKind::Directory,
    ];
    assert_eq!(kinds, expected);
}

#[test]
fn extensions_name_the_next_entry_only() {
    let long = "x/".repeat(100) + "name";
    let bytes = [
        pax(&[("path", &long), ("mtime", "12.9"), ("comment", "é")]),
        entry(&file("short", b"1")),
        extension(EntryType::GNULongName, format!("{long}\0").as_bytes()),
        entry(&file("short", b"2")),
        pax(&[("mtime", "-12.5")]),
        entry(&file("plain", b"3")),
        vec![0; 1024],
    ]
    .concat();
    let entries = list(&bytes).expect("valid");
    let found: Vec<(&str, i64)> = entries.iter().map(|e| (e.name.as_str(), e.mtime)).collect();
    let mtime = 1_700_000_000;
    assert_eq!(
        found,
        [(long.as_str(), 12), (long.as_str(), mtime), ("plain", -13)]
    );
}

#[test]
fn a_size_that_readers_disagree_about_is_refused() {
    for size in ["512", "0", "1024", "3", "x", "-1"] {
        let bytes = [
            pax(&[("size", size)]),
            entry(&file("a", b"abc")),
            vec![0; 1024],
        ]
        .concat();
        assert!(list(&bytes).is_err(), "{size}");
    }
    let huge = (8u64 << 30).to_string();
    let bytes = [pax(&[("size", &huge)]), entry(&file("a", b""))].concat();
    let mut reader = TarReader::new(bytes.as_slice(), 9);
    let entry = reader
        .next_entry()
        .expect("the header can't state it")
        .expect("there is one");
    assert_eq!(entry.size, 8 << 30);
}

#[rstest]
#[case::data_behind_the_end([tar(&[]), entry(&file("hidden", b""))].concat())]
#[case::an_extension_without_entry(pax(&[("path", "a")]))]
#[case::two_extensions([pax(&[("path", "a")]), pax(&[("path", "b")]), entry(&file("c", b""))].concat())]
#[case::pax_and_gnu([extension(EntryType::GNULongName, b"a\0"), pax(&[("path", "b")]), entry(&file("c", b""))].concat())]
#[case::a_key_twice([pax(&[("path", "a"), ("path", "b")]), entry(&file("c", b""))].concat())]
#[case::a_global_path([extension(EntryType::XGlobalHeader, b"10 path=a\n"), entry(&file("c", b""))].concat())]
#[case::a_broken_length([extension(EntryType::XHeader, b"99 path=a\n"), entry(&file("c", b""))].concat())]
#[case::no_line_end([extension(EntryType::XHeader, b"9 path=ab"), entry(&file("c", b""))].concat())]
#[case::a_truncated_header(tar(&[file("a", b"x")])[..700].to_vec())]
#[case::a_truncated_body(tar(&[file("a", b"x")])[..600].to_vec())]
#[case::a_truncated_padding(tar(&[file("a", b"x")])[..1023].to_vec())]
#[case::a_device(tar(&[link("a", EntryType::Block, "")]))]
#[case::a_pipe(tar(&[link("a", EntryType::Fifo, "")]))]
#[case::a_sparse_file(tar(&[link("a", EntryType::GNUSparse, "")]))]
#[case::a_pax_sparse_file([pax(&[("GNU.sparse.major", "1")]), entry(&file("c", b""))].concat())]
#[case::an_unknown_kind(tar(&[link("a", EntryType::new(b'Z'), "")]))]
#[case::a_link_with_content(tar(&[TarItem { content: b"x", ..link("a", EntryType::Symlink, "b") }]))]
#[case::a_file_with_a_slash(tar(&[file("a/", b"x")]))]
#[case::no_name(tar(&[file("", b"x")]))]
#[case::a_long_name_with_a_tail([extension(EntryType::GNULongName, b"a\0b"), entry(&file("c", b""))].concat())]
fn an_ambiguous_or_hostile_archive_is_refused(#[case] bytes: Vec<u8>) {
    assert!(list(&bytes).is_err());
}

#[test]
fn a_wrong_checksum_is_refused() {
    let mut bytes = tar(&[file("a", b"x")]);
    bytes[0] = b'b';
    assert!(matches!(
        list(&bytes),
        Err(Problem::Archive("a header's checksum is wrong"))
    ));
}

#[test]
fn too_many_entries_are_refused() {
    let bytes = tar(&[file("a", b""), file("b", b""), file("c", b"")]);
    let mut reader = TarReader::new(bytes.as_slice(), 2);
    reader.next_entry().expect("the first");
    reader.next_entry().expect("the second");
    assert!(matches!(reader.next_entry(), Err(Problem::TooLarge { .. })));
}

/// Every archive of the corpus, where it is at hand, is listed as python's `tarfile` lists it or is
/// refused.
#[test]
fn the_corpus_is_listed_as_python_lists_it() {
    let Some(corpus) = std::env::var_os("KILN_CORPUS") else {
        return;
    };
    let folder = std::path::Path::new(&corpus).join("archives/tokio-tar");
    let script = "import sys, tarfile\nfor m in tarfile.open(sys.argv[1], 'r:'):\n    \
                  print(m.name.rstrip('/'), m.size, m.linkname, sep='\\t')";
    let mut accepted = 0;
    for archive in fs_err::read_dir(&folder).expect("the corpus is readable") {
        let path = archive.expect("readable").path();
        if path.extension().is_none_or(|extension| extension != "tar") {
            continue;
        }
        let Ok(entries) = list(&fs_err::read(&path).expect("readable")) else {
            continue;
        };
        accepted += 1;
        let python = std::process::Command::new("python3")
            .args(["-c", script])
            .arg(&path)
            .output()
            .expect("there is a python");
        let ours: Vec<String> = entries
            .iter()
            .map(|entry| {
                let target = match &entry.kind {
                    TarKind::Symlink(target) | TarKind::HardLink(target) => target,
                    _ => "",
                };
                format!(
                    "{}\t{}\t{target}",
                    entry.name.trim_end_matches('/'),
                    entry.size
                )
            })
            .collect();
        let theirs = String::from_utf8_lossy(&python.stdout);
        assert_eq!(
            ours,
            theirs.lines().collect::<Vec<_>>(),
            "{}",
            path.display()
        );
        let hostile = ["hidden", "phantom", "diff-014", "diff-024", "diff-039"];
        let name = path
            .file_name()
            .expect("a file")
            .to_string_lossy()
            .into_owned();
        assert!(
            !hostile.iter().any(|part| name.contains(part)),
            "{name} is hostile"
        );
    }
    assert!(accepted >= 10, "only {accepted} archives were accepted");
}
