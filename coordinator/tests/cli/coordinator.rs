//! A coordinator that says what the test wants.

use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use mica_proto::v1;
use mica_proto::v1::console_server::{Console, ConsoleServer};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio_stream::wrappers::{TcpListenerStream, WatchStream};
use tokio_stream::{Stream, StreamExt};
use tonic::transport::{Server, ServerTlsConfig};
use tonic::{Request, Response, Status};

use super::fixture;
use super::program::{DEADLINE, Ended, mica};

/// It runs until dropped.
pub(crate) struct Coordinator {
    pub(crate) address: SocketAddr,
    /// What watchers see.
    pub(crate) cluster: watch::Sender<v1::Cluster>,
    /// Its own, so that all its connections die with it.
    runtime: Option<Runtime>,
}

impl Coordinator {
    pub(crate) async fn start() -> Self {
        Self::with(fixture::plan(), None).await
    }

    pub(crate) async fn with(plan: v1::PlanReply, tls: Option<ServerTlsConfig>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::on(listener, plan, tls)
    }

    /// One at an address where another was, as soon as that is free.
    pub(crate) async fn at(address: SocketAddr) -> Self {
        let listener = async {
            loop {
                match TcpListener::bind(address).await {
                    Ok(listener) => return listener,
                    Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
        };
        let listener = tokio::time::timeout(DEADLINE, listener).await.unwrap();
        Self::on(listener, fixture::plan(), None)
    }

    fn on(listener: TcpListener, plan: v1::PlanReply, tls: Option<ServerTlsConfig>) -> Self {
        let address = listener.local_addr().unwrap();
        let (cluster, clusters) = watch::channel(fixture::cluster());
        let mut server = Server::builder();
        if let Some(tls) = tls {
            server = server.tls_config(tls).unwrap();
        }
        let console = ConsoleServer::new(Answers { plan, clusters });
        let runtime = Runtime::new().unwrap();
        let listener = listener.into_std().unwrap();
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            server
                .add_service(console)
                .serve_with_incoming(TcpListenerStream::new(listener))
                .await
                .unwrap();
        });
        Self {
            address,
            cluster,
            runtime: Some(runtime),
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What the program says about it.
    pub(crate) async fn mica(&self, args: &[&str]) -> Ended {
        mica(&[&["--server", self.url().as_str()], args].concat()).await
    }

    /// Dies as by `kill -9`.
    pub(crate) fn kill(self) {
        drop(self);
    }
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

struct Answers {
    plan: v1::PlanReply,
    clusters: watch::Receiver<v1::Cluster>,
}

#[tonic::async_trait]
impl Console for Answers {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<v1::Cluster, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<v1::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let clusters = WatchStream::new(self.clusters.clone()).map(Ok);
        Ok(Response::new(if request.into_inner().follow {
            Box::pin(clusters)
        } else {
            Box::pin(clusters.take(1))
        }))
    }

    async fn plan(&self, _: Request<v1::PlanRequest>) -> Result<Response<v1::PlanReply>, Status> {
        Ok(Response::new(self.plan.clone()))
    }

    async fn explain(
        &self,
        request: Request<v1::ExplainRequest>,
    ) -> Result<Response<v1::ExplainReply>, Status> {
        match request.into_inner().subject.as_str() {
            "half" => Ok(Response::new(v1::ExplainReply {
                lines: vec!["2 of 5 wait".to_owned(), "every A100 is full".to_owned()],
            })),
            "secret" => Err(Status::permission_denied("not for you")),
            "slow" => std::future::pending().await,
            subject => Err(Status::not_found(format!(
                "no queue or GPU {subject:?}; near: half"
            ))),
        }
    }

    async fn version(
        &self,
        _: Request<v1::VersionRequest>,
    ) -> Result<Response<v1::VersionReply>, Status> {
        Ok(Response::new(v1::VersionReply {
            version: "9.9.9".to_owned(),
        }))
    }
}
