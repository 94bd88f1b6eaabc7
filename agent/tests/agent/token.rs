//! How the agent shows the coordinator who it is.

use std::fs;

use tonic::Status;

use crate::{
    coordinator::Coordinator,
    node::{SimNode, wait_until},
    running::Running,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_token_is_read_anew_for_each_connection_and_never_shown() {
    let node = SimNode::a100();
    let file = node.directory.path().join("token");
    let refusal = Status::permission_denied("the token is of node gpu-9");
    let mut coordinator = Coordinator::start([refusal]).await;
    let flags = [
        "--log-level",
        "trace",
        "--token-file",
        file.to_str().unwrap(),
    ];
    let agent = Running::with(&node, &coordinator.url, &flags);
    wait_until("it says what is missing", || {
        let log = agent.log();
        log.contains("cannot read --token-file") && log.contains("No such file")
    });
    fs::write(&file, "first-secret\n").unwrap();
    let stream = coordinator.accept().await;
    assert_eq!(stream.authorization.as_deref(), Some("Bearer first-secret"));
    assert!(agent.log().contains("the token is of node gpu-9"));
    fs::write(&file, "second-secret").unwrap();
    drop(stream);
    let stream = coordinator.accept().await;
    assert_eq!(
        stream.authorization.as_deref(),
        Some("Bearer second-secret")
    );
    assert!(!agent.log().contains("-secret"), "{}", agent.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn without_a_token_file_nothing_is_shown() {
    let node = SimNode::a100();
    let mut coordinator = Coordinator::start([]).await;
    let _agent = Running::start(&node, &coordinator.url);
    assert_eq!(coordinator.accept().await.authorization, None);
}
