//! A round, pure: snapshot → demand → plan → check → the layouts to publish.

#[cfg(test)]
mod histories;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use mica_model::Layout;
use mica_planner::{
    Availability, CheckedPlan, ClassReport, Demand, GpuChange, Snapshot, UnmetReason, Violation,
};
use mica_proto::v1;

use super::{
    demand::{self, Limited, Wanted},
    index::{Index, QueueKey, tidy},
};

/// Complete layouts of the GPUs to change, by node and UUID.
pub(crate) type Layouts = BTreeMap<String, BTreeMap<String, Layout>>;

/// What a plan does for each queue.
pub(crate) type QueuePlans = BTreeMap<QueueKey, v1::QueuePlan>;

/// A round that may be published: its plan passed the check.
#[derive(Debug)]
pub(crate) struct Round {
    /// The plan.
    pub(crate) plan: CheckedPlan,
    /// What to tell the nodes: the plan's changes, and the removal of half-made instances.
    pub(crate) layouts: Layouts,
    /// What the plan does for each queue.
    pub(crate) queues: QueuePlans,
}

/// Plans for the cluster as it is. Changes nothing.
pub(crate) fn round(index: &Index) -> Result<Round, Vec<Violation>> {
    let snapshot = index.snapshot();
    let wanted = demand::wanted(index.queues());
    let boards: Vec<_> = index.boards().collect();
    let demand = demand::demand(index.queues(), &wanted, &boards);
    let plan = plan(&snapshot, &demand)?;
    Ok(Round {
        layouts: layouts(index, &snapshot, &plan),
        queues: queue_plans(&plan, &wanted),
        plan,
    })
}

fn plan(snapshot: &Snapshot, demand: &Demand) -> Result<CheckedPlan, Vec<Violation>> {
    let plan = mica_planner::plan(snapshot, demand);
    mica_planner::check(snapshot, demand, plan)
}

/// The layouts to publish: what stands on each changed GPU, less what goes, plus what comes.
fn layouts(index: &Index, snapshot: &Snapshot, plan: &CheckedPlan) -> Layouts {
    let mut layouts = Layouts::new();
    for state in &snapshot.gpus {
        let change = plan.changes.iter().find(|change| change.gpu == state.id);
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
