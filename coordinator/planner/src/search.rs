//! The search: which choice each GPU gets. Exact for one GPU, greedy across GPUs, then improved by exchanges.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::{Add, AddAssign};

use crate::cells::Cell;
use crate::market::Kind;
use crate::matching::Matching;

/// How good a plan is, or how much better a step makes it. Compared in the order of the fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Score {
    /// Weight of the requests served.
    pub(crate) weight: i128,
    /// Operations saved: minus the number of operations.
    pub(crate) saved: i64,
    /// Room left for later requests.
    pub(crate) room: i64,
}

impl Add for Score {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            weight: self.weight + other.weight,
            saved: self.saved + other.saved,
            room: self.room + other.room,
        }
    }
}

impl AddAssign for Score {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

/// Which step the greedy search takes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// That which gains most.
    Gain,
    /// That which gains most for each slot of new slices.
    PerSlot,
    /// That which gains most for each operation.
    PerOperation,
}

/// Every choice made so far.
#[derive(Clone, Debug)]
pub(crate) struct Allotment<'a> {
    cells: &'a [Cell<'a>],
    matching: Matching<'a>,
    /// For each cell how many of its GPUs have each choice.
    counts: Vec<Vec<u32>>,
    score: Score,
}

/// A GPU of a cell goes from one choice to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Step {
    cell: usize,
    from: usize,
    to: usize,
}

/// A step as the greedy search ranks it.
type Ranked = (i128, Score, Reverse<Step>);

/// Finds good choices, starting from everything as it is.
pub(crate) fn search<'a>(present: &Allotment<'a>) -> Allotment<'a> {
    let rules = [Rule::Gain, Rule::PerSlot, Rule::PerOperation];
    let plans = rules.into_iter().map(|rule| {
        let mut plan = present.clone();
        plan.improve(rule);
        plan
    });
    plans
        .reduce(|best, plan| {
            if plan.score() > best.score() {
                plan
            } else {
                best
            }
        })
        .unwrap_or_else(|| present.clone())
}

impl<'a> Allotment<'a> {
    /// Everything as it is. `fixed` are the slices of GPUs that may not be changed.
    pub(crate) fn new(cells: &'a [Cell<'a>], mut matching: Matching<'a>, fixed: &[Kind]) -> Self {
        let mut weight = 0;
        for &kind in fixed {
            weight += i128::from(matching.add(kind));
        }
        let mut counts = Vec::with_capacity(cells.len());
        for cell in cells {
            let mut count = vec![0; cell.options.choices.len()];
            if let Some(stay) = count.first_mut() {
                *stay = u32::try_from(cell.gpus.len()).unwrap_or(u32::MAX);
            }
            counts.push(count);
            for _ in &cell.gpus {
                for (kind, offers) in offers(cell, 0) {
                    for _ in 0..offers {
                        weight += i128::from(matching.add(kind));
                    }
                }
            }
        }
        Self {
            cells,
            matching,
            counts,
            score: Score {
                weight,
                ..Score::default()
            },
        }
    }

    pub(crate) fn score(&self) -> Score {
        self.score
    }

    pub(crate) fn matching(&self) -> &Matching<'a> {
        &self.matching
    }

    /// How many GPUs of a cell have each choice.
    pub(crate) fn counts(&self, cell: usize) -> &[u32] {
        self.counts.get(cell).map_or(&[], Vec::as_slice)
    }

    /// Takes improving steps, the best by `rule` first, until none is left.
    pub(crate) fn improve(&mut self, rule: Rule) {
        loop {
            let mut queue: BinaryHeap<Ranked> = BinaryHeap::new();
            for (cell, from) in self.places() {
                queue.extend(self.best_step(rule, cell, from));
            }
            if queue.is_empty() {
                return;
            }
            while let Some((.., Reverse(stale))) = queue.pop() {
                let Some(ranked) = self.best_step(rule, stale.cell, stale.from) else {
                    continue;
                };
                if queue.peek().is_some_and(|next| *next > ranked) {
                    queue.push(ranked);
                    continue;
                }
                let (.., Reverse(step)) = ranked;
                self.take(step);
                queue.extend(self.best_step(rule, step.cell, step.from));
                queue.extend(self.best_step(rule, step.cell, step.to));
            }
        }
    }

    /// Pairs of a cell and a choice that some GPU has.
    fn places(&self) -> Vec<(usize, usize)> {
        let cells = self.counts.iter().enumerate();
        cells
            .flat_map(|(cell, counts)| {
                let held = counts.iter().enumerate().filter(|(_, count)| **count > 0);
                held.map(move |(choice, _)| (cell, choice))
            })
            .collect()
    }

    /// The best improving step of a GPU of `cell` that has the choice `from`.
    fn best_step(&mut self, rule: Rule, cell: usize, from: usize) -> Option<Ranked> {
        if self.counts(cell).get(from).is_none_or(|count| *count == 0) {
            return None;
        }
        let choices = self.cells.get(cell)?.options.choices.len();
        (0..choices)
            .filter(|&to| to != from)
            .filter_map(|to| {
                let step = Step { cell, from, to };
                let score = self.try_step(step)?;
                (score > Score::default())
                    .then(|| (self.lead(rule, step, score), score, Reverse(step)))
            })
            .max()
    }

    fn lead(&self, rule: Rule, step: Step, score: Score) -> i128 {
        /// Divisible by all numbers up to 12, so that shares compare exactly.
        const WHOLE: i128 = 27_720;
        let share = |of: i128| score.weight * WHOLE / of.max(1);
        let slots = |choice| {
            let cell = self.cells.get(step.cell);
            let choice = cell.and_then(|cell| cell.choice(choice));
            choice.map_or(0, |choice| i128::from(choice.created_slots))
        };
        match rule {
            Rule::Gain => score.weight,
            Rule::PerSlot => share(slots(step.to) - slots(step.from)),
            Rule::PerOperation => share(i128::from(-score.saved)),
        }
    }

    /// What a step would change.
    fn try_step(&mut self, step: Step) -> Option<Score> {
        let score = self.shift(step)?;
        self.shift(step.back())?;
        Some(score)
    }

    /// Takes a step.
    fn take(&mut self, step: Step) {
        if let Some(score) = self.shift(step) {
            self.score += score;
            let counts = self.counts.get_mut(step.cell);
            for (choice, count) in counts.into_iter().flatten().enumerate() {
                *count += u32::from(choice == step.to);
                *count -= u32::from(choice == step.from);
            }
        }
    }

    /// Moves the matching along a step; returns the change of the score.
    fn shift(&mut self, step: Step) -> Option<Score> {
        let cell = self.cells.get(step.cell)?;
        let (from, to) = (cell.choice(step.from)?, cell.choice(step.to)?);
        let lanes = || {
            let offers = from.offers.iter().zip(&to.offers);
            cell.options.kinds.iter().copied().zip(offers)
        };
        let mut weight = 0;
        for (kind, (before, after)) in lanes() {
            for _ in *after..*before {
                weight -= i128::from(self.matching.remove(kind));
            }
        }
        for (kind, (before, after)) in lanes() {
            for _ in *before..*after {
                weight += i128::from(self.matching.add(kind));
            }
        }
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        Some(Score {
            weight,
            saved: number(from.operations()) - number(to.operations()),
            room: i64::from(to.room) - i64::from(from.room),
        })
    }
}

impl Step {
    fn back(self) -> Self {
        Self {
            from: self.to,
            to: self.from,
            ..self
        }
    }
}

/// What a choice offers: pairs of kind and number.
pub(crate) fn offers(cell: &Cell<'_>, choice: usize) -> impl Iterator<Item = (Kind, u8)> {
    let offers = cell.choice(choice).map(|choice| choice.offers.iter());
    let kinds = cell.options.kinds.iter().copied();
    kinds.zip(offers.into_iter().flatten().copied())
}
