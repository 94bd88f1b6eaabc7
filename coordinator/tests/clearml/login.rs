//! Logging in, again, and in vain.

use std::time::{Duration, Instant};

use clearml_sim::State;
use mica_coordinator::clearml::Error;
use rstest::rstest;

use super::world::{World, asked, client};

#[tokio::test]
async fn logs_in_once() {
    let world = World::new().await;
    let (one, other) = tokio::join!(world.client.backlog(), world.client.running());
    one.unwrap();
    other.unwrap();
    world.client.backlog().await.unwrap();
    assert_eq!(world.logins(), 1);
}

#[tokio::test]
async fn logs_in_again_before_the_token_expires() {
    let world = World::new().await;
    world.state().set_token_life(3);
    world.client.backlog().await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while world.logins() < 2 {
        assert!(Instant::now() < deadline, "it never logs in again");
        world.client.backlog().await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Nothing was refused on the way.
    assert!(world.asked().iter().all(|(_, status)| *status == 200));
}

#[rstest]
#[case::expired(State::expire_tokens)]
#[case::revoked(State::revoke_tokens)]
#[tokio::test]
async fn logs_in_again_when_the_token_is_refused(#[case] end: fn(&State)) {
    let world = World::new().await;
    world.client.backlog().await.unwrap();
    world.state().forget_requests();
    end(world.state());
    world.client.backlog().await.unwrap();
    let expected = [("get_all", 401), ("login", 200), ("get_all", 200)];
    assert_eq!(world.asked(), asked(&expected));
}

#[tokio::test]
async fn says_which_keys_are_wrong() {
    let world = World::new().await;
    let client = client(world.server.url(), &world.keys.access_key, "wrong-secret");
    let error = client.backlog().await.unwrap_err();
    assert_eq!(error.category(), "unauthorized");
    assert!(
        matches!(error, Error::Unauthorized { subcode: 22, .. }),
        "{error:?}"
    );
    let text = error.to_string();
    for part in [
        world.server.url(),
        &world.keys.access_key,
        "401/22",
        "secretKeyFile",
    ] {
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(world.asked(), asked(&[("login", 401)]));
}

#[tokio::test]
async fn says_that_keys_were_taken_away() {
    let world = World::new().await;
    world.client.backlog().await.unwrap();
    world.state().revoke_keys(&world.keys.access_key);
    world.state().revoke_tokens();
    let error = world.client.backlog().await.unwrap_err();
    assert_eq!(error.category(), "unauthorized");
}
