//! The sources put together.

use std::sync::Arc;

use mica_model::{Gpu, Instance, Reservation, Silence, Slice, Use};

use super::Reservations;
use crate::kubelet::Holdings;

/// Who uses the instances of the node at one moment.
#[derive(Clone, Debug, Default)]
pub struct InUse {
    holdings: Arc<Holdings>,
    reservations: Arc<Reservations>,
    silences: Vec<Silence>,
}

impl InUse {
    /// Puts together what the kubelet told, what the coordinator told, and which of them do not tell.
    #[must_use]
    pub fn new(
        holdings: Arc<Holdings>,
        reservations: Arc<Reservations>,
        mut silences: Vec<Silence>,
    ) -> Self {
        silences.extend(holdings.unplaced().iter().cloned());
        Self {
            holdings,
            reservations,
            silences,
        }
    }

    /// Who uses an instance of a GPU, NVML's word included.
    ///
    /// A GPU instance without compute instance has no device that a container could hold or a pod be sent to: of such a one silence says
    /// nothing.
    #[must_use]
    pub fn of(&self, gpu: &Gpu, instance: &Instance) -> Use {
        let mut all = instance.in_use.clone();
        if let Some(compute) = &instance.compute {
            all.containers
                .extend_from_slice(self.holdings.of(&compute.uuid));
            all.unknown.extend_from_slice(&self.silences);
        }
        let kept = self.reservations.of(&gpu.uuid).iter();
        let kept = kept.filter(|(slice, _)| *slice == instance.slice);
        all.reservations.extend(kept.map(|(_, whom)| whom.clone()));
        all
    }

    /// Who uses a GPU as a whole, NVML's word included.
    #[must_use]
    pub fn of_whole(&self, gpu: &Gpu) -> Use {
        let mut all = gpu.in_use.clone();
        all.containers
            .extend_from_slice(self.holdings.of(&gpu.uuid));
        all.unknown.extend_from_slice(&self.silences);
        all
    }

    /// Whether a container holds the device with this UUID, also one that does not stand.
    #[must_use]
    pub fn is_held(&self, device: &str) -> bool {
        !self.holdings.of(device).is_empty()
    }

    /// For whom the place of a slice is kept, where that is for another slice.
    #[must_use]
    pub fn place_kept(&self, gpu: &Gpu, slice: Slice) -> Option<(Slice, &Reservation)> {
        let overlaps = |other: Slice| {
            other != slice && !other.placement.mask().is_disjoint(slice.placement.mask())
        };
        let mut kept = self.reservations.of(&gpu.uuid).iter();
        kept.find(|(kept, _)| overlaps(*kept))
            .map(|(kept, whom)| (*kept, whom))
    }

    /// Sources that do not tell, as they look the same as long as they say the same.
    #[must_use]
    pub fn silences_at_rest(&self) -> Vec<Silence> {
        self.silences.iter().map(at_rest).collect()
    }

    /// Adds to what NVML says of a GPU and its instances what the others say. For how long a source has been silent is left out: it would
    /// make each reading look like news.
    pub fn mark(&self, gpu: &mut Gpu) {
        let marked: Vec<_> = gpu
            .instances
            .iter()
            .map(|instance| self.of(gpu, instance))
            .collect();
        gpu.in_use = resting(self.of_whole(gpu));
        for (instance, in_use) in gpu.instances.iter_mut().zip(marked) {
            instance.in_use = resting(in_use);
        }
    }
}

fn resting(in_use: Use) -> Use {
    Use {
        unknown: in_use.unknown.iter().map(at_rest).collect(),
        ..in_use
    }
}

fn at_rest(silence: &Silence) -> Silence {
    Silence {
        age: None,
        ..silence.clone()
    }
}
