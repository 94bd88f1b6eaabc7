//! A node: its GPUs, its agent and its kubelet.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use mica_model::{
    ComputeInstance, Container, Generation, Gpu, Instance, Layout, Pod as PodName, Reservation,
    Slice, Use, resource_name, testing::a100_40gb,
};
use mica_proto::v1;

use crate::serve::{
    index::{Connection, Kubelet, Reported, Told},
    testing::gpu,
};

/// GPUs of a node.
pub(super) const GPUS: u32 = 2;

/// A slice that stands.
pub(super) struct Standing {
    pub(super) uuid: String,
    /// The pod whose container has it.
    pub(super) holder: Option<PodName>,
}

/// The agent's stream.
pub(super) struct Stream {
    pub(super) coordinator: usize,
    pub(super) connection: Connection,
    pub(super) told: Told,
}

pub(super) struct Machine {
    pub(super) name: &'static str,
    /// What stands, by GPU.
    pub(super) slices: BTreeMap<(u32, Slice), Standing>,
    /// Devices that the kubelet has been told of and has taken.
    pub(super) known: BTreeSet<String>,
    pub(super) stream: Option<Stream>,
    /// Newest generation that was executed.
    pub(super) seen: u64,
    made: u32,
}

impl Machine {
    pub(super) fn new(name: &'static str) -> Self {
        Self {
            name,
            slices: BTreeMap::new(),
            known: BTreeSet::new(),
            stream: None,
            seen: 0,
            made: 0,
        }
    }

    pub(super) fn resource(slice: Slice) -> String {
        resource_name(&a100_40gb().profile_name(slice.profile))
    }

    /// Devices of a name, that the kubelet knows and nobody holds.
    pub(super) fn free(&self, resource: &str) -> Vec<(u32, Slice)> {
        let of_name = self.slices.iter().filter(|((_, slice), standing)| {
            Self::resource(*slice) == resource
                && standing.holder.is_none()
                && self.known.contains(&standing.uuid)
        });
        of_name.map(|(place, _)| *place).collect()
    }

    /// How many devices of each name the kubelet gives to pods.
    pub(super) fn counts(&self) -> BTreeMap<String, u32> {
        let mut counts: BTreeMap<String, u32> = BTreeMap::new();
        for profile in &a100_40gb().profiles {
            counts.insert(resource_name(&profile.name), 0);
        }
        for ((_, slice), standing) in &self.slices {
            if self.known.contains(&standing.uuid) {
                *counts.get_mut(&Self::resource(*slice)).unwrap() += 1;
            }
        }
        counts
    }

    /// The kubelet takes the list of what stands.
    pub(super) fn learn(&mut self) {
        self.known = self.slices.values().map(|it| it.uuid.clone()).collect();
    }

    /// What the agent has been told to keep; `None` before it was told.
    pub(super) fn kept(&self) -> Option<Vec<((u32, Slice), PodName)>> {
        let told = self.stream.as_ref()?.told.reservations.borrow().clone()?;
        let kept = told.slices.iter().map(|kept| {
            let (uuid, slice, reservation) = kept.unpack().unwrap();
            let index = (0..GPUS).find(|index| gpu(self.name, *index, "").uuid == uuid);
            ((index.unwrap(), slice), reservation.pod)
        });
        Some(kept.collect())
    }

    fn gpu(&self, index: u32) -> Gpu {
        let kept = self.kept().unwrap_or_default();
        let of_gpu = self.slices.iter().filter(|((gpu, _), _)| *gpu == index);
        let instance = |(gi, ((_, slice), standing)): (u32, (&(u32, Slice), &Standing))| {
            let container = |pod: &PodName| Container {
                pod: pod.clone(),
                name: "c".to_owned(),
            };
            let reservations = kept.iter().filter(|(place, _)| *place == (index, *slice));
            let reservations = reservations.map(|(_, pod)| Reservation {
                pod: pod.clone(),
                generation: Generation(self.seen),
            });
            Instance {
                gi,
                slice: *slice,
                compute: Some(ComputeInstance {
                    id: 0,
                    uuid: standing.uuid.clone(),
                }),
                in_use: Use {
                    containers: standing.holder.iter().map(container).collect(),
                    reservations: reservations.collect(),
                    ..Use::default()
                },
                memory_used_bytes: 0,
                memory_total_bytes: 0,
                fault: None,
            }
        };
        Gpu {
            instances: (0..).zip(of_gpu).map(instance).collect(),
            ..gpu(self.name, index, "")
        }
    }

    /// What the agent says.
    pub(super) fn report(&self) -> Reported {
        let mut allocatable: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for name in self.counts().into_keys() {
            allocatable.insert(name, BTreeSet::new());
        }
        for ((_, slice), standing) in &self.slices {
            if self.known.contains(&standing.uuid) {
                let of_name = allocatable.get_mut(&Self::resource(*slice)).unwrap();
                of_name.insert(standing.uuid.clone());
            }
        }
        Reported {
            driver_version: String::new(),
            nvml_version: String::new(),
            generation: Generation(self.seen),
            gpus: (0..GPUS).map(|index| self.gpu(index)).collect(),
            kubelet: Some(Kubelet {
                allocatable,
                silent: false,
            }),
        }
    }

    /// What the agent was told and has not done yet.
    pub(super) fn order(&self) -> Option<Arc<v1::Desired>> {
        let told = self.stream.as_ref()?.told.desired.borrow().clone()?;
        (told.generation > self.seen).then_some(told)
    }

    /// Makes a layout of a GPU true, unless something that would go is held or kept; whether it did.
    pub(super) fn make(&mut self, index: u32, layout: &Layout) -> bool {
        let Some(kept) = self.kept() else {
            return false;
        };
        let going: Vec<_> = self
            .slices
            .keys()
            .filter(|(gpu, slice)| *gpu == index && !layout.0.contains(slice))
            .copied()
            .collect();
        let is_used = |place: &(u32, Slice)| {
            self.slices[place].holder.is_some() || kept.iter().any(|(kept, _)| kept == place)
        };
        if going.iter().any(is_used) {
            return false;
        }
        for place in going {
            let gone = self.slices.remove(&place).unwrap();
            self.known.remove(&gone.uuid);
        }
        for slice in &layout.0 {
            self.slices.entry((index, *slice)).or_insert_with(|| {
                self.made += 1;
                Standing {
                    uuid: format!("MIG-{}-{}", self.name, self.made),
                    holder: None,
                }
            });
        }
        true
    }
}
