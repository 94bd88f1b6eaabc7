//! `mica get -w`: what has changed, and only that.

use super::coordinator::Coordinator;
use super::fixture::queue;
use super::program::Running;

#[tokio::test]
async fn a_table_goes_on_with_the_rows_that_changed() {
    let coordinator = Coordinator::start().await;
    let mut run = Running::start(&["--server", &coordinator.url(), "get", "slices", "-w"]);
    let mut first = Vec::new();
    for _ in 0..5 {
        first.push(run.line().await);
    }
    assert!(first[0].starts_with("NODE "), "{first:?}");
    coordinator.cluster.send_modify(|cluster| {
        let instances = &mut cluster.nodes[1].report.as_mut().unwrap().gpus[2].instances;
        instances[0].pids = vec![43];
        instances.remove(3);
    });
    assert_eq!(
        run.line().await,
        "node-a   0     1    0    3g.20gb   4:4         in-use      MIG-1"
    );
    assert_eq!(
        run.line().await,
        "node-a   0     9    -    1g.5gb    2:1         gone        -"
    );
}

#[tokio::test]
async fn time_going_by_is_no_change() {
    let coordinator = Coordinator::start().await;
    let mut run = Running::start(&["--server", &coordinator.url(), "get", "nodes", "-w"]);
    for _ in 0..3 {
        run.line().await;
    }
    coordinator
        .cluster
        .send_modify(|cluster| cluster.nodes[1].last_seen_seconds = 300.0);
    coordinator
        .cluster
        .send_modify(|cluster| cluster.nodes[0].agent_version = "0.2.0".to_owned());
    let line = run.line().await;
    assert!(line.starts_with("node-b "), "only what changed: {line}");
}

#[tokio::test]
async fn programs_get_the_whole_list_again_on_one_line() {
    let coordinator = Coordinator::start().await;
    let url = coordinator.url();
    let mut run = Running::start(&["get", "queues", "-w", "-ojson", "--server", &url]);
    let count = |line: &str| {
        let list: serde_json::Value = serde_json::from_str(line).unwrap();
        list["items"].as_array().unwrap().len()
    };
    assert_eq!(count(&run.line().await), 3);
    coordinator
        .cluster
        .send_modify(|cluster| cluster.queues.push(queue("new")));
    assert_eq!(count(&run.line().await), 4);
}

#[tokio::test]
async fn a_coordinator_that_stays_away_is_a_timeout() {
    let coordinator = Coordinator::start().await;
    let url = coordinator.url();
    let timeout = "--request-timeout=300ms";
    let mut run = Running::start(&["--server", &url, timeout, "get", "nodes", "-w"]);
    run.line().await;
    coordinator.kill();
    let message = run.end().await.failed(3);
    let begin = format!("lost the coordinator at {url} (");
    assert!(message.starts_with(&begin), "{message}");
    let end = format!(
        "error: the coordinator at {url} has not come back within 0.3 s; --request-timeout waits longer\n"
    );
    assert!(message.ends_with(&end), "{message}");
}

#[tokio::test]
async fn a_coordinator_that_comes_back_is_watched_again() {
    let coordinator = Coordinator::start().await;
    let (url, address) = (coordinator.url(), coordinator.address);
    let mut run = Running::start(&["--server", &url, "get", "nodes", "-w"]);
    for _ in 0..3 {
        run.line().await;
    }
    coordinator.kill();
    let coordinator = Coordinator::at(address).await;
    coordinator
        .cluster
        .send_modify(|cluster| cluster.nodes[0].agent_version = "0.2.0".to_owned());
    let line = run.line().await;
    assert!(line.starts_with("node-b "), "only what changed: {line}");
    run.child.start_kill().unwrap();
    let said = run.end().await.stderr;
    assert!(
        said.ends_with(&format!("the coordinator at {url} is back\n")),
        "{said}"
    );
}
