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

#[cfg(test)]
mod accounts;
mod args;
mod backlog;
mod cluster;
mod console;
mod coordinator;
mod demand;
mod fleet;
mod http;
mod index;
mod kubernetes;
mod listen;
mod metrics;
pub(crate) mod objects;
mod place;
mod round;
mod rounds;
#[cfg(test)]
mod scale;
mod servers;
#[cfg(test)]
mod testing;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tracing::info;

pub use args::Args;
pub use listen::Refused;

use coordinator::Coordinator;

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
pub async fn run_until(
    args: Args,
    shutdown: impl Future<Output = ()> + Send,
) -> anyhow::Result<()> {
    let mut coordinator = Coordinator::start(args).await?;
    let ended = tokio::select! {
        () = shutdown => {
            info!("shutting down");
            Ok(())
        }
        ended = coordinator.run() => ended,
    };
    coordinator.stop().await;
    ended
}
