//! What pods hold of a node's devices, and what they still need.

use std::collections::BTreeMap;

use mica_model::{Instance, Pod as PodName, WHOLE_GPU, resource_name};

use super::{Node, NodeGpu};
use crate::serve::objects::Pod;

/// What pods still need of a node, by resource name.
pub(super) type Needs<'a> = BTreeMap<&'a PodName, BTreeMap<&'a str, u32>>;

/// Resource name and UUID of the device that an instance is.
pub(super) fn device<'a>(gpu: &NodeGpu, instance: &'a Instance) -> Option<(String, &'a str)> {
    let board = gpu.gpu.board.as_ref()?;
    let compute = instance.compute.as_ref()?;
    let profile = board.profile_name(instance.slice.profile);
    Some((resource_name(&profile), compute.uuid.as_str()))
}

pub(super) fn is_known(node: &Node, resource: &str, uuid: &str) -> bool {
    let kubelet = node.kubelet.as_ref().filter(|kubelet| !kubelet.silent);
    kubelet
        .and_then(|kubelet| kubelet.allocatable.get(resource))
        .is_some_and(|devices| devices.contains(uuid))
}

/// How many devices of the resource the pod holds.
pub(super) fn held(node: &Node, pod: &PodName, wanted: &str) -> u32 {
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
pub(super) fn needed<'a>(node: &Node, name: &PodName, pod: &'a Pod) -> BTreeMap<&'a str, u32> {
    let slices = pod.request.slices.iter();
    slices
        .map(|(resource, count)| {
            let held = held(node, name, resource);
            (resource.as_str(), count.saturating_sub(held))
        })
        .filter(|(_, count)| *count > 0)
        .collect()
}
