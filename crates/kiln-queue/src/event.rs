//! Messages of the queue as requests: CloudEvents 1.0 in both modes of its NATS binding.

use async_nats::HeaderMap;
use bytes::Bytes;
use kiln_engine::{Callback, Message, Origin, Refused};
use kiln_events::{BUILD_REQUESTED, CloudEvent, MalformedEvent, REPLY_TO, STRUCTURED};

use crate::settings::QueueSettings;
use crate::subject;

/// Reads a request for a build. A message without a content type and without an event's headers is taken for
/// structured JSON, since many publishers set no headers.
pub(crate) fn read(
    settings: &QueueSettings,
    headers: Option<&HeaderMap>,
    body: &Bytes,
) -> Result<Message, Refused> {
    if body.len() > settings.max_message_bytes {
        return Err(Refused::invalid(
            format!(
                "the message has {} bytes, {} is the limit",
                body.len(),
                settings.max_message_bytes
            ),
            "send less, or raise the limit in kiln's settings of the queue",
        ));
    }
    let event = parse(headers, body).map_err(|fault| {
        Refused::invalid(
            fault.to_string(),
            format!("send a CloudEvent 1.0 of the type `{BUILD_REQUESTED}` with Content-Type {STRUCTURED}"),
        )
    })?;
    if event.kind != BUILD_REQUESTED {
        return Err(Refused::invalid(
            format!("the event's type is `{}`", event.kind.escape_debug()),
            format!(
                "send events of the type `{BUILD_REQUESTED}` to this subject, others elsewhere"
            ),
        ));
    }
    let Some(data) = event.data else {
        return Err(Refused::invalid(
            "the event has no data",
            "put the body of `POST /v1/builds` into `data`",
        ));
    };
    let reply_to = event.extensions.get(REPLY_TO);
    if let Some(subject) = reply_to
        && let Some(reason) = subject::reply_fault(settings.reply_prefix.as_deref(), subject)
    {
        return Err(Refused::invalid(
            format!(
                "events may not be sent to `{}`: {reason}",
                subject.escape_debug()
            ),
            format!("name an allowed subject in `{REPLY_TO}`, or leave it out"),
        ));
    }
    Ok(Message {
        id: event.id,
        source: event.source,
        origin: Origin {
            actor: "queue".to_owned(),
            via: "queue".to_owned(),
        },
        body: data.into(),
        reply_to: reply_to.cloned().map(Callback::Subject),
    })
}

fn parse(headers: Option<&HeaderMap>, body: &[u8]) -> Result<CloudEvent, MalformedEvent> {
    let named: Vec<(String, &str)> = headers
        .into_iter()
        .flat_map(HeaderMap::iter)
        .flat_map(|(name, values)| {
            values
                .iter()
                .map(|value| (name.to_string(), value.as_str()))
        })
        .collect();
    let tells = |name: &str| {
        let name = name.to_ascii_lowercase();
        name == "content-type" || name.starts_with("ce-")
    };
    if named.iter().any(|(name, _)| tells(name)) {
        let named = named.iter().map(|(name, value)| (name.as_str(), *value));
        return CloudEvent::parse(named, body);
    }
    CloudEvent::structured(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: &str = r#"{"specversion":"1.0","id":"1","source":"/runs","type":"io.kiln.build.requested",
        "kilnreplyto":"kiln.results.a","data":{"conda":"x"}}"#;

    fn read_with(headers: &[(&str, &str)], body: &str) -> Result<Message, Refused> {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect();
        let body = Bytes::from(body.to_owned());
        read(&QueueSettings::default(), Some(&headers), &body)
    }

    #[test]
    fn both_modes_and_bare_json_are_one_request() {
        let structured = read_with(&[("Content-Type", STRUCTURED)], EVENT).unwrap();
        let bare = read_with(&[("Nats-Msg-Id", "7")], EVENT).unwrap();
        let binary = read_with(
            &[
                ("ce-specversion", "1.0"),
                ("ce-id", "1"),
                ("ce-source", "/runs"),
                ("ce-type", BUILD_REQUESTED),
                ("ce-kilnreplyto", "kiln.results.a"),
                ("content-type", "application/json"),
            ],
            r#"{"conda":"x"}"#,
        );
        assert_eq!(structured, bare);
        assert_eq!(Ok(structured.clone()), binary);
        assert_eq!(structured.body, Bytes::from_static(br#"{"conda":"x"}"#));
        let subject = Callback::Subject("kiln.results.a".to_owned());
        assert_eq!(structured.reply_to, Some(subject));
    }

    #[test]
    fn what_is_no_request_is_refused_for_good_with_the_reason() {
        let replaced = |old: &str, new: &str| EVENT.replace(old, new);
        let long = replaced("\"x\"", &format!("\"{}\"", "x".repeat(1024 * 1024)));
        let table = [
            ("not json".to_owned(), "not a JSON object"),
            (replaced("build.requested", "build.ready"), "type is"),
            (replaced("kiln.results.a", "other.a"), "must start with"),
            (replaced("kiln.results.a", "kiln.results.>"), "filters"),
            (replaced(r#","data":{"conda":"x"}"#, ""), "no data"),
            (replaced(r#""id":"1","#, ""), "`id`"),
            (long, "is the limit"),
        ];
        for (body, reason) in table {
            let refused = read_with(&[], &body).unwrap_err();
            assert!(refused.message.contains(reason), "{}", refused.message);
            assert!(!refused.is_retryable());
            assert!(!refused.remedy.is_empty());
        }
    }
}
