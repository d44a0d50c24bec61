//! CloudEvents 1.0, structured and binary (CNCF CloudEvents, "HTTP Protocol Binding" and "JSON Event
//! Format"; the NATS binding has the same headers).

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// The media type of an event in structured JSON.
pub const STRUCTURED: &str = "application/cloudevents+json";
/// The extension that names the subject of a queue to answer to.
pub const REPLY_TO: &str = "kilnreplyto";

/// Texts of attributes are no longer.
const ATTRIBUTE_LIMIT_BYTES: usize = 2048;
/// Attributes that one event may have.
const ATTRIBUTES_LIMIT: usize = 64;

/// An event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloudEvent {
    /// Unique within the source.
    pub id: String,
    /// Who tells it, a URI reference.
    pub source: String,
    /// What it tells.
    pub kind: String,
    /// What it is about.
    pub subject: Option<String>,
    /// When it happened, RFC 3339.
    pub time: Option<String>,
    /// Attributes that CloudEvents doesn't define.
    pub extensions: BTreeMap<String, String>,
    /// JSON, as it came.
    pub data: Option<String>,
}

/// Why something is no event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MalformedEvent {
    /// Neither a structured nor a binary event.
    #[error(
        "this is no CloudEvent: send Content-Type {STRUCTURED}, or the headers ce-specversion, ce-id, ce-source and ce-type"
    )]
    NotAnEvent,
    /// Not the JSON of an event.
    #[error("the event is not a JSON object: {0}")]
    Json(String),
    /// Another version.
    #[error("specversion is `{0}`; kiln reads `1.0`")]
    Version(String),
    /// An attribute is missing, empty or not a text.
    #[error("the attribute `{0}` is missing, empty, too long or not a text")]
    Attribute(String),
    /// More attributes than are read.
    #[error("the event has more than {ATTRIBUTES_LIMIT} attributes")]
    TooMany,
    /// `data_base64`, or a `datacontenttype` that is not JSON.
    #[error("the event's data is not JSON")]
    Data,
}

impl CloudEvent {
    /// Reads an event from a message's headers, by lower-case name, and body.
    pub fn parse<'a>(
        headers: impl IntoIterator<Item = (&'a str, &'a str)>,
        body: &[u8],
    ) -> Result<Self, MalformedEvent> {
        let mut content_type = None;
        let mut attributes = Map::new();
        for (name, value) in headers {
            let name = name.to_ascii_lowercase();
            if name == "content-type" {
                content_type = Some(value.to_ascii_lowercase());
            } else if let Some(attribute) = name.strip_prefix("ce-") {
                attributes.insert(attribute.to_owned(), percent_decoded(value).into());
            }
        }
        let media_type = content_type.as_deref().unwrap_or_default();
        if media_type.split(';').next().map(str::trim) == Some(STRUCTURED) {
            return Self::structured(body);
        }
        if !attributes.contains_key("specversion") {
            return Err(MalformedEvent::NotAnEvent);
        }
        if content_type.is_some() {
            attributes.insert("datacontenttype".into(), media_type.into());
        }
        let data = match body {
            [] => None,
            _ => Some(json_text(body)?),
        };
        Self::from_attributes(attributes, data)
    }

    /// Reads an event in structured JSON.
    pub fn structured(body: &[u8]) -> Result<Self, MalformedEvent> {
        let mut members: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(body)
            .map_err(|error| MalformedEvent::Json(error.to_string()))?;
        if members.contains_key("data_base64") {
            return Err(MalformedEvent::Data);
        }
        // As it came: what is hashed and parsed later is what was sent.
        let data = members.remove("data").map(|raw| raw.get().to_owned());
        let attributes = members
            .into_iter()
            .map(|(name, raw)| match serde_json::from_str(raw.get()) {
                Ok(value) => (name, value),
                Err(_) => (name, Value::Null),
            })
            .collect();
        Self::from_attributes(attributes, data)
    }

    fn from_attributes(
        mut attributes: Map<String, Value>,
        data: Option<String>,
    ) -> Result<Self, MalformedEvent> {
        if attributes.len() > ATTRIBUTES_LIMIT {
            return Err(MalformedEvent::TooMany);
        }
        let mut optional = |name: &str| match attributes.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => text(&value)
                .map(Some)
                .ok_or_else(|| MalformedEvent::Attribute(name.to_owned())),
        };
        let mut required =
            |name: &str| optional(name)?.ok_or_else(|| MalformedEvent::Attribute(name.to_owned()));
        let version = required("specversion")?;
        if version != "1.0" {
            return Err(MalformedEvent::Version(version));
        }
        let (id, source, kind) = (required("id")?, required("source")?, required("type")?);
        let (subject, time) = (optional("subject")?, optional("time")?);
        if let Some(media_type) = optional("datacontenttype")?
            && !is_json(&media_type)
        {
            return Err(MalformedEvent::Data);
        }
        attributes.remove("dataschema");
        let mut extensions = BTreeMap::new();
        for (name, value) in attributes {
            let value = text(&value).ok_or_else(|| MalformedEvent::Attribute(name.clone()))?;
            extensions.insert(name, value);
        }
        Ok(Self {
            id,
            source,
            kind,
            subject,
            time,
            extensions,
            data,
        })
    }

    /// The event in structured JSON.
    pub fn to_json(&self) -> Vec<u8> {
        let mut members = Map::new();
        let mut set = |name: &str, value: Option<&String>| {
            if let Some(value) = value {
                members.insert(name.to_owned(), value.as_str().into());
            }
        };
        set("specversion", Some(&"1.0".to_owned()));
        set("id", Some(&self.id));
        set("source", Some(&self.source));
        set("type", Some(&self.kind));
        set("subject", self.subject.as_ref());
        set("time", self.time.as_ref());
        for (name, value) in &self.extensions {
            set(name, Some(value));
        }
        if let Some(data) = &self.data {
            set("datacontenttype", Some(&"application/json".to_owned()));
            let data = serde_json::from_str(data).unwrap_or(Value::Null);
            members.insert("data".to_owned(), data);
        }
        serde_json::to_vec(&members).expect("a map of texts is JSON")
    }
}

fn text(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Bool(value) => value.to_string(),
        Value::Number(value) => value.to_string(),
        _ => return None,
    };
    (!text.is_empty() && text.len() <= ATTRIBUTE_LIMIT_BYTES).then_some(text)
}

fn json_text(body: &[u8]) -> Result<String, MalformedEvent> {
    let raw: &RawValue = serde_json::from_slice(body).map_err(|_| MalformedEvent::Data)?;
    Ok(raw.get().to_owned())
}

fn is_json(media_type: &str) -> bool {
    let kind = media_type.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/json") || kind.to_ascii_lowercase().ends_with("+json")
}

/// HTTP Protocol Binding 3.1.3.2: header values are percent-encoded UTF-8.
fn percent_decoded(value: &str) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = after
            .get(..2)
            .and_then(|pair| std::str::from_utf8(pair).ok());
        let decoded = hex.and_then(|pair| u8::from_str_radix(pair, 16).ok());
        if let (b'%', Some(byte)) = (first, decoded) {
            bytes.push(byte);
            rest = &after[2..];
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| value.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    const EVENT: &str = r#"{"specversion":"1.0","id":"1","source":"/registry","type":"io.kiln.build.requested",
        "kilnreplyto":"a.b","data":{"conda":"x"}}"#;

    #[test]
    fn both_modes_say_the_same() {
        let structured = CloudEvent::parse(
            [(
                "content-type",
                "application/cloudevents+json; charset=utf-8",
            )],
            EVENT.as_bytes(),
        );
        let binary = CloudEvent::parse(
            [
                ("Content-Type", "application/json"),
                ("ce-specversion", "1.0"),
                ("ce-id", "1"),
                ("Ce-Source", "/registry"),
                ("ce-type", "io.kiln.build.requested"),
                ("ce-kilnreplyto", "a%2Eb"),
            ],
            br#"{"conda":"x"}"#,
        );
        assert_eq!(structured, binary);
        let event = structured.unwrap();
        assert_eq!(event.extensions[REPLY_TO], "a.b");
        assert_eq!(CloudEvent::structured(&event.to_json()), Ok(event));
    }

    #[rstest]
    #[case(r#"{"id":"1"}"#, MalformedEvent::Attribute("specversion".into()))]
    #[case(r#"{"specversion":"0.3","id":"1"}"#, MalformedEvent::Version("0.3".into()))]
    #[case(
        r#"{"specversion":"1.0","id":"","source":"s","type":"t"}"#,
        MalformedEvent::Attribute("id".into())
    )]
    #[case(
        r#"{"specversion":"1.0","id":"1","source":"s","type":"t","data_base64":"AA=="}"#,
        MalformedEvent::Data
    )]
    #[case(
        r#"{"specversion":"1.0","id":"1","source":"s","type":"t","x":{}}"#,
        MalformedEvent::Attribute("x".into())
    )]
    fn what_is_wrong_is_named(#[case] body: &str, #[case] fault: MalformedEvent) {
        assert_eq!(CloudEvent::structured(body.as_bytes()), Err(fault));
    }

    #[test]
    fn without_a_sign_of_an_event_the_answer_says_what_to_send() {
        let fault = CloudEvent::parse([("content-type", "application/json")], b"{}").unwrap_err();
        assert_eq!(fault, MalformedEvent::NotAnEvent);
        assert!(fault.to_string().contains("ce-specversion"));
    }

    proptest! {
        #[test]
        fn nothing_panics(body in proptest::collection::vec(any::<u8>(), 0..200), value in ".{0,40}") {
            let _ = CloudEvent::parse([("ce-specversion", "1.0"), ("ce-id", value.as_str())], &body);
            let _ = CloudEvent::structured(&body);
        }

        #[test]
        fn what_is_written_is_read(id in ".{1,40}", source in ".{1,40}", subject in proptest::option::of(".{1,40}")) {
            let event = CloudEvent {
                id, source, kind: "t".into(), subject, time: None, extensions: BTreeMap::new(),
                data: Some("{\"a\":[1,2]}".into()),
            };
            prop_assert_eq!(CloudEvent::structured(&event.to_json()), Ok(event));
        }
    }
}
