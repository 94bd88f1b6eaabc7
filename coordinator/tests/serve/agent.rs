//! An agent that does what a test says.

use std::sync::Arc;

use mica_model::{
    ComputeInstance, Gpu, Instance, Layout, MigMode, Use,
    testing::{a100_40gb, layout},
};
use mica_proto::v1::{self, from_agent, to_agent};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::coordinator::{Coordinator, DEADLINE};

/// One open stream.
pub(crate) struct Agent {
    node: String,
    out: mpsc::Sender<v1::FromAgent>,
    incoming: Streaming<v1::ToAgent>,
}

/// Idle slices of an A100-40GB, written as `3g.20gb@0`; `*` behind one: in use.
pub(crate) fn a100(node: &str, slices: &str) -> Gpu {
    let board = Arc::new(a100_40gb());
    let instances = slices.split_whitespace().zip(1..).map(|(word, gi)| {
        let slice = layout(&board, word.trim_end_matches('*')).unwrap();
        Instance {
            gi,
            slice: *slice.0.first().unwrap(),
            compute: Some(ComputeInstance {
                id: 0,
                uuid: format!("MIG-{node}-{gi}"),
            }),
            in_use: if word.ends_with('*') {
                Use::by_processes(vec![gi])
            } else {
                Use::default()
            },
            memory_used_bytes: 0,
            memory_total_bytes: 1,
            fault: None,
        }
    });
    Gpu {
        uuid: format!("GPU-{node}"),
        index: 0,
        product: board.product.clone(),
        memory_mib: 40_960,
        mig_mode: MigMode::Enabled,
        instances: instances.collect(),
        board: Some(Arc::clone(&board)),
        in_use: Use::default(),
        holders: Vec::new(),
        waits_for: None,
        fault: None,
    }
}

/// A layout of an A100-40GB.
pub(crate) fn a100_layout(slices: &str) -> Layout {
    layout(&a100_40gb(), slices).unwrap()
}

fn message(message: from_agent::Message) -> v1::FromAgent {
    v1::FromAgent {
        message: Some(message),
    }
}

impl Agent {
    /// Says Hello.
    pub(crate) async fn join(
        coordinator: &Coordinator,
        node: &str,
        generation: u64,
    ) -> Result<Self, Status> {
        let hello = v1::Hello {
            node: node.to_owned(),
            agent_version: "1.2.3".to_owned(),
            generation,
        };
        Self::open(coordinator, node, from_agent::Message::Hello(hello)).await
    }

    /// Opens a stream with this message.
    pub(crate) async fn open(
        coordinator: &Coordinator,
        node: &str,
        first: from_agent::Message,
    ) -> Result<Self, Status> {
        let (out, queue) = mpsc::channel(8);
        out.send(message(first)).await.unwrap();
        let mut fleet = coordinator.fleet().await;
        let joined = timeout(DEADLINE, fleet.join(ReceiverStream::new(queue))).await;
        let mut agent = Self {
            node: node.to_owned(),
            out,
            incoming: joined.unwrap()?.into_inner(),
        };
        // Without Kubernetes no pods are released, and the agent has to know that.
        let empty = to_agent::Message::Reservations(v1::Reservations::default());
        assert_eq!(agent.next().await, empty, "said first on every stream");
        Ok(agent)
    }

    /// Joins with one A100 that looks so.
    pub(crate) async fn with(coordinator: &Coordinator, node: &str, slices: &str) -> Self {
        let agent = Self::join(coordinator, node, 0).await.unwrap();
        agent.report(0, slices).await;
        agent
    }

    pub(crate) async fn send(&self, what: from_agent::Message) {
        self.out.send(message(what)).await.unwrap();
    }

    /// Reports one A100 that looks so.
    pub(crate) async fn report(&self, generation: u64, slices: &str) {
        let report = v1::Report {
            driver_version: "580.1".to_owned(),
            nvml_version: "13.1".to_owned(),
            generation,
            ..v1::Report::of_gpus(&[a100(&self.node, slices)])
        };
        self.send(from_agent::Message::Report(report)).await;
    }

    async fn next(&mut self) -> to_agent::Message {
        let message = timeout(DEADLINE, self.incoming.message()).await;
        let message = message.expect("nothing comes").unwrap().unwrap();
        message.message.unwrap()
    }

    /// The next layout for its GPU.
    pub(crate) async fn desired(&mut self) -> (u64, Layout) {
        let to_agent::Message::Desired(desired) = self.next().await else {
            panic!("not a layout");
        };
        let [gpu] = &desired.gpus[..] else {
            panic!("{} GPUs", desired.gpus.len());
        };
        assert_eq!(gpu.uuid, format!("GPU-{}", self.node));
        (desired.generation, gpu.layout().unwrap())
    }

    /// Says how it ended on its GPU.
    pub(crate) async fn outcome(&self, generation: u64, refusal: Option<v1::Refusal>) {
        let gpu = v1::GpuOutcome {
            uuid: format!("GPU-{}", self.node),
            refusal,
            ..v1::GpuOutcome::default()
        };
        let outcome = v1::Outcome {
            generation,
            refusal: None,
            gpus: vec![gpu],
        };
        self.send(from_agent::Message::Outcome(outcome)).await;
    }

    /// How the stream ends.
    pub(crate) async fn end(&mut self) -> Option<Status> {
        loop {
            match timeout(DEADLINE, self.incoming.message()).await.unwrap() {
                Ok(Some(_)) => {}
                Ok(None) => return None,
                Err(status) => return Some(status),
            }
        }
    }
}
