//! What people and Prometheus ask.

use mica_proto::v1;
use tonic::Code;

use super::{agent::Agent, coordinator::Coordinator};

#[tokio::test]
async fn a_plan_changes_nothing() {
    let coordinator = Coordinator::start().await;
    let _agent = Agent::with(&coordinator, "n1", "7g.40gb@0*").await;
    coordinator.clearml.push("half", 1);
    coordinator
        .watch_until("planned", |cluster| !cluster.queues[0].unmet.is_empty())
        .await;
    let reply = coordinator.console().await.plan(v1::PlanRequest {}).await;
    let v1::PlanReply { changes, queues } = reply.unwrap().into_inner();
    assert!(changes.is_empty());
    assert_eq!((queues[0].wanted, queues[0].served_new), (1, 0));
    assert_eq!(queues[0].unmet[0].reason(), v1::UnmetReason::NoRoom);
    let generation = "mica_coordinator_plan_generation";
    assert_eq!(coordinator.metric(generation).await, Some(0.0));
}

#[tokio::test]
async fn why_a_queue_waits() {
    let coordinator = Coordinator::start().await;
    let _agent = Agent::with(&coordinator, "n1", "3g.20gb@0 4g.20gb@0*").await;
    coordinator.clearml.push("half", 3);
    coordinator.clearml.push("small", 5);
    coordinator.clearml.run_one("small").await;
    coordinator.clearml.run_one("small").await;
    coordinator
        .watch_until("planned", |cluster| {
            let [half, small] = &cluster.queues[..] else {
                return false;
            };
            !half.unmet.is_empty() && small.running == Some(2) && !small.unmet.is_empty()
        })
        .await;
    let half = coordinator.explain("half").await.unwrap();
    assert!(
        half.starts_with("queue acme/half: 3 tasks wait, the oldest for "),
        "{half}"
    );
    assert!(
        half.contains("each task needs one slice of 3g.20gb"),
        "{half}"
    );
    let small = coordinator.explain("acme/small").await.unwrap();
    assert!(small.contains("2 of at most 2 run"), "{small}");
    assert!(
        small.contains("3 not served, because: the queue's limit is reached (maxRunning is 2, 2 of its tasks run)"),
        "{small}"
    );
    let gpu = coordinator.explain("GPU-n1").await.unwrap();
    assert_eq!(gpu, coordinator.explain("n1/0").await.unwrap());
    assert!(
        gpu.contains("slice 4g.20gb at 0:4 (GPU instance 2) is in use: process 2 is on it"),
        "{gpu}"
    );
}

#[tokio::test]
async fn names_that_are_nearly_right() {
    let coordinator = Coordinator::start().await;
    let near = coordinator.explain("smal").await.unwrap_err();
    assert_eq!(near.code(), Code::NotFound);
    assert!(
        near.message().ends_with("did you mean acme/small, small?"),
        "{}",
        near.message()
    );
    let far = coordinator.explain("xyzzy").await.unwrap_err();
    assert!(
        far.message().contains("`mica get queues`"),
        "{}",
        far.message()
    );
}

#[tokio::test]
async fn its_version() {
    let coordinator = Coordinator::start().await;
    let reply = coordinator
        .console()
        .await
        .version(v1::VersionRequest {})
        .await;
    assert_eq!(
        reply.unwrap().into_inner().version,
        env!("CARGO_PKG_VERSION")
    );
    let info = format!(
        "mica_coordinator_build_info{{version=\"{}\"}}",
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(coordinator.metric(&info).await, Some(1.0));
}

#[tokio::test]
async fn alive_and_ready() {
    let coordinator = Coordinator::start().await;
    assert_eq!(coordinator.get("/livez").await, (200, "ok\n".to_owned()));
    let polls = "mica_coordinator_clearml_polls_total{tenant=\"acme\"}";
    coordinator
        .watch_until("polled", |cluster| !cluster.queues[0].id.is_empty())
        .await;
    assert!(coordinator.metric(polls).await >= Some(1.0));
    assert_eq!(coordinator.get("/readyz").await, (200, "ok\n".to_owned()));
}

#[tokio::test]
async fn a_watch_ends_with_the_coordinator() {
    let mut coordinator = Coordinator::start().await;
    let mut console = coordinator.console().await;
    let once = console.watch(v1::WatchRequest { follow: false }).await;
    let mut once = once.unwrap().into_inner();
    assert!(once.message().await.unwrap().is_some());
    assert!(once.message().await.unwrap().is_none());
    let follow = console.watch(v1::WatchRequest { follow: true }).await;
    let mut follow = follow.unwrap().into_inner();
    assert!(follow.message().await.unwrap().is_some());
    coordinator.end().await;
    while let Ok(Some(_)) = follow.message().await {}
}
