//! Why requests get nothing.

use std::sync::Arc;

use mica_model::testing;
use rstest::rstest;

use super::support::{a100, class, gpu, planned};
use crate::{Availability, UnmetReason};

/// The one reason of the one class that lacks something.
fn unmet(gpus: &[crate::GpuState], classes: &[crate::DemandClass]) -> (UnmetReason, u32, String) {
    let plan = planned(gpus, classes);
    let unmet: Vec<_> = plan.report.classes.iter().flat_map(|c| &c.unmet).collect();
    match unmet[..] {
        [unmet] => (unmet.reason, unmet.count, unmet.detail.clone()),
        _ => panic!("{:#?}", plan.report),
    }
}

#[rstest]
#[case::full(
    "7g.40gb@0",
    "1g.5gb",
    UnmetReason::NoRoom,
    "every GPU that offers 1g.5gb is full; closest is n/0: 1g.5gb@0 needs the place of 7g.40gb@0 (in use)"
)]
#[case::too_few_slots(
    "4g.20gb@0 1g.5gb@4",
    "3g.20gb",
    UnmetReason::NoRoom,
    "every GPU that offers 3g.20gb is full; closest is n/0: 3g.20gb@4 needs the place of 1g.5gb@4 (in use)"
)]
#[case::not_side_by_side(
    "1g.5gb@1 1g.5gb@5",
    "3g.20gb",
    UnmetReason::Fragmented,
    "n/0 has enough free slots for 3g.20gb, but not where it may stand: 3g.20gb@0 needs the place of 1g.5gb@1 (in use)"
)]
#[case::only_at_zero(
    "2g.10gb@0",
    "4g.20gb",
    UnmetReason::Fragmented,
    "n/0 has enough free slots for 4g.20gb, but not where it may stand: 4g.20gb@0 needs the place of 2g.10gb@0 (in use)"
)]
#[case::engines(
    "1g.5gb+me@0",
    "1g.5gb+me",
    UnmetReason::NoRoom,
    "n/0 has free slots for 1g.5gb+me at 1:1, but 2 instances of 1g.5gb+me, of at most 1"
)]
#[case::other_board(
    "",
    "3g.40gb",
    UnmetReason::NoSuchProfile,
    "no GPU offers 3g.40gb; the GPUs offer 1g.10gb, 1g.5gb, 1g.5gb+me, 2g.10gb, 3g.20gb, 4g.20gb, 7g.40gb"
)]
fn one_gpu(
    #[case] in_use: &str,
    #[case] accept: &str,
    #[case] reason: UnmetReason,
    #[case] detail: &str,
) {
    let gpus = [gpu(&a100(), "n/0", in_use, "")];
    let found = unmet(&gpus, &[class("a", accept, 1, 2)]);
    assert_eq!(found, (reason, 2, detail.to_owned()));
}

#[test]
fn no_gpu_at_all() {
    let found = unmet(&[], &[class("a", "1g.5gb|1g.10gb", 1, 1)]);
    assert_eq!(found.0, UnmetReason::NoSuchProfile);
    assert_eq!(found.2, "nothing offers 1g.5gb or 1g.10gb: there is no GPU");
}

#[test]
fn accepting_nothing_is_no_such_profile() {
    let nothing = crate::DemandClass {
        accept: Vec::new(),
        ..class("a", "", 1, 1)
    };
    let found = unmet(&[gpu(&a100(), "n/0", "", "")], &[nothing]);
    assert_eq!(found.0, UnmetReason::NoSuchProfile);
}

#[test]
fn room_taken_by_heavier_requests_names_them() {
    let gpus = [gpu(&a100(), "n/0", "4g.20gb@0", "")];
    let classes = [class("a", "3g.20gb", 9, 1), class("b", "2g.10gb", 2, 1)];
    let (reason, count, detail) = unmet(&gpus, &classes);
    assert_eq!((reason, count), (UnmetReason::NoRoom, 1));
    assert_eq!(
        detail,
        "every GPU that offers 2g.10gb is full; closest is n/0: \
         2g.10gb@4 needs the place of 3g.20gb@4 (for another request)"
    );
}

#[test]
fn the_only_gpus_that_offer_it_cannot_be_changed() {
    let (a100, h100) = (a100(), Arc::new(testing::h100_sxm5_80gb()));
    let mut gpus = vec![
        gpu(&a100, "n/0", "", ""),
        gpu(&h100, "n/1", "", ""),
        gpu(&h100, "n/2", "7g.80gb@0", ""),
        gpu(&h100, "n/3", "", ""),
    ];
    gpus[1].availability = Availability::Settling;
    gpus[2].availability = Availability::Unavailable;
    gpus[3].availability = Availability::Unavailable;
    let (reason, _, detail) = unmet(&gpus, &[class("a", "3g.40gb", 3, 1)]);
    assert_eq!(reason, UnmetReason::GpuUnavailable);
    assert_eq!(
        detail,
        "3 GPUs for 3g.40gb cannot be changed now, n/1 among them (1 being changed, 2 unavailable), \
         and no other GPU offers it"
    );
}

#[test]
fn the_only_gpu_with_room_cannot_be_changed() {
    let board = a100();
    let mut gpus = vec![
        gpu(&board, "n/0", "7g.40gb@0", ""),
        gpu(&board, "n/1", "", ""),
    ];
    gpus[1].availability = Availability::Unavailable;
    let (reason, _, detail) = unmet(&gpus, &[class("a", "3g.20gb", 3, 1)]);
    assert_eq!(reason, UnmetReason::GpuUnavailable);
    assert_eq!(
        detail,
        "1 GPUs for 3g.20gb cannot be changed now, n/1 among them (0 being changed, 1 unavailable), \
         and no other GPU has room"
    );
}

#[test]
fn room_that_others_were_granted_does_not_hide_a_gpu_that_cannot_be_changed() {
    let board = a100();
    let mut gpus = vec![gpu(&board, "n/0", "", ""), gpu(&board, "n/1", "", "")];
    gpus[1].availability = Availability::Unavailable;
    // Both halves of n/0 go to the first two.
    let (reason, count, _) = unmet(&gpus, &[class("a", "3g.20gb", 3, 3)]);
    assert_eq!((reason, count), (UnmetReason::GpuUnavailable, 1));
}
