//! The socket of one resource name: what the kubelet asks there, and the registration.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use backon::{BackoffBuilder as _, ExponentialBuilder};
use mica_proto::deviceplugin::{
    self, AllocateRequest, AllocateResponse, ContainerPreferredAllocationResponse,
    DevicePluginOptions, Empty, ListAndWatchResponse, NumaNode, PreStartContainerRequest,
    PreStartContainerResponse, PreferredAllocationRequest, PreferredAllocationResponse,
    RegisterRequest, TopologyInfo,
    device_plugin_server::{DevicePlugin, DevicePluginServer},
    registration_client::RegistrationClient,
};
use tokio::{
    net::UnixListener,
    sync::watch,
    time::{sleep, timeout},
};
use tokio_stream::{
    Stream, StreamExt as _,
    wrappers::{UnixListenerStream, WatchStream},
};
use tonic::{
    Request, Response, Status,
    transport::{Endpoint, Server},
};
use tracing::{info, warn};

use super::{
    KUBELET, Ledger,
    answer::Answers,
    offer::{Device, State},
    prefer,
};
use crate::{inventory::Inventory, usage::Sources};

/// Version of the API.
const VERSION: &str = "v1beta1";

/// How long a registration, and the kubelet's call back, may take.
const ANSWER: Duration = Duration::from_secs(5);

/// Pauses before a registration is tried again grow from the first to the second.
const AGAIN: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(5));

/// What all sockets share.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) folder: PathBuf,
    pub(super) answers: Answers,
    pub(super) ledger: Arc<Ledger>,
    pub(super) sources: Sources,
    pub(super) inventory: watch::Receiver<Arc<Inventory>>,
    /// Counts kubelets that have begun.
    pub(super) starts: watch::Receiver<u64>,
}

/// The plugin of one name.
#[derive(Clone, Debug)]
pub(super) struct Resource {
    pub(super) name: String,
    pub(super) list: watch::Receiver<Arc<Vec<Device>>>,
    pub(super) common: Arc<Common>,
}

/// A socket's file, removed with it.
struct Socket(PathBuf);

impl Socket {
    /// There is one agent on a node: what lies there is of a predecessor.
    fn bind(path: PathBuf) -> io::Result<(UnixListener, Self)> {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        Ok((UnixListener::bind(&path)?, Self(path)))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // A kubelet that begins has removed it already.
        drop(fs::remove_file(&self.0));
    }
}

impl Resource {
    /// Serves the name to one kubelet after the other. Never returns.
    pub(super) async fn serve(self) {
        let mut starts = self.common.starts.clone();
        loop {
            starts.borrow_and_update();
            self.common.ledger.forget(&self.name);
            let problem = match Socket::bind(self.common.folder.join(self.socket())) {
                Ok((listener, _socket)) => {
                    let served = Server::builder()
                        .add_service(DevicePluginServer::new(self.clone()))
                        .serve_with_incoming(UnixListenerStream::new(listener));
                    tokio::select! {
                        served = served => match served {
                            Ok(()) => "the server ended".to_owned(),
                            Err(error) => error.to_string(),
                        },
                        never = self.register() => match never {},
                        _ = starts.changed() => continue,
                    }
                }
                Err(error) => error.to_string(),
            };
            let name = &*self.name;
            warn!(name, problem, "cannot serve devices; tried again");
            sleep(AGAIN.1).await;
        }
    }

    /// Name of the socket's file.
    fn socket(&self) -> String {
        format!("mica-{}.sock", self.name.replace('/', "_"))
    }

    /// Has the kubelet watch the list, again whenever it has stopped to. Never while it watches: it would take that for a second plugin, and end
    /// both with the first.
    async fn register(&self) -> std::convert::Infallible {
        let ledger = &self.common.ledger;
        let mut told = String::new();
        loop {
            let pauses = ExponentialBuilder::new()
                .with_min_delay(AGAIN.0)
                .with_max_delay(AGAIN.1)
                .without_max_times()
                .build();
            for pause in pauses {
                let problem = match timeout(ANSWER, self.try_to_register()).await {
                    Ok(Ok(())) => {
                        let watched = ledger.watched(&self.name, true);
                        match timeout(ANSWER, watched).await {
                            Ok(()) => break,
                            Err(_) => "the kubelet does not call back".to_owned(),
                        }
                    }
                    Ok(Err(problem)) => problem,
                    Err(_) => "the kubelet does not answer".to_owned(),
                };
                if problem != told {
                    let name = &*self.name;
                    warn!(
                        name,
                        problem, "cannot register with the kubelet; tried again"
                    );
                    told = problem;
                }
                sleep(pause).await;
            }
            info!(name = self.name, "registered with the kubelet");
            told.clear();
            ledger.watched(&self.name, false).await;
        }
    }

    async fn try_to_register(&self) -> Result<(), String> {
        let socket = self.common.folder.join(KUBELET);
        let endpoint = Endpoint::from_shared(format!("unix:{}", socket.display()));
        let channel = endpoint.map_err(|error| causes(&error))?.connect().await;
        let mut kubelet = RegistrationClient::new(channel.map_err(|error| causes(&error))?);
        let request = RegisterRequest {
            version: VERSION.to_owned(),
            endpoint: self.socket(),
            resource_name: self.name.clone(),
            options: Some(options()),
        };
        let answer = kubelet.register(request).await;
        answer.map_err(|status| format!("{} ({:?})", status.message(), status.code()))?;
        Ok(())
    }

    /// The devices with these ids, in this order.
    fn find<'a>(&self, devices: &'a [Device], ids: &[String]) -> Result<Vec<&'a Device>, Status> {
        let unknown = |id: &String| Status::not_found(format!("{} has no device {id}", self.name));
        let known = |id: &String| devices.iter().find(|device| device.id == *id);
        let find = |id: &String| known(id).ok_or_else(|| unknown(id));
        ids.iter().map(find).collect()
    }
}

/// The innermost cause is the one that says something.
fn causes(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

fn options() -> DevicePluginOptions {
    DevicePluginOptions {
        pre_start_required: false,
        get_preferred_allocation_available: true,
    }
}

/// Says when the kubelet stops to watch.
struct Watching {
    ledger: Arc<Ledger>,
    sources: Sources,
    name: String,
    stream: u64,
}

impl Watching {
    fn list(&self, devices: &[Device]) -> ListAndWatchResponse {
        let healthy = devices
            .iter()
            .filter(|device| device.state == State::Healthy);
        let healthy: BTreeSet<_> = healthy.map(|device| device.id.clone()).collect();
        self.ledger.sent(&self.name, self.stream, healthy);
        ListAndWatchResponse {
            devices: devices.iter().map(wire).collect(),
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        // Before its socket comes anew: by then it may already have answered that it knows of no pods.
        self.sources.kubelet_began();
        self.ledger.ended(&self.name, self.stream);
    }
}

/// What was taken back stays in the list, unhealthy, until it is gone: no pod is given it, and a kubelet that had decided before it heard finds
/// it still. One that does not (1.36.3: `allocateContainerResources` in `devicemanager/manager.go`) dies of it.
fn wire(device: &Device) -> deviceplugin::Device {
    let health = match device.state {
        State::Healthy => "Healthy",
        State::Unhealthy => "Unhealthy",
    };
    deviceplugin::Device {
        id: device.id.clone(),
        health: health.to_owned(),
        topology: device.numa.map(|id| TopologyInfo {
            nodes: vec![NumaNode { id }],
        }),
    }
}

#[tonic::async_trait]
impl DevicePlugin for Resource {
    async fn get_device_plugin_options(
        &self,
        _request: Request<Empty>,
    ) -> Result<Response<DevicePluginOptions>, Status> {
        Ok(Response::new(options()))
    }

    type ListAndWatchStream =
        Pin<Box<dyn Stream<Item = Result<ListAndWatchResponse, Status>> + Send>>;

    async fn list_and_watch(
        &self,
        _request: Request<Empty>,
    ) -> Result<Response<Self::ListAndWatchStream>, Status> {
        let ledger = Arc::clone(&self.common.ledger);
        let watching = Watching {
            stream: ledger.opened(&self.name),
            ledger,
            sources: self.common.sources.clone(),
            name: self.name.clone(),
        };
        let lists = WatchStream::new(self.list.clone());
        let lists = lists.map(move |devices| Ok(watching.list(&devices)));
        Ok(Response::new(Box::pin(lists)))
    }

    async fn get_preferred_allocation(
        &self,
        request: Request<PreferredAllocationRequest>,
    ) -> Result<Response<PreferredAllocationResponse>, Status> {
        let in_use = self.common.sources.known();
        let given = self.common.ledger.granted();
        let inventory = self.common.inventory.borrow().clone();
        let requests = request.into_inner().container_requests.into_iter();
        let prefer = |request: deviceplugin::ContainerPreferredAllocationRequest| {
            let device_ids = prefer::prefer(
                &inventory,
                &in_use,
                &given,
                &request.available_device_ids,
                &request.must_include_device_ids,
                usize::try_from(request.allocation_size).unwrap_or_default(),
            );
            ContainerPreferredAllocationResponse { device_ids }
        };
        Ok(Response::new(PreferredAllocationResponse {
            container_responses: requests.map(prefer).collect(),
        }))
    }

    async fn allocate(
        &self,
        request: Request<AllocateRequest>,
    ) -> Result<Response<AllocateResponse>, Status> {
        let offered = self.list.borrow().clone();
        let mut container_responses = Vec::new();
        for container in request.into_inner().container_requests {
            let ids = container.devices_ids;
            let granted = self.common.ledger.grant(&ids);
            granted.map_err(Status::failed_precondition)?;
            let devices = self.find(&offered, &ids)?;
            let answer = self.common.answers.to(&devices);
            let answer = answer.map_err(|missing| {
                warn!(?ids, missing, "a container does not get its devices");
                Status::internal(missing)
            })?;
            info!(name = self.name, ?ids, "given to a container");
            container_responses.push(answer);
        }
        Ok(Response::new(AllocateResponse {
            container_responses,
        }))
    }

    async fn pre_start_container(
        &self,
        _request: Request<PreStartContainerRequest>,
    ) -> Result<Response<PreStartContainerResponse>, Status> {
        Ok(Response::new(PreStartContainerResponse {}))
    }
}

/// Removes what agents left that were killed.
pub(super) fn sweep(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let ours = name.to_str().and_then(|name| name.strip_prefix("mica-"));
        let ours = ours.is_some_and(|name| Path::new(name).extension() == Some("sock".as_ref()));
        if ours && let Err(error) = fs::remove_file(entry.path()) {
            warn!(socket = %entry.path().display(), %error, "a socket of a predecessor is left");
        }
    }
}
