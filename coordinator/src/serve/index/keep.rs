//! Slices that are kept for pods: those that were released or bound and do not hold their devices yet, and those about to be released.
//!
//! Nothing of this is stored: who was released or bound is read from the API server, who holds what from the agents' reports.

use std::collections::{BTreeMap, BTreeSet};

use mica_model::{Layout, MigMode, Pod as PodName, Slice, WHOLE_GPU};
use mica_proto::v1;

use super::{
    Index, Node, NodeGpu,
    choose::choose,
    needs::{Needs, held, needed},
    release::{Release, destination},
};
use crate::serve::objects::{NodeObject, Objects, Pod};

/// What is kept, and for whom.
#[derive(Debug, Default)]
pub(crate) struct Keep {
    /// Gated pods that are about to be released.
    pub(super) releases: BTreeMap<PodName, Release>,
    /// By node, then by GPU and place.
    pub(super) slices: BTreeMap<String, BTreeMap<(String, Slice), PodName>>,
    /// Nodes with pods that are on their way to whole GPUs.
    whole_gpus: BTreeSet<String>,
    /// UUIDs of devices that a layout is about to take away, by node: the scheduler must not count on them any more.
    pub(super) withheld: BTreeMap<String, BTreeSet<String>>,
}

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
                Some(needs) => choose(node, needs, former),
                None => BTreeMap::new(),
            };
            slices.insert(name.clone(), kept);
        }
        self.keep.slices = slices;
        self.keep.whole_gpus = whole_gpus;
        self.reserve();
    }

    /// Tells the agents what is kept.
    pub(super) fn reserve(&mut self) {
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
}
