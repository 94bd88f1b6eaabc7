//! The planner: which slices to destroy and which to create, for the whole cluster.
//!
//! Pure: no I/O, async, clock, randomness or hash order. Same input, same plan, in whatever order GPUs and classes are given.
//!
//! ```text
//! Demand ──► market ───────────────┐
//!                                  ▼
//! Snapshot ──► cells (options) ──► allotment ──► search, exchange ──► assign ──► report ──► Plan ──► check ──► CheckedPlan
//! ```
//!
//! - The *market* groups requests by what they accept; the *matching* knows which of them a supply of slices serves at most.
//! - A *cell* is all GPUs in equal states. Its *options* are everything that one of them could offer, found by walking all legal
//!   layouts around the slices in use, each at the fewest operations: exact for each GPU.
//! - The *search* is greedy across GPUs, then exchanges. It maximises the weight served, then minimises operations, then keeps
//!   as much room as it can for later; what nobody needs stays as it is.
//! - [`check()`] re-derives every rule from the finished plan and shares no code with the above.

mod allotment;
mod assign;
mod cells;
mod check;
mod demand;
mod exchange;
mod greedy;
mod market;
mod matching;
mod options;
mod outcome;
mod reasons;
mod report;
mod search;
mod snapshot;

pub use check::{CheckedPlan, Violation, check};
pub use demand::{Demand, DemandClass};
pub use outcome::{ClassReport, GpuChange, Plan, Report, Unmet, UnmetReason};
pub use snapshot::{Availability, GpuId, GpuState, Snapshot};

/// Plans one round: which idle slices to destroy and which to create so that the requests served weigh most.
///
/// Nothing in use is touched, only [`Availability::Free`] GPUs are changed, and nothing is changed without a gain in weight.
/// For one GPU the result is optimal in weight, then in operations; for many it is close (the bench prints how close).
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
    let scene = reasons::Scene::new(&gpus, &assignment.changes, &market);
    let report = report::report(&scene, &classes, &served);
    Plan {
        changes: assignment.changes,
        report,
    }
}

#[cfg(test)]
mod tests;
