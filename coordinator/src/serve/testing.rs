//! A cluster for tests, without streams, clock or ClearML.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use mica_model::{
    Board, ComputeInstance, Generation, Gpu, Instance, Layout, MigMode, Source, Use,
    testing::{a100_40gb, layout},
};
use mica_proto::v1;
use tokio::sync::watch;

use super::{
    index::{Backlog, Connection, Index, Joined, NameTaken, Outcome, Reported, Verdict},
    round::{Round, round},
};
use crate::config;

/// An A100-40GB with slices such as `3g.20gb@0`, which is idle; `*` behind it: in use; `?`: use unknown; `-`: half made.
pub(crate) fn gpu(node: &str, index: u32, slices: &str) -> Gpu {
    let board = Arc::new(a100_40gb());
    let instances = slices.split_whitespace().zip(1..);
    Gpu {
        uuid: format!("GPU-{node}-{index}"),
        index,
        product: board.product.clone(),
        memory_mib: 40_960,
        mig_mode: MigMode::Enabled,
        instances: instances
            .map(|(word, gi)| instance(&board, word, gi))
            .collect(),
        board: Some(board),
        in_use: Use::default(),
        holders: Vec::new(),
        waits_for: None,
        fault: None,
    }
}

fn instance(board: &Board, word: &str, gi: u32) -> Instance {
    let slice = word.trim_end_matches(['*', '?', '-']);
    let flag = |flag| word.get(slice.len()..).unwrap().contains(flag);
    let in_use = match (flag('*'), flag('?')) {
        (true, _) => Use::by_processes(vec![1000 + gi]),
        (_, true) => Use::untold(Source::Nvml, "it is silent".to_owned()),
        _ => Use::default(),
    };
    Instance {
        gi,
        slice: *slices(board, slice).0.first().unwrap(),
        compute: (!flag('-')).then(|| ComputeInstance {
            id: 0,
            uuid: format!("MIG-{gi}"),
        }),
        in_use,
        memory_used_bytes: 0,
        memory_total_bytes: 0,
        fault: None,
    }
}

fn slices(board: &Board, text: &str) -> Layout {
    layout(board, text).unwrap_or_else(|| panic!("the board has no {text}"))
}

/// A layout of an A100-40GB.
pub(crate) fn a100(text: &str) -> Layout {
    slices(&a100_40gb(), text)
}

/// A queue of tenant `acme`: its name and what serves it.
pub(crate) fn queue(name: &str, profiles: &[&str]) -> config::Queue {
    config::Queue {
        name: name.to_owned(),
        profiles: profiles.iter().map(|&name| name.to_owned()).collect(),
        max_running: None,
        priority: 0,
    }
}

/// A cluster at a moment, with the streams of its agents.
pub(crate) struct Fixture {
    pub(crate) index: Index,
    pub(crate) now: Instant,
    streams: BTreeMap<String, Joined>,
    observed: BTreeMap<String, Generation>,
}

impl Fixture {
    /// No node, and these queues of tenant `acme`.
    pub(crate) fn new(queues: &[config::Queue]) -> Self {
        Self::with_tenants(&[("acme", queues)])
    }

    /// No node, and these tenants with their queues.
    pub(crate) fn with_tenants(tenants: &[(&str, &[config::Queue])]) -> Self {
        let tenants = tenants.iter().map(|(name, queues)| config::Tenant {
            name: (*name).to_owned(),
            credentials: config::Credentials {
                access_key: String::new(),
                secret_key: String::new().into(),
            },
            queues: queues.to_vec(),
        });
        let tenants: Vec<_> = tenants.collect();
        Self {
            index: Index::new(&tenants),
            now: Instant::now(),
            streams: BTreeMap::new(),
            observed: BTreeMap::new(),
        }
    }

    /// Time goes by.
    pub(crate) fn wait(&mut self, time: Duration) -> Vec<String> {
        self.now += time;
        self.index.tick(self.now)
    }

    /// The agent of a node opens its stream; it has seen this generation.
    pub(crate) fn try_join(&mut self, node: &str, generation: u64) -> Result<(), NameTaken> {
        let hello = v1::Hello {
            node: node.to_owned(),
            agent_version: "1.2.3".to_owned(),
            generation,
        };
        let joined = self.index.agent_joined(hello, self.now)?;
        self.streams.insert(node.to_owned(), joined);
        self.observed
            .insert(node.to_owned(), Generation(generation));
        Ok(())
    }

    /// A node joins and reports.
    pub(crate) fn with_node(mut self, node: &str, gpus: &[&str]) -> Self {
        self.try_join(node, 0).unwrap();
        self.report_slices(node, gpus);
        self
    }

    /// Its stream ends.
    pub(crate) fn leave(&mut self, node: &str) {
        let joined = self.streams.remove(node).unwrap();
        self.index.agent_left(node, joined.connection, self.now);
    }

    pub(crate) fn connection(&self, node: &str) -> Connection {
        self.streams.get(node).unwrap().connection
    }

    /// A node reports A100s with these slices.
    pub(crate) fn report_slices(&mut self, node: &str, gpus: &[&str]) {
        let gpus = gpus.iter().zip(0..);
        let gpus = gpus.map(|(slices, index)| gpu(node, index, slices));
        self.report(node, gpus.collect());
    }

    /// A node reports.
    pub(crate) fn report(&mut self, node: &str, gpus: Vec<Gpu>) {
        let reported = Reported {
            driver_version: "580.1".to_owned(),
            nvml_version: "13.1".to_owned(),
            generation: self.observed.get(node).copied().unwrap_or_default(),
            gpus,
            kubelet: None,
        };
        let connection = self.connection(node);
        self.index.report(node, connection, reported, self.now);
    }

    /// So many tasks wait in the queue, and so many run when it has a limit.
    pub(crate) fn backlog(&mut self, queues: &[(&str, u32, Option<u32>)]) {
        let seen = queues.iter().map(|&(name, waiting, running)| {
            let backlog = Backlog {
                id: format!("id-of-{name}"),
                waiting,
                oldest: None,
                running,
            };
            (name.to_owned(), backlog)
        });
        self.index.backlog("acme", seen.collect());
    }

    /// So many tasks wait in the queues of a tenant, which have these ids.
    pub(crate) fn backlog_of(&mut self, tenant: &str, queues: &[(&str, &str, u32)]) {
        let seen = queues.iter().map(|&(name, id, waiting)| {
            let backlog = Backlog {
                id: id.to_owned(),
                waiting,
                ..Backlog::default()
            };
            (name.to_owned(), backlog)
        });
        self.index.backlog(tenant, seen.collect());
    }

    /// Plans, without publishing.
    pub(crate) fn round(&self) -> Round {
        round(&self.index).unwrap()
    }

    /// Plans and publishes; the generation, when there was something to publish.
    pub(crate) fn publish(&mut self) -> Option<Generation> {
        let round = self.round();
        self.index.note_round(round.queues, round.left_out);
        self.index.publish(round.layouts, self.now)
    }

    fn stream(&self, node: &str) -> &watch::Receiver<Option<Arc<v1::Desired>>> {
        &self.streams.get(node).unwrap().told.desired
    }

    /// What the node was told last: generation, and layouts by UUID.
    pub(crate) fn desired(&self, node: &str) -> Option<(u64, BTreeMap<String, Layout>)> {
        let desired = self.stream(node).borrow().clone()?;
        let gpus = desired.gpus.iter();
        let layouts = gpus.map(|gpu| (gpu.uuid.clone(), gpu.layout().unwrap()));
        Some((desired.generation, layouts.collect()))
    }

    /// The node's reports name this generation from now on.
    pub(crate) fn observed_in_reports(&mut self, node: &str, generation: Generation) {
        self.observed.insert(node.to_owned(), generation);
    }

    /// The agent says how what it was told last ended on its GPUs, and has the generation in its reports from now on.
    pub(crate) fn outcome(&mut self, node: &str, verdict: &Verdict) -> bool {
        let (generation, layouts) = self.desired(node).unwrap();
        let gpus = layouts.into_keys().map(|uuid| (uuid, verdict.clone()));
        let outcome = Outcome {
            generation: Generation(generation),
            others: Verdict::Missing,
            gpus: gpus.collect(),
        };
        self.observed_in_reports(node, Generation(generation));
        let connection = self.connection(node);
        self.index.outcome(node, connection, outcome, self.now)
    }
}
