//! The check step: re-derives every rule from the snapshot, the demand and a finished plan.
//!
//! Independent on purpose: it shares only the public types with the planner, not a line of its reasoning, so that a mistake
//! there does not hide itself here.

mod layout;
mod lending;
mod service;
mod violation;

use std::collections::BTreeMap;
use std::ops::Deref;

pub use violation::Violation;

use crate::{Availability, Demand, GpuChange, GpuId, GpuState, Plan, Snapshot};

/// A plan that passed [`check`]: the only kind that may be published. Reads as the [`Plan`] it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedPlan(Plan);

impl CheckedPlan {
    /// The plan itself.
    #[must_use]
    pub fn into_plan(self) -> Plan {
        self.0
    }
}

impl Deref for CheckedPlan {
    type Target = Plan;

    fn deref(&self) -> &Plan {
        &self.0
    }
}

/// Whether a plan keeps every rule.
///
/// - Only GPUs that exist and are free are changed, each once, in order.
/// - Only idle slices that exist are destroyed, and only to make room; nothing in use is touched.
/// - What then stands is legal: places that the driver offers, no slot twice, no more instances and engines than there are.
/// - Every class is accounted for, what it is said to get can be had, and every new slice serves a request.
/// - A plan that changes anything serves more weight than no change would.
///
/// # Errors
/// Every violation found.
pub fn check(
    snapshot: &Snapshot,
    demand: &Demand,
    plan: Plan,
) -> Result<CheckedPlan, Vec<Violation>> {
    let mut violations = Vec::new();
    let gpus = by_id(snapshot, &mut violations);
    let changes = changes_by_id(&plan, &gpus, &mut violations);
    for (id, change) in &changes {
        if let Some(gpu) = gpus.get(id) {
            check_change(gpu, change, &mut violations);
        }
    }
    service::check(&gpus, demand, &changes, &plan.report, &mut violations);
    if violations.is_empty() {
        Ok(CheckedPlan(plan))
    } else {
        Err(violations)
    }
}

type Gpus<'a> = BTreeMap<&'a GpuId, &'a GpuState>;
type Changes<'a> = BTreeMap<&'a GpuId, &'a GpuChange>;

fn by_id<'a>(snapshot: &'a Snapshot, violations: &mut Vec<Violation>) -> Gpus<'a> {
    let mut gpus = BTreeMap::new();
    for gpu in &snapshot.gpus {
        if gpus.insert(&gpu.id, gpu).is_some() {
            violations.push(Violation::AmbiguousGpu {
                gpu: gpu.id.clone(),
            });
        }
    }
    gpus
}

fn changes_by_id<'a>(
    plan: &'a Plan,
    gpus: &Gpus<'_>,
    violations: &mut Vec<Violation>,
) -> Changes<'a> {
    let mut changes: Changes<'a> = BTreeMap::new();
    for change in &plan.changes {
        let gpu = || change.gpu.clone();
        if !gpus.contains_key(&change.gpu) {
            violations.push(Violation::UnknownGpu { gpu: gpu() });
        }
        match changes.last_key_value() {
            Some((last, _)) if **last > change.gpu && !changes.contains_key(&change.gpu) => {
                violations.push(Violation::Unordered { gpu: gpu() });
            }
            _ => {}
        }
        if changes.insert(&change.gpu, change).is_some() {
            violations.push(Violation::RepeatedGpu { gpu: gpu() });
        }
    }
    changes
}

fn check_change(gpu: &GpuState, change: &GpuChange, violations: &mut Vec<Violation>) {
    let id = || gpu.id.clone();
    if gpu.availability != Availability::Free {
        violations.push(Violation::NotFree {
            gpu: id(),
            availability: gpu.availability,
        });
    }
    if change.destroy.is_empty() && change.create.is_empty() {
        violations.push(Violation::EmptyChange { gpu: id() });
    }
    let descends = change
        .create
        .is_sorted_by(|a, b| a.placement.size >= b.placement.size);
    if !descends {
        violations.push(Violation::NotLargestFirst { gpu: id() });
    }
    layout::check(gpu, change, violations);
}
