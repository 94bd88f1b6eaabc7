//! A kubelet that a test plays by hand: the PodResources API on a Unix socket.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use mica_proto::podresources::{
    ContainerDevices, ContainerResources, ListPodResourcesRequest, ListPodResourcesResponse,
    PodResources,
    pod_resources_lister_server::{PodResourcesLister, PodResourcesListerServer},
};
use tokio::{
    net::UnixListener,
    runtime::{self, Runtime},
    task::spawn_blocking,
};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status, transport::Server};

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
}

/// Listens as long as it lives.
pub(crate) struct Kubelet {
    pub(crate) socket: PathBuf,
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
}

impl Kubelet {
    pub(crate) fn start(directory: &Path) -> Self {
        let mut kubelet = Self {
            socket: directory.join("kubelet.sock"),
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
        drop(guard);
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
