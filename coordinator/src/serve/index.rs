//! The cluster as the coordinator knows it: nodes with their GPUs, queues with their backlog.
//!
//! Synchronous and without I/O or clock: agents' streams and polls apply events, [`Index::publish`] applies a plan, and nothing
//! else changes it. What a node should do goes into a watch channel that its stream reads.

mod choose;
mod gpu;
mod held;
mod keep;
mod labels;
mod needs;
mod node;
mod queue;
mod release;
mod report;
#[cfg(test)]
mod tests;
mod verdict;
mod withhold;
mod write;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

pub(crate) use gpu::{NodeGpu, union};
pub(crate) use held::{Held, HeldBy};
use mica_model::{Board, Generation, Layout, Pod as PodName};
use mica_planner::{Availability, GpuId, GpuState, Snapshot};
use mica_proto::v1;
pub(crate) use node::{Node, Told};
use queue::News;
pub(crate) use queue::{Backlog, Queue, QueueKey};
pub(crate) use report::{Kubelet, Reported, check_generation};
pub(crate) use verdict::{Outcome, Verdict};
pub(crate) use write::Write;

use super::{
    objects::Objects,
    round::{Layouts, LeftOut, QueuePlans},
};
use crate::config;
use keep::Keep;

/// Tells the streams of one node apart, over reconnections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Connection(u64);

/// What a stream gets when it joins.
pub(crate) struct Joined {
    /// To be named in every event of the stream.
    pub(crate) connection: Connection,
    /// What to tell the agent.
    pub(crate) told: Told,
}

/// Another agent holds the node name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "node {node}: another agent is connected under this name; stop it, or give this one a name of its own with --node"
)]
pub(crate) struct NameTaken {
    node: String,
}

/// The cluster.
#[derive(Debug, Default)]
pub(crate) struct Index {
    nodes: BTreeMap<String, Node>,
    queues: BTreeMap<QueueKey, Queue>,
    /// One for each kind of board, shared by its GPUs.
    boards: BTreeSet<Arc<Board>>,
    connections: u64,
    /// Newest generation published, by this coordinator or, as agents tell, by one before it.
    newest: Generation,
    /// What the last round said of each queue.
    last_round: QueuePlans,
    /// The GPUs that the last round left out.
    left_out: LeftOut,
    /// What the API server shows; `None` without Kubernetes.
    objects: Option<Objects>,
    /// What is kept for pods.
    keep: Keep,
    /// Why pods wait, by the last round.
    waiting: BTreeMap<PodName, String>,
    /// What pods have been told of it, with their UIDs.
    told: BTreeMap<PodName, (String, String)>,
    revision: Revision,
}

/// Counts changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Revision {
    /// Changes after which a plan may come out differently.
    pub(crate) inputs: u64,
    /// Changes of anything that is shown.
    pub(crate) shown: u64,
    /// Changes of what is in use.
    pub(crate) usage: u64,
    /// The coordinator shuts down.
    pub(crate) closed: bool,
}

impl Index {
    /// The queues to serve. Their backlog is not known yet.
    pub(crate) fn new(tenants: &[config::Tenant]) -> Self {
        let queues = tenants.iter().flat_map(|tenant| {
            let key = |queue: &config::Queue| QueueKey {
                tenant: tenant.name.clone(),
                name: queue.name.clone(),
            };
            tenant
                .queues
                .iter()
                .map(move |queue| (key(queue), queue.clone()))
        });
        let queues = queues.zip(0..).map(|((key, config), position)| {
            let queue = Queue::new(config, position);
            (key, queue)
        });
        Self {
            queues: queues.collect(),
            ..Self::default()
        }
    }

    /// The same on Kubernetes. Nothing of it has been seen yet.
    pub(crate) fn on_kubernetes(tenants: &[config::Tenant]) -> Self {
        Self {
            objects: Some(Objects::default()),
            ..Self::new(tenants)
        }
    }

    /// The API server shows something; `change` says whether it is new.
    pub(crate) fn observe(&mut self, change: impl FnOnce(&mut Objects) -> bool) {
        if self.objects.as_mut().is_some_and(change) {
            self.changed(true);
        }
    }

    /// What the API server shows; `None` without Kubernetes.
    pub(crate) fn objects(&self) -> Option<&Objects> {
        self.objects.as_ref()
    }

    fn changed(&mut self, inputs: bool) {
        self.revision.inputs += u64::from(inputs);
        self.revision.shown += 1;
    }

    /// An agent opens its stream.
    pub(crate) fn agent_joined(
        &mut self,
        hello: v1::Hello,
        now: Instant,
    ) -> Result<Joined, NameTaken> {
        let node = self
            .nodes
            .entry(hello.node.clone())
            .or_insert_with(|| Node::new(now));
        if node.is_connected() {
            return Err(NameTaken { node: hello.node });
        }
        self.connections += 1;
        let connection = Connection(self.connections);
        // Without Kubernetes there are no pods to keep slices for.
        let reservations = self.objects.is_none().then(Default::default);
        let told = node.link(connection, reservations);
        node.agent_version = hello.agent_version;
        node.last_seen = now;
        node.observed = Generation(hello.generation);
        node.desired = node.desired.max(node.observed);
        self.newest = self.newest.max(node.observed);
        self.changed(true);
        Ok(Joined { connection, told })
    }

    /// A stream has ended. Nothing happens when the node has a newer one.
    pub(crate) fn agent_left(&mut self, name: &str, connection: Connection, now: Instant) {
        if let Some(node) = self.linked(name, connection) {
            node.unlink(now);
            self.changed(true);
        }
    }

    /// An agent says what it sees.
    pub(crate) fn report(
        &mut self,
        name: &str,
        connection: Connection,
        mut reported: Reported,
        now: Instant,
    ) {
        self.newest = self.newest.max(reported.generation);
        for gpu in &mut reported.gpus {
            if let Some(board) = &mut gpu.board {
                match self.boards.get(board) {
                    Some(known) => *board = Arc::clone(known),
                    None => _ = self.boards.insert(Arc::clone(board)),
                }
            }
        }
        let Some(node) = self.linked(name, connection) else {
            return;
        };
        node.last_seen = now;
        let used = node.in_use();
        let inputs = node.report(reported, now);
        let usage = node.in_use() != used;
        self.boards.retain(|board| Arc::strong_count(board) > 1);
        self.revision.usage += u64::from(usage);
        self.changed(inputs);
    }

    /// An agent says how a layout ended; `false` when nobody waits for it.
    pub(crate) fn outcome(
        &mut self,
        name: &str,
        connection: Connection,
        outcome: Outcome,
        now: Instant,
    ) -> bool {
        let Some(node) = self.linked(name, connection) else {
            return false;
        };
        node.last_seen = now;
        let awaited = node.outcome(outcome, now);
        self.changed(awaited);
        awaited
    }

    fn linked(&mut self, name: &str, connection: Connection) -> Option<&mut Node> {
        self.nodes
            .get_mut(name)
            .filter(|node| node.is_linked_by(connection))
    }

    /// A poll of a tenant has succeeded: the backlog of each of its queues that ClearML knows.
    pub(crate) fn backlog(&mut self, tenant: &str, mut seen: BTreeMap<String, Backlog>) {
        let mut news = News::default();
        for (key, queue) in self.queues_of(tenant) {
            news |= match seen.remove(&key.name) {
                Some(backlog) => queue.seen(backlog),
                None => queue.missing(key),
            };
        }
        if news.id {
            queue::find_twins(&mut self.queues);
        }
        if news.shown {
            self.changed(news.demand);
        }
    }

    /// A poll of a tenant has failed. What the last good one saw stays: it is the best guess there is.
    pub(crate) fn backlog_failed(&mut self, tenant: &str, error: &str) {
        let mut news = News::default();
        for (_, queue) in self.queues_of(tenant) {
            news |= queue.failed(error);
        }
        if news.shown {
            self.changed(false);
        }
    }

    fn queues_of(&mut self, tenant: &str) -> impl Iterator<Item = (&QueueKey, &mut Queue)> {
        self.queues
            .iter_mut()
            .filter(move |(key, _)| key.tenant == tenant)
    }

    /// Lets holds and deadlines pass, and forgets nodes that are lost for good; the nodes whose layout became overdue.
    pub(crate) fn tick(&mut self, now: Instant) -> Vec<String> {
        let mut overdue = Vec::new();
        let known = self.nodes.len();
        self.nodes.retain(|_, node| !node.is_forgotten(now));
        let mut passed = self.nodes.len() < known;
        for (name, node) in &mut self.nodes {
            let was = node.is_overdue();
            passed |= node.tick(now);
            if node.is_overdue() && !was {
                overdue.push(name.clone());
            }
        }
        if passed {
            self.changed(true);
        }
        overdue
    }

    /// When [`Self::tick`] next has something to do.
    pub(crate) fn wakes_at(&self) -> Option<Instant> {
        self.nodes.values().filter_map(Node::wakes_at).min()
    }

    /// Tells the nodes what a round decided, and keeps what it said of the queues. The round must have started from the index as
    /// it is now. The generation of the layouts, when there were any.
    pub(crate) fn publish(&mut self, layouts: Layouts, now: Instant) -> Option<Generation> {
        if layouts.is_empty() {
            return None;
        }
        let generation = self.newest.next();
        for (name, layouts) in layouts {
            if let Some(node) = self.nodes.get_mut(&name) {
                node.publish(generation, layouts, now);
            }
        }
        self.newest = generation;
        // The round that decided it has counted the slices already: another one would decide nothing.
        self.changed(false);
        Some(generation)
    }

    /// Keeps what a round said of the queues and which GPUs it left out, to be shown; returns those that it left out for another
    /// reason than the round before, or for the first time.
    pub(crate) fn note_round(&mut self, queues: QueuePlans, left_out: LeftOut) -> LeftOut {
        if self.last_round == queues && self.left_out == left_out {
            return LeftOut::new();
        }
        self.last_round = queues;
        let before = std::mem::replace(&mut self.left_out, left_out);
        self.changed(false);
        let left_out = self.left_out.clone().into_iter();
        left_out
            .filter(|(gpu, reason)| before.get(gpu) != Some(reason))
            .collect()
    }

    /// Why the planner leaves a GPU alone; `None` when it does not, or only until the layout under way is settled.
    pub(crate) fn held(&self, id: &GpuId, node: &Node, gpu: &NodeGpu) -> Option<Held> {
        node.held(gpu).or_else(|| {
            let reason = self.left_out.get(id)?.clone();
            let by = HeldBy::BrokenPlan;
            Some(Held { by, reason })
        })
    }

    /// Ends every stream.
    pub(crate) fn close(&mut self, now: Instant) {
        for node in self.nodes.values_mut() {
            node.unlink(now);
        }
        self.revision.closed = true;
        self.changed(false);
    }

    /// The cluster as the planner wants it. GPUs without MIG are left out.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let gpus = self.gpus().filter_map(|(id, node, gpu)| {
            let mut standing = node.standing(gpu);
            if !self.may_change(&id.node, gpu) {
                standing.availability = Availability::Unavailable;
            }
            let kept = self.kept(&id.node, &gpu.gpu.uuid);
            Some(GpuState {
                board: Arc::clone(gpu.gpu.board.as_ref()?),
                in_use: union(&gpu.view.in_use, &kept),
                idle: gpu::retain(&standing.idle, |slice| !kept.0.contains(slice)),
                availability: standing.availability,
                id,
            })
        });
        Snapshot {
            gpus: gpus.collect(),
        }
    }

    /// Every GPU with its node.
    pub(crate) fn gpus(&self) -> impl Iterator<Item = (GpuId, &Node, &NodeGpu)> {
        self.nodes.iter().flat_map(|(name, node)| {
            node.gpus.iter().map(move |gpu| {
                let id = GpuId {
                    node: name.clone(),
                    index: gpu.gpu.index,
                };
                (id, node, gpu)
            })
        })
    }

    /// The GPU and its node.
    pub(crate) fn gpu(&self, id: &GpuId) -> Option<(&Node, &NodeGpu)> {
        let node = self.nodes.get(&id.node)?;
        let gpu = node.gpus.iter().find(|gpu| gpu.gpu.index == id.index)?;
        Some((node, gpu))
    }

    /// The nodes by name.
    pub(crate) fn nodes(&self) -> &BTreeMap<String, Node> {
        &self.nodes
    }

    /// The queues by tenant and name.
    pub(crate) fn queues(&self) -> &BTreeMap<QueueKey, Queue> {
        &self.queues
    }

    /// The kinds of board in the cluster.
    pub(crate) fn boards(&self) -> impl Iterator<Item = &Board> {
        self.boards.iter().map(AsRef::as_ref)
    }

    /// What the last round said of a queue.
    pub(crate) fn last_plan(&self, key: &QueueKey) -> Option<&v1::QueuePlan> {
        self.last_round.get(key)
    }

    /// Newest generation published, by this coordinator or one before it.
    pub(crate) fn newest(&self) -> Generation {
        self.newest
    }

    /// How often it has changed.
    pub(crate) fn revision(&self) -> Revision {
        self.revision
    }
}

/// The complete layout of a GPU without its half-made instances: what an agent makes true when nothing else is wanted.
pub(crate) fn tidy(gpu: &NodeGpu) -> Option<Layout> {
    (!gpu.view.half_made.0.is_empty()).then(|| gpu.view.standing())
}
