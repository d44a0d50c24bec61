//! Short runs of the fault scenarios: whatever is done to kiln, nothing accepted is lost.

use kiln_tests::faults::{Options, Scenario};
use rstest::rstest;

#[rstest]
#[case(Scenario::Kills, 12, 3)]
#[case(Scenario::Failpoints, 0, 0)]
#[case(Scenario::Registry, 6, 0)]
#[case(Scenario::Disk, 5, 1)]
#[case(Scenario::Database, 3, 1)]
#[case(Scenario::Paused, 4, 2)]
#[tokio::test(flavor = "multi_thread")]
async fn nothing_accepted_is_lost(
    #[case] scenario: Scenario,
    #[case] builds: usize,
    #[case] kills: usize,
) {
    let record = tempfile::tempdir().unwrap();
    let options = Options {
        seed: 1,
        builds,
        kills,
        at_once: 2,
        record: record.path().to_owned(),
    };
    let report = scenario.run(&options).await.unwrap();
    assert!(report.holds(), "{report}");
}
