//! Who claims slices beside processes: pods that the kubelet has given them to, reservations of the coordinator, and the silence of either.
//!
//! Knows what is true, and tells the agent as kubelet and coordinator would. It keeps a ledger of claims, and judges it in the end by the
//! driver's own log: within the life of a claim nothing may have been done to what it is on.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant, SystemTime},
};

use mica_agent::{
    kubelet::Holdings,
    usage::{Lister, Offers, Sources},
};
use mica_model::{Board, Container, Generation, Layout, Pod, Reservation, Slice};
use mica_proto::{
    podresources::{ListPodResourcesResponse, PodResources},
    v1,
};
use nvml_sim::{Action, Event, Node};

use crate::{
    oracle::{Seen, slice},
    random::Random,
};

/// What a claim is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum On {
    /// The GPU as a whole: its mode.
    Gpu,
    /// A GPU instance that has its compute instance.
    Instance(u32, Slice),
    /// The place of a slice that does not stand.
    Place(Slice),
}

/// Whose claim it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Pod,
    Reservation,
    /// A reservation of something that does not stand, of which the agent was told.
    Place,
    Silence,
}

/// A claim, from one moment to another, in nanoseconds as the driver's log has them.
#[derive(Clone, Debug)]
struct Claim {
    on: On,
    by: By,
    from: u64,
    until: Option<u64>,
}

/// What the kubelet would answer.
#[derive(Debug, Default)]
struct Kubelet(Mutex<Told>);

#[derive(Debug, Default)]
struct Told {
    /// Device by name of the pod.
    pods: BTreeMap<String, String>,
    mute: bool,
    /// So many answers do not name any pod yet: it has begun anew.
    unaware: u32,
    /// Devices that are not offered to pods now.
    taken: BTreeSet<String>,
    /// When something was taken back, and when it was offered again.
    withdrawals: Vec<(u64, Option<u64>)>,
    /// When what stood was offered.
    offers: Vec<u64>,
}

impl Kubelet {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap()
    }
}

impl Lister for Kubelet {
    fn list(&self) -> Result<Holdings, String> {
        let mut kubelet = self.told();
        if kubelet.mute {
            return Err("it is mute".to_owned());
        }
        if kubelet.unaware > 0 {
            kubelet.unaware -= 1;
            return Ok(Holdings::default());
        }
        // There always is a pod without devices: the agent's own.
        let own = PodResources {
            name: "agent".to_owned(),
            namespace: "mica".to_owned(),
            containers: Vec::new(),
        };
        let mut holdings = Holdings::from(ListPodResourcesResponse {
            pod_resources: vec![own],
        });
        for (name, device) in &kubelet.pods {
            let (pod, name) = (pod(name), "main".to_owned());
            holdings.add(device, Container { pod, name });
        }
        Ok(holdings)
    }
}

/// A kubelet forgets at once what it is not offered, unless it is mute.
impl Offers for Kubelet {
    fn take_back(&self, _gpu: &str, devices: &BTreeSet<String>) -> Result<(), String> {
        let mut kubelet = self.told();
        kubelet.taken.extend(devices.iter().cloned());
        if kubelet.mute {
            return Err("it is mute".to_owned());
        }
        kubelet.withdrawals.push((now(), None));
        Ok(())
    }

    fn offer_again(&self, _gpu: &str) {
        let mut kubelet = self.told();
        kubelet.taken.clear();
        let now = now();
        kubelet.offers.push(now);
        for (_, until) in &mut kubelet.withdrawals {
            until.get_or_insert(now);
        }
    }
}

fn pod(name: &str) -> Pod {
    Pod {
        namespace: "acme".to_owned(),
        name: name.to_owned(),
    }
}

/// All claims of a history.
pub(crate) struct Claims {
    /// `None`: there is no kubelet, and there are no pods.
    kubelet: Option<Arc<Kubelet>>,
    kept: Vec<Slice>,
    /// Whether the coordinator has not said what it keeps to the agent that runs.
    unsaid: bool,
    ledger: Vec<Claim>,
    named: u32,
}

impl Claims {
    pub(crate) fn new(pods: bool) -> Self {
        Self {
            kubelet: pods.then(Arc::default),
            kept: Vec::new(),
            unsaid: false,
            ledger: Vec::new(),
            named: 0,
        }
    }

    pub(crate) fn has_pods(&self) -> bool {
        self.kubelet.is_some()
    }

    /// The sources of an agent that starts.
    pub(crate) fn sources(&mut self, node: &Node) -> Sources {
        let Some(kubelet) = self.kubelet.clone() else {
            return Sources::default();
        };
        self.unsaid = true;
        // It cannot know of places where nothing stands.
        self.release(By::Place);
        self.note(node);
        // Whatever its predecessor had taken back: it offers what stands.
        kubelet.offer_again("");
        // It would believe a kubelet that has begun when it did.
        kubelet.told().unaware = 0;
        let sources = Sources::new(Some(kubelet.clone())).settling(Duration::ZERO);
        sources.offering(kubelet)
    }

    pub(crate) fn is_silent(&self) -> bool {
        let mute = |kubelet: &Arc<Kubelet>| kubelet.told().mute;
        self.unsaid || self.kubelet.as_ref().is_some_and(mute)
    }

    /// A pod comes that has what nobody has, if there is such.
    pub(crate) fn admit(&mut self, node: &Node, random: &mut Random) {
        let Some(kubelet) = &self.kubelet else {
            return;
        };
        let gpu = node.gpus().remove(0);
        let mut devices: Vec<_> = gpu
            .instances
            .iter()
            .filter_map(|i| Some((i.uuid.clone()?, On::Instance(i.gi, slice(i)))))
            .collect();
        if !gpu.mig {
            devices.push((gpu.uuid, On::Gpu));
        }
        let mut told = kubelet.told();
        if told.unaware > 0 {
            return; // it admits first those that run
        }
        let Told { pods, taken, .. } = &mut *told;
        devices.retain(|(device, _)| !pods.values().any(|held| held == device));
        devices.retain(|(device, _)| !taken.contains(device));
        if let Some((device, on)) = random.pick(&devices) {
            self.named += 1;
            pods.insert(format!("pod-{}", self.named), device.clone());
            self.ledger.push(Claim::new(*on, By::Pod));
        }
    }

    /// All pods end.
    pub(crate) fn end_pods(&mut self) {
        if let Some(kubelet) = &self.kubelet {
            let mut told = kubelet.told();
            told.pods.clear();
            told.unaware = 0; // that they have ended is said
        }
        self.release(By::Pod);
    }

    /// The coordinator keeps some slices that stand and, when nothing is under way, a place that is free; no others any more.
    pub(crate) fn keep(&mut self, node: &Node, random: &mut Random, board: Option<&Board>) {
        if self.kubelet.is_none() {
            return;
        }
        self.keep_nothing();
        let seen = Seen::of(node);
        for (&gi, &slice) in &seen.instances {
            if random.once_in(3) {
                self.kept.push(slice);
                let on = On::Instance(gi, slice);
                self.ledger.push(Claim::new(on, By::Reservation));
            }
        }
        let mut slices = board.map(Board::slices).unwrap_or_default();
        slices.retain(|slice| free(*slice, &seen));
        if let Some(&slice) = random.pick(&slices).filter(|_| seen.half.is_empty()) {
            self.kept.push(slice);
        }
    }

    /// The coordinator keeps nothing any more.
    pub(crate) fn keep_nothing(&mut self) {
        self.kept.clear();
        self.release(By::Reservation);
        self.release(By::Place);
    }

    /// Says to the agent what is kept.
    pub(crate) fn say(&mut self, sources: &Sources, gpu: &str, node: &Node) {
        if self.kubelet.is_none() {
            return;
        }
        let reservation = || Reservation {
            pod: pod("next"),
            generation: Generation(1),
        };
        let kept = self.kept.iter();
        let slices = kept
            .map(|&slice| v1::ReservedSlice::new(gpu.to_owned(), slice, reservation()))
            .collect();
        sources.coordinator_said(&v1::Reservations { slices });
        self.unsaid = false;
        self.release(By::Place);
        let seen = Seen::of(node);
        let places = self.kept.iter().filter(|slice| free(**slice, &seen));
        let places = places.map(|&slice| Claim::new(On::Place(slice), By::Place));
        self.ledger.extend(places);
        self.note(node);
    }

    /// The kubelet falls silent, or speaks again.
    pub(crate) fn mute(&mut self, mute: bool, node: &Node) {
        if let Some(kubelet) = &self.kubelet {
            kubelet.told().mute = mute;
            self.note(node);
        }
    }

    /// Another kubelet begins, which does not know its pods at once. Whether it did.
    pub(crate) fn begin(&self, sources: &Sources, random: &mut Random) -> bool {
        let Some(kubelet) = self.kubelet.as_ref().filter(|it| !it.told().mute) else {
            return false;
        };
        self.poll(sources);
        kubelet.told().unaware = u32::try_from(1 + random.below(6)).unwrap();
        sources.kubelet_began();
        true
    }

    /// The kubelet knows its pods.
    pub(crate) fn settle(&self) {
        if let Some(kubelet) = &self.kubelet {
            kubelet.told().unaware = 0;
        }
    }

    /// The agent hears of the kubelet without being about to do something.
    pub(crate) fn poll(&self, sources: &Sources) {
        if let Some(kubelet) = &self.kubelet {
            sources.kubelet_said(Instant::now(), kubelet.list());
        }
    }

    /// What is kept and has come to stand is claimed; while something is silent, everything that stands.
    pub(crate) fn note(&mut self, node: &Node) {
        if self.kubelet.is_none() {
            return;
        }
        for (gi, slice) in Seen::of(node).instances {
            let on = On::Instance(gi, slice);
            let is_it =
                |claim: &Claim| (claim.on, claim.by, claim.until) == (on, By::Reservation, None);
            if self.kept.contains(&slice) && !self.ledger.iter().any(is_it) {
                self.ledger.push(Claim::new(on, By::Reservation));
            }
        }
        self.release(By::Silence);
        if self.is_silent() {
            self.ledger.push(Claim::new(On::Gpu, By::Silence));
            for (gi, slice) in Seen::of(node).instances {
                let on = On::Instance(gi, slice);
                self.ledger.push(Claim::new(on, By::Silence));
            }
        }
    }

    fn release(&mut self, by: By) {
        let now = now();
        for claim in self.ledger.iter_mut().filter(|claim| claim.by == by) {
            claim.until.get_or_insert(now);
        }
    }

    /// Whether a claim stands against making `wanted` of what is there.
    pub(crate) fn block(&self, seen: &Seen, wanted: &Layout) -> bool {
        let comes = |slice: &&Slice| !seen.usable.0.contains(slice);
        let mut alive = self.ledger.iter().filter(|claim| claim.until.is_none());
        alive.any(|claim| match claim.on {
            On::Gpu => !seen.mig,
            On::Instance(_, slice) => !wanted.0.contains(&slice),
            On::Place(kept) => wanted
                .0
                .iter()
                .filter(comes)
                .any(|come| *come != kept && overlap(*come, kept)),
        })
    }

    /// What was done, by the log, to something that was offered to pods.
    pub(crate) fn offered(&self, log: &[Event]) -> Option<String> {
        let kubelet = self.kubelet.as_ref()?.told();
        let goes = |event: &&Event| {
            let destroyed = event.action == Action::DestroyComputeInstance;
            let switched = event.action == Action::SetMigMode && event.activation == Some(0);
            event.result == 0 && (destroyed || switched)
        };
        let withdrawn = |event: &&Event| {
            let at = event.time_ns;
            let mut all = kubelet.withdrawals.iter();
            all.any(|(from, until)| *from <= at && until.is_none_or(|until| at <= until))
        };
        // What was made a moment ago and goes again was nobody's yet.
        let was_offered = |event: &&Event| {
            let made = |other: &&Event| {
                other.action == Action::CreateComputeInstance
                    && other.gi == event.gi
                    && other.time_ns <= event.time_ns
            };
            let made = log.iter().rfind(made).map_or(0, |made| made.time_ns);
            let mut offers = kubelet.offers.iter();
            offers.any(|at| (made..=event.time_ns).contains(at))
        };
        let mut going = log.iter().filter(goes).filter(was_offered);
        let event = going.find(|event| !withdrawn(event))?;
        Some(format!("{event:?} was not taken back from pods before"))
    }

    /// What was done, by the log, within the life of a claim on it.
    pub(crate) fn violated(&self, log: &[Event]) -> Option<String> {
        log.iter()
            .filter(|event| event.result == 0)
            .find_map(|event| {
                let alive = |claim: &&Claim| {
                    claim.from < event.time_ns
                        && claim.until.is_none_or(|until| event.time_ns < until)
                };
                let hit = |claim: &&Claim| match (event.action, claim.on) {
                    (
                        Action::DestroyComputeInstance | Action::DestroyGpuInstance,
                        On::Instance(gi, _),
                    ) => event.gi == Some(gi),
                    (Action::SetMigMode, On::Instance(..) | On::Gpu) => event.activation == Some(0),
                    (Action::CreateGpuInstance, On::Place(kept)) => {
                        let created = event.placement.zip(event.profile);
                        created.is_some_and(|(place, profile)| {
                            let place = mica_model::Placement {
                                start: place.start,
                                size: place.size,
                            };
                            let profile = mica_model::ProfileId(profile);
                            let created = Slice {
                                placement: place,
                                profile,
                            };
                            created != kept && overlap(created, kept)
                        })
                    }
                    _ => false,
                };
                let mut claims = self.ledger.iter().filter(alive).filter(hit);
                claims
                    .next()
                    .map(|claim| format!("{claim:?} was violated by {event:?}"))
            })
    }
}

impl Claim {
    fn new(on: On, by: By) -> Self {
        Self {
            on,
            by,
            from: now(),
            until: None,
        }
    }
}

fn overlap(one: Slice, other: Slice) -> bool {
    !one.placement.mask().is_disjoint(other.placement.mask())
}

fn free(slice: Slice, seen: &Seen) -> bool {
    !seen.usable.0.iter().any(|&stands| overlap(stands, slice))
}

fn now() -> u64 {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap();
    u64::try_from(now.as_nanos()).unwrap()
}
