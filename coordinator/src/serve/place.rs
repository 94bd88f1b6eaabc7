//! The place step, pure: slices for pods, each on a node that it may run on.
//!
//! The planner knows of profiles, not of nodes. So pods that may run on the same nodes are planned together, on these nodes alone, the
//! most urgent first; what they get is taken before the next ones are planned for.

use std::collections::{BTreeMap, BTreeSet};

use mica_model::{Layout, Pod as PodName, Slice};
use mica_planner::{CheckedPlan, Demand, DemandClass, GpuId, GpuState, Snapshot, Violation};

use super::objects::{Objects, Pod, Scheduling, eligible, names::resource};

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

/// What a node has left, as the scheduler counts it.
#[derive(Clone, Copy, Debug, Default)]
struct Room {
    cpu_milli: u64,
    memory_bytes: u64,
    pods: u64,
}

impl Room {
    fn fits(self, pod: &Pod) -> bool {
        self.pods >= 1
            && self.cpu_milli >= pod.request.cpu_milli
            && self.memory_bytes >= pod.request.memory_bytes
    }

    fn take(&mut self, pod: &Pod) {
        self.cpu_milli = self.cpu_milli.saturating_sub(pod.request.cpu_milli);
        self.memory_bytes = self.memory_bytes.saturating_sub(pod.request.memory_bytes);
        self.pods = self.pods.saturating_sub(1);
    }
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
    let mut waiting: Vec<_> = objects
        .waiting()
        .filter(|(name, _)| !promised.contains_key(name))
        .collect();
    waiting.sort_by_key(|(name, pod)| (std::cmp::Reverse(pod.priority), pod.created, *name));
    let mut step = Step {
        objects,
        rooms: rooms(objects, promised),
        snapshot,
        is_ready,
        planning,
        placement: Placement::default(),
    };
    while !waiting.is_empty() {
        step.next(&mut waiting)?;
    }
    Ok(step.placement)
}

/// What managed nodes have left beside the pods that are bound or on their way to them.
fn rooms<'a>(
    objects: &'a Objects,
    promised: &BTreeMap<PodName, String>,
) -> BTreeMap<&'a str, Room> {
    let managed = objects.nodes().iter().filter(|(_, node)| node.is_managed());
    let mut rooms: BTreeMap<_, _> = managed
        .map(|(name, node)| {
            let room = Room {
                cpu_milli: node.cpu_milli,
                memory_bytes: node.memory_bytes,
                pods: node.pods,
            };
            (name.as_str(), room)
        })
        .collect();
    for (name, pod) in objects.pods() {
        let node = pod.destination().or(promised.get(name).map(String::as_str));
        if let Some(room) = node.and_then(|node| rooms.get_mut(node)) {
            room.take(pod);
        }
    }
    rooms
}

struct Step<'a, R, P> {
    objects: &'a Objects,
    rooms: BTreeMap<&'a str, Room>,
    snapshot: &'a mut Snapshot,
    is_ready: R,
    planning: P,
    placement: Placement,
}

type Found = Vec<(GpuId, Slice)>;
type Waiting<'a> = Vec<(&'a PodName, &'a Pod)>;

impl<R: Fn(&GpuId, Slice) -> bool, P: Planning> Step<'_, R, P> {
    /// Plans for the first of those that wait, and for all that are like it; they leave the list unless what is left may still do for them.
    fn next(&mut self, waiting: &mut Waiting<'_>) -> Result<(), Vec<Violation>> {
        let Some(&(name, first)) = waiting.first() else {
            return Ok(());
        };
        let nodes = self.nodes_for(first);
        if nodes.is_empty() {
            let reason = self.no_node(first);
            self.placement.waiting.insert(name.clone(), reason);
            waiting.remove(0);
            return Ok(());
        }
        if is_single(first) {
            self.group(waiting, first.priority, &nodes)
        } else {
            waiting.remove(0);
            self.bundle(name, first, &nodes)
        }
    }

    /// The nodes that a pod may run on now.
    fn nodes_for(&self, pod: &Pod) -> BTreeSet<String> {
        let Some(scheduling) = pod.scheduling.as_deref() else {
            return BTreeSet::new();
        };
        self.suitable(scheduling)
            .filter(|name| self.rooms.get(name).is_some_and(|room| room.fits(pod)))
            .map(str::to_owned)
            .collect()
    }

    /// The managed nodes that a pod may run on when there is room.
    fn suitable(&self, scheduling: &Scheduling) -> impl Iterator<Item = &str> {
        self.rooms.keys().copied().filter(|name| {
            let node = self.objects.nodes().get(*name);
            node.is_some_and(|node| eligible(scheduling, name, node))
        })
    }

    fn no_node(&self, pod: &Pod) -> String {
        let managed = self.rooms.len();
        let scheduling = pod.scheduling.as_deref();
        let suitable = scheduling.map_or(0, |scheduling| self.suitable(scheduling).count());
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

    /// Plans for pods of one slice each that may run on exactly these nodes.
    fn group(
        &mut self,
        waiting: &mut Waiting<'_>,
        priority: i32,
        nodes: &BTreeSet<String>,
    ) -> Result<(), Vec<Violation>> {
        let (group, others): (Waiting<'_>, Waiting<'_>) =
            waiting.drain(..).partition(|(_, pod)| {
                is_single(pod) && pod.priority == priority && self.nodes_for(pod) == *nodes
            });
        *waiting = others;
        let demand = self.demand(group.iter().map(|(_, pod)| *pod));
        let mut part = self.part(nodes);
        let plan = (self.planning)(&mut part, &demand)?;
        let before = self.apply(part, &plan);
        let mut left = Vec::new();
        for (name, pod) in group {
            if !self.settle(name, pod, nodes) {
                left.push((name, pod));
            }
        }
        self.undo_needless(&before);
        let served = |class: &mica_planner::ClassReport| class.served_idle + class.served_new;
        let mut served: BTreeMap<_, _> = plan
            .report
            .classes
            .iter()
            .map(|class| (class.id.as_str(), class.wanted - served(class)))
            .collect();
        // What is left although there were slices for it lacked room on the nodes: others may do.
        for (name, pod) in left.into_iter().rev() {
            let resource = pod.request.slices.keys().next().map_or("", String::as_str);
            let short = served.get_mut(resource);
            match short {
                Some(short) if *short > 0 => {
                    *short -= 1;
                    let reason = unmet(&plan, resource);
                    self.placement.waiting.insert(name.clone(), reason);
                }
                Some(_) | None if self.nodes_for(pod) == *nodes => {
                    let reason = format!("no slice for {resource} on a node with room for the pod");
                    self.placement.waiting.insert(name.clone(), reason);
                }
                Some(_) | None => waiting.insert(0, (name, pod)),
            }
        }
        Ok(())
    }

    /// Plans for a pod of several slices: all of them on one node, the one that takes the fewest operations.
    fn bundle(
        &mut self,
        name: &PodName,
        pod: &Pod,
        nodes: &BTreeSet<String>,
    ) -> Result<(), Vec<Violation>> {
        let mut best: Option<(usize, _, _, _)> = None;
        for node in nodes {
            let alone = BTreeSet::from([node.clone()]);
            let demand = self.demand([pod]);
            let mut part = self.part(&alone);
            let plan = (self.planning)(&mut part, &demand)?;
            if plan
                .report
                .classes
                .iter()
                .any(|class| !class.unmet.is_empty())
            {
                continue;
            }
            let operations: usize = plan
                .changes
                .iter()
                .map(|change| change.destroy.len() + change.create.len())
                .sum();
            if best
                .as_ref()
                .is_none_or(|(fewest, ..)| operations < *fewest)
            {
                best = Some((operations, alone, part, plan));
            }
            if operations == 0 {
                break;
            }
        }
        let placed = best.is_some_and(|(_, alone, part, plan)| {
            let before = self.apply(part, &plan);
            let settled = self.settle(name, pod, &alone);
            self.undo_needless(&before);
            settled
        });
        if !placed {
            let reason = "no node has, or can be given, all its slices at once".to_owned();
            self.placement.waiting.insert(name.clone(), reason);
        }
        Ok(())
    }

    fn demand<'p>(&self, pods: impl IntoIterator<Item = &'p Pod>) -> Demand {
        let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
        for pod in pods {
            for (resource, count) in &pod.request.slices {
                let sum = counts.entry(resource).or_default();
                *sum = sum.saturating_add(*count);
            }
        }
        let classes = counts.into_iter().map(|(name, count)| {
            let (accept, weight) = self.profiles(name);
            DemandClass {
                id: name.to_owned(),
                accept,
                weight,
                count,
            }
        });
        Demand {
            classes: classes.collect(),
        }
    }

    /// The profiles whose slices have this resource name, and the most compute slices that one of them has.
    fn profiles(&self, name: &str) -> (Vec<String>, u64) {
        let mut accept = BTreeSet::new();
        let mut weight = 1;
        for gpu in &self.snapshot.gpus {
            for profile in &gpu.board.profiles {
                if resource(&profile.name) == name {
                    accept.insert(profile.name.clone());
                    weight = weight.max(u64::from(profile.slices));
                }
            }
        }
        if accept.is_empty() {
            accept.insert(name.to_owned());
        }
        (accept.into_iter().collect(), weight)
    }

    /// The snapshot of these nodes alone.
    fn part(&self, nodes: &BTreeSet<String>) -> Snapshot {
        let gpus = self.snapshot.gpus.iter();
        Snapshot {
            gpus: gpus
                .filter(|gpu| nodes.contains(&gpu.id.node))
                .cloned()
                .collect(),
        }
    }

    /// Makes the plan true in the snapshot; the idle slices as they were, where it changes them.
    fn apply(&mut self, part: Snapshot, plan: &CheckedPlan) -> BTreeMap<GpuId, Layout> {
        let part = part.gpus.into_iter();
        let part: BTreeMap<_, _> = part.map(|gpu| (gpu.id, gpu.availability)).collect();
        for gpu in &mut self.snapshot.gpus {
            if let Some(availability) = part.get(&gpu.id) {
                gpu.availability = *availability;
            }
        }
        apply(self.snapshot, plan)
    }

    /// Takes back what a plan makes and nobody got.
    fn undo_needless(&mut self, before: &BTreeMap<GpuId, Layout>) {
        for gpu in &mut self.snapshot.gpus {
            let Some(idle) = before.get(&gpu.id) else {
                continue;
            };
            let taken = gpu.in_use.mask();
            gpu.idle.0.retain(|slice| idle.0.contains(slice));
            // What was destroyed stays where nothing has come in its place.
            let back = idle
                .0
                .iter()
                .filter(|slice| taken.is_disjoint(slice.placement.mask()));
            let mut restored = gpu.idle.clone();
            restored.0.extend(back.copied());
            let all = restored.0.union(&gpu.in_use.0).copied().collect();
            if gpu.board.check(&all).is_ok() {
                gpu.idle = restored;
            }
        }
    }

    /// Gives the pod its slices on one of these nodes, ready ones first; whether there were enough.
    fn settle(&mut self, name: &PodName, pod: &Pod, nodes: &BTreeSet<String>) -> bool {
        let mut best: Option<(bool, &str, Found)> = None;
        for node in nodes {
            if !self
                .rooms
                .get(node.as_str())
                .is_some_and(|room| room.fits(pod))
            {
                continue;
            }
            let Some((ready, slices)) = self.find(pod, node) else {
                continue;
            };
            if best.as_ref().is_none_or(|(known, ..)| ready && !known) {
                best = Some((ready, node, slices));
            }
            if ready {
                break;
            }
        }
        let Some((_, node, slices)) = best else {
            return false;
        };
        let node = node.to_owned();
        for gpu in &mut self.snapshot.gpus {
            for (_, slice) in slices.iter().filter(|(id, _)| *id == gpu.id) {
                gpu.idle.0.remove(slice);
                gpu.in_use.0.insert(*slice);
            }
        }
        if let Some(room) = self.rooms.get_mut(node.as_str()) {
            room.take(pod);
        }
        let pod = name.clone();
        self.placement.placed.push(Placed { pod, node, slices });
        true
    }

    /// Idle slices of the node that serve the pod, and whether all of them are ready.
    fn find(&self, pod: &Pod, node: &str) -> Option<(bool, Vec<(GpuId, Slice)>)> {
        let mut found = Vec::new();
        let mut ready = true;
        for (name, count) in &pod.request.slices {
            let gpus = self.snapshot.gpus.iter().filter(|gpu| gpu.id.node == node);
            let mut candidates: Vec<_> = gpus
                .flat_map(|gpu| offers(gpu, name))
                .map(|(id, slice)| (!(self.is_ready)(id, slice), id, slice))
                .collect();
            candidates.sort();
            let count = usize::try_from(*count).ok()?;
            candidates
                .get(..count)?
                .iter()
                .for_each(|(unready, id, slice)| {
                    ready &= !unready;
                    found.push(((*id).clone(), *slice));
                });
        }
        Some((ready, found))
    }
}

/// Makes the plan true in the snapshot; the idle slices as they were, where it changes them.
pub(crate) fn apply(snapshot: &mut Snapshot, plan: &CheckedPlan) -> BTreeMap<GpuId, Layout> {
    let mut before = BTreeMap::new();
    for gpu in &mut snapshot.gpus {
        if let Some(change) = plan.changes.iter().find(|change| change.gpu == gpu.id) {
            before.insert(gpu.id.clone(), gpu.idle.clone());
            for slice in &change.destroy {
                gpu.idle.0.remove(slice);
            }
            gpu.idle.0.extend(&change.create);
        }
    }
    before
}

/// The idle slices of a GPU under a resource name.
fn offers<'a>(gpu: &'a GpuState, name: &str) -> impl Iterator<Item = (&'a GpuId, Slice)> {
    let usable = gpu.availability != mica_planner::Availability::Unavailable;
    let idle =
        gpu.idle.0.iter().filter(move |slice| {
            usable && resource(&gpu.board.profile_name(slice.profile)) == name
        });
    idle.map(|slice| (&gpu.id, *slice))
}

fn is_single(pod: &Pod) -> bool {
    pod.request.slices.values().sum::<u32>() == 1
}

/// Why requests of a class got nothing.
fn unmet(plan: &CheckedPlan, class: &str) -> String {
    let class = plan.report.classes.iter().find(|known| known.id == class);
    let unmet = class.and_then(|class| class.unmet.first());
    unmet.map_or_else(
        || "the plan says no more".to_owned(),
        |unmet| unmet.detail.clone(),
    )
}
