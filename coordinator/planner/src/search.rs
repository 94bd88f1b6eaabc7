//! The search: which choice each GPU gets. Exact for one GPU, greedy across GPUs, then improved by exchanges.

use crate::allotment::Allotment;
use crate::exchange::exchange;
use crate::greedy::{Rule, improve};

/// Finds good choices, starting from everything as it is.
pub(crate) fn search<'a>(present: &Allotment<'a>) -> Allotment<'a> {
    let improved = |rule| {
        let mut plan = present.clone();
        improve(&mut plan, rule);
        (plan, rule)
    };
    let (mut best, mut rule) = improved(Rule::Gain);
    for other in [Rule::PerSlot, Rule::PerOperation] {
        let (plan, other) = improved(other);
        if plan.score() > best.score() {
            (best, rule) = (plan, other);
        }
    }
    exchange(&mut best, rule);
    best
}
