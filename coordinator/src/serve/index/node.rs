use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use mica_model::{Generation, Layout, MigMode};
use mica_planner::Availability;
use mica_proto::v1;
use tokio::sync::watch;

use super::{
    Connection, Held, HeldBy, Kubelet, NodeGpu, Outcome, Reported,
    gpu::{retain, union},
};

/// How long an agent may take to say how a layout ended. An H100 needs about 0.3 s for a create and a switch of MIG mode several
/// seconds, so a minute without an answer means that something is stuck.
const OUTCOME_DEADLINE: Duration = Duration::from_secs(60);

/// A node is forgotten when its agent has been away so long: who looks on the next day should still see what was lost, but nodes that
/// come and go under ever new names must not fill the memory.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// A node whose agent has been here.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) agent_version: String,
    /// When its stream last brought something.
    pub(crate) last_seen: Instant,
    /// Newest generation it was told.
    pub(crate) desired: Generation,
    /// Newest generation it has finished with.
    pub(crate) observed: Generation,
    pub(crate) driver_version: String,
    pub(crate) nvml_version: String,
    pub(crate) gpus: Vec<NodeGpu>,
    /// What its kubelet knows of the devices; `None` without a kubelet.
    pub(crate) kubelet: Option<Kubelet>,
    /// The agent's stream, while there is one.
    link: Option<Link>,
    /// When the last one ended.
    lost: Option<Instant>,
    outstanding: Option<Outstanding>,
}

/// The live stream of an agent.
#[derive(Debug)]
struct Link {
    connection: Connection,
    /// Whether a report has come on it. What an earlier stream brought may be old.
    reported: bool,
    /// What the stream tells the agent.
    desired: watch::Sender<Option<Arc<v1::Desired>>>,
    /// What is kept there for pods; `None` while that is not known.
    reservations: watch::Sender<Option<Arc<v1::Reservations>>>,
}

/// What a stream tells an agent.
#[derive(Debug)]
pub(crate) struct Told {
    /// The newest layouts for the node.
    pub(crate) desired: watch::Receiver<Option<Arc<v1::Desired>>>,
    /// What is kept there for pods.
    pub(crate) reservations: watch::Receiver<Option<Arc<v1::Reservations>>>,
}

/// Layouts that were published and are not settled: the outcome, or a report that shows its effect, is still to come.
#[derive(Debug)]
struct Outstanding {
    generation: Generation,
    /// By UUID.
    layouts: BTreeMap<String, Layout>,
    deadline: Instant,
    overdue: bool,
    outcome: Option<Outcome>,
}

/// What the planner may do with a GPU, and the idle slices it may count on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) availability: Availability,
    pub(crate) idle: Layout,
}

impl Node {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            agent_version: String::new(),
            last_seen: now,
            desired: Generation(0),
            observed: Generation(0),
            driver_version: String::new(),
            nvml_version: String::new(),
            gpus: Vec::new(),
            kubelet: None,
            link: None,
            lost: None,
            outstanding: None,
        }
    }

    /// Whether an agent's stream is open.
    pub(crate) fn is_connected(&self) -> bool {
        self.link.is_some()
    }

    /// Whether this is the stream of the node.
    pub(crate) fn is_linked_by(&self, connection: Connection) -> bool {
        let link = self.link.as_ref();
        link.is_some_and(|link| link.connection == connection)
    }

    /// Opens the stream; what it should tell the agent can be read from the receivers.
    pub(crate) fn link(
        &mut self,
        connection: Connection,
        reservations: Option<Arc<v1::Reservations>>,
    ) -> Told {
        let desired = watch::Sender::new(None);
        let reservations = watch::Sender::new(reservations);
        let told = Told {
            desired: desired.subscribe(),
            reservations: reservations.subscribe(),
        };
        self.link = Some(Link {
            connection,
            reported: false,
            desired,
            reservations,
        });
        told
    }

    /// Tells the agent what is kept for pods, unless it knows. Only once it has reported: what is kept follows from what stands there.
    pub(crate) fn reserve(&mut self, reservations: v1::Reservations) {
        if let Some(link) = self.link.as_ref().filter(|link| link.reported) {
            link.reservations.send_if_modified(|known| {
                let new = known.as_deref() != Some(&reservations);
                if new {
                    *known = Some(Arc::new(reservations));
                }
                new
            });
        }
    }

    /// Whether what its agent has reported is of now.
    pub(crate) fn is_fresh(&self) -> bool {
        matches!(self.state(), v1::NodeState::Ready | v1::NodeState::Applying)
    }

    /// Whether a layout is under way for a GPU whose MIG mode is not on.
    pub(crate) fn changes_mode(&self) -> bool {
        let gpus = self
            .gpus
            .iter()
            .filter(|it| it.gpu.mig_mode != MigMode::Enabled);
        self.is_connected()
            && gpus
                .into_iter()
                .any(|it| self.under_way(&it.gpu.uuid).is_some())
    }

    /// The layout that was published for a GPU and is not settled.
    pub(crate) fn under_way(&self, uuid: &str) -> Option<&Layout> {
        self.outstanding.as_ref()?.layouts.get(uuid)
    }

    /// Closes the stream. The agent may or may not have executed what is outstanding: its next report will show it.
    pub(crate) fn unlink(&mut self, now: Instant) {
        self.link = None;
        self.lost = Some(now);
        self.outstanding = None;
    }

    /// When it is forgotten unless its agent comes back.
    fn forgotten_at(&self) -> Option<Instant> {
        let lost = self.lost.filter(|_| self.link.is_none())?;
        Some(lost + FORGOTTEN_AFTER)
    }

    /// Whether its agent has been away so long that it is to be forgotten.
    pub(crate) fn is_forgotten(&self, now: Instant) -> bool {
        self.forgotten_at().is_some_and(|at| at <= now)
    }

    pub(crate) fn state(&self) -> v1::NodeState {
        match (&self.link, &self.outstanding) {
            (None, _) => v1::NodeState::Lost,
            (Some(link), _) if !link.reported => v1::NodeState::Starting,
            (Some(_), Some(_)) => v1::NodeState::Applying,
            (Some(_), None) => v1::NodeState::Ready,
        }
    }

    /// Whether the layout that was published last has had no answer for too long.
    pub(crate) fn is_overdue(&self) -> bool {
        let outstanding = self.outstanding.as_ref();
        outstanding.is_some_and(|outstanding| outstanding.overdue)
    }

    /// Takes a report; whether a plan may come out differently for it.
    pub(crate) fn report(&mut self, reported: Reported, now: Instant) -> bool {
        let before = self.relevant();
        let mut former: BTreeMap<_, _> = std::mem::take(&mut self.gpus)
            .into_iter()
            .map(|gpu| (gpu.gpu.uuid.clone(), gpu))
            .collect();
        self.gpus = reported
            .gpus
            .into_iter()
            .map(|gpu| match former.remove(&gpu.uuid) {
                Some(former) => NodeGpu::new(gpu).following(former),
                None => NodeGpu::new(gpu),
            })
            .collect();
        self.kubelet = reported.kubelet;
        self.driver_version = reported.driver_version;
        self.nvml_version = reported.nvml_version;
        self.observed = self.observed.max(reported.generation);
        if let Some(link) = &mut self.link {
            link.reported = true;
        }
        self.settle(now);
        before != self.relevant()
    }

    /// Takes an outcome; `false` when it is not of the layout that is outstanding.
    pub(crate) fn outcome(&mut self, outcome: Outcome, now: Instant) -> bool {
        match &mut self.outstanding {
            Some(outstanding) if outstanding.generation == outcome.generation => {
                outstanding.outcome = Some(outcome);
                self.settle(now);
                true
            }
            Some(_) | None => false,
        }
    }

    /// Ends the wait once the outcome is known *and* a report shows what came of it. With the outcome alone, the next plan would
    /// start from what stood there before.
    fn settle(&mut self, now: Instant) {
        let observed = self.observed;
        let Some(outcome) = self
            .outstanding
            .take_if(|outstanding| {
                outstanding.outcome.is_some() && observed >= outstanding.generation
            })
            .and_then(|outstanding| {
                let outcome = outstanding.outcome?;
                Some((outstanding.layouts, outcome))
            })
        else {
            return;
        };
        let (layouts, outcome) = outcome;
        for gpu in &mut self.gpus {
            if layouts.contains_key(&gpu.gpu.uuid) {
                gpu.conclude(outcome.of(&gpu.gpu.uuid), now);
            }
        }
    }

    /// Tells the agent. Only for a node that has reported and has nothing outstanding.
    pub(crate) fn publish(
        &mut self,
        generation: Generation,
        layouts: BTreeMap<String, Layout>,
        now: Instant,
    ) {
        let Some(link) = &self.link else { return };
        let desired = v1::Desired {
            generation: generation.0,
            gpus: layouts
                .iter()
                .map(|(uuid, layout)| v1::GpuLayout::new(uuid.clone(), layout))
                .collect(),
        };
        link.desired.send_replace(Some(Arc::new(desired)));
        self.desired = generation;
        self.outstanding = Some(Outstanding {
            generation,
            layouts,
            deadline: now + OUTCOME_DEADLINE,
            overdue: false,
            outcome: None,
        });
    }

    /// Lets holds and deadlines pass; whether one did.
    pub(crate) fn tick(&mut self, now: Instant) -> bool {
        let mut passed = false;
        for gpu in &mut self.gpus {
            passed |= gpu.release(now);
        }
        if let Some(outstanding) = &mut self.outstanding
            && !outstanding.overdue
            && outstanding.deadline <= now
        {
            outstanding.overdue = true;
            passed = true;
        }
        passed
    }

    /// When [`Self::tick`] next has something to do.
    pub(crate) fn wakes_at(&self) -> Option<Instant> {
        let deadline = self
            .outstanding
            .as_ref()
            .filter(|outstanding| !outstanding.overdue)
            .map(|outstanding| outstanding.deadline);
        self.gpus
            .iter()
            .filter_map(NodeGpu::held_until)
            .chain(deadline)
            .chain(self.forgotten_at())
            .min()
    }

    /// What the planner may do with one of the node's GPUs.
    pub(crate) fn standing(&self, gpu: &NodeGpu) -> Standing {
        let as_it_is = |availability| Standing {
            availability,
            idle: gpu.view.idle.clone(),
        };
        if !self.is_fresh() || gpu.view.blocked.is_some() || self.is_overdue() {
            return as_it_is(Availability::Unavailable);
        }
        match &self.outstanding {
            Some(outstanding) => match outstanding.layouts.get(&gpu.gpu.uuid) {
                Some(layout) => Standing {
                    availability: Availability::Settling,
                    idle: coming(layout, gpu),
                },
                // One layout at a time: the agent works through them one by one anyway.
                None => as_it_is(Availability::Settling),
            },
            // The idle slices of a held GPU do serve whoever waits; only changing it has to wait.
            None if gpu.is_held() => as_it_is(Availability::Settling),
            None => as_it_is(Availability::Free),
        }
    }

    /// Why the planner leaves a GPU alone; `None` when it does not, or only until the layout under way is settled.
    pub(crate) fn held(&self, gpu: &NodeGpu) -> Option<Held> {
        let because = |by, reason: &str| {
            let reason = reason.to_owned();
            Some(Held { by, reason })
        };
        match self.state() {
            v1::NodeState::Lost => because(HeldBy::NodeLost, "the agent of its node is lost"),
            v1::NodeState::Starting => because(
                HeldBy::NodeStarting,
                "the agent of its node has connected and not reported yet",
            ),
            v1::NodeState::Unspecified | v1::NodeState::Ready | v1::NodeState::Applying => {
                self.overdue().or_else(|| gpu.held())
            }
        }
    }

    fn overdue(&self) -> Option<Held> {
        let outstanding = self.outstanding.as_ref()?;
        outstanding.overdue.then(|| Held {
            by: HeldBy::Overdue,
            reason: format!(
                "the agent has not said within {} s how generation {} ended; restart it if it stays so",
                OUTCOME_DEADLINE.as_secs(),
                outstanding.generation
            ),
        })
    }

    /// Which pods hold what, by the UUIDs of slices and GPUs.
    fn holders(&self) -> Vec<(String, mica_model::Pod)> {
        let gpus = self.gpus.iter();
        gpus.flat_map(NodeGpu::holders)
            .map(|(uuid, pod)| (uuid.to_owned(), pod.clone()))
            .collect()
    }

    /// The slices in use, GPU by GPU.
    pub(crate) fn in_use(&self) -> Vec<Layout> {
        let gpus = self.gpus.iter();
        gpus.map(|gpu| gpu.view.in_use.clone()).collect()
    }

    /// Everything of the node that a plan depends on, to compare.
    fn relevant(&self) -> impl PartialEq + use<> {
        let gpus: Vec<_> = self
            .gpus
            .iter()
            .map(|NodeGpu { gpu, view, .. }| {
                let identity = (gpu.uuid.clone(), gpu.index, gpu.mig_mode, gpu.board.clone());
                (identity, view.clone())
            })
            .collect();
        let held: Vec<_> = self.gpus.iter().map(NodeGpu::is_held).collect();
        (
            self.state(),
            gpus,
            held,
            self.kubelet.clone(),
            self.holders(),
        )
    }
}

/// Idle slices that will stand once the layout holds. Slices that came into use meanwhile win over it, as they will at the agent.
fn coming(layout: &Layout, gpu: &NodeGpu) -> Layout {
    let in_use = &gpu.view.in_use;
    let taken = in_use.mask();
    let idle = retain(layout, |slice| taken.is_disjoint(slice.placement.mask()));
    let board = gpu.gpu.board.as_ref();
    match board.map(|board| board.check(&union(in_use, &idle))) {
        Some(Ok(())) => idle,
        Some(Err(_)) | None => Layout::default(),
    }
}
