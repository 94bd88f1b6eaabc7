//! Slices that the coordinator keeps for pods.

use std::collections::BTreeMap;

use mica_model::{Reservation, Slice};
use mica_proto::{convert::Invalid, v1};

/// Slices that are kept for pods that were released or bound, and are not yet admitted, by UUID of their GPU.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reservations(BTreeMap<String, Vec<(Slice, Reservation)>>);

impl Reservations {
    /// Those of one GPU.
    pub(super) fn of<'a>(&'a self, gpu: &str) -> &'a [(Slice, Reservation)] {
        self.0.get(gpu).map_or(&[], Vec::as_slice)
    }

    /// Whether nothing is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl TryFrom<&v1::Reservations> for Reservations {
    type Error = Invalid;

    fn try_from(said: &v1::Reservations) -> Result<Self, Invalid> {
        let mut reservations = Self::default();
        for kept in &said.slices {
            let (gpu, slice, reservation) = kept.unpack()?;
            let of_gpu = reservations.0.entry(gpu.to_owned()).or_default();
            of_gpu.push((slice, reservation));
        }
        Ok(reservations)
    }
}
