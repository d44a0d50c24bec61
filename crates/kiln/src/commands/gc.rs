//! `kiln gc`: tells what nothing needs, and removes it.

use std::fmt::Write as _;
use std::time::Duration;

use clap::Args;
use indicatif::HumanBytes;
use kiln_api::{GcReport, GcRequest, GcShare};
use kiln_engine::Verify;

use crate::client::Client;
use crate::compose;
use crate::config::Settings;
use crate::data_lock::{Claim, DataLock, ServerAddress};
use crate::error::CliError;
use crate::progress::warn;

/// Archives that are named in the text.
const NAMED: usize = 10;

/// Arguments of `kiln gc`.
#[derive(Debug, Args)]
pub(crate) struct GcArgs {
    /// Remove it, in place of telling alone.
    #[arg(long)]
    apply: bool,
    /// Keep what was used within so many seconds, in place of `gc.grace`.
    #[arg(long, value_name = "SECONDS")]
    grace: Option<u64>,
    /// Print the report as a JSON object.
    #[arg(long)]
    json: bool,
    /// The `kiln serve` whose data it is [env: KILN_SERVER].
    #[arg(long, value_name = "URL")]
    server: Option<String>,
}

/// Runs the command.
pub(crate) async fn run(settings: Settings, args: GcArgs) -> Result<(), CliError> {
    let request = GcRequest {
        apply: args.apply,
        grace_seconds: args.grace,
    };
    let report = collect(&settings, args.server, &request).await?;
    if args.json {
        let json = serde_json::to_string(&report).expect("a report is plain data");
        super::print(&json)
    } else {
        super::print(text(&report).trim_end())
    }
}

/// Collects where the data is in use: in a running server, or in this process.
async fn collect(
    settings: &Settings,
    server: Option<String>,
    request: &GcRequest,
) -> Result<GcReport, CliError> {
    if let Some(url) = server.or_else(|| std::env::var("KILN_SERVER").ok()) {
        return remote(&ServerAddress { url }, request).await;
    }
    let _lock = match DataLock::claim(&settings.data)? {
        Claim::Served(address) => return remote(&address, request).await,
        Claim::Ours(lock) => lock,
        Claim::Busy => {
            let data = settings.data.display();
            warn(&format!("{data} is in use by another kiln: waiting"));
            DataLock::wait(&settings.data).await?
        }
    };
    let engine = compose::engine(settings, Verify::First).await?;
    let grace = request.grace_seconds.map(Duration::from_secs);
    Ok(engine.collect(grace, request.apply).await?)
}

async fn remote(address: &ServerAddress, request: &GcRequest) -> Result<GcReport, CliError> {
    let client = Client::new(address, std::env::var("KILN_TOKEN").ok())?;
    client.post("/v1/gc", request).await
}

/// The report for people.
fn text(report: &GcReport) -> String {
    let (verb, rest) = if report.applied {
        ("removed", "")
    } else {
        (
            "would remove",
            "\nnothing was removed: --apply removes it\n",
        )
    };
    let total = HumanBytes(report.size_bytes());
    let grace = report.grace_seconds;
    let mut text = format!("{verb} {total} that nothing needs and was not used for {grace} s\n");
    let mut line = |name: &str, share: GcShare| {
        let (count, size) = (share.count, HumanBytes(share.size_bytes).to_string());
        let _ = writeln!(text, "  {name:<10} {count:>8}  {size:>12}");
    };
    line("archives", report.archives);
    line("logs", report.logs);
    line("leftovers", report.leftovers);
    let _ = writeln!(text, "  {:<10} {:>8}", "locks", report.locks);
    if report.applied {
        let _ = writeln!(text, "  {:<10} {:>8}", "rows", report.rows);
    }
    for archive in report.first.iter().take(NAMED) {
        let size = HumanBytes(archive.size_bytes).to_string();
        let _ = writeln!(text, "{}  {size:>12}  {}", archive.digest, archive.used);
    }
    let more = report.archives.count.saturating_sub(NAMED as u64);
    if more > 0 {
        let _ = writeln!(text, "and {more} more archives");
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use kiln_api::GcArchive;

    use super::*;

    #[test]
    fn a_report_is_readable() {
        let archive = |n: u64| GcArchive {
            digest: format!("sha256:{n}"),
            size_bytes: n << 20,
            used: "2026-01-02T03:04:05Z".into(),
        };
        let mut report = GcReport {
            grace_seconds: 3600,
            archives: (1..=12_u64).map(|n| n << 20).collect(),
            locks: 2,
            first: (1..=12).map(archive).collect(),
            ..GcReport::default()
        };
        insta::assert_snapshot!(text(&report), @r#"
        would remove 78.00 MiB that nothing needs and was not used for 3600 s
          archives         12     78.00 MiB
          logs              0           0 B
          leftovers         0           0 B
          locks             2
        sha256:1      1.00 MiB  2026-01-02T03:04:05Z
        sha256:2      2.00 MiB  2026-01-02T03:04:05Z
        sha256:3      3.00 MiB  2026-01-02T03:04:05Z
        sha256:4      4.00 MiB  2026-01-02T03:04:05Z
        sha256:5      5.00 MiB  2026-01-02T03:04:05Z
        sha256:6      6.00 MiB  2026-01-02T03:04:05Z
        sha256:7      7.00 MiB  2026-01-02T03:04:05Z
        sha256:8      8.00 MiB  2026-01-02T03:04:05Z
        sha256:9      9.00 MiB  2026-01-02T03:04:05Z
        sha256:10     10.00 MiB  2026-01-02T03:04:05Z
        and 2 more archives

        nothing was removed: --apply removes it
        "#);
        report.applied = true;
        report.first.truncate(1);
        report.archives = GcShare {
            count: 1,
            size_bytes: 1 << 20,
        };
        report.rows = 7;
        insta::assert_snapshot!(text(&report), @r#"
        removed 1.00 MiB that nothing needs and was not used for 3600 s
          archives          1      1.00 MiB
          logs              0           0 B
          leftovers         0           0 B
          locks             2
          rows              7
        sha256:1      1.00 MiB  2026-01-02T03:04:05Z
        "#);
    }
}
