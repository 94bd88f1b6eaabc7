//! Pods of several slices: all of them on one node.

use std::collections::{BTreeMap, BTreeSet};

use mica_model::Slice;
use mica_planner::{CheckedPlan, GpuId, Snapshot, Violation};

use super::{Planning, Step, Waiting};

/// What was looked for in vain in this round, by what was asked for: all that happens meanwhile is that more is taken.
#[derive(Default)]
pub(super) struct Hopeless(BTreeMap<BTreeMap<String, u32>, BTreeSet<String>>);

impl Hopeless {
    fn leave<'n>(&self, slices: &BTreeMap<String, u32>, nodes: &BTreeSet<&'n str>) -> Vec<&'n str> {
        let in_vain = self.0.get(slices);
        let left = nodes
            .iter()
            .filter(|node| in_vain.is_none_or(|it| !it.contains(**node)));
        left.copied().collect()
    }

    fn note(&mut self, slices: &BTreeMap<String, u32>, node: &str) {
        let in_vain = self.0.entry(slices.clone()).or_default();
        in_vain.insert(node.to_owned());
    }
}

/// A way to give a pod its slices.
struct Way<'a> {
    operations: usize,
    node: &'a str,
    part: Snapshot,
    plan: CheckedPlan,
}

impl<'a, R: Fn(&GpuId, Slice) -> bool, P: Planning> Step<'a, R, P> {
    /// Plans for a pod of several slices: on the node that takes the fewest operations.
    pub(super) fn bundle(
        &mut self,
        pod: Waiting<'a>,
        nodes: &BTreeSet<&'a str>,
    ) -> Result<(), Vec<Violation>> {
        let slices = &pod.pod.request.slices;
        // What a node lacks has to be made at least, so those that lack least come first.
        let mut candidates = Vec::new();
        for node in self.hopeless.leave(slices, nodes) {
            match self.lacks(node, slices) {
                Some(lacks) => candidates.push((lacks, node)),
                None => self.hopeless.note(slices, node),
            }
        }
        candidates.sort_unstable();
        let mut best: Option<Way<'_>> = None;
        for (lacks, node) in candidates {
            if best.as_ref().is_some_and(|best| best.operations <= lacks) {
                break;
            }
            match self.way(pod, node)? {
                Some(way) => {
                    if best
                        .as_ref()
                        .is_none_or(|best| way.operations < best.operations)
                    {
                        best = Some(way);
                    }
                }
                None => self.hopeless.note(slices, node),
            }
        }
        let found = best.and_then(
            |Way {
                 node, part, plan, ..
             }| {
                let before = self.stock.apply(part, &plan);
                let found = self.find_all(pod, node);
                if let Some(found) = found.clone() {
                    self.give(&pod, node, found);
                }
                self.stock.undo_needless(&before);
                found
            },
        );
        if found.is_none() {
            self.wait(&pod, "no node has, or can be given, all its slices at once");
        }
        Ok(())
    }

    /// How many slices the node has to be given first; `None` when it cannot have them all.
    fn lacks(&self, node: &str, slices: &BTreeMap<String, u32>) -> Option<usize> {
        let mut lacks = 0;
        for (resource, count) in slices {
            let idle = self.stock.idle(node).filter(|(name, ..)| name == resource);
            let idle = u32::try_from(idle.count()).unwrap_or(u32::MAX);
            if idle < *count {
                let gpus = self.stock.on(node).map(|(_, gpu)| gpu);
                let most: u32 = gpus.map(|gpu| self.stock.most(gpu, resource)).sum();
                if most.saturating_add(idle) < *count {
                    return None;
                }
                lacks += count - idle;
            }
        }
        usize::try_from(lacks).ok()
    }

    /// How the node would give the pod all its slices, if it can.
    fn way<'n>(
        &mut self,
        pod: Waiting<'_>,
        node: &'n str,
    ) -> Result<Option<Way<'n>>, Vec<Violation>> {
        let demand = self.stock.demand([pod.pod]);
        let mut part = self.stock.part([node]);
        let plan = (self.planning)(&mut part, &demand)?;
        if plan
            .report
            .classes
            .iter()
            .any(|class| !class.unmet.is_empty())
        {
            return Ok(None);
        }
        let changes = plan.changes.iter();
        let operations = changes.map(|change| change.destroy.len() + change.create.len());
        Ok(Some(Way {
            operations: operations.sum(),
            node,
            part,
            plan,
        }))
    }

    /// Idle slices of the node for all that the pod asks for, ready ones first.
    fn find_all(&self, pod: Waiting<'_>, node: &str) -> Option<Vec<(usize, Slice)>> {
        let mut found = Vec::new();
        for (resource, count) in &pod.pod.request.slices {
            let idle = self.stock.idle(node).filter(|(name, ..)| name == resource);
            let mut idle: Vec<_> = idle
                .map(|(_, position, slice)| {
                    let gpu = self.stock.gpu(position);
                    let is_ready = gpu.is_some_and(|gpu| (self.is_ready)(&gpu.id, slice));
                    (!is_ready, position, slice)
                })
                .collect();
            idle.sort_unstable();
            let wanted = idle.get(..usize::try_from(*count).ok()?)?;
            found.extend(
                wanted
                    .iter()
                    .map(|(_, position, slice)| (*position, *slice)),
            );
        }
        Some(found)
    }
}
