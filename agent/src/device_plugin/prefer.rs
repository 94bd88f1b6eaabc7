//! Which of the free devices a pod is to get. Pure.

use std::{cmp::Reverse, collections::BTreeSet};

use mica_model::{Gpu, Instance, Placement, SlotMask};

use crate::{inventory::Inventory, usage::InUse};

/// A device that could be given.
struct Candidate<'a> {
    id: &'a str,
    gpu: &'a Gpu,
    /// `None` of a whole GPU.
    instance: Option<&'a Instance>,
    kept: bool,
}

/// `size` devices of `available`, those in `must` first, so that work is packed: on the GPU that is used most, and there in the gap
/// that is smallest, so that large runs of free slots stay free for larger slices. What is kept for a pod comes last: it is as good as
/// any other for that pod, and the other one may be all that the next layout can take. `given` is what was given to containers so lately that
/// it may not show as used yet.
pub(super) fn prefer(
    inventory: &Inventory,
    in_use: &InUse,
    given: &BTreeSet<String>,
    available: &[String],
    must: &[String],
    size: usize,
) -> Vec<String> {
    let free: BTreeSet<&str> = available.iter().map(String::as_str).collect();
    let mut candidates = candidates(inventory, in_use, &free);
    let mut chosen: Vec<String> = must.to_vec();
    while chosen.len() < size {
        let used = |gpu: &Gpu| used(gpu, in_use, given, &chosen);
        candidates.retain(|candidate| !chosen.iter().any(|id| id == candidate.id));
        let best = candidates.iter().min_by_key(|candidate| {
            let Candidate {
                gpu,
                instance,
                kept,
                ..
            } = candidate;
            let used = used(gpu);
            let place = instance.map(|instance| instance.slice.placement);
            let mask = place.map_or(SlotMask::default(), Placement::mask);
            (
                *kept,
                Reverse(used.count()),
                gap(mask, used, gpu).count(),
                gpu.index,
                place.map(|place| place.start),
            )
        });
        let Some(best) = best else {
            break;
        };
        chosen.push(best.id.to_owned());
    }
    chosen
}

fn candidates<'a>(
    inventory: &'a Inventory,
    in_use: &InUse,
    free: &BTreeSet<&str>,
) -> Vec<Candidate<'a>> {
    let mut candidates = Vec::new();
    for gpu in &inventory.gpus {
        let slices = gpu.instances.iter().filter_map(|instance| {
            let compute = instance.compute.as_ref()?;
            let kept = !in_use.of(gpu, instance).reservations.is_empty();
            Some(Candidate {
                id: &compute.uuid,
                gpu,
                instance: Some(instance),
                kept,
            })
        });
        let whole = Candidate {
            id: &gpu.uuid,
            gpu,
            instance: None,
            kept: false,
        };
        let all = slices.chain([whole]);
        candidates.extend(all.filter(|candidate| free.contains(candidate.id)));
    }
    candidates
}

/// The slots of a GPU on which somebody is or will be.
fn used(gpu: &Gpu, in_use: &InUse, given: &BTreeSet<String>, chosen: &[String]) -> SlotMask {
    let mut used = SlotMask::default();
    for instance in &gpu.instances {
        let is_chosen = instance
            .compute
            .as_ref()
            .is_some_and(|compute| chosen.contains(&compute.uuid) || given.contains(&compute.uuid));
        let users = in_use.of(gpu, instance);
        if is_chosen || !users.processes.is_empty() || !users.containers.is_empty() {
            used = used.union(instance.slice.placement.mask());
        }
    }
    used
}

/// The run of slots around `place` on which nobody is, `place` included.
fn gap(place: SlotMask, used: SlotMask, gpu: &Gpu) -> SlotMask {
    let slots = gpu.board.as_ref().map_or(0, |board| board.slots);
    let all = Placement {
        start: 0,
        size: slots,
    };
    let free = all.mask().without(used).union(place);
    let mut gap = place;
    loop {
        let wider = SlotMask(gap.0 | (gap.0 << 1) | (gap.0 >> 1)).0 & free.0;
        if wider == gap.0 {
            return gap;
        }
        gap = SlotMask(wider);
    }
}

#[cfg(test)]
mod tests;
