//! `mica-agent run`: puts the parts together and keeps them going until a signal comes.

use std::{net::SocketAddr, path::Path, sync::Arc};

use anyhow::Context as _;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tracing::info;

use crate::{
    address::Address,
    args::{RunArgs, StateArgs},
    driver,
    generation::Newest,
    http,
    journal::Journal,
    metrics::Metrics,
    output,
    token::TokenFile,
    uplink::Uplink,
};

mod kubelet;

use kubelet::Kubelet;

/// Serves the node until SIGTERM or SIGINT.
pub async fn run(args: Box<RunArgs>) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let coordinator = Address::of(&args);
    // What is wrong with its files is said now, not at the first connection.
    coordinator.endpoint().await?;
    let RunArgs {
        node,
        nvml,
        kubelet,
        device_plugin,
        token_file,
        state: StateArgs { state_dir, boot_id },
        http: address,
        poll_interval,
        care,
        ready_file,
        ..
    } = *args;
    let kubelet = Kubelet::open(kubelet, device_plugin, &care.proc.proc)?;
    info!(version = env!("CARGO_PKG_VERSION"), node, coordinator = %coordinator.uri, nvml_library = %nvml.nvml_library.display(), state_dir = %state_dir.display(), kubelet = kubelet.client.is_some(), device_plugin = kubelet.plugin.is_some(), "mica-agent begins");
    let metrics = Arc::new(Metrics::new(&node)?);
    let listener = listen(address).await?;
    let (sources, known) = (kubelet.sources(), kubelet.known());
    let settings = driver::Settings {
        library: nvml.nvml_library,
        poll_interval,
        newest: Newest::open(&state_dir)?,
        journal: Journal::open(&state_dir, &boot(&boot_id)?)?,
        sources: sources.clone(),
        metrics: metrics.driver.clone(),
    };
    let (mut thread, outcomes) = driver::start(settings, care.into()).await?;
    // Beside the others to the end: the GPUs that are worked on still may have devices taken back.
    let mut offering = kubelet.begin(thread.orders().inventory(), &sources);
    let uplink = Uplink {
        coordinator,
        token: token_file.map(TokenFile::new),
        kubelet: known,
        node,
        orders: thread.orders(),
        sources,
        outcomes,
        metrics: metrics.uplink.clone(),
    };
    let pulse = thread.orders().pulse().clone();
    announce(&listener, ready_file.as_deref())?;
    let web = serve(listener, http::Sources::new(metrics, thread.orders()));
    let result = tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        ended = uplink.run() => Err(ended.into()),
        () = thread.ended() => Err(driver::Ended.into()),
        () = pulse.watch() => Ok(()),
        served = web => served.context("the HTTP server ended"),
    };
    info!("stopping: the GPU that is worked on is finished first");
    thread.stop().await;
    offering.shutdown().await;
    result
}

async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address} for /metrics; choose another address with --http")
    })
}

/// Says where it serves. Whoever comes now is served in a moment.
fn announce(listener: &TcpListener, ready_file: Option<&Path>) -> anyhow::Result<()> {
    let address = listener.local_addr()?;
    info!(http = %address, "serving /metrics, /livez and /readyz");
    if let Some(file) = ready_file {
        output::ready(file, address)?;
    }
    Ok(())
}

async fn serve(listener: TcpListener, sources: http::Sources) -> std::io::Result<()> {
    axum::serve(listener, http::router(sources)).await
}

/// Tells one boot of the machine from another.
pub(crate) fn boot(file: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(file).with_context(|| {
        format!(
            "cannot read {}; name a file that differs from boot to boot with --boot-id",
            file.display()
        )
    })?;
    Ok(text.trim().to_owned())
}
