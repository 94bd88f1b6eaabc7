use std::collections::BTreeMap;

use mica_model::{Layout, MigMode};
use mica_planner::{Demand, Plan, Snapshot};
use mica_proto::v1::{QueuePlan, UnmetReason};

use super::{Round, round_by};
use crate::{
    config,
    serve::{
        index::HeldBy,
        testing::{Fixture, a100, gpu, queue},
    },
};

fn layouts(round: &Round, node: &str) -> BTreeMap<String, Layout> {
    round.layouts.get(node).cloned().unwrap_or_default()
}

fn plan<'a>(round: &'a Round, name: &str) -> &'a QueuePlan {
    let mut plans = round.queues.values();
    plans.find(|plan| plan.name == name).unwrap()
}

fn unmet(round: &Round, name: &str) -> Vec<(UnmetReason, u32)> {
    let unmet = plan(round, name).unmet.iter();
    unmet.map(|unmet| (unmet.reason(), unmet.count)).collect()
}

#[test]
fn nothing_wanted_nothing_done() {
    let mut fixture = Fixture::new(&[queue("q", &["3g.20gb"])]).with_node("n", &["1g.5gb@0", ""]);
    fixture.backlog(&[("q", 0, None)]);
    assert!(fixture.round().layouts.is_empty());
    assert_eq!(fixture.publish(), None);
}

#[test]
fn a_layout_is_complete() {
    let mut fixture = Fixture::new(&[queue("q", &["3g.20gb"])])
        .with_node("n", &["1g.5gb@0* 1g.5gb@1 2g.10gb@4 1g.5gb@6"]);
    fixture.backlog(&[("q", 1, None)]);
    let layouts = layouts(&fixture.round(), "n");
    let layout = &layouts["GPU-n-0"];
    assert!(layout.0.is_superset(&a100("1g.5gb@0 3g.20gb@4").0));
    assert!(a100("1g.5gb@0 1g.5gb@1 3g.20gb@4").0.is_superset(&layout.0));
}

#[test]
fn gpus_that_stay_as_they_are_are_not_named() {
    let mut fixture =
        Fixture::new(&[queue("q", &["7g.40gb"])]).with_node("n", &["1g.5gb@0*", "", "1g.5gb@0*"]);
    fixture.backlog(&[("q", 3, None)]);
    let layouts = layouts(&fixture.round(), "n");
    assert_eq!(
        layouts,
        BTreeMap::from([("GPU-n-1".to_owned(), a100("7g.40gb@0"))])
    );
}

#[test]
fn what_is_there_or_under_way_is_not_made_again() {
    let mut fixture = Fixture::new(&[queue("q", &["3g.20gb"])]).with_node("n", &["3g.20gb@0", ""]);
    fixture.backlog(&[("q", 2, None)]);
    let first = fixture.round();
    assert_eq!(plan(&first, "q").served_idle, 1);
    assert_eq!(plan(&first, "q").served_new, 1);
    fixture.publish().unwrap();
    let second = fixture.round();
    assert_eq!(plan(&second, "q").served_idle, 2);
    assert!(second.layouts.is_empty());
}

#[test]
fn half_made_instances_are_cleared_away() {
    let mut fixture = Fixture::new(&[queue("q", &["3g.20gb"])])
        .with_node("n", &["1g.5gb@0* 3g.20gb@4-", "2g.10gb@0"]);
    let idle = layouts(&fixture.round(), "n");
    assert_eq!(
        idle,
        BTreeMap::from([("GPU-n-0".to_owned(), a100("1g.5gb@0"))])
    );
    fixture.backlog(&[("q", 2, None)]);
    let wanted = layouts(&fixture.round(), "n");
    assert_eq!(wanted["GPU-n-0"], a100("1g.5gb@0 3g.20gb@4"), "or finished");
}

#[test]
fn mig_is_enabled_where_it_is_off() {
    let mut fixture = Fixture::new(&[queue("q", &["3g.20gb"])]);
    fixture.try_join("n", 0).unwrap();
    let mut seen = gpu("n", 0, "");
    seen.mig_mode = MigMode::Disabled;
    fixture.report("n", vec![seen]);
    assert!(fixture.round().layouts.is_empty(), "not without need");
    fixture.backlog(&[("q", 1, None)]);
    assert_eq!(layouts(&fixture.round(), "n").len(), 1);
}

#[test]
fn a_limit_is_kept() {
    let limited = config::Queue {
        max_running: Some(3),
        ..queue("q", &["1g.5gb"])
    };
    let mut fixture = Fixture::new(&[limited]).with_node("n", &[""]);
    fixture.backlog(&[("q", 5, Some(1))]);
    let round = fixture.round();
    assert_eq!(plan(&round, "q").wanted, 2);
    assert_eq!(unmet(&round, "q"), [(UnmetReason::Limit, 3)]);
    fixture.backlog(&[("q", 5, Some(9))]);
    assert_eq!(unmet(&fixture.round(), "q"), [(UnmetReason::Limit, 5)]);
    fixture.backlog(&[("q", 5, None)]);
    assert_eq!(
        plan(&fixture.round(), "q").wanted,
        0,
        "not knowing how many run, nobody is let in"
    );
}

#[test]
fn reasons_reach_the_queues() {
    let mut fixture = Fixture::new(&[
        queue("big", &["7g.40gb"]),
        queue("none", &["3g.71gb"]),
        queue("small", &["1g.5gb"]),
    ])
    .with_node("n", &["1g.5gb@0*"]);
    fixture.backlog(&[("big", 1, None), ("none", 2, None), ("small", 1, None)]);
    let round = fixture.round();
    assert_eq!(unmet(&round, "big"), [(UnmetReason::NoRoom, 1)]);
    assert_eq!(unmet(&round, "none"), [(UnmetReason::NoSuchProfile, 2)]);
    assert_eq!(unmet(&round, "small"), []);
    fixture.leave("n");
    assert_eq!(
        unmet(&fixture.round(), "small"),
        [(UnmetReason::GpuUnavailable, 1)]
    );
}

#[test]
fn priority_beats_numbers() {
    let first = config::Queue {
        priority: 1,
        ..queue("first", &["1g.5gb"])
    };
    let mut fixture = Fixture::new(&[first, queue("large", &["7g.40gb"])]).with_node("n", &[""]);
    fixture.backlog(&[("first", 1, None), ("large", 1, None)]);
    let round = fixture.round();
    assert_eq!(plan(&round, "first").served_new, 1);
    assert_eq!(plan(&round, "large").served_new, 0);
    fixture.backlog(&[("first", 0, None), ("large", 1, None)]);
    assert_eq!(plan(&fixture.round(), "large").served_new, 1);
}

#[test]
fn a_sick_node_delays_nothing_elsewhere() {
    let mut fixture = Fixture::new(&[queue("q", &["7g.40gb"])])
        .with_node("a", &[""])
        .with_node("b", &[""]);
    fixture.backlog(&[("q", 1, None)]);
    fixture.publish().unwrap();
    let (silent, other) = match fixture.desired("a") {
        Some(_) => ("a", "b"),
        None => ("b", "a"),
    };
    fixture.wait(std::time::Duration::from_secs(60));
    fixture.publish().unwrap();
    assert!(fixture.desired(other).is_some(), "not waiting for {silent}");
}

#[test]
fn the_same_cluster_gives_the_same_plan() {
    let mut fixture = Fixture::new(&[queue("q", &["3g.20gb"]), queue("r", &["2g.10gb"])])
        .with_node("a", &["1g.5gb@0*", ""])
        .with_node("b", &["", "2g.10gb@2"]);
    fixture.backlog(&[("q", 3, None), ("r", 4, None)]);
    let (first, second) = (fixture.round(), fixture.round());
    assert_eq!(first.changes, second.changes);
    assert_eq!(first.layouts, second.layouts);
}

/// A planner that destroys what is not there, on every GPU of node `a` that it changes.
fn careless(snapshot: &Snapshot, demand: &Demand) -> Plan {
    let mut plan = mica_planner::plan(snapshot, demand);
    for change in &mut plan.changes {
        if change.gpu.node == "a" {
            change.destroy = a100("1g.5gb@6").0.into_iter().collect();
        }
    }
    plan
}

#[test]
fn a_gpu_with_a_broken_plan_stops_no_other() {
    let mut fixture = Fixture::new(&[queue("q", &["7g.40gb"])])
        .with_node("a", &[""])
        .with_node("b", &[""]);
    fixture.backlog(&[("q", 2, None)]);
    let round = round_by(&fixture.index, careless).unwrap();
    let told: Vec<_> = round.layouts.keys().collect();
    assert_eq!(told, ["b"]);
    assert_eq!(plan(&round, "q").served_new, 1);

    let left_out = round.left_out.clone();
    let news = fixture
        .index
        .note_round(round.queues.clone(), left_out.clone());
    assert_eq!(news, left_out, "to be logged");
    let news = fixture.index.note_round(round.queues, left_out);
    assert!(news.is_empty(), "once");
    let held = |node: &str| {
        let mut gpus = fixture.index.gpus();
        let (id, node, gpu) = gpus.find(|(id, ..)| id.node == node)?;
        fixture.index.held(&id, node, gpu)
    };
    assert_eq!(held("b"), None);
    let held = held("a").unwrap();
    assert_eq!(held.by, HeldBy::BrokenPlan);
    assert_eq!(
        held.reason,
        "the plan for it breaks a rule (a/0: destroys 1g.5gb@6, which is not there)"
    );
}

#[test]
fn a_broken_plan_that_is_no_gpus_fault_is_withheld() {
    let mut fixture = Fixture::new(&[queue("q", &["7g.40gb"])]).with_node("a", &[""]);
    fixture.backlog(&[("q", 1, None)]);
    let lie = |snapshot: &Snapshot, demand: &Demand| {
        let mut plan = mica_planner::plan(snapshot, demand);
        plan.report.weight += 1;
        plan
    };
    let violations = round_by(&fixture.index, lie).unwrap_err();
    assert_eq!(violations.len(), 1, "{violations:?}");
    let stubborn = |snapshot: &Snapshot, demand: &Demand| {
        let mut snapshot = snapshot.clone();
        for gpu in &mut snapshot.gpus {
            gpu.availability = mica_planner::Availability::Free;
        }
        careless(&snapshot, demand)
    };
    round_by(&fixture.index, stubborn).unwrap_err();
}
