//! Behaviours as scripts: jobs, rows and what comes of them, in `tests/scripts`, whose README has
//! the language.

mod expectation;
mod row;
mod script;
mod stage;

use std::path::PathBuf;

use tidemill_tests::{Finished, repository};

use self::expectation::Outcome;
use self::script::{Command, Script, Step};
use self::stage::Stage;

macro_rules! scripts {
    ($($name:ident,)+) => {
        $(#[test]
        fn $name() {
            play(stringify!($name));
        })+

        const ALL: &[&str] = &[$(stringify!($name)),+];
    };
}

scripts! {
    a_batch_without_data_is_not_made_up_for_after_a_restart,
    a_bound_on_one_side_of_a_join_cleans_that_side_alone,
    a_condition_on_the_side_of_nulls_works_below_its_watermark,
    a_deduplication_below_a_join,
    a_deduplication_can_follow_another,
    a_deduplication_without_event_time_above_windows_forgets_nothing,
    a_duplicate_is_forgotten_when_the_watermark_passes_it,
    a_duplicate_is_remembered_for_the_delay_after_its_first_row,
    a_global_aggregate_is_given_again_in_a_batch_without_rows,
    a_join_can_be_made_of_two_aggregations,
    a_join_needs_an_equality_and_keeps_its_keys,
    a_join_on_a_time_range_may_feed_windows,
    a_key_is_given_again_once_its_time_is_over,
    a_key_of_using_is_one_column,
    a_lambda_sees_its_variables_before_columns,
    a_late_row_of_a_full_outer_join_gives_no_row_with_nulls,
    a_left_row_that_fails_its_own_condition_is_given_at_once,
    a_left_row_without_a_partner_leaves_with_nulls_at_its_windows_end,
    a_left_row_without_a_partner_leaves_with_nulls_when_its_range_is_over,
    a_left_semi_join_gives_a_row_once,
    a_limit_counts_over_all_batches,
    a_null_in_a_table_lets_nothing_pass_not_in,
    a_range_in_where_does_not_bound_an_outer_join,
    a_restart_forgets_how_far_each_input_was,
    a_restart_goes_on_with_the_watermark,
    a_right_row_past_its_time_meets_no_left_row_in_a_semi_join,
    a_right_row_that_fails_its_own_condition_is_never_kept,
    a_right_row_without_a_partner_leaves_with_nulls_at_its_windows_end,
    a_right_row_without_a_partner_leaves_with_nulls_when_its_range_is_over,
    a_row_at_the_start_of_a_window_belongs_to_it,
    a_row_past_its_time_that_is_not_late_still_meets_and_leaves_at_once,
    a_row_without_a_time_is_in_no_window,
    a_sorted_result_may_go_by_its_window,
    a_sorted_union_has_the_rows_of_all_its_parts,
    a_stateless_query_with_a_watermark_runs_no_batch_without_data,
    a_subquery_filters_through_computed_columns,
    a_time_that_is_a_group_itself_leaves_at_the_watermark,
    a_watermark_on_a_step_follows_what_the_step_lets_through,
    a_window_leaves_in_the_batch_after_the_watermark_moved,
    an_array_becomes_rows_that_keep_their_time,
    an_inner_join_in_a_range_cleans_both_sides,
    an_inner_join_on_windows_cleans_both_sides,
    an_inner_join_without_watermarks_keeps_every_row,
    in_of_a_table_is_a_column,
    available_now_ends_with_a_batch_without_data,
    available_now_reads_each_source_to_its_own_end,
    complete_mode_can_sort_its_result,
    complete_mode_keeps_every_window,
    complete_mode_puts_only_the_groups_that_a_batch_touched,
    conditions_may_be_short,
    distinct_rows_leave_with_the_watermark,
    distinct_rows_of_update_mode_are_given_whenever_they_come,
    duplicates_do_not_reach_the_counts_above_in_complete_mode,
    duplicates_do_not_reach_the_counts_above_in_update_mode,
    duplicates_do_not_reach_the_windows_above,
    from_json_gives_nulls_for_what_it_cannot_read,
    keys_without_event_time_are_kept_for_ever_and_late_rows_are_dropped,
    no_batch_runs_without_data_when_that_is_switched_off,
    null_keys_meet_only_where_nulls_are_equal,
    nulls_are_sorted_as_the_smallest_values,
    rows_of_both_sides_leave_with_nulls_when_their_range_is_over,
    sessions_are_refused_in_update_mode_and_without_a_key,
    sessions_leave_when_the_watermark_comes_to_their_end,
    sessions_that_touch_become_one,
    sliding_windows_need_not_fit_into_each_other,
    sums_of_sums_are_told_apart_by_their_grouping_id,
    the_fastest_of_two_inputs_leads_under_max,
    the_gap_of_a_session_can_differ_by_row,
    the_slowest_of_two_inputs_leads,
    three_streams_can_be_joined,
    trigger_once_runs_no_batch_without_data,
    update_mode_drops_late_windows_and_evicts_in_silence,
    update_mode_gives_the_groups_that_a_batch_touched,
    what_a_stream_cannot_do,
    which_joins_of_two_streams_there_are,
    which_joins_with_a_static_table_there_are,
    windows_above_a_deduplication_leave_with_its_keys,
    windows_above_a_join_in_a_range_wait_for_its_rows_with_nulls,
    windows_above_a_join_on_windows,
    windows_above_a_left_semi_join_in_a_range_wait_for_left_rows_alone,
    windows_can_be_milliseconds_apart,
    windows_can_be_summed_up_over,
    windows_of_windows_are_not_late_where_they_come_from_a_batch_without_data,
}

fn folder() -> PathBuf {
    repository().join("tests/scripts")
}

#[test]
fn every_script_is_played() {
    let names = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let scripts = names.filter(|path| path.extension().is_some_and(|ending| ending == "test"));
    let mut scripts: Vec<String> =
        scripts.map(|path| path.file_stem().unwrap().to_string_lossy().into_owned()).collect();
    scripts.sort();
    let mut played = ALL.to_vec();
    played.sort_unstable();
    assert_eq!(scripts, played, "list the scripts of tests/scripts in tests/tests/all/scripts");
}

/// Plays a script and compares; with `TIDEMILL_UPDATE=1`, writes what happened into it instead.
fn play(name: &str) {
    let path = folder().join(format!("{name}.test"));
    let text = std::fs::read_to_string(&path).unwrap();
    let script = Script::parse(&text).unwrap_or_else(|reason| panic!("{name}.test: {reason}"));
    let mut play = Play { stage: Stage::new(&script.job), wrong: Vec::new(), changed: Vec::new() };
    script.steps.iter().for_each(|step| play.step(&script, step));
    let mut problems = play.wrong;
    if problems.is_empty() && std::env::var_os("TIDEMILL_UPDATE").is_some() {
        std::fs::write(&path, script.with(&play.changed)).unwrap();
        return;
    }
    problems.extend(play.changed.iter().map(|(step, found)| {
        let difference = difference(script.body(step), found);
        format!(
            "line {}: expected (-) and found (+); TIDEMILL_UPDATE=1 takes what was found\n{difference}",
            step.line
        )
    }));
    assert!(problems.is_empty(), "{name}.test\n{}", problems.join("\n"));
}

struct Play<'a> {
    stage: Stage,
    /// What does not do what it has to.
    wrong: Vec<String>,
    /// Runs that gave something else, and what.
    changed: Vec<(&'a Step, Vec<String>)>,
}

impl<'a> Play<'a> {
    fn step(&mut self, script: &Script, step: &'a Step) {
        match &step.command {
            Command::Add(table) => {
                let added = self.stage.add(table, script.body(step));
                added.unwrap_or_else(|reason| self.wrong(step, &reason));
            }
            Command::Run { in_order, expected } => {
                let found = self.stage.run(*in_order);
                self.compare(step, expected, found, *in_order);
            }
            Command::Restart(changes) => self.stage.restart(changes),
            Command::Job(changes) => {
                self.stage = Stage::new(&script.job);
                self.stage.restart(changes);
            }
            Command::Refused(fragments) => {
                let (created, finished) = self.stage.refused();
                if finished.code != Some(2) {
                    return self.wrong(step, &format!("not refused: {}", ending(&finished)));
                }
                self.expect_words(step, fragments, &finished.stderr);
                if !created.is_empty() {
                    self.wrong(step, &format!("it created {}", created.join(", ")));
                }
            }
            Command::Accepted => {
                let checked = self.stage.check();
                if checked.code != Some(0) {
                    self.wrong(step, &format!("not accepted: {}", ending(&checked)));
                }
            }
        }
    }

    fn compare(&mut self, step: &'a Step, expected: &Outcome, mut found: Outcome, in_order: bool) {
        match (found.fails.pop(), expected.fails.is_empty()) {
            (None, true) => {}
            (Some(message), false) => {
                self.expect_words(step, &expected.fails, &message);
                found.fails.clone_from(&expected.fails);
            }
            (Some(message), true) => {
                return self.wrong(step, &format!("the query failed: {message}"));
            }
            (None, false) => self.wrong(step, "the query did not fail"),
        }
        if !found.is(expected, in_order) {
            let found = found.lines(expected);
            self.changed.push((step, found));
        }
    }

    /// As in Spark's own tests, without regard to case.
    fn expect_words(&mut self, step: &Step, fragments: &[String], message: &str) {
        let has = |fragment: &String| message.to_lowercase().contains(&fragment.to_lowercase());
        for fragment in fragments.iter().filter(|fragment| !has(fragment)) {
            self.wrong(step, &format!("no \"{fragment}\" in: {}", message.trim()));
        }
    }

    fn wrong(&mut self, step: &Step, what: &str) {
        self.wrong.push(format!("line {}: {what}", step.line));
    }
}

fn ending(finished: &Finished) -> String {
    format!("exit {:?}: {}{}", finished.code, finished.stdout, finished.stderr).trim().to_owned()
}

/// The lines of both, marked with where they are.
fn difference(expected: &[String], found: &[String]) -> String {
    // longest[i][j]: common lines of expected[i..] and found[j..].
    let mut longest = vec![vec![0; found.len() + 1]; expected.len() + 1];
    for i in (0..expected.len()).rev() {
        for j in (0..found.len()).rev() {
            longest[i][j] = if expected[i] == found[j] {
                longest[i + 1][j + 1] + 1
            } else {
                longest[i + 1][j].max(longest[i][j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut lines = Vec::new();
    while i < expected.len() || j < found.len() {
        if i < expected.len() && j < found.len() && expected[i] == found[j] {
            lines.push(format!("  {}", expected[i]));
            (i, j) = (i + 1, j + 1);
        } else if j == found.len() || (i < expected.len() && longest[i + 1][j] >= longest[i][j + 1])
        {
            lines.push(format!("- {}", expected[i]));
            i += 1;
        } else {
            lines.push(format!("+ {}", found[j]));
            j += 1;
        }
    }
    lines.join("\n")
}

#[test]
fn a_difference_shows_what_is_common_missing_and_new() {
    let lines = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(difference(&lines("a b c"), &lines("a c d")), "  a\n- b\n  c\n+ d");
}
