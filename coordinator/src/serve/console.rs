//! The people's side: what the command line asks.

mod explain;
mod message;

use std::{
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use mica_planner::Violation;
use mica_proto::v1::{self, console_server};
use tokio_stream::{Stream, StreamExt, wrappers::WatchStream};
use tonic::{Request, Response, Status};

use super::{cluster::Cluster, index::Index, round::round};

/// Between two messages of a watch: reports of many nodes make one message, which is all that eyes and programs can use.
const PAUSE: Duration = Duration::from_millis(100);

/// The service.
pub(crate) struct Console {
    cluster: Arc<Cluster>,
}

impl Console {
    pub(crate) fn new(cluster: &Arc<Cluster>) -> Self {
        Self {
            cluster: Arc::clone(cluster),
        }
    }
}

/// The moment of an answer.
#[derive(Clone, Copy, Debug)]
struct Now {
    clock: Instant,
    wall: Timestamp,
}

impl Now {
    fn read() -> Self {
        Self {
            clock: Instant::now(),
            wall: Timestamp::now(),
        }
    }
}

#[tonic::async_trait]
impl console_server::Console for Console {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<v1::Cluster, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<v1::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let cluster = Arc::clone(&self.cluster);
        let show = move || cluster.read(|index| message::cluster(index, Now::read()));
        if !request.into_inner().follow {
            return Ok(Response::new(Box::pin(tokio_stream::once(Ok(show())))));
        }
        let shown = WatchStream::new(self.cluster.watch())
            .throttle(PAUSE)
            .take_while(|revision| !revision.closed)
            .map(move |_| Ok(show()));
        Ok(Response::new(Box::pin(shown)))
    }

    async fn plan(
        &self,
        _request: Request<v1::PlanRequest>,
    ) -> Result<Response<v1::PlanReply>, Status> {
        self.cluster.read(plan).map(Response::new)
    }

    async fn explain(
        &self,
        request: Request<v1::ExplainRequest>,
    ) -> Result<Response<v1::ExplainReply>, Status> {
        let subject = request.into_inner().subject;
        let lines = self
            .cluster
            .read(|index| explain::explain(index, &subject, Now::read()));
        match lines {
            Ok(lines) => Ok(Response::new(v1::ExplainReply { lines })),
            Err(error) => Err(Status::not_found(error.to_string())),
        }
    }

    async fn version(
        &self,
        _request: Request<v1::VersionRequest>,
    ) -> Result<Response<v1::VersionReply>, Status> {
        Ok(Response::new(v1::VersionReply {
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }))
    }
}

/// What is said of a plan that may not be published.
fn withheld(violations: &[Violation]) -> String {
    let violations: Vec<_> = violations.iter().map(ToString::to_string).collect();
    format!(
        "the plan breaks a rule and is not published, so nothing changes; please report this: {}",
        violations.join("; ")
    )
}

fn plan(index: &Index) -> Result<v1::PlanReply, Status> {
    let round = round(index).map_err(|violations| Status::internal(withheld(&violations)))?;
    Ok(v1::PlanReply {
        changes: round
            .changes
            .iter()
            .filter_map(|change| message::change(index, change))
            .collect(),
        queues: round.queues.into_values().collect(),
    })
}
