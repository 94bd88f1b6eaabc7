//! The options of one GPU: everything that it could offer, each at the fewest operations.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use mica_model::{Board, Engines, Layout, ProfileId, Slice, SlotMask};

use crate::market::{Kind, Market};

/// All that can be made of GPUs in one state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// The kinds of slices that [`Choice::offers`] counts, in ascending order.
    pub(crate) kinds: Vec<Kind>,
    /// The choices; the first is to leave the GPU as it is.
    pub(crate) choices: Vec<Choice>,
}

/// One way a GPU could be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    /// Slices that could serve requests, idle ones that stay and new ones, by position in [`Options::kinds`].
    pub(crate) offers: Vec<u8>,
    /// Idle slices to destroy, in order.
    pub(crate) destroy: Vec<Slice>,
    /// Slices to create, in order of place.
    pub(crate) create: Vec<Slice>,
    /// Slots that the new slices take.
    pub(crate) created_slots: u32,
    /// How open the GPU stays: the sum of the sizes of all slices that could still be added. Less means more fragmented.
    pub(crate) room: u32,
}

impl Choice {
    /// Number of slices destroyed and created.
    pub(crate) fn operations(&self) -> usize {
        self.destroy.len() + self.create.len()
    }
}

/// Finds the options: the distinct multisets of slices that could serve requests, each with the fewest operations, then the most
/// room; without those that another beats. A GPU whose present layout its board does not allow is not understood, so left alone.
pub(crate) fn options(board: &Board, in_use: &Layout, idle: &Layout, market: &Market) -> Options {
    let search = Search::new(board, in_use, idle, market);
    let mut found = BTreeMap::new();
    let present = in_use.0.union(&idle.0).copied().collect();
    if board.check(&present).is_ok() {
        search.extend(&mut Partial::new(&search), 0, &mut found);
    }
    let mut choices: Vec<Choice> = found
        .into_iter()
        .map(|(offers, best)| search.choice(offers, &best))
        .collect();
    choices.sort_by(|a, b| rank(a).cmp(&rank(b)));
    let mut kept = vec![search.stay()];
    for choice in choices {
        if !kept.iter().any(|better| beats(better, &choice)) {
            kept.push(choice);
        }
    }
    Options {
        kinds: search.kinds,
        choices: kept,
    }
}

fn rank(choice: &Choice) -> (usize, Reverse<&[u8]>) {
    (choice.operations(), Reverse(&choice.offers))
}

/// Whether `better` offers at least as much for no more operations.
fn beats(better: &Choice, choice: &Choice) -> bool {
    better.operations() <= choice.operations()
        && better
            .offers
            .iter()
            .zip(&choice.offers)
            .all(|(a, b)| a >= b)
}

/// A slice that may be part of the layout beside those in use.
struct Candidate {
    slice: Slice,
    mask: SlotMask,
    engines: Engines,
    idle: bool,
    /// Position in `Search::kinds` when somebody accepts it.
    lane: Option<usize>,
    /// How many of its profile may stand beside those in use.
    max: usize,
    /// How many of its kind can serve anybody.
    wanted: u32,
}

struct Search<'a> {
    board: &'a Board,
    idle: &'a Layout,
    kinds: Vec<Kind>,
    /// Every slice that could stand on the empty GPU.
    places: Vec<Slice>,
    taken: SlotMask,
    engines: Engines,
    candidates: Vec<Candidate>,
}

/// The best way found to a multiset: operations, room (most first), and the candidates chosen.
type Best = (usize, Reverse<u32>, Vec<usize>);

/// A layout under construction.
struct Partial {
    taken: SlotMask,
    engines: Engines,
    chosen: Vec<usize>,
    offers: Vec<u8>,
    operations: usize,
}

impl Partial {
    fn new(search: &Search<'_>) -> Self {
        Self {
            taken: search.taken,
            engines: search.engines,
            chosen: Vec::new(),
            offers: vec![0; search.kinds.len()],
            operations: search.idle.0.len(),
        }
    }
}

impl<'a> Search<'a> {
    fn new(board: &'a Board, in_use: &Layout, idle: &'a Layout, market: &Market) -> Self {
        let kind_of = |id| {
            let profile = board.profile(id)?;
            market.kind(&profile.name)
        };
        let mut kinds: Vec<Kind> = board
            .profiles
            .iter()
            .filter_map(|profile| kind_of(profile.id))
            .collect();
        kinds.sort_unstable();
        kinds.dedup();
        let engines_of = |id| board.profile(id).map_or(Engines::default(), |p| p.engines);
        let used_of = |id: ProfileId| in_use.0.iter().filter(|slice| slice.profile == id).count();
        let candidate = |slice: Slice| {
            let kind = kind_of(slice.profile);
            let max = board.profile(slice.profile).map_or(0, |p| p.max_instances);
            Candidate {
                slice,
                mask: slice.placement.mask(),
                engines: engines_of(slice.profile),
                idle: idle.0.contains(&slice),
                lane: kind.and_then(|kind| kinds.binary_search(&kind).ok()),
                max: usize::try_from(max)
                    .unwrap_or(usize::MAX)
                    .saturating_sub(used_of(slice.profile)),
                wanted: kind.map_or(0, |kind| market.wanted(kind)),
            }
        };
        let taken = in_use.mask();
        let places = board.slices();
        let candidates = places
            .iter()
            .filter(|slice| taken.is_disjoint(slice.placement.mask()))
            .map(|&slice| candidate(slice))
            .filter(|candidate| candidate.idle || candidate.lane.is_some())
            .collect();
        Self {
            board,
            idle,
            candidates,
            taken,
            engines: in_use.0.iter().fold(Engines::default(), |sum, slice| {
                sum.plus(engines_of(slice.profile))
            }),
            places,
            kinds,
        }
    }

    /// Notes the layout so far and every legal one that adds candidates from `from` on.
    fn extend(&self, partial: &mut Partial, from: usize, found: &mut BTreeMap<Vec<u8>, Best>) {
        self.note(partial, found);
        for (position, candidate) in self.candidates.iter().enumerate().skip(from) {
            let engines = partial.engines.plus(candidate.engines);
            if !partial.taken.is_disjoint(candidate.mask)
                || !engines.fits_in(self.board.engines)
                || self.is_enough(partial, candidate)
            {
                continue;
            }
            let before = (partial.taken, partial.engines, partial.operations);
            partial.taken = partial.taken.union(candidate.mask);
            partial.engines = engines;
            partial.operations = if candidate.idle {
                partial.operations.saturating_sub(1)
            } else {
                partial.operations + 1
            };
            partial.chosen.push(position);
            count(&mut partial.offers, candidate.lane, 1);
            self.extend(partial, position + 1, found);
            count(&mut partial.offers, candidate.lane, -1);
            partial.chosen.pop();
            (partial.taken, partial.engines, partial.operations) = before;
        }
    }

    /// Whether no more of the candidate's profile may stand, or could serve anybody.
    fn is_enough(&self, partial: &Partial, candidate: &Candidate) -> bool {
        let alike = partial.chosen.iter().filter(|&&chosen| {
            let other = self.candidates.get(chosen);
            other.is_some_and(|other| other.slice.profile == candidate.slice.profile)
        });
        let offered = candidate
            .lane
            .and_then(|lane| partial.offers.get(lane))
            .map_or(0, |&offered| u32::from(offered));
        alike.count() >= candidate.max || (!candidate.idle && offered >= candidate.wanted)
    }

    fn note(&self, partial: &Partial, found: &mut BTreeMap<Vec<u8>, Best>) {
        let room = || Reverse(self.room(partial.taken));
        if let Some(best) = found.get_mut(&partial.offers) {
            if partial.operations > best.0 {
                return;
            }
            let room = room();
            if (partial.operations, room, &partial.chosen) < (best.0, best.1, &best.2) {
                *best = (partial.operations, room, partial.chosen.clone());
            }
        } else {
            let best = (partial.operations, room(), partial.chosen.clone());
            found.insert(partial.offers.clone(), best);
        }
    }

    /// Sum of the sizes of the slices that could be added.
    fn room(&self, taken: SlotMask) -> u32 {
        let places = self.places.iter().map(|slice| slice.placement);
        let free = places.filter(|place| taken.is_disjoint(place.mask()));
        free.map(|place| place.size).sum()
    }

    fn choice(&self, offers: Vec<u8>, best: &Best) -> Choice {
        let chosen = best.2.iter().filter_map(|&at| self.candidates.get(at));
        let (kept, new): (Vec<_>, Vec<_>) = chosen.partition(|candidate| candidate.idle);
        let create: Vec<Slice> = new.iter().map(|candidate| candidate.slice).collect();
        Choice {
            offers,
            destroy: self
                .idle
                .0
                .iter()
                .filter(|slice| !kept.iter().any(|kept| kept.slice == **slice))
                .copied()
                .collect(),
            created_slots: create.iter().map(|slice| slice.placement.size).sum(),
            create,
            room: best.1.0,
        }
    }

    /// The GPU as it is.
    fn stay(&self) -> Choice {
        let mut offers = vec![0; self.kinds.len()];
        for candidate in self.candidates.iter().filter(|candidate| candidate.idle) {
            count(&mut offers, candidate.lane, 1);
        }
        Choice {
            offers,
            destroy: Vec::new(),
            create: Vec::new(),
            created_slots: 0,
            room: self.room(self.taken.union(self.idle.mask())),
        }
    }
}

fn count(offers: &mut [u8], lane: Option<usize>, by: i8) {
    if let Some(offered) = lane.and_then(|lane| offers.get_mut(lane)) {
        *offered = offered.saturating_add_signed(by);
    }
}
