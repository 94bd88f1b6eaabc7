//! Who was offered what: what was sent to the kubelet, what it has understood, and what was taken back.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use mica_proto::v1;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use crate::{
    kubelet::{Allocatable, Client},
    usage::Offers,
};

mod known;
mod taken;

pub(super) use known::Known;
pub(super) use taken::Taken;

/// How long it may take until no pod can get what was taken back. A kubelet needs milliseconds.
const DEADLINE: Duration = Duration::from_secs(5);

/// How long what was sent is waited for to arrive before it is taken back: lists that overtake each other could not be told apart.
const ARRIVAL: Duration = Duration::from_secs(2);

/// Shared by the device plugin and by the threads that work on GPUs.
pub struct Ledger {
    taken: watch::Sender<Taken>,
    known: watch::Sender<Known>,
    report: watch::Sender<Option<v1::Kubelet>>,
    client: Arc<Client>,
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger").finish_non_exhaustive()
    }
}

impl Ledger {
    pub(super) fn new(client: Arc<Client>) -> Self {
        let known = Known::new(Instant::now());
        let report = watch::Sender::new(Some(known.report()));
        Self {
            taken: watch::Sender::default(),
            known: watch::Sender::new(known),
            report,
            client,
        }
    }

    /// What the kubelet knows, for the coordinator.
    pub(super) fn report(&self) -> watch::Receiver<Option<v1::Kubelet>> {
        self.report.subscribe()
    }

    pub(super) fn taken(&self) -> watch::Receiver<Taken> {
        self.taken.subscribe()
    }

    /// The kubelet has begun to watch the list of a name. The number stands for this stream.
    pub(super) fn opened(&self, name: &str) -> u64 {
        let mut id = 0;
        self.known
            .send_modify(|known| id = known.opened(name, Instant::now()));
        id
    }

    /// A list goes out on a stream, with these healthy devices.
    pub(super) fn sent(&self, name: &str, stream: u64, healthy: BTreeSet<String>) {
        self.known
            .send_modify(|known| known.sent(name, stream, healthy, Instant::now()));
    }

    /// A stream has ended.
    pub(super) fn ended(&self, name: &str, stream: u64) {
        self.known
            .send_modify(|known| known.ended(name, stream, Instant::now()));
    }

    /// Whatever streams there were are of a kubelet that is gone.
    pub(super) fn forget(&self, name: &str) {
        self.known
            .send_modify(|known| known.forget(name, Instant::now()));
    }

    /// Returns when the kubelet watches the list of a name, or when it does not any more.
    pub(super) async fn watched(&self, name: &str, wanted: bool) {
        let mut known = self.known.subscribe();
        // The sender lives as long as this.
        drop(
            known
                .wait_for(|known| known.is_watched(name) == wanted)
                .await,
        );
    }

    /// A container is to get these devices. `Err` when one of them is being destroyed.
    pub(super) fn grant(&self, devices: &[String]) -> Result<(), String> {
        let mut granted = Ok(());
        self.taken.send_if_modified(|taken| {
            granted = taken.grant(devices, Instant::now());
            false
        });
        granted
    }

    /// What was given to containers lately, so that the kubelet may not have been asked since who holds it.
    pub(super) fn granted(&self) -> BTreeSet<String> {
        self.taken.borrow().granted()
    }

    /// Asks the kubelet what it knows, on and on: often until it knows what was sent, seldom then. Never returns.
    pub(super) async fn ask_on(&self) {
        let mut known = self.known.subscribe();
        loop {
            let asked = Instant::now();
            self.heard(asked, self.client.allocatable().await);
            loop {
                let pace = known.borrow_and_update().pace(Instant::now());
                tokio::select! {
                    () = tokio::time::sleep_until((asked + pace).into()) => break,
                    changed = known.changed() => if changed.is_err() {
                        return;
                    }
                }
            }
        }
    }

    fn heard(&self, asked: Instant, answer: Result<Allocatable, String>) {
        self.known.send_modify(|known| known.heard(asked, answer));
        let report = Some(self.known.borrow().report());
        self.report.send_if_modified(|current| {
            let news = *current != report;
            *current = report;
            news
        });
    }

    async fn withdraw(&self, gpu: &str, devices: &BTreeSet<String>) {
        let mut known = self.known.subscribe();
        let arrived = known.wait_for(|known| !known.is_on_its_way(devices));
        // One that does not arrive does not keep the rest from being tried.
        drop(timeout(ARRIVAL, arrived).await);
        self.taken.send_modify(|taken| taken.add(gpu, devices));
        let since = Instant::now();
        self.known.send_modify(|known| known.ask(since));
        let forgotten = known.wait_for(|known| known.has_forgotten(devices, since));
        drop(forgotten.await);
        loop {
            let mut left = None;
            self.taken.send_if_modified(|taken| {
                left = taken.seal(gpu, devices, Instant::now());
                false
            });
            match left {
                Some(left) => sleep(left).await,
                None => return,
            }
        }
    }
}

impl Offers for Ledger {
    fn take_back(&self, gpu: &str, devices: &BTreeSet<String>) -> Result<(), String> {
        // The timer is made on the client's thread, as it has to be.
        let withdrawn = async { timeout(DEADLINE, self.withdraw(gpu, devices)).await.is_ok() };
        match self.client.wait(withdrawn) {
            Some(true) => Ok(()),
            Some(false) => Err(self.known.borrow().why_not(devices, DEADLINE)),
            None => Err("the agent ends".to_owned()),
        }
    }

    fn offer_again(&self, gpu: &str) {
        self.taken.send_if_modified(|taken| taken.remove(gpu));
    }
}
