//! What nodes have left beside GPUs, as the scheduler counts it.

use std::collections::BTreeMap;

use mica_model::Pod as PodName;

use crate::serve::objects::{Objects, Pod};

/// What is left on a node.
#[derive(Clone, Copy, Debug, Default)]
struct Room {
    cpu_milli: u64,
    memory_bytes: u64,
    pods: u64,
}

/// What is left on managed nodes.
pub(super) struct Rooms<'a>(BTreeMap<&'a str, Room>);

impl<'a> Rooms<'a> {
    /// Beside the pods that are bound to the nodes or on their way to them.
    pub(super) fn left(objects: &'a Objects, promised: &BTreeMap<PodName, String>) -> Self {
        let managed = objects.nodes().iter().filter(|(_, node)| node.is_managed());
        let rooms = managed.map(|(name, node)| {
            let room = Room {
                cpu_milli: node.cpu_milli,
                memory_bytes: node.memory_bytes,
                pods: node.pods,
            };
            (name.as_str(), room)
        });
        let mut rooms = Self(rooms.collect());
        for (name, pod) in objects.pods() {
            let node = pod.destination().or(promised.get(name).map(String::as_str));
            if let Some(node) = node {
                rooms.take(node, pod);
            }
        }
        rooms
    }

    /// The names of the nodes.
    pub(super) fn nodes(&self) -> impl Iterator<Item = &'a str> {
        self.0.keys().copied()
    }

    /// Whether the pod fits.
    pub(super) fn fits(&self, node: &str, pod: &Pod) -> bool {
        self.0.get(node).is_some_and(|room| {
            room.pods >= 1
                && room.cpu_milli >= pod.request.cpu_milli
                && room.memory_bytes >= pod.request.memory_bytes
        })
    }

    /// A pod comes to the node.
    pub(super) fn take(&mut self, node: &str, pod: &Pod) {
        if let Some(room) = self.0.get_mut(node) {
            room.cpu_milli = room.cpu_milli.saturating_sub(pod.request.cpu_milli);
            room.memory_bytes = room.memory_bytes.saturating_sub(pod.request.memory_bytes);
            room.pods = room.pods.saturating_sub(1);
        }
    }
}
