//! Hooks, events and their deliveries.

use std::time::Duration;

use kiln_spec::Secret;

use super::{Bed, hash, new_build, new_image, started};
use crate::{
    Callback, Delivery, DeliveryState, EventType, Finish, HookRow, NewBuild, NewEvent, NewHook,
    Replay, Scope, Started, Target, Terms,
};

const HOLD: Duration = Duration::from_secs(30);

async fn add(bed: &Bed, scope: &Scope, types: &[EventType]) -> HookRow {
    let new = NewHook {
        url: "https://receiver.example/kiln".into(),
        types: types.to_vec(),
        actor: "test".into(),
        secret: Secret::new("hook-canary-1"),
    };
    bed.records().add_hook(scope, &new).await.unwrap()
}

async fn due(bed: &Bed) -> Vec<Delivery> {
    bed.records().due_deliveries(100, HOLD).await.unwrap()
}

/// The types that are due at a target, oldest first.
fn types_at(deliveries: &[Delivery], target: &Target) -> Vec<EventType> {
    let of_target = deliveries.iter().filter(|due| due.target == *target);
    of_target.map(|due| due.event.kind).collect()
}

fn with_callbacks(text: &str, callbacks: &[Callback]) -> NewBuild {
    NewBuild {
        terms: Terms {
            callbacks: callbacks.to_vec(),
            ..Terms::default()
        },
        ..new_build(text)
    }
}

pub(crate) async fn each_change_of_a_build_is_told_once_to_all_who_want_it(bed: &Bed) {
    use EventType::{Queued, Ready, Started as Began};

    let records = bed.records();
    let scope = Scope::default_scope();
    let all = add(bed, &scope, &[]).await;
    let ends = add(bed, &scope, &[EventType::Ready, EventType::Failed]).await;
    add(bed, &"elsewhere".parse().unwrap(), &[]).await;
    let url = Callback::Url("https://caller.example/done".into());
    let subject = Callback::Subject("results.one".into());
    let new = with_callbacks("told", std::slice::from_ref(&url));
    let begun = records.begin_build(&scope, &hash("told"), &new).await;
    let Started::New(row) = begun.unwrap() else {
        panic!("a build is begun");
    };
    let moved = records.advance(&row.id, row.fence, "RESOLVING");
    assert!(moved.await.unwrap());
    let again = with_callbacks("told", &[url.clone(), subject.clone()]);
    let joined = records.begin_build(&scope, &hash("told"), &again).await;
    assert!(matches!(joined.unwrap(), Started::Joined(_)));
    let moved = records.advance(&row.id, row.fence, "BUILDING");
    assert!(moved.await.unwrap());
    let image = new_image("told");
    let done = records.finish_ready(&row.id, row.fence, &image).await;
    assert!(matches!(done.unwrap(), Finish::Done(_)));
    let late = records.finish_failed(&row.id, row.fence, "FAILED", "{}", None);
    assert!(!late.await.unwrap(), "and this tells nothing");

    let due = due(bed).await;
    let hook = |hook: &HookRow| Target::Hook(hook.id.clone());
    assert_eq!(types_at(&due, &hook(&all)), [Queued, Began, Ready]);
    assert_eq!(types_at(&due, &hook(&ends)), [Ready]);
    let three = types_at(&due, &Target::Callback(url));
    assert_eq!(three, [Queued, Began, Ready]);
    assert_eq!(types_at(&due, &Target::Callback(subject)), [Ready]);
    assert_eq!(due.len(), 8, "{due:?}");

    let events = records.events(&scope, 10, None).await.unwrap();
    assert_eq!(events.len(), 3);
    let page = records
        .events(&scope, 10, Some(&events[1].id))
        .await
        .unwrap();
    assert_eq!(page, events[2..]);
    let ready: serde_json::Value = serde_json::from_str(&events[2].payload).unwrap();
    assert_eq!(ready["build_id"], row.id);
    assert_eq!(ready["state"], "READY");
    assert_eq!(ready["generation"], 1);
    let expected = format!("{}@{}", image.repository, image.digest);
    assert_eq!(ready["image"], expected);
    assert_eq!(ready["error"], serde_json::Value::Null);
}

pub(crate) async fn failed_cancelled_and_quarantined_builds_are_told(bed: &Bed) {
    let records = bed.records();
    let scope = Scope::default_scope();
    let ends = [EventType::Failed, EventType::Cancelled];
    add(bed, &scope, &ends).await;
    for (text, state) in [("a", "FAILED"), ("b", "CANCELLED")] {
        let row = started(records, &scope, text).await;
        let ended =
            records.finish_failed(&row.id, row.fence, state, "{\"class\":\"network\"}", None);
        assert!(ended.await.unwrap());
    }
    started(records, &scope, "poison").await;
    for _ in 0..3 {
        let held = records.claim("one", HOLD).await.unwrap().unwrap().build;
        let moved = records.advance(&held.id, held.fence, "RESOLVING");
        assert!(moved.await.unwrap());
        bed.clock.pass(HOLD);
    }
    assert!(records.claim("one", HOLD).await.unwrap().is_none());
    let due = due(bed).await;
    let told: Vec<_> = due.iter().map(|due| due.event.kind).collect();
    assert_eq!(told, [ends[0], ends[1], ends[0]]);
    assert!(due[0].event.payload.contains("\"class\":\"network\""));
    assert!(due[2].event.payload.contains("quarantined"));
}

pub(crate) async fn a_delivery_is_tried_until_it_is_done_or_dead(bed: &Bed) {
    let records = bed.records();
    let scope = Scope::default_scope();
    add(bed, &scope, &[]).await;
    started(records, &scope, "tried").await;
    let first = due(bed).await.remove(0);
    assert_eq!(first.attempt, 1);
    assert!(due(bed).await.is_empty(), "it is held");
    assert_eq!(records.next_delivery().await.unwrap(), Some(HOLD));
    bed.clock.pass(HOLD);
    let second = due(bed).await.remove(0);
    assert_eq!((second.attempt, &second.event), (2, &first.event));
    let minute = Duration::from_mins(1);
    let stale = records.delivery_failed(&first, None, "late");
    assert!(!stale.await.unwrap(), "another attempt was taken since");
    let failed = records.delivery_failed(&second, Some(minute), "status 503");
    assert!(failed.await.unwrap());
    assert_eq!(records.next_delivery().await.unwrap(), Some(minute));
    assert!(due(bed).await.is_empty());
    bed.clock.pass(minute);
    let third = due(bed).await.remove(0);
    let rows = records.deliveries(&third.event.id).await.unwrap();
    assert_eq!(rows[0].last_error.as_deref(), Some("status 503"));
    assert_eq!(
        (rows[0].state, rows[0].attempt),
        (DeliveryState::Pending, 3)
    );
    let done = records.delivery_done(&third.event.id, &third.target);
    done.await.unwrap();
    bed.clock.pass(Duration::from_hours(100));
    assert!(due(bed).await.is_empty());
    assert_eq!(records.next_delivery().await.unwrap(), None);

    started(records, &scope, "dead").await;
    let given_up = due(bed).await.remove(0);
    let failed = records.delivery_failed(&given_up, None, "given up");
    assert!(failed.await.unwrap());
    let rows = records.deliveries(&given_up.event.id).await.unwrap();
    assert_eq!(rows[0].state, DeliveryState::Dead);
    assert_eq!(records.next_delivery().await.unwrap(), None);
}

pub(crate) async fn a_disabled_hook_gets_nothing_until_it_is_enabled_and_replayed(bed: &Bed) {
    let records = bed.records();
    let scope = Scope::default_scope();
    let hook = add(bed, &scope, &[]).await;
    started(records, &scope, "before").await;
    assert!(
        records
            .disable_hook(&hook.id, "answered 410")
            .await
            .unwrap()
    );
    started(records, &scope, "while").await;
    assert!(due(bed).await.is_empty());
    let row = records.hook(&hook.id).await.unwrap().unwrap();
    assert_eq!(row.disabled.as_deref(), Some("answered 410"));
    assert!(records.enable_hook(&hook.id).await.unwrap());
    assert!(due(bed).await.is_empty());
    let events = records.events(&scope, 10, None).await.unwrap();
    let one = Replay::Event(events[1].id.clone());
    let other: Scope = "other".parse().unwrap();
    assert_eq!(records.replay(&other, &one, None).await.unwrap(), 0);
    assert_eq!(records.replay(&scope, &one, None).await.unwrap(), 1);
    assert_eq!(due(bed).await[0].event, events[1]);
    let since = Replay::Since(events[0].created_ms);
    let replayed = records.replay(&scope, &since, Some(&hook.id)).await;
    assert_eq!(replayed.unwrap(), 2);
    let told: Vec<_> = due(bed).await.into_iter().map(|due| due.event).collect();
    assert_eq!(told, events);
    let later = Replay::Since(events[1].created_ms + 1);
    assert_eq!(records.replay(&scope, &later, None).await.unwrap(), 0);
    assert!(records.remove_hook(&hook.id).await.unwrap());
    assert!(!records.remove_hook(&hook.id).await.unwrap());
    assert!(!records.enable_hook(&hook.id).await.unwrap());
    assert!(!records.disable_hook(&hook.id, "gone").await.unwrap());
    assert_eq!(records.next_delivery().await.unwrap(), None);
}

pub(crate) async fn several_secrets_of_a_hook_live_at_once(bed: &Bed) {
    let records = bed.records();
    let hook = add(bed, &Scope::default_scope(), &[]).await;
    let second = Secret::new("hook-canary-2");
    let number = records.add_hook_secret(&hook.id, &second).await.unwrap();
    let secrets = async || {
        let secrets = records.hook_secrets(&hook.id).await.unwrap();
        let texts = secrets.iter().map(|secret| secret.expose().to_owned());
        texts.collect::<Vec<_>>()
    };
    assert_eq!(secrets().await, ["hook-canary-2", "hook-canary-1"]);
    let row = records.hook(&hook.id).await.unwrap().unwrap();
    assert_eq!(row.secrets, [number.unwrap(), hook.secrets[0]]);
    let old = hook.secrets[0];
    assert!(records.remove_hook_secret(&hook.id, old).await.unwrap());
    let last = records.remove_hook_secret(&hook.id, number.unwrap());
    assert!(
        !last.await.unwrap(),
        "a hook without a secret would sign nothing"
    );
    assert_eq!(secrets().await, ["hook-canary-2"]);
    let nobody = records.add_hook_secret("none", &second).await.unwrap();
    assert_eq!(nobody, None);
    assert!(!format!("{row:?}").contains("canary"));
}

pub(crate) async fn events_can_be_added_and_a_test_goes_to_its_hook_alone(bed: &Bed) {
    let records = bed.records();
    let scope = Scope::default_scope();
    let hooks = [add(bed, &scope, &[]).await, add(bed, &scope, &[]).await];
    let event = |kind| NewEvent {
        kind,
        build_id: Some("b".into()),
        payload: "{\"a\":1}".into(),
    };
    let test = event(EventType::Test);
    let only = Some(hooks[1].id.as_str());
    let added = records.add_event(&scope, &test, &[], only).await.unwrap();
    let told = due(bed).await;
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].event, added);
    assert_eq!(told[0].target, Target::Hook(hooks[1].id.clone()));
    records.add_event(&scope, &test, &[], None).await.unwrap();
    assert!(due(bed).await.is_empty());
    let to = [Callback::Subject("reply".into())];
    let ready = event(EventType::Ready);
    records.add_event(&scope, &ready, &to, None).await.unwrap();
    let told = due(bed).await;
    assert_eq!(told.len(), 3);
    assert_eq!(told[0].event.build_id.as_deref(), Some("b"));
}

pub(crate) async fn events_are_kept_for_replays_and_those_on_their_way_longer(bed: &Bed) {
    let records = bed.records();
    let scope = Scope::default_scope();
    let hook = add(bed, &scope, &[]).await;
    started(records, &scope, "done").await;
    let told = due(bed).await.remove(0);
    records
        .delivery_done(&told.event.id, &told.target)
        .await
        .unwrap();
    started(records, &scope, "on its way").await;
    bed.clock.pass(Duration::from_hours(29 * 24));
    assert_eq!(records.prune().await.unwrap(), 0);
    bed.clock.pass(Duration::from_hours(24));
    assert_eq!(
        records.prune().await.unwrap(),
        2,
        "a delivery and its event"
    );
    assert_eq!(records.events(&scope, 9, None).await.unwrap().len(), 1);
    records.disable_hook(&hook.id, "gone").await.unwrap();
    assert_eq!(records.prune().await.unwrap(), 2);
    assert!(records.events(&scope, 9, None).await.unwrap().is_empty());
}
