//! The best plan by brute force: every legal final layout of every GPU, every assignment of requests. For one or two small GPUs.

use std::collections::BTreeMap;

use mica_model::{Board, Layout, Slice};

use crate::{Availability, DemandClass, GpuState};

/// Highest weight, and the fewest operations at that weight.
pub(super) fn best(gpus: &[GpuState], classes: &[DemandClass]) -> (u64, usize) {
    let mut best = (0, 0);
    let mut known = BTreeMap::new();
    combine(gpus, classes, &mut Vec::new(), 0, &mut known, &mut best);
    best
}

fn combine(
    gpus: &[GpuState],
    classes: &[DemandClass],
    supply: &mut Vec<String>,
    operations: usize,
    known: &mut BTreeMap<Vec<String>, u64>,
    best: &mut (u64, usize),
) {
    let Some((gpu, others)) = gpus.split_first() else {
        let mut sorted = supply.clone();
        sorted.sort();
        let weight = *known
            .entry(sorted)
            .or_insert_with_key(|supply| heaviest(supply, classes));
        if weight > best.0 || (weight == best.0 && operations < best.1) {
            *best = (weight, operations);
        }
        return;
    };
    for layout in finals(gpu) {
        let before = supply.len();
        for slice in layout.0.difference(&gpu.in_use.0) {
            supply.push(gpu.board.profile_name(slice.profile));
        }
        let available: Layout = layout.0.difference(&gpu.in_use.0).copied().collect();
        let changed = match gpu.availability {
            Availability::Free => available.0.symmetric_difference(&gpu.idle.0).count(),
            Availability::Settling | Availability::Unavailable => 0,
        };
        combine(others, classes, supply, operations + changed, known, best);
        supply.truncate(before);
    }
}

/// Every layout that a GPU may end with.
fn finals(gpu: &GpuState) -> Vec<Layout> {
    match gpu.availability {
        Availability::Free => {
            let every = layouts(&gpu.board);
            every
                .into_iter()
                .filter(|l| gpu.in_use.0.is_subset(&l.0))
                .collect()
        }
        Availability::Settling => vec![gpu.in_use.0.union(&gpu.idle.0).copied().collect()],
        Availability::Unavailable => vec![gpu.in_use.clone()],
    }
}

/// Every legal layout of a board.
pub(super) fn layouts(board: &Board) -> Vec<Layout> {
    fn grow(board: &Board, slices: &[Slice], layout: &Layout, found: &mut Vec<Layout>) {
        found.push(layout.clone());
        for (position, slice) in slices.iter().enumerate() {
            let mut larger = layout.clone();
            larger.0.insert(*slice);
            if board.check(&larger).is_ok() {
                grow(board, &slices[position + 1..], &larger, found);
            }
        }
    }
    let mut found = Vec::new();
    grow(board, &board.slices(), &Layout::default(), &mut found);
    found
}

/// The heaviest set of requests that a supply serves, by trying everything.
fn heaviest(supply: &[String], classes: &[DemandClass]) -> u64 {
    let Some((profile, rest)) = supply.split_first() else {
        return 0;
    };
    let mut best = heaviest(rest, classes);
    for (position, class) in classes.iter().enumerate() {
        if class.count > 0 && class.accept.contains(profile) {
            let mut left = classes.to_vec();
            left[position].count -= 1;
            best = best.max(class.weight + heaviest(rest, &left));
        }
    }
    best
}
