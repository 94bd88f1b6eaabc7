//! Who uses the instances of the node, from every source that exists: NVML, the kubelet, the coordinator.
//!
//! NVML's word comes with each reading of a GPU ([`mica_model::Instance::in_use`]). The others are kept here, and put together into an
//! [`InUse`]: the pure merge by which [`crate::steps`] plans and which the last look before a destroy goes by. A source that exists and
//! does not tell counts as a user of everything on the node.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use mica_model::{Silence, Source, Use};
use mica_proto::v1;
use tokio::sync::Notify;
use tracing::{info, warn};

use crate::kubelet::Holdings;

mod anew;
mod in_use;
mod offers;
mod reservations;

use anew::Anew;
pub use in_use::InUse;
pub use offers::Offers;
pub use reservations::Reservations;

/// An answer of the kubelet that is older says nothing any more: four times as old as one gets while all is well.
const STALE: Duration = Duration::from_secs(10);

/// How long what was held before stays held though a new kubelet does not name it, at least: it admits again what runs within a second
/// or two of reaching the API server.
const SETTLES: Duration = Duration::from_secs(15);

/// Something that tells which devices containers hold: the kubelet, or its stand-in.
pub trait Lister: Send + Sync {
    /// Asks now, and waits for the answer, at most for a few seconds. `Err` says why there is none.
    fn list(&self) -> Result<Holdings, String>;
}

/// The sources beside NVML. Clones are handles on the same.
#[derive(Clone)]
pub struct Sources {
    lister: Option<Arc<dyn Lister>>,
    offers: Option<Arc<dyn Offers>>,
    heard: Arc<Mutex<Heard>>,
    /// Tells when the coordinator has said something.
    news: Arc<Notify>,
}

/// What was last heard.
struct Heard {
    kubelet: Word<Holdings>,
    /// What was held when the kubelet began anew.
    anew: Anew,
    coordinator: Word<Reservations>,
}

/// The last word of a source.
struct Word<T> {
    /// What it last told; empty before.
    told: Arc<T>,
    /// When it last told, or when its first word began to be waited for.
    at: Instant,
    /// Why that is not its word of now.
    problem: Option<String>,
}

impl<T: Default> Word<T> {
    fn new(problem: Option<&str>) -> Self {
        Self {
            told: Arc::default(),
            at: Instant::now(),
            problem: problem.map(str::to_owned),
        }
    }

    /// Notes an answer to a question of `asked`. Answers may overtake each other.
    fn hear(&mut self, source: Source, asked: Instant, answer: Result<T, String>) {
        if asked < self.at {
            return;
        }
        match answer {
            Ok(told) => {
                if self.problem.take().is_some() {
                    info!(%source, "the source of use tells");
                }
                self.told = Arc::new(told);
                self.at = asked;
            }
            Err(problem) => {
                if self.problem.as_ref() != Some(&problem) {
                    warn!(%source, problem, "the source of use does not tell: nothing that it may know of is destroyed");
                }
                self.problem = Some(problem);
            }
        }
    }

    fn silence(&self, source: Source, now: Instant) -> Option<Silence> {
        let why = self.problem.clone()?;
        let age = Some(now.saturating_duration_since(self.at));
        Some(Silence { source, age, why })
    }
}

impl Sources {
    /// With a kubelet that tells of containers, or without one. Reservations are for pods: without a kubelet there are none to wait for.
    #[must_use]
    pub fn new(lister: Option<Arc<dyn Lister>>) -> Self {
        let unsaid = "it has not said yet which slices it keeps for pods";
        let unsaid = lister.is_some().then_some(unsaid);
        Self::with(lister, unsaid)
    }

    /// With a kubelet or without, and with a coordinator that is not listened to: for a person at the node.
    #[must_use]
    pub fn without_coordinator(lister: Option<Arc<dyn Lister>>) -> Self {
        Self::with(lister, None)
    }

    fn with(lister: Option<Arc<dyn Lister>>, unsaid: Option<&str>) -> Self {
        let unasked = lister.is_some().then_some("it was not asked yet");
        let heard = Heard {
            kubelet: Word::new(unasked),
            anew: Anew::new(SETTLES),
            coordinator: Word::new(unsaid),
        };
        Self {
            lister,
            offers: None,
            heard: Arc::new(Mutex::new(heard)),
            news: Arc::default(),
        }
    }

    /// With devices that are offered to pods, so that they have to be taken back before they go.
    #[must_use]
    pub fn offering(self, offers: Arc<dyn Offers>) -> Self {
        Self {
            offers: Some(offers),
            ..self
        }
    }

    /// With kubelets that know their pods so soon after they began, once they name any, in the place of 15 s.
    #[must_use]
    pub fn settling(self, settles: Duration) -> Self {
        self.heard().anew = Anew::new(settles);
        self
    }

    /// Whether devices are offered to pods.
    #[must_use]
    pub fn offers(&self) -> bool {
        self.offers.is_some()
    }

    /// Takes devices of a GPU back, and waits until no pod can get them any more. When that cannot be told they may be in use: `Err`
    /// says so.
    pub fn take_back(&self, gpu: &str, devices: &BTreeSet<String>) -> Result<(), Use> {
        match &self.offers {
            Some(offers) if !devices.is_empty() => offers
                .take_back(gpu, devices)
                .map_err(|why| Use::untold(Source::Kubelet, why)),
            _ => Ok(()),
        }
    }

    /// Offers again what was taken back of a GPU, as far as it still stands. For the one who has published what stands.
    pub fn offer_again(&self, gpu: &str) {
        if let Some(offers) = &self.offers {
            offers.offer_again(gpu);
        }
    }

    /// Who uses what, by what was last heard.
    #[must_use]
    pub fn known(&self) -> InUse {
        self.known_at(Instant::now())
    }

    fn known_at(&self, now: Instant) -> InUse {
        let Heard {
            kubelet,
            coordinator,
            anew: _,
        } = &*self.heard();
        let stale = || Silence {
            source: Source::Kubelet,
            age: Some(now.saturating_duration_since(kubelet.at)),
            why: "the answer to the next question is still to come".to_owned(),
        };
        let is_stale = self.lister.is_some() && now > kubelet.at + STALE;
        let kubelet_silence = kubelet.silence(Source::Kubelet, now);
        let silences = kubelet_silence
            .or_else(|| is_stale.then(stale))
            .into_iter()
            .chain(coordinator.silence(Source::Coordinator, now));
        InUse::new(
            Arc::clone(&kubelet.told),
            Arc::clone(&coordinator.told),
            silences.collect(),
        )
    }

    /// Who uses what, by an answer of the kubelet to a question that is put now. Waits for it.
    #[must_use]
    pub fn fresh(&self) -> InUse {
        if let Some(lister) = &self.lister {
            let asked = Instant::now();
            self.kubelet_said(asked, lister.list());
        }
        self.known()
    }

    /// Notes what the kubelet answered to a question of `asked`.
    pub fn kubelet_said(&self, asked: Instant, answer: Result<Holdings, String>) {
        let Heard { kubelet, anew, .. } = &mut *self.heard();
        let answer = answer.map(|told| {
            if told.is_by_another(&kubelet.told) {
                anew.begins(Instant::now(), &kubelet.told);
            }
            anew.complete(asked, told)
        });
        kubelet.hear(Source::Kubelet, asked, answer);
    }

    /// Notes that the kubelet has ended or begun anew: it does not know at once who holds what. Its answers show that too, but later.
    pub fn kubelet_began(&self) {
        let Heard { kubelet, anew, .. } = &mut *self.heard();
        anew.begins(Instant::now(), &kubelet.told);
    }

    /// Notes which slices the coordinator keeps. What makes no sense leaves those of before in force, and counts as silence.
    pub fn coordinator_said(&self, said: &v1::Reservations) {
        let answer = Reservations::try_from(said);
        let answer = answer.map_err(|invalid| {
            format!("what it said of slices it keeps makes no sense: {invalid}")
        });
        let now = Instant::now();
        self.heard()
            .coordinator
            .hear(Source::Coordinator, now, answer);
        self.news.notify_one();
    }

    /// Returns when the coordinator has said something since the last time. For one who waits.
    pub async fn news(&self) {
        self.news.notified().await;
    }

    /// Whether pods are on their way, so that news of the kubelet is to be expected.
    #[must_use]
    pub fn awaits_pods(&self) -> bool {
        !self.heard().coordinator.told.is_empty()
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Sources {
    /// Nothing but NVML.
    fn default() -> Self {
        Self::new(None)
    }
}

impl std::fmt::Debug for Sources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sources")
            .field("kubelet", &self.lister.is_some())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
