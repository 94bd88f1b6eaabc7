//! The market: the demand, grouped so that its size does not depend on the number of requests.

use std::collections::{BTreeMap, BTreeSet};

use crate::DemandClass;

/// Position in [`Market::kinds`].
pub(crate) type Kind = usize;

/// What is asked for: kinds of slices, and who takes them.
#[derive(Debug)]
pub(crate) struct Market {
    /// Names of the profiles that some request accepts, in order.
    pub(crate) kinds: Vec<String>,
    /// The requests, those that accept the same together.
    pub(crate) groups: Vec<Group>,
    /// For each kind the groups that accept it, in ascending order.
    takers: Vec<Vec<usize>>,
}

/// Requests that accept the same kinds, heaviest first.
#[derive(Debug)]
pub(crate) struct Group {
    /// The kinds, in ascending order.
    pub(crate) accepts: Vec<Kind>,
    /// Runs of requests of one class, heaviest first.
    pub(crate) runs: Vec<Run>,
}

/// Consecutive requests of a group that belong to one class.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    /// Position of the class in the list that the market was made from.
    pub(crate) class: usize,
    /// Weight of one request.
    pub(crate) weight: u64,
    /// Number of requests in this run and in those before it.
    pub(crate) until: u32,
}

impl Market {
    /// Groups classes. Their order settles ties: of two requests that weigh the same, the class that stands first is served first.
    pub(crate) fn new(classes: &[&DemandClass]) -> Self {
        let wanted = || classes.iter().enumerate().filter(|(_, c)| c.count > 0);
        let names: BTreeSet<&String> = wanted().flat_map(|(_, class)| &class.accept).collect();
        let kinds: Vec<String> = names.into_iter().cloned().collect();
        let mut members: BTreeMap<Vec<Kind>, Vec<(usize, &DemandClass)>> = BTreeMap::new();
        for (position, class) in wanted() {
            let accepts: BTreeSet<Kind> = class
                .accept
                .iter()
                .filter_map(|name| kinds.binary_search(name).ok())
                .collect();
            members
                .entry(accepts.into_iter().collect())
                .or_default()
                .push((position, class));
        }
        let groups: Vec<Group> = members
            .into_iter()
            .map(|(accepts, classes)| Group::new(accepts, classes))
            .collect();
        let takers = (0..kinds.len())
            .map(|kind| {
                (0..)
                    .zip(&groups)
                    .filter(|(_, group)| group.accepts.contains(&kind))
                    .map(|(position, _)| position)
                    .collect()
            })
            .collect();
        Self {
            kinds,
            groups,
            takers,
        }
    }

    /// The kind of a profile; `None` when nobody accepts it.
    pub(crate) fn kind(&self, profile: &str) -> Option<Kind> {
        self.kinds
            .binary_search_by(|kind| kind.as_str().cmp(profile))
            .ok()
    }

    /// The groups that accept a kind.
    pub(crate) fn takers(&self, kind: Kind) -> &[usize] {
        self.takers.get(kind).map_or(&[], Vec::as_slice)
    }

    /// The kinds that a group accepts.
    pub(crate) fn accepts(&self, group: usize) -> &[Kind] {
        self.groups
            .get(group)
            .map_or(&[], |group| group.accepts.as_slice())
    }

    /// Weight of the n-th heaviest request of a group, counted from 0; `None` behind the last.
    pub(crate) fn weight(&self, group: usize, nth: u32) -> Option<u64> {
        let runs = &self.groups.get(group)?.runs;
        let run = runs.partition_point(|run| run.until <= nth);
        runs.get(run).map(|run| run.weight)
    }

    /// How many slices of a kind can serve anybody.
    pub(crate) fn wanted(&self, kind: Kind) -> u32 {
        let groups = self.takers(kind).iter();
        groups.fold(0, |sum, &group| {
            let group = self.groups.get(group);
            sum.saturating_add(group.map_or(0, Group::requests))
        })
    }
}

impl Group {
    fn new(accepts: Vec<Kind>, mut classes: Vec<(usize, &DemandClass)>) -> Self {
        classes.sort_by_key(|&(position, class)| (std::cmp::Reverse(class.weight), position));
        let mut until = 0u32;
        let runs = classes
            .into_iter()
            .map(|(class, demand)| {
                until = until.saturating_add(demand.count);
                Run {
                    class,
                    weight: demand.weight,
                    until,
                }
            })
            .collect();
        Self { accepts, runs }
    }

    /// Number of requests.
    fn requests(&self) -> u32 {
        self.runs.last().map_or(0, |run| run.until)
    }

    /// How many requests of each class are among the first `served`: pairs of class and count.
    pub(crate) fn served(&self, served: u32) -> impl Iterator<Item = (usize, u32)> {
        let mut before = 0;
        self.runs.iter().map(move |run| {
            let count = served.min(run.until).saturating_sub(before);
            before = run.until;
            (run.class, count)
        })
    }
}
