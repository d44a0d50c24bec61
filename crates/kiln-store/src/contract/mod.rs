//! What every implementation of [`Records`] promises: [`keep_the_contract`] is called with each.

pub(crate) mod builds;
pub(crate) mod collection;
pub(crate) mod commits;
pub(crate) mod contexts;
pub(crate) mod credentials;
pub(crate) mod environments;
pub(crate) mod failures;
pub(crate) mod hooks;
pub(crate) mod images;
pub(crate) mod layers;
pub(crate) mod models;
pub(crate) mod queue;
pub(crate) mod requests;
pub(crate) mod runs;
pub(crate) mod wheels;

use std::sync::Arc;

use kiln_oci::Digest;
use kiln_spec::SpecHash;

use crate::{BuildRow, ManualClock, NewBuild, NewImage, Records, Scope, Started, Terms};

/// Records that are empty, and the clock they go by.
pub(crate) struct Bed {
    pub(crate) records: Arc<dyn Records>,
    pub(crate) clock: Arc<ManualClock>,
    /// What has to live as long as they.
    pub(crate) _keep: Box<dyn std::any::Any>,
}

impl Bed {
    pub(crate) fn records(&self) -> &dyn Records {
        self.records.as_ref()
    }
}

pub(crate) fn hash(text: &str) -> SpecHash {
    SpecHash::of_canonical_json(text)
}

pub(crate) fn new_build(canonical: &str) -> NewBuild {
    NewBuild {
        canonical: canonical.into(),
        repository: "localhost:5000/azureml/x".into(),
        backend: "docker".into(),
        refresh: false,
        actor: "test".into(),
        via: "test".into(),
        terms: Terms::default(),
    }
}

pub(crate) fn new_image(content: &str) -> NewImage {
    NewImage {
        repository: "localhost:5000/azureml/x".into(),
        digest: Digest::of(content.as_bytes()),
        image_key: Digest::of(format!("key {content}").as_bytes()).to_hex(),
        lock_hash: "lock".into(),
        backend: "docker".into(),
        size_bytes: 7,
    }
}

pub(crate) async fn started(records: &dyn Records, scope: &Scope, text: &str) -> BuildRow {
    let begun = records
        .begin_build(scope, &hash(text), &new_build(text))
        .await;
    match begun.unwrap() {
        Started::New(row) => row,
        other => panic!("no build was begun: {other:?}"),
    }
}

/// Runs the whole suite, each test on records of its own.
pub(crate) async fn keep_the_contract(make: impl AsyncFn() -> Bed) {
    macro_rules! keep {
        ($($test:path),* $(,)?) => { $( $test(&make().await).await; )* };
    }
    keep!(
        builds::one_active_build_per_definition_and_scope,
        builds::a_stale_fence_changes_nothing,
        builds::equal_hashes_with_other_texts_are_refused,
        builds::a_build_moves_forward_alone_and_only_to_states_there_are,
        builds::builds_are_listed_newest_first_in_pages,
        builds::above_its_bounds_the_queue_takes_no_more_and_joins_still,
        contexts::a_context_is_one_workspaces_own_and_its_blob_is_held,
        commits::what_was_about_to_be_pushed_is_told_with_the_next_claim,
        commits::an_image_is_found_by_its_place_until_it_is_lost,
        commits::an_image_is_untagged_until_its_tags_are_set,
        queue::the_oldest_is_claimed_first_and_by_one_worker,
        queue::two_claims_at_once_get_different_builds,
        queue::a_small_workspace_does_not_wait_behind_a_large_one,
        queue::a_lease_lasts_as_long_as_its_heartbeat,
        queue::a_stale_fence_holds_nothing_and_writes_nothing,
        queue::a_reboot_ends_every_lease_and_every_delay,
        queue::a_build_that_is_released_waits_and_did_not_crash,
        queue::a_build_that_is_tried_again_waits_its_delay_and_keeps_its_budget,
        queue::at_the_third_crash_a_build_is_quarantined_until_it_is_forgotten,
        queue::a_worker_that_is_reset_lets_go_of_all_it_had,
        queue::a_wall_clock_that_is_set_changes_no_lease,
        failures::failures_are_remembered_for_a_time_and_for_their_settings,
        failures::failures_of_a_class_are_forgotten_together,
        requests::the_same_request_gets_the_same_build_and_another_body_is_refused,
        requests::an_answer_without_a_build_is_kept_once,
        requests::who_joins_or_hits_hears_the_end_and_the_hooks_hear_it_once,
        requests::keys_are_kept_for_their_time_and_then_pruned,
        hooks::each_change_of_a_build_is_told_once_to_all_who_want_it,
        hooks::failed_cancelled_and_quarantined_builds_are_told,
        hooks::a_delivery_is_tried_until_it_is_done_or_dead,
        hooks::a_disabled_hook_gets_nothing_until_it_is_enabled_and_replayed,
        hooks::several_secrets_of_a_hook_live_at_once,
        hooks::events_can_be_added_and_a_test_goes_to_its_hook_alone,
        hooks::events_are_kept_for_replays_and_those_on_their_way_longer,
        images::generations_count_and_a_refresh_may_go_back,
        images::a_lost_image_is_not_current_and_keeps_its_lock,
        images::an_adopted_image_is_current_and_numbering_goes_on_after_it,
        images::an_image_that_comes_back_keeps_its_generation,
        images::images_are_found_by_their_base_and_noted_as_outdated_once,
        images::images_come_up_for_verification_the_longest_unverified_first,
        images::a_lock_is_kept_for_the_holder_of_the_build_alone,
        layers::a_layer_is_found_by_its_key_until_its_blob_is_damaged,
        layers::a_registrys_layers_are_where_they_came_last,
        collection::what_a_current_generation_or_a_running_build_needs_stays,
        collection::an_image_that_is_lost_keeps_what_it_is_rebuilt_from,
        collection::what_is_held_or_was_used_lately_stays,
        collection::what_a_build_holds_stays_until_it_is_over_whatever_ends_it,
        collection::a_file_that_can_not_be_taken_away_keeps_its_row,
        collection::a_lock_that_is_put_again_says_that_its_archives_are_used,
        collection::a_lock_that_nothing_names_goes_after_its_grace,
        environments::an_equal_document_makes_no_version_and_another_makes_the_next,
        environments::an_explicit_version_is_made_once_and_never_with_another_document,
        environments::the_same_document_at_once_is_one_version,
        environments::names_belong_to_their_workspace,
        environments::names_are_listed_in_pages_with_their_newest_versions,
        environments::a_label_is_on_one_version_at_a_time,
        environments::what_is_archived_is_not_latest_and_not_listed_until_it_is_restored,
        environments::a_version_keeps_the_generation_it_was_first_built_as,
        models::versions_count_and_a_deleted_one_is_not_used_again,
        models::models_belong_to_their_workspace_and_are_listed_in_pages,
        models::a_model_holds_its_files_until_it_is_deleted,
        runs::a_run_is_begun_once_and_numbered_in_its_experiment,
        runs::experiments_are_made_once_and_found_by_name_and_id,
        runs::a_run_that_is_over_keeps_its_end,
        runs::properties_stay_and_tags_change,
        runs::a_run_has_one_version_of_an_environment,
        runs::runs_are_listed_newest_first_in_pages_and_found_when_silent,
        runs::files_of_a_run_are_held_and_replaced,
        runs::metrics_come_back_in_order_and_once,
        wheels::a_name_keeps_its_bytes_and_is_one_workspaces_own,
        credentials::credentials_come_back_in_their_scope_alone,
        credentials::credentials_are_found_by_exact_use_and_can_be_removed,
    );
}
