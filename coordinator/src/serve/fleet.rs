//! The agents' side: one stream per node.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use mica_proto::{
    convert::Invalid,
    v1::{self, fleet_server, from_agent, to_agent},
};
use tokio_stream::{Stream, wrappers::WatchStream};
use tonic::{Request, Response, Status, Streaming};
use tracing::{debug, info, warn};

use super::{
    cluster::Cluster,
    index::{Connection, Joined, Outcome, Reported, check_generation},
    kubernetes::{Doorkeeper, Refusal},
    metrics::Metrics,
};

/// An agent says Hello at once; a stream that stays silent longer than this is something else.
const HELLO_DEADLINE: Duration = Duration::from_secs(10);
/// As for a Kubernetes node: a DNS subdomain is at most this long.
const LONGEST_NODE_NAME: usize = 253;

/// The service.
pub(crate) struct Fleet {
    cluster: Arc<Cluster>,
    metrics: Arc<Metrics>,
    /// Without Kubernetes nobody can vouch for agents but a certificate.
    doorkeeper: Option<Arc<Doorkeeper>>,
}

impl Fleet {
    pub(crate) fn new(
        cluster: &Arc<Cluster>,
        metrics: &Arc<Metrics>,
        doorkeeper: Option<Arc<Doorkeeper>>,
    ) -> Self {
        Self {
            cluster: Arc::clone(cluster),
            metrics: Arc::clone(metrics),
            doorkeeper,
        }
    }

    fn turn_away(&self, peer: Option<SocketAddr>, refusal: &Refusal) -> Status {
        self.metrics.join_refused(refusal.reason());
        if *refusal != Refusal::NotLeading {
            warn!(?peer, %refusal, "an agent is turned away");
        }
        refusal.into()
    }
}

#[tonic::async_trait]
impl fleet_server::Fleet for Fleet {
    type JoinStream = Session;

    async fn join(
        &self,
        request: Request<Streaming<v1::FromAgent>>,
    ) -> Result<Response<Session>, Status> {
        let peer = request.remote_addr();
        let own = match &self.doorkeeper {
            Some(doorkeeper) => {
                let node = doorkeeper.node(request.metadata()).await;
                Some(node.map_err(|refusal| self.turn_away(peer, &refusal))?)
            }
            None => None,
        };
        let mut inbound = request.into_inner();
        let first = tokio::time::timeout(HELLO_DEADLINE, inbound.message())
            .await
            .map_err(|_| Status::deadline_exceeded("no Hello came"))??;
        let hello = hello(first).map_err(|error| {
            warn!(?peer, %error, "a stream does not begin with a proper Hello");
            refuse(&error)
        })?;
        if let Some(of) = own.filter(|own| *own != hello.node) {
            let said = hello.node;
            return Err(self.turn_away(peer, &Refusal::WrongNode { of, said }));
        }
        let node = hello.node.clone();
        let version = hello.agent_version.clone();
        let joined = self
            .cluster
            .update(|index| index.agent_joined(hello, Instant::now()))
            .map_err(|error| {
                warn!(?peer, %error, "an agent is turned away");
                Status::already_exists(error.to_string())
            })?;
        info!(node, version, ?peer, "agent joined");
        let Joined { connection, told } = joined;
        Ok(Response::new(Session {
            node,
            connection,
            inbound,
            reservations: WatchStream::new(told.reservations),
            desired: WatchStream::new(told.desired),
            cluster: Arc::clone(&self.cluster),
            metrics: Arc::clone(&self.metrics),
            ended: false,
        }))
    }
}

/// The first message of a stream.
fn hello(first: Option<v1::FromAgent>) -> Result<v1::Hello, Invalid> {
    let Some(v1::FromAgent {
        message: Some(from_agent::Message::Hello(hello)),
    }) = first
    else {
        return Err(Invalid {
            field: "hello",
            problem: "the first message of a stream must be Hello".to_owned(),
        });
    };
    let sane = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if hello.node.is_empty()
        || hello.node.len() > LONGEST_NODE_NAME
        || !hello.node.bytes().all(sane)
    {
        return Err(Invalid {
            field: "hello.node",
            problem: format!(
                "{:?} is not a node name; use 1 to {LONGEST_NODE_NAME} letters, digits, '-', '.' and '_'",
                hello.node
            ),
        });
    }
    check_generation("hello.generation", hello.generation)?;
    Ok(hello)
}

fn refuse(invalid: &Invalid) -> Status {
    Status::invalid_argument(invalid.to_string())
}

fn to_agent(message: to_agent::Message) -> v1::ToAgent {
    v1::ToAgent {
        message: Some(message),
    }
}

/// The stream of one node: reading it drives both directions. Dropped, however that comes about, it tells the index that the
/// agent has left.
pub(crate) struct Session {
    node: String,
    connection: Connection,
    inbound: Streaming<v1::FromAgent>,
    /// Said before layouts: what is kept when a layout comes is not to be destroyed by it.
    reservations: WatchStream<Option<Arc<v1::Reservations>>>,
    desired: WatchStream<Option<Arc<v1::Desired>>>,
    cluster: Arc<Cluster>,
    metrics: Arc<Metrics>,
    ended: bool,
}

impl Session {
    fn receive(&self, message: v1::FromAgent) -> Result<(), Invalid> {
        match message.message {
            Some(from_agent::Message::Report(report)) => {
                let reported = Reported::try_from(report)?;
                self.cluster.update(|index| {
                    index.report(&self.node, self.connection, reported, Instant::now());
                });
                Ok(())
            }
            Some(from_agent::Message::Outcome(outcome)) => {
                self.conclude(Outcome::try_from(outcome)?);
                Ok(())
            }
            Some(from_agent::Message::Hello(_)) => Err(Invalid {
                field: "hello",
                problem: "came twice on one stream".to_owned(),
            }),
            None => Err(Invalid {
                field: "message",
                problem: "is none that this coordinator knows; is the agent newer?".to_owned(),
            }),
        }
    }

    fn conclude(&self, outcome: Outcome) {
        let node = &self.node;
        let generation = outcome.generation;
        let whole = outcome.gpus.is_empty().then_some(("", &outcome.others));
        let each = outcome
            .gpus
            .iter()
            .map(|(uuid, verdict)| (uuid.as_str(), verdict));
        let mut hold = 0;
        for (gpu, verdict) in whole.into_iter().chain(each) {
            self.metrics.outcome(verdict);
            match verdict.problem() {
                None => hold += 1,
                Some(problem) if verdict.is_misunderstanding() => {
                    info!(node, gpu, %generation, problem, "a layout came too late");
                }
                Some(problem) => warn!(node, gpu, %generation, problem, "a layout does not hold"),
            }
        }
        if hold > 0 {
            info!(node, %generation, gpus = hold, "layouts hold");
        }
        let now = Instant::now();
        let awaited = self
            .cluster
            .update(|index| index.outcome(node, self.connection, outcome, now));
        if !awaited {
            debug!(node, %generation, "nobody waits for this outcome");
        }
    }

    /// Takes what has come in. Ready when the stream is to end, with what to tell the agent.
    fn poll_inbound(&mut self, cx: &mut Context<'_>) -> Poll<Option<Status>> {
        loop {
            match std::task::ready!(Pin::new(&mut self.inbound).poll_next(cx)) {
                Some(Ok(message)) => {
                    if let Err(error) = self.receive(message) {
                        warn!(node = self.node, %error, "a message makes no sense; the stream ends");
                        return Poll::Ready(Some(refuse(&error)));
                    }
                }
                Some(Err(status)) => {
                    debug!(node = self.node, %status, "the stream broke");
                    return Poll::Ready(Some(status));
                }
                None => return Poll::Ready(None),
            }
        }
    }

    /// What is kept for pods, when there is news. When the sender has gone, layouts say so.
    fn poll_reservations(&mut self, cx: &mut Context<'_>) -> Poll<Option<Arc<v1::Reservations>>> {
        loop {
            match std::task::ready!(Pin::new(&mut self.reservations).poll_next(cx)) {
                Some(None) => {}
                Some(news) => return Poll::Ready(news),
                None => return Poll::Ready(None),
            }
        }
    }

    fn poll_desired(&mut self, cx: &mut Context<'_>) -> Poll<Result<v1::ToAgent, Status>> {
        loop {
            match std::task::ready!(Pin::new(&mut self.desired).poll_next(cx)) {
                Some(Some(desired)) => {
                    let desired = v1::Desired::clone(&desired);
                    return Poll::Ready(Ok(to_agent(to_agent::Message::Desired(desired))));
                }
                Some(None) => {}
                None => {
                    return Poll::Ready(Err(Status::unavailable("the coordinator shuts down")));
                }
            }
        }
    }
}

impl Stream for Session {
    type Item = Result<v1::ToAgent, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if let Poll::Ready(end) = self.poll_inbound(cx) {
            self.ended = true;
            return Poll::Ready(end.map(Err));
        }
        if let Poll::Ready(Some(reservations)) = self.poll_reservations(cx) {
            let reservations = v1::Reservations::clone(&reservations);
            let message = to_agent::Message::Reservations(reservations);
            return Poll::Ready(Some(Ok(to_agent(message))));
        }
        let desired = std::task::ready!(self.poll_desired(cx));
        self.ended = desired.is_err();
        Poll::Ready(Some(desired))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.cluster
            .update(|index| index.agent_left(&self.node, self.connection, Instant::now()));
        info!(node = self.node, "agent left");
    }
}
