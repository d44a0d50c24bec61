//! Experiments and runs.

use std::collections::BTreeMap;

use kiln_oci::Digest;

use super::Bed;
use crate::{
    BegunRun, ExperimentName, NewRun, Records, RunChange, RunEnvironment, RunError, RunFile,
    RunFilter, RunId, RunMetric, RunRow, RunStatus, Scope,
};

fn name(text: &str) -> ExperimentName {
    text.parse().unwrap()
}

fn id(text: &str) -> RunId {
    text.parse().unwrap()
}

fn scope(text: &str) -> Scope {
    text.parse().unwrap()
}

fn new(text: &str, experiment: &str) -> NewRun {
    NewRun {
        id: id(text),
        experiment: name(experiment),
        parent: None,
        title: None,
        status: RunStatus::NotStarted,
        environment: None,
        target: "local".into(),
        script: Some("train.py".into()),
        arguments: vec!["--alpha".into(), "0.5".into()],
        definition: Some("{}".into()),
        snapshot: None,
        properties: BTreeMap::from([("a".into(), "1".into())]),
        tags: BTreeMap::from([("t".into(), "1".into())]),
        actor: "ada".into(),
        via: "sdk".into(),
    }
}

async fn begun(records: &dyn Records, scope: &Scope, new: &NewRun) -> RunRow {
    match records.begin_run(scope, new).await.unwrap() {
        BegunRun::New(row) => row,
        other @ BegunRun::There(_) => panic!("no run was begun: {other:?}"),
    }
}

async fn changed(records: &dyn Records, scope: &Scope, text: &str, change: RunChange) -> RunRow {
    let row = records.change_run(scope, &id(text), &change).await;
    row.unwrap().expect("the run is there")
}

fn to(status: RunStatus) -> RunChange {
    RunChange {
        status: Some(status),
        ..RunChange::default()
    }
}

pub(crate) async fn a_run_is_begun_once_and_numbered_in_its_experiment(bed: &Bed) {
    let (records, one, two) = (bed.records(), scope("one"), scope("two"));
    let first = begun(records, &one, &new("r1", "exp")).await;
    assert_eq!((first.number, &first.run), (1, &new("r1", "exp")));
    let again = records.begin_run(&one, &new("r1", "other")).await.unwrap();
    assert_eq!(again, BegunRun::There(first.clone()));
    assert_eq!(begun(records, &one, &new("r2", "exp")).await.number, 2);
    assert_eq!(begun(records, &one, &new("r3", "else")).await.number, 1);
    // Another workspace has its own experiments and ids.
    let elsewhere = begun(records, &two, &new("r1", "exp")).await;
    assert_eq!(elsewhere.number, 1);
    assert_ne!(elsewhere.experiment_id, first.experiment_id);
    assert_eq!(records.run(&two, &id("r2")).await.unwrap(), None);
    assert_eq!(records.run(&one, &id("r1")).await.unwrap(), Some(first));
}

pub(crate) async fn experiments_are_made_once_and_found_by_name_and_id(bed: &Bed) {
    let (records, one, two) = (bed.records(), scope("one"), scope("two"));
    let made = records.put_experiment(&one, &name("b"), "ada").await;
    let made = made.unwrap();
    let again = records.put_experiment(&one, &name("b"), "bob").await;
    assert_eq!(again.unwrap(), made);
    records
        .put_experiment(&one, &name("a"), "ada")
        .await
        .unwrap();
    let found = records.experiment(&one, &name("b")).await.unwrap();
    assert_eq!(found.as_ref(), Some(&made));
    let found = records.experiment_by_id(&one, &made.id).await.unwrap();
    assert_eq!(found.as_ref(), Some(&made));
    assert_eq!(records.experiment(&two, &name("b")).await.unwrap(), None);
    let elsewhere = records.experiment_by_id(&two, &made.id).await;
    assert_eq!(elsewhere.unwrap(), None);
    let listed = records.experiments(&one, 10, Some(&name("a"))).await;
    assert_eq!(listed.unwrap(), [made]);
}

pub(crate) async fn a_run_that_is_over_keeps_its_end(bed: &Bed) {
    let (records, one) = (bed.records(), scope("one"));
    begun(records, &one, &new("r1", "exp")).await;
    let preparing = changed(records, &one, "r1", to(RunStatus::Preparing)).await;
    assert_eq!(preparing.started_ms, None);
    let running = changed(records, &one, "r1", to(RunStatus::Running)).await;
    assert!(running.started_ms.is_some() && running.ended_ms.is_none());
    bed.clock.pass(std::time::Duration::from_secs(5));
    let error = RunError {
        code: "UserError".into(),
        message: "the script ended with 3".into(),
    };
    let end = RunChange {
        exit_code: Some(3),
        error: Some(error.clone()),
        image: Some("h/x@sha256:1".into()),
        ..to(RunStatus::Failed)
    };
    let failed = changed(records, &one, "r1", end).await;
    assert_eq!(
        (failed.exit_code, failed.error.as_ref()),
        (Some(3), Some(&error))
    );
    assert_eq!(failed.started_ms, running.started_ms);
    assert!(failed.ended_ms > failed.started_ms);
    bed.clock.pass(std::time::Duration::from_secs(5));
    let late = RunChange {
        exit_code: Some(0),
        snapshot: Some("s".into()),
        ..to(RunStatus::Completed)
    };
    let late = changed(records, &one, "r1", late).await;
    let kept = RunRow {
        run: NewRun {
            snapshot: Some("s".into()),
            ..failed.run.clone()
        },
        changed_ms: late.changed_ms,
        ..failed
    };
    assert_eq!(late, kept);
    let (nobody, nothing) = (id("r2"), RunChange::default());
    let nothing = records.change_run(&one, &nobody, &nothing).await;
    assert_eq!(nothing.unwrap(), None);
}

pub(crate) async fn properties_stay_and_tags_change(bed: &Bed) {
    let (records, one) = (bed.records(), scope("one"));
    begun(records, &one, &new("r1", "exp")).await;
    let change = RunChange {
        properties: BTreeMap::from([("a".into(), "2".into()), ("b".into(), "2".into())]),
        tags: BTreeMap::from([("t".into(), None), ("u".into(), Some("2".into()))]),
        ..RunChange::default()
    };
    let row = changed(records, &one, "r1", change).await;
    let (a, b) = (("a".into(), "1".into()), ("b".into(), "2".into()));
    assert_eq!(row.run.properties, BTreeMap::from([a, b]));
    assert_eq!(row.run.tags, BTreeMap::from([("u".into(), "2".into())]));
    assert_eq!(records.run(&one, &id("r1")).await.unwrap(), Some(row));
}

pub(crate) async fn a_run_has_one_version_of_an_environment(bed: &Bed) {
    let (records, one) = (bed.records(), scope("one"));
    let environment = |version: &str| RunEnvironment {
        name: "myenv".parse().unwrap(),
        version: version.parse().unwrap(),
    };
    let with = NewRun {
        environment: Some(environment("1")),
        ..new("r1", "exp")
    };
    let row = begun(records, &one, &with).await;
    assert_eq!(row.run.environment, with.environment);
    begun(records, &one, &new("r2", "exp")).await;
    let filter = RunFilter {
        environment: Some(environment("1").name),
        limit: 10,
        ..RunFilter::default()
    };
    assert_eq!(records.runs(&one, &filter).await.unwrap(), [row]);
    let other = RunChange {
        environment: Some(environment("2")),
        ..RunChange::default()
    };
    let row = changed(records, &one, "r1", other.clone()).await;
    assert_eq!(row.run.environment, with.environment);
    let row = changed(records, &one, "r2", other.clone()).await;
    assert_eq!(row.run.environment, other.environment);
}

pub(crate) async fn runs_are_listed_newest_first_in_pages_and_found_when_silent(bed: &Bed) {
    let (records, one) = (bed.records(), scope("one"));
    for text in ["r1", "r2", "r3"] {
        begun(records, &one, &new(text, "exp")).await;
        bed.clock.pass(std::time::Duration::from_secs(1));
    }
    let child = NewRun {
        parent: Some(id("r3")),
        ..new("r4", "exp")
    };
    begun(records, &one, &child).await;
    let ids = |rows: Vec<RunRow>| -> Vec<String> {
        rows.iter().map(|row| row.run.id.to_string()).collect()
    };
    let mut filter = RunFilter {
        experiment: Some(name("exp")),
        limit: 2,
        ..RunFilter::default()
    };
    assert_eq!(
        ids(records.runs(&one, &filter).await.unwrap()),
        ["r4", "r3"]
    );
    filter.before = Some(id("r3"));
    assert_eq!(
        ids(records.runs(&one, &filter).await.unwrap()),
        ["r2", "r1"]
    );
    filter.before = None;
    filter.roots = true;
    assert_eq!(
        ids(records.runs(&one, &filter).await.unwrap()),
        ["r3", "r2"]
    );
    filter.experiment = Some(name("other"));
    assert_eq!(records.runs(&one, &filter).await.unwrap(), []);

    changed(records, &one, "r1", to(RunStatus::Completed)).await;
    let heard = changed(records, &one, "r2", to(RunStatus::Running)).await;
    let silent = records.silent_runs(heard.changed_ms, 10).await.unwrap();
    assert_eq!(silent, [(one.clone(), id("r3"))]);
}

pub(crate) async fn files_of_a_run_are_held_and_replaced(bed: &Bed) {
    let (records, one) = (bed.records(), scope("one"));
    begun(records, &one, &new("r1", "exp")).await;
    let file = |path: &str, text: &str| RunFile {
        path: path.parse().unwrap(),
        digest: Digest::of(text.as_bytes()),
        size_bytes: text.len() as u64,
    };
    let first = [file("outputs/a", "1"), file("logs/b", "2")];
    assert!(
        records
            .put_run_files(&one, &id("r1"), &first)
            .await
            .unwrap()
    );
    let second = [file("outputs/a", "3")];
    assert!(
        records
            .put_run_files(&one, &id("r1"), &second)
            .await
            .unwrap()
    );
    assert!(
        !records
            .put_run_files(&one, &id("r2"), &second)
            .await
            .unwrap()
    );
    let files = records.run_files(&one, &id("r1"), "").await.unwrap();
    assert_eq!(files, [file("logs/b", "2"), file("outputs/a", "3")]);
    let files = records.run_files(&one, &id("r1"), "outputs/").await;
    assert_eq!(files.unwrap(), second);
    // What no row names any more may go; what one names may not.
    let blobs = ["1", "2", "3"].map(|text| Digest::of(text.as_bytes()));
    let gone = records.drop_blobs(&blobs, i64::MAX, &|_| Ok(true)).await;
    assert_eq!(gone.unwrap(), [blobs[0]]);
}

pub(crate) async fn metrics_come_back_in_order_and_once(bed: &Bed) {
    let (records, one) = (bed.records(), scope("one"));
    begun(records, &one, &new("r1", "exp")).await;
    let metric = |id: &str, name: &str, data: &str| RunMetric {
        id: id.into(),
        name: name.into(),
        columns: "{}".into(),
        properties: "{}".into(),
        data: data.into(),
        at: "2026-01-01T00:00:00Z".into(),
    };
    let (a, b, c) = (
        metric("2", "l", "1"),
        metric("1", "l", "2"),
        metric("3", "m", "3"),
    );
    let run = id("r1");
    let sent = [a.clone(), b.clone()];
    assert!(records.add_run_metrics(&one, &run, &sent).await.unwrap());
    let more = [metric("1", "l", "9"), c.clone()];
    assert!(records.add_run_metrics(&one, &run, &more).await.unwrap());
    let all = records.run_metrics(&one, &run, None).await.unwrap();
    assert_eq!(all, [a.clone(), b.clone(), c]);
    let one_name = records.run_metrics(&one, &run, Some("l")).await;
    assert_eq!(one_name.unwrap(), [a, b]);
    assert!(
        !records
            .add_run_metrics(&one, &id("r2"), &sent)
            .await
            .unwrap()
    );
}
