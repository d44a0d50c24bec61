//! The solver on channels that the tests write themselves.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kiln_lock::{BaseFacts, ChannelPriority};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::{
    ChannelSettings, CondaError, CondaErrorKind, CondaSolver, Credential, Credentials, Secret,
    Solution, SolveRequest, SolverSettings, UrlSecret,
};

/// A package's record, `name-version-build_number` with dependencies.
fn record(name: &str, version: &str, number: u64, depends: &[&str]) -> (String, Value) {
    let build = format!("h_{number}");
    (
        format!("{name}-{version}-{build}.conda"),
        json!({
            "name": name, "version": version, "build": build, "build_number": number, "depends": depends,
            "sha256": kiln_oci::Digest::of(format!("{name}{version}").as_bytes()).to_hex(),
            "md5": "d41d8cd98f00b204e9800998ecf8427e", "size": 1, "subdir": "linux-64",
        }),
    )
}

fn repodata(subdir: &str, records: &[(String, Value)]) -> String {
    let packages: serde_json::Map<String, Value> = records.iter().cloned().collect();
    json!({"info": {"subdir": subdir}, "packages": {}, "packages.conda": packages, "repodata_version": 1})
        .to_string()
}

fn write_channel(folder: &Path, subdir: &str, records: &[(String, Value)]) {
    for (name, records) in [(subdir, records), ("noarch", &[])] {
        std::fs::create_dir_all(folder.join(name)).expect("a folder");
        std::fs::write(
            folder.join(name).join("repodata.json"),
            repodata(name, records),
        )
        .expect("a package list");
    }
}

struct Bed {
    folder: tempfile::TempDir,
}

impl Bed {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a temporary folder"),
        }
    }

    fn channel(&self, name: &str, records: &[(String, Value)]) -> String {
        let folder = self.folder.path().join(name);
        write_channel(&folder, "linux-64", records);
        format!("file://{}", folder.display())
    }

    fn solver(&self, alias: Option<Url>) -> CondaSolver {
        CondaSolver::new(
            reqwest::Client::new(),
            SolverSettings {
                channels: ChannelSettings {
                    alias,
                    defaults: Vec::new(),
                },
                cache_dir: self.folder.path().join("cache"),
            },
        )
    }

    async fn solve(&self, channels: &[String], specs: &[&str]) -> Result<Solution, CondaError> {
        let request = request(channels, specs);
        self.solver(None)
            .solve(&request, &CancellationToken::new())
            .await
    }
}

fn request(channels: &[String], specs: &[&str]) -> SolveRequest {
    SolveRequest {
        channels: channels.to_vec(),
        specs: specs.iter().map(ToString::to_string).collect(),
        platform: "linux/amd64".into(),
        facts: BaseFacts {
            glibc: Some("2.36".into()),
            ..BaseFacts::default()
        },
        priority: ChannelPriority::Flexible,
        needs_python: false,
        credentials: Credentials::default(),
        scope: "default".into(),
        timeout: Duration::from_secs(30),
    }
}

fn names(solution: &Solution) -> Vec<String> {
    solution
        .packages
        .iter()
        .map(|package| format!("{} {}", package.name, package.version))
        .collect()
}

#[tokio::test]
async fn a_solution_is_sorted_and_every_field_of_the_lock_is_there() {
    let bed = Bed::new();
    let channel = bed.channel(
        "main",
        &[
            record("zlib", "1.3", 0, &[]),
            record("app", "2.0", 1, &["zlib >=1"]),
            record("app", "1.0", 0, &[]),
        ],
    );
    let solution = bed
        .solve(std::slice::from_ref(&channel), &["app"])
        .await
        .expect("it is solvable");
    assert_eq!(names(&solution), ["app 2.0", "zlib 1.3"]);
    let app = &solution.packages[0];
    assert_eq!(app.file_name, "app-2.0-h_1.conda");
    assert_eq!(app.url, format!("{channel}/linux-64/app-2.0-h_1.conda"));
    assert_eq!(app.channel, channel);
    assert_eq!(app.sha256, kiln_oci::Digest::of(b"app2.0"));
    assert_eq!(app.md5.as_deref(), Some("d41d8cd98f00b204e9800998ecf8427e"));
    assert_eq!(
        (app.build_number, app.size_bytes, app.subdir.as_str()),
        (1, Some(1), "linux-64")
    );
    assert_eq!(app.depends, ["zlib >=1"]);
}

#[tokio::test]
async fn flexible_reaches_a_lower_channel_only_where_it_must_and_strict_never() {
    let bed = Bed::new();
    let high = bed.channel(
        "high",
        &[record("lib", "1.0", 0, &[]), record("tool", "1.0", 0, &[])],
    );
    let low = bed.channel(
        "low",
        &[record("lib", "2.0", 0, &[]), record("tool", "9.0", 0, &[])],
    );
    let channels = [high, low];
    let solution = bed
        .solve(&channels, &["lib >=2", "tool"])
        .await
        .expect("flexible solves it");
    assert_eq!(names(&solution), ["lib 2.0", "tool 1.0"]);
    let strict = SolveRequest {
        priority: ChannelPriority::Strict,
        ..request(&channels, &["lib >=2", "tool"])
    };
    let error = bed
        .solver(None)
        .solve(&strict, &CancellationToken::new())
        .await;
    assert_eq!(
        error.expect_err("strict does not").kind(),
        CondaErrorKind::Unsatisfiable
    );
}

#[tokio::test]
async fn a_channel_in_a_spec_is_searched_and_kept_to() {
    let bed = Bed::new();
    write_channel(
        &bed.folder.path().join("one"),
        "linux-64",
        &[record("lib", "1.0", 0, &[])],
    );
    write_channel(
        &bed.folder.path().join("two"),
        "linux-64",
        &[record("lib", "2.0", 0, &[])],
    );
    let alias = Url::from_directory_path(bed.folder.path()).expect("an absolute path");
    let request = request(&["two".into()], &["one::lib"]);
    let solution = bed
        .solver(Some(alias))
        .solve(&request, &CancellationToken::new())
        .await;
    let solution = solution.expect("it is solvable");
    assert_eq!(names(&solution), ["lib 1.0"]);
    assert_eq!(solution.packages[0].channel, "one");
}

#[tokio::test]
async fn defaults_in_a_spec_is_any_channel_it_stands_for() {
    let bed = Bed::new();
    for (name, version) in [("main", "1.0"), ("r", "1.1"), ("other", "2.0")] {
        let folder = bed.folder.path().join(name);
        write_channel(&folder, "linux-64", &[record("lib", version, 0, &[])]);
    }
    let alias = Url::from_directory_path(bed.folder.path()).expect("an absolute path");
    let asked = request(&["other".into()], &["defaults::lib >=1.1"]);
    let solver = bed.solver(Some(alias));
    let solution = solver.solve(&asked, &CancellationToken::new()).await;
    assert_eq!(names(&solution.expect("it is solvable")), ["lib 1.1"]);
    let asked = request(&["other".into()], &["defaults::lib >=2"]);
    let error = solver.solve(&asked, &CancellationToken::new()).await;
    let error = error.expect_err("only another channel has it");
    assert_eq!(error.kind(), CondaErrorKind::Unsatisfiable, "{error}");
}

#[tokio::test]
async fn a_clash_names_the_constraints_and_what_would_help() {
    let bed = Bed::new();
    let channel = bed.channel(
        "main",
        &[
            record("bar", "1.0", 0, &[]),
            record("bar", "2.0", 0, &[]),
            record("foo", "1.0", 0, &["bar <2"]),
        ],
    );
    let error = bed
        .solve(&[channel], &["foo", "bar 2.*"])
        .await
        .expect_err("they clash");
    insta::assert_snapshot!(error, @r"
    no set of conda packages meets the constraints:
    The following packages are incompatible
    ├─ bar 2.* can be installed with any of the following options:
    │  └─ bar 2.0
    └─ foo * cannot be installed because there are no viable options:
       └─ foo 1.0 would require
          └─ bar <2, which cannot be installed because there are no viable options:
             └─ bar 1.0, which conflicts with the versions reported above.
    ");
    assert_eq!(
        error.remedy(),
        "without `foo` the rest fits together; loosen `bar 2.*`: bar 1.0 would fit"
    );
}

#[tokio::test]
async fn a_package_that_is_not_there_brings_near_names_and_other_platforms() {
    let bed = Bed::new();
    let channel = bed.channel("main", &[record("numpy", "1.0", 0, &[])]);
    write_channel(
        &bed.folder.path().join("main"),
        "osx-arm64",
        &[record("metal", "1.0", 0, &[])],
    );
    let error = bed
        .solve(&[channel], &["numpi", "metal"])
        .await
        .expect_err("they are missing");
    assert_eq!(error.kind(), CondaErrorKind::NotFound);
    let CondaError::Missing { packages, .. } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(packages[0].name, "metal");
    assert_eq!(packages[1].nearest, ["numpy"]);
}

#[tokio::test]
async fn cuda_and_glibc_come_from_the_base_alone() {
    let bed = Bed::new();
    let channel = bed.channel(
        "main",
        &[
            record("gpu", "1.0", 200, &["__cuda >=12"]),
            record("gpu", "1.0", 0, &[]),
            record("only", "1.0", 0, &["__cuda >=12"]),
            record("new", "1.0", 0, &["__glibc >=2.99"]),
        ],
    );
    let channels = [channel];
    let solution = bed
        .solve(&channels, &["gpu"])
        .await
        .expect("the CPU build is there");
    assert_eq!(solution.packages[0].build_number, 0);
    let mut with_cuda = request(&channels, &["gpu", "only"]);
    with_cuda.facts.cuda = Some("12.4".into());
    let solution = bed
        .solver(None)
        .solve(&with_cuda, &CancellationToken::new())
        .await;
    assert_eq!(
        solution.expect("CUDA is there").packages[0].build_number,
        200
    );
    let error = bed.solve(&channels, &["only"]).await.expect_err("no CUDA");
    assert!(error.remedy().contains("GPU base"), "{}", error.remedy());
    let error = bed
        .solve(&channels, &["new"])
        .await
        .expect_err("an old glibc");
    assert!(error.remedy().contains("2.36"), "{}", error.remedy());
}

#[tokio::test]
async fn a_pip_section_brings_python_and_python_brings_pip() {
    let bed = Bed::new();
    let channel = bed.channel(
        "main",
        &[
            record("python", "3.12.4", 0, &[]),
            record("pip", "24.0", 0, &["python"]),
            record("lib", "1", 0, &[]),
        ],
    );
    let channels = [channel];
    let solution = bed
        .solve(&channels, &["lib"])
        .await
        .expect("it is solvable");
    assert_eq!(names(&solution), ["lib 1"]);
    let asked = SolveRequest {
        needs_python: true,
        ..request(&channels, &["lib"])
    };
    let solution = bed
        .solver(None)
        .solve(&asked, &CancellationToken::new())
        .await;
    let solution = solution.expect("it is solvable");
    assert_eq!(names(&solution), ["lib 1", "pip 24.0", "python 3.12.4"]);
    assert_eq!(solution.notes.len(), 1);
}

#[tokio::test]
async fn hostile_records_are_passed_over_and_never_chosen() {
    let bed = Bed::new();
    let (file, mut without_hash) = record("lib", "3.0", 0, &[]);
    without_hash
        .as_object_mut()
        .expect("an object")
        .remove("sha256");
    let (_, mut climbing) = record("lib", "9.0", 0, &[]);
    climbing["subdir"] = json!("../../etc");
    let channel = bed.channel(
        "main",
        &[
            (file, without_hash.clone()),
            ("lib-9.0-h_0.conda".to_owned(), climbing),
            record("lib", "1.0", 0, &[]),
            ("only-1.0-h_0.conda".to_owned(), {
                without_hash["name"] = json!("only");
                without_hash["version"] = json!("1.0");
                without_hash
            }),
        ],
    );
    let channels = [channel];
    let solution = bed
        .solve(&channels, &["lib"])
        .await
        .expect("one record is fine");
    assert_eq!(names(&solution), ["lib 1.0"]);
    let error = bed
        .solve(&channels, &["only"])
        .await
        .expect_err("it has no sha256");
    assert!(error.to_string().contains("sha256"), "{error}");
}

#[tokio::test]
async fn broken_specs_and_channels_are_the_inputs_fault() {
    let bed = Bed::new();
    let channel = bed.channel("main", &[]);
    for spec in [
        "numpy >=1,",
        "*",
        "numpy[",
        "https://example.org/a-1-0.conda",
    ] {
        let error = bed
            .solve(std::slice::from_ref(&channel), &[spec])
            .await
            .expect_err(spec);
        assert_eq!(error.kind(), CondaErrorKind::Invalid, "{spec}: {error}");
    }
    let absent = format!("file://{}/absent", bed.folder.path().display());
    let error = bed
        .solve(&[absent], &["x"])
        .await
        .expect_err("no such channel");
    assert_eq!(error.kind(), CondaErrorKind::NotFound, "{error}");
}

/// Serves a channel on loopback; what the handler sees decides.
async fn serve(router: axum::Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let address = listener.local_addr().expect("an address");
    #[expect(clippy::disallowed_methods, reason = "the runtime of the test ends it")]
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

fn list_for(path: &str) -> String {
    match path {
        path if path.ends_with("/linux-64/repodata.json") => {
            repodata("linux-64", &[record("lib", "1.0", 0, &[])])
        }
        _ => repodata("noarch", &[]),
    }
}

#[tokio::test]
async fn a_token_reaches_its_channel_and_nothing_that_is_kept() {
    use axum::extract::Request;
    use axum::http::StatusCode;
    let router = axum::Router::new().fallback(|request: Request| async move {
        let path = request.uri().path().to_owned();
        if !path.starts_with("/t/tk-secret/") {
            return Err(StatusCode::FORBIDDEN);
        }
        if path.ends_with("repodata.json") {
            Ok(list_for(&path))
        } else {
            Err(StatusCode::NOT_FOUND)
        }
    });
    let host = serve(router).await;
    let bed = Bed::new();
    let channel = format!("{host}/private");
    let mut asked = request(std::slice::from_ref(&channel), &["lib"]);
    let error = bed
        .solver(None)
        .solve(&asked, &CancellationToken::new())
        .await;
    let error = error.expect_err("no credentials");
    assert_eq!(error.kind(), CondaErrorKind::Auth, "{error}");

    asked.credentials = Credentials::new(vec![Credential {
        prefix: Url::parse(&channel).expect("a URL"),
        secret: UrlSecret::CondaToken(Secret::new("tk-secret")),
    }]);
    let solution = bed
        .solver(None)
        .solve(&asked, &CancellationToken::new())
        .await;
    let solution = solution.expect("the token opens it");
    assert_eq!(
        solution.packages[0].url,
        format!("{channel}/linux-64/lib-1.0-h_0.conda")
    );
    assert!(!format!("{solution:?}").contains("tk-secret"));
    let mut kept = 0;
    let mut folders = vec![bed.folder.path().join("cache")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            assert!(!path.display().to_string().contains("tk-secret"));
            if path.is_dir() {
                folders.push(path);
            } else {
                kept += 1;
                let bytes = std::fs::read(&path).expect("a file");
                let text = String::from_utf8_lossy(&bytes);
                assert!(!text.contains("tk-secret"), "{}", path.display());
            }
        }
    }
    assert!(kept > 0, "the cache was used");
}

#[tokio::test]
async fn a_fault_that_passes_is_retried_and_one_that_stays_is_the_networks() {
    use axum::extract::Request;
    use axum::http::StatusCode;
    let faults = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&faults);
    let router = axum::Router::new()
        .route(
            "/stays/{*path}",
            axum::routing::any(|| async { StatusCode::BAD_GATEWAY }),
        )
        .fallback(move |request: Request| {
            let counter = Arc::clone(&counter);
            async move {
                let path = request.uri().path().to_owned();
                if !path.ends_with("repodata.json") {
                    Err(StatusCode::NOT_FOUND)
                } else if counter.fetch_add(1, Ordering::SeqCst) < 2 {
                    Err(StatusCode::SERVICE_UNAVAILABLE)
                } else {
                    Ok(list_for(&path))
                }
            }
        });
    let host = serve(router).await;
    let bed = Bed::new();
    let solution = bed
        .solve(&[format!("{host}/main")], &["lib"])
        .await
        .expect("it answers in the end");
    assert_eq!(names(&solution), ["lib 1.0"]);
    assert!(faults.load(Ordering::SeqCst) > 2);
    let error = bed
        .solve(&[format!("{host}/stays")], &["lib"])
        .await
        .expect_err("it never answers");
    assert_eq!(error.kind(), CondaErrorKind::Network, "{error}");
}

#[tokio::test]
async fn cancelling_and_a_deadline_end_a_solve_that_waits() {
    let router = axum::Router::new().fallback(std::future::pending::<()>);
    let host = serve(router).await;
    let bed = Bed::new();
    let asked = request(&[format!("{host}/main")], &["lib"]);
    let cancel = CancellationToken::new();
    cancel.cancel();
    let error = bed
        .solver(None)
        .solve(&asked, &cancel)
        .await
        .expect_err("cancelled");
    assert_eq!(error.kind(), CondaErrorKind::Cancelled);
    let hasty = SolveRequest {
        timeout: Duration::from_millis(50),
        ..asked
    };
    let error = bed
        .solver(None)
        .solve(&hasty, &CancellationToken::new())
        .await
        .expect_err("too slow");
    assert_eq!(error.kind(), CondaErrorKind::Timeout);
}
