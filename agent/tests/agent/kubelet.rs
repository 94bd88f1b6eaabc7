//! A kubelet that a test plays by hand: the PodResources API and device plugins, on Unix sockets.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use mica_proto::deviceplugin::{
    AllocateRequest, ContainerAllocateRequest, ContainerAllocateResponse,
    ContainerPreferredAllocationRequest, Device, Empty, PreferredAllocationRequest,
    RegisterRequest,
    device_plugin_client::DevicePluginClient,
    registration_server::{Registration, RegistrationServer},
};
use mica_proto::podresources::{
    AllocatableResourcesRequest, AllocatableResourcesResponse, ContainerDevices,
    ContainerResources, ListPodResourcesRequest, ListPodResourcesResponse, PodResources,
    pod_resources_lister_server::{PodResourcesLister, PodResourcesListerServer},
};
use tokio::{
    net::UnixListener,
    runtime::{self, Runtime},
    task::spawn_blocking,
};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{
    Request, Response, Status,
    transport::{Channel, Endpoint, Server},
};

use crate::node::wait_until;

/// How it answers.
#[derive(Clone, Debug, Default)]
enum Answer {
    #[default]
    Truth,
    Error(Status),
    Never,
}

#[derive(Debug, Default)]
struct State {
    pods: Vec<PodResources>,
    answer: Answer,
    /// To the question which devices it gives to pods.
    allocatable: Answer,
    plugins: BTreeMap<String, Plugin>,
    /// Lists are received and not yet minded.
    slow: bool,
}

/// A registered resource name.
#[derive(Clone, Debug, Default)]
struct Plugin {
    socket: PathBuf,
    registrations: u32,
    /// As it is minded.
    devices: Vec<Device>,
    /// Received meanwhile.
    waiting: Option<Vec<Device>>,
}

impl State {
    fn received(&mut self, name: &str, devices: Vec<Device>) {
        let plugin = self.plugins.get_mut(name).unwrap();
        if self.slow {
            plugin.waiting = Some(devices);
        } else {
            plugin.devices = devices;
        }
    }

    fn healthy(&self, name: &str) -> BTreeSet<String> {
        let devices = self.plugins.get(name).map(|plugin| &plugin.devices);
        let devices = devices.into_iter().flatten();
        let healthy = devices.filter(|device| device.health == "Healthy");
        healthy.map(|device| device.id.clone()).collect()
    }

    fn held(&self) -> BTreeSet<String> {
        let containers = self.pods.iter().flat_map(|pod| &pod.containers);
        let devices = containers.flat_map(|container| &container.devices);
        devices
            .flat_map(|devices| devices.device_ids.clone())
            .collect()
    }
}

/// Listens as long as it lives.
pub(crate) struct Kubelet {
    pub(crate) socket: PathBuf,
    /// The folder of device plugins.
    pub(crate) plugins: PathBuf,
    state: Arc<Mutex<State>>,
    /// Of its own, so that its connections end with it.
    server: Option<Runtime>,
}

struct Service(Arc<Mutex<State>>);

#[tonic::async_trait]
impl PodResourcesLister for Service {
    async fn list(
        &self,
        _request: Request<ListPodResourcesRequest>,
    ) -> Result<Response<ListPodResourcesResponse>, Status> {
        let (pod_resources, answer) = {
            let state = self.0.lock().unwrap();
            (state.pods.clone(), state.answer.clone())
        };
        match answer {
            Answer::Truth => Ok(Response::new(ListPodResourcesResponse { pod_resources })),
            Answer::Error(status) => Err(status),
            Answer::Never => std::future::pending().await,
        }
    }

    async fn get_allocatable_resources(
        &self,
        _request: Request<AllocatableResourcesRequest>,
    ) -> Result<Response<AllocatableResourcesResponse>, Status> {
        let (devices, answer) = {
            let state = self.0.lock().unwrap();
            let of_name = |name: &String| ContainerDevices {
                resource_name: name.clone(),
                device_ids: state.healthy(name).into_iter().collect(),
            };
            let devices = state.plugins.keys().map(of_name).collect();
            (devices, state.allocatable.clone())
        };
        match answer {
            Answer::Truth => Ok(Response::new(AllocatableResourcesResponse { devices })),
            Answer::Error(status) => Err(status),
            Answer::Never => std::future::pending().await,
        }
    }
}

/// Where plugins register.
struct Plugins {
    folder: PathBuf,
    state: Arc<Mutex<State>>,
    runtime: runtime::Handle,
}

#[tonic::async_trait]
impl Registration for Plugins {
    async fn register(&self, request: Request<RegisterRequest>) -> Result<Response<Empty>, Status> {
        let request = request.into_inner();
        assert_eq!(request.version, "v1beta1");
        assert!(request.options.unwrap().get_preferred_allocation_available);
        let name = request.resource_name;
        let socket = self.folder.join(request.endpoint);
        {
            let mut state = self.state.lock().unwrap();
            let plugin = state.plugins.entry(name.clone()).or_default();
            plugin.socket.clone_from(&socket);
            plugin.registrations += 1;
        }
        let state = Arc::clone(&self.state);
        self.runtime.spawn(async move {
            let mut plugin = client(&socket).await;
            plugin.get_device_plugin_options(Empty {}).await.unwrap();
            let lists = plugin.list_and_watch(Empty {}).await;
            let mut lists = lists.unwrap().into_inner();
            while let Ok(Some(list)) = lists.message().await {
                state.lock().unwrap().received(&name, list.devices);
            }
            let mut state = state.lock().unwrap();
            if let Some(plugin) = state.plugins.get_mut(&name) {
                plugin.devices.clear();
            }
        });
        Ok(Response::new(Empty {}))
    }
}

async fn client(socket: &Path) -> DevicePluginClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("unix:{}", socket.display())).unwrap();
    DevicePluginClient::new(endpoint.connect().await.unwrap())
}

impl Kubelet {
    pub(crate) fn run(directory: &Path) -> Self {
        let mut kubelet = Self {
            socket: directory.join("kubelet.sock"),
            plugins: directory.join("device-plugins"),
            state: Arc::default(),
            server: None,
        };
        kubelet.listen();
        kubelet
    }

    fn listen(&mut self) {
        let server = runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let guard = server.enter();
        let listener = UnixListener::bind(&self.socket).unwrap();
        // As a kubelet does that begins: it knows of no plugin, and removes their sockets.
        self.state().plugins.clear();
        fs::create_dir_all(&self.plugins).unwrap();
        for entry in fs::read_dir(&self.plugins).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
        let plugins = UnixListener::bind(self.plugins.join("kubelet.sock")).unwrap();
        drop(guard);
        let registration = RegistrationServer::new(Plugins {
            folder: self.plugins.clone(),
            state: Arc::clone(&self.state),
            runtime: server.handle().clone(),
        });
        server.spawn(async move {
            Server::builder()
                .add_service(registration)
                .serve_with_incoming(UnixListenerStream::new(plugins))
                .await
                .unwrap();
        });
        let service = PodResourcesListerServer::new(Service(Arc::clone(&self.state)));
        server.spawn(async move {
            Server::builder()
                .add_service(service)
                .serve_with_incoming(UnixListenerStream::new(listener))
                .await
                .unwrap();
        });
        self.server = Some(server);
    }

    /// Ends as a kubelet does that is stopped, its connections with it.
    pub(crate) async fn stop(&mut self) {
        let server = self.server.take();
        spawn_blocking(move || drop(server)).await.unwrap();
        fs::remove_file(&self.socket).unwrap();
    }

    pub(crate) async fn restart(&mut self) {
        self.stop().await;
        self.listen();
    }

    /// The next one does not know its pods yet.
    pub(crate) async fn restart_unaware(&mut self) {
        self.stop().await;
        self.state().pods.clear();
        self.listen();
    }

    /// Gives a device to the container `main` of the pod with this name.
    pub(crate) fn admit(&self, name: &str, resource: &str, device: &str) {
        let devices = vec![ContainerDevices {
            resource_name: resource.to_owned(),
            device_ids: vec![device.to_owned()],
        }];
        self.state().pods.push(PodResources {
            name: name.to_owned(),
            namespace: "acme".to_owned(),
            containers: vec![ContainerResources {
                name: "main".to_owned(),
                devices,
                dynamic_resources: Vec::new(),
            }],
        });
    }

    pub(crate) fn end(&self, name: &str) {
        self.state().pods.retain(|pod| pod.name != name);
    }

    /// Does not mind what plugins say until [`Self::catch_up`].
    pub(crate) fn be_slow(&self) {
        self.state().slow = true;
    }

    pub(crate) fn catch_up(&self) {
        let mut state = self.state();
        state.slow = false;
        for plugin in state.plugins.values_mut() {
            if let Some(devices) = plugin.waiting.take() {
                plugin.devices = devices;
            }
        }
    }

    /// Ids of the devices that pods may get by the list that was last received, although it is not minded yet.
    pub(crate) fn unminded(&self, name: &str) -> Option<Vec<String>> {
        let state = self.state();
        let devices = state.plugins.get(name)?.waiting.as_ref()?.iter();
        let healthy = devices.filter(|device| device.health == "Healthy");
        Some(healthy.map(|device| device.id.clone()).collect())
    }

    /// Does not say any more which devices it gives to pods.
    pub(crate) fn hide_allocatable(&self, status: Option<Status>) {
        self.state().allocatable = status.map_or(Answer::Truth, Answer::Error);
    }

    /// How often names were registered.
    pub(crate) fn registrations(&self) -> BTreeMap<String, u32> {
        let state = self.state();
        let plugins = state.plugins.iter();
        plugins
            .map(|(name, plugin)| (name.clone(), plugin.registrations))
            .collect()
    }

    /// The list of a name, as it is minded.
    pub(crate) fn list(&self, name: &str) -> Vec<Device> {
        let state = self.state();
        let plugin = state.plugins.get(name);
        plugin
            .map(|plugin| plugin.devices.clone())
            .unwrap_or_default()
    }

    /// Waits until the healthy devices of a name are these.
    pub(crate) fn gives(&self, name: &str, devices: &[&str]) {
        let wanted: BTreeSet<_> = devices.iter().map(|&id| id.to_owned()).collect();
        wait_until(&format!("{name} is {devices:?}"), || {
            self.state().plugins.contains_key(name) && self.state().healthy(name) == wanted
        });
    }

    /// Admits a pod of one container with `count` devices of a name, as a kubelet does: one that are free, as the plugin prefers.
    pub(crate) async fn start(
        &self,
        pod: &str,
        name: &str,
        count: usize,
    ) -> Result<ContainerAllocateResponse, Status> {
        let (socket, free) = {
            let state = self.state();
            let free = &state.healthy(name) - &state.held();
            (state.plugins[name].socket.clone(), free)
        };
        let mut plugin = client(&socket).await;
        let question = ContainerPreferredAllocationRequest {
            available_device_ids: free.iter().cloned().collect(),
            must_include_device_ids: Vec::new(),
            allocation_size: count.try_into().unwrap(),
        };
        let question = PreferredAllocationRequest {
            container_requests: vec![question],
        };
        let preferred = plugin.get_preferred_allocation(question).await?;
        let devices_ids = preferred
            .into_inner()
            .container_responses
            .remove(0)
            .device_ids;
        assert_eq!(devices_ids.len(), count, "of {free:?}");
        assert!(devices_ids.iter().all(|id| free.contains(id)));
        let request = AllocateRequest {
            container_requests: vec![ContainerAllocateRequest {
                devices_ids: devices_ids.clone(),
            }],
        };
        let answer = plugin.allocate(request).await?.into_inner();
        for device in devices_ids {
            self.admit(pod, name, &device);
        }
        let [answer] = <[_; 1]>::try_from(answer.container_responses).unwrap();
        Ok(answer)
    }

    pub(crate) fn hang(&self) {
        self.state().answer = Answer::Never;
    }

    pub(crate) fn fail(&self, status: Status) {
        self.state().answer = Answer::Error(status);
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            server.shutdown_background();
        }
    }
}
