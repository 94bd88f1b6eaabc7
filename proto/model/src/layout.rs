use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{Placement, ProfileId, SlotMask};

/// A GPU instance that is there, or should be: a profile at an explicit place, with one compute instance that fills it.
///
/// Ordered by place, then profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Slice {
    /// Where it stands.
    pub placement: Placement,
    /// What it is.
    pub profile: ProfileId,
}

/// The complete set of slices of one GPU. Says nothing of whether it is legal: see [`crate::Board::check`].
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Layout(pub BTreeSet<Slice>);

impl Layout {
    /// Slots that are taken.
    #[must_use]
    pub fn mask(&self) -> SlotMask {
        self.0.iter().fold(SlotMask::default(), |mask, slice| {
            mask.union(slice.placement.mask())
        })
    }
}

impl FromIterator<Slice> for Layout {
    fn from_iter<I: IntoIterator<Item = Slice>>(slices: I) -> Self {
        Self(slices.into_iter().collect())
    }
}
