//! A simulated node with an agent on it, and what happens to them.

use std::{fmt::Debug, path::PathBuf};

use mica_agent::{
    execute::{Patience, Recovered, Taken, execute, recover},
    generation::Newest,
    journal::Journal,
    outcome::{Ending, GpuOutcome, Refusal},
    usage::Sources,
};
use mica_model::{Generation, Layout};
use mica_nvml::Driver;
use nvml_sim::{Fault, GpuSpec, Node, NodeOptions, judge};
use tempfile::TempDir;

use crate::{
    claims::Claims,
    event::{self, Asked, Event, Intruder},
    oracle::Seen,
    random::Random,
};

/// One of each geometry, and both ways to change the MIG mode.
const BOARDS: [&str; 4] = ["a100-40gb", "h100-sxm5-80gb", "a30-24gb", "h100-sxm5-80gb"];

/// What the histories were made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) events: u64,
    pub(crate) steps: u64,
    pub(crate) held: u64,
    pub(crate) refused: u64,
    pub(crate) rolled_back: u64,
    pub(crate) not_rolled_back: u64,
    pub(crate) faults: u64,
    pub(crate) crashes: u64,
    pub(crate) reboots: u64,
    pub(crate) reloads: u64,
    pub(crate) lost_races: u64,
    /// Layouts refused for a pod, a reservation or a silence.
    pub(crate) held_up: u64,
    /// Recoveries put off because of a silence.
    pub(crate) later: u64,
    /// Kubelets that began anew.
    pub(crate) began: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.steps += other.steps;
        self.held += other.held;
        self.refused += other.refused;
        self.rolled_back += other.rolled_back;
        self.not_rolled_back += other.not_rolled_back;
        self.faults += other.faults;
        self.crashes += other.crashes;
        self.reboots += other.reboots;
        self.reloads += other.reloads;
        self.lost_races += other.lost_races;
        self.held_up += other.held_up;
        self.later += other.later;
        self.began += other.began;
    }
}

struct Agent {
    driver: Driver,
    sources: Sources,
    newest: Newest,
    journal: Journal,
}

pub(crate) struct World {
    directory: TempDir,
    node: Node,
    agent: Option<Agent>,
    claims: Claims,
    random: Random,
    uuid: String,
    pid: u32,
    /// What stood when the agent last said that it had done something.
    standing: Layout,
    seed: u64,
    /// What happened, put into words only when something is wrong.
    told: Vec<Box<dyn Debug>>,
    tally: Tally,
}

impl World {
    pub(crate) fn new() -> Self {
        // In memory where there is such a place: a history writes its journal dozens of times.
        let memory = PathBuf::from("/dev/shm");
        let directory = if memory.is_dir() {
            TempDir::new_in(memory)
        } else {
            TempDir::new()
        }
        .unwrap();
        let gpus = GpuSpec::many("a100-40gb", 1, true);
        let node = Node::create(
            &directory.path().join("sim"),
            &gpus,
            &NodeOptions::default(),
        )
        .unwrap();
        Self {
            directory,
            node,
            agent: None,
            claims: Claims::new(false),
            random: Random::new(0),
            uuid: String::new(),
            pid: 0,
            standing: Layout::default(),
            seed: 0,
            told: Vec::new(),
            tally: Tally::default(),
        }
    }

    /// Lives through the history of a seed.
    pub(crate) fn history(&mut self, seed: u64) -> Tally {
        self.random = Random::new(seed);
        self.seed = seed;
        self.tally = Tally::default();
        self.told.clear();
        self.standing = Layout::default();
        self.pid = 0;
        self.agent = None;
        self.claims = Claims::new(self.random.once_in(2));
        let board = self.random.pick(&BOARDS).copied().unwrap();
        let mig = self.random.once_in(2);
        self.node.reset_to(&GpuSpec::many(board, 1, mig)).unwrap();
        let state = self.state();
        if state.exists() {
            std::fs::remove_dir_all(&state).unwrap();
        }
        self.start();
        // Three on average: short ones show most, and a few are long.
        let mut events = 1;
        while events < 12 && !self.random.once_in(3) {
            events += 1;
        }
        for _ in 0..events {
            let event = self.draw();
            self.told.push(Box::new(event.clone()));
            self.tally.events += 1;
            self.happen(event);
        }
        self.end();
        self.tally.clone()
    }

    fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    fn agent(&mut self) -> &mut Agent {
        self.agent.as_mut().unwrap()
    }

    fn draw(&mut self) -> Event {
        let gpu = self.agent().driver.gpus().unwrap().remove(0);
        self.uuid = gpu.uuid;
        event::draw(
            &mut self.random,
            gpu.board.as_deref().unwrap(),
            self.claims.has_pods(),
        )
    }

    /// Fails with the whole history.
    fn demand(&self, holds: bool, what: &str, seen: &Seen) {
        assert!(
            holds,
            "{what}\nMICA_HISTORY={}\n{}\nstanding {:?}\n{seen:#?}\n{:#?}",
            self.seed,
            told(&self.told),
            self.standing,
            self.node.log().unwrap(),
        );
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Layout(asked) => self.layout(&asked),
            Event::Start => self.start_process(),
            Event::Stop => self.stop_process(),
            Event::Admit => self.claims.admit(&self.node, &mut self.random),
            Event::EndPods => self.claims.end_pods(),
            Event::Keep => self.keep(),
            Event::Mute(mute) => self.claims.mute(mute, &self.node),
            Event::Begin => {
                let sources = &self.agent.as_ref().unwrap().sources;
                let began = self.claims.begin(sources, &mut self.random);
                self.tally.began += u64::from(began);
            }
            Event::Poll => self.claims.poll(&self.agent.as_ref().unwrap().sources),
            Event::Restart(fault) => self.restart(fault.as_ref()),
            Event::Reboot => self.reboot(None),
            Event::Reload => self.reload(),
            Event::Lose(layout) => self.lose(&layout),
        }
        self.claims.note(&self.node);
    }

    fn keep(&mut self) {
        let gpu = self.agent().driver.gpus().unwrap().remove(0);
        let board = gpu.board.as_deref();
        self.claims.keep(&self.node, &mut self.random, board);
        self.say();
    }

    /// The coordinator says what it keeps.
    fn say(&mut self) {
        let sources = &self.agent.as_ref().unwrap().sources;
        self.claims.say(sources, &self.uuid, &self.node);
    }

    /// Starts an agent, or another one.
    fn start(&mut self) {
        self.agent = None;
        let state = self.state();
        let newest = Newest::open(&state).unwrap();
        let boot = self.node.boot_id();
        self.agent = Some(Agent {
            driver: Driver::open(self.node.library().as_os_str()).unwrap(),
            sources: self.claims.sources(&self.node),
            newest,
            journal: Journal::open(&state, &boot).unwrap(),
        });
        self.uuid = self.node.gpus().remove(0).uuid;
        if self.random.once_in(2) {
            self.say();
        }
    }

    fn recover(&mut self, reloaded: bool) -> Recovered {
        let uuid = self.uuid.clone();
        let agent = self.agent.as_mut().unwrap();
        let mut journal = agent.journal.of(&uuid).unwrap();
        let mut steps = 0;
        let recovered = recover(
            &mut agent.driver,
            &agent.sources,
            &uuid,
            &mut journal,
            reloaded,
            Patience::NONE,
            &mut |_| steps += 1,
        );
        agent.sources.offer_again(&uuid);
        self.tally.steps += steps;
        recovered
    }

    /// What must hold once the agent has recovered without being disturbed: nothing half made, and nothing under way.
    fn recovered(&mut self, reloaded: bool) -> Seen {
        let mut recovered = self.recover(reloaded);
        self.told.push(Box::new(recovered.clone()));
        if matches!(recovered, Recovered::Later(_)) && self.claims.is_silent() {
            self.tally.later += 1;
            self.claims.mute(false, &self.node);
            self.say();
            recovered = self.recover(reloaded);
            self.told.push(Box::new(recovered.clone()));
        }
        let seen = Seen::of(&self.node);
        self.demand(
            !matches!(recovered, Recovered::Later(_)),
            "recovered later",
            &seen,
        );
        self.demand(seen.half.is_empty(), "half made after recovery", &seen);
        let uuid = self.uuid.clone();
        let journal = self.agent().journal.of(&uuid).unwrap();
        self.demand(
            journal.record().work.is_none(),
            "work is left in the journal",
            &seen,
        );
        self.standing = seen.usable.clone();
        seen
    }

    fn layout(&mut self, asked: &Asked) {
        let before = Seen::of(&self.node);
        let newest = self.agent().newest.get();
        if asked.stale {
            let refused = self.agent().newest.admit(newest).is_err();
            self.demand(refused, "a generation that was seen is admitted", &before);
            return;
        }
        let generation = Generation(newest.0 + 1);
        self.agent().newest.admit(generation).unwrap();
        self.agent().newest.advance(generation).unwrap();
        let outcome = self.execute(asked, generation);
        self.tally.faults += u64::from(asked.fault.is_some());
        let after = Seen::of(&self.node);
        self.told.push(Box::new(outcome.clone()));
        self.demand(after.keeps(&before), "a process was disturbed", &after);
        if asked.crash.is_some() {
            return self.crashed(asked, &before);
        }
        self.node.clear_faults().unwrap();
        self.judge_outcome(asked, &outcome, &before, &after);
        let uuid = self.uuid.clone();
        let owing = self
            .agent()
            .journal
            .of(&uuid)
            .unwrap()
            .record()
            .work
            .is_some();
        if owing {
            let recovered = self.recovered(false);
            let known = [&asked.layout, &before.usable].contains(&&recovered.usable);
            self.demand(
                known
                    || recovered.blocks(&before.usable)
                    || self.claims.block(&recovered, &before.usable)
                    || asked.intruder.is_some(),
                "neither one nor the other",
                &recovered,
            );
        } else {
            self.standing = after.usable;
        }
    }

    fn execute(&mut self, asked: &Asked, generation: Generation) -> GpuOutcome {
        if let Some(fault) = &asked.fault {
            self.node.inject(fault).unwrap();
        }
        if let Some(change) = asked.crash {
            self.node.inject(&Fault::vanish(change)).unwrap();
        }
        let uuid = self.uuid.clone();
        let Self {
            node,
            agent,
            random,
            claims,
            pid,
            tally,
            ..
        } = self;
        let agent = agent.as_mut().unwrap();
        let sources = &agent.sources;
        let mut journal = agent.journal.of(&uuid).unwrap();
        let mut taken = 0;
        let mut observe = |_: &Taken| {
            match asked.intruder.filter(|(when, _)| *when == taken) {
                None => {}
                Some((_, Intruder::Process)) => {
                    *pid += 1;
                    intrude(node, random, *pid);
                }
                Some((_, Intruder::Pod)) => claims.admit(node, random),
                Some((_, Intruder::Mute)) => claims.mute(true, node),
                Some((_, Intruder::Keep)) => {
                    claims.keep(node, random, None);
                    claims.say(sources, &uuid, node);
                }
            }
            taken += 1;
            tally.steps += 1;
        };
        let outcome = execute(
            &mut agent.driver,
            &agent.sources,
            &uuid,
            &asked.layout,
            Some((generation, &mut journal)),
            Patience::NONE,
            &mut observe,
        );
        agent.sources.offer_again(&uuid);
        outcome
    }

    fn judge_outcome(&mut self, asked: &Asked, outcome: &GpuOutcome, before: &Seen, after: &Seen) {
        let disturbed = asked.fault.is_some() || asked.intruder.is_some();
        let unchanged = after.usable == before.usable && after.half.is_subset(&before.half);
        match &outcome.ending {
            Ending::Holds => {
                self.tally.held += 1;
                let made = after.usable == asked.layout && after.half.is_empty();
                self.demand(made, "it does not hold", after);
            }
            Ending::Refused(refusal) => {
                self.tally.refused += 1;
                self.demand(unchanged, "refused, and yet something changed", after);
                let by_process = before.blocks(&asked.layout);
                let claimed = self.claims.block(before, &asked.layout);
                let due = match refusal {
                    Refusal::InUse(_) => by_process || claimed,
                    Refusal::MigModeHeld(_) => by_process,
                    Refusal::GpuInUse(_) | Refusal::PlaceKept(_) => claimed,
                    Refusal::StaleGeneration { .. }
                    | Refusal::IllegalLayout(_)
                    | Refusal::UnknownGpu(_)
                    | Refusal::MigUnsupported { .. }
                    | Refusal::ResetRequired(_)
                    | Refusal::RebootRequired(_)
                    | Refusal::Faulted(_) => false,
                };
                self.tally.held_up += u64::from(claimed && !by_process);
                self.demand(due || disturbed, "refused without reason", after);
            }
            Ending::Failed(failure) if failure.rolled_back => {
                self.tally.rolled_back += 1;
                self.demand(unchanged, "rolled back, and yet something changed", after);
                self.demand(disturbed, "failed without reason", after);
            }
            Ending::Failed(_) => {
                self.tally.not_rolled_back += 1;
                self.demand(disturbed, "failed without reason", after);
            }
        }
    }

    /// The agent has died, or should have: its successor finishes or undoes.
    fn crashed(&mut self, asked: &Asked, before: &Seen) {
        if self.agent().driver.versions().is_err() {
            self.tally.crashes += 1;
        }
        self.node.clear_faults().unwrap();
        if asked.reboot {
            return self.reboot(Some((&asked.layout, &before.usable)));
        }
        let at_crash = Seen::of(&self.node);
        self.start();
        let after = self.recovered(false);
        let known = [&asked.layout, &before.usable].contains(&&after.usable);
        self.demand(
            known,
            "neither what was wanted nor what stood before",
            &after,
        );
        self.demand(after.keeps(&at_crash), "a process was disturbed", &after);
    }

    fn restart(&mut self, fault: Option<&Fault>) {
        let before = Seen::of(&self.node);
        self.start();
        if let Some(fault) = fault {
            self.node.inject(fault).unwrap();
            let recovered = self.recover(false);
            self.told.push(Box::new(recovered.clone()));
            self.node.clear_faults().unwrap();
        }
        let after = self.recovered(false);
        self.demand(after == before, "a restart changed something", &after);
    }

    /// The machine boots: with work under way, `wanted` instead of what stood.
    fn reboot(&mut self, under_way: Option<(&Layout, &Layout)>) {
        self.tally.reboots += 1;
        let standing = self.standing.clone();
        self.agent = None;
        self.claims.end_pods();
        self.claims.keep_nothing();
        self.node.reboot().unwrap();
        self.start();
        let after = self.recovered(false);
        let expected = match under_way {
            None => after.usable == standing,
            Some((wanted, former)) => [wanted, former].contains(&&after.usable),
        };
        self.demand(expected, "not made again after a reboot", &after);
    }

    fn reload(&mut self) {
        for pid in Seen::of(&self.node).processes.keys() {
            self.node.stop_process(*pid).unwrap();
        }
        self.claims.end_pods();
        self.claims.keep_nothing();
        self.tally.reloads += 1;
        let standing = self.standing.clone();
        self.node.reload_driver(None).unwrap();
        let stale = self
            .agent()
            .driver
            .gpus()
            .is_err_and(|error| error.is_stale());
        let seen = Seen::of(&self.node);
        self.demand(stale, "the driver does not look stale", &seen);
        self.start();
        let after = self.recovered(true);
        self.demand(
            after.usable == standing,
            "not made again after a reload",
            &after,
        );
    }

    /// A GPU that is lost is left alone.
    fn lose(&mut self, layout: &Layout) {
        let before = Seen::of(&self.node);
        self.node.lose_gpu(0).unwrap();
        let uuid = self.uuid.clone();
        let agent = self.agent.as_mut().unwrap();
        let mut journal = agent.journal.of(&uuid).unwrap();
        let outcome = execute(
            &mut agent.driver,
            &agent.sources,
            &uuid,
            layout,
            Some((Generation(0), &mut journal)),
            Patience::NONE,
            &mut |_| {},
        );
        let after = Seen::of(&self.node);
        self.demand(after == before, "a lost GPU changed", &after);
        let held = matches!(outcome.ending, Ending::Holds);
        self.demand(!held, "a layout holds on a lost GPU", &after);
        for pid in after.processes.keys() {
            self.node.stop_process(*pid).unwrap();
        }
        self.claims.end_pods();
        self.claims.keep_nothing();
        self.say();
        self.node.reset_gpu(0).unwrap();
        self.standing = Layout::default();
        let mut journal = self.agent().journal.of(&uuid).unwrap();
        journal.end(Some(&Layout::default())).unwrap();
    }

    fn start_process(&mut self) {
        self.pid += 1;
        intrude(&self.node, &mut self.random, self.pid);
    }

    fn stop_process(&mut self) {
        let pids: Vec<_> = Seen::of(&self.node).processes.into_keys().collect();
        if let Some(pid) = self.random.pick(&pids) {
            self.node.stop_process(*pid).unwrap();
        }
    }

    /// In the end nobody disturbs any more: everything must be possible again, and nobody was touched.
    fn end(&mut self) {
        self.recovered(false);
        let log = self.node.log().unwrap();
        let verdict = judge::judge(&log);
        let seen = Seen::of(&self.node);
        self.demand(verdict.is_clean(), "a slice in use was touched", &seen);
        self.tally.lost_races += u64::try_from(verdict.lost_races.len()).unwrap();
        let violated = self
            .claims
            .violated(&log)
            .or_else(|| self.claims.offered(&log));
        self.demand(violated.is_none(), &format!("{violated:?}"), &seen);
        for pid in seen.processes.keys() {
            self.node.stop_process(*pid).unwrap();
        }
        self.claims.end_pods();
        self.claims.keep_nothing();
        self.claims.mute(false, &self.node);
        self.claims.settle();
        self.say();
        let event = self.draw();
        if let Event::Layout(Asked { layout, .. }) | Event::Lose(layout) = event {
            self.told.push(Box::new(("in the end", layout.clone())));
            self.layout(&Asked {
                layout,
                stale: false,
                fault: None,
                intruder: None,
                crash: None,
                reboot: false,
            });
        }
    }
}

fn told(events: &[Box<dyn Debug>]) -> String {
    let lines: Vec<_> = events.iter().map(|event| format!("{event:?}")).collect();
    lines.join("\n")
}

/// A process starts somewhere, if there is a place.
fn intrude(node: &Node, random: &mut Random, pid: u32) {
    let gpu = node.gpus().remove(0);
    let usable = |instance: &&nvml_sim::InstanceView| instance.ci.is_some();
    let places: Vec<_> = gpu.instances.iter().filter(usable).map(|i| i.gi).collect();
    match random.pick(&places) {
        Some(&gi) => node.start_process(0, gi, pid, 0).unwrap(),
        None if gpu.mig => {}
        None => node.start_process(0, None, pid, 0).unwrap(),
    }
}
