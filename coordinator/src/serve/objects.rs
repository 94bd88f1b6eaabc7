//! What the API server shows: pods, nodes, namespaces. Pure: the watches bring it, see [`super::kubernetes`].

mod eligible;
pub(crate) mod names;
mod node;
mod pod;
mod quantity;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use mica_model::Pod as PodName;

pub(crate) use eligible::eligible;
pub(crate) use node::NodeObject;
pub(crate) use pod::{Pod, Scheduling};

/// What there is to watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Pods that take something of a node, or want a GPU.
    Pods,
    /// Nodes.
    Nodes,
    /// Namespaces of tenants.
    Namespaces,
}

/// The objects, as last seen.
#[derive(Debug, Default)]
pub(crate) struct Objects {
    pods: BTreeMap<PodName, Pod>,
    nodes: BTreeMap<String, NodeObject>,
    namespaces: BTreeSet<String>,
    seen: BTreeSet<Kind>,
}

impl Objects {
    /// Whether everything has been seen once. Nothing may be decided before: what is not seen may hold slices.
    pub(crate) fn are_complete(&self) -> bool {
        [Kind::Pods, Kind::Nodes, Kind::Namespaces]
            .iter()
            .all(|kind| self.seen.contains(kind))
    }

    /// All pods have been listed anew; whether anything is new.
    pub(crate) fn set_pods(&mut self, pods: BTreeMap<PodName, Pod>) -> bool {
        self.seen.insert(Kind::Pods) | replace(&mut self.pods, pods)
    }

    /// All nodes have been listed anew; whether anything is new.
    pub(crate) fn set_nodes(&mut self, nodes: BTreeMap<String, NodeObject>) -> bool {
        self.seen.insert(Kind::Nodes) | replace(&mut self.nodes, nodes)
    }

    /// All namespaces of tenants have been listed anew; whether anything is new.
    pub(crate) fn set_namespaces(&mut self, namespaces: BTreeSet<String>) -> bool {
        self.seen.insert(Kind::Namespaces) | replace(&mut self.namespaces, namespaces)
    }

    /// A pod looks so now; `None`: it takes nothing any more. Whether that is new.
    pub(crate) fn set_pod(&mut self, name: &PodName, pod: Option<Pod>) -> bool {
        let Some(pod) = pod else {
            return self.pods.remove(name).is_some();
        };
        match self.pods.get(name) {
            Some(known) if known.uid == pod.uid && is_older(&pod.version, &known.version) => false,
            Some(known) if *known == pod => false,
            Some(_) | None => {
                self.pods.insert(name.clone(), pod);
                true
            }
        }
    }

    /// A node looks so now, or is no more; whether that is new.
    pub(crate) fn set_node(&mut self, name: &str, node: Option<NodeObject>) -> bool {
        let Some(node) = node else {
            return self.nodes.remove(name).is_some();
        };
        match self.nodes.get(name) {
            Some(known) if is_older(&node.version, &known.version) => false,
            Some(known) if known.is_like(&node) => false,
            Some(_) | None => {
                self.nodes.insert(name.to_owned(), node);
                true
            }
        }
    }

    /// A namespace belongs to a tenant, or does no more; whether that is new.
    pub(crate) fn set_namespace(&mut self, name: &str, managed: bool) -> bool {
        if managed {
            self.namespaces.insert(name.to_owned())
        } else {
            self.namespaces.remove(name)
        }
    }

    /// The pods by name.
    pub(crate) fn pods(&self) -> &BTreeMap<PodName, Pod> {
        &self.pods
    }

    /// The nodes by name.
    pub(crate) fn nodes(&self) -> &BTreeMap<String, NodeObject> {
        &self.nodes
    }

    /// Pods that wait for slices: behind the gate, or, where nothing gates them, because the scheduler finds none.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = (&PodName, &Pod)> {
        self.pods.iter().filter(|(name, pod)| {
            let gated = pod.gated && self.namespaces.contains(&name.namespace);
            !pod.request.slices.is_empty()
                && pod.node.is_none()
                && pod.released_to.as_ref().is_none_or(|_| pod.gated)
                && !pod.gated_by_others
                && !pod.leaving
                && (gated || (!pod.gated && pod.unschedulable))
        })
    }
}

fn replace<T: PartialEq>(known: &mut T, new: T) -> bool {
    let changed = *known != new;
    *known = new;
    changed
}

/// Whether a resource version is older than another of the same object. The answer to a patch may be newer than what the watch brings
/// next. Versions that are no numbers are not compared: then what comes last counts.
fn is_older(version: &str, known: &str) -> bool {
    let numbers = version.parse::<u64>().ok().zip(known.parse::<u64>().ok());
    numbers.is_some_and(|(version, known)| version < known)
}
