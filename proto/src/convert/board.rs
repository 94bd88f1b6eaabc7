//! What a board offers, and layouts of it.

use mica_model::{Board, Engines, Layout, Placement, Profile, ProfileId, Slice};

use super::{Invalid, invalid};
use crate::v1;

/// Most slots a board may have on the wire; the masks of [`mica_model::SlotMask`] hold as many.
const MAX_SLOTS: u32 = 64;

impl From<Engines> for v1::Engines {
    fn from(
        Engines {
            copy,
            decoders,
            encoders,
            jpeg,
            ofa,
        }: Engines,
    ) -> Self {
        Self {
            copy,
            decoders,
            encoders,
            jpeg,
            ofa,
        }
    }
}

impl From<v1::Engines> for Engines {
    fn from(
        v1::Engines {
            copy,
            decoders,
            encoders,
            jpeg,
            ofa,
        }: v1::Engines,
    ) -> Self {
        Self {
            copy,
            decoders,
            encoders,
            jpeg,
            ofa,
        }
    }
}

impl From<Placement> for v1::Placement {
    fn from(Placement { start, size }: Placement) -> Self {
        Self { start, size }
    }
}

impl TryFrom<v1::Placement> for Placement {
    type Error = Invalid;

    fn try_from(v1::Placement { start, size }: v1::Placement) -> Result<Self, Invalid> {
        let placement = Self { start, size };
        if size == 0 || placement.end() > MAX_SLOTS {
            return Err(invalid(
                "placement",
                format!("{placement} is not a range of slots below {MAX_SLOTS}"),
            ));
        }
        Ok(placement)
    }
}
pub(super) fn placement(
    wire: Option<v1::Placement>,
    field: &'static str,
) -> Result<Placement, Invalid> {
    wire.ok_or_else(|| invalid(field, "missing"))?.try_into()
}

impl From<Slice> for v1::Slice {
    fn from(slice: Slice) -> Self {
        Self {
            profile: slice.profile.0,
            placement: Some(slice.placement.into()),
        }
    }
}

impl TryFrom<v1::Slice> for Slice {
    type Error = Invalid;

    fn try_from(wire: v1::Slice) -> Result<Self, Invalid> {
        Ok(Self {
            profile: ProfileId(wire.profile),
            placement: placement(wire.placement, "slices.placement")?,
        })
    }
}

impl v1::GpuLayout {
    /// The layout of one GPU as a message.
    #[must_use]
    pub fn new(uuid: String, layout: &Layout) -> Self {
        Self {
            uuid,
            slices: layout.0.iter().copied().map(Into::into).collect(),
        }
    }

    /// The layout. Whether it is legal is for the board to say.
    pub fn layout(&self) -> Result<Layout, Invalid> {
        let layout: Layout = self
            .slices
            .iter()
            .copied()
            .map(Slice::try_from)
            .collect::<Result<_, _>>()?;
        if layout.0.len() != self.slices.len() {
            return Err(invalid(
                "slices",
                format!("the layout of {} names a slice twice", self.uuid),
            ));
        }
        Ok(layout)
    }
}

impl From<Profile> for v1::Profile {
    fn from(profile: Profile) -> Self {
        Self {
            id: profile.id.0,
            name: profile.name,
            slices: profile.slices,
            max_instances: profile.max_instances,
            memory_mib: profile.memory_mib,
            multiprocessors: profile.multiprocessors,
            engines: Some(profile.engines.into()),
            placements: profile.placements.into_iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<v1::Profile> for Profile {
    type Error = Invalid;

    fn try_from(wire: v1::Profile) -> Result<Self, Invalid> {
        if wire.name.is_empty() {
            return Err(invalid(
                "boards.profiles.name",
                format!("profile {} has no name", wire.id),
            ));
        }
        Ok(Self {
            id: ProfileId(wire.id),
            name: wire.name,
            slices: wire.slices,
            max_instances: wire.max_instances,
            memory_mib: wire.memory_mib,
            multiprocessors: wire.multiprocessors,
            engines: wire.engines.unwrap_or_default().into(),
            placements: wire
                .placements
                .into_iter()
                .map(Placement::try_from)
                .collect::<Result<_, _>>()?,
        })
    }
}

impl From<Board> for v1::Board {
    fn from(board: Board) -> Self {
        Self {
            product: board.product,
            slots: board.slots,
            engines: Some(board.engines.into()),
            profiles: board.profiles.into_iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<v1::Board> for Board {
    type Error = Invalid;

    /// Slots and engines are derived again from the profiles, so that a board means the same on both sides.
    fn try_from(wire: v1::Board) -> Result<Self, Invalid> {
        let profiles = wire
            .profiles
            .into_iter()
            .map(Profile::try_from)
            .collect::<Result<_, _>>()?;
        Ok(Self::new(wire.product, profiles))
    }
}
