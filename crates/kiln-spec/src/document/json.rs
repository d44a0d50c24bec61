//! Strict JSON (RFC 8259) with lines; duplicate keys and depth over the limit are refused.

use super::{DEPTH_LIMIT, Entry, NODE_LIMIT, Node, ReadError, Scalar, Value, check_duplicates};

/// Reads one JSON document.
pub(crate) fn read(text: &str) -> Result<Node, ReadError> {
    let mut reader = Reader {
        bytes: text.as_bytes(),
        text,
        at: 0,
        line: 1,
        nodes: 0,
    };
    reader.space();
    let node = reader.value(0)?;
    reader.space();
    if reader.at < reader.bytes.len() {
        return Err(ReadError::syntax(
            reader.line,
            "there is more after the end of the JSON value",
        ));
    }
    Ok(node)
}

struct Reader<'a> {
    bytes: &'a [u8],
    text: &'a str,
    at: usize,
    line: usize,
    nodes: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn space(&mut self) {
        while let Some(byte @ (b' ' | b'\t' | b'\n' | b'\r')) = self.peek() {
            self.line += usize::from(byte == b'\n');
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), ReadError> {
        if self.peek() == Some(byte) {
            self.at += 1;
            return Ok(());
        }
        Err(self.unexpected(&format!("`{}`", char::from(byte))))
    }

    fn unexpected(&self, wanted: &str) -> ReadError {
        let reason = match self
            .text
            .get(self.at..)
            .and_then(|rest| rest.chars().next())
        {
            None => format!("the JSON ends where {wanted} is expected"),
            Some(found) => format!(
                "`{}` stands where {wanted} is expected",
                found.escape_debug()
            ),
        };
        ReadError::syntax(self.line, reason)
    }

    fn value(&mut self, depth: usize) -> Result<Node, ReadError> {
        self.nodes += 1;
        if depth > DEPTH_LIMIT || self.nodes > NODE_LIMIT {
            return Err(ReadError {
                line: self.line,
                reason: format!("the document is nested deeper than {DEPTH_LIMIT} or too large"),
                remedy: "make it flatter or smaller",
            });
        }
        let line = self.line;
        let value = match self.peek() {
            Some(b'{') => self.map(depth)?,
            Some(b'[') => self.list(depth)?,
            Some(b'"') => Value::Scalar(self.string()?, Scalar::Text),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b't') => self.word("true", Scalar::Bool)?,
            Some(b'f') => self.word("false", Scalar::Bool)?,
            Some(b'n') => self.word("null", Scalar::Null)?,
            _ => return Err(self.unexpected("a value")),
        };
        Ok(Node { line, value })
    }

    fn word(&mut self, word: &str, scalar: Scalar) -> Result<Value, ReadError> {
        if self.bytes[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            return Ok(Value::Scalar(word.to_owned(), scalar));
        }
        Err(self.unexpected("a value"))
    }

    fn number(&mut self) -> Result<Value, ReadError> {
        let start = self.at;
        let digits = |reader: &mut Self| {
            let from = reader.at;
            while matches!(reader.peek(), Some(b'0'..=b'9')) {
                reader.at += 1;
            }
            if reader.at == from {
                Err(reader.unexpected("a digit"))
            } else {
                Ok(())
            }
        };
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            digits(self)?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            digits(self)?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            digits(self)?;
        }
        Ok(Value::Scalar(
            self.text[start..self.at].to_owned(),
            Scalar::Number,
        ))
    }

    fn string(&mut self) -> Result<String, ReadError> {
        self.expect(b'"')?;
        let mut text = String::new();
        loop {
            let start = self.at;
            while self
                .peek()
                .is_some_and(|b| b != b'"' && b != b'\\' && b >= 0x20)
            {
                self.at += 1;
            }
            text.push_str(&self.text[start..self.at]);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(text);
                }
                Some(b'\\') => {
                    self.at += 1;
                    text.push(self.escape()?);
                }
                Some(_) => {
                    return Err(ReadError::syntax(
                        self.line,
                        "a control character stands in a string",
                    ));
                }
                None => return Err(ReadError::syntax(self.line, "a string has no end")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, ReadError> {
        let byte = self.peek().ok_or_else(|| self.unexpected("an escape"))?;
        self.at += 1;
        Ok(match byte {
            b'"' | b'\\' | b'/' => char::from(byte),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let first = self.unit()?;
                let code = if (0xd800..0xdc00).contains(&first) {
                    if !self.bytes[self.at..].starts_with(b"\\u") {
                        return Err(self.surrogate());
                    }
                    self.at += 2;
                    let second = self.unit()?;
                    if !(0xdc00..0xe000).contains(&second) {
                        return Err(self.surrogate());
                    }
                    0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)
                } else {
                    first
                };
                char::from_u32(code).ok_or_else(|| self.surrogate())?
            }
            _ => {
                return Err(ReadError::syntax(
                    self.line,
                    "a string has an unknown escape",
                ));
            }
        })
    }

    fn surrogate(&self) -> ReadError {
        ReadError::syntax(self.line, "a string has half of a surrogate pair")
    }

    fn unit(&mut self) -> Result<u32, ReadError> {
        let digits = self.text.get(self.at..self.at + 4);
        let digits = digits.filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()));
        let unit = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let unit =
            unit.ok_or_else(|| ReadError::syntax(self.line, "`\\u` has no four hex digits"))?;
        self.at += 4;
        Ok(unit)
    }

    fn list(&mut self, depth: usize) -> Result<Value, ReadError> {
        self.expect(b'[')?;
        let mut items = Vec::new();
        self.space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Value::List(items));
        }
        loop {
            self.space();
            items.push(self.value(depth + 1)?);
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(Value::List(items));
                }
                _ => return Err(self.unexpected("`,` or `]`")),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Value, ReadError> {
        self.expect(b'{')?;
        let mut entries: Vec<Entry> = Vec::new();
        self.space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Value::Map(entries));
        }
        loop {
            self.space();
            let line = self.line;
            let key = self.string()?;
            self.space();
            self.expect(b':')?;
            self.space();
            let value = self.value(depth + 1)?;
            entries.push(Entry { key, line, value });
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    check_duplicates(&entries)?;
                    return Ok(Value::Map(entries));
                }
                _ => return Err(self.unexpected("`,` or `}`")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_lines_and_spelling() {
        let node =
            read("{\n \"a\": [1.50,\n  \"x\\u00e9\\ud83d\\ude00\"],\n \"b\": null}").unwrap();
        let list = &node.field("a").unwrap().value;
        let Value::List(items) = &list.value else {
            panic!("a list")
        };
        assert_eq!(items[0].scalar(), Some("1.50"));
        assert_eq!((items[1].scalar(), items[1].line), (Some("xé😀"), 3));
        assert!(node.field("b").unwrap().value.is_null());
    }

    #[test]
    fn what_is_no_json_is_refused_with_its_line() {
        for text in [
            "",
            "{",
            "{\"a\":1,}",
            "[1,]",
            "01",
            "1.",
            "\"\\x\"",
            "\"\\ud800\"",
            "tru",
            "{} {}",
            "'a'",
            "{\"a\":1,\n\"a\":2}",
            "\"\n\"",
            "-",
            "[1 2]",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
        assert_eq!(read("{\"a\":1,\n\"a\":2}").unwrap_err().line, 2);
        assert!(read(&"[".repeat(100_000)).is_err());
    }
}
