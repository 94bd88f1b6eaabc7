//! The stream to the coordinator: says what is here when it changes, passes layouts on to the NVML thread, and says how they ended.
//!
//! A lost coordinator changes nothing on the node. The stream is opened again, with growing pauses, for as long as the agent lives.

use std::{sync::Arc, time::Duration};

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use mica_proto::v1::{self, FromAgent, fleet_client::FleetClient, from_agent, to_agent};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Status};
use tracing::{debug, error, info, warn};

use crate::{
    address::Address, driver, inventory::Inventory, metrics::UplinkMetrics, token::TokenFile,
    usage::Sources,
};

/// Pauses before a stream is opened again grow from the first to the second.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// How long the coordinator may take to answer the call that opens the stream.
const ANSWER: Duration = Duration::from_secs(10);

/// Messages that wait to be written. More are not made meanwhile: a report replaces the one before.
const QUEUE: usize = 4;

/// One side of the stream.
#[derive(Debug)]
pub struct Uplink {
    /// Where the coordinator is.
    pub coordinator: Address,
    /// What identifies this agent beside a certificate, where something does.
    pub token: Option<TokenFile>,
    /// Name of this node.
    pub node: String,
    /// The NVML thread.
    pub orders: driver::Orders,
    /// Where it is kept which slices the coordinator keeps.
    pub sources: Sources,
    /// What the kubelet knows of the devices that are offered to it; `None` where none are.
    pub kubelet: watch::Receiver<Option<v1::Kubelet>>,
    /// How layouts ended, from the NVML thread.
    pub outcomes: mpsc::UnboundedReceiver<v1::Outcome>,
    /// Where streams and reports are counted.
    pub metrics: UplinkMetrics,
}

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("{0}: without it the coordinator would not know who this agent is")]
    Token(String),
    #[error("{0:#}")]
    Files(anyhow::Error),
    #[error("the coordinator cannot be reached: {}", causes(.0))]
    Unreachable(#[from] tonic::transport::Error),
    #[error("the coordinator does not answer within {} s", ANSWER.as_secs())]
    Silent,
    #[error("the coordinator ended the stream")]
    Closed,
    #[error(
        "what answers there does not speak as a coordinator does: {}; check the address in --coordinator, and http or https",
        causes(&**.0)
    )]
    NoCoordinator(Box<Status>),
    #[error("the stream to the coordinator broke: {} ({:?})", .0.message(), .0.code())]
    Broken(Box<Status>),
    #[error(transparent)]
    Thread(#[from] driver::Ended),
}

/// The messages of an error and its sources; tonic's own says only "transport error".
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let sources = std::iter::successors(Some(error), |error| error.source());
    let text = |error: &(dyn std::error::Error + 'static)| {
        error
            .downcast_ref::<Status>()
            .map_or_else(|| error.to_string(), |status| status.message().to_owned())
    };
    let mut messages: Vec<_> = sources.map(text).collect();
    messages.dedup();
    messages.join(": ")
}

impl From<Status> for End {
    fn from(status: Status) -> Self {
        Self::Broken(Box::new(status))
    }
}

impl End {
    /// Of the call that opens the stream. A status with a source was made on this side: nothing that makes sense came back.
    fn unopened(status: Status) -> Self {
        if std::error::Error::source(&status).is_some() {
            Self::NoCoordinator(Box::new(status))
        } else {
            status.into()
        }
    }
}

impl Uplink {
    /// Keeps a stream open. Returns only when the NVML thread has ended.
    pub async fn run(mut self) -> driver::Ended {
        let mut pauses = pauses();
        let mut told = String::new();
        loop {
            let began = Instant::now();
            let end = self.stream(&mut told).await;
            self.metrics.disconnected();
            if let End::Thread(ended) = end {
                return ended;
            }
            if began.elapsed() > RECONNECT.1 {
                pauses = self::pauses();
            }
            self.tell(&end, &mut told);
            sleep(pauses.next().unwrap_or(RECONNECT.1)).await;
        }
    }

    /// Says why the stream ended, once as long as it is the same.
    fn tell(&self, end: &End, told: &mut String) {
        let text = end.to_string();
        let node = &*self.node;
        let again = text == *told;
        match end {
            _ if again => debug!("{text}"),
            End::Broken(status) if status.code() == Code::AlreadyExists => error!(
                node,
                "another agent has joined the coordinator as node {node:?}: give each agent a name of its own with --node, or stop the other one; trying again ({})",
                status.message()
            ),
            End::Broken(status) if status.code() == Code::InvalidArgument => error!(
                node,
                "the coordinator does not accept what this agent sends, as of different versions: {}; trying again",
                status.message()
            ),
            End::Broken(status)
                if matches!(
                    status.code(),
                    Code::Unauthenticated | Code::PermissionDenied
                ) =>
            {
                error!(
                    node,
                    "the coordinator does not take this agent for that of node {node:?}: {} ({:?}); trying again",
                    status.message(),
                    status.code()
                );
            }
            End::Token(_)
            | End::Files(_)
            | End::Unreachable(_)
            | End::Silent
            | End::Closed
            | End::NoCoordinator(_)
            | End::Broken(_)
            | End::Thread(_) => warn!("{text}; trying again"),
        }
        *told = text;
    }

    /// One stream, from its opening to its end.
    async fn stream(&mut self, told: &mut String) -> End {
        match self.try_stream(told).await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    async fn try_stream(&mut self, told: &mut String) -> Result<std::convert::Infallible, End> {
        let authorization = match &self.token {
            Some(token) => Some(token.authorization().await.map_err(End::Token)?),
            None => None,
        };
        let endpoint = self.coordinator.endpoint().await.map_err(End::Files)?;
        let channel = endpoint.connect().await?;
        let (sender, queue) = mpsc::channel(QUEUE);
        let mut inventory = self.orders.inventory();
        let seen = inventory.borrow().seen;
        let mut out = Out {
            sender,
            reported: None,
            metrics: self.metrics.clone(),
        };
        out.send(from_agent::Message::Hello(v1::Hello {
            node: self.node.clone(),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            generation: seen.0,
        }))
        .await?;
        out.report(&mut inventory, &mut self.kubelet).await?;
        let mut call = Request::new(ReceiverStream::new(queue));
        if let Some(authorization) = authorization {
            call.metadata_mut().insert("authorization", authorization);
        }
        let mut client = FleetClient::new(channel);
        let mut incoming = timeout(ANSWER, client.join(call))
            .await
            .map_err(|_| End::Silent)?
            .map_err(End::unopened)?
            .into_inner();
        self.metrics.connected();
        told.clear();
        info!(node = self.node, coordinator = %self.coordinator.uri, "connected to the coordinator");
        loop {
            tokio::select! {
                message = incoming.message() => match message?.ok_or(End::Closed)?.message {
                    Some(to_agent::Message::Desired(desired)) => self.orders.execute(desired)?,
                    Some(to_agent::Message::Reservations(kept)) => self.sources.coordinator_said(&kept),
                    None => debug!("the coordinator sent a message that this version does not know"),
                },
                changed = inventory.changed() => {
                    changed.map_err(|_| driver::Ended)?;
                    out.report(&mut inventory, &mut self.kubelet).await?;
                }
                // Without a device plugin there never is one.
                Ok(()) = self.kubelet.changed() => {
                    out.report(&mut inventory, &mut self.kubelet).await?;
                }
                outcome = self.outcomes.recv() => {
                    let outcome = outcome.ok_or(driver::Ended)?;
                    // The thread has published what it led to before it sent the outcome.
                    out.report(&mut inventory, &mut self.kubelet).await?;
                    out.send(from_agent::Message::Outcome(outcome)).await?;
                }
            }
        }
    }
}

/// The sending half of a stream.
struct Out {
    sender: mpsc::Sender<FromAgent>,
    /// What was last reported.
    reported: Option<v1::Report>,
    metrics: UplinkMetrics,
}

impl Out {
    async fn send(&self, message: from_agent::Message) -> Result<(), End> {
        let message = FromAgent {
            message: Some(message),
        };
        self.sender.send(message).await.map_err(|_| End::Closed)
    }

    /// Reports what is here, unless that was already said.
    async fn report(
        &mut self,
        inventory: &mut watch::Receiver<Arc<Inventory>>,
        kubelet: &mut watch::Receiver<Option<v1::Kubelet>>,
    ) -> Result<(), End> {
        let report = v1::Report {
            kubelet: kubelet.borrow_and_update().clone(),
            ..inventory.borrow_and_update().report()
        };
        if self.reported.as_ref() != Some(&report) {
            self.send(from_agent::Message::Report(report.clone()))
                .await?;
            self.reported = Some(report);
            self.metrics.reported();
        }
        Ok(())
    }
}

fn pauses() -> ExponentialBackoff {
    // Jitter: after a restart of the coordinator its nodes do not all come at once.
    ExponentialBuilder::new()
        .with_min_delay(RECONNECT.0)
        .with_max_delay(RECONNECT.1)
        .without_max_times()
        .with_jitter()
        .build()
}
