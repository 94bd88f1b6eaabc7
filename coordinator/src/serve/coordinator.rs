//! The parts of a coordinator, how they are put together, and how they end.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use tokio::{sync::watch, task::JoinSet};
use tracing::info;

use super::{
    Args, backlog,
    cluster::Cluster,
    console::Console,
    fleet::Fleet,
    http,
    index::Index,
    kubernetes::{Authority, Kubernetes},
    listen::{self, Tls, TlsFiles},
    metrics::Metrics,
    rounds::{self, Pace},
    servers,
};
use crate::{admission, clearml::Client, config::Config};

/// A poll that fails is given up after one interval, within these bounds, so that the failure is shown soon; the next one follows.
const SHORTEST_PATIENCE: Duration = Duration::from_secs(1);
/// See [`SHORTEST_PATIENCE`].
const LONGEST_PATIENCE: Duration = Duration::from_secs(10);
/// How long connections may take to end when the coordinator shuts down.
const GRACE: Duration = Duration::from_secs(2);

/// A coordinator at work.
pub(super) struct Coordinator {
    cluster: Arc<Cluster>,
    metrics: Arc<Metrics>,
    /// `None` when it is standalone.
    kubernetes: Option<Kubernetes>,
    config: Option<Config>,
    pace: Pace,
    /// What decides and writes. It ends first.
    work: JoinSet<()>,
    /// What answers. It ends when `stop` is dropped.
    servers: JoinSet<anyhow::Result<()>>,
    stop: watch::Sender<()>,
}

impl Coordinator {
    /// Begins to answer and, on Kubernetes, to watch. Nothing is decided yet.
    pub(super) async fn start(args: Args) -> anyhow::Result<Self> {
        let files = TlsFiles {
            cert: args.tls_cert.clone(),
            key: args.tls_key.clone(),
            client_ca: args.tls_client_ca.clone(),
        };
        if args.standalone {
            listen::permit(args.listen, args.http, &files, args.insecure)?;
        }
        let config = args.config.as_deref().map(Config::load).transpose()?;
        let given = files.read().await?;
        let mut kubernetes = connect(&args).await?;
        let authority = match (&given, &args.admission_ca) {
            (None, _) => Some(Authority::Own),
            (Some(_), Some(file)) => Some(Authority::File(file.clone())),
            (Some(_), None) => None,
        };
        let tls = match (given, &mut kubernetes) {
            (None, Some(kubernetes)) => Some(kubernetes.tls().await?),
            (given, _) => given,
        };
        let tenants = config.as_ref().map_or(&[][..], |config| &config.tenants);
        let index = if args.standalone {
            Index::new(tenants)
        } else {
            Index::on_kubernetes(tenants)
        };
        let mut coordinator = Self {
            cluster: Arc::new(Cluster::new(index)),
            metrics: Arc::new(Metrics::new()?),
            kubernetes,
            config,
            pace: Pace {
                grace: args.grace,
                debounce: args.debounce,
            },
            work: JoinSet::new(),
            servers: JoinSet::new(),
            stop: watch::Sender::new(()),
        };
        coordinator.listen(&args, tls).await?;
        let Self {
            kubernetes,
            work,
            cluster,
            ..
        } = &mut coordinator;
        if let Some(kubernetes) = kubernetes {
            kubernetes.watch(work, cluster, &args.namespace_selector);
            if let (Some(_), Some(authority)) = (args.admission, authority) {
                kubernetes.keep_webhook_known(work, authority);
            }
        }
        Ok(coordinator)
    }

    /// Begins to answer.
    async fn listen(&mut self, args: &Args, tls: Option<Tls>) -> anyhow::Result<()> {
        let (cluster, metrics) = (&self.cluster, &self.metrics);
        let doorkeeper = self.kubernetes.as_ref().map(Kubernetes::doorkeeper);
        let stopped = self.stop.subscribe();

        let (listener, listen) = servers::bind("--listen", args.listen).await?;
        let fleet = Fleet::new(cluster, metrics, doorkeeper.clone());
        let grpc = servers::grpc(
            listener,
            tls.as_ref().map(Tls::grpc),
            fleet,
            Console::new(cluster),
            stopped.clone(),
        );
        self.servers.spawn(grpc);

        let (listener, http) = servers::bind("--http", args.http).await?;
        let router = http::router(Arc::clone(cluster), Arc::clone(metrics), doorkeeper);
        self.servers
            .spawn(servers::http(listener, router, stopped.clone()));

        if let (Some(address), Some(tls)) = (args.admission, tls) {
            let (listener, address) = servers::bind("--admission", address).await?;
            let stopped = servers::closed(stopped);
            let webhook = admission::serve(listener, tls.chain, tls.key, stopped);
            self.servers.spawn(webhook);
            info!(admission = %address, "the webhook listens");
        }
        if let Some(file) = &args.ready_file {
            let announced = listen::announce(file, listen, http).await;
            announced.with_context(|| format!("cannot write {}", file.display()))?;
        }
        info!(version = env!("CARGO_PKG_VERSION"), grpc = %listen, %http, "listening");
        Ok(())
    }

    /// Leads once it may, until something breaks or, in good order, until it has to be started again.
    pub(super) async fn run(&mut self) -> anyhow::Result<()> {
        let renewal = self.kubernetes.as_ref().and_then(Kubernetes::renewal);
        let Self {
            cluster,
            metrics,
            kubernetes,
            config,
            pace,
            work,
            servers,
            stop: _,
        } = self;
        let labour = async {
            if let Some(kubernetes) = kubernetes {
                kubernetes.lead(work, cluster, metrics).await;
            }
            start_work(work, config.take(), *pace, cluster, metrics)?;
            tokio::select! {
                error = lost(kubernetes.as_mut()) => Err(error),
                Some(ended) = work.join_next() => ended.context("a task broke"),
            }
        };
        tokio::select! {
            Some(ended) = servers.join_next() => ended.context("a server broke").flatten(),
            () = due(renewal) => {
                info!("a new certificate is due; ends to be started again");
                Ok(())
            }
            ended = labour => ended,
        }
    }

    /// Ends: first what decides and writes, then the lease, then what answers.
    pub(super) async fn stop(mut self) {
        self.work.shutdown().await;
        if let Some(kubernetes) = &self.kubernetes {
            kubernetes.give_back().await;
        }
        self.cluster.update(|index| index.close(Instant::now()));
        drop(self.stop);
        let mut servers = self.servers;
        let closed = async { while servers.join_next().await.is_some() {} };
        if tokio::time::timeout(GRACE, closed).await.is_err() {
            servers.shutdown().await;
        }
    }
}

/// Kubernetes, unless the coordinator is to be without.
async fn connect(args: &Args) -> anyhow::Result<Option<Kubernetes>> {
    match (args.standalone, &args.pod_namespace, &args.pod_name) {
        (true, _, _) => Ok(None),
        (false, Some(namespace), Some(pod)) => Kubernetes::connect(namespace, pod).await.map(Some),
        (false, _, _) => anyhow::bail!(
            "on Kubernetes --pod-name and --pod-namespace say which pod this is; elsewhere add --standalone"
        ),
    }
}

/// Ready when the lease is lost, with why; never without Kubernetes.
async fn lost(kubernetes: Option<&mut Kubernetes>) -> anyhow::Error {
    match kubernetes {
        Some(kubernetes) => kubernetes.hold().await,
        None => std::future::pending().await,
    }
}

/// Ready after this time; never when there is none.
async fn due(left: Option<Duration>) {
    match left {
        Some(left) => tokio::time::sleep(left).await,
        None => std::future::pending().await,
    }
}

/// Starts the rounds, and a poll for each tenant. They run until aborted.
fn start_work(
    work: &mut JoinSet<()>,
    config: Option<Config>,
    pace: Pace,
    cluster: &Arc<Cluster>,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<()> {
    let shared = || (Arc::clone(cluster), Arc::clone(metrics));
    let (cluster, metrics) = shared();
    work.spawn(rounds::run(cluster, metrics, pace));
    let Some(config) = config else { return Ok(()) };
    for tenant in config.tenants {
        let interval = config.clearml.poll_interval;
        let client = Client::new(&config.clearml.url, tenant.credentials.clone())
            .with_context(|| format!("tenant {}", tenant.name))?
            .with_patience(interval.clamp(SHORTEST_PATIENCE, LONGEST_PATIENCE));
        let (cluster, metrics) = shared();
        work.spawn(backlog::run(cluster, metrics, tenant, client, interval));
    }
    Ok(())
}
