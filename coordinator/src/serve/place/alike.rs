//! Which nodes a pod may run on. Pods of one template are alike, and are looked at once.

use std::collections::BTreeSet;

use mica_model::Slice;
use mica_planner::GpuId;

use super::{Planning, Step};
use crate::serve::objects::{Pod, Scheduling, eligible};

/// Stands for all pods that may run on the same nodes and need the same room there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Alike(usize);

/// One pod of each kind.
#[derive(Default)]
pub(super) struct Kinds<'a>(Vec<&'a Pod>);

impl<'a> Kinds<'a> {
    /// The kind of a pod.
    pub(super) fn of(&mut self, pod: &'a Pod) -> Alike {
        let is_like = |known: &&Pod| {
            known.request.cpu_milli == pod.request.cpu_milli
                && known.request.memory_bytes == pod.request.memory_bytes
                && known.scheduling == pod.scheduling
        };
        // Those of one template come one after the other.
        let found = self.0.iter().rposition(is_like);
        Alike(found.unwrap_or_else(|| {
            self.0.push(pod);
            self.0.len() - 1
        }))
    }

    fn example(&self, kind: Alike) -> Option<(&'a Pod, &'a Scheduling)> {
        let pod = self.0.get(kind.0)?;
        Some((pod, pod.scheduling.as_deref()?))
    }
}

impl<'a, R: Fn(&GpuId, Slice) -> bool, P: Planning> Step<'a, R, P> {
    /// The nodes that pods of a kind may run on now.
    pub(super) fn nodes_for(&self, kind: Alike) -> BTreeSet<&'a str> {
        let Some((pod, scheduling)) = self.kinds.example(kind) else {
            return BTreeSet::new();
        };
        let suitable = self.suitable(scheduling);
        suitable.filter(|node| self.rooms.fits(node, pod)).collect()
    }

    /// The managed nodes that a pod may run on when there is room.
    fn suitable(&self, scheduling: &Scheduling) -> impl Iterator<Item = &'a str> {
        self.rooms.nodes().filter(|name| {
            let node = self.objects.nodes().get(*name);
            node.is_some_and(|node| eligible(scheduling, name, node))
        })
    }

    /// Why pods of a kind have no node.
    pub(super) fn no_node(&self, kind: Alike) -> String {
        let managed = self.rooms.nodes().count();
        let example = self.kinds.example(kind);
        let suitable = example.map_or(0, |(_, scheduling)| self.suitable(scheduling).count());
        match (managed, suitable) {
            (0, _) => {
                "no node is managed by Mica: label one mica.dev/partitioning=dynamic".to_owned()
            }
            (_, 0) => format!(
                "node selector, affinity or taints keep the pod off all {managed} nodes that Mica manages"
            ),
            (_, suitable) => format!(
                "no CPU, memory or pod is left for it on the {suitable} nodes that it may run on"
            ),
        }
    }
}
