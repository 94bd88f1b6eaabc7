//! A coordinator that a test plays by hand.

use std::{collections::VecDeque, sync::Mutex};

use mica_model::{Generation, Gpu, Layout, Pod, Reservation, Slice};
use mica_proto::v1::{
    self, FromAgent, ToAgent,
    fleet_server::{Fleet, FleetServer},
    from_agent, to_agent,
};
use tokio::{net::TcpListener, sync::mpsc, task::JoinSet, time::timeout};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming, transport::Server};

use crate::node::DEADLINE;

/// The coordinator: streams that agents open, to be served by the test.
pub(crate) struct Coordinator {
    pub(crate) url: String,
    joined: mpsc::UnboundedReceiver<Joined>,
    _server: JoinSet<()>,
}

/// One stream, after its Hello.
pub(crate) struct Joined {
    pub(crate) hello: v1::Hello,
    /// What the call carried as `authorization`.
    pub(crate) authorization: Option<String>,
    from: Streaming<FromAgent>,
    to: mpsc::Sender<Result<ToAgent, Status>>,
}

struct Service {
    joined: mpsc::UnboundedSender<Joined>,
    /// What the first streams are answered with.
    refusals: Mutex<VecDeque<Status>>,
}

#[tonic::async_trait]
impl Fleet for Service {
    type JoinStream = ReceiverStream<Result<ToAgent, Status>>;

    async fn join(
        &self,
        request: Request<Streaming<FromAgent>>,
    ) -> Result<Response<Self::JoinStream>, Status> {
        let refusal = self.refusals.lock().unwrap().pop_front();
        if let Some(refusal) = refusal {
            return Err(refusal);
        }
        let authorization = request.metadata().get("authorization");
        let authorization = authorization.map(|value| value.to_str().unwrap().to_owned());
        let mut from = request.into_inner();
        let Some(from_agent::Message::Hello(hello)) =
            from.message().await?.and_then(|first| first.message)
        else {
            return Err(Status::invalid_argument("the first message is not Hello"));
        };
        let (to, out) = mpsc::channel(8);
        self.joined
            .send(Joined {
                hello,
                authorization,
                from,
                to,
            })
            .unwrap();
        Ok(Response::new(ReceiverStream::new(out)))
    }
}

impl Coordinator {
    /// Listens on loopback; the first streams are refused with these.
    pub(crate) async fn start(refusals: impl IntoIterator<Item = Status>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (sender, joined) = mpsc::unbounded_channel();
        let service = FleetServer::new(Service {
            joined: sender,
            refusals: Mutex::new(refusals.into_iter().collect()),
        });
        let mut server = JoinSet::new();
        server.spawn(async move {
            Server::builder()
                .add_service(service)
                .serve_with_incoming(TcpListenerStream::new(listener))
                .await
                .unwrap();
        });
        Self {
            url,
            joined,
            _server: server,
        }
    }

    /// The next stream that an agent opens.
    pub(crate) async fn accept(&mut self) -> Joined {
        let joined = timeout(DEADLINE, self.joined.recv()).await;
        joined.expect("no agent joins").unwrap()
    }
}

impl Joined {
    /// The next message.
    pub(crate) async fn next(&mut self) -> from_agent::Message {
        let message = timeout(DEADLINE, self.from.message()).await;
        let message = message.expect("the agent is silent").unwrap();
        message
            .expect("the agent ended the stream")
            .message
            .unwrap()
    }

    /// The next message, which must be a report.
    pub(crate) async fn report(&mut self) -> v1::Report {
        let message = self.next().await;
        let from_agent::Message::Report(report) = message else {
            panic!("not a report: {message:?}");
        };
        report
    }

    /// Reads reports until one has it. Each must differ from the one before.
    pub(crate) async fn report_that(&mut self, has: impl Fn(&v1::Report) -> bool) -> v1::Report {
        let mut last = None;
        loop {
            let report = self.report().await;
            assert_ne!(last.as_ref(), Some(&report), "the same was said twice");
            if has(&report) {
                return report;
            }
            last = Some(report);
        }
    }

    /// Reads up to the next outcome; gives it and the last report before it.
    pub(crate) async fn outcome(&mut self) -> (Option<v1::Report>, v1::Outcome) {
        let mut last = None;
        loop {
            match self.next().await {
                from_agent::Message::Report(report) => last = Some(report),
                from_agent::Message::Outcome(outcome) => return (last, outcome),
                from_agent::Message::Hello(hello) => panic!("a second {hello:?}"),
            }
        }
    }

    pub(crate) async fn want(&self, generation: u64, layouts: &[(&Gpu, Layout)]) {
        let gpus = layouts
            .iter()
            .map(|(gpu, layout)| v1::GpuLayout::new(gpu.uuid.clone(), layout))
            .collect();
        let desired = v1::Desired { generation, gpus };
        self.send(to_agent::Message::Desired(desired)).await;
    }

    /// Keeps slices for pods with these names; those that were kept before and are not among them no more.
    pub(crate) async fn keep(&self, slices: &[(&Gpu, Slice, &str)]) {
        let kept = |&(gpu, slice, name): &(&Gpu, Slice, &str)| {
            let namespace = "acme".to_owned();
            let name = name.to_owned();
            let reservation = Reservation {
                pod: Pod { namespace, name },
                generation: Generation(5),
            };
            v1::ReservedSlice::new(gpu.uuid.clone(), slice, reservation)
        };
        let slices = slices.iter().map(kept).collect();
        let reservations = v1::Reservations { slices };
        self.send(to_agent::Message::Reservations(reservations))
            .await;
    }

    async fn send(&self, message: to_agent::Message) {
        let message = Some(message);
        self.to.send(Ok(ToAgent { message })).await.unwrap();
    }

    /// Ends the stream with an error.
    pub(crate) async fn fail(self, status: Status) {
        self.to.send(Err(status)).await.unwrap();
    }
}
