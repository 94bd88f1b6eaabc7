//! The planner: which slices to destroy and which to create, for the whole cluster.
//!
//! Pure: no I/O, async, clock, randomness or hash order. Same input, same plan.

mod check;
mod demand;
mod outcome;
mod snapshot;

pub use check::{CheckedPlan, Violation, check};
pub use demand::{Demand, DemandClass};
pub use outcome::{ClassReport, GpuChange, Plan, Report, Unmet, UnmetReason};
pub use snapshot::{Availability, GpuId, GpuState, Snapshot};

/// Plans one round.
#[must_use]
pub fn plan(_snapshot: &Snapshot, demand: &Demand) -> Plan {
    let mut classes: Vec<_> = demand
        .classes
        .iter()
        .map(|class| ClassReport {
            id: class.id.clone(),
            wanted: class.count,
            served_idle: 0,
            served_new: 0,
            unmet: vec![Unmet {
                reason: UnmetReason::NoRoom,
                count: class.count,
                detail: "not planned yet".to_owned(),
            }],
        })
        .collect();
    classes.sort_by(|a, b| a.id.cmp(&b.id));
    Plan {
        changes: Vec::new(),
        report: Report { classes, weight: 0 },
    }
}
