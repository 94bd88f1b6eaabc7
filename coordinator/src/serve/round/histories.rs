//! Random histories: agents come, go, refuse and fail; slices come into use and fall idle; queues fill and empty.
//!
//! Whatever happens, what is published keeps the slices that were last reported in use, is legal, and is newer than anything the
//! agent has seen; and when nothing happens any more, the coordinator comes to rest.

use std::{collections::BTreeMap, time::Duration};

use mica_model::{Generation, Layout, Use, testing::a100_40gb};
use mica_proto::v1::RefusalReason;
use proptest::prelude::*;

use crate::serve::{
    index::Verdict,
    testing::{Fixture, gpu, queue},
};

const NODES: [&str; 2] = ["a", "b"];
const GPUS: u32 = 2;
const QUEUES: [&str; 3] = ["full", "half", "small"];

#[derive(Clone, Copy, Debug)]
enum Event {
    /// The agent's stream ends.
    Leave(usize),
    /// It comes back, and reports.
    Join(usize),
    Report(usize),
    /// The agent does what it was told last, or refuses.
    Execute(usize),
    /// The agent fails, and what was there stands again.
    Fail(usize),
    /// So many tasks wait in the queue.
    Backlog(usize, u32),
    /// Someone starts, or ends, work on a slice.
    Toggle(usize, u32, usize),
    Round,
    Wait(u64),
}

fn event() -> impl Strategy<Value = Event> {
    let node = || 0..NODES.len();
    prop_oneof![
        1 => node().prop_map(Event::Leave),
        2 => node().prop_map(Event::Join),
        4 => node().prop_map(Event::Report),
        4 => node().prop_map(Event::Execute),
        1 => node().prop_map(Event::Fail),
        3 => (0..QUEUES.len(), 0..9u32).prop_map(|(queue, count)| Event::Backlog(queue, count)),
        4 => (node(), 0..GPUS, 0..7usize).prop_map(|(node, gpu, slice)| Event::Toggle(node, gpu, slice)),
        4 => Just(Event::Round),
        1 => (0..70u64).prop_map(Event::Wait),
    ]
}

/// What really is on a node.
#[derive(Default)]
struct Machine {
    joined: bool,
    /// Slices with whether they are in use, by GPU.
    gpus: [BTreeMap<mica_model::Slice, bool>; 2],
    /// The same as last reported.
    reported: [BTreeMap<mica_model::Slice, bool>; 2],
    seen: u64,
}

struct World {
    fixture: Fixture,
    machines: [Machine; 2],
    waiting: [u32; 3],
}

impl World {
    fn new() -> Self {
        let profiles = [&["7g.40gb"][..], &["3g.20gb", "4g.20gb"], &["1g.5gb"]];
        let queues = QUEUES.iter().zip(profiles);
        let queues: Vec<_> = queues
            .map(|(name, profiles)| queue(name, profiles))
            .collect();
        Self {
            fixture: Fixture::new(&queues),
            machines: Default::default(),
            waiting: [0; 3],
        }
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Leave(node) => self.leave(node),
            Event::Join(node) => self.join(node),
            Event::Report(node) => self.report(node),
            Event::Execute(node) => self.execute(node),
            Event::Fail(node) => self.fail(node),
            Event::Backlog(queue, count) => {
                self.waiting[queue] = count;
                self.backlog();
            }
            Event::Toggle(node, gpu, slice) => {
                let slices = self.machines[node].gpus[usize::try_from(gpu).unwrap()].values_mut();
                if let Some(in_use) = slices.into_iter().nth(slice) {
                    *in_use = !*in_use;
                }
            }
            Event::Round => drop(self.round()),
            Event::Wait(seconds) => drop(self.fixture.wait(Duration::from_secs(seconds))),
        }
    }

    fn backlog(&mut self) {
        let queues = QUEUES.iter().zip(self.waiting);
        let queues: Vec<_> = queues.map(|(name, count)| (*name, count, None)).collect();
        self.fixture.backlog(&queues);
    }

    fn leave(&mut self, node: usize) {
        if std::mem::take(&mut self.machines[node].joined) {
            self.fixture.leave(NODES[node]);
        }
    }

    fn join(&mut self, node: usize) {
        let machine = &mut self.machines[node];
        if !std::mem::replace(&mut machine.joined, true) {
            self.fixture.try_join(NODES[node], machine.seen).unwrap();
            self.report(node);
        }
    }

    fn report(&mut self, node: usize) {
        let machine = &mut self.machines[node];
        if !machine.joined {
            return;
        }
        machine.reported = machine.gpus.clone();
        let gpus = machine.gpus.iter().zip(0..).map(|(slices, index)| {
            let mut seen = gpu(NODES[node], index, "");
            seen.instances = slices
                .iter()
                .zip(0..)
                .map(|((slice, in_use), gi)| mica_model::Instance {
                    gi,
                    slice: *slice,
                    compute: Some(mica_model::ComputeInstance {
                        id: 0,
                        uuid: String::new(),
                    }),
                    in_use: if *in_use {
                        Use::by_processes(vec![1])
                    } else {
                        Use::default()
                    },
                    memory_used_bytes: 0,
                    memory_total_bytes: 0,
                    fault: None,
                })
                .collect();
            seen
        });
        let gpus = gpus.collect();
        self.fixture.report(NODES[node], gpus);
    }

    /// What the agent was told and has not done yet.
    fn order(&self, node: usize) -> Option<(u64, BTreeMap<String, Layout>)> {
        let machine = &self.machines[node];
        let order = machine
            .joined
            .then(|| self.fixture.desired(NODES[node]))??;
        (order.0 > machine.seen).then_some(order)
    }

    fn execute(&mut self, node: usize) {
        let Some((generation, layouts)) = self.order(node) else {
            return;
        };
        let machine = &mut self.machines[node];
        machine.seen = generation;
        let mut verdict = Verdict::Applied;
        for (slices, index) in machine.gpus.iter_mut().zip(0..) {
            let Some(layout) = layouts.get(&gpu(NODES[node], index, "").uuid) else {
                continue;
            };
            if slices
                .iter()
                .any(|(slice, in_use)| *in_use && !layout.0.contains(slice))
            {
                verdict = Verdict::Refused {
                    reason: RefusalReason::InUse,
                    detail: String::new(),
                };
                continue;
            }
            slices.retain(|slice, _| layout.0.contains(slice));
            for slice in &layout.0 {
                slices.entry(*slice).or_insert(false);
            }
        }
        self.finish(node, generation, &verdict);
    }

    fn fail(&mut self, node: usize) {
        if let Some((generation, _)) = self.order(node) {
            self.machines[node].seen = generation;
            let verdict = Verdict::Failed {
                step: mica_proto::v1::FailedStep::CreateGpuInstance,
                code: Some(23),
                detail: String::new(),
                rolled_back: true,
            };
            self.finish(node, generation, &verdict);
        }
    }

    fn finish(&mut self, node: usize, generation: u64, verdict: &Verdict) {
        self.fixture
            .observed_in_reports(NODES[node], Generation(generation));
        self.report(node);
        self.fixture.outcome(NODES[node], verdict);
    }

    /// A round, of which everything that is published is looked at.
    fn round(&mut self) -> Option<Generation> {
        let before = NODES.map(|node| {
            self.fixture
                .index
                .nodes()
                .get(node)
                .map(crate::serve::index::Node::state)
        });
        let generation = self.fixture.publish()?;
        for (node, name) in NODES.into_iter().enumerate() {
            let machine = &self.machines[node];
            let Some((told, layouts)) = self.order(node) else {
                continue;
            };
            if told != generation.0 {
                continue;
            }
            assert_eq!(
                before[node],
                Some(mica_proto::v1::NodeState::Ready),
                "{name} was told something while it was busy"
            );
            assert!(told > machine.seen);
            for (reported, index) in machine.reported.iter().zip(0..) {
                let Some(layout) = layouts.get(&gpu(name, index, "").uuid) else {
                    continue;
                };
                a100_40gb().check(layout).unwrap();
                for (slice, in_use) in reported {
                    assert!(!in_use || layout.0.contains(slice), "{slice:?} is in use");
                }
            }
        }
        Some(generation)
    }

    /// Everyone is there and does what he is told, until nothing is published any more.
    fn comes_to_rest(&mut self) {
        for _ in 0..20 {
            self.fixture.wait(Duration::from_secs(61));
            for node in 0..NODES.len() {
                self.join(node);
                self.report(node);
            }
            if self.round().is_none() {
                return;
            }
            for node in 0..NODES.len() {
                self.execute(node);
            }
        }
        panic!("it still publishes after 20 rounds in which nothing happened");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn nothing_in_use_is_touched(events in prop::collection::vec(event(), 0..60)) {
        let mut world = World::new();
        for event in events {
            world.apply(event);
        }
        world.comes_to_rest();
    }
}
