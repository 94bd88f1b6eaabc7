//! Slices that are kept for pods: those that were released or bound and do not hold their devices yet, and those about to be released.
//!
//! Nothing of this is stored: who was released or bound is read from the API server, who holds what from the agents' reports.

use std::collections::{BTreeMap, BTreeSet};

use mica_model::{Instance, Layout, MigMode, Pod as PodName, Slice};
use mica_planner::GpuId;
use mica_proto::v1;

use super::{Index, Node, NodeGpu};
use crate::serve::{
    objects::{
        NodeObject, Objects, Pod,
        names::{WHOLE_GPU, resource},
    },
    place::Placed,
    round::Layouts,
};

/// What is kept, and for whom.
#[derive(Debug, Default)]
pub(crate) struct Keep {
    /// Gated pods that are about to be released.
    releases: BTreeMap<PodName, Release>,
    /// By node, then by GPU and place.
    slices: BTreeMap<String, BTreeMap<(String, Slice), PodName>>,
    /// Nodes with pods that are on their way to whole GPUs.
    whole_gpus: BTreeSet<String>,
    /// UUIDs of devices that a layout is about to take away, by node: the scheduler must not count on them any more.
    withheld: BTreeMap<String, BTreeSet<String>>,
}

/// A pod that is about to be released.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Release {
    uid: String,
    node: String,
    /// Whether the API server has been asked and has not answered: it may be released already.
    asked: bool,
}

/// What pods still need of a node, by resource name.
type Needs<'a> = BTreeMap<&'a PodName, BTreeMap<&'a str, u32>>;

impl Index {
    /// Whether anything may be planned: all that may hold slices has been seen.
    pub(crate) fn is_complete(&self) -> bool {
        self.objects.as_ref().is_none_or(Objects::are_complete)
    }

    /// Brings what is kept up to date with pods and reports, and tells the agents.
    pub(crate) fn keep(&mut self) {
        let Some(objects) = self.objects.as_ref().filter(|it| it.are_complete()) else {
            return;
        };
        let nodes = &self.nodes;
        self.keep.releases.retain(|name, release| {
            let connected = nodes.get(&release.node).is_some_and(Node::is_connected);
            let same = |pod: &Pod| pod.uid == release.uid && pod.gated && !pod.leaving;
            objects.pods().get(name).is_some_and(same) && (connected || release.asked)
        });
        let mut needs: BTreeMap<&str, Needs<'_>> = BTreeMap::new();
        let mut whole_gpus = BTreeSet::new();
        for (name, pod) in objects
            .pods()
            .iter()
            .filter(|(_, pod)| pod.request.wants_gpu())
        {
            let Some(node) = destination(&self.keep.releases, name, pod) else {
                continue;
            };
            let Some((node, state)) = self.nodes.get_key_value(node) else {
                continue;
            };
            if held(state, name, WHOLE_GPU) < pod.request.gpus {
                whole_gpus.insert(node.clone());
            }
            let needed = needed(state, name, pod);
            if !needed.is_empty() {
                needs.entry(node).or_default().insert(name, needed);
            }
        }
        let mut slices = BTreeMap::new();
        for (name, node) in &self.nodes {
            let former = self.keep.slices.get(name);
            let kept = match needs.get(name.as_str()) {
                Some(needs) => keep_on(node, needs, former),
                None => BTreeMap::new(),
            };
            slices.insert(name.clone(), kept);
        }
        self.keep.slices = slices;
        self.keep.whole_gpus = whole_gpus;
        self.reserve();
    }

    /// Tells the agents what is kept.
    fn reserve(&mut self) {
        for (name, node) in &mut self.nodes {
            let generation = node.observed.0;
            let kept = self.keep.slices.get(name).into_iter().flatten();
            let slices = kept.map(|((gpu, slice), pod)| v1::ReservedSlice {
                gpu: gpu.clone(),
                slice: Some((*slice).into()),
                reservation: Some(v1::Reservation {
                    pod: Some(v1::Pod {
                        namespace: pod.namespace.clone(),
                        name: pod.name.clone(),
                    }),
                    generation,
                }),
            });
            let slices = slices.collect();
            node.reserve(v1::Reservations { slices });
        }
    }

    /// Slices of a GPU that are kept.
    pub(super) fn kept(&self, node: &str, gpu: &str) -> Layout {
        let kept = self.keep.slices.get(node).into_iter().flatten();
        kept.filter(|((uuid, _), _)| uuid == gpu)
            .map(|((_, slice), _)| *slice)
            .collect()
    }

    /// Whether Mica has a say in the GPU: on Kubernetes its node must be managed, and no pod on its way to it as a whole.
    pub(super) fn may_change(&self, node: &str, gpu: &NodeGpu) -> bool {
        let Some(objects) = &self.objects else {
            return true;
        };
        let managed = objects
            .nodes()
            .get(node)
            .is_some_and(NodeObject::is_managed);
        let whole = gpu.gpu.mig_mode != MigMode::Enabled && self.keep.whole_gpus.contains(node);
        managed && !whole
    }

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
        let mut promised = false;
        for placed in placed {
            if self.can_promise(placed) {
                promised |= self.promise_one(placed);
            }
        }
        if promised {
            self.reserve();
            self.changed(false);
        }
    }

    fn can_promise(&self, placed: &Placed) -> bool {
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
                free >= self.owed(&placed.node, node, name).saturating_add(*count)
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

    /// Devices of the resource that pods on their way to the node will take.
    fn owed(&self, name: &str, node: &Node, resource: &str) -> u32 {
        let pods = self.objects.iter().flat_map(Objects::pods);
        pods.filter(|(pod_name, pod)| destination(&self.keep.releases, pod_name, pod) == Some(name))
            .map(|(pod_name, pod)| {
                let needed = needed(node, pod_name, pod);
                needed.get(resource).copied().unwrap_or(0)
            })
            .fold(0, u32::saturating_add)
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

    /// Of these layouts, those that may be published now. A device that a layout takes away is first withheld from the scheduler: until
    /// the API server shows so, the layout waits for a later round.
    pub(crate) fn withhold(&mut self, mut layouts: Layouts) -> Layouts {
        let Some(objects) = &self.objects else {
            return layouts;
        };
        let mut withheld = BTreeMap::new();
        for (name, node) in &self.nodes {
            let layouts = layouts.get(name);
            let gone = node.gpus.iter().flat_map(|gpu| {
                let uuid = &gpu.gpu.uuid;
                let coming = layouts.and_then(|it| it.get(uuid)).or(node.under_way(uuid));
                coming
                    .into_iter()
                    .flat_map(move |coming| taken_away(gpu, coming))
            });
            let gone: BTreeSet<_> = gone.collect();
            if !gone.is_empty() {
                withheld.insert(name.clone(), gone);
            }
        }
        let changed = self.keep.withheld != withheld;
        self.keep.withheld = withheld;
        let waits = |name: &String| {
            let shown = objects.nodes().get(name).map(|node| &node.devices);
            let wanted = self.devices(name);
            wanted.iter().any(|(resource, count)| {
                shown
                    .and_then(|shown| shown.get(resource))
                    .copied()
                    .unwrap_or(0)
                    > *count
            })
        };
        layouts.retain(|name, _| !waits(name));
        if changed {
            self.changed(false);
        }
        layouts
    }

    /// How many devices the scheduler should count on, by resource name; empty when that is not known now.
    pub(crate) fn devices(&self, name: &str) -> BTreeMap<String, u32> {
        let node = self.nodes.get(name).filter(|node| node.is_fresh());
        let kubelet = node.and_then(|node| node.kubelet.as_ref());
        let Some(kubelet) = kubelet.filter(|kubelet| !kubelet.silent) else {
            return BTreeMap::new();
        };
        let withheld = self.keep.withheld.get(name);
        let counts = kubelet.allocatable.iter().map(|(resource, devices)| {
            let stays = |uuid: &&String| withheld.is_none_or(|gone| !gone.contains(*uuid));
            let count = devices.iter().filter(stays).count();
            (resource.clone(), u32::try_from(count).unwrap_or(u32::MAX))
        });
        counts.collect()
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

    /// Keeps why pods wait, to be told.
    pub(crate) fn note_waiting(&mut self, waiting: BTreeMap<PodName, String>) {
        if self.waiting != waiting {
            self.waiting = waiting;
            self.changed(false);
        }
    }
}

/// The node that a pod is on its way to, or on.
fn destination<'a>(
    releases: &'a BTreeMap<PodName, Release>,
    name: &PodName,
    pod: &'a Pod,
) -> Option<&'a str> {
    let release = releases.get(name).filter(|release| release.uid == pod.uid);
    pod.destination()
        .or(release.map(|release| release.node.as_str()))
}

/// Resource name and UUID of the device that an instance is.
fn device<'a>(gpu: &NodeGpu, instance: &'a Instance) -> Option<(String, &'a str)> {
    let board = gpu.gpu.board.as_ref()?;
    let compute = instance.compute.as_ref()?;
    let profile = board.profile_name(instance.slice.profile);
    Some((resource(&profile), compute.uuid.as_str()))
}

fn is_known(node: &Node, resource: &str, uuid: &str) -> bool {
    let kubelet = node.kubelet.as_ref().filter(|kubelet| !kubelet.silent);
    kubelet
        .and_then(|kubelet| kubelet.allocatable.get(resource))
        .is_some_and(|devices| devices.contains(uuid))
}

/// How many devices of the resource the pod holds.
fn held(node: &Node, pod: &PodName, wanted: &str) -> u32 {
    let mut held = 0;
    for gpu in &node.gpus {
        let holds = |in_use: &mica_model::Use| in_use.containers.iter().any(|it| it.pod == *pod);
        held += u32::from(wanted == WHOLE_GPU && holds(&gpu.gpu.in_use));
        for instance in gpu.gpu.instances.iter().filter(|it| holds(&it.in_use)) {
            held += u32::from(device(gpu, instance).is_some_and(|(name, _)| name == wanted));
        }
    }
    held
}

/// What the pod still needs.
fn needed<'a>(node: &Node, name: &PodName, pod: &'a Pod) -> BTreeMap<&'a str, u32> {
    let slices = pod.request.slices.iter();
    slices
        .map(|(resource, count)| {
            let held = held(node, name, resource);
            (resource.as_str(), count.saturating_sub(held))
        })
        .filter(|(_, count)| *count > 0)
        .collect()
}

/// Chooses slices for what pods need: those that are kept for them already, then the best of the others.
fn keep_on(
    node: &Node,
    needs: &Needs<'_>,
    former: Option<&BTreeMap<(String, Slice), PodName>>,
) -> BTreeMap<(String, Slice), PodName> {
    let mut candidates: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for gpu in &node.gpus {
        for instance in &gpu.gpu.instances {
            if !instance.in_use.containers.is_empty() {
                continue;
            }
            let Some((name, uuid)) = device(gpu, instance) else {
                continue;
            };
            let worse = (!instance.is_free(), !is_known(node, &name, uuid));
            let place = (gpu.gpu.uuid.clone(), instance.slice);
            candidates.entry(name).or_default().push((worse, place));
        }
    }
    let mut kept = BTreeMap::new();
    for again in [true, false] {
        for (pod, needed) in needs {
            for (resource, count) in needed {
                let Some(candidates) = candidates.get_mut(*resource) else {
                    continue;
                };
                candidates.sort();
                let mine =
                    |kept: &BTreeMap<_, _>, place: &(String, Slice)| kept.get(place) == Some(*pod);
                let has = candidates
                    .iter()
                    .filter(|(_, place)| mine(&kept, place))
                    .count();
                let missing = usize::try_from(*count)
                    .unwrap_or(usize::MAX)
                    .saturating_sub(has);
                let fits = |place: &(String, Slice)| {
                    let before = former.and_then(|former| former.get(place));
                    if again { before == Some(*pod) } else { true }
                };
                let free: Vec<_> = candidates
                    .iter()
                    .map(|(_, place)| place)
                    .filter(|place| !kept.contains_key(*place) && fits(place))
                    .take(missing)
                    .cloned()
                    .collect();
                kept.extend(free.into_iter().map(|place| (place, (*pod).clone())));
            }
        }
    }
    kept
}

/// UUIDs of the devices of a GPU that are gone once the layout holds.
fn taken_away<'a>(gpu: &'a NodeGpu, coming: &'a Layout) -> impl Iterator<Item = String> + 'a {
    let instances = gpu.gpu.instances.iter();
    let slices = instances
        .filter(|instance| !coming.0.contains(&instance.slice))
        .filter_map(|instance| Some(instance.compute.as_ref()?.uuid.clone()));
    let whole = gpu.gpu.mig_mode != MigMode::Enabled;
    slices.chain(whole.then(|| gpu.gpu.uuid.clone()))
}
