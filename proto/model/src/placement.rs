use std::fmt;

use serde::{Deserialize, Serialize};

/// Consecutive memory slots `[start, start + size)` of a GPU, printed as `start:size` like `nvidia-smi mig -lgi` does.
///
/// The unit is the board's own: a 3g slice takes 4 of 8 slots on an A100, a 1g slice 3 of 12 on an RTX PRO 6000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Placement {
    /// First slot.
    pub start: u32,
    /// Number of slots.
    pub size: u32,
}

impl Placement {
    /// First slot behind the placement; saturates.
    #[must_use]
    pub fn end(self) -> u32 {
        self.start.saturating_add(self.size)
    }

    /// The slots as a mask. Slots from 64 on do not exist on any board and are left out.
    #[must_use]
    pub fn mask(self) -> SlotMask {
        let below = |slot: u32| {
            1u64.checked_shl(slot)
                .map_or(u64::MAX, |bit| bit.wrapping_sub(1))
        };
        SlotMask(below(self.end()) & !below(self.start))
    }
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.start, self.size)
    }
}

/// A set of memory slots; bit `i` is slot `i`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct SlotMask(pub u64);

impl SlotMask {
    /// Whether no slot is in both.
    #[must_use]
    pub fn is_disjoint(self, other: Self) -> bool {
        self.0 & other.0 == 0
    }

    /// The slots of either.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The slots of `self` that are not in `other`.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Number of slots.
    #[must_use]
    pub fn count(self) -> u32 {
        self.0.count_ones()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mask_covers_exactly_the_slots() {
        let mask = |start, size| Placement { start, size }.mask().0;
        assert_eq!(mask(0, 1), 0b1);
        assert_eq!(mask(4, 4), 0b1111_0000);
        assert_eq!(mask(0, 12), 0xfff);
        assert_eq!(mask(0, 64), u64::MAX);
        assert_eq!(mask(3, 0), 0);
        assert_eq!(mask(70, u32::MAX), 0, "slots that cannot exist");
    }
}
