use serde::{Deserialize, Serialize};

/// How many of each engine a profile takes, or a board has.
///
/// On every board whose tables are known, "the engines of the instances sum to no more than the board's" is, beside the slots,
/// the whole rule of which instances may stand together: it is what makes `+me` unique, for example, since there is one OFA.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Engines {
    /// Copy engines (CE).
    pub copy: u32,
    /// Video decoders (NVDEC).
    pub decoders: u32,
    /// Video encoders (NVENC).
    pub encoders: u32,
    /// JPEG decoders.
    pub jpeg: u32,
    /// Optical flow accelerators.
    pub ofa: u32,
}

impl Engines {
    fn zip(self, other: Self, f: impl Fn(u32, u32) -> u32) -> Self {
        Self {
            copy: f(self.copy, other.copy),
            decoders: f(self.decoders, other.decoders),
            encoders: f(self.encoders, other.encoders),
            jpeg: f(self.jpeg, other.jpeg),
            ofa: f(self.ofa, other.ofa),
        }
    }

    /// The sum, engine by engine; saturates.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        self.zip(other, u32::saturating_add)
    }

    /// The larger of the two, engine by engine.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        self.zip(other, u32::max)
    }

    /// Whether no engine exceeds that of `capacity`.
    #[must_use]
    pub fn fits_in(self, capacity: Self) -> bool {
        self.max(capacity) == capacity
    }
}
