//! The greedy search: the best step first, until no step improves the plan. Exact for one GPU.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::allotment::{Allotment, Score, Step};

/// Which step the greedy search takes first. None is best for every cluster, so all are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// That which gains most. Exact when there is one GPU.
    Gain,
    /// That which gains most for each slot of new slices.
    PerSlot,
    /// That which gains most for each operation.
    PerOperation,
}

/// A step as the greedy search ranks it: by rule, then by what it changes; the first of equals wins.
type Ranked = (i128, Score, Reverse<Step>);

/// Takes improving steps, the best by `rule` first, until there is none.
///
/// Ranks go stale as other steps are taken. They are computed again when a step comes up, and for all when none is left.
pub(crate) fn improve(plan: &mut Allotment<'_>, rule: Rule) {
    loop {
        let mut queue: BinaryHeap<Ranked> = BinaryHeap::new();
        for (cell, from) in plan.places() {
            queue.extend(best_step(plan, rule, cell, from));
        }
        if queue.is_empty() {
            return;
        }
        while let Some((.., Reverse(stale))) = queue.pop() {
            let Some(ranked) = best_step(plan, rule, stale.cell, stale.from) else {
                continue;
            };
            if queue.peek().is_some_and(|next| *next > ranked) {
                queue.push(ranked);
                continue;
            }
            let (.., Reverse(step)) = ranked;
            plan.take(step);
            queue.extend(best_step(plan, rule, step.cell, step.from));
            queue.extend(best_step(plan, rule, step.cell, step.to));
        }
    }
}

/// The best improving step of a GPU of `cell` that has the choice `from`.
fn best_step(plan: &mut Allotment<'_>, rule: Rule, cell: usize, from: usize) -> Option<Ranked> {
    let mut best: Option<Ranked> = None;
    for step in plan.steps(cell, from) {
        let bound = plan.at_most(step)?;
        let ranked =
            |plan: &Allotment<'_>, score| (lead(plan, rule, step, score), score, Reverse(step));
        if !bound.improves() || best.is_some_and(|best| ranked(plan, bound) <= best) {
            continue;
        }
        let score = plan.try_step(step)?;
        if score.improves() {
            best = best.max(Some(ranked(plan, score)));
        }
    }
    best
}

/// What a rule looks at first.
fn lead(plan: &Allotment<'_>, rule: Rule, step: Step, score: Score) -> i128 {
    /// Divisible by all numbers up to 12, so that shares of as many slots or operations compare exactly.
    const WHOLE: i128 = 27_720;
    let share = |of: i128| score.weight * WHOLE / of.max(1);
    let slots = |choice| {
        let choice = plan.cell(step.cell).and_then(|cell| cell.choice(choice));
        choice.map_or(0, |choice| i128::from(choice.created_slots))
    };
    match rule {
        Rule::Gain => score.weight,
        Rule::PerSlot => share(slots(step.to) - slots(step.from)),
        Rule::PerOperation => share(i128::from(-score.saved)),
    }
}
