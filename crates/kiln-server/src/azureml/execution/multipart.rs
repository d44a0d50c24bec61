//! `multipart/form-data` (RFC 7578), as far as the SDK needs it: whole bodies in memory.

/// The content of the part whose file name or name is this one.
pub(super) fn part<'a>(content_type: &str, body: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let boundary = content_type.split(';').find_map(|parameter| {
        let value = parameter.trim().strip_prefix("boundary=")?;
        Some(value.trim_matches('"'))
    })?;
    let delimiter = format!("--{boundary}");
    let mut rest = &body[find(body, delimiter.as_bytes())? + delimiter.len()..];
    let delimiter = format!("\r\n--{boundary}");
    while let Some(after) = rest.strip_prefix(b"\r\n") {
        let end = find(after, delimiter.as_bytes())?;
        let (one, next) = (&after[..end], &after[end + delimiter.len()..]);
        let head = find(one, b"\r\n\r\n")?;
        if is_named(&one[..head], name) {
            return Some(&one[head + 4..]);
        }
        rest = next;
    }
    None
}

fn is_named(head: &[u8], name: &str) -> bool {
    let head = String::from_utf8_lossy(head);
    let quoted = [format!("filename=\"{name}\""), format!("name=\"{name}\"")];
    quoted.iter().any(|quoted| head.contains(quoted.as_str()))
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_found_by_its_file_name_and_ends_at_its_boundary() {
        let body = b"--x\r\nContent-Disposition: form-data; name=\"files\"; filename=\"definition.json\"\r\n\r\n{\"a\": 1}\r\n\
            --x\r\nContent-Disposition: form-data; name=\"files\"; filename=\"aml_config.zip\"\r\n\r\nPK\r\n--y\r\n--x--\r\n";
        let of = |name| part("multipart/form-data; boundary=x", body, name);
        assert_eq!(of("definition.json"), Some(&b"{\"a\": 1}"[..]));
        assert_eq!(of("aml_config.zip"), Some(&b"PK\r\n--y"[..]));
        assert_eq!(of("other"), None);
        assert_eq!(part("multipart/form-data", body, "definition.json"), None);
        let cut = &body[..body.len() / 3];
        assert_eq!(
            part("multipart/form-data; boundary=x", cut, "aml_config.zip"),
            None
        );
        assert_eq!(part("multipart/form-data; boundary=x", b"", "x"), None);
    }
}
