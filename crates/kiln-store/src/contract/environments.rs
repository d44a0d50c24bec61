//! Named environments.

use std::collections::BTreeMap;

use kiln_spec::{
    EnvironmentName, EnvironmentVersion, Input, Kind, Label, Overrides, StoredDocument, Which,
};

use super::{Bed, new_image, started};
use crate::{Action, Done, EnvironmentRow, NameFilter, NewEnvironment, Records, Registered, Scope};

fn done(action: Action) -> Done {
    Done {
        action,
        detail: Some("why".into()),
        actor: "ada".into(),
        via: "http".into(),
    }
}

fn name(text: &str) -> EnvironmentName {
    text.parse().unwrap()
}

fn version(text: &str) -> EnvironmentVersion {
    text.parse().unwrap()
}

fn label(text: &str) -> Label {
    text.parse().unwrap()
}

fn all() -> NameFilter {
    NameFilter {
        limit: 100,
        ..NameFilter::default()
    }
}

/// An environment with this conda package.
fn new(named: &str, package: &str) -> NewEnvironment {
    let text = format!("name: {named}\ndependencies: [python=3.11, {package}]\n");
    let (files, overrides) = (BTreeMap::new(), Overrides::default());
    let input = Input {
        file_name: "environment.yml",
        bytes: text.as_bytes(),
        kind: Some(Kind::Conda),
        files: &files,
        overrides: &overrides,
    };
    let parsed = kiln_spec::parse(&input).unwrap();
    let document = StoredDocument::of(&input, &parsed).unwrap();
    NewEnvironment {
        name: name(named),
        version: None,
        digest: document.digest(),
        document,
        canonical: parsed.definition.canonical_json(),
        spec_hash: parsed.definition.spec_hash(),
        done: done(Action::Registered),
    }
}

fn explicit(named: &str, package: &str, text: &str) -> NewEnvironment {
    NewEnvironment {
        version: Some(version(text)),
        ..new(named, package)
    }
}

async fn register(records: &dyn Records, scope: &Scope, new: &NewEnvironment) -> EnvironmentRow {
    let registered = records.register_environment(scope, new).await.unwrap();
    registered.row().expect("no conflict")
}

async fn get(
    records: &dyn Records,
    scope: &Scope,
    named: &str,
    which: Which,
) -> Option<EnvironmentRow> {
    records
        .environment(scope, &name(named), &which)
        .await
        .unwrap()
}

async fn names(records: &dyn Records, scope: &Scope, filter: &NameFilter) -> Vec<String> {
    let rows = records.environments(scope, filter).await.unwrap();
    rows.iter()
        .map(|row| format!("{}:{}", row.name, row.version))
        .collect()
}

async fn versions(records: &dyn Records, scope: &Scope, named: &str) -> Vec<String> {
    let named = name(named);
    let rows = records.environment_versions(scope, &named, 100, None);
    let rows = rows.await.unwrap();
    rows.iter().map(|row| row.version.to_string()).collect()
}

pub(crate) async fn an_equal_document_makes_no_version_and_another_makes_the_next(bed: &Bed) {
    let records = bed.records();
    let scope = Scope::default_scope();
    let first = register(records, &scope, &new("e", "numpy")).await;
    assert_eq!((first.version.as_str(), first.is_latest), ("1", true));
    assert_eq!((first.actor.as_str(), first.via.as_str()), ("ada", "http"));
    let same = records
        .register_environment(&scope, &new("e", "numpy"))
        .await;
    assert!(matches!(same.unwrap(), Registered::Same(row) if row == first));
    let second = register(records, &scope, &new("e", "scipy")).await;
    assert_eq!(second.version.as_str(), "2");
    // Only the newest version counts: the first document again is a third version.
    let third = register(records, &scope, &new("e", "numpy")).await;
    assert_eq!(third.version.as_str(), "3");
    assert_eq!(third.document, new("e", "numpy").document);
    assert_eq!(versions(records, &scope, "e").await, ["3", "2", "1"]);
    let (e, newest) = (name("e"), version("3"));
    let page = records.environment_versions(&scope, &e, 1, Some(&newest));
    let page = page.await.unwrap();
    assert_eq!((page.len(), page[0].version.as_str()), (1, "2"));
    let first = get(records, &scope, "e", Which::Version(version("1"))).await;
    assert!(!first.unwrap().is_latest);
    let latest = get(records, &scope, "e", Which::Latest).await.unwrap();
    assert_eq!(latest, third);
    assert_eq!(get(records, &scope, "none", Which::Latest).await, None);
}

pub(crate) async fn an_explicit_version_is_made_once_and_never_with_another_document(bed: &Bed) {
    let records = bed.records();
    let scope = Scope::default_scope();
    let first = register(records, &scope, &explicit("e", "numpy", "2026.1")).await;
    let same = records
        .register_environment(&scope, &explicit("e", "numpy", "2026.1"))
        .await;
    assert!(matches!(same.unwrap(), Registered::Same(row) if row == first));
    let other = records
        .register_environment(&scope, &explicit("e", "scipy", "2026.1"))
        .await;
    assert!(matches!(other.unwrap(), Registered::Conflict));
    assert_eq!(versions(records, &scope, "e").await, ["2026.1"]);
    // Automatic versions go on after the highest number, whatever was made last.
    register(records, &scope, &explicit("e", "a", "41")).await;
    register(records, &scope, &explicit("e", "b", "7")).await;
    register(records, &scope, &explicit("e", "c", "99999999999999999999")).await;
    let next = register(records, &scope, &new("e", "scipy")).await;
    assert_eq!(next.version.as_str(), "42");
}

pub(crate) async fn the_same_document_at_once_is_one_version(bed: &Bed) {
    let scope = Scope::default_scope();
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..20 {
        let records = std::sync::Arc::clone(&bed.records);
        let scope = scope.clone();
        let package = if n % 2 == 0 { "numpy" } else { "numpy " };
        tasks.spawn(async move { register(records.as_ref(), &scope, &new("e", package)).await });
    }
    let made = tasks.join_all().await;
    assert!(made.iter().all(|row| row.version.as_str() == "1"));
    assert_eq!(versions(bed.records(), &scope, "e").await, ["1"]);
    let (records, e) = (bed.records(), name("e"));
    let history = records.environment_history(&scope, &e, 100, None);
    assert_eq!(history.await.unwrap().len(), 1);
}

pub(crate) async fn names_belong_to_their_workspace(bed: &Bed) {
    let records = bed.records();
    let (one, two): (Scope, Scope) = ("one".parse().unwrap(), "two".parse().unwrap());
    register(records, &one, &new("myenv", "numpy")).await;
    register(records, &two, &new("myenv", "scipy")).await;
    let of_one = get(records, &one, "myenv", Which::Latest).await.unwrap();
    let of_two = get(records, &two, "myenv", Which::Latest).await.unwrap();
    assert_eq!(
        (of_one.version.as_str(), of_two.version.as_str()),
        ("1", "1")
    );
    assert_ne!(of_one.spec_hash, of_two.spec_hash);
    assert_eq!(names(records, &one, &all()).await, ["myenv:1"]);
    let elsewhere = records.environments_of(&two, &of_one.spec_hash, 10).await;
    assert!(elsewhere.unwrap().is_empty());
    let history = records
        .environment_history(&two, &name("myenv"), 10, None)
        .await;
    assert_eq!(history.unwrap().len(), 1);
}

pub(crate) async fn names_are_listed_in_pages_with_their_newest_versions(bed: &Bed) {
    let records = bed.records();
    let scope = Scope::default_scope();
    for (named, package) in [
        ("b/x", "a"),
        ("a", "a"),
        ("a", "b"),
        ("b/y", "a"),
        ("c_", "a"),
    ] {
        register(records, &scope, &new(named, package)).await;
    }
    assert_eq!(
        names(records, &scope, &all()).await,
        ["a:2", "b/x:1", "b/y:1", "c_:1"]
    );
    let page = NameFilter {
        limit: 2,
        after: Some(name("a")),
        ..all()
    };
    assert_eq!(names(records, &scope, &page).await, ["b/x:1", "b/y:1"]);
    let prefix = |text: &str| NameFilter {
        prefix: Some(text.into()),
        ..all()
    };
    assert_eq!(
        names(records, &scope, &prefix("b/")).await,
        ["b/x:1", "b/y:1"]
    );
    assert!(names(records, &scope, &prefix("%")).await.is_empty());
    assert_eq!(names(records, &scope, &prefix("c_")).await, ["c_:1"]);
}

pub(crate) async fn a_label_is_on_one_version_at_a_time(bed: &Bed) {
    let records = bed.records();
    let scope = Scope::default_scope();
    let (e, one, two) = (name("e"), version("1"), version("2"));
    for package in ["a", "b"] {
        register(records, &scope, &new("e", package)).await;
    }
    let (stable, tested) = (label("stable"), label("tested"));
    let doing = done(Action::Labelled);
    let both = [stable.clone(), tested.clone()];
    let set = records.label_environment(&scope, &e, &one, &both, &doing);
    assert!(set.await.unwrap());
    let found = get(records, &scope, "e", Which::Label(stable.clone()))
        .await
        .unwrap();
    assert_eq!((found.version.as_str(), found.labels.len()), ("1", 2));
    let moved = records.label_environment(&scope, &e, &two, &both[..1], &doing);
    assert!(moved.await.unwrap());
    let found = get(records, &scope, "e", Which::Label(stable.clone()))
        .await
        .unwrap();
    assert_eq!((found.version, found.labels), (two, vec![stable.clone()]));
    let found = get(records, &scope, "e", Which::Version(one))
        .await
        .unwrap();
    assert_eq!(found.labels, [tested]);
    let third = version("3");
    let missing = records.label_environment(&scope, &e, &third, &both, &doing);
    assert!(!missing.await.unwrap());
    let taken = done(Action::Unlabelled);
    assert!(
        records
            .unlabel_environment(&scope, &e, &stable, &taken)
            .await
            .unwrap()
    );
    assert!(
        !records
            .unlabel_environment(&scope, &e, &stable, &taken)
            .await
            .unwrap()
    );
    assert_eq!(get(records, &scope, "e", Which::Label(stable)).await, None);
    let history = records
        .environment_history(&scope, &e, 2, None)
        .await
        .unwrap();
    assert_eq!(history[0].version, Some(version("2")));
    assert_eq!(history[0].done, taken);
    assert_eq!(history[1].done.action, Action::Labelled);
    let older = records.environment_history(&scope, &e, 10, Some(history[1].id));
    let older: Vec<_> = older
        .await
        .unwrap()
        .iter()
        .map(|row| row.done.action)
        .collect();
    assert_eq!(
        older,
        [Action::Labelled, Action::Registered, Action::Registered]
    );
}

pub(crate) async fn what_is_archived_is_not_latest_and_not_listed_until_it_is_restored(bed: &Bed) {
    let records = bed.records();
    let scope = Scope::default_scope();
    let (e, two) = (name("e"), version("2"));
    for package in ["a", "b"] {
        register(records, &scope, &new("e", package)).await;
    }
    let doing = done(Action::Archived);
    let archive = |version: Option<EnvironmentVersion>, archived: bool| {
        let (e, doing, scope) = (e.clone(), doing.clone(), scope.clone());
        async move {
            let done = records.archive_environment(&scope, &e, version.as_ref(), archived, &doing);
            done.await.unwrap()
        }
    };
    assert!(archive(Some(two.clone()), true).await);
    assert!(!archive(Some(two.clone()), true).await, "it is archived");
    assert!(!archive(Some(version("9")), true).await);
    let latest = get(records, &scope, "e", Which::Latest).await.unwrap();
    assert_eq!(latest.version.as_str(), "1");
    let second = get(records, &scope, "e", Which::Version(two.clone()))
        .await
        .unwrap();
    assert!(second.archived_ms.is_some() && !second.is_latest);
    // The newest version now is the first: its document makes no new one, the archived one's does.
    let same = register(records, &scope, &new("e", "a")).await;
    assert_eq!(same.version.as_str(), "1");
    assert!(archive(Some(version("1")), true).await);
    assert_eq!(get(records, &scope, "e", Which::Latest).await, None);
    assert!(names(records, &scope, &all()).await.is_empty());
    let archived = NameFilter {
        archived: true,
        ..all()
    };
    assert_eq!(names(records, &scope, &archived).await, ["e:2"]);
    assert!(archive(Some(two), false).await);
    assert_eq!(names(records, &scope, &all()).await, ["e:2"]);

    assert!(archive(None, true).await);
    assert!(names(records, &scope, &all()).await.is_empty());
    assert_eq!(names(records, &scope, &archived).await, ["e:2"]);
    let still = get(records, &scope, "e", Which::Latest).await.unwrap();
    assert!(
        still.archived_ms.is_some(),
        "it is still there for who names it"
    );
    assert!(archive(None, false).await);
    assert!(archive(None, true).await);
    let next = register(records, &scope, &new("e", "c")).await;
    assert_eq!(next.version.as_str(), "3");
    assert_eq!(names(records, &scope, &all()).await, ["e:3"]);
}

/// Builds the definition of a version; the content decides its image.
async fn build(bed: &Bed, scope: &Scope, new: &NewEnvironment, content: &str) -> u64 {
    let records = bed.records();
    let row = started(records, scope, &new.canonical).await;
    let kept = records.put_lock(
        scope,
        &new.spec_hash,
        &new.canonical,
        Some((&row.id, row.fence)),
        "lock",
        "{}",
    );
    assert!(kept.await.unwrap());
    let finished = records
        .finish_ready(&row.id, row.fence, &new_image(content))
        .await;
    match finished.unwrap() {
        crate::Finish::Done(image) => image.generation,
        crate::Finish::Stale => panic!("the build is active"),
    }
}

pub(crate) async fn a_version_keeps_the_generation_it_was_first_built_as(bed: &Bed) {
    let records = bed.records();
    let scope = Scope::default_scope();
    let one = new("one", "numpy");
    let two = new("two", "numpy");
    let first = register(records, &scope, &one).await;
    assert_eq!(first.generation, None);
    assert_eq!(build(bed, &scope, &one, "image 1").await, 1);
    assert_eq!(build(bed, &scope, &one, "image 2").await, 2);
    // A name that comes later has what is current then.
    register(records, &scope, &two).await;
    let sharing = records
        .environments_of(&scope, &one.spec_hash, 10)
        .await
        .unwrap();
    let generations: Vec<_> = sharing
        .iter()
        .map(|row| (row.name.as_str(), row.generation))
        .collect();
    assert_eq!(generations, [("one", Some(1)), ("two", Some(2))]);
    let on = records
        .environments_on(&scope, &new_image("image 2").digest, 10)
        .await;
    let on = on.unwrap();
    assert_eq!((on.len(), on[0].name.as_str()), (1, "two"));
    let image = records
        .image_of_generation(&scope, &one.spec_hash, 1)
        .await
        .unwrap();
    assert_eq!(image.unwrap().digest, new_image("image 1").digest);
    assert_eq!(
        records.lock(&scope, "lock").await.unwrap().as_deref(),
        Some("{}")
    );
    assert_eq!(
        records.lock(&"x".parse().unwrap(), "lock").await.unwrap(),
        None
    );
    // What a version was built as is kept by it until it is archived.
    let holder = "environment default one:1";
    assert_eq!(records.unpin_images(holder).await.unwrap(), 1);
    let (e, v, doing) = (name("one"), version("1"), done(Action::Archived));
    for archived in [true, false] {
        let changed = records.archive_environment(&scope, &e, Some(&v), archived, &doing);
        assert!(changed.await.unwrap());
    }
    assert!(
        records
            .archive_environment(&scope, &name("two"), Some(&v), true, &doing)
            .await
            .unwrap()
    );
    assert_eq!(records.unpin_images(holder).await.unwrap(), 1);
    assert_eq!(
        records
            .unpin_images("environment default two:1")
            .await
            .unwrap(),
        0
    );
}
