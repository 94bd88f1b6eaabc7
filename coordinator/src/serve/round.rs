//! A round, pure: snapshot → demand → plan → check → the layouts to publish.
//!
//! A plan that breaks a rule is never published. When the rule names GPUs, the round plans again without them, so that one GPU
//! which the planner cannot cope with does not stop the others.

#[cfg(test)]
mod histories;
#[cfg(test)]
mod tests;

use std::{cmp::Reverse, collections::BTreeMap};

use mica_model::Layout;
use mica_planner::{
    Availability, CheckedPlan, ClassReport, Demand, GpuChange, GpuId, GpuState, Plan, Snapshot,
    UnmetReason, Violation,
};
use mica_proto::v1;

use super::{
    demand::{self, Limited, Wanted},
    index::{Index, QueueKey, tidy, union},
    place::{self, Placement},
};

/// Complete layouts of the GPUs to change, by node and UUID.
pub(crate) type Layouts = BTreeMap<String, BTreeMap<String, Layout>>;

/// What a plan does for each queue.
pub(crate) type QueuePlans = BTreeMap<QueueKey, v1::QueuePlan>;

/// GPUs that were left out of a plan, with the rules that the plan for them broke.
pub(crate) type LeftOut = BTreeMap<GpuId, String>;

/// How often a round plans in all. Each time it leaves out every GPU at fault, so one repetition is nearly always enough.
const ATTEMPTS: usize = 5;

/// A round that may be published: its plan passed the check.
#[derive(Debug)]
pub(crate) struct Round {
    /// What is to change, in ascending order of GPU.
    pub(crate) changes: Vec<GpuChange>,
    /// What to tell the nodes: the plan's changes, and the removal of half-made instances.
    pub(crate) layouts: Layouts,
    /// What the plan does for each queue.
    pub(crate) queues: QueuePlans,
    /// What was left out.
    pub(crate) left_out: LeftOut,
    /// What was found for pods.
    pub(crate) pods: Placement,
}

/// Plans for the cluster as it is. Changes nothing.
pub(crate) fn round(index: &Index) -> Result<Round, Vec<Violation>> {
    round_by(index, mica_planner::plan)
}

/// A round by some planner, which need not be right.
fn round_by(
    index: &Index,
    planner: impl Fn(&Snapshot, &Demand) -> Plan,
) -> Result<Round, Vec<Violation>> {
    let standing = index.snapshot();
    let mut snapshot = standing.clone();
    let mut left_out = LeftOut::new();
    let mut planning =
        |snapshot: &mut Snapshot, demand: &Demand| plan(snapshot, demand, &mut left_out, &planner);
    let pods = match index.objects() {
        Some(objects) => place::place(
            objects,
            &index.promised(),
            &mut snapshot,
            |gpu, slice| index.is_ready(gpu, slice),
            &mut planning,
        )?,
        None => Placement::default(),
    };
    let wanted = demand::wanted(index.queues());
    let boards: Vec<_> = index.boards().collect();
    let demand = demand::demand(index.queues(), &wanted, &boards);
    let plan = planning(&mut snapshot, &demand)?;
    place::apply(&mut snapshot, &plan);
    let changes = changes(&standing, &snapshot);
    Ok(Round {
        layouts: layouts(index, &snapshot, &changes),
        queues: queue_plans(&plan, &wanted),
        changes,
        left_out,
        pods,
    })
}

/// What turns one snapshot into the other: the plans for pods and queues in one.
fn changes(before: &Snapshot, after: &Snapshot) -> Vec<GpuChange> {
    let standing = |gpu: &GpuState| union(&gpu.in_use, &gpu.idle).0;
    let pairs = before.gpus.iter().zip(&after.gpus);
    let changes = pairs.filter_map(|(before, after)| {
        let (gone, coming) = (standing(before), standing(after));
        let mut create: Vec<_> = coming.difference(&gone).copied().collect();
        create.sort_by_key(|slice| (Reverse(slice.placement.size), slice.placement));
        let mut destroy: Vec<_> = gone.difference(&coming).copied().collect();
        destroy.sort_by_key(|slice| slice.placement);
        let gpu = before.id.clone();
        (!create.is_empty() || !destroy.is_empty()).then_some(GpuChange {
            gpu,
            destroy,
            create,
        })
    });
    let mut changes: Vec<_> = changes.collect();
    changes.sort_by(|a, b| a.gpu.cmp(&b.gpu));
    changes
}

/// A checked plan. GPUs for which the plan breaks a rule become unavailable in the snapshot; a violation that names none, or one
/// that is left out already, is an error.
fn plan(
    snapshot: &mut Snapshot,
    demand: &Demand,
    left_out: &mut LeftOut,
    planner: impl Fn(&Snapshot, &Demand) -> Plan,
) -> Result<CheckedPlan, Vec<Violation>> {
    let mut violations = Vec::new();
    for _ in 0..ATTEMPTS {
        let plan = planner(snapshot, demand);
        violations = match mica_planner::check(snapshot, demand, plan) {
            Ok(plan) => return Ok(plan),
            Err(violations) => violations,
        };
        let known = left_out.len();
        for violation in &violations {
            if let Some(gpu) = gpu_of(violation) {
                let reason = || format!("the plan for it breaks a rule ({violation})");
                left_out.entry(gpu.clone()).or_insert_with(reason);
            }
        }
        if left_out.len() == known {
            break;
        }
        for gpu in &mut snapshot.gpus {
            if left_out.contains_key(&gpu.id) {
                gpu.availability = Availability::Unavailable;
            }
        }
    }
    Err(violations)
}

/// The GPU that a violation names.
fn gpu_of(violation: &Violation) -> Option<&GpuId> {
    match violation {
        Violation::AmbiguousGpu { gpu }
        | Violation::UnknownGpu { gpu }
        | Violation::RepeatedGpu { gpu }
        | Violation::Unordered { gpu }
        | Violation::NotFree { gpu, .. }
        | Violation::EmptyChange { gpu }
        | Violation::NotLargestFirst { gpu }
        | Violation::DestroysInUse { gpu, .. }
        | Violation::DestroysMissing { gpu, .. }
        | Violation::NeedlessDestroy { gpu, .. }
        | Violation::CreatesPresent { gpu, .. }
        | Violation::NotOffered { gpu, .. }
        | Violation::Overlap { gpu, .. }
        | Violation::TooMany { gpu, .. }
        | Violation::Engines { gpu, .. } => Some(gpu),
        Violation::AmbiguousClass { .. }
        | Violation::MissingClass { .. }
        | Violation::UnknownClass { .. }
        | Violation::WrongCount { .. }
        | Violation::NotServable { .. }
        | Violation::NeedlessCreate { .. }
        | Violation::WrongWeight { .. }
        | Violation::Worse { .. }
        | Violation::NoGain { .. } => None,
    }
}

/// The layouts to publish: what stands on each changed GPU, less what goes, plus what comes.
fn layouts(index: &Index, snapshot: &Snapshot, changes: &[GpuChange]) -> Layouts {
    let mut layouts = Layouts::new();
    for state in &snapshot.gpus {
        let change = changes.iter().find(|change| change.gpu == state.id);
        let Some((_, gpu)) = index.gpu(&state.id) else {
            continue;
        };
        let layout = match change {
            Some(change) => Some(apply(gpu.view.standing(), change)),
            None if state.availability == Availability::Free => tidy(gpu),
            None => None,
        };
        if let Some(layout) = layout {
            layouts
                .entry(state.id.node.clone())
                .or_default()
                .insert(gpu.gpu.uuid.clone(), layout);
        }
    }
    layouts
}

fn apply(mut layout: Layout, change: &GpuChange) -> Layout {
    for slice in &change.destroy {
        layout.0.remove(slice);
    }
    layout.0.extend(&change.create);
    layout
}

fn queue_plans(plan: &CheckedPlan, wanted: &BTreeMap<QueueKey, Wanted>) -> QueuePlans {
    let classes: BTreeMap<_, _> = plan
        .report
        .classes
        .iter()
        .map(|class| (class.id.as_str(), class))
        .collect();
    wanted
        .iter()
        .map(|(key, wanted)| {
            let class = classes.get(key.to_string().as_str()).copied();
            (key.clone(), queue_plan(key, wanted, class))
        })
        .collect()
}

fn queue_plan(key: &QueueKey, wanted: &Wanted, class: Option<&ClassReport>) -> v1::QueuePlan {
    let mut unmet: Vec<_> = class
        .into_iter()
        .flat_map(|class| &class.unmet)
        .map(|unmet| v1::Unmet {
            reason: reason(unmet.reason).into(),
            count: unmet.count,
            detail: unmet.detail.clone(),
        })
        .collect();
    if let Some(Limited { count, detail }) = &wanted.limited {
        unmet.push(v1::Unmet {
            reason: v1::UnmetReason::Limit.into(),
            count: *count,
            detail: detail.clone(),
        });
    }
    v1::QueuePlan {
        tenant: key.tenant.clone(),
        name: key.name.clone(),
        wanted: wanted.wanted,
        served_idle: class.map_or(0, |class| class.served_idle),
        served_new: class.map_or(0, |class| class.served_new),
        unmet,
    }
}

fn reason(reason: UnmetReason) -> v1::UnmetReason {
    match reason {
        UnmetReason::NoRoom => v1::UnmetReason::NoRoom,
        UnmetReason::Fragmented => v1::UnmetReason::Fragmented,
        UnmetReason::NoSuchProfile => v1::UnmetReason::NoSuchProfile,
        UnmetReason::GpuUnavailable => v1::UnmetReason::GpuUnavailable,
    }
}
