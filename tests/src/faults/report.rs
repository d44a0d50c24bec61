//! Figures and verdicts as a table of plain text.

use std::fmt;

/// What a scenario measured, and which promises held.
#[derive(Debug, Clone)]
pub struct Report {
    title: String,
    figures: Vec<Figure>,
}

#[derive(Debug, Clone)]
struct Figure {
    name: String,
    value: String,
    /// What must hold, and whether it does.
    rule: Option<(String, bool)>,
}

impl Report {
    pub(super) fn new(title: String) -> Self {
        Self {
            title,
            figures: Vec::new(),
        }
    }

    /// A figure that promises nothing.
    pub(super) fn tell(&mut self, name: &str, value: impl fmt::Display) {
        self.figures.push(Figure {
            name: name.to_owned(),
            value: value.to_string(),
            rule: None,
        });
    }

    /// A figure that keeps a promise or breaks it.
    pub(super) fn check(&mut self, name: &str, value: impl fmt::Display, rule: &str, holds: bool) {
        self.figures.push(Figure {
            name: name.to_owned(),
            value: value.to_string(),
            rule: Some((rule.to_owned(), holds)),
        });
    }

    /// A count of what must not be.
    pub(super) fn none(&mut self, name: &str, found: &[String]) {
        self.check(name, found.len(), "= 0", found.is_empty());
        for one in found.iter().take(5) {
            self.tell("", one);
        }
    }

    /// Whether every promise held.
    pub fn holds(&self) -> bool {
        self.figures
            .iter()
            .all(|figure| figure.rule.as_ref().is_none_or(|(_, holds)| *holds))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.title)?;
        for figure in &self.figures {
            write!(f, "  {:<46} {:>10}", figure.name, figure.value)?;
            if let Some((rule, holds)) = &figure.rule {
                write!(f, "   {rule:<16} {}", if *holds { "ok" } else { "BROKEN" })?;
            }
            writeln!(f)?;
        }
        let verdict = if self.holds() { "PASS" } else { "FAIL" };
        write!(f, "  {verdict}")
    }
}
