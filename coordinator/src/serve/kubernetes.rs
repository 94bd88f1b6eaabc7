//! The API server's side: what is read from it and written to it.
//!
//! ```text
//!   API server ── watch ──► index ── rounds ──► index ── write ──► API server
//! ```
//!
//! Watches only ever change the index, and one task does all writes: it compares what should be there with what the index has seen there,
//! and writes the difference, so that nothing is written when nothing changes.

mod certificate;
mod identity;
mod lease;
mod watch;
mod write;

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use jiff::Timestamp;
use kube::Client;
use tokio::task::JoinSet;
use tonic::transport::{Identity, ServerTlsConfig};

use self::lease::Candidate;
use super::{cluster::Cluster, index::Index, metrics::Metrics};

pub(crate) use identity::{Doorkeeper, Refusal};

/// A request takes milliseconds; one without an answer for so long has none. Shorter than a lease lasts beyond its last renewal, so that a
/// coordinator that loses its lease has nothing on the way when the next one begins.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);

/// A coordinator on Kubernetes.
pub(crate) struct Kubernetes {
    client: Client,
    namespace: String,
    candidate: Candidate,
    doorkeeper: Arc<Doorkeeper>,
}

impl Kubernetes {
    /// Connects as the service account of the pod, or by `KUBECONFIG`.
    pub(crate) async fn connect(namespace: &str, pod: &str) -> anyhow::Result<Self> {
        let config = kube::Config::infer().await.context(
            "found neither a service account of Kubernetes nor a kubeconfig; outside of Kubernetes use --standalone",
        )?;
        let client =
            Client::try_from(config).context("cannot use the configuration of Kubernetes")?;
        Ok(Self {
            namespace: namespace.to_owned(),
            candidate: Candidate::new(&client, namespace, pod),
            doorkeeper: Arc::new(Doorkeeper::new(&client, namespace)),
            client,
        })
    }

    /// Lets agents in.
    pub(crate) fn doorkeeper(&self) -> Arc<Doorkeeper> {
        Arc::clone(&self.doorkeeper)
    }

    /// The coordinator's own certificate. A task ends when it is time for a new one, and with it the program: whoever starts it again
    /// gets the new one.
    pub(crate) async fn tls(&self, work: &mut JoinSet<()>) -> anyhow::Result<ServerTlsConfig> {
        let certificate = certificate::certificate(&self.client, &self.namespace).await?;
        let left = certificate.renewal.duration_since(Timestamp::now());
        let left = Duration::try_from(left).unwrap_or_default();
        work.spawn(async move {
            tokio::time::sleep(left).await;
            tracing::info!("a new certificate is due; ends to be started again");
        });
        let identity = Identity::from_pem(certificate.chain, certificate.key);
        Ok(ServerTlsConfig::new().identity(identity))
    }

    /// Starts to follow the API server. The namespaces that belong to tenants have labels that match the selector.
    pub(crate) fn watch(&self, work: &mut JoinSet<()>, cluster: &Arc<Cluster>, tenants: &str) {
        watch::watch(work, &self.client, cluster, tenants);
    }

    /// Waits until everything has been seen and the lease is won; then agents are let in and what is to be written is written.
    pub(crate) async fn lead(
        &mut self,
        work: &mut JoinSet<()>,
        cluster: &Arc<Cluster>,
        metrics: &Arc<Metrics>,
    ) {
        let mut revisions = cluster.watch();
        while !cluster.read(Index::is_complete) {
            if revisions.changed().await.is_err() {
                return;
            }
        }
        self.candidate.win().await;
        self.doorkeeper.open();
        let writer = write::write(
            self.client.clone(),
            Arc::clone(cluster),
            Arc::clone(metrics),
        );
        work.spawn(writer);
    }

    /// Leads until the lease is lost; the error says why.
    pub(crate) async fn hold(&mut self) -> anyhow::Error {
        self.candidate.hold().await
    }

    /// Lets another lead. Nothing may be written any more.
    pub(crate) async fn give_back(&self) {
        self.candidate.give_back().await;
    }
}
