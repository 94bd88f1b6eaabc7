//! The place step, pure: slices for pods, each on a node that it may run on.
//!
//! The planner knows of profiles, not of nodes. So pods that may run on the same nodes are planned together, on these nodes alone, the
//! most urgent first; what they get is taken before the next ones are planned for.

mod alike;
mod bundle;
mod group;
mod room;
mod stock;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use mica_model::{Pod as PodName, Slice};
use mica_planner::{CheckedPlan, Demand, GpuId, Snapshot, Violation};

use self::{
    alike::{Alike, Kinds},
    bundle::Hopeless,
    room::Rooms,
    stock::Stock,
};
use super::objects::{Objects, Pod};

pub(crate) use stock::apply;

/// Where a pod is to run, and on which slices, present or to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    /// The pod.
    pub(crate) pod: PodName,
    /// Its node.
    pub(crate) node: String,
    /// Its slices there.
    pub(crate) slices: Vec<(GpuId, Slice)>,
}

/// What was found for the pods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Placement {
    /// Pods that have a place.
    pub(crate) placed: Vec<Placed>,
    /// Why the others have none: sentences for people.
    pub(crate) waiting: BTreeMap<PodName, String>,
}

/// Makes a checked plan; GPUs that it cannot cope with become unavailable in the snapshot.
pub(crate) trait Planning:
    FnMut(&mut Snapshot, &Demand) -> Result<CheckedPlan, Vec<Violation>>
{
}
impl<F: FnMut(&mut Snapshot, &Demand) -> Result<CheckedPlan, Vec<Violation>>> Planning for F {}

/// Finds slices for all pods that wait. The snapshot becomes what will stand; what is found is in use there.
///
/// `promised` says of pods that are on their way to a node already; `is_ready` whether a slice can be had at once.
pub(crate) fn place(
    objects: &Objects,
    promised: &BTreeMap<PodName, String>,
    snapshot: &mut Snapshot,
    is_ready: impl Fn(&GpuId, Slice) -> bool,
    planning: impl Planning,
) -> Result<Placement, Vec<Violation>> {
    let waiting = objects.waiting();
    let mut waiting: Vec<_> = waiting
        .filter(|(name, _)| !promised.contains_key(name))
        .collect();
    waiting.sort_by_key(|(name, pod)| (std::cmp::Reverse(pod.priority), pod.created, *name));
    let mut kinds = Kinds::default();
    let mut waiting: VecDeque<_> = waiting
        .into_iter()
        .map(|(name, pod)| Waiting {
            name,
            pod,
            kind: kinds.of(pod),
        })
        .collect();
    let mut step = Step {
        objects,
        kinds,
        rooms: Rooms::left(objects, promised),
        stock: Stock::new(snapshot),
        hopeless: Hopeless::default(),
        is_ready,
        planning,
        placement: Placement::default(),
    };
    while let Some(first) = waiting.front().copied() {
        step.next(first, &mut waiting)?;
    }
    Ok(step.placement)
}

/// A pod that waits.
#[derive(Clone, Copy)]
struct Waiting<'a> {
    name: &'a PodName,
    pod: &'a Pod,
    /// Which pods it is like.
    kind: Alike,
}

impl Waiting<'_> {
    fn is_single(&self) -> bool {
        self.pod.request.slices.values().sum::<u32>() == 1
    }
}

/// The step so far.
struct Step<'a, R, P> {
    objects: &'a Objects,
    kinds: Kinds<'a>,
    rooms: Rooms<'a>,
    stock: Stock<'a>,
    hopeless: Hopeless,
    is_ready: R,
    planning: P,
    placement: Placement,
}

impl<'a, R: Fn(&GpuId, Slice) -> bool, P: Planning> Step<'a, R, P> {
    /// Plans for the first of those that wait, and for all that can be planned for together with it; they leave the list unless what is left
    /// may still do for them.
    fn next(
        &mut self,
        first: Waiting<'a>,
        waiting: &mut VecDeque<Waiting<'a>>,
    ) -> Result<(), Vec<Violation>> {
        let nodes = self.nodes_for(first.kind);
        if nodes.is_empty() {
            let reason = self.no_node(first.kind);
            waiting.retain(|other| {
                let alike = other.kind == first.kind;
                if alike {
                    self.wait(other, &reason);
                }
                !alike
            });
            Ok(())
        } else if first.is_single() {
            self.group(first, waiting, &nodes)
        } else {
            waiting.pop_front();
            self.bundle(first, &nodes)
        }
    }

    /// Says why a pod has no place.
    fn wait(&mut self, pod: &Waiting<'_>, reason: &str) {
        let reasons = &mut self.placement.waiting;
        reasons.insert(pod.name.clone(), reason.to_owned());
    }

    /// Gives slices of a node to a pod.
    fn give(&mut self, pod: &Waiting<'_>, node: &str, slices: Vec<(usize, Slice)>) {
        self.rooms.take(node, pod.pod);
        let slices = self.stock.take(slices);
        self.placement.placed.push(Placed {
            pod: pod.name.clone(),
            node: node.to_owned(),
            slices,
        });
    }
}
