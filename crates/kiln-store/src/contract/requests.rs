//! Requests that come again.

use std::time::Duration;

use kiln_oci::Digest;

use super::{Bed, hash, new_build};
use crate::{
    Answer, Callback, EventType, NewBuild, NewEvent, Received, RequestKey, Scope, Started, Target,
    Terms,
};

fn with(text: &str, key: &RequestKey) -> NewBuild {
    NewBuild {
        terms: Terms {
            request: Some(key.clone()),
            ..Terms::default()
        },
        ..new_build(text)
    }
}

fn kept(key: &RequestKey, id: &str) -> Answer {
    Answer {
        request: Some(key.clone()),
        build_id: Some(id.to_owned()),
        callbacks: Vec::new(),
        known: None,
    }
}

pub(crate) async fn the_same_request_gets_the_same_build_and_another_body_is_refused(bed: &Bed) {
    let records = bed.records();
    let scope = Scope::default_scope();
    let key = |body: &str| RequestKey::idempotency(&scope, "k1", Digest::of(body.as_bytes()));
    let begin = async |text: &str, key: &RequestKey| {
        let new = with(text, key);
        records
            .begin_build(&scope, &hash(text), &new)
            .await
            .unwrap()
    };
    assert_eq!(records.receive(&key("a")).await.unwrap(), Received::New);
    let Started::New(row) = begin("a", &key("a")).await else {
        panic!("the first request begins a build");
    };
    let again = begin("a", &key("a")).await;
    assert!(matches!(again, Started::Repeated(id) if id == row.id));
    let other = begin("b", &key("b")).await;
    assert!(matches!(other, Started::Conflict));
    assert_eq!(records.waiting_builds().await.unwrap(), 1);
    // Over or not, the answer stays.
    let ended = records.finish_failed(&row.id, row.fence, "FAILED", "{}", None);
    assert!(ended.await.unwrap());
    assert!(matches!(begin("a", &key("a")).await, Started::Repeated(id) if id == row.id));
    let same = Received::Same(row.id.clone());
    assert_eq!(records.receive(&key("a")).await.unwrap(), same);
    assert_eq!(
        records.receive(&key("b")).await.unwrap(),
        Received::Conflict
    );

    // The same key of another workspace, or of a message, is another key.
    let elsewhere: Scope = "elsewhere".parse().unwrap();
    let elsewhere = RequestKey::idempotency(&elsewhere, "k1", Digest::of(b"c"));
    assert_eq!(records.receive(&elsewhere).await.unwrap(), Received::New);
    let message = RequestKey::message("default", "k1", Digest::of(b"d"));
    let Started::New(joined) = begin("d", &message).await else {
        panic!("a message begins a build");
    };
    let second = RequestKey::message("default", "k2", Digest::of(b"d"));
    assert!(matches!(begin("d", &second).await, Started::Joined(row) if row.id == joined.id));
    let same = Received::Same(joined.id);
    assert_eq!(records.receive(&second).await.unwrap(), same);
}

pub(crate) async fn an_answer_without_a_build_is_kept_once(bed: &Bed) {
    let records = bed.records();
    let key = |body: &str| RequestKey::message("registry", "m1", Digest::of(body.as_bytes()));
    let scope = Scope::default_scope();
    let keep = async |body: &str, answer: &str| {
        let answer = kept(&key(body), answer);
        records.answer(&scope, &answer).await
    };
    assert_eq!(keep("a", "first").await.unwrap(), Received::New);
    let first = Received::Same("first".to_owned());
    assert_eq!(keep("a", "second").await.unwrap(), first);
    assert_eq!(keep("b", "third").await.unwrap(), Received::Conflict);
    assert_eq!(records.receive(&key("a")).await.unwrap(), first);
}

pub(crate) async fn keys_are_kept_for_their_time_and_then_pruned(bed: &Bed) {
    let records = bed.records();
    let scope = Scope::default_scope();
    let header = RequestKey::idempotency(&scope, "k", Digest::of(b"x"));
    let message = RequestKey::message("source", "m", Digest::of(b"x"));
    for key in [&header, &message] {
        let answer = kept(key, "answer");
        records.answer(&scope, &answer).await.unwrap();
    }
    let minute = Duration::from_mins(1);
    bed.clock.pass(Duration::from_mins(24 * 60 - 1));
    assert_eq!(records.prune().await.unwrap(), 0);
    bed.clock.pass(minute);
    assert_eq!(records.receive(&header).await.unwrap(), Received::New);
    assert_ne!(records.receive(&message).await.unwrap(), Received::New);
    assert_eq!(records.prune().await.unwrap(), 1);
    bed.clock.pass(Duration::from_mins(6 * 24 * 60 - 1));
    assert_ne!(records.receive(&message).await.unwrap(), Received::New);
    bed.clock.pass(minute);
    let other = RequestKey::message("source", "m", Digest::of(b"y"));
    let kept = records.answer(&scope, &kept(&other, "new")).await.unwrap();
    assert_eq!(kept, Received::New, "its time is over");
    assert_eq!(records.prune().await.unwrap(), 0);
}

pub(crate) async fn who_joins_or_hits_hears_the_end_and_the_hooks_hear_it_once(bed: &Bed) {
    let records = bed.records();
    let scope: Scope = "hears".parse().unwrap();
    let subject = |name: &str| Callback::Subject(name.to_owned());
    let new = NewBuild {
        terms: Terms {
            callbacks: vec![subject("first")],
            ..Terms::default()
        },
        ..new_build("heard")
    };
    let begun = records.begin_build(&scope, &hash("heard"), &new).await;
    let Started::New(row) = begun.unwrap() else {
        panic!("it begins a build");
    };
    let asks = async |name: &str, known: Option<NewEvent>| {
        let answer = Answer {
            request: Some(RequestKey::message("s", name, Digest::of(b"x"))),
            build_id: Some(row.id.clone()),
            callbacks: vec![subject(name)],
            known,
        };
        assert_eq!(
            records.answer(&scope, &answer).await.unwrap(),
            Received::New
        );
        // Once more is the same message.
        let again = records.answer(&scope, &answer).await.unwrap();
        assert_eq!(again, Received::Same(row.id.clone()));
    };
    asks("joins", None).await;
    let ended = records.finish_failed(&row.id, row.fence, "FAILED", "{\"class\":\"x\"}", None);
    assert!(ended.await.unwrap());
    asks("late", None).await;
    let known = NewEvent {
        kind: EventType::Ready,
        build_id: Some(row.id.clone()),
        payload: "{}".into(),
    };
    asks("hit", Some(known)).await;
    let events = records.events(&scope, 99, None).await.unwrap();
    let mut heard = Vec::new();
    for event in &events {
        for delivery in records.deliveries(&event.id).await.unwrap() {
            let Target::Callback(Callback::Subject(name)) = &delivery.target else {
                panic!("nobody else listens: {delivery:?}");
            };
            heard.push((event.kind, name.clone()));
        }
    }
    let ends: Vec<_> = heard
        .iter()
        .filter(|(kind, _)| !matches!(kind, EventType::Queued | EventType::Started))
        .map(|(kind, name)| (*kind, name.as_str()))
        .collect();
    assert_eq!(
        ends,
        [
            (EventType::Failed, "first"),
            (EventType::Failed, "joins"),
            (EventType::Failed, "late"),
            (EventType::Ready, "hit"),
        ]
    );
}
