//! Pods of one slice each, planned together.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use mica_model::Slice;
use mica_planner::{CheckedPlan, ClassReport, GpuId, Violation};

use super::{Planning, Step, Waiting};

/// Idle slices of one resource name, by position of their GPU, and so node by node.
#[derive(Default)]
struct Offers {
    ready: BTreeSet<(usize, Slice)>,
    others: BTreeSet<(usize, Slice)>,
}

impl<'a, R: Fn(&GpuId, Slice) -> bool, P: Planning> Step<'a, R, P> {
    /// Plans for pods of one slice each that may run on exactly these nodes and are as urgent as the first.
    pub(super) fn group(
        &mut self,
        first: Waiting<'a>,
        waiting: &mut VecDeque<Waiting<'a>>,
        nodes: &BTreeSet<&'a str>,
    ) -> Result<(), Vec<Violation>> {
        let mut same_nodes = BTreeMap::from([(first.kind, true)]);
        let mut belongs = |it: &Waiting<'a>| {
            let same = |step: &Self| step.nodes_for(it.kind) == *nodes;
            it.is_single()
                && it.pod.priority == first.pod.priority
                && *same_nodes.entry(it.kind).or_insert_with(|| same(self))
        };
        let (group, others): (VecDeque<_>, VecDeque<_>) =
            waiting.drain(..).partition(|it| belongs(it));
        *waiting = others;
        let demand = self.stock.demand(group.iter().map(|it| it.pod));
        let mut part = self.stock.part(nodes.iter().copied());
        let plan = (self.planning)(&mut part, &demand)?;
        let before = self.stock.apply(part, &plan);
        let mut offers = self.offers(nodes);
        let mut left = Vec::new();
        for pod in group {
            match self.find_one(&pod, &mut offers) {
                Some((node, slice)) => self.give(&pod, &node, vec![slice]),
                None => left.push(pod),
            }
        }
        self.stock.undo_needless(&before);
        let served = |class: &ClassReport| class.served_idle + class.served_new;
        let classes = plan.report.classes.iter();
        let mut short: BTreeMap<_, _> = classes
            .map(|class| (class.id.as_str(), class.wanted - served(class)))
            .collect();
        // What is left although there were slices for it lacked room on the nodes: others may do.
        for pod in left.into_iter().rev() {
            let resource = resource(&pod);
            match short.get_mut(resource) {
                Some(short) if *short > 0 => {
                    *short -= 1;
                    self.wait(&pod, &unmet(&plan, resource));
                }
                Some(_) | None if self.nodes_for(pod.kind) == *nodes => {
                    let reason = format!("no slice for {resource} on a node with room for the pod");
                    self.wait(&pod, &reason);
                }
                Some(_) | None => waiting.push_front(pod),
            }
        }
        Ok(())
    }

    /// What there is on these nodes, by resource name.
    fn offers(&self, nodes: &BTreeSet<&'a str>) -> BTreeMap<String, Offers> {
        let mut offers: BTreeMap<String, Offers> = BTreeMap::new();
        for (name, position, slice) in nodes.iter().flat_map(|node| self.stock.idle(node)) {
            let gpu = self.stock.gpu(position);
            let is_ready = gpu.is_some_and(|gpu| (self.is_ready)(&gpu.id, slice));
            if !offers.contains_key(name) {
                offers.insert(name.to_owned(), Offers::default());
            }
            if let Some(of_name) = offers.get_mut(name) {
                let among = if is_ready {
                    &mut of_name.ready
                } else {
                    &mut of_name.others
                };
                among.insert((position, slice));
            }
        }
        offers
    }

    /// Takes a slice for the pod out of the offers, on a node with room for it: one that is ready, if there is such.
    fn find_one(
        &self,
        pod: &Waiting<'_>,
        offers: &mut BTreeMap<String, Offers>,
    ) -> Option<(String, (usize, Slice))> {
        let offers = offers.get_mut(resource(pod))?;
        for among in [&mut offers.ready, &mut offers.others] {
            let mut full = None;
            let found = among.iter().find_map(|(position, slice)| {
                let node = self.stock.gpu(*position)?.id.node.as_str();
                // There may be many on a node without room.
                if full == Some(node) {
                    return None;
                }
                if self.rooms.fits(node, pod.pod) {
                    return Some((node.to_owned(), (*position, *slice)));
                }
                full = Some(node);
                None
            });
            if let Some((node, offer)) = found {
                among.remove(&offer);
                return Some((node, offer));
            }
        }
        None
    }
}

/// The one resource that the pod asks for.
fn resource<'a>(pod: &Waiting<'a>) -> &'a str {
    let mut names = pod.pod.request.slices.keys();
    names.next().map_or("", String::as_str)
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
