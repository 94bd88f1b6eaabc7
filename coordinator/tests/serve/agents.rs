//! Streams of agents, from Hello to the end.

use mica_proto::v1::{self, NodeState, from_agent};
use rstest::rstest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::Code;

use super::{
    agent::{Agent, a100_layout},
    coordinator::Coordinator,
};

fn node<'a>(cluster: &'a v1::Cluster, name: &str) -> &'a v1::Node {
    let mut nodes = cluster.nodes.iter();
    nodes.find(|node| node.name == name).expect("no such node")
}

fn slices(cluster: &v1::Cluster, name: &str) -> usize {
    let report = node(cluster, name).report.as_ref();
    report.map_or(0, |report| {
        report.gpus.iter().map(|gpu| gpu.instances.len()).sum()
    })
}

#[tokio::test]
async fn from_backlog_to_slice() {
    let coordinator = Coordinator::start().await;
    let mut agent = Agent::with(&coordinator, "n1", "").await;
    coordinator.clearml.push("half", 1);

    let (generation, layout) = agent.desired().await;
    assert_eq!(generation, 1);
    assert_eq!(layout.0.len(), 1);
    let applying = coordinator
        .watch_until("applying", |cluster| {
            node(cluster, "n1").state() == NodeState::Applying
        })
        .await;
    assert_eq!(applying.generation, 1);

    let slice = layout.0.first().unwrap();
    agent
        .report(1, &format!("3g.20gb@{}", slice.placement.start))
        .await;
    agent.outcome(1, None).await;
    let ready = coordinator
        .watch_until("ready", |cluster| {
            node(cluster, "n1").state() == NodeState::Ready && slices(cluster, "n1") == 1
        })
        .await;
    let n1 = node(&ready, "n1");
    assert_eq!((n1.desired_generation, n1.observed_generation), (1, 1));
    assert_eq!(n1.agent_version, "1.2.3");
    let half = &ready.queues[0];
    assert_eq!((half.name.as_str(), half.waiting), ("half", 1));
    assert!(half.oldest_wait_seconds > 0.0 && half.unmet.is_empty());
    let created = "mica_coordinator_planned_operations_total{operation=\"create\"}";
    assert_eq!(coordinator.metric(created).await, Some(1.0));
    let applied = "mica_coordinator_outcomes_total{reason=\"\",result=\"applied\"}";
    assert_eq!(coordinator.metric(applied).await, Some(1.0));
    let generation = "mica_coordinator_plan_generation";
    assert_eq!(coordinator.metric(generation).await, Some(1.0));
}

#[tokio::test]
async fn one_node_name_one_agent() {
    let coordinator = Coordinator::start().await;
    let first = Agent::with(&coordinator, "n1", "").await;
    let refused = Agent::join(&coordinator, "n1", 0).await.err().unwrap();
    assert_eq!(refused.code(), Code::AlreadyExists);
    assert!(refused.message().contains("node n1") && refused.message().contains("--node"));

    first.report(0, "3g.20gb@0*").await;
    coordinator
        .watch_until("the first is not disturbed", |cluster| {
            slices(cluster, "n1") == 1
        })
        .await;
    drop(first);
    coordinator
        .watch_until("lost", |cluster| {
            node(cluster, "n1").state() == NodeState::Lost
        })
        .await;
    Agent::join(&coordinator, "n1", 0).await.unwrap();
}

#[tokio::test]
async fn a_restarted_coordinator_goes_on_above() {
    let coordinator = Coordinator::start().await;
    coordinator.clearml.push("half", 1);
    let mut agent = Agent::with(&coordinator, "n1", "").await;
    let (generation, _) = agent.desired().await;
    assert_eq!(generation, 1);

    let coordinator = coordinator.restart().await;
    assert_eq!(agent.end().await.unwrap().code(), Code::Unavailable);
    let mut agent = Agent::join(&coordinator, "n1", 17).await.unwrap();
    agent.report(17, "").await;
    let (generation, layout) = agent.desired().await;
    assert_eq!(generation, 18);
    assert_eq!(layout.0.len(), 1);
}

#[tokio::test]
async fn a_refusal_is_shown_and_tried_again() {
    let coordinator = Coordinator::start().await;
    let mut agent = Agent::with(&coordinator, "n1", "1g.5gb@0 1g.5gb@4").await;
    coordinator.clearml.push("half", 2);
    let (generation, _) = agent.desired().await;

    let refusal = v1::Refusal {
        reason: v1::RefusalReason::InUse.into(),
        detail: "process 7 is on GPU instance 1".to_owned(),
    };
    agent.report(generation, "1g.5gb@0 1g.5gb@4").await;
    agent.outcome(generation, Some(refusal)).await;
    let cluster = coordinator
        .watch_until("held", |cluster| !node(cluster, "n1").holds.is_empty())
        .await;
    let hold = &node(&cluster, "n1").holds[0];
    assert_eq!(hold.uuid, "GPU-n1");
    assert_eq!(
        hold.reason,
        "the agent refused its layout: process 7 is on GPU instance 1"
    );
    let explained = coordinator.explain("n1/0").await.unwrap();
    assert!(
        explained.contains("process 7 is on GPU instance 1"),
        "{explained}"
    );
    assert!(explained.contains("\ntried again within "), "{explained}");
    let gpus_held = "mica_coordinator_held_gpus{reason=\"refused\"}";
    assert_eq!(coordinator.metric(gpus_held).await, Some(1.0));

    agent.report(generation, "1g.5gb@0* 1g.5gb@4").await;
    let (next, layout) = agent.desired().await;
    assert!(next > generation);
    assert_eq!(layout, a100_layout("1g.5gb@0 3g.20gb@4"));
}

#[tokio::test]
async fn what_a_lost_agent_had_does_not_count() {
    let coordinator = Coordinator::start().await;
    let lost = Agent::with(&coordinator, "n1", "3g.20gb@0 3g.20gb@4").await;
    let mut other = Agent::with(&coordinator, "n2", "").await;
    coordinator.clearml.push("half", 1);
    coordinator
        .watch_until("seen", |cluster| cluster.queues[0].waiting == 1)
        .await;
    drop(lost);
    let shown = coordinator
        .watch_until("lost", |cluster| {
            node(cluster, "n1").state() == NodeState::Lost
        })
        .await;
    assert_eq!(slices(&shown, "n1"), 2, "what it last reported is shown");
    let (_, layout) = other.desired().await;
    assert_eq!(layout.0.len(), 1);
    let lost = "mica_coordinator_nodes{state=\"lost\"}";
    assert_eq!(coordinator.metric(lost).await, Some(1.0));
}

#[rstest]
#[case::no_hello(from_agent::Message::Report(v1::Report::default()), "hello: ")]
#[case::no_name(from_agent::Message::Hello(v1::Hello::default()), "hello.node: ")]
#[case::odd_name(
    from_agent::Message::Hello(v1::Hello { node: "a/b".to_owned(), ..v1::Hello::default() }),
    "hello.node: \"a/b\""
)]
#[tokio::test]
async fn a_stream_begins_with_hello(#[case] first: from_agent::Message, #[case] begin: &str) {
    let coordinator = Coordinator::start().await;
    let refused = Agent::open(&coordinator, "n1", first).await.err().unwrap();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(
        refused.message().starts_with(begin),
        "{}",
        refused.message()
    );
}

#[tokio::test]
async fn nonsense_is_refused_and_nothing_is_lost() {
    let coordinator = Coordinator::start().await;
    let mut agent = Agent::with(&coordinator, "n1", "3g.20gb@0*").await;
    coordinator
        .watch_until("reported", |cluster| slices(cluster, "n1") == 1)
        .await;
    let mut report = v1::Report::default();
    report.gpus.push(v1::Gpu {
        uuid: "GPU-n1".to_owned(),
        mig_mode: 99,
        ..v1::Gpu::default()
    });
    agent.send(from_agent::Message::Report(report)).await;
    let status = agent.end().await.unwrap();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(
        status.message().starts_with("gpus.mig_mode: 99"),
        "{status}"
    );
    let after = coordinator
        .watch_until("lost", |cluster| {
            node(cluster, "n1").state() == NodeState::Lost
        })
        .await;
    assert_eq!(slices(&after, "n1"), 1);
}

#[tokio::test]
async fn garbage_on_the_port_disturbs_nobody() {
    let coordinator = Coordinator::start().await;
    let agent = Agent::with(&coordinator, "n1", "").await;
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 4096], b"\0"] {
        let mut stream = tokio::net::TcpStream::connect(coordinator.grpc)
            .await
            .unwrap();
        stream.write_all(garbage).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        // Whether it answers or hangs up is the library's affair.
        drop(stream.read_to_end(&mut answer).await);
    }
    agent.report(0, "3g.20gb@0*").await;
    coordinator
        .watch_until("still there", |cluster| slices(cluster, "n1") == 1)
        .await;
}
