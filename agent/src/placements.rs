//! Where slices stand of which only the number is wanted: so that the fewest instances change. Pure.

use std::collections::{BTreeMap, BTreeSet};

use mica_model::{Board, Engines, Instance, Layout, Profile, Slice, SlotMask};

#[cfg(test)]
mod tests;

/// By name of a profile, how many of it; none of 0.
pub type Counts = BTreeMap<String, u32>;

/// Why a board cannot be cut like that, whatever stands on it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Impossible {
    /// The board does not offer a profile.
    #[error("{product} has no profile {profile}{}; it has {}", hint(.profile, .known), .known.join(", "))]
    UnknownProfile {
        /// Marketing name of the board.
        product: String,
        /// What was asked for.
        profile: String,
        /// What there is.
        known: Vec<String>,
    },
    /// More of a profile than the driver allows.
    #[error("{count} of {profile} are too many: {product} takes at most {max}")]
    TooMany {
        /// Marketing name of the board.
        product: String,
        /// The profile.
        profile: String,
        /// How many were asked for.
        count: u32,
        /// How many may exist.
        max: u32,
    },
    /// Each can be had, but not all of them.
    #[error("{} do not fit on {product} together: {what}", listed(.counts))]
    TooMuch {
        /// Marketing name of the board.
        product: String,
        /// What was asked for.
        counts: Counts,
        /// What there is too little of.
        what: &'static str,
    },
}

/// The layout of a board with these counts that keeps most of what stands there: first of what may not go, by `may_go`, then of the
/// rest. Of equally good ones that which leaves most places to further slices, and then the first in order of place.
///
/// Where something that may not go cannot be kept, [`steps`](crate::steps::steps) to this layout names it.
pub fn place(
    board: &Board,
    counts: &Counts,
    standing: &[Instance],
    may_go: impl Fn(&Instance) -> bool,
) -> Result<Layout, Impossible> {
    let wanted = resolve(board, counts)?;
    let places = board.slices();
    let mut best = None;
    let mut judge = |layout: Layout| {
        let kept = |free: bool| {
            let kept = standing
                .iter()
                .filter(|known| may_go(known) == free && layout.0.contains(&known.slice));
            kept.count()
        };
        let taken = layout.mask();
        let free = |place: &&Slice| taken.is_disjoint(place.placement.mask());
        let room = places.iter().filter(free).count();
        let score = (kept(false), kept(true), room);
        if best.as_ref().is_none_or(|(other, _)| *other < score) {
            best = Some((score, layout));
        }
    };
    search(&wanted, 0, SlotMask::default(), &mut Vec::new(), &mut judge);
    let fits = best.map(|(_, layout)| layout);
    fits.ok_or_else(|| too_much(board, counts, "there are too few memory slots"))
}

/// One entry for each slice, largest first, those of one profile beside each other.
fn resolve<'board>(
    board: &'board Board,
    counts: &Counts,
) -> Result<Vec<&'board Profile>, Impossible> {
    let mut wanted = Vec::new();
    for (name, &count) in counts {
        let profile = board
            .profile_named(name)
            .ok_or_else(|| Impossible::UnknownProfile {
                product: board.product.clone(),
                profile: name.clone(),
                known: board
                    .profiles
                    .iter()
                    .map(|known| known.name.clone())
                    .collect(),
            })?;
        if count > profile.max_instances {
            return Err(Impossible::TooMany {
                product: board.product.clone(),
                profile: name.clone(),
                count,
                max: profile.max_instances,
            });
        }
        wanted.extend((0..count).map(|_| profile));
    }
    let engines = wanted
        .iter()
        .fold(Engines::default(), |sum, profile| sum.plus(profile.engines));
    if !engines.fits_in(board.engines) {
        return Err(too_much(board, counts, "there are too few media engines"));
    }
    wanted.sort_by_key(|profile| (std::cmp::Reverse(profile.size()), profile.id));
    Ok(wanted)
}

/// Every way to place `wanted`. `from` is the first of its profile's places that the first of them may take, so that equal slices are
/// not exchanged for each other.
fn search(
    wanted: &[&Profile],
    from: usize,
    taken: SlotMask,
    chosen: &mut Vec<Slice>,
    judge: &mut impl FnMut(Layout),
) {
    let Some((profile, rest)) = wanted.split_first() else {
        return judge(chosen.iter().copied().collect());
    };
    let same = rest.first().is_some_and(|next| next.id == profile.id);
    for (index, &placement) in profile.placements.iter().enumerate().skip(from) {
        if !taken.is_disjoint(placement.mask()) {
            continue;
        }
        chosen.push(Slice {
            placement,
            profile: profile.id,
        });
        let next = if same { index + 1 } else { 0 };
        search(rest, next, taken.union(placement.mask()), chosen, judge);
        chosen.pop();
    }
}

fn too_much(board: &Board, counts: &Counts, what: &'static str) -> Impossible {
    Impossible::TooMuch {
        product: board.product.clone(),
        counts: counts.clone(),
        what,
    }
}

/// `2 × 1g.5gb, 1 × 3g.20gb`.
fn listed(counts: &Counts) -> String {
    let words: Vec<_> = counts
        .iter()
        .map(|(profile, count)| format!("{count} × {profile}"))
        .collect();
    words.join(", ")
}

/// Kubernetes writes `.me` where the driver writes `+me`.
fn hint(asked: &str, known: &[String]) -> String {
    let plain = |name: &str| name.replace('+', ".");
    let meant: BTreeSet<_> = known
        .iter()
        .filter(|known| plain(known) == plain(asked))
        .collect();
    meant
        .first()
        .map_or_else(String::new, |name| format!(" (write {name})"))
}
