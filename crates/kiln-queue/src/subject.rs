//! Subjects of NATS: words joined by `.`; in filters `*` stands for one word and a last `>` for one or more.

/// The longest subject that is taken, in bytes.
const LONGEST: usize = 255;

/// Why a text is no subject that something can be published to.
pub(crate) fn fault(subject: &str) -> Option<&'static str> {
    if subject.len() > LONGEST {
        return Some("a subject has at most 255 bytes");
    }
    if subject.starts_with('$') {
        return Some("subjects that start with `$` are the broker's own");
    }
    for word in subject.split('.') {
        if word.is_empty() {
            return Some("a subject is words joined by `.`, and none of them is empty");
        }
        if word.contains(['*', '>']) {
            return Some("`*` and `>` are for filters");
        }
        if word.contains(|letter: char| letter.is_whitespace() || letter.is_control()) {
            return Some("a subject has no blanks and control characters");
        }
    }
    None
}

/// Why a text is no filter of subjects.
pub(crate) fn filter_fault(filter: &str) -> Option<&'static str> {
    let whole = filter.strip_suffix(".>").unwrap_or(filter);
    let words: Vec<&str> = whole
        .split('.')
        .map(|word| if word == "*" { "any" } else { word })
        .collect();
    fault(&words.join("."))
}

/// Whether some subject passes both filters.
pub(crate) fn overlap(one: &str, other: &str) -> bool {
    let (mut one, mut other) = (one.split('.'), other.split('.'));
    loop {
        match (one.next(), other.next()) {
            (None, None) | (Some(">"), Some(_)) | (Some(_), Some(">")) => return true,
            (Some(a), Some(b)) if a == b || a == "*" || b == "*" => {}
            _ => return false,
        }
    }
}

/// Whether every subject that passes `filter` passes `cover` too.
pub(crate) fn covers(cover: &str, filter: &str) -> bool {
    let (mut cover, mut filter) = (cover.split('.'), filter.split('.'));
    loop {
        match (cover.next(), filter.next()) {
            (None, None) | (Some(">"), Some(_)) => return true,
            (Some("*"), Some(word)) if word != ">" => {}
            (Some(a), Some(b)) if a == b => {}
            _ => return false,
        }
    }
}

/// Why events may not be published to a subject; `prefix` is what such subjects begin with.
pub(crate) fn reply_fault(prefix: Option<&str>, subject: &str) -> Option<String> {
    let Some(prefix) = prefix else {
        return Some("replies are switched off".to_owned());
    };
    if let Some(fault) = fault(subject) {
        return Some(fault.to_owned());
    }
    let below = subject
        .strip_prefix(prefix)
        .is_some_and(|rest| rest.starts_with('.'));
    (!below).then(|| format!("it must start with `{prefix}.`"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_subjects_below_the_prefix_get_replies() {
        let allowed = |subject| reply_fault(Some("kiln.results"), subject).is_none();
        assert!(allowed("kiln.results.a"));
        assert!(allowed("kiln.results.team.run-7"));
        for refused in [
            "kiln.results",
            "kiln.results.",
            "kiln.resultsx.a",
            "kiln.builds",
            "kiln.results.*",
            "kiln.results.>",
            "kiln.results.a b",
            "kiln.results.a\r\nPUB x 0",
            "kiln.results..a",
            " kiln.results.a",
            "$JS.API.STREAM.DELETE.kiln",
            "",
        ] {
            assert!(!allowed(refused), "{refused:?}");
        }
        assert!(reply_fault(None, "kiln.results.a").is_some());
    }

    #[test]
    fn filters_overlap_and_cover_as_the_broker_has_it() {
        assert!(overlap("kiln.>", "kiln.dead"));
        assert!(overlap("kiln.*", "kiln.dead"));
        assert!(overlap("*.dead", "kiln.*"));
        assert!(!overlap("kiln.builds", "kiln.dead"));
        assert!(!overlap("kiln.*", "kiln.results.>"));
        assert!(!overlap("kiln.results.>", "kiln.results"));
        assert!(covers("kiln.>", "kiln.builds"));
        assert!(covers("kiln.*", "kiln.builds"));
        assert!(!covers("kiln.*", "kiln.>"));
        assert!(!covers("kiln.builds", "kiln.*"));
        assert!(covers("kiln.results.>", "kiln.results.>"));
    }

    #[test]
    fn filters_may_hold_wildcards_as_whole_words_only() {
        for good in ["a", "a.b", "a.*", "*.b", "a.>"] {
            assert_eq!(filter_fault(good), None, "{good}");
        }
        for bad in ["", ">", "a.>.b", "a.b*", "a..b", "a b", "$SYS.>"] {
            assert!(filter_fault(bad).is_some(), "{bad}");
        }
    }

    fn filter() -> impl Strategy<Value = String> {
        let words = prop::collection::vec(prop::sample::select(vec!["a", "b", "*"]), 1..4);
        (words, any::<bool>()).prop_map(|(mut words, tail)| {
            if tail {
                words.push(">");
            }
            words.join(".")
        })
    }

    proptest! {
        #[test]
        fn what_covers_overlaps_and_overlap_is_mutual(one in filter(), other in filter()) {
            prop_assert!(covers(&one, &one));
            prop_assert_eq!(overlap(&one, &other), overlap(&other, &one));
            if covers(&one, &other) {
                prop_assert!(overlap(&one, &other));
            }
        }

        #[test]
        fn any_text_is_judged(text in any::<String>()) {
            let _ = filter_fault(&text);
            prop_assert_eq!(reply_fault(Some("p"), &format!("p.{text}")), fault(&format!("p.{text}")).map(str::to_owned));
        }
    }
}
