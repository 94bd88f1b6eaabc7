//! The check step: re-derives every rule from the snapshot and a finished plan. Shares no code with the planner.

use std::ops::Deref;

use crate::{Demand, GpuId, Plan, Snapshot};

/// A plan that passed [`check`]: the only kind that may be published.
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

/// A rule that a plan breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A GPU that the snapshot does not have.
    #[error("{gpu}: the snapshot has no such GPU")]
    UnknownGpu {
        /// The GPU.
        gpu: GpuId,
    },
}

/// Whether a plan keeps every rule; returns it as one that may be published, or every violation found.
pub fn check(
    snapshot: &Snapshot,
    _demand: &Demand,
    plan: Plan,
) -> Result<CheckedPlan, Vec<Violation>> {
    let violations: Vec<_> = plan
        .changes
        .iter()
        .filter(|change| !snapshot.gpus.iter().any(|gpu| gpu.id == change.gpu))
        .map(|change| Violation::UnknownGpu {
            gpu: change.gpu.clone(),
        })
        .collect();
    if violations.is_empty() {
        Ok(CheckedPlan(plan))
    } else {
        Err(violations)
    }
}
