//! The assign step: which GPU of a cell gets which choice, and which class gets which slice.

use std::cmp::Reverse;

use mica_model::Slice;

use crate::allotment::Allotment;
use crate::cells::Cell;
use crate::market::{Kind, Market};
use crate::matching::Matching;
use crate::{Availability, GpuChange, GpuState};

/// What becomes of the GPUs.
pub(crate) struct Assignment {
    /// The changes, in ascending order of GPU.
    pub(crate) changes: Vec<GpuChange>,
    /// How many slices of each kind they create.
    pub(crate) created: Vec<u32>,
}

/// Gives each GPU a choice. Of GPUs in equal states the first are changed, so that few nodes are touched.
pub(crate) fn assign(cells: &[Cell<'_>], allotment: &Allotment<'_>, market: &Market) -> Assignment {
    let mut changes = Vec::new();
    let mut created = vec![0u32; market.kinds.len()];
    for (position, cell) in cells.iter().enumerate() {
        let counts = allotment.counts(position).iter();
        let choices = cell.options.choices.iter().zip(counts).skip(1);
        let choices = choices.flat_map(|(choice, &count)| (0..count).map(move |_| choice));
        for (gpu, choice) in cell.gpus.iter().zip(choices) {
            changes.push(GpuChange {
                gpu: gpu.id.clone(),
                destroy: choice.destroy.clone(),
                create: largest_first(choice.create.clone()),
            });
            for slice in &choice.create {
                let profile = gpu.board.profile(slice.profile);
                let kind = profile.and_then(|profile| market.kind(&profile.name));
                if let Some(count) = kind.and_then(|kind| created.get_mut(kind)) {
                    *count += 1;
                }
            }
        }
    }
    changes.sort_by(|a, b| a.gpu.cmp(&b.gpu));
    Assignment { changes, created }
}

/// The order in which creation never fails for lack of a place, whoever chooses the places.
fn largest_first(mut slices: Vec<Slice>) -> Vec<Slice> {
    slices.sort_by_key(|slice| (Reverse(slice.placement.size), *slice));
    slices
}

/// How many requests of a class are served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Served {
    /// By slices that are there already, or under way.
    pub(crate) idle: u32,
    /// By slices that the plan creates.
    pub(crate) new: u32,
}

/// How many requests of each of `classes` classes are served. Heavier requests get the slices that are there already.
pub(crate) fn served(
    market: &Market,
    matching: &Matching<'_>,
    created: &[u32],
    classes: usize,
) -> Vec<Served> {
    let mut served = vec![Served::default(); classes];
    let mut idle: Vec<u32> = created
        .iter()
        .enumerate()
        .map(|(kind, created)| matching.used(kind).saturating_sub(*created))
        .collect();
    for ((position, group), total) in (0..).zip(&market.groups).zip(matching.served()) {
        let mut at_once = 0;
        for (kind, idle) in idle.iter_mut().enumerate() {
            let taken = matching.holds(position, kind).min(*idle);
            *idle -= taken;
            at_once += taken;
        }
        for (class, count) in group.served(*total) {
            let taken = count.min(at_once);
            at_once -= taken;
            if let Some(served) = served.get_mut(class) {
                served.idle += taken;
                served.new += count - taken;
            }
        }
    }
    served
}

/// The slices of GPUs that may not be changed and still serve demand.
pub(crate) fn fixed(gpus: &[&GpuState], market: &Market) -> Vec<Kind> {
    gpus.iter()
        .filter(|gpu| gpu.availability == Availability::Settling)
        .flat_map(|gpu| {
            let profiles = gpu.idle.0.iter().map(|slice| slice.profile);
            let profiles = profiles.filter_map(|id| gpu.board.profile(id));
            profiles.filter_map(|profile| market.kind(&profile.name))
        })
        .collect()
}
