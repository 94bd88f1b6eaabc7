//! Compression, tokens, faults on purpose, and the end.

use std::time::Duration;

use clearml_sim::Fault;
use reqwest::Client;
use rstest::rstest;
use serde_json::json;

use crate::world::World;

#[tokio::test]
async fn long_answers_are_compressed_for_those_who_can_read_it() {
    let world = World::new().await;
    world.state().add_queue(&world.company, "gpu-fraction-1_00");
    // One that does not unpack, and so hides nothing.
    let http = Client::builder().no_proxy().no_gzip().build().unwrap();
    for (endpoint, wanted, encoding) in [
        ("queues.get_all", "identity", None),
        ("queues.get_all", "gzip, deflate", Some("gzip")),
        ("debug.ping", "gzip, deflate", None),
    ] {
        let response = http
            .get(format!("{}/{endpoint}", world.server.url()))
            .basic_auth(&world.keys.access_key, Some(&world.keys.secret_key))
            .header("Accept-Encoding", wanted)
            .send()
            .await
            .unwrap();
        let header = response.headers().get("content-encoding");
        let found = header.map(|value| value.to_str().unwrap());
        assert_eq!(found, encoding, "{endpoint} {wanted}");
    }
}

#[tokio::test]
async fn tokens_end() {
    let world = World::new().await;
    let token = world.login().await;
    assert_eq!(world.status_with_token(&token).await, 200);
    assert_eq!(world.status_with_token(&format!("{token}x")).await, 401);
    world.state().expire_tokens();
    assert_eq!(world.status_with_token(&token).await, 401);

    let token = world.login().await;
    assert_eq!(world.status_with_token(&token).await, 200);
    world.state().revoke_tokens();
    assert_eq!(world.status_with_token(&token).await, 401);

    let token = world.data("auth.login", json!({"expiration_sec": 0})).await;
    assert_eq!(
        world
            .status_with_token(token["token"].as_str().unwrap())
            .await,
        401
    );

    world.state().revoke_keys(&world.keys.access_key);
    let answer = world.call("auth.login", json!({})).await;
    assert_eq!(answer["meta"]["result_subcode"], 22);
}

#[tokio::test]
async fn fails_as_often_as_it_is_told() {
    let world = World::new().await;
    let state = world.state();
    state.fail_next(2, 503);
    let (code, retry_after) = (429, Some(7));
    state.inject(1, Fault::Status { code, retry_after });
    let mut found = Vec::new();
    for _ in 0..4 {
        let response = world.send("debug.ping", &json!({})).await.unwrap();
        found.push(response.status().as_u16());
        if response.status() == 429 {
            assert_eq!(response.headers()["retry-after"], "7");
        }
    }
    assert_eq!(found, [503, 503, 429, 200]);
    let logged: Vec<u16> = state
        .requests()
        .iter()
        .map(|request| request.status)
        .collect();
    assert_eq!(logged, found);
    assert_eq!(state.requests()[0].endpoint, "debug.ping");
    state.forget_requests();
    assert!(state.requests().is_empty());
}

#[rstest]
#[case::before(Fault::Drop, 0)]
#[case::after_the_deed(Fault::DropAfterwards, 1)]
#[tokio::test]
async fn cuts_connections(#[case] fault: Fault, #[case] tasks: usize) {
    let world = World::new().await;
    world.state().inject(1, fault);
    let body = json!({"name": "train", "type": "training"});
    world.send("tasks.create", &body).await.unwrap_err();
    assert_eq!(world.state().tasks().len(), tasks);
    assert_eq!(world.state().requests()[0].status, 0);
    world.data("tasks.create", body).await;
}

#[tokio::test]
async fn answers_late_when_told() {
    let world = World::new().await;
    let delay = Duration::from_millis(50);
    world.state().set_delay(delay);
    let started = std::time::Instant::now();
    world.data("debug.ping", json!({})).await;
    assert!(started.elapsed() >= delay);
}

#[tokio::test]
async fn closes_connections_when_it_stops() {
    let world = World::new().await;
    world.data("debug.ping", json!({})).await;
    let url = world.server.url().to_owned();
    world.server.shutdown().await.unwrap();
    world
        .http
        .get(format!("{url}/debug.ping"))
        .send()
        .await
        .unwrap_err();
}
