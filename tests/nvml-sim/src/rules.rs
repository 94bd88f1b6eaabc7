//! The rules: which GPU instance may be created where, and what the driver picks when it may choose.
//!
//! An instance takes memory slots and engines; no slot is taken twice, engines sum to no more than the board has, and no
//! profile has more instances than it allows. Written from the public facts alone and sharing no code with the product, so
//! that each can be held against the other.

use crate::boards::{Board, Profile, Span};
use crate::state::{Gpu, GpuInstance};

/// Span of a GPU instance id: 0 is the whole GPU, 1–2 are halves, 3–6 quarters, 7–14 eighths. `None` when the board is not
/// divisible that far. With `swapped_halves` the upper half has the lower ids.
pub(crate) fn span_of(id: u8, slots: u32, swapped_halves: bool) -> Option<Span> {
    let (first, parts) = match id {
        0 => (0, 1),
        1..=2 => (1, 2),
        3..=6 => (3, 4),
        7..=14 => (7, 8),
        _ => return None,
    };
    if !slots.is_multiple_of(parts) {
        return None;
    }
    let size = slots / parts;
    let position = u32::from(id - first);
    let position = if swapped_halves && parts > 1 {
        (position + parts / 2) % parts
    } else {
        position
    };
    Some(Span {
        start: position * size,
        size,
    })
}

/// The GPU instance id that stands at a span.
pub(crate) fn id_of(span: Span, slots: u32, swapped_halves: bool) -> Option<u8> {
    (0..=14).find(|&id| span_of(id, slots, swapped_halves) == Some(span))
}

fn occupied(gpu: &Gpu) -> u32 {
    gpu.instances()
        .fold(0, |mask, (_, gi)| mask | gi.span().mask())
}

/// Whether engines and instance count allow one more instance of a profile; slots are another matter.
fn in_stock(gpu: &Gpu, board: &Board, profile: &Profile) -> bool {
    stock(gpu, board, profile) > 0
}

/// How many more instances of a profile engines and instance count allow.
fn stock(gpu: &Gpu, board: &Board, profile: &Profile) -> u32 {
    let same = |(_, gi): &(u8, &GpuInstance)| u32::from(gi.profile) == profile.id;
    let count = u32::try_from(gpu.instances().filter(same).count()).unwrap_or(u32::MAX);
    let mut used = [0u32; 5];
    for taken in gpu.instances().filter_map(|(_, gi)| gpu.profile_of(gi)) {
        for (sum, engines) in used.iter_mut().zip(taken.engines) {
            *sum += engines;
        }
    }
    let by_engines = used
        .iter()
        .zip(board.engines())
        .zip(profile.engines)
        .filter_map(|((used, all), one)| all.saturating_sub(*used).checked_div(one));
    by_engines.fold(profile.instances.saturating_sub(count), u32::min)
}

/// Whether an instance of a profile may be created at a legal placement.
pub(crate) fn has_room(gpu: &Gpu, board: &Board, profile: &Profile, place: Span) -> bool {
    occupied(gpu) & place.mask() == 0 && in_stock(gpu, board, profile)
}

/// How many more instances of a profile could be created, were nothing else created.
pub(crate) fn remaining_capacity(gpu: &Gpu, board: &Board, profile: &Profile) -> u32 {
    let occupied = occupied(gpu);
    let free = profile
        .placements()
        .filter(|place| place.mask() & occupied == 0)
        .count();
    stock(gpu, board, profile).min(u32::try_from(free).unwrap_or(u32::MAX))
}

/// Where the driver puts an instance when it is not told: on the id that takes least away from what is still possible, and
/// of equals on the lowest id. What an id is worth is the number of profiles that can stand there.
///
/// The real selector is closed. This is the open kernel driver's selector of compute instances, which says that it mirrors
/// it; it reproduces all public listings but one.
pub(crate) fn choose_placement(gpu: &Gpu, board: &Board, profile: &Profile) -> Option<Span> {
    let swapped = gpu.swapped_halves != 0;
    let occupied = occupied(gpu);
    let free: Vec<(u8, Span)> = (0..=14)
        .filter_map(|id| Some((id, span_of(id, board.slots, swapped)?)))
        .filter(|(_, span)| span.mask() & occupied == 0)
        .collect();
    let worth = |span: Span| {
        board
            .profiles
            .iter()
            .filter(|profile| profile.placements().any(|place| place == span))
            .count()
    };
    let loss = |span: Span| -> usize {
        free.iter()
            .filter(|(_, other)| other.overlaps(span))
            .map(|&(_, other)| worth(other))
            .sum()
    };
    if !in_stock(gpu, board, profile) {
        return None;
    }
    free.iter()
        .filter(|&&(_, span)| profile.placements().any(|place| place == span))
        .min_by_key(|&&(id, span)| (loss(span), id))
        .map(|&(_, span)| span)
}

/// The free placements of compute instances with `slices` slices and `places` possible places in a GPU instance.
pub(crate) fn free_compute_placements(
    gi: &GpuInstance,
    places: impl Iterator<Item = Span>,
) -> impl Iterator<Item = Span> {
    let occupied = gi
        .compute_instances()
        .fold(0, |mask, (_, ci)| mask | ci.span().mask());
    places.filter(move |place| place.mask() & occupied == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On every board the other rules imply this one, so it takes a profile that no board has.
    #[test]
    fn a_profile_has_no_more_instances_than_it_allows() {
        let board = Board::named("a100-40gb").unwrap();
        let mut gpu: Gpu = bytemuck::Zeroable::zeroed();
        let slices = board.profile(19).unwrap();
        let few = Profile {
            instances: 2,
            ..slices.clone()
        };
        for (id, start) in [(7, 0), (8, 1)] {
            assert!(remaining_capacity(&gpu, board, &few) > 0);
            gpu.instances[id] = GpuInstance {
                profile: 19,
                start,
                size: 1,
                ..bytemuck::Zeroable::zeroed()
            };
        }
        let place = Span { start: 2, size: 1 };
        assert_eq!(remaining_capacity(&gpu, board, &few), 0);
        assert!(!has_room(&gpu, board, &few, place));
        assert_eq!(choose_placement(&gpu, board, &few), None);
        assert!(has_room(&gpu, board, slices, place));
    }
}
