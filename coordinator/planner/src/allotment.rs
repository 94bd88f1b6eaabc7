//! The allotment: how many GPUs of each cell have which choice, and what that is worth. The searches walk on it by steps.

use std::ops::{Add, AddAssign};

use crate::cells::Cell;
use crate::market::Kind;
use crate::matching::Matching;
use crate::options::Choice;

/// How good a plan is, or how much better a step makes it. Compared in the order of the fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Score {
    /// Weight of the requests served.
    pub(crate) weight: i128,
    /// Operations saved: minus the number of operations.
    pub(crate) saved: i64,
    /// Room left for later requests, see [`Choice::room`].
    pub(crate) room: i64,
}

impl Score {
    /// Whether it is an improvement.
    pub(crate) fn improves(self) -> bool {
        self > Self::default()
    }
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

/// One GPU of a cell goes from one choice to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Step {
    /// Position of the cell.
    pub(crate) cell: usize,
    /// Position of the choice that the GPU has.
    pub(crate) from: usize,
    /// Position of the choice that it gets.
    pub(crate) to: usize,
}

impl Step {
    /// The step that undoes it.
    pub(crate) fn back(self) -> Self {
        Self {
            from: self.to,
            to: self.from,
            ..self
        }
    }
}

/// Every choice made so far.
#[derive(Clone, Debug)]
pub(crate) struct Allotment<'a> {
    cells: &'a [Cell<'a>],
    matching: Matching<'a>,
    /// For each cell how many of its GPUs have each choice.
    counts: Vec<Vec<u32>>,
    score: Score,
    /// For each kind what one more slice would gain.
    gains: Vec<u64>,
}

impl<'a> Allotment<'a> {
    /// Everything as it is. `fixed` are the slices of GPUs that may not be changed.
    pub(crate) fn new(cells: &'a [Cell<'a>], mut matching: Matching<'a>, fixed: &[Kind]) -> Self {
        let mut score = Score::default();
        for &kind in fixed {
            score.weight += i128::from(matching.add(kind));
        }
        let mut counts = Vec::with_capacity(cells.len());
        for cell in cells {
            let mut count = vec![0; cell.options.choices.len()];
            if let Some(stay) = count.first_mut() {
                *stay = u32::try_from(cell.gpus.len()).unwrap_or(u32::MAX);
            }
            counts.push(count);
            for _ in &cell.gpus {
                for (kind, offers) in cell.offers(0) {
                    for _ in 0..offers {
                        score.weight += i128::from(matching.add(kind));
                    }
                }
            }
        }
        let mut gains = Vec::new();
        matching.gains(&mut gains);
        Self {
            cells,
            matching,
            counts,
            score,
            gains,
        }
    }

    /// What the plan is worth so far.
    pub(crate) fn score(&self) -> Score {
        self.score
    }

    /// Who is served so far.
    pub(crate) fn matching(&self) -> &Matching<'a> {
        &self.matching
    }

    /// For each kind what one more slice would gain.
    pub(crate) fn gains(&self) -> &[u64] {
        &self.gains
    }

    /// A cell by its position.
    pub(crate) fn cell(&self, position: usize) -> Option<&'a Cell<'a>> {
        self.cells.get(position)
    }

    /// How many GPUs of a cell have each choice.
    pub(crate) fn counts(&self, cell: usize) -> &[u32] {
        self.counts.get(cell).map_or(&[], Vec::as_slice)
    }

    /// Pairs of a cell and a choice that some GPU has.
    pub(crate) fn places(&self) -> Vec<(usize, usize)> {
        let cells = self.counts.iter().enumerate();
        cells
            .flat_map(|(cell, counts)| {
                let held = counts.iter().enumerate().filter(|(_, count)| **count > 0);
                held.map(move |(choice, _)| (cell, choice))
            })
            .collect()
    }

    /// Every step that a GPU of `cell` with the choice `from` can take.
    pub(crate) fn steps(&self, cell: usize, from: usize) -> impl Iterator<Item = Step> + use<> {
        let choices = if self.held(cell, from) {
            self.counts(cell).len()
        } else {
            0
        };
        let others = (0..choices).filter(move |&to| to != from);
        others.map(move |to| Step { cell, from, to })
    }

    /// Whether some GPU of a cell has a choice.
    pub(crate) fn held(&self, cell: usize, choice: usize) -> bool {
        let count = self.counts(cell).get(choice);
        count.is_some_and(|count| *count > 0)
    }

    /// What a step would change.
    pub(crate) fn try_step(&mut self, step: Step) -> Option<Score> {
        let score = self.shift(step)?;
        self.shift(step.back())?;
        Some(score)
    }

    /// An upper bound of what a step would change, cheap to compute: as if it took no slice away, and each new slice gained what
    /// the first of its kind does. Operations and room are exact.
    pub(crate) fn at_most(&self, step: Step) -> Option<Score> {
        let cell = self.cells.get(step.cell)?;
        let (from, to) = (cell.choice(step.from)?, cell.choice(step.to)?);
        let offers = from.offers.iter().zip(&to.offers);
        let lanes = cell.options.kinds.iter().zip(offers);
        let weights = lanes.map(|(kind, (before, after))| {
            let gain = self.gains.get(*kind).copied().unwrap_or(0);
            i128::from(gain) * i128::from(after.saturating_sub(*before))
        });
        Some(settled(weights.sum(), from, to))
    }

    /// Takes a step. Some GPU must have the choice that it starts from.
    pub(crate) fn take(&mut self, step: Step) {
        let Some(score) = self.shift(step) else {
            return;
        };
        self.score += score;
        self.matching.gains(&mut self.gains);
        if let Some(counts) = self.counts.get_mut(step.cell) {
            if let Some(count) = counts.get_mut(step.from) {
                *count = count.saturating_sub(1);
            }
            if let Some(count) = counts.get_mut(step.to) {
                *count = count.saturating_add(1);
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
        Some(settled(weight, from, to))
    }
}

/// The change of the score, of which only the weight hangs on other GPUs.
fn settled(weight: i128, from: &Choice, to: &Choice) -> Score {
    let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    Score {
        weight,
        saved: number(from.operations()) - number(to.operations()),
        room: i64::from(to.room) - i64::from(from.room),
    }
}
