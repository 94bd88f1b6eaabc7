use std::time::Duration;

use mica_model::{Generation, Gpu, Holder, MigMode, Use, WaitsFor};
use mica_planner::{Availability, GpuId};
use mica_proto::v1::{FailedStep, NodeState, RefusalReason};
use rstest::rstest;

use super::Verdict;
use crate::serve::testing::{Fixture, a100, gpu, queue};

const SECOND: Duration = Duration::from_secs(1);

fn cluster() -> Fixture {
    Fixture::new(&[queue("q", &["3g.20gb"])])
}

fn state(fixture: &Fixture, node: &str) -> NodeState {
    fixture.index.nodes()[node].state()
}

fn availability(fixture: &Fixture, node: &str) -> Availability {
    let snapshot = fixture.index.snapshot();
    let mut gpus = snapshot.gpus.iter();
    gpus.find(|gpu| gpu.id.node == node).unwrap().availability
}

fn hold(fixture: &Fixture, node: &str) -> Option<String> {
    let id = GpuId {
        node: node.to_owned(),
        index: 0,
    };
    let (node, gpu) = fixture.index.gpu(&id).unwrap();
    let held = fixture.index.held(&id, node, gpu)?;
    Some(held.reason)
}

fn failure() -> Verdict {
    Verdict::Failed {
        step: FailedStep::CreateGpuInstance,
        code: Some(23),
        detail: "Insufficient Resources".to_owned(),
        rolled_back: true,
    }
}

fn stopped_half_way() -> Verdict {
    Verdict::Failed {
        step: FailedStep::Destroy,
        code: None,
        detail: "process 7".to_owned(),
        rolled_back: true,
    }
}

fn in_use() -> Verdict {
    Verdict::Refused {
        reason: RefusalReason::InUse,
        detail: "process 7".to_owned(),
    }
}

#[test]
fn one_name_one_agent() {
    let mut fixture = cluster().with_node("n", &[""]);
    let error = fixture.try_join("n", 0).unwrap_err();
    assert!(error.to_string().contains("node n: another agent"));
    assert!(error.to_string().contains("--node"), "the remedy");

    let old = fixture.connection("n");
    fixture.leave("n");
    fixture.try_join("n", 0).unwrap();
    fixture.index.agent_left("n", old, fixture.now);
    assert_eq!(state(&fixture, "n"), NodeState::Starting, "not the newer");
}

#[test]
fn a_node_goes_through_its_states() {
    let mut fixture = cluster();
    fixture.try_join("n", 0).unwrap();
    assert_eq!(state(&fixture, "n"), NodeState::Starting);
    fixture.report_slices("n", &[""]);
    assert_eq!(state(&fixture, "n"), NodeState::Ready);
    fixture.backlog(&[("q", 1, None)]);
    fixture.publish().unwrap();
    assert_eq!(state(&fixture, "n"), NodeState::Applying);
    assert!(fixture.outcome("n", &Verdict::Applied));
    assert_eq!(
        state(&fixture, "n"),
        NodeState::Applying,
        "until a report shows what came of it"
    );
    fixture.report_slices("n", &["3g.20gb@0"]);
    assert_eq!(state(&fixture, "n"), NodeState::Ready);
    fixture.leave("n");
    assert_eq!(state(&fixture, "n"), NodeState::Lost);
    assert_eq!(availability(&fixture, "n"), Availability::Unavailable);
    assert_eq!(
        hold(&fixture, "n").as_deref(),
        Some("the agent of its node is lost")
    );
    fixture.try_join("n", 1).unwrap();
    assert_eq!(
        availability(&fixture, "n"),
        Availability::Unavailable,
        "what an earlier stream reported may be old"
    );
}

#[test]
fn a_report_before_the_outcome_settles_too() {
    let mut fixture = cluster().with_node("n", &[""]);
    fixture.backlog(&[("q", 1, None)]);
    let generation = fixture.publish().unwrap();
    fixture.observed_in_reports("n", generation);
    fixture.report_slices("n", &["3g.20gb@0"]);
    assert_eq!(state(&fixture, "n"), NodeState::Applying);
    fixture.outcome("n", &Verdict::Applied);
    assert_eq!(state(&fixture, "n"), NodeState::Ready);
}

#[test]
fn generations_stay_above_every_agent() {
    let mut fixture = cluster();
    fixture.try_join("a", 41).unwrap();
    fixture.report_slices("a", &[""]);
    fixture.try_join("b", 7).unwrap();
    fixture.report_slices("b", &["7g.40gb@0*"]);
    fixture.backlog(&[("q", 1, None)]);
    assert_eq!(fixture.publish(), Some(Generation(42)));
    assert_eq!(fixture.index.newest(), Generation(42));
    fixture.try_join("c", 99).unwrap();
    fixture.report_slices("c", &[""]);
    fixture.backlog(&[("q", 9, None)]);
    assert_eq!(fixture.publish(), Some(Generation(100)));
}

#[rstest]
#[case::in_use("3g.20gb@0*", "3g.20gb@0", "")]
#[case::unknown_counts_as_in_use("3g.20gb@0?", "3g.20gb@0", "")]
#[case::idle("3g.20gb@0", "", "3g.20gb@0")]
#[case::half_made_is_neither("3g.20gb@0-", "", "")]
#[case::half_made_and_unknown("3g.20gb@0?-", "3g.20gb@0", "")]
#[case::mixed("1g.5gb@0 1g.5gb@1* 3g.20gb@4", "1g.5gb@1", "1g.5gb@0 3g.20gb@4")]
fn what_the_planner_sees_of_slices(#[case] slices: &str, #[case] in_use: &str, #[case] idle: &str) {
    let fixture = cluster().with_node("n", &[slices]);
    let snapshot = fixture.index.snapshot();
    let [gpu] = &snapshot.gpus[..] else {
        panic!("one GPU")
    };
    assert_eq!(gpu.in_use, a100(in_use));
    assert_eq!(gpu.idle, a100(idle));
    assert_eq!(gpu.availability, Availability::Free);
}

#[test]
fn a_sick_slice_is_neither_given_away_nor_taken_away() {
    let mut fixture = cluster();
    fixture.try_join("n", 0).unwrap();
    let mut seen = gpu("n", 0, "1g.5gb@0 3g.20gb@4");
    seen.instances[0].fault = Some("XID 94".to_owned());
    fixture.report("n", vec![seen]);
    let snapshot = fixture.index.snapshot();
    assert_eq!(snapshot.gpus[0].in_use, a100("1g.5gb@0"));
    assert_eq!(snapshot.gpus[0].idle, a100("3g.20gb@4"));
}

#[rstest]
#[case::free(|_: &mut Gpu| {}, None)]
#[case::fault(|gpu: &mut Gpu| gpu.fault = Some("fell off the bus".to_owned()), Some("fell off the bus"))]
#[case::pending_on(|gpu: &mut Gpu| gpu.mig_mode = MigMode::PendingEnable, None)]
#[case::pending_off(|gpu: &mut Gpu| gpu.mig_mode = MigMode::PendingDisable, Some("MIG mode is pending-disable: reset the GPU"))]
#[case::off(|gpu: &mut Gpu| gpu.mig_mode = MigMode::Disabled, None)]
#[case::off_and_held(
    |gpu: &mut Gpu| { gpu.mig_mode = MigMode::Disabled; gpu.in_use = Use::by_processes([7, 8]); },
    Some("MIG mode is off and the GPU is in use: processes 7, 8 are on it")
)]
#[case::pending_and_held(
    |gpu: &mut Gpu| {
        gpu.mig_mode = MigMode::PendingEnable;
        gpu.waits_for = Some(WaitsFor::Release);
        gpu.holders = vec![Holder { command: "nv-hostengine".to_owned(), ..Holder::process(9) }];
    },
    Some("MIG mode is off and processes hold the GPU: nv-hostengine (pid 9)")
)]
#[case::pending_until_a_reboot(
    |gpu: &mut Gpu| { gpu.mig_mode = MigMode::PendingEnable; gpu.waits_for = Some(WaitsFor::Reboot); },
    Some("MIG mode is pending-enable: reboot the node")
)]
#[case::pending_and_worked_on(
    |gpu: &mut Gpu| { gpu.mig_mode = MigMode::PendingEnable; gpu.waits_for = Some(WaitsFor::Agent); },
    None
)]
#[case::unknown_profile(
    |gpu: &mut Gpu| {
        *gpu = crate::serve::testing::gpu("n", 0, "3g.20gb@0");
        gpu.instances[0].slice.profile.0 = 77;
    },
    Some("its slices are no layout of its board: NVIDIA A100-SXM4-40GB has no GPU instance profile 77")
)]
fn what_keeps_the_planner_off(#[case] change: fn(&mut Gpu), #[case] reason: Option<&str>) {
    let mut fixture = cluster();
    fixture.try_join("n", 0).unwrap();
    let mut seen = gpu("n", 0, "");
    change(&mut seen);
    fixture.report("n", vec![seen]);
    assert_eq!(hold(&fixture, "n").as_deref(), reason);
    let expected = match reason {
        Some(_) => Availability::Unavailable,
        None => Availability::Free,
    };
    assert_eq!(availability(&fixture, "n"), expected);
}

#[test]
fn gpus_without_mig_are_left_out() {
    let mut fixture = cluster();
    fixture.try_join("n", 0).unwrap();
    let mut seen = gpu("n", 0, "");
    seen.mig_mode = MigMode::Unsupported;
    seen.board = None;
    fixture.report("n", vec![seen]);
    assert!(fixture.index.snapshot().gpus.is_empty());
}

#[test]
fn equal_boards_are_kept_once() {
    let fixture = cluster()
        .with_node("a", &["", ""])
        .with_node("b", &["3g.20gb@0"]);
    assert_eq!(fixture.index.boards().count(), 1);
    let snapshot = fixture.index.snapshot();
    let first = &snapshot.gpus[0].board;
    let mut boards = snapshot.gpus.iter().map(|gpu| &gpu.board);
    assert!(boards.all(|board| std::sync::Arc::ptr_eq(board, first)));
}

#[test]
fn slices_under_way_count_and_those_in_use_win() {
    let mut fixture = cluster().with_node("n", &["1g.5gb@0 1g.5gb@1", "2g.10gb@0"]);
    fixture.backlog(&[("q", 4, None)]);
    fixture.publish().unwrap();
    fixture.report_slices("n", &["1g.5gb@0 1g.5gb@1*", "2g.10gb@0"]);
    let snapshot = fixture.index.snapshot();
    let gpu = &snapshot.gpus[0];
    assert_eq!(gpu.availability, Availability::Settling);
    assert_eq!(gpu.in_use, a100("1g.5gb@1"));
    assert_eq!(gpu.idle, a100("3g.20gb@4"), "the other half was lost");
}

/// Lets a change of the GPU fail, or be refused.
fn attempt(fixture: &mut Fixture, verdict: &Verdict) {
    fixture.publish().unwrap();
    fixture.outcome("n", verdict);
    fixture.report_slices("n", &[""]);
}

#[test]
fn failures_hold_longer_each_time() {
    let mut fixture = cluster().with_node("n", &[""]);
    fixture.backlog(&[("q", 1, None)]);
    for seconds in [2, 4, 8, 16, 32, 60, 60] {
        attempt(&mut fixture, &failure());
        assert_eq!(
            hold(&fixture, "n").as_deref(),
            Some(
                "its last layout failed (step: create gpu instance), the former layout stands: Insufficient Resources"
            )
        );
        assert_eq!(fixture.publish(), None, "held");
        let until = fixture.index.wakes_at().unwrap();
        assert_eq!(until - fixture.now, seconds * SECOND);
        fixture.wait(seconds * SECOND);
        assert_eq!(hold(&fixture, "n"), None);
    }
    attempt(&mut fixture, &Verdict::Applied);
    fixture.report_slices("n", &[""]);
    attempt(&mut fixture, &failure());
    let until = fixture.index.wakes_at().unwrap();
    assert_eq!(until - fixture.now, 2 * SECOND, "success starts it anew");
}

#[rstest]
#[case::refused(&in_use())]
#[case::stopped_half_way(&stopped_half_way())]
fn what_came_into_use_holds_shortly_and_does_not_count(#[case] verdict: &Verdict) {
    let mut fixture = cluster().with_node("n", &[""]);
    fixture.backlog(&[("q", 1, None)]);
    for _ in 0..3 {
        attempt(&mut fixture, verdict);
        let until = fixture.index.wakes_at().unwrap();
        assert_eq!(until - fixture.now, SECOND);
        fixture.wait(SECOND);
    }
}

#[test]
fn a_hold_ends_when_the_gpu_looks_different() {
    let mut fixture = cluster().with_node("n", &[""]);
    fixture.backlog(&[("q", 1, None)]);
    attempt(&mut fixture, &failure());
    let inputs = fixture.index.revision().inputs;
    fixture.report_slices("n", &[""]);
    assert!(hold(&fixture, "n").is_some(), "the same again");
    assert_eq!(fixture.index.revision().inputs, inputs, "no reason to plan");
    fixture.report_slices("n", &["1g.5gb@0*"]);
    assert_eq!(hold(&fixture, "n"), None);
    assert!(fixture.index.revision().inputs > inputs);
}

#[test]
fn a_held_gpu_still_serves() {
    let mut fixture = cluster().with_node("n", &["3g.20gb@0"]);
    fixture.backlog(&[("q", 2, None)]);
    fixture.publish().unwrap();
    fixture.outcome("n", &failure());
    fixture.report_slices("n", &["3g.20gb@0"]);
    let snapshot = fixture.index.snapshot();
    assert_eq!(snapshot.gpus[0].availability, Availability::Settling);
    assert_eq!(snapshot.gpus[0].idle, a100("3g.20gb@0"));
}

#[test]
fn an_agent_that_does_not_answer_is_left_alone() {
    let mut fixture = cluster().with_node("n", &["", "7g.40gb@0*"]);
    fixture.backlog(&[("q", 1, None)]);
    fixture.publish().unwrap();
    assert!(fixture.wait(59 * SECOND).is_empty());
    assert_eq!(fixture.wait(SECOND), ["n"]);
    assert!(fixture.wait(SECOND).is_empty(), "said once");
    assert_eq!(availability(&fixture, "n"), Availability::Unavailable);
    assert!(
        hold(&fixture, "n")
            .unwrap()
            .contains("within 60 s how generation 1 ended")
    );
    let held = fixture
        .index
        .gpus()
        .filter_map(|(id, node, gpu)| fixture.index.held(&id, node, gpu));
    assert_eq!(
        held.count(),
        2,
        "nor is the GPU changed that was to stay as it is"
    );
    fixture.outcome("n", &Verdict::Applied);
    fixture.report_slices("n", &["3g.20gb@0", "7g.40gb@0*"]);
    assert_eq!(availability(&fixture, "n"), Availability::Free);
}

#[test]
fn a_lost_agent_takes_what_was_outstanding_with_it() {
    let mut fixture = cluster().with_node("n", &[""]);
    fixture.backlog(&[("q", 1, None)]);
    fixture.publish().unwrap();
    let late = fixture.desired("n").unwrap();
    fixture.leave("n");
    fixture.try_join("n", 0).unwrap();
    assert_eq!(
        fixture.desired("n"),
        None,
        "a new stream is told nothing old"
    );
    fixture.report_slices("n", &[""]);
    let next = fixture.publish().unwrap();
    assert!(next.0 > late.0);
}

#[test]
fn an_outcome_of_another_generation_changes_nothing() {
    let mut fixture = cluster().with_node("n", &[""]);
    fixture.backlog(&[("q", 1, None)]);
    fixture.publish().unwrap();
    let connection = fixture.connection("n");
    let outcome = super::Outcome {
        generation: Generation(77),
        others: Verdict::Missing,
        gpus: std::collections::BTreeMap::new(),
    };
    let now = fixture.now;
    assert!(!fixture.index.outcome("n", connection, outcome, now));
    assert_eq!(state(&fixture, "n"), NodeState::Applying);
}

#[test]
fn polls_that_fail_or_miss_a_queue_are_shown_and_forget_nothing() {
    let mut fixture = Fixture::new(&[queue("q", &["3g.20gb"]), queue("r", &["1g.5gb"])]);
    let error = |fixture: &Fixture, name: &str| {
        let mut queues = fixture.index.queues().iter();
        let (_, queue) = queues.find(|(key, _)| key.name == name).unwrap();
        (queue.backlog().waiting, queue.error())
    };
    fixture.backlog(&[("q", 3, None), ("stranger", 9, None)]);
    assert_eq!(error(&fixture, "q"), (3, None));
    let (_, missing) = error(&fixture, "r");
    assert!(
        missing
            .unwrap()
            .starts_with("ClearML has no queue r for tenant acme")
    );
    fixture.index.backlog_failed("acme", "connection refused");
    assert_eq!(
        error(&fixture, "q"),
        (3, Some("connection refused".to_owned()))
    );
    fixture.backlog(&[("q", 0, None), ("r", 1, None)]);
    assert_eq!(error(&fixture, "q"), (0, None));
    assert_eq!(error(&fixture, "r"), (1, None));
}

#[test]
fn a_poll_that_brings_nothing_new_is_no_news() {
    let mut fixture = Fixture::new(&[queue("q", &["3g.20gb"])]);
    fixture.backlog(&[("q", 3, None)]);
    let revision = fixture.index.revision();
    fixture.backlog(&[("q", 3, None)]);
    assert_eq!(fixture.index.revision(), revision, "the same again");
    fixture.index.backlog_failed("acme", "connection refused");
    let failed = fixture.index.revision();
    assert!(failed.shown > revision.shown);
    assert_eq!(failed.inputs, revision.inputs, "the demand is the same");
    fixture.index.backlog_failed("acme", "connection refused");
    assert_eq!(fixture.index.revision(), failed);
    fixture.backlog(&[("q", 4, None)]);
    assert!(fixture.index.revision().inputs > failed.inputs);
}

/// Two tenants with a queue each; the first of the file has the later name.
fn two_tenants() -> Fixture {
    Fixture::with_tenants(&[
        ("zeta", &[queue("half", &["3g.20gb"])]),
        ("acme", &[queue("half", &["3g.20gb"])]),
    ])
}

#[test]
fn a_queue_that_two_tenants_reach_counts_once() {
    let mut fixture = two_tenants().with_node("n", &[""]);
    let seen = |fixture: &Fixture, tenant: &str| {
        let mut queues = fixture.index.queues().iter();
        let (_, queue) = queues.find(|(key, _)| key.tenant == tenant).unwrap();
        (queue.backlog().waiting, queue.error())
    };
    fixture.backlog_of("acme", &[("half", "one", 2)]);
    assert_eq!(
        seen(&fixture, "acme"),
        (2, None),
        "nobody else is known to have it"
    );
    let inputs = fixture.index.revision().inputs;
    fixture.backlog_of("zeta", &[("half", "one", 2)]);
    assert!(fixture.index.revision().inputs > inputs);
    assert_eq!(seen(&fixture, "zeta"), (2, None), "the first of the file");
    let (waiting, error) = seen(&fixture, "acme");
    assert_eq!(waiting, 0);
    let error = error.unwrap();
    assert!(
        error.starts_with("this queue and zeta/half are one and the same in ClearML (id one)"),
        "{error}"
    );
    let wanted: u32 = fixture
        .round()
        .queues
        .values()
        .map(|plan| plan.wanted)
        .sum();
    assert_eq!(wanted, 2);
    fixture.backlog_of("acme", &[("half", "one", 5)]);
    assert_eq!(seen(&fixture, "acme").0, 0, "also after the next poll");

    fixture.backlog_of("acme", &[("half", "another", 3)]);
    assert_eq!(
        seen(&fixture, "acme"),
        (3, None),
        "it has got keys of its own"
    );
}

#[test]
fn a_generation_that_nobody_gave_out_is_refused() {
    let report = |generation| {
        let report = mica_proto::v1::Report {
            generation,
            ..mica_proto::v1::Report::default()
        };
        super::Reported::try_from(report)
    };
    report(u64::MAX / 2).unwrap();
    let error = report(u64::MAX).unwrap_err();
    assert_eq!(error.field, "report.generation");
    assert!(
        error.to_string().contains("--state-dir"),
        "the remedy: {error}"
    );
}

#[test]
fn a_node_that_is_lost_for_a_day_is_forgotten() {
    let day = Duration::from_secs(24 * 60 * 60);
    let mut fixture = cluster()
        .with_node("n", &["3g.20gb@0"])
        .with_node("m", &[""]);
    fixture.wait(day);
    fixture.leave("n");
    assert_eq!(fixture.index.wakes_at(), Some(fixture.now + day));
    fixture.wait(day / 2);
    assert_eq!(state(&fixture, "n"), NodeState::Lost);
    let inputs = fixture.index.revision().inputs;
    fixture.wait(day / 2);
    assert_eq!(fixture.index.nodes().keys().collect::<Vec<_>>(), ["m"]);
    assert!(fixture.index.revision().inputs > inputs);
    fixture.try_join("n", 0).unwrap();
    fixture.wait(2 * day);
    assert_eq!(state(&fixture, "n"), NodeState::Starting, "it is not away");
}
