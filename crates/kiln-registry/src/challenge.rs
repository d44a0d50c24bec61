//! What a registry's 401 asks for: RFC 9110 section 11.6.1, and the distribution project's token
//! authentication specification.

use http::{HeaderMap, header};

/// The longest list of challenges that is parsed, in bytes.
const LIMIT: usize = 8 * 1024;

/// How a registry wants to be spoken to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// User name and password with every request.
    Basic,
    /// A token of the service at `realm`.
    Bearer {
        realm: String,
        service: Option<String>,
        scope: Option<String>,
    },
}

/// Reads the strongest challenge that kiln can answer; bearer before basic. `Err` says what there was.
pub(crate) fn read(headers: &HeaderMap) -> Result<Challenge, String> {
    let mut basic = false;
    let mut others = Vec::new();
    for value in headers.get_all(header::WWW_AUTHENTICATE) {
        let Some(text) = value.to_str().ok().filter(|text| text.len() <= LIMIT) else {
            return Err("an unreadable challenge".to_owned());
        };
        let Ok(challenges) = http_auth::parse_challenges(text) else {
            return Err("a malformed challenge".to_owned());
        };
        for challenge in challenges {
            let parameter = |name: &str| {
                let mut all = challenge.params.iter();
                all.find(|(n, _)| n.eq_ignore_ascii_case(name))
                    .map(|(_, value)| value.to_unescaped())
            };
            if challenge.scheme.eq_ignore_ascii_case("bearer") {
                if let Some(realm) = parameter("realm") {
                    let (service, scope) = (parameter("service"), parameter("scope"));
                    return Ok(Challenge::Bearer {
                        realm,
                        service,
                        scope,
                    });
                }
            } else if challenge.scheme.eq_ignore_ascii_case("basic") {
                basic = true;
            } else if others.len() < 4 {
                others.push(challenge.scheme.to_owned());
            }
        }
    }
    match (basic, others.as_slice()) {
        (true, _) => Ok(Challenge::Basic),
        (false, []) => Err("no challenge".to_owned()),
        (false, others) => Err(format!("only the schemes {}", others.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(values: &[&str]) -> Result<Challenge, String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::WWW_AUTHENTICATE, value.parse().unwrap());
        }
        read(&headers)
    }

    #[test]
    fn bearer_is_preferred_and_its_parameters_are_read() {
        let bearer = r#"Bearer realm="https://auth.example/token",service="registry",scope="repository:a/b:pull,push""#;
        let expected = Challenge::Bearer {
            realm: "https://auth.example/token".into(),
            service: Some("registry".into()),
            scope: Some("repository:a/b:pull,push".into()),
        };
        assert_eq!(parse(&[r#"Basic realm="x""#, bearer]), Ok(expected.clone()));
        assert_eq!(
            parse(&[&format!(r#"Basic realm="x", {bearer}"#)]),
            Ok(expected)
        );
        assert_eq!(parse(&[r#"basic realm="x""#]), Ok(Challenge::Basic));
    }

    proptest::proptest! {
        #[test]
        fn any_header_is_read_or_refused(value in "[ -~]{0,60}", scheme in "(Bearer |Basic )?") {
            let _ = parse(&[format!("{scheme}{value}").trim()]);
        }
    }

    #[test]
    fn what_cannot_be_answered_is_said() {
        assert_eq!(parse(&[]), Err("no challenge".into()));
        assert_eq!(
            parse(&["Negotiate"]),
            Err("only the schemes Negotiate".into())
        );
        assert!(parse(&["Bearer realm=\"x"]).is_err());
        assert!(parse(&[&"a".repeat(9000)]).is_err());
    }
}
