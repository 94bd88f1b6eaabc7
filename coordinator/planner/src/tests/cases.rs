//! Known cases, among them those that other planners get wrong.

use std::sync::Arc;

use mica_model::testing;
use rstest::rstest;

use super::support::{a100, changes, class, gpu, operations, planned};
use crate::{Availability, DemandClass, Plan};

/// A100s by in-use and idle layout, classes by accepted profiles, weight and count, and the changes that must come out.
#[rstest]
#[case::nothing_wanted(&[("", "7g.40gb@0")], &[], &[])]
#[case::class_without_requests(&[("", "")], &[("1g.5gb", 1, 0)], &[])]
#[case::idle_slice_serves(&[("", "3g.20gb@0")], &[("3g.20gb", 3, 1)], &[])]
#[case::idle_serves_before_new(&[("", ""), ("1g.5gb@0", "2g.10gb@2")], &[("2g.10gb", 2, 1)], &[])]
#[case::unneeded_idle_stays(&[("", "1g.5gb@6")], &[("3g.20gb", 3, 1)], &["n/0 +3g.20gb@0"])]
#[case::weightier_request_takes_idle_room(&[("", "4g.20gb@0")], &[("4g.20gb", 16, 1), ("7g.40gb", 28, 1)], &["n/0 -4g.20gb@0 +7g.40gb@0"])]
#[case::in_use_is_never_touched(&[("1g.5gb@3", "")], &[("7g.40gb", 1000, 1)], &[])]
// One idle 1g and room for more: all five count as satisfied elsewhere, and nothing is planned.
#[case::five_small_beside_one_idle(&[("3g.20gb@4", "1g.5gb@0")], &[("1g.5gb", 1, 5)], &["n/0 +1g.5gb@1 +1g.5gb@2 +1g.5gb@3"])]
// The idle 7g is destroyed elsewhere, though another GPU has room.
#[case::keeps_large_idle(&[("", "7g.40gb@0"), ("3g.20gb@0", "")], &[("1g.5gb", 1, 1)], &["n/1 +1g.5gb@6"])]
#[case::two_wanted_idle_not_for_one_large(&[("", "3g.20gb@0 3g.20gb@4")], &[("3g.20gb", 1, 2), ("7g.40gb", 1, 1)], &[])]
// Priority must weigh in the choice of layout.
#[case::priority_wins(&[("", "")], &[("1g.5gb", 1, 3), ("7g.40gb", 10, 1)], &["n/0 +7g.40gb@0"])]
// By counts 4g would fit beside 2g; by places it does not.
#[case::large_blocked_at_0(&[("2g.10gb@0", "")], &[("4g.20gb", 4, 1)], &[])]
#[case::large_blocked_at_2(&[("2g.10gb@2", "")], &[("4g.20gb", 4, 1)], &[])]
#[case::large_fits_beside_4(&[("2g.10gb@4", "")], &[("4g.20gb", 4, 1)], &["n/0 +4g.20gb@0"])]
// Layouts that geometry tables lack.
#[case::three_and_four_small(&[("3g.20gb@4", "")], &[("1g.5gb", 1, 4)], &["n/0 +1g.5gb@0 +1g.5gb@1 +1g.5gb@2 +1g.5gb@3"])]
#[case::four_and_three(&[("4g.20gb@0", "")], &[("3g.20gb", 3, 1)], &["n/0 +3g.20gb@4"])]
#[case::media_engines_once(&[("", "")], &[("1g.5gb+me", 1, 2)], &["n/0 +1g.5gb+me@6"])]
// One slice more: create it, do not rebuild the GPU.
#[case::adds_only_what_lacks(&[("", "1g.5gb@0 1g.5gb@1")], &[("1g.5gb", 1, 3)], &["n/0 +1g.5gb@2"])]
#[case::small_goes_into_the_hole(&[("", ""), ("4g.20gb@0 2g.10gb@4", "")], &[("1g.5gb", 1, 1)], &["n/1 +1g.5gb@6"])]
#[case::large_not_starved_by_small(&[("", ""), ("4g.20gb@0", ""), ("4g.20gb@0", ""), ("4g.20gb@0", "")], &[("1g.5gb", 1, 7), ("7g.40gb", 7, 1)],
    &["n/0 +7g.40gb@0", "n/1 +1g.5gb@6", "n/2 +1g.5gb@4 +1g.5gb@5 +1g.5gb@6", "n/3 +1g.5gb@4 +1g.5gb@5 +1g.5gb@6"])]
#[case::largest_first(&[("", "")], &[("1g.5gb", 1, 1), ("2g.10gb", 2, 1), ("4g.20gb", 4, 1)], &["n/0 +4g.20gb@0 +2g.10gb@4 +1g.5gb@6"])]
#[case::double_memory_is_another_profile(&[("", "2g.10gb@0")], &[("1g.10gb", 2, 1)], &["n/0 +1g.10gb@2"])]
fn a100s(
    #[case] gpus: &[(&str, &str)],
    #[case] demand: &[(&str, u64, u32)],
    #[case] expected: &[&str],
) {
    let board = a100();
    let gpus: Vec<_> = (0..)
        .zip(gpus)
        .map(|(index, (in_use, idle))| gpu(&board, &format!("n/{index}"), in_use, idle))
        .collect();
    let classes: Vec<_> = (0..)
        .zip(demand)
        .map(|(id, (accept, weight, count))| class(&format!("c{id}"), accept, *weight, *count))
        .collect();
    let plan = planned(&gpus, &classes);
    assert_eq!(changes(&plan, &gpus), expected);
}

/// Served by idle slices and by new ones, by class.
fn served(plan: &Plan) -> Vec<(u32, u32)> {
    let classes = plan.report.classes.iter();
    classes.map(|c| (c.served_idle, c.served_new)).collect()
}

#[test]
fn flexible_class_leaves_the_slice_to_the_strict_one() {
    let board = a100();
    let gpus = [
        gpu(&board, "n/0", "3g.20gb@4", "4g.20gb@0"),
        gpu(&board, "n/1", "4g.20gb@0", "3g.20gb@4"),
    ];
    let flexible = class("a-flexible", "3g.20gb|4g.20gb", 9, 1);
    for strict in ["3g.20gb", "4g.20gb"] {
        let plan = planned(&gpus, &[flexible.clone(), class("strict", strict, 1, 1)]);
        assert_eq!(served(&plan), [(1, 0), (1, 0)], "strict wants {strict}");
        assert!(plan.changes.is_empty());
    }
}

#[test]
fn of_equal_requests_the_heavier_gets_the_slice_that_is_there() {
    let board = a100();
    let gpus = [gpu(&board, "n/0", "", "3g.20gb@4")];
    let classes = [class("a", "3g.20gb", 3, 1), class("b", "3g.20gb", 12, 1)];
    assert_eq!(served(&planned(&gpus, &classes)), [(0, 1), (1, 0)]);
}

#[test]
fn settling_gpu_serves_and_is_not_changed() {
    let board = a100();
    let mut settling = gpu(&board, "n/0", "", "3g.20gb@0");
    settling.availability = Availability::Settling;
    let gpus = [settling];
    let plan = planned(&gpus, &[class("a", "3g.20gb", 3, 2)]);
    assert_eq!(served(&plan), [(1, 0)]);
    assert!(plan.changes.is_empty());
}

#[test]
fn unavailable_gpu_neither_serves_nor_is_changed() {
    let board = a100();
    let mut away = gpu(&board, "n/0", "", "3g.20gb@0");
    away.availability = Availability::Unavailable;
    let gpus = [away, gpu(&board, "n/1", "", "")];
    let plan = planned(&gpus, &[class("a", "3g.20gb", 3, 1)]);
    assert_eq!(served(&plan), [(0, 1)]);
    assert_eq!(changes(&plan, &gpus), ["n/1 +3g.20gb@4"]);
}

#[test]
fn unknown_layout_is_left_alone_and_its_known_slices_serve() {
    let board = a100();
    // Two 4g cannot be: whatever this GPU is, it is not understood.
    let mut odd = gpu(&board, "n/0", "", "1g.5gb@6");
    odd.in_use = super::support::layout(&board, "4g.20gb@0 2g.10gb@2");
    let gpus = [odd];
    let plan = planned(&gpus, &[class("a", "1g.5gb", 1, 2)]);
    assert_eq!(served(&plan), [(1, 0)]);
    assert!(plan.changes.is_empty());
}

/// Each kind of board is cut in its own units.
#[rstest]
#[case::a30(testing::a30_24gb(), &[("2g.12gb", 2, 1), ("1g.6gb", 1, 2)], "n/0 +2g.12gb@2 +1g.6gb@0 +1g.6gb@1")]
#[case::h100(testing::h100_sxm5_80gb(), &[("3g.40gb", 3, 1), ("4g.40gb", 4, 1)], "n/0 +4g.40gb@0 +3g.40gb@4")]
#[case::rtx_in_twelfths(testing::rtx_pro_6000(), &[("2g.48gb", 2, 1), ("1g.24gb", 1, 2)], "n/0 +2g.48gb@6 +1g.24gb@0 +1g.24gb@3")]
#[case::rtx_all_media_engines_exclude_others(testing::rtx_pro_6000(), &[("1g.24gb+me.all", 9, 1), ("1g.24gb", 1, 3)], "n/0 +1g.24gb+me.all@0")]
#[case::rtx_but_not_those_without(testing::rtx_pro_6000(), &[("2g.48gb+me.all", 9, 1), ("2g.48gb-me", 1, 3)], "n/0 +2g.48gb+me.all@0 +2g.48gb-me@6")]
fn boards(
    #[case] board: mica_model::Board,
    #[case] demand: &[(&str, u64, u32)],
    #[case] expected: &str,
) {
    let board = Arc::new(board);
    let gpus = [gpu(&board, "n/0", "", "")];
    let classes: Vec<DemandClass> = demand
        .iter()
        .map(|(accept, weight, count)| class(accept, accept, *weight, *count))
        .collect();
    let plan = planned(&gpus, &classes);
    let weight: u64 = demand.iter().map(|(_, weight, _)| weight).sum();
    assert!(plan.report.weight >= weight.min(9), "{:?}", plan.report);
    assert_eq!(changes(&plan, &gpus), [expected]);
}

#[test]
fn classes_pick_the_kind_of_gpu_that_has_room() {
    let (a100, h100) = (a100(), Arc::new(testing::h100_sxm5_80gb()));
    let gpus = [
        gpu(&a100, "n/0", "7g.40gb@0", ""),
        gpu(&h100, "n/1", "4g.40gb@0", ""),
    ];
    let plan = planned(&gpus, &[class("half", "3g.20gb|3g.40gb", 3, 2)]);
    assert_eq!(changes(&plan, &gpus), ["n/1 +3g.40gb@4"]);
    assert_eq!(operations(&plan), 1);
}
