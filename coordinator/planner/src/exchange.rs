//! The exchange: where no single step improves a plan, a chain may: one GPU gives slices up for better ones, and others make up
//! for what was given up.

use std::cmp::{Ordering, Reverse};

use crate::allotment::{Allotment, Score, Step};
use crate::greedy::{Rule, improve};

/// How many steps are tried for each kind of slice and direction. More finds little more and costs time.
const SHORTLIST: usize = 16;
/// How many steps a chain may have.
const CHAIN: usize = 4;
/// How often the shortlists are made anew. Small clusters need two or three passes; the limit bounds the time for large ones,
/// where the last passes gain a few parts in ten thousand.
const PASSES: usize = 16;

/// Takes improving chains until a pass finds none.
pub(crate) fn exchange(plan: &mut Allotment<'_>, rule: Rule) {
    for _ in 0..PASSES {
        let shortlists = Shortlists::new(plan);
        let mut found = false;
        for first in shortlists.losing() {
            found |= take_chain(plan, first, &shortlists);
        }
        if !found {
            return;
        }
        improve(plan, rule);
    }
}

/// Takes a step and those that best make up for it, if together they improve the plan.
fn take_chain(plan: &mut Allotment<'_>, first: Step, shortlists: &Shortlists) -> bool {
    let before = plan.gains().to_vec();
    let start = plan.score();
    let mut chain = Vec::new();
    let mut next = plan.held(first.cell, first.from).then_some(first);
    while let Some(step) = next {
        plan.take(step);
        chain.push(step);
        if plan.score() > start {
            return true;
        }
        if chain.len() == CHAIN {
            break;
        }
        next = best_answer(plan, &before, shortlists);
    }
    for step in chain.into_iter().rev() {
        plan.take(step.back());
    }
    false
}

/// The step that gains most, of those that add a slice of a kind that gains more than it did `before`.
fn best_answer(plan: &mut Allotment<'_>, before: &[u64], shortlists: &Shortlists) -> Option<Step> {
    let mut best: Option<(Score, Reverse<Step>)> = None;
    for (kind, list) in shortlists.gaining.iter().enumerate() {
        if plan.gains().get(kind) <= before.get(kind) {
            continue;
        }
        for &(_, Reverse(step)) in &list.0 {
            if !plan.held(step.cell, step.from) {
                continue;
            }
            let bound = plan.at_most(step)?;
            if bound.weight == 0 || best >= Some((bound, Reverse(step))) {
                continue;
            }
            let score = plan.try_step(step)?;
            if score.weight > 0 {
                best = best.max(Some((score, Reverse(step))));
            }
        }
    }
    best.map(|(_, Reverse(step))| step)
}

/// Steps that may be part of a chain.
struct Shortlists {
    /// For each kind the best steps that add slices of it.
    gaining: Vec<Shortlist>,
    /// For each kind the best steps that take slices of it away.
    losing: Vec<Shortlist>,
}

impl Shortlists {
    fn new(plan: &mut Allotment<'_>) -> Self {
        let kinds = plan.gains().len();
        let mut lists = Self {
            gaining: vec![Shortlist::default(); kinds],
            losing: vec![Shortlist::default(); kinds],
        };
        for (cell, from) in plan.places() {
            for step in plan.steps(cell, from) {
                lists.offer(plan, step);
            }
        }
        lists
    }

    fn offer(&mut self, plan: &mut Allotment<'_>, step: Step) {
        let (Some(cell), Some(bound)) = (plan.cell(step.cell), plan.at_most(step)) else {
            return;
        };
        let lanes = cell.offers(step.from).zip(cell.offers(step.to));
        let changed: Vec<_> = lanes
            .map(|((kind, before), (_, after))| (kind, after.cmp(&before)))
            .filter(|(_, order)| order.is_ne())
            .collect();
        let worth = |&(kind, order)| self.list(kind, order).is_some_and(|l| l.takes(bound, step));
        if !changed.iter().any(worth) {
            return;
        }
        if let Some(score) = plan.try_step(step) {
            for (kind, order) in changed {
                if let Some(list) = self.list_mut(kind, order) {
                    list.offer(score, step);
                }
            }
        }
    }

    fn list(&self, kind: usize, order: Ordering) -> Option<&Shortlist> {
        if order.is_gt() {
            &self.gaining
        } else {
            &self.losing
        }
        .get(kind)
    }

    fn list_mut(&mut self, kind: usize, order: Ordering) -> Option<&mut Shortlist> {
        if order.is_gt() {
            &mut self.gaining
        } else {
            &mut self.losing
        }
        .get_mut(kind)
    }

    /// Every step that takes slices away, each once.
    fn losing(&self) -> Vec<Step> {
        let lists = self.losing.iter().flat_map(|list| &list.0);
        let mut steps: Vec<Step> = lists.map(|(_, Reverse(step))| *step).collect();
        steps.sort();
        steps.dedup();
        steps
    }
}

/// The best few steps, best first.
#[derive(Clone, Debug, Default)]
struct Shortlist(Vec<(Score, Reverse<Step>)>);

impl Shortlist {
    fn takes(&self, score: Score, step: Step) -> bool {
        let last = self.0.get(SHORTLIST - 1);
        last.is_none_or(|last| (score, Reverse(step)) > *last)
    }

    fn offer(&mut self, score: Score, step: Step) {
        let entry = (score, Reverse(step));
        let place = self.0.partition_point(|better| *better > entry);
        if place < SHORTLIST {
            self.0.insert(place, entry);
            self.0.truncate(SHORTLIST);
        }
    }
}
