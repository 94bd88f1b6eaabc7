//! Speaks to the kubelet over its Unix socket.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use mica_proto::podresources::{
    AllocatableResourcesRequest, ListPodResourcesRequest,
    pod_resources_lister_client::PodResourcesListerClient,
};
use tokio::{
    runtime::Runtime,
    sync::watch,
    time::{sleep_until, timeout},
};
use tonic::{
    Response, Status,
    transport::{Channel, Endpoint},
};

use super::{Allocatable, Beginning, Holdings};
use crate::{
    inventory::Inventory,
    usage::{Lister, Sources},
};

/// How long an answer may take. A kubelet answers from memory, within milliseconds.
const DEADLINE: Duration = Duration::from_secs(2);

/// Pauses between two questions: while something is under way, and else.
const PACE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(2));

/// The largest answer that is read: a node with thousands of devices stays far below.
const LARGEST: usize = 64 << 20;

/// The kubelet of the node.
///
/// Has a thread of its own, so that an answer can be waited for from the threads that work on GPUs. Must not be asked from async code.
pub struct Client {
    pod_resources: PodResources,
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
}

/// One side of the API.
#[derive(Clone)]
struct PodResources {
    kubelet: PodResourcesListerClient<Channel>,
    socket: PathBuf,
}

impl PodResources {
    async fn list(&self) -> Result<Holdings, String> {
        let mut kubelet = self.kubelet.clone();
        let answer = answer(kubelet.list(ListPodResourcesRequest {})).await?;
        // Looked at after the answer: the one that answered has made its socket by then.
        Ok(Holdings::from(answer).by(Beginning::of(&self.socket)))
    }
}

impl Client {
    /// For the kubelet behind a socket, which need not be there yet. Connects when it is asked, and again when the connection is lost.
    pub fn new(socket: &Path) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("kubelet")
            .enable_all()
            .build()
            .context("cannot start the thread that speaks to the kubelet")?;
        let name = socket
            .to_str()
            .with_context(|| format!("--pod-resources-socket {} is not UTF-8", socket.display()))?;
        // tonic names the authority "tonic", not the path, which the kubelet's side would refuse.
        let endpoint = Endpoint::from_shared(format!("unix:{name}")).with_context(|| {
            format!("--pod-resources-socket {name} is not the path of a socket")
        })?;
        let guard = runtime.enter();
        let channel = endpoint.connect_lazy();
        drop(guard);
        Ok(Self {
            pod_resources: PodResources {
                kubelet: PodResourcesListerClient::new(channel).max_decoding_message_size(LARGEST),
                socket: socket.to_owned(),
            },
            runtime: Some(runtime),
        })
    }

    /// Which devices it gives to containers, by resource name. `Err` says why that is not known.
    pub async fn allocatable(&self) -> Result<Allocatable, String> {
        let mut kubelet = self.pod_resources.kubelet.clone();
        let question = AllocatableResourcesRequest {};
        let answer = answer(kubelet.get_allocatable_resources(question)).await?;
        let mut allocatable = Allocatable::default();
        for devices in answer.devices {
            let of_name = allocatable.entry(devices.resource_name).or_default();
            of_name.extend(devices.device_ids);
        }
        Ok(allocatable)
    }

    /// Waits for something on the client's own thread. `None` when that has ended. Must not be called from async code.
    pub fn wait<T>(&self, something: impl Future<Output = T>) -> Option<T> {
        let runtime = self.runtime.as_ref()?;
        Some(runtime.block_on(something))
    }

    /// Asks on and on, as long as the client lives: often while a layout is under way or pods are on their way, seldom else.
    pub fn ask_on(&self, sources: &Sources, mut inventory: watch::Receiver<Arc<Inventory>>) {
        let Some(runtime) = &self.runtime else {
            return;
        };
        let (pod_resources, sources) = (self.pod_resources.clone(), sources.clone());
        runtime.spawn(async move {
            loop {
                let asked = Instant::now();
                sources.kubelet_said(asked, pod_resources.list().await);
                loop {
                    let busy = inventory.borrow_and_update().is_working() || sources.awaits_pods();
                    let pace = if busy { PACE.0 } else { PACE.1 };
                    tokio::select! {
                        () = sleep_until((asked + pace).into()) => break,
                        () = sources.news() => {}
                        changed = inventory.changed() => if changed.is_err() {
                            return;
                        }
                    }
                }
            }
        });
    }
}

/// The answer to a call, or in words why there is none.
async fn answer<T>(call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, String> {
    match timeout(DEADLINE, call).await {
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(status)) => Err(words(&status)),
        Err(_) => Err(format!("no answer within {} s", DEADLINE.as_secs())),
    }
}

/// The innermost cause is the one that says something: "No such file or directory", not "transport error".
fn words(status: &Status) -> String {
    let mut innermost: &dyn std::error::Error = status;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    if std::ptr::addr_eq(innermost, status) {
        format!("{} ({:?})", status.message(), status.code())
    } else {
        innermost.to_string()
    }
}

impl Lister for Client {
    fn list(&self) -> Result<Holdings, String> {
        self.wait(self.pod_resources.list())
            .unwrap_or_else(|| Err("the agent ends".to_owned()))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // Waiting for it is not allowed where async code drops the client, and there is nothing to wait for.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}
