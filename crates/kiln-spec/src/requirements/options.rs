//! pip's options in a requirements file: one table says what becomes of each.

use std::fmt::Write as _;

/// What becomes of an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// `--index-url`.
    IndexUrl,
    /// `--extra-index-url`.
    ExtraIndexUrl,
    /// `--find-links`.
    FindLinks,
    /// `--no-index`.
    NoIndex,
    /// `--no-binary`.
    NoBinary,
    /// `--only-binary`.
    OnlyBinary,
    /// `--pre`.
    Pre,
    /// `--require-hashes`.
    RequireHashes,
    /// `-r`.
    Include,
    /// `-c`.
    Constrain,
    /// `-e`.
    Editable,
    /// Not part of the identity; a warning says why.
    Ignored(&'static str),
    /// An error says why, and what to do.
    Refused(&'static str, &'static str),
}

/// Whether an option takes a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Takes {
    Value,
    Nothing,
}

const TRANSPORT: &str = "how indexes are reached is a setting of kiln";
const BUILDS: &str = "it changes how packages are built, and kiln installs wheels";
const OBSOLETE: &str = "pip has no such option any more";

/// All options, as in pip's "Requirements File Format": long name, short name, value, use.
/// `docs/spec-format.md` has the same table.
pub(crate) const OPTIONS: [(&str, Option<char>, Takes, Use); 30] = [
    ("--index-url", Some('i'), Takes::Value, Use::IndexUrl),
    ("--pypi-url", None, Takes::Value, Use::IndexUrl),
    ("--extra-index-url", None, Takes::Value, Use::ExtraIndexUrl),
    ("--find-links", Some('f'), Takes::Value, Use::FindLinks),
    ("--no-index", None, Takes::Nothing, Use::NoIndex),
    ("--no-binary", None, Takes::Value, Use::NoBinary),
    ("--only-binary", None, Takes::Value, Use::OnlyBinary),
    ("--pre", None, Takes::Nothing, Use::Pre),
    ("--require-hashes", None, Takes::Nothing, Use::RequireHashes),
    ("--requirement", Some('r'), Takes::Value, Use::Include),
    ("--constraint", Some('c'), Takes::Value, Use::Constrain),
    ("--editable", Some('e'), Takes::Value, Use::Editable),
    (
        "--prefer-binary",
        None,
        Takes::Nothing,
        Use::Ignored("kiln takes wheels alone"),
    ),
    (
        "--trusted-host",
        None,
        Takes::Value,
        Use::Ignored(TRANSPORT),
    ),
    ("--cert", None, Takes::Value, Use::Ignored(TRANSPORT)),
    ("--client-cert", None, Takes::Value, Use::Ignored(TRANSPORT)),
    ("--proxy", None, Takes::Value, Use::Ignored(TRANSPORT)),
    ("--timeout", None, Takes::Value, Use::Ignored(TRANSPORT)),
    ("--retries", None, Takes::Value, Use::Ignored(TRANSPORT)),
    (
        "--use-feature",
        None,
        Takes::Value,
        Use::Ignored("it is a switch of pip itself"),
    ),
    (
        "--no-cache-dir",
        None,
        Takes::Nothing,
        Use::Ignored("kiln keeps its own cache"),
    ),
    (
        "--no-build-isolation",
        None,
        Takes::Nothing,
        Use::Ignored(BUILDS),
    ),
    (
        "--upgrade",
        Some('U'),
        Takes::Nothing,
        Use::Ignored("an environment starts empty"),
    ),
    (
        "--no-use-wheel",
        None,
        Takes::Nothing,
        Use::Refused(OBSOLETE, "use `--no-binary`"),
    ),
    ("--use-wheel", None, Takes::Nothing, Use::Ignored(OBSOLETE)),
    (
        "--always-unzip",
        Some('Z'),
        Takes::Nothing,
        Use::Ignored(OBSOLETE),
    ),
    (
        "--allow-external",
        None,
        Takes::Value,
        Use::Ignored(OBSOLETE),
    ),
    (
        "--allow-unverified",
        None,
        Takes::Value,
        Use::Ignored(OBSOLETE),
    ),
    (
        "--allow-all-external",
        None,
        Takes::Nothing,
        Use::Ignored(OBSOLETE),
    ),
    (
        "--process-dependency-links",
        None,
        Takes::Nothing,
        Use::Refused(OBSOLETE, "name each package by its address"),
    ),
];

impl Use {
    /// What the table of `docs/spec-format.md` says of it.
    fn description(self) -> String {
        match self {
            Self::IndexUrl => "hashed; the last one counts, none behind `--no-index`".into(),
            Self::ExtraIndexUrl => "hashed, in order; none behind `--no-index`".into(),
            Self::FindLinks => "hashed, in order; http and https alone".into(),
            Self::NoIndex | Self::Pre | Self::RequireHashes => "hashed".into(),
            Self::NoBinary | Self::OnlyBinary => {
                "hashed, a set of names, `:all:`, `:none:`; a later option takes a name from the other set"
                    .into()
            }
            Self::Include => "read from the supplied files, relative to the including file".into(),
            Self::Constrain => "read from the supplied files; its requirements constrain".into(),
            Self::Editable => {
                "a git address is the same without `-e`, with a warning; a path is refused".into()
            }
            Self::Ignored(why) => format!("ignored with a warning: {why}"),
            Self::Refused(why, remedy) => format!("refused: {why}; {remedy}"),
        }
    }
}

/// Options behind a requirement, and what becomes of them.
const BEHIND: [(&str, &str); 4] = [
    (
        "--hash",
        "hashed, a set of sha256, sha384 or sha512 hashes of its requirement",
    ),
    ("--global-option", REFUSED_BEHIND),
    ("--install-option", REFUSED_BEHIND),
    ("--config-settings", REFUSED_BEHIND),
];
const REFUSED_BEHIND: &str =
    "refused: it changes how the package is built; build the wheel and upload it";

/// The table of all pip options in Markdown.
pub fn option_table() -> String {
    let mut table = String::from("| option | what becomes of it |\n|---|---|\n");
    for (long, short, _, action) in OPTIONS {
        let short = short
            .map(|short| format!(", `-{short}`"))
            .unwrap_or_default();
        writeln!(table, "| `{long}`{short} | {} |", action.description())
            .expect("writing to a String never fails");
    }
    for (option, description) in BEHIND {
        writeln!(table, "| `{option}` behind a requirement | {description} |")
            .expect("writing to a String never fails");
    }
    table
}

/// An option line, cut into what it asks and its value.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct OptionLine<'a> {
    pub(crate) name: &'static str,
    pub(crate) action: Use,
    pub(crate) value: &'a str,
}

/// Reads the next option of a line: `--name value`, `--name=value`, `-xvalue`; gives the rest.
pub(crate) fn next(line: &str) -> Result<(OptionLine<'_>, &str), String> {
    let line = line.trim_start();
    let end = line.find([' ', '\t', '=']).unwrap_or(line.len());
    let (word, after) = line.split_at(end);
    let found = OPTIONS.iter().find(|(long, short, ..)| {
        word == *long
            || short.is_some_and(|s| word.strip_prefix('-') == Some(s.encode_utf8(&mut [0; 4])))
    });
    if let Some(&(name, _, takes, action)) = found {
        let after = after.trim_start();
        let after = after.strip_prefix('=').map_or(after, str::trim_start);
        if takes == Takes::Nothing {
            return Ok((
                OptionLine {
                    name,
                    action,
                    value: "",
                },
                after,
            ));
        }
        let (value, rest) = value(after);
        if value.is_empty() {
            return Err(format!("the option `{name}` has no value"));
        }
        return Ok((
            OptionLine {
                name,
                action,
                value,
            },
            rest,
        ));
    }
    // `-rfile`: a short option with its value attached.
    let attached = line
        .strip_prefix('-')
        .and_then(|rest| rest.chars().next())
        .and_then(|c| {
            OPTIONS
                .iter()
                .find(|(_, short, takes, _)| *short == Some(c) && *takes == Takes::Value)
        });
    match attached {
        Some(&(name, _, _, action)) if !line.starts_with("--") => {
            let (value, rest) = value(&line[2..]);
            Ok((
                OptionLine {
                    name,
                    action,
                    value,
                },
                rest,
            ))
        }
        _ => Err(format!(
            "{} is no option of a requirements file",
            crate::error::quoted(word)
        )),
    }
}

/// One word, or a text in quotes.
fn value(text: &str) -> (&str, &str) {
    for quote in ['"', '\''] {
        if let Some((value, rest)) = text.strip_prefix(quote).and_then(|t| t.split_once(quote)) {
            return (value, rest.trim_start());
        }
    }
    let end = text.find([' ', '\t']).unwrap_or(text.len());
    let (value, rest) = text.split_at(end);
    (value, rest.trim_start())
}
