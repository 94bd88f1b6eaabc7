//! Servers that are busy, slow or gone.

use std::time::{Duration, Instant};

use clearml_sim::Fault;
use rstest::rstest;

use super::{
    stub::Stub,
    world::{SHORT, World, asked, chain, client},
};

#[rstest]
#[case::busy(Fault::Status { code: 429, retry_after: None })]
#[case::bad_gateway(Fault::Status { code: 502, retry_after: None })]
#[case::down(Fault::Status { code: 503, retry_after: None })]
#[case::too_slow(Fault::Status { code: 504, retry_after: None })]
#[case::over_the_limit(Fault::Status { code: 509, retry_after: None })]
#[case::cut(Fault::Drop)]
#[case::cut_afterwards(Fault::DropAfterwards)]
#[tokio::test]
async fn asks_again_after_a_fault(#[case] fault: Fault) {
    let world = World::new().await;
    world.state().inject(2, fault);
    world.client.backlog().await.unwrap();
    world.state().inject(2, fault);
    world.client.backlog().await.unwrap();
    let good = world
        .asked()
        .iter()
        .filter(|(_, status)| *status == 200)
        .count();
    assert!(good >= 3, "{:?}", world.asked());
}

#[tokio::test]
async fn waits_as_long_as_the_server_wants() {
    let world = World::new().await;
    let (code, retry_after) = (429, Some(1));
    world.state().inject(1, Fault::Status { code, retry_after });
    let started = Instant::now();
    world.client.backlog().await.unwrap();
    assert!(started.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_retry_after_beyond_all_time_is_no_reason_to_break() {
    let head = "503 Service Unavailable\r\nRetry-After: 18446744073709551615";
    let stub = Stub::start(head, "{}").await;
    let client = client(stub.url(), "key", "secret");
    let error = client.backlog().await.unwrap_err();
    assert_eq!(error.category(), "unavailable");
}

#[tokio::test]
async fn does_not_wait_longer_than_it_has_patience() {
    let world = World::new().await;
    let (code, retry_after) = (503, Some(3600));
    world.state().inject(1, Fault::Status { code, retry_after });
    let error = world.client.backlog().await.unwrap_err();
    assert_eq!(error.category(), "unavailable");
    assert_eq!(world.asked(), asked(&[("login", 503)]));
}

#[rstest]
#[case::down(Fault::Status { code: 503, retry_after: None }, "unavailable")]
#[case::cut(Fault::Drop, "unreachable")]
#[tokio::test]
async fn gives_up(#[case] fault: Fault, #[case] category: &str) {
    let world = World::new().await;
    let client = world.client.with_patience(SHORT);
    client.backlog().await.unwrap();
    world.server.state().forget_requests();
    world.server.state().inject(1000, fault);
    let started = Instant::now();
    let error = client.backlog().await.unwrap_err();
    assert_eq!(error.category(), category, "{error:?}");
    assert!(started.elapsed() < 4 * SHORT);
    assert!(world.server.state().requests().len() >= 2);
    // And is as good as new afterwards.
    world.server.state().heal();
    client.backlog().await.unwrap();
}

#[tokio::test]
async fn gives_up_on_a_server_that_does_not_answer() {
    let world = World::new().await;
    let client = world.client.with_patience(SHORT);
    world.server.state().set_delay(Duration::from_secs(60));
    let started = Instant::now();
    let error = client.backlog().await.unwrap_err();
    assert_eq!(error.category(), "unreachable");
    assert!(started.elapsed() < 4 * SHORT);
}

#[tokio::test]
async fn says_that_nobody_listens() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let client = client(&url, "key", "secret").with_patience(SHORT);
    let error = client.backlog().await.unwrap_err();
    assert_eq!(error.category(), "unreachable");
    let text = chain(&error);
    assert!(
        text.contains(&url) && text.contains("refused") && text.contains("clearml.url"),
        "{text}"
    );
}
