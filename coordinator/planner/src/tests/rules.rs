//! The check finds each rule that is broken.

use rstest::rstest;

use super::support::{a100, class, gpu, layout};
use crate::{
    Availability, Demand, GpuChange, GpuId, Plan, Snapshot, Unmet, UnmetReason, Violation, check,
    plan,
};

/// Two GPUs and a demand that takes changes on both: n/0 destroys and creates, n/1 creates.
fn scene() -> (Snapshot, Demand, Plan) {
    let board = a100();
    let snapshot = Snapshot {
        gpus: vec![
            gpu(&board, "n/0", "1g.5gb@6", "3g.20gb@0"),
            gpu(&board, "n/1", "3g.20gb@4", "1g.5gb@3"),
            gpu(&board, "n/2", "7g.40gb@0", ""),
        ],
    };
    let demand = Demand {
        classes: vec![
            class("four", "4g.20gb", 40, 1),
            class("one", "1g.5gb", 1, 2),
            class("two", "2g.10gb", 2, 2),
        ],
    };
    let plan = plan(&snapshot, &demand);
    (snapshot, demand, plan)
}

fn n(index: u32) -> GpuId {
    GpuId {
        node: "n".to_owned(),
        index,
    }
}

#[test]
fn the_scene_is_what_the_mutations_expect() {
    let (snapshot, demand, plan) = scene();
    assert_eq!(
        super::support::changes(&plan, &snapshot.gpus),
        [
            "n/0 -3g.20gb@0 +4g.20gb@0 +2g.10gb@4",
            "n/1 +2g.10gb@0 +1g.5gb@2"
        ],
    );
    assert!(check(&snapshot, &demand, plan).is_ok());
}

/// One rule is broken; its violation must be among those found.
#[rstest]
#[case::ambiguous_gpu(|s: &mut Snapshot, _: &mut Demand, _: &mut Plan| s.gpus.push(s.gpus[2].clone()), "AmbiguousGpu")]
#[case::ambiguous_class(|_: &mut Snapshot, d: &mut Demand, _: &mut Plan| d.classes.push(d.classes[0].clone()), "AmbiguousClass")]
#[case::unknown_gpu(|_: &mut Snapshot, _: &mut Demand, p: &mut Plan| p.changes[1].gpu = n(7), "UnknownGpu")]
#[case::repeated_gpu(|_: &mut Snapshot, _: &mut Demand, p: &mut Plan| p.changes.push(p.changes[1].clone()), "RepeatedGpu")]
#[case::unordered(|_: &mut Snapshot, _: &mut Demand, p: &mut Plan| p.changes.reverse(), "Unordered")]
#[case::settling(|s: &mut Snapshot, _: &mut Demand, _: &mut Plan| s.gpus[1].availability = Availability::Settling, "NotFree")]
#[case::unavailable(|s: &mut Snapshot, _: &mut Demand, _: &mut Plan| s.gpus[1].availability = Availability::Unavailable, "NotFree")]
#[case::empty_change(|_: &mut Snapshot, _: &mut Demand, p: &mut Plan| p.changes.push(GpuChange { gpu: n(2), destroy: vec![], create: vec![] }), "EmptyChange")]
#[case::smallest_first(|_: &mut Snapshot, _: &mut Demand, p: &mut Plan| p.changes[0].create.reverse(), "NotLargestFirst")]
#[case::destroys_in_use(|s: &mut Snapshot, _: &mut Demand, p: &mut Plan| p.changes[0].destroy.extend(&s.gpus[0].in_use.0), "DestroysInUse")]
#[case::destroys_missing(|s: &mut Snapshot, _: &mut Demand, _: &mut Plan| s.gpus[0].idle.0.clear(), "DestroysMissing")]
#[case::destroys_twice(|_: &mut Snapshot, _: &mut Demand, p: &mut Plan| { let d = p.changes[0].destroy[0]; p.changes[0].destroy.push(d); }, "DestroysMissing")]
#[case::needless_destroy(|_: &mut Snapshot, _: &mut Demand, p: &mut Plan| p.changes[1].destroy.push(slice("1g.5gb@3")), "NeedlessDestroy")]
#[case::creates_present(|_: &mut Snapshot, _: &mut Demand, p: &mut Plan| p.changes[1].create.push(slice("1g.5gb@3")), "CreatesPresent")]
#[case::destroys_and_creates(|_: &mut Snapshot, _: &mut Demand, p: &mut Plan| { p.changes[1].destroy.push(slice("1g.5gb@3")); p.changes[1].create[1] = slice("1g.5gb@3"); }, "CreatesPresent")]
#[case::creates_twice(|_: &mut Snapshot, _: &mut Demand, p: &mut Plan| { let c = p.changes[1].create[1]; p.changes[1].create.push(c); }, "CreatesPresent")]
#[case::bad_place(|_: &mut Snapshot, _: &mut Demand, p: &mut Plan| p.changes[1].create[0].placement.start = 1, "NotOffered")]
#[case::bad_profile(|_: &mut Snapshot, _: &mut Demand, p: &mut Plan| p.changes[1].create[0].profile.0 = 99, "NotOffered")]
#[case::overlap(|_: &mut Snapshot, _: &mut Demand, p: &mut Plan| p.changes[0].destroy.clear(), "Overlap")]
#[case::overlaps_in_use(|_: &mut Snapshot, _: &mut Demand, p: &mut Plan| p.changes[0].create[1] = slice("1g.5gb+me@6"), "Overlap")]
#[case::too_many(|_: &mut Snapshot, _: &mut Demand, p: &mut Plan| p.changes[1].create = vec![slice("1g.5gb+me@0"), slice("1g.5gb+me@1")], "TooMany")]
#[case::missing_class(|_: &mut Snapshot, _: &mut Demand, p: &mut Plan| p.report.classes.truncate(2), "MissingClass")]
#[case::unknown_class(|_: &mut Snapshot, _: &mut Demand, p: &mut Plan| p.report.classes[0].id = "x".to_owned(), "UnknownClass")]
#[case::wanted_differs(|_: &mut Snapshot, _: &mut Demand, p: &mut Plan| p.report.classes[0].wanted = 5, "WrongCount")]
#[case::request_lost(|_: &mut Snapshot, d: &mut Demand, _: &mut Plan| d.classes[0].count = 2, "WrongCount")]
#[case::more_served_than_wanted(|_: &mut Snapshot, _: &mut Demand, p: &mut Plan| p.report.classes[1].served_idle = 9, "WrongCount")]
#[case::unmet_invented(|_: &mut Snapshot, _: &mut Demand, p: &mut Plan| p.report.classes[1].unmet.push(Unmet { reason: UnmetReason::NoRoom, count: 1, detail: String::new() }), "WrongCount")]
#[case::idle_called_new(|_: &mut Snapshot, _: &mut Demand, p: &mut Plan| { p.report.classes[1].served_idle = 0; p.report.classes[1].served_new = 2; }, "NotServable")]
#[case::new_called_idle(|_: &mut Snapshot, _: &mut Demand, p: &mut Plan| { p.report.classes[0].served_idle = 1; p.report.classes[0].served_new = 0; }, "NotServable")]
#[case::slice_not_created(|_: &mut Snapshot, _: &mut Demand, p: &mut Plan| p.changes[1].create.truncate(1), "NotServable")]
#[case::other_profile_created(|_: &mut Snapshot, _: &mut Demand, p: &mut Plan| p.changes[1].create[1] = slice("1g.5gb+me@2"), "NotServable")]
#[case::needless_create(|_: &mut Snapshot, _: &mut Demand, p: &mut Plan| { let one = &mut p.report.classes[1]; one.served_new = 0; one.unmet = vec![Unmet { reason: UnmetReason::NoRoom, count: 1, detail: String::new() }]; }, "NeedlessCreate")]
#[case::weight_invented(|_: &mut Snapshot, _: &mut Demand, p: &mut Plan| p.report.weight += 1, "WrongWeight")]
fn each_rule(
    #[case] break_it: impl Fn(&mut Snapshot, &mut Demand, &mut Plan),
    #[case] expected: &str,
) {
    let (mut snapshot, mut demand, mut plan) = scene();
    break_it(&mut snapshot, &mut demand, &mut plan);
    let violations = check(&snapshot, &demand, plan).unwrap_err();
    let found: Vec<String> = violations.iter().map(|v| format!("{v:?}")).collect();
    assert!(
        found
            .iter()
            .any(|v| v.split_once(' ').unwrap().0 == expected),
        "{expected} is not in {found:#?}"
    );
}

fn slice(text: &str) -> mica_model::Slice {
    *layout(&a100(), text).0.first().unwrap()
}

/// Engines bind where slots and counts do not: on an A30, `1g.6gb+me` beside `2g.12gb+me`.
#[test]
fn engines() {
    let board = std::sync::Arc::new(mica_model::testing::a30_24gb());
    let snapshot = Snapshot {
        gpus: vec![gpu(&board, "n/0", "2g.12gb+me@0", "")],
    };
    let demand = Demand {
        classes: vec![class("a", "1g.6gb+me", 1, 1)],
    };
    let mut plan = plan(&snapshot, &demand);
    assert!(plan.changes.is_empty());
    plan.changes.push(GpuChange {
        gpu: n(0),
        destroy: vec![],
        create: layout(&board, "1g.6gb+me@2").0.into_iter().collect(),
    });
    let violations = check(&snapshot, &demand, plan).unwrap_err();
    let expected = Violation::Engines {
        gpu: n(0),
        engine: "optical flow accelerators",
        wanted: 2,
        capacity: 1,
    };
    assert!(violations.contains(&expected), "{violations:?}");
}

/// A plan that is legal and honest, and pointless.
#[rstest]
#[case::swaps_like_for_like("3g.20gb@0", "3g.20gb@0", "4g.20gb@0", 1, Violation::NoGain { weight: 1 })]
#[case::gives_two_for_one("1g.5gb@0 1g.5gb@1", "1g.5gb@0 1g.5gb@1", "2g.10gb@0", 1, Violation::Worse { weight: 1, without: 2 })]
fn no_gain(
    #[case] idle: &str,
    #[case] destroy: &str,
    #[case] create: &str,
    #[case] served: u32,
    #[case] expected: Violation,
) {
    let board = a100();
    let snapshot = Snapshot {
        gpus: vec![gpu(&board, "n/0", "3g.20gb@4", idle)],
    };
    let count = snapshot.gpus[0].idle.0.len().try_into().unwrap();
    let demand = Demand {
        classes: vec![class("a", "1g.5gb|2g.10gb|3g.20gb|4g.20gb", 1, count)],
    };
    let mut plan = plan(&snapshot, &demand);
    assert!(plan.changes.is_empty());
    plan.changes.push(GpuChange {
        gpu: n(0),
        destroy: layout(&board, destroy).0.into_iter().collect(),
        create: layout(&board, create).0.into_iter().collect(),
    });
    let report = &mut plan.report;
    report.weight = u64::from(served);
    report.classes[0].served_idle = 0;
    report.classes[0].served_new = served;
    report.classes[0].unmet = vec![Unmet {
        reason: UnmetReason::NoRoom,
        count: count - served,
        detail: String::new(),
    }];
    assert_eq!(check(&snapshot, &demand, plan), Err(vec![expected]));
}

/// What is claimed for each class may be possible for each alone and not for all together.
#[test]
fn one_slice_serves_one_request() {
    let board = a100();
    let snapshot = Snapshot {
        gpus: vec![gpu(&board, "n/0", "4g.20gb@0", "3g.20gb@4")],
    };
    let demand = Demand {
        classes: vec![
            class("a", "3g.20gb", 1, 1),
            class("b", "3g.20gb|7g.40gb", 1, 1),
        ],
    };
    let mut plan = plan(&snapshot, &demand);
    plan.report.weight = 2;
    for class in &mut plan.report.classes {
        class.served_idle = 1;
        class.unmet.clear();
    }
    let expected = Violation::NotServable {
        class: "b".to_owned(),
        supply: "idle",
        claimed: 1,
        possible: 0,
    };
    assert_eq!(check(&snapshot, &demand, plan), Err(vec![expected]));
}

/// Messages are sentences that name what is wrong.
#[test]
fn messages() {
    let violation = Violation::NotFree {
        gpu: n(1),
        availability: Availability::Settling,
    };
    assert_eq!(violation.to_string(), "n/1: changed, but it is Settling");
}
