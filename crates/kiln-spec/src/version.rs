//! conda's version constraints in kiln's canonical text.
//!
//! Equality is that of conda's `VersionOrder`: case does not count, `1.026` is `1.26`, and trailing `.0` parts
//! do not count where a whole version is compared.

/// Why a text is no version constraint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VersionFault(pub(crate) String);

/// A constraint: terms, joined by "and" and "or".
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Constraint {
    Term(String),
    And(Vec<Self>),
    Or(Vec<Self>),
    Any,
}

/// Terms of one constraint.
const TERM_LIMIT: usize = 1000;

/// Operators, longest first.
const OPERATORS: [&str; 7] = ["==", "!=", ">=", "<=", "~=", ">", "<"];

/// The canonical text of a version constraint; `*` is any version.
pub(crate) fn canonical(text: &str) -> Result<String, VersionFault> {
    if text.matches([',', '|']).count() >= TERM_LIMIT {
        return Err(VersionFault(format!(
            "a version has more than {TERM_LIMIT} terms"
        )));
    }
    let mut parser = Parser { text, depth: 0 };
    let constraint = parser.or()?;
    if !parser.text.is_empty() {
        return Err(VersionFault(format!(
            "{} is no version",
            crate::error::quoted(text)
        )));
    }
    Ok(render(&constraint, false))
}

struct Parser<'a> {
    text: &'a str,
    depth: usize,
}

impl Parser<'_> {
    fn or(&mut self) -> Result<Constraint, VersionFault> {
        let mut parts = vec![self.and()?];
        while let Some(rest) = self.text.strip_prefix('|') {
            self.text = rest.strip_prefix('|').unwrap_or(rest);
            parts.push(self.and()?);
        }
        if parts.contains(&Constraint::Any) {
            return Ok(Constraint::Any);
        }
        Ok(joined(parts, Constraint::Or, |part| match part {
            Constraint::Or(inner) => Ok(inner),
            other => Err(other),
        }))
    }

    fn and(&mut self) -> Result<Constraint, VersionFault> {
        let mut parts = vec![self.term()?];
        while let Some(rest) = self.text.strip_prefix(',') {
            self.text = rest;
            parts.push(self.term()?);
        }
        parts.retain(|part| *part != Constraint::Any);
        if parts.is_empty() {
            return Ok(Constraint::Any);
        }
        Ok(joined(parts, Constraint::And, |part| match part {
            Constraint::And(inner) => Ok(inner),
            other => Err(other),
        }))
    }

    fn term(&mut self) -> Result<Constraint, VersionFault> {
        if let Some(rest) = self.text.strip_prefix('(') {
            self.depth += 1;
            if self.depth > 16 {
                return Err(VersionFault(
                    "a version constraint is nested too deep".into(),
                ));
            }
            self.text = rest;
            let inner = self.or()?;
            self.depth -= 1;
            self.text = self
                .text
                .strip_prefix(')')
                .ok_or_else(|| VersionFault("a parenthesis of a version has no end".into()))?;
            return Ok(inner);
        }
        let end = self
            .text
            .find([',', '|', ')', '('])
            .unwrap_or(self.text.len());
        let (text, rest) = self.text.split_at(end);
        self.text = rest;
        term(text)
    }
}

/// Flattens, sorts and joins parts.
fn joined(
    parts: Vec<Constraint>,
    join: fn(Vec<Constraint>) -> Constraint,
    inner: fn(Constraint) -> Result<Vec<Constraint>, Constraint>,
) -> Constraint {
    let mut flat = Vec::new();
    for part in parts {
        match inner(part) {
            Ok(parts) => flat.extend(parts),
            Err(part) => flat.push(part),
        }
    }
    flat.sort();
    flat.dedup();
    if flat.len() == 1 {
        flat.remove(0)
    } else {
        join(flat)
    }
}

fn render(constraint: &Constraint, inside_and: bool) -> String {
    match constraint {
        Constraint::Any => "*".to_owned(),
        Constraint::Term(text) => text.clone(),
        Constraint::And(parts) => parts
            .iter()
            .map(|part| render(part, true))
            .collect::<Vec<_>>()
            .join(","),
        Constraint::Or(parts) => {
            let text = parts
                .iter()
                .map(|part| render(part, false))
                .collect::<Vec<_>>()
                .join("|");
            if inside_and {
                format!("({text})")
            } else {
                text
            }
        }
    }
}

fn term(text: &str) -> Result<Constraint, VersionFault> {
    let bad = || VersionFault(format!("{} is no version", crate::error::quoted(text)));
    if text.is_empty() {
        return Err(VersionFault(
            "a version is missing beside `,` or `|`".into(),
        ));
    }
    if text == "*" || text == "=*" || text == "==*" {
        return Ok(Constraint::Any);
    }
    let operator = OPERATORS
        .iter()
        .find(|operator| text.starts_with(**operator))
        .copied();
    let (operator, version) = match operator {
        Some(operator) => (operator, text[operator.len()..].trim()),
        None => match text.strip_prefix('=') {
            Some(version) => ("=", version),
            None => ("", text),
        },
    };
    let version = version.to_ascii_lowercase();
    let glob = version
        .strip_suffix(".*")
        .or_else(|| version.strip_suffix('*'));
    let body = glob.unwrap_or(&version);
    if body.contains('*') {
        return Err(VersionFault(format!(
            "{} has a `*` inside, which kiln's solver can't match",
            crate::error::quoted(text)
        )));
    }
    if !valid_version(body) {
        return Err(bad());
    }
    let fuzzy = normal(body, false);
    let whole = normal(body, true);
    Ok(Constraint::Term(match (operator, glob.is_some()) {
        ("" | "==" | "=", true) | ("=", false) => format!("{fuzzy}.*"),
        ("" | "==", false) => format!("=={whole}"),
        ("!=", true) => format!("!={fuzzy}.*"),
        ("~=", true) => return Err(bad()),
        ("~=", false) => format!("~={fuzzy}"),
        // conda ignores the wildcard behind an order.
        (operator, _) => format!("{operator}{whole}"),
    }))
}

/// conda's `version_check_re`: digits, letters, `.`, `_`, `-`, with an epoch `N!` and a local part `+...`.
fn valid_version(text: &str) -> bool {
    let (public, local) = match text.split_once('+') {
        Some((public, local)) => (public, Some(local)),
        None => (text, None),
    };
    let public = match public.split_once('!') {
        Some((epoch, rest)) if !epoch.is_empty() && epoch.bytes().all(|b| b.is_ascii_digit()) => {
            rest
        }
        Some(_) => return false,
        None => public,
    };
    // A last `_` belongs to its part: `1.0.1_` is older than `1.0.1a`.
    let word = |text: &str| {
        text.strip_suffix('_')
            .unwrap_or(text)
            .split(['.', '_', '-'])
            .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric()))
    };
    word(public) && local.is_none_or(word)
}

/// One separator and no leading zeros in numbers; `whole` also drops trailing `.0` parts.
fn normal(version: &str, whole: bool) -> String {
    let plain = |part: &str| {
        part.bytes().all(|byte| byte.is_ascii_digit()) && (part == "0" || !part.starts_with('0'))
    };
    if version.split('.').all(plain) {
        let mut version = version;
        while let Some(shorter) = version.strip_suffix(".0").filter(|_| whole) {
            version = shorter;
        }
        return version.to_owned();
    }
    let (public, local) = match version.split_once('+') {
        Some((public, local)) => (public, Some(local)),
        None => (version, None),
    };
    let mut public = parts_text(public);
    if whole {
        while let Some(shorter) = public.strip_suffix(".0") {
            public.truncate(shorter.len());
        }
    }
    let public = public
        .strip_prefix("0!")
        .map_or(public.clone(), str::to_owned);
    match local {
        Some(local) => format!("{public}+{}", parts_text(local)),
        None => public,
    }
}

/// `.`, `_` and `-` all separate parts; a last `_` belongs to its part.
fn parts_text(text: &str) -> String {
    let (text, end) = match text.strip_suffix('_') {
        Some(text) => (text, "_"),
        None => (text, ""),
    };
    without_leading_zeros(&text.replace(['_', '-'], ".")) + end
}

fn without_leading_zeros(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut digits = String::new();
    let flush = |digits: &mut String, result: &mut String| {
        if !digits.is_empty() {
            let trimmed = digits.trim_start_matches('0');
            result.push_str(if trimmed.is_empty() { "0" } else { trimmed });
            digits.clear();
        }
    };
    for c in text.chars() {
        if c.is_ascii_digit() {
            digits.push(c);
        } else {
            flush(&mut digits, &mut result);
            result.push(c);
        }
    }
    flush(&mut digits, &mut result);
    result
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("1.26", "==1.26")]
    #[case("(>=1.2|1.1.0),<2", "<2,(==1.1|>=1.2)")]
    #[case("<2,(1.1|>=1.2)", "<2,(==1.1|>=1.2)")]
    #[case("1!2.0", "==1!2")]
    #[case("0!2.0", "==2")]
    #[case("1.0+CU118", "==1+cu118")]
    #[case(">=1.0,*", ">=1")]
    #[case("*|1.2", "*")]
    #[case("2020.01.05", "==2020.1.5")]
    #[case("1.2.0rc1", "==1.2.0rc1")]
    #[case("1-2", "==1.2")]
    #[case("1.1_3", "==1.1.3")]
    #[case("1.0.1_", "==1.0.1_")]
    #[case("1.1_0", "==1.1")]
    #[case("==1.2.*,>=0a0", "1.2.*,>=0a0")]
    #[case(">=0a0,==1.2.*", "1.2.*,>=0a0")]
    fn constraints_have_one_canonical_text(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(canonical(text).unwrap(), expected);
        assert_eq!(canonical(expected).unwrap(), expected);
    }

    #[test]
    fn what_is_no_version_is_refused() {
        for text in [
            "",
            ">=",
            ",",
            "1,",
            "(1",
            "1)",
            "a b",
            "1!",
            "x!1",
            "1..",
            "1..2",
            "_1",
            "1__",
            "=>1",
            "$",
            "===1",
            "1.*.3",
            "^1.*$",
            "~=1.*",
            &"(".repeat(99),
        ] {
            assert!(canonical(text).is_err(), "{text}");
        }
    }
}
