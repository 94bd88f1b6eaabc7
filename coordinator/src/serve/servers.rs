//! What answers: gRPC for agents and the command line, HTTP for those who watch.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use mica_proto::v1::{console_server::ConsoleServer, fleet_server::FleetServer};
use tokio::{net::TcpListener, sync::watch};
use tonic::transport::{Server, ServerTlsConfig, server::TcpIncoming};

use super::{console::Console, fleet::Fleet};

/// A dead peer is noticed when it has not answered a ping for [`PING_TIMEOUT`]; a ping is sent after this much silence.
const PING_INTERVAL: Duration = Duration::from_secs(10);
/// Together with [`PING_INTERVAL`] about 15 s until a node counts as lost when its machine vanishes; a process that dies is
/// noticed at once.
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// Listens on an address that a flag named; the address that it became.
pub(super) async fn bind(
    flag: &str,
    address: SocketAddr,
) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {flag} {address}"))?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// Ready when the sender has gone.
pub(super) async fn closed(mut stopped: watch::Receiver<()>) {
    while stopped.changed().await.is_ok() {}
}

/// Serves agents and the command line.
pub(super) async fn grpc(
    listener: TcpListener,
    tls: Option<ServerTlsConfig>,
    fleet: Fleet,
    console: Console,
    stopped: watch::Receiver<()>,
) -> anyhow::Result<()> {
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
        .add_service(FleetServer::new(fleet))
        .add_service(ConsoleServer::new(console))
        .serve_with_incoming_shutdown(incoming, closed(stopped))
        .await
        .context("the gRPC server failed")
}

/// Serves Prometheus and the probes of Kubernetes.
pub(super) async fn http(
    listener: TcpListener,
    router: Router,
    stopped: watch::Receiver<()>,
) -> anyhow::Result<()> {
    axum::serve(listener, router)
        .with_graceful_shutdown(closed(stopped))
        .await
        .context("the HTTP server failed")
}
