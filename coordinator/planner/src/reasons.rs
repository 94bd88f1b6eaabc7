//! Why a request gets no slice: looks at the GPUs as they will be, and names what is in the way.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use mica_model::{Layout, Profile, Slice, SlotMask};

use crate::market::Market;
use crate::{Availability, GpuChange, GpuId, GpuState, UnmetReason};

/// Why, as a word and as a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reason {
    pub(crate) word: UnmetReason,
    pub(crate) detail: String,
}

/// The GPUs as they will be.
pub(crate) struct Scene<'a> {
    gpus: Vec<Standing<'a>>,
}

/// A GPU as it will be.
struct Standing<'a> {
    gpu: &'a GpuState,
    /// Slices not in use that serve requests, or could.
    granted: Layout,
    used_mask: SlotMask,
    granted_mask: SlotMask,
}

/// A place where a request might be served, and how much is in the way there.
struct Place<'a> {
    standing: &'a Standing<'a>,
    profile: &'a Profile,
    slice: Slice,
    /// Slots in use, then slots granted to others.
    blocked: (u32, u32),
    /// Whether the GPU has as many free slots as the slice takes, wherever a slice no larger may stand.
    enough: bool,
}

impl<'a> Scene<'a> {
    /// `gpus` after `changes`, both in ascending order of id.
    pub(crate) fn new(gpus: &[&'a GpuState], changes: &[GpuChange], market: &Market) -> Self {
        let changes: BTreeMap<&GpuId, &GpuChange> =
            changes.iter().map(|change| (&change.gpu, change)).collect();
        let standing = |gpu: &&'a GpuState| {
            let change = changes.get(&gpu.id);
            let wanted = |slice: &&Slice| {
                let profile = gpu.board.profile(slice.profile);
                profile.is_some_and(|profile| market.kind(&profile.name).is_some())
            };
            let stays = |slice: &&Slice| change.is_none_or(|c| !c.destroy.contains(slice));
            let kept = gpu.idle.0.iter().filter(stays).filter(wanted);
            let created = change.into_iter().flat_map(|change| &change.create);
            let granted: Layout = kept.chain(created).copied().collect();
            Standing {
                gpu,
                used_mask: gpu.in_use.mask(),
                granted_mask: granted.mask(),
                granted,
            }
        };
        Self {
            gpus: gpus.iter().map(standing).collect(),
        }
    }

    /// Why requests that accept these profiles, and get none, get none.
    pub(crate) fn reason(&self, accept: &[String]) -> Reason {
        let places = self.places(accept);
        let free = |place: &&Place<'_>| place.standing.gpu.availability == Availability::Free;
        if places.is_empty() {
            self.no_such_profile(accept)
        } else if let Some(reason) = unavailable(accept, &places) {
            reason
        } else if let Some(place) = places.iter().find(|p| free(p) && p.blocked == (0, 0)) {
            engines(place)
        } else if let Some(place) = places.iter().find(|p| free(p) && p.enough) {
            Reason {
                word: UnmetReason::Fragmented,
                detail: format!(
                    "{} has enough free slots for {}, but not where it may stand: {}",
                    place.standing.gpu.id,
                    place.profile.name,
                    in_the_way(place)
                ),
            }
        } else {
            no_room(accept, places.iter().find(free))
        }
    }

    /// Every place on every GPU where an accepted profile may stand, that with the least in the way first.
    fn places(&self, accept: &[String]) -> Vec<Place<'_>> {
        let mut places = Vec::new();
        for standing in &self.gpus {
            let taken = standing.used_mask.union(standing.granted_mask);
            let profiles = accept
                .iter()
                .filter_map(|n| standing.gpu.board.profile_named(n));
            for profile in profiles {
                // The last slot of an 8-slot board, for one, is no room for a 1g slice: none that small may stand there.
                let smaller = standing.gpu.board.profiles.iter();
                let smaller = smaller.filter(|other| other.size() <= profile.size());
                let usable = smaller
                    .flat_map(|other| &other.placements)
                    .fold(SlotMask::default(), |all, at| all.union(at.mask()));
                let enough = usable.without(taken).count() >= profile.size();
                for &placement in &profile.placements {
                    let of = |mask: SlotMask| {
                        let slots = placement.mask();
                        slots.count() - slots.without(mask).count()
                    };
                    places.push(Place {
                        standing,
                        profile,
                        slice: Slice {
                            placement,
                            profile: profile.id,
                        },
                        blocked: (of(standing.used_mask), of(standing.granted_mask)),
                        enough,
                    });
                }
            }
        }
        places.sort_by_key(|place| place.blocked);
        places
    }

    fn no_such_profile(&self, accept: &[String]) -> Reason {
        let boards = self.gpus.iter().map(|standing| &standing.gpu.board);
        let offered: BTreeSet<&str> = boards
            .flat_map(|board| board.profiles.iter().map(|profile| profile.name.as_str()))
            .collect();
        let detail = if self.gpus.is_empty() {
            format!("nothing offers {}: there is no GPU", either(accept))
        } else {
            let offered: Vec<&str> = offered.into_iter().collect();
            format!(
                "no GPU offers {}; the GPUs offer {}",
                either(accept),
                offered.join(", ")
            )
        };
        Reason {
            word: UnmetReason::NoSuchProfile,
            detail,
        }
    }
}

/// `3g.20gb or 3g.40gb`.
fn either(accept: &[String]) -> String {
    if accept.is_empty() {
        "any of no profiles".to_owned()
    } else {
        accept.join(" or ")
    }
}

/// If it takes a GPU that cannot be changed now: no other has room beside its slices in use.
fn unavailable(accept: &[String], places: &[Place<'_>]) -> Option<Reason> {
    let availability = |place: &Place<'_>| place.standing.gpu.availability;
    let has_room = |place: &&Place<'_>| place.blocked.0 == 0;
    let frees = || {
        places
            .iter()
            .filter(|place| availability(place) == Availability::Free)
    };
    let waiting = places
        .iter()
        .filter(|place| availability(place) != Availability::Free);
    // Room that was granted to others does not excuse a GPU that stands open and cannot be changed.
    let is_open = |place: &Place<'_>| place.blocked == (0, 0);
    let stands_open = waiting.clone().any(is_open);
    if frees().any(|place| is_open(place) || has_room(&place) && !stands_open) {
        return None;
    }
    let has_free = frees().next().is_some();
    let count = |wanted| {
        let gpus = waiting.clone().filter(|place| !has_free || has_room(place));
        let gpus = gpus.filter(|place| availability(place) == wanted);
        let ids: BTreeSet<&GpuId> = gpus.map(|place| &place.standing.gpu.id).collect();
        (ids.len(), ids.first().map(ToString::to_string))
    };
    let (settling, first_settling) = count(Availability::Settling);
    let (away, first_away) = count(Availability::Unavailable);
    let first = first_settling.or(first_away)?;
    let others = if has_free {
        "no other GPU has room"
    } else {
        "no other GPU offers it"
    };
    Some(Reason {
        word: UnmetReason::GpuUnavailable,
        detail: format!(
            "{} GPUs for {} cannot be changed now, {first} among them ({settling} being changed, {away} unavailable), and {others}",
            settling + away,
            either(accept),
        ),
    })
}

/// There are free slots where it may stand, so engines or the number of instances bind.
fn engines(place: &Place<'_>) -> Reason {
    let gpu = place.standing.gpu;
    let mut layout: Layout = gpu
        .in_use
        .0
        .union(&place.standing.granted.0)
        .copied()
        .collect();
    layout.0.insert(place.slice);
    let why = match gpu.board.check(&layout) {
        Err(error) => error.to_string(),
        Ok(()) => "it would serve less weight in all".to_owned(),
    };
    Reason {
        word: UnmetReason::NoRoom,
        detail: format!(
            "{} has free slots for {} at {}, but {why}",
            gpu.id, place.profile.name, place.slice.placement
        ),
    }
}

fn no_room(accept: &[String], closest: Option<&Place<'_>>) -> Reason {
    let detail = closest.map_or_else(
        || format!("every GPU that offers {} is full", either(accept)),
        |place| {
            format!(
                "every GPU that offers {} is full; closest is {}: {}",
                either(accept),
                place.standing.gpu.id,
                in_the_way(place)
            )
        },
    );
    Reason {
        word: UnmetReason::NoRoom,
        detail,
    }
}

/// `3g.20gb@4 needs the place of 1g.5gb@4 (in use), 2g.10gb@6 (for another request)`.
fn in_the_way(place: &Place<'_>) -> String {
    let gpu = place.standing.gpu;
    let name = |slice: &Slice| {
        let profile = gpu.board.profile_name(slice.profile);
        format!("{profile}@{}", slice.placement.start)
    };
    let wanted = place.slice.placement.mask();
    let overlaps = |slice: &&Slice| !slice.placement.mask().is_disjoint(wanted);
    let used = gpu.in_use.0.iter().filter(overlaps);
    let granted = place.standing.granted.0.iter().filter(overlaps);
    let used = used.map(|slice| (Reverse(true), slice, "in use"));
    let granted = granted.map(|slice| (Reverse(false), slice, "for another request"));
    let mut slices: Vec<_> = used.chain(granted).collect();
    slices.sort();
    let slices: Vec<String> = slices
        .iter()
        .map(|(_, slice, whose)| format!("{} ({whose})", name(slice)))
        .collect();
    format!(
        "{} needs the place of {}",
        name(&place.slice),
        slices.join(", ")
    )
}
