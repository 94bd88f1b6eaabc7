//! Which pods are released, and when: once their slices are ready, are kept for them, and the scheduler can count on the devices.

use std::collections::BTreeMap;

use mica_model::{Instance, Pod as PodName, Slice};
use mica_planner::GpuId;

use super::{
    Index, Node, NodeGpu,
    needs::{device, is_known, needed},
};
use crate::serve::{
    objects::{Objects, Pod},
    place::Placed,
};

/// A pod that is about to be released.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Release {
    pub(super) uid: String,
    pub(super) node: String,
    /// Whether the API server has been asked and has not answered: it may be released already.
    pub(super) asked: bool,
}

/// How many devices pods on their way to nodes will take, by node and resource name.
#[derive(Debug, Default)]
struct Owed(BTreeMap<String, BTreeMap<String, u32>>);

impl Owed {
    fn of(&self, node: &str, resource: &str) -> u32 {
        let of_node = self.0.get(node);
        of_node
            .and_then(|owed| owed.get(resource))
            .copied()
            .unwrap_or(0)
    }

    fn add<R: AsRef<str>>(&mut self, node: &str, devices: &BTreeMap<R, u32>) {
        for (resource, count) in devices {
            let of_node = self.0.entry(node.to_owned()).or_default();
            let sum = of_node.entry(resource.as_ref().to_owned()).or_default();
            *sum = sum.saturating_add(*count);
        }
    }
}

impl Index {
    /// Gated pods that are on their way already, and their nodes.
    pub(crate) fn promised(&self) -> BTreeMap<PodName, String> {
        let releases = self.keep.releases.iter();
        releases
            .map(|(name, release)| (name.clone(), release.node.clone()))
            .collect()
    }

    /// Whether a slice can be had at once: it stands, nobody uses it, and the kubelet knows it.
    pub(crate) fn is_ready(&self, id: &GpuId, slice: Slice) -> bool {
        let Some((node, gpu)) = self.gpu(id) else {
            return false;
        };
        let instance = gpu.gpu.instances.iter().find(|it| it.slice == slice);
        instance.is_some_and(|instance| {
            instance.is_free() && self.is_allocatable(id, node, gpu, instance)
        })
    }

    fn is_allocatable(&self, id: &GpuId, node: &Node, gpu: &NodeGpu, instance: &Instance) -> bool {
        let Some((name, uuid)) = device(gpu, instance) else {
            return false;
        };
        let withheld = self.keep.withheld.get(&id.node);
        is_known(node, &name, uuid) && withheld.is_none_or(|withheld| !withheld.contains(uuid))
    }

    /// Decides to release the gated ones of these pods whose slices are all ready, as far as the kubelet surely has devices for them:
    /// it gives any device of the resource, so they are counted.
    pub(crate) fn promise(&mut self, placed: &[Placed]) {
        let mut owed = self.owed();
        let mut promised = false;
        for placed in placed {
            if self.can_promise(placed, &owed) && self.promise_one(placed) {
                promised = true;
                let pods = self.objects.as_ref().map(Objects::pods);
                if let Some(pod) = pods.and_then(|pods| pods.get(&placed.pod)) {
                    owed.add(&placed.node, &pod.request.slices);
                }
            }
        }
        if promised {
            self.reserve();
            self.changed(false);
        }
    }

    fn can_promise(&self, placed: &Placed, owed: &Owed) -> bool {
        let Some(pod) = self
            .objects
            .as_ref()
            .and_then(|it| it.pods().get(&placed.pod))
        else {
            return false;
        };
        let Some(node) = self.nodes.get(&placed.node) else {
            return false;
        };
        pod.gated
            && placed
                .slices
                .iter()
                .all(|(id, slice)| self.is_ready(id, *slice))
            && pod.request.slices.iter().all(|(name, count)| {
                let free = self.free(&placed.node, node, name);
                free >= owed.of(&placed.node, name).saturating_add(*count)
            })
    }

    /// Devices of the resource that the kubelet knows and nobody has.
    fn free(&self, name: &str, node: &Node, resource: &str) -> u32 {
        let free = node.gpus.iter().map(|gpu| {
            let id = GpuId {
                node: name.to_owned(),
                index: gpu.gpu.index,
            };
            let instances = gpu.gpu.instances.iter().filter(|instance| {
                device(gpu, instance).is_some_and(|(name, _)| name == resource)
                    && instance.fault.is_none()
                    && instance.in_use.processes.is_empty()
                    && instance.in_use.containers.is_empty()
                    && instance.in_use.unknown.is_empty()
                    && self.is_allocatable(&id, node, gpu, instance)
            });
            instances.count()
        });
        u32::try_from(free.sum::<usize>()).unwrap_or(u32::MAX)
    }

    /// Devices that pods on their way to nodes will take.
    fn owed(&self) -> Owed {
        let mut owed = Owed::default();
        for (name, pod) in self.objects.iter().flat_map(Objects::pods) {
            let node = destination(&self.keep.releases, name, pod);
            if let Some((node, state)) = node.and_then(|node| self.nodes.get_key_value(node)) {
                owed.add(node, &needed(state, name, pod));
            }
        }
        owed
    }

    fn promise_one(&mut self, placed: &Placed) -> bool {
        let pod = self
            .objects
            .as_ref()
            .and_then(|it| it.pods().get(&placed.pod));
        let Some(pod_uid) = pod.map(|pod| pod.uid.clone()) else {
            return false;
        };
        for (id, slice) in &placed.slices {
            let Some(uuid) = self.gpu(id).map(|(_, gpu)| gpu.gpu.uuid.clone()) else {
                return false;
            };
            let kept = self.keep.slices.entry(placed.node.clone()).or_default();
            kept.insert((uuid, *slice), placed.pod.clone());
        }
        let release = Release {
            uid: pod_uid,
            node: placed.node.clone(),
            asked: false,
        };
        self.keep.releases.insert(placed.pod.clone(), release);
        true
    }

    /// Pods to be released now, with their nodes: their slices are kept, their agents have been told, the scheduler can count on the devices.
    pub(crate) fn releasable(&self) -> Vec<(&PodName, &Pod, &str)> {
        let Some(objects) = &self.objects else {
            return Vec::new();
        };
        let releases = self.keep.releases.iter();
        releases
            .filter_map(|(name, release)| {
                let pod = objects.pods().get(name);
                let pod = pod.filter(|pod| pod.gated && pod.uid == release.uid)?;
                let shown = objects.nodes().get(&release.node)?;
                let wanted = self.devices(&release.node);
                let counted = pod.request.slices.keys().all(|resource| {
                    let wanted = wanted.get(resource);
                    wanted.is_some() && shown.devices.get(resource) >= wanted
                });
                counted.then_some((name, pod, release.node.as_str()))
            })
            .collect()
    }

    /// The API server is being asked to release the pod.
    pub(crate) fn asked_to_release(&mut self, name: &PodName) {
        if let Some(release) = self.keep.releases.get_mut(name) {
            release.asked = true;
        }
    }

    /// The pod, as it has just been seen, could not be released: a round decides anew.
    pub(crate) fn not_released(&mut self, name: &PodName) {
        self.keep.releases.remove(name);
        self.changed(true);
    }
}

/// The node that a pod is on its way to, or on.
pub(super) fn destination<'a>(
    releases: &'a BTreeMap<PodName, Release>,
    name: &PodName,
    pod: &'a Pod,
) -> Option<&'a str> {
    let release = releases.get(name).filter(|release| release.uid == pod.uid);
    pod.destination()
        .or(release.map(|release| release.node.as_str()))
}
