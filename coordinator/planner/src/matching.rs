//! The matching: which requests a supply of slices serves, by maximum weight.
//!
//! One slice serves one request, and weights hang on requests only, so the sets of requests that can be served together form a
//! transversal matroid: adding slices one by one, each along the alternating path to the heaviest request it can reach, keeps the
//! matching optimal. A flexible request thus never holds the slice that a strict one needs.

use crate::market::{Kind, Market};

/// A maximum-weight matching of requests and slices that follows a changing supply.
#[derive(Clone, Debug)]
pub(crate) struct Matching<'m> {
    market: &'m Market,
    /// Slices of a kind that a group holds: one row a group, one column a kind.
    held: Vec<u32>,
    /// Requests served, by group: its heaviest.
    served: Vec<u32>,
    /// Slices without a request, by kind.
    spare: Vec<u32>,
    path: Path,
}

/// Scratch space for the search of an alternating path, kept to save allocations.
#[derive(Clone, Debug, Default)]
struct Path {
    queue: Vec<Kind>,
    /// By kind: whether it was reached.
    reached: Vec<bool>,
    /// By kind: the group through which, and the kind from which, it was reached.
    from: Vec<(usize, Kind)>,
    /// By group: whether it was seen.
    seen: Vec<bool>,
}

impl Path {
    fn restart(&mut self, start: Kind) {
        self.reached.fill(false);
        self.seen.fill(false);
        self.queue.clear();
        self.queue.push(start);
        put(&mut self.reached, start, true);
    }

    fn visit(&mut self, kind: Kind, group: usize, from: Kind) {
        put(&mut self.reached, kind, true);
        put(&mut self.from, kind, (group, from));
        self.queue.push(kind);
    }
}

impl<'m> Matching<'m> {
    /// Without any slices.
    pub(crate) fn new(market: &'m Market) -> Self {
        let (kinds, groups) = (market.kinds.len(), market.groups.len());
        Self {
            market,
            held: vec![0; kinds.saturating_mul(groups)],
            served: vec![0; groups],
            spare: vec![0; kinds],
            path: Path {
                queue: Vec::with_capacity(kinds),
                reached: vec![false; kinds],
                from: vec![(0, 0); kinds],
                seen: vec![false; groups],
            },
        }
    }

    /// Adds a slice; returns the weight gained.
    pub(crate) fn add(&mut self, kind: Kind) -> u64 {
        let Some((weight, group, end)) = self.heaviest_waiting(kind) else {
            change(&mut self.spare, kind, 1);
            return 0;
        };
        self.shift(kind, end);
        self.hold(group, end, 1);
        change(&mut self.served, group, 1);
        weight
    }

    /// Takes a slice away; returns the weight lost. The slice must be part of the supply.
    pub(crate) fn remove(&mut self, kind: Kind) -> u64 {
        if at(&self.spare, kind) > 0 {
            change(&mut self.spare, kind, -1);
            return 0;
        }
        match self.lightest_served(kind) {
            Freed::Spare(end) => {
                change(&mut self.spare, end, -1);
                self.shift_back(kind, end);
                0
            }
            Freed::Dropped(weight, group, end) => {
                self.hold(group, end, -1);
                change(&mut self.served, group, -1);
                self.shift_back(kind, end);
                weight
            }
            Freed::Nothing => 0,
        }
    }

    /// The heaviest request that a new slice of `start` could serve after handing slices on: weight, group, kind to take.
    fn heaviest_waiting(&mut self, start: Kind) -> Option<(u64, usize, Kind)> {
        let market = self.market;
        let mut best: Option<(u64, usize, Kind)> = None;
        self.path.restart(start);
        let mut next = 0;
        while let Some(&kind) = self.path.queue.get(next) {
            next += 1;
            for &group in market.takers(kind) {
                if mark(&mut self.path.seen, group) {
                    continue;
                }
                if let Some(weight) = market.weight(group, at(&self.served, group))
                    && best.is_none_or(|(most, ..)| weight > most)
                {
                    best = Some((weight, group, kind));
                }
                for &other in market.accepts(group) {
                    if !at(&self.path.reached, other) && self.holds(group, other) > 0 {
                        self.path.visit(other, group, kind);
                    }
                }
            }
        }
        best
    }

    /// How a used slice of `start` can be given up at the least loss.
    fn lightest_served(&mut self, start: Kind) -> Freed {
        let market = self.market;
        let mut best = Freed::Nothing;
        self.path.restart(start);
        let mut next = 0;
        while let Some(&kind) = self.path.queue.get(next) {
            next += 1;
            for &group in market.takers(kind) {
                if self.holds(group, kind) == 0 || mark(&mut self.path.seen, group) {
                    continue;
                }
                let last = at(&self.served, group).saturating_sub(1);
                if let Some(weight) = market.weight(group, last)
                    && best.is_worse_than(weight)
                {
                    best = Freed::Dropped(weight, group, kind);
                }
                for &other in market.accepts(group) {
                    if !at(&self.path.reached, other) {
                        self.path.visit(other, group, kind);
                        if at(&self.spare, other) > 0 {
                            return Freed::Spare(other);
                        }
                    }
                }
            }
        }
        best
    }

    /// Hands slices on along the path from `start` to `end`: leaves one of `end` to be taken, where one of `start` came in.
    fn shift(&mut self, start: Kind, end: Kind) {
        let mut kind = end;
        while kind != start {
            let (group, from) = at(&self.path.from, kind);
            self.hold(group, kind, -1);
            self.hold(group, from, 1);
            kind = from;
        }
    }

    /// Hands slices on along the path from `end` back to `start`: frees one of `start`, where one of `end` was given up.
    fn shift_back(&mut self, start: Kind, end: Kind) {
        let mut kind = end;
        while kind != start {
            let (group, from) = at(&self.path.from, kind);
            self.hold(group, kind, 1);
            self.hold(group, from, -1);
            kind = from;
        }
    }

    /// Slices of a kind that a group holds.
    pub(crate) fn holds(&self, group: usize, kind: Kind) -> u32 {
        at(&self.held, self.cell(group, kind))
    }

    fn hold(&mut self, group: usize, kind: Kind, by: i32) {
        let cell = self.cell(group, kind);
        change(&mut self.held, cell, by);
    }

    fn cell(&self, group: usize, kind: Kind) -> usize {
        group * self.spare.len() + kind
    }

    /// Slices of a kind that serve somebody.
    pub(crate) fn used(&self, kind: Kind) -> u32 {
        let takers = self.market.takers(kind).iter();
        takers.map(|&group| self.holds(group, kind)).sum()
    }

    /// Requests of each group that are served, heaviest first.
    pub(crate) fn served(&self) -> &[u32] {
        &self.served
    }

    /// For each kind, what one more slice would gain.
    pub(crate) fn gains(&mut self, gains: &mut Vec<u64>) {
        gains.clear();
        for kind in 0..self.spare.len() {
            let heaviest = self.heaviest_waiting(kind);
            gains.push(heaviest.map_or(0, |(weight, ..)| weight));
        }
    }
}

/// What gives way when a slice is taken from the supply.
#[derive(Clone, Copy, Debug)]
enum Freed {
    /// Nothing holds such a slice.
    Nothing,
    /// A spare slice of this kind steps in.
    Spare(Kind),
    /// The lightest request of a group goes unserved: its weight, the group, the kind it held.
    Dropped(u64, usize, Kind),
}

impl Freed {
    fn is_worse_than(self, weight: u64) -> bool {
        match self {
            Self::Nothing => true,
            Self::Spare(_) => false,
            Self::Dropped(least, ..) => weight < least,
        }
    }
}

fn at<T: Copy + Default>(values: &[T], position: usize) -> T {
    values.get(position).copied().unwrap_or_default()
}

fn put<T>(values: &mut [T], position: usize, value: T) {
    if let Some(place) = values.get_mut(position) {
        *place = value;
    }
}

/// Marks a place; whether it was marked before.
fn mark(values: &mut [bool], position: usize) -> bool {
    values
        .get_mut(position)
        .is_none_or(|place| std::mem::replace(place, true))
}

fn change(values: &mut [u32], position: usize, by: i32) {
    if let Some(place) = values.get_mut(position) {
        *place = place.saturating_add_signed(by);
    }
}
