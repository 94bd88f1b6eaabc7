//! The planner: which slices to destroy and which to create, for the whole cluster.
//!
//! Pure: no I/O, async, clock, randomness or hash order. Same input, same plan.

mod allotment;
mod assign;
mod cells;
mod check;
mod demand;
mod exchange;
mod market;
mod matching;
mod options;
mod outcome;
mod reasons;
mod search;
mod snapshot;

pub use check::{CheckedPlan, Violation, check};
pub use demand::{Demand, DemandClass};
pub use outcome::{ClassReport, GpuChange, Plan, Report, Unmet, UnmetReason};
pub use snapshot::{Availability, GpuId, GpuState, Snapshot};

/// Plans one round.
#[must_use]
pub fn plan(snapshot: &Snapshot, demand: &Demand) -> Plan {
    let mut gpus: Vec<&GpuState> = snapshot.gpus.iter().collect();
    gpus.sort();
    let mut classes: Vec<&DemandClass> = demand.classes.iter().collect();
    classes.sort();
    let market = market::Market::new(&classes);
    let cells = cells::cells(&gpus, &market);
    let fixed = assign::fixed(&gpus, &market);
    let present = allotment::Allotment::new(&cells, matching::Matching::new(&market), &fixed);
    let allotment = search::search(&present);
    let assignment = assign::assign(&cells, &allotment, &market);
    let served = assign::served(
        &market,
        allotment.matching(),
        &assignment.created,
        classes.len(),
    );
    let report = reasons::report(&gpus, &classes, &served, &assignment.changes);
    Plan {
        changes: assignment.changes,
        report,
    }
}
