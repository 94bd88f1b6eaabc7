//! What a GPU should be, in a way of its own.

use crate::client::{ComputeInstance, GpuInstance};

/// What a profile takes besides memory slots.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Media {
    /// Its share.
    Share,
    /// The media extensions, of which a board has one set.
    One,
    /// All media engines of the board: only instances without any go beside it.
    All,
    /// None.
    Nothing,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    pub(super) id: u32,
    pub(super) slices: u32,
    pub(super) size: u32,
    pub(super) starts: &'static [u32],
    pub(super) max: usize,
    pub(super) media: Media,
}

const fn kind(
    id: u32,
    slices: u32,
    size: u32,
    starts: &'static [u32],
    max: usize,
    media: Media,
) -> Kind {
    Kind {
        id,
        slices,
        size,
        starts,
        max,
        media,
    }
}

const EIGHT_SLOTS: &[Kind] = &[
    kind(19, 1, 1, &[0, 1, 2, 3, 4, 5, 6], 7, Media::Share),
    kind(20, 1, 1, &[0, 1, 2, 3, 4, 5, 6], 1, Media::One),
    kind(15, 1, 2, &[0, 2, 4, 6], 4, Media::Share),
    kind(14, 2, 2, &[0, 2, 4], 3, Media::Share),
    kind(9, 3, 4, &[0, 4], 2, Media::Share),
    kind(5, 4, 4, &[0], 1, Media::Share),
    kind(0, 7, 8, &[0], 1, Media::One),
];
const A30: &[Kind] = &[
    kind(14, 1, 1, &[0, 1, 2, 3], 4, Media::Share),
    kind(21, 1, 1, &[0, 1, 2, 3], 1, Media::One),
    kind(5, 2, 2, &[0, 2], 2, Media::Share),
    kind(6, 2, 2, &[0, 2], 1, Media::One),
    kind(0, 4, 4, &[0], 1, Media::One),
];
const RTX_PRO_6000: &[Kind] = &[
    kind(14, 1, 3, &[0, 3, 6, 9], 4, Media::Share),
    kind(21, 1, 3, &[0, 3, 6, 9], 1, Media::One),
    kind(65, 1, 3, &[0, 3, 6, 9], 1, Media::All),
    kind(67, 1, 3, &[0, 3, 6, 9], 4, Media::Nothing),
    kind(5, 2, 6, &[0, 6], 2, Media::Share),
    kind(64, 2, 6, &[0, 6], 1, Media::All),
    kind(66, 2, 6, &[0, 6], 2, Media::Nothing),
    kind(0, 4, 12, &[0], 1, Media::All),
];
pub(super) const BOARDS: [(&str, u32, &[Kind]); 4] = [
    ("a100-40gb", 8, EIGHT_SLOTS),
    ("h200-141gb", 8, EIGHT_SLOTS),
    ("a30-24gb", 4, A30),
    ("rtx-pro-6000-blackwell-96gb", 12, RTX_PRO_6000),
];

/// Compute profiles: id, slices.
pub(super) const COMPUTE: [(u32, u32); 5] = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 7)];

/// Where `slices` may start among `all`; nowhere when the profile is not offered there.
pub(super) fn compute_starts(all: u32, slices: u32) -> &'static [u32] {
    match (all, slices) {
        (1, 1) | (2, 2) | (3, 2 | 3) | (4 | 7, 4) | (7, 7) => &[0],
        (2, 1) => &[0, 1],
        (3, 1) => &[0, 1, 2],
        (4, 1) => &[0, 1, 2, 3],
        (7, 1) => &[0, 1, 2, 3, 4, 5, 6],
        (4, 2) => &[0, 2],
        (7, 2) => &[0, 2, 4],
        (7, 3) => &[0, 4],
        _ => &[],
    }
}

pub(super) struct Compute {
    pub(super) handle: ComputeInstance,
    pub(super) start: u32,
    pub(super) slices: u32,
    pub(super) process: Option<u32>,
}

pub(super) struct Instance {
    pub(super) handle: GpuInstance,
    pub(super) gi: u32,
    pub(super) kind: Kind,
    pub(super) start: u32,
    pub(super) computes: Vec<Compute>,
}

/// A GPU as it should be.
pub(super) struct Model {
    pub(super) slots: u32,
    pub(super) kinds: &'static [Kind],
    pub(super) instances: Vec<Instance>,
    pub(super) dead: Vec<GpuInstance>,
    pub(super) dead_computes: Vec<ComputeInstance>,
    pub(super) last_pid: u32,
    /// Processes that a refused destroy would have hit, which nobody had looked for.
    pub(super) tried: usize,
}

impl Model {
    /// Which slots are taken.
    pub(super) fn boxes(&self) -> Vec<bool> {
        let taken = |slot: u32| {
            let stands = |one: &Instance| (one.start..one.start + one.kind.size).contains(&slot);
            self.instances.iter().any(stands)
        };
        (0..self.slots).map(taken).collect()
    }

    pub(super) fn is_free(&self, kind: Kind, start: u32) -> bool {
        let boxes = self.boxes();
        (start..start + kind.size).all(|slot| !boxes[usize::try_from(slot).unwrap()])
    }

    /// How many more of a kind media and the largest number allow, wherever they stand.
    pub(super) fn allowed(&self, kind: Kind) -> usize {
        let of = |media: Media| {
            self.instances
                .iter()
                .filter(|one| one.kind.media == media)
                .count()
        };
        let same = self
            .instances
            .iter()
            .filter(|one| one.kind.id == kind.id)
            .count();
        let by_media = match kind.media {
            Media::Nothing => usize::MAX,
            _ if of(Media::All) > 0 => 0,
            Media::All => usize::from(of(Media::Share) + of(Media::One) == 0),
            Media::One => usize::from(of(Media::One) == 0),
            Media::Share => usize::MAX,
        };
        by_media.min(kind.max - same)
    }

    pub(super) fn remaining(&self, kind: Kind) -> usize {
        let free = kind
            .starts
            .iter()
            .filter(|&&start| self.is_free(kind, start))
            .count();
        free.min(self.allowed(kind))
    }
}
