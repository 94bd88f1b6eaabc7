//! Two nodes, two coordinators, and what happens to them.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use mica_model::{Generation, Pod as PodName, Slice};
use mica_proto::v1::{self, RefusalReason};

use super::{
    api::Api,
    event::{Event, Fate},
    machine::{GPUS, Machine, Stream},
};
use crate::serve::{
    index::{Index, Outcome, Verdict, Write},
    metrics::Metrics,
    objects::Pod,
    rounds,
    testing::gpu,
};

/// What pods ask for.
const KINDS: [(&str, u32); 5] = [
    ("nvidia.com/mig-1g.5gb", 1),
    ("nvidia.com/mig-3g.20gb", 1),
    ("nvidia.com/mig-3g.20gb", 2),
    ("nvidia.com/mig-2g.10gb", 1),
    ("nvidia.com/mig-1g.5gb", 3),
];

/// Who holds which slice of a node, as its agent last reported.
type Reported = BTreeMap<(u32, Slice), Option<PodName>>;

struct Coordinator {
    index: Index,
    /// How many news of the API server it has heard.
    heard: usize,
    /// Whether it takes itself for the leader, lets agents in and plans.
    leads: bool,
    reported: [Reported; 2],
}

impl Coordinator {
    fn start(api: &Api) -> Self {
        let mut coordinator = Self {
            index: Index::on_kubernetes(&[]),
            heard: 0,
            leads: false,
            reported: Default::default(),
        };
        coordinator.list(api);
        coordinator
    }

    fn list(&mut self, api: &Api) {
        let heard = &mut self.heard;
        self.index.observe(|objects| {
            api.list(heard, objects);
            true
        });
    }
}

pub(super) struct World {
    api: Api,
    machines: [Machine; 2],
    /// Pods whose containers have ended.
    finished: BTreeSet<PodName>,
    coordinators: [Coordinator; 2],
    /// Whose writes the lease covers: those of another come too late, or not at all.
    lease: usize,
    metrics: Metrics,
    now: Instant,
}

impl World {
    pub(super) fn new() -> Self {
        let mut api = Api::default();
        let machines = ["a", "b"].map(Machine::new);
        for machine in &machines {
            api.add_node(machine.name);
        }
        let coordinators = [Coordinator::start(&api), Coordinator::start(&api)];
        let mut world = Self {
            api,
            machines,
            finished: BTreeSet::new(),
            coordinators,
            lease: 0,
            metrics: Metrics::new().unwrap(),
            now: Instant::now(),
        };
        world.happen(Event::Lead(0));
        for node in 0..2 {
            world.happen(Event::Join(node, 0));
        }
        world
    }

    pub(super) fn happen(&mut self, event: Event) {
        match event {
            Event::Create(kind) => {
                let (resource, count) = KINDS[kind % KINDS.len()];
                self.api.create(resource, count);
            }
            Event::End(pod) => {
                if let Some((name, _)) = self.api.pick(pod, |_| true) {
                    self.api.end(&name);
                }
            }
            Event::Bind(pod) => self.bind(pod),
            Event::Admit(pod, device) => self.admit(pod, device),
            Event::Finish(pod) => self.finish(pod),
            Event::Learn(node) => self.machines[node].learn(),
            Event::Tick(node) => self.tick(node),
            Event::Report(node) => self.report(node),
            Event::Execute(node) => self.execute(node),
            Event::Leave(node) => self.leave(node),
            Event::Join(node, to) => self.join(node, to),
            Event::Hear(who, count) => {
                let Coordinator { index, heard, .. } = &mut self.coordinators[who];
                for _ in 0..count {
                    index.observe(|objects| self.api.tell(heard, objects));
                }
            }
            Event::Round(who) => self.round(who),
            Event::Write(who, which, fate) => {
                let writes = self.coordinators[who].index.writes();
                if self.coordinators[who].leads && !writes.is_empty() {
                    self.write(who, &writes[which % writes.len()], fate);
                }
            }
            Event::Restart(who) => {
                self.coordinators[who] = Coordinator::start(&self.api);
                for machine in &mut self.machines {
                    let stream = &mut machine.stream;
                    drop(stream.take_if(|stream| stream.coordinator == who));
                }
            }
            Event::Lead(who) => {
                // What the one before has written is seen first.
                self.lease = who;
                self.coordinators[who].list(&self.api);
                self.coordinators[who].leads = true;
            }
            Event::TakeOver(who) => self.take_over(who),
            Event::Wait(seconds) => self.now += Duration::from_secs(seconds),
        }
    }

    fn take_over(&mut self, who: usize) {
        self.happen(Event::Lead(who));
        for node in 0..2 {
            self.happen(Event::Leave(node));
            self.happen(Event::Join(node, who));
        }
        for _ in 0..2 {
            self.happen(Event::Round(who));
            for write in self.coordinators[who].index.writes() {
                self.write(who, &write, Fate::Answered);
            }
        }
    }

    fn node_of(&self, pod: &Pod) -> Option<usize> {
        let node = pod.destination()?;
        self.machines.iter().position(|it| it.name == node)
    }

    /// As the scheduler counts: against the node's status, what pods ask for that are bound to it.
    fn bind(&mut self, number: usize) {
        let waits = |pod: &Pod| !pod.gated && pod.node.is_none();
        let Some((name, mut pod)) = self.api.pick(number, waits) else {
            return;
        };
        let node = pod.released_to.clone().unwrap();
        let devices = &self.api.nodes[&node].devices;
        let fits = pod.request.slices.iter().all(|(resource, count)| {
            let bound = self
                .api
                .pods
                .values()
                .filter(|it| it.node.as_ref() == Some(&node));
            let asked = bound.filter_map(|it| it.request.slices.get(resource));
            let taken: u32 = asked.sum();
            devices.get(resource).copied().unwrap_or(0) >= taken + count
        });
        if fits {
            pod.node = Some(node);
            self.api.set_pod(&name, pod);
        }
    }

    fn held(&self, node: usize, name: &PodName) -> usize {
        let standing = self.machines[node].slices.values();
        standing
            .filter(|it| it.holder.as_ref() == Some(name))
            .count()
    }

    /// As a kubelet does: any device will do.
    fn admit(&mut self, number: usize, device: usize) {
        let bound = |pod: &Pod| pod.node.is_some();
        let Some((name, pod)) = self.api.pick(number, bound) else {
            return;
        };
        let node = self.node_of(&pod).unwrap();
        if self.held(node, &name) > 0 || self.finished.contains(&name) {
            return;
        }
        for (resource, count) in &pod.request.slices {
            for turn in 0..*count {
                let free = self.machines[node].free(resource);
                assert!(
                    !free.is_empty(),
                    "the kubelet has no {resource} for {name:?}"
                );
                let place = free[device.wrapping_add(turn.try_into().unwrap()) % free.len()];
                let standing = self.machines[node].slices.get_mut(&place).unwrap();
                standing.holder = Some(name.clone());
            }
        }
    }

    /// For the kubelet; the API server does not show it yet, or has forgotten the pod long ago.
    fn finish(&mut self, number: usize) {
        let standing = self
            .machines
            .iter_mut()
            .flat_map(|it| it.slices.values_mut());
        let mut held: Vec<_> = standing.filter(|it| it.holder.is_some()).collect();
        if held.is_empty() {
            return;
        }
        let chosen = number % held.len();
        let holder = held[chosen].holder.clone();
        for standing in &mut held {
            if standing.holder == holder {
                standing.holder = None;
            }
        }
        self.finished.extend(holder);
    }

    fn tick(&mut self, node: usize) {
        let name = self.machines[node].name;
        let mut object = self.api.nodes[name].clone();
        object.devices = self.machines[node].counts();
        self.api.set_node(name, object);
    }

    fn report(&mut self, node: usize) {
        let machine = &self.machines[node];
        let Some(stream) = &machine.stream else {
            return;
        };
        let slices = machine.slices.iter();
        let coordinator = &mut self.coordinators[stream.coordinator];
        coordinator.reported[node] = slices
            .map(|(place, it)| (*place, it.holder.clone()))
            .collect();
        coordinator
            .index
            .report(machine.name, stream.connection, machine.report(), self.now);
    }

    fn execute(&mut self, node: usize) {
        let Some(order) = self.machines[node].order() else {
            return;
        };
        let machine = &mut self.machines[node];
        let mut gpus = BTreeMap::new();
        for wanted in &order.gpus {
            let mut indices = 0..GPUS;
            let index = indices.find(|it| gpu(machine.name, *it, "").uuid == wanted.uuid);
            let done = machine.make(index.unwrap(), &wanted.layout().unwrap());
            let refused = Verdict::Refused {
                reason: RefusalReason::InUse,
                detail: String::new(),
            };
            gpus.insert(
                wanted.uuid.clone(),
                if done { Verdict::Applied } else { refused },
            );
        }
        machine.seen = order.generation;
        self.report(node);
        let machine = &self.machines[node];
        let stream = machine.stream.as_ref().unwrap();
        let outcome = Outcome {
            generation: Generation(order.generation),
            others: Verdict::Missing,
            gpus,
        };
        let index = &mut self.coordinators[stream.coordinator].index;
        index.outcome(machine.name, stream.connection, outcome, self.now);
    }

    fn leave(&mut self, node: usize) {
        let machine = &mut self.machines[node];
        if let Some(stream) = machine.stream.take() {
            let index = &mut self.coordinators[stream.coordinator].index;
            index.agent_left(machine.name, stream.connection, self.now);
        }
    }

    fn join(&mut self, node: usize, to: usize) {
        if !self.coordinators[to].leads || self.machines[node].stream.is_some() {
            return;
        }
        let machine = &mut self.machines[node];
        let hello = v1::Hello {
            node: machine.name.to_owned(),
            agent_version: String::new(),
            generation: machine.seen,
        };
        let joined = self.coordinators[to].index.agent_joined(hello, self.now);
        let joined = joined.unwrap();
        machine.stream = Some(Stream {
            coordinator: to,
            connection: joined.connection,
            told: joined.told,
        });
        self.report(node);
    }

    fn round(&mut self, who: usize) {
        let Coordinator { index, leads, .. } = &mut self.coordinators[who];
        if *leads {
            index.tick(self.now);
            index.keep();
            rounds::run_once(index, &self.metrics);
        }
    }

    fn write(&mut self, who: usize, write: &Write, fate: Fate) {
        let index = &mut self.coordinators[who].index;
        if let Write::Release { pod, .. } = write {
            index.asked_to_release(pod);
        }
        if self.lease != who || fate == Fate::Dropped {
            return;
        }
        let written = self.api.write(write);
        if fate == Fate::Lost {
            return;
        }
        match write {
            Write::Release { pod, .. } => {
                let seen = self.api.pods.get(pod).cloned();
                index.observe(|objects| objects.set_pod(pod, seen));
                if written.is_err() {
                    index.not_released(pod);
                }
            }
            Write::Tell { pod, uid, reason } => index.note_told(pod, uid, reason),
            Write::Devices { node, .. }
            | Write::Labels { node, .. }
            | Write::Condition { node, .. }
            | Write::Taint { node, .. } => {
                let seen = self.api.nodes.get(node).cloned();
                index.observe(|objects| objects.set_node(node, seen));
            }
        }
    }

    /// What must hold, whatever has happened.
    pub(super) fn check(&self, event: Event) {
        for (node, machine) in self.machines.iter().enumerate() {
            let mut needed: BTreeMap<&str, usize> = BTreeMap::new();
            let pods = self.api.pods.iter();
            for (name, pod) in pods.filter(|(_, pod)| self.node_of(pod) == Some(node)) {
                for (resource, count) in &pod.request.slices {
                    let count = usize::try_from(*count).unwrap();
                    *needed.entry(resource).or_default() += count - self.held(node, name);
                }
            }
            for (resource, needed) in needed {
                let unheld = machine.slices.iter().filter(|((_, slice), standing)| {
                    standing.holder.is_none() && Machine::resource(*slice) == resource
                });
                let unheld = unheld.count();
                assert!(
                    needed <= unheld,
                    "{}: pods that were released need {needed} of {resource}, of which nobody holds {unheld}",
                    machine.name
                );
            }
        }
        if let Event::Round(who) = event {
            for node in 0..2 {
                self.check_kept(who, node);
            }
        }
    }

    /// After a round, what an agent is told to keep is kept for one pod each, that needs it, and held by nobody, by what the coordinator
    /// knows; and nothing that can be kept is not.
    fn check_kept(&self, who: usize, node: usize) {
        let (machine, coordinator) = (&self.machines[node], &self.coordinators[who]);
        let is_its = machine
            .stream
            .as_ref()
            .is_some_and(|stream| stream.coordinator == who);
        let Some(kept) = machine.kept().filter(|_| is_its && coordinator.leads) else {
            return;
        };
        let reported = &coordinator.reported[node];
        let mut of_pods: BTreeMap<(&PodName, String), usize> = BTreeMap::new();
        let mut places = Vec::new();
        for (place, pod) in &kept {
            assert!(!places.contains(place), "{place:?} is kept twice: {kept:?}");
            places.push(*place);
            assert_eq!(
                reported.get(place),
                Some(&None),
                "{place:?} is kept for {pod:?}"
            );
            let of_pod = of_pods.entry((pod, Machine::resource(place.1)));
            *of_pod.or_default() += 1;
        }
        let pods = coordinator.index.objects().unwrap().pods();
        let promised = coordinator.index.promised();
        for ((name, resource), count) in &of_pods {
            let asked = pods[*name].request.slices[resource];
            assert!(
                *count <= usize::try_from(asked).unwrap(),
                "{name:?} is kept {count}"
            );
        }
        for (name, pod) in pods {
            let to = pod.destination().or(promised.get(name).map(String::as_str));
            if to != Some(machine.name) {
                continue;
            }
            for (resource, count) in &pod.request.slices {
                let held = reported
                    .values()
                    .filter(|holder| holder.as_ref() == Some(name));
                let needed = usize::try_from(*count).unwrap() - held.count();
                let has = of_pods.get(&(name, resource.clone())).copied().unwrap_or(0);
                let left = reported.iter().any(|(place, holder)| {
                    holder.is_none()
                        && Machine::resource(place.1) == *resource
                        && !places.contains(place)
                });
                assert!(
                    has == needed || !left,
                    "{name:?} needs {needed} of {resource} and is kept {has}"
                );
            }
        }
    }

    /// Everybody does what he has to, until nothing changes any more: then every pod that was released runs.
    pub(super) fn comes_to_rest(&mut self) {
        for name in std::mem::take(&mut self.finished) {
            self.api.end(&name);
        }
        self.happen(Event::Restart(1));
        self.happen(Event::Lead(0));
        for _ in 0..30 {
            self.now += Duration::from_secs(61);
            for node in 0..2 {
                self.happen(Event::Join(node, 0));
                self.happen(Event::Execute(node));
                self.happen(Event::Learn(node));
                self.happen(Event::Tick(node));
                self.happen(Event::Report(node));
            }
            let heard = self.coordinators[0].heard;
            if !self.api.has_told(heard) {
                self.happen(Event::Hear(0, 1 << 12));
            }
            self.happen(Event::Round(0));
            self.check(Event::Round(0));
            for write in self.coordinators[0].index.writes() {
                self.write(0, &write, Fate::Answered);
            }
            for number in 0..self.api.pods.len() {
                self.happen(Event::Bind(number));
            }
            for number in 0..self.api.pods.len() {
                self.happen(Event::Admit(number, number));
            }
            self.check(Event::Wait(0));
        }
        let released = self.api.pods.iter().filter(|(_, pod)| !pod.gated);
        for (name, pod) in released {
            let held = self.held(self.node_of(pod).unwrap(), name);
            let asked: u32 = pod.request.slices.values().sum();
            assert_eq!(
                held,
                usize::try_from(asked).unwrap(),
                "{name:?} was released and does not run"
            );
        }
    }

    /// How many pods run.
    pub(super) fn running(&self) -> usize {
        let pods = self.api.pods.iter();
        pods.filter(|(name, pod)| {
            self.node_of(pod)
                .is_some_and(|node| self.held(node, name) > 0)
        })
        .count()
    }
}
