use serde::{Deserialize, Serialize};

use crate::{Engines, Layout, Placement, Profile, ProfileId, Slice, SlotMask};

/// One kind of GPU board as its driver describes it. Boards that are equal are interchangeable.
///
/// Nothing here comes from a table of ours: names, sizes and places differ between boards and drivers, so they are read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Board {
    /// Marketing name, e.g. `NVIDIA A100-SXM4-40GB`.
    pub product: String,
    /// Memory slots that placements count in: 8 on most boards, 4 on A30, 12 on RTX PRO 6000.
    pub slots: u32,
    /// Engines of the whole board.
    pub engines: Engines,
    /// What it can be cut into, in ascending order of id.
    pub profiles: Vec<Profile>,
}

/// Why a layout is not legal on a board.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// The board does not offer the profile.
    #[error("{product} has no GPU instance profile {profile}")]
    UnknownProfile {
        /// Product name of the board.
        product: String,
        /// The profile asked for.
        profile: ProfileId,
    },
    /// The profile cannot stand there.
    #[error("profile {profile} cannot be placed at {placement}")]
    IllegalPlacement {
        /// Name of the profile.
        profile: String,
        /// The place asked for.
        placement: Placement,
    },
    /// Two slices want the same slot.
    #[error("profile {profile} at {placement} overlaps another slice")]
    Overlap {
        /// Name of the profile of the later slice.
        profile: String,
        /// Its place.
        placement: Placement,
    },
    /// More instances of a profile than the driver allows.
    #[error("{count} instances of {profile}, of at most {max}")]
    TooMany {
        /// Name of the profile.
        profile: String,
        /// How many the layout has.
        count: usize,
        /// How many may exist.
        max: u32,
    },
    /// The slices together need more engines than the board has.
    #[error("the slices need {wanted:?}, the board has {capacity:?}")]
    Engines {
        /// Sum over the slices.
        wanted: Engines,
        /// What the board has.
        capacity: Engines,
    },
}

impl Board {
    /// Describes a board by what its driver reports. Slots and engines of the whole board are those of the profiles that span it.
    #[must_use]
    pub fn new(product: String, mut profiles: Vec<Profile>) -> Self {
        profiles.sort();
        let slots = profiles
            .iter()
            .flat_map(|profile| &profile.placements)
            .map(|place| place.end())
            .max()
            .unwrap_or(0);
        let engines = profiles
            .iter()
            .filter(|profile| profile.size() == slots)
            .fold(Engines::default(), |all, profile| all.max(profile.engines));
        Self {
            product,
            slots,
            engines,
            profiles,
        }
    }

    /// The profile with this id.
    #[must_use]
    pub fn profile(&self, id: ProfileId) -> Option<&Profile> {
        self.profiles.iter().find(|profile| profile.id == id)
    }

    /// The profile with this name, e.g. `3g.20gb`.
    #[must_use]
    pub fn profile_named(&self, name: &str) -> Option<&Profile> {
        self.profiles.iter().find(|profile| profile.name == name)
    }

    /// The name of a profile for people, or its number when the board does not offer it.
    #[must_use]
    pub fn profile_name(&self, id: ProfileId) -> String {
        self.profile(id)
            .map_or_else(|| format!("profile {id}"), |profile| profile.name.clone())
    }

    /// Every slice that could stand on an empty GPU, in order.
    #[must_use]
    pub fn slices(&self) -> Vec<Slice> {
        let mut slices: Vec<_> = self
            .profiles
            .iter()
            .flat_map(|profile| {
                profile.placements.iter().map(|&placement| Slice {
                    placement,
                    profile: profile.id,
                })
            })
            .collect();
        slices.sort();
        slices
    }

    /// Whether a layout is legal: known profiles at their places, no overlap, no more instances and engines than there are.
    pub fn check(&self, layout: &Layout) -> Result<(), LayoutError> {
        let mut taken = SlotMask::default();
        let mut wanted = Engines::default();
        for &Slice {
            placement,
            profile: id,
        } in &layout.0
        {
            let profile = self
                .profile(id)
                .ok_or_else(|| LayoutError::UnknownProfile {
                    product: self.product.clone(),
                    profile: id,
                })?;
            let name = || profile.name.clone();
            if !profile.placements.contains(&placement) {
                return Err(LayoutError::IllegalPlacement {
                    profile: name(),
                    placement,
                });
            }
            if !taken.is_disjoint(placement.mask()) {
                return Err(LayoutError::Overlap {
                    profile: name(),
                    placement,
                });
            }
            taken = taken.union(placement.mask());
            wanted = wanted.plus(profile.engines);
            let count = layout.0.iter().filter(|slice| slice.profile == id).count();
            if u32::try_from(count).is_ok_and(|count| count > profile.max_instances) {
                return Err(LayoutError::TooMany {
                    profile: name(),
                    count,
                    max: profile.max_instances,
                });
            }
        }
        if wanted.fits_in(self.engines) {
            Ok(())
        } else {
            Err(LayoutError::Engines {
                wanted,
                capacity: self.engines,
            })
        }
    }
}
