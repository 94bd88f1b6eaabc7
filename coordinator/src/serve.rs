//! `mica serve`: the coordinator.
//!
//! ```text
//!   ClearML ── backlog ──►┌─────────┐◄── fleet ── agents (Hello, Report, Outcome)
//!                         │  index  │
//!   people ◄── console ───┤         ├── rounds: snapshot → demand → plan → check → publish
//!   Prometheus ◄── http ──└─────────┘           (Desired, through fleet, to the agents)
//! ```
//!
//! Everything that is known stands in the index, in memory: agents report it again after a restart, and ClearML is asked again.

mod backlog;
mod cluster;
mod console;
mod demand;
mod fleet;
mod http;
mod index;
mod kubernetes;
mod listen;
mod metrics;
mod objects;
mod place;
mod round;
mod rounds;
#[cfg(test)]
mod testing;

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use mica_proto::v1::{console_server::ConsoleServer, fleet_server::FleetServer};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinSet,
};
use tonic::transport::{Server, ServerTlsConfig, server::TcpIncoming};
use tracing::info;

use self::{
    cluster::Cluster, console::Console, fleet::Fleet, index::Index, kubernetes::Kubernetes,
    listen::TlsFiles, metrics::Metrics, rounds::Pace,
};
use crate::{clearml::Client, config::Config};

pub use listen::Refused;

/// A dead peer is noticed when it has not answered a ping for [`PING_TIMEOUT`]; a ping is sent after this much silence.
const PING_INTERVAL: Duration = Duration::from_secs(10);
/// Together with [`PING_INTERVAL`] about 15 s until a node counts as lost when its machine vanishes; a process that dies is
/// noticed at once.
const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// A poll that fails is given up after one interval, within these bounds, so that the failure is shown soon; the next one follows.
const SHORTEST_PATIENCE: Duration = Duration::from_secs(1);
/// See [`SHORTEST_PATIENCE`].
const LONGEST_PATIENCE: Duration = Duration::from_secs(10);
/// How long connections may take to end when the coordinator shuts down.
const GRACE: Duration = Duration::from_secs(2);

/// Runs the coordinator.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Run without Kubernetes, on ClearML's backlog alone
    #[arg(long, env = "MICA_STANDALONE")]
    pub standalone: bool,
    /// Configuration: the ClearML server, tenants and queues (YAML). On Kubernetes it may be left out: then pods alone are
    /// planned for, not what waits in queues
    #[arg(
        long,
        env = "MICA_CONFIG",
        value_name = "FILE",
        required_if_eq("standalone", "true")
    )]
    pub config: Option<PathBuf>,
    /// Which namespaces belong to tenants: only their gated pods get slices (a label selector)
    #[arg(
        long,
        env = "MICA_NAMESPACE_SELECTOR",
        value_name = "SELECTOR",
        default_value = "mica.dev/tenant",
        conflicts_with = "standalone"
    )]
    pub namespace_selector: String,
    /// Name of the coordinator's own pod, by which it holds the lease of the one that leads
    #[arg(
        long,
        env = "POD_NAME",
        value_name = "NAME",
        required_unless_present = "standalone"
    )]
    pub pod_name: Option<String>,
    /// Namespace of the coordinator's own pod
    #[arg(
        long,
        env = "POD_NAMESPACE",
        value_name = "NAMESPACE",
        required_unless_present = "standalone"
    )]
    pub pod_namespace: Option<String>,
    /// Address for agents and the command line (gRPC); port 0 takes a free one
    #[arg(
        long,
        env = "MICA_LISTEN",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:7070"
    )]
    pub listen: SocketAddr,
    /// Address for /metrics, /livez and /readyz; port 0 takes a free one
    #[arg(
        long,
        env = "MICA_HTTP",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:7071"
    )]
    pub http: SocketAddr,
    /// Certificate chain for the gRPC address (PEM)
    #[arg(long, env = "MICA_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Private key of the certificate (PEM)
    #[arg(long, env = "MICA_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Ask clients for a certificate that this authority has signed (PEM)
    #[arg(
        long,
        env = "MICA_TLS_CLIENT_CA",
        value_name = "FILE",
        requires = "tls_cert"
    )]
    pub tls_client_ca: Option<PathBuf>,
    /// Serve addresses that other machines can reach in clear text. Not on Kubernetes, where gRPC is always encrypted and
    /// the metrics never are
    #[arg(long, env = "MICA_INSECURE", requires = "standalone")]
    pub insecure: bool,
    /// Write the addresses to this file (JSON) when listening
    #[arg(long, env = "MICA_READY_FILE", value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
    /// How long changes are gathered before a round plans for them
    #[arg(
        long,
        env = "MICA_DEBOUNCE",
        value_name = "TIME",
        default_value = "100ms",
        value_parser = duration
    )]
    pub debounce: Duration,
    /// How long agents have to come back after a start, before the first round plans without them. After a
    /// long outage they may take 5s
    #[arg(
        long,
        env = "MICA_GRACE",
        value_name = "TIME",
        default_value = "1s",
        value_parser = duration
    )]
    pub grace: Duration,
}

/// Reads `100ms`, `1s`.
fn duration(text: &str) -> Result<Duration, String> {
    let duration: jiff::SignedDuration = text
        .parse()
        .map_err(|error| format!("{error}; write for example 100ms or 1s"))?;
    Duration::try_from(duration).map_err(|_| "must not be negative".to_owned())
}

/// Runs the coordinator until SIGTERM or SIGINT. An address that needs protection and has none is the error [`Refused`].
pub async fn run(args: Args) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot handle SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot handle SIGINT")?;
    run_until(args, async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
    .await
}

/// Runs the coordinator until `shutdown` is ready.
#[expect(clippy::too_many_lines, reason = "the wiring, read from top to bottom")]
pub async fn run_until(
    args: Args,
    shutdown: impl Future<Output = ()> + Send,
) -> anyhow::Result<()> {
    let Args {
        standalone,
        config,
        namespace_selector,
        pod_name,
        pod_namespace,
        listen,
        http,
        tls_cert: cert,
        tls_key: key,
        tls_client_ca: client_ca,
        insecure,
        ready_file,
        debounce,
        grace,
    } = args;
    let tls = TlsFiles {
        cert,
        key,
        client_ca,
    };
    if standalone {
        listen::permit(listen, http, &tls, insecure)?;
    }
    let config = config.as_deref().map(Config::load).transpose()?;
    let mut tls = listen::read_tls(&tls).await?;
    let mut work = JoinSet::new();
    let mut kubernetes = match (standalone, pod_namespace, pod_name) {
        (true, _, _) => None,
        (false, Some(namespace), Some(pod)) => Some(Kubernetes::connect(&namespace, &pod).await?),
        (false, _, _) => anyhow::bail!(
            "on Kubernetes --pod-name and --pod-namespace say which pod this is; elsewhere add --standalone"
        ),
    };
    if let (Some(kubernetes), None) = (&kubernetes, &tls) {
        tls = Some(kubernetes.tls(&mut work).await?);
    }

    let metrics = Arc::new(Metrics::new()?);
    let tenants = config.as_ref().map_or(&[][..], |config| &config.tenants);
    let index = if standalone {
        Index::new(tenants)
    } else {
        Index::on_kubernetes(tenants)
    };
    let cluster = Arc::new(Cluster::new(index));
    let (stop, stopped) = watch::channel(());
    let (grpc, listen) = bind("--listen", listen).await?;
    let (web, http) = bind("--http", http).await?;
    let mut servers = JoinSet::new();
    let doorkeeper = kubernetes.as_ref().map(Kubernetes::doorkeeper);
    let fleet = Fleet::new(&cluster, &metrics, doorkeeper);
    servers.spawn(serve_grpc(grpc, tls, fleet, &cluster, stopped.clone()));
    servers.spawn(serve_http(web, &cluster, &metrics, stopped));
    let pace = Pace { grace, debounce };
    if let Some(kubernetes) = &kubernetes {
        kubernetes.watch(&mut work, &cluster, &namespace_selector);
    }
    if let Some(file) = ready_file {
        let announced = listen::announce(&file, listen, http).await;
        announced.with_context(|| format!("cannot write {}", file.display()))?;
    }
    info!(version = env!("CARGO_PKG_VERSION"), grpc = %listen, %http, "listening");

    let labour = async {
        if let Some(kubernetes) = &mut kubernetes {
            kubernetes.lead(&mut work, &cluster, &metrics).await;
        }
        start_work(&mut work, config, pace, &cluster, &metrics)?;
        tokio::select! {
            error = lost(kubernetes.as_mut()) => Err(error),
            Some(ended) = work.join_next() => ended.context("a task broke"),
        }
    };
    let ended = tokio::select! {
        () = shutdown => {
            info!("shutting down");
            Ok(())
        }
        Some(ended) = servers.join_next() => ended.context("a server broke").flatten(),
        ended = labour => ended,
    };
    work.shutdown().await;
    if let Some(kubernetes) = &kubernetes {
        kubernetes.give_back().await;
    }
    cluster.update(|index| index.close(Instant::now()));
    drop(stop);
    let closed = async { while servers.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, closed).await.is_err() {
        servers.shutdown().await;
    }
    ended
}

/// Ready when the lease is lost, with why; never without Kubernetes.
async fn lost(kubernetes: Option<&mut Kubernetes>) -> anyhow::Error {
    match kubernetes {
        Some(kubernetes) => kubernetes.hold().await,
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

async fn bind(flag: &str, address: SocketAddr) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {flag} {address}"))?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// Ready when the sender has gone.
async fn closed(mut stopped: watch::Receiver<()>) {
    while stopped.changed().await.is_ok() {}
}

fn serve_grpc(
    listener: TcpListener,
    tls: Option<ServerTlsConfig>,
    fleet: Fleet,
    cluster: &Arc<Cluster>,
    stopped: watch::Receiver<()>,
) -> impl Future<Output = anyhow::Result<()>> + Send + use<> {
    let fleet = FleetServer::new(fleet);
    let console = ConsoleServer::new(Console::new(cluster));
    async move {
        let mut server = Server::builder()
            .http2_keepalive_interval(Some(PING_INTERVAL))
            .http2_keepalive_timeout(Some(PING_TIMEOUT));
        if let Some(tls) = tls {
            server = server
                .tls_config(tls)
                .context("the TLS files are no certificate with its key")?;
        }
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        server
            .add_service(fleet)
            .add_service(console)
            .serve_with_incoming_shutdown(incoming, closed(stopped))
            .await
            .context("the gRPC server failed")
    }
}

fn serve_http(
    listener: TcpListener,
    cluster: &Arc<Cluster>,
    metrics: &Arc<Metrics>,
    stopped: watch::Receiver<()>,
) -> impl Future<Output = anyhow::Result<()>> + Send + use<> {
    let router = http::router(Arc::clone(cluster), Arc::clone(metrics));
    async move {
        axum::serve(listener, router)
            .with_graceful_shutdown(closed(stopped))
            .await
            .context("the HTTP server failed")
    }
}
