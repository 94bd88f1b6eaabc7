//! What is seen of ClearML, and what is said when nothing is seen.

use super::{clearml::ClearMl, coordinator::Coordinator};

const FAILURES: &str = "mica_coordinator_clearml_poll_failures_total";

#[tokio::test]
async fn queues_and_limits() {
    let coordinator = Coordinator::start().await;
    coordinator.clearml.push("small", 6);
    coordinator.clearml.run_one("small").await;
    let cluster = coordinator
        .watch_until("polled and planned", |cluster| {
            let small = &cluster.queues[1];
            small.waiting == 5 && small.running == Some(1) && !small.unmet.is_empty()
        })
        .await;
    let small = &cluster.queues[1];
    assert_eq!(small.id, coordinator.clearml.id("small"));
    assert_eq!(small.max_running, Some(2));
    assert_eq!(cluster.queues[0].running, None, "no limit, not asked");
    let labels = "{queue=\"small\",tenant=\"acme\"}";
    let metric = |name: &str| format!("mica_coordinator_{name}{labels}");
    assert_eq!(
        coordinator.metric(&metric("queue_waiting_tasks")).await,
        Some(5.0)
    );
    assert_eq!(
        coordinator.metric(&metric("queue_wanted_slices")).await,
        Some(1.0)
    );
    let demand = "mica_coordinator_demand_slices{profile=\"1g.5gb\"}";
    assert_eq!(coordinator.metric(demand).await, Some(1.0));
    let unmet = |reason: &str| {
        format!(
            "mica_coordinator_queue_unmet_slices{{queue=\"small\",reason=\"{reason}\",tenant=\"acme\"}}"
        )
    };
    assert_eq!(coordinator.metric(&unmet("limit")).await, Some(4.0));
    assert_eq!(coordinator.metric(&unmet("fragmented")).await, Some(0.0));
}

#[tokio::test]
async fn a_queue_that_clearml_does_not_have() {
    let coordinator = Coordinator::on(ClearMl::start(&["half"]).await, &[]).await;
    coordinator.clearml.push("half", 1);
    let cluster = coordinator
        .watch_until("said", |cluster| {
            !cluster.queues[1].error.is_empty() && cluster.queues[0].waiting == 1
        })
        .await;
    let error = &cluster.queues[1].error;
    assert!(
        error.starts_with("ClearML has no queue small for tenant acme"),
        "{error}"
    );
    assert_eq!(cluster.queues[0].error, "");
}

#[tokio::test]
async fn bad_keys() {
    let mut clearml = ClearMl::start(&["half", "small"]).await;
    clearml.keys.access_key = "stranger".to_owned();
    let coordinator = Coordinator::on(clearml, &[]).await;
    let cluster = coordinator
        .watch_until("said", |cluster| !cluster.queues[0].error.is_empty())
        .await;
    let error = &cluster.queues[0].error;
    assert!(
        error.contains("refuses the access key \"stranger\""),
        "{error}"
    );
    assert!(!error.contains(&coordinator.clearml.keys.secret_key));
    let series = format!("{FAILURES}{{category=\"unauthorized\",tenant=\"acme\"}}");
    assert!(coordinator.metric(&series).await >= Some(1.0));
    let explained = coordinator.explain("half").await.unwrap();
    assert!(
        explained.contains("the queue cannot be seen now: "),
        "{explained}"
    );
    assert_eq!(
        coordinator.get("/readyz").await.0,
        200,
        "it does what it can"
    );
}

#[tokio::test]
async fn clearml_goes_and_comes() {
    let mut coordinator = Coordinator::start().await;
    coordinator.clearml.push("half", 3);
    coordinator
        .watch_until("seen", |cluster| cluster.queues[0].waiting == 3)
        .await;
    coordinator.clearml.stop().await;
    let cluster = coordinator
        .watch_until("said", |cluster| !cluster.queues[0].error.is_empty())
        .await;
    let error = &cluster.queues[0].error;
    assert!(
        error.starts_with("failed to reach ClearML at http://127.0.0.1:"),
        "{error}"
    );
    assert_eq!(cluster.queues[0].waiting, 3, "the last figures stay");
    let series = format!("{FAILURES}{{category=\"unreachable\",tenant=\"acme\"}}");
    assert!(coordinator.metric(&series).await >= Some(1.0));

    coordinator.clearml.push("half", 1);
    coordinator.clearml.resume().await;
    coordinator
        .watch_until("seen again", |cluster| {
            cluster.queues[0].error.is_empty() && cluster.queues[0].waiting == 4
        })
        .await;
}
