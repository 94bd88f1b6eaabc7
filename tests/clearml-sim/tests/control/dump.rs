//! A state, taken out and put in again.

use clearml_sim::{Role, State};
use proptest::prelude::*;
use reqwest::Method;
use serde_json::{Value, json};

use crate::world::World;

/// Something that changes a world.
#[derive(Clone, Debug)]
enum Deed {
    Company,
    User(u8, Role),
    Queue(u8, bool),
    Task(u8, Option<u8>),
    RevokeKeys(u8),
    Deactivate(u8),
    TokenLife(u32),
}

fn deed() -> impl Strategy<Value = Deed> {
    let role = prop_oneof![Just(Role::User), Just(Role::Admin), Just(Role::System)];
    prop_oneof![
        Just(Deed::Company),
        (any::<u8>(), role).prop_map(|(company, role)| Deed::User(company, role)),
        (any::<u8>(), any::<bool>()).prop_map(|(company, hidden)| Deed::Queue(company, hidden)),
        (any::<u8>(), any::<Option<u8>>()).prop_map(|(company, queue)| Deed::Task(company, queue)),
        any::<u8>().prop_map(Deed::RevokeKeys),
        any::<u8>().prop_map(Deed::Deactivate),
        any::<u32>().prop_map(Deed::TokenLife),
    ]
}

/// One of the list.
fn pick(list: &[String], index: u8) -> Option<&str> {
    let index = usize::from(index).checked_rem(list.len())?;
    list.get(index).map(String::as_str)
}

fn world(deeds: &[Deed]) -> State {
    let state = State::new();
    let (mut companies, mut keys, mut queues) = (vec![], vec![], vec![]);
    for deed in deeds {
        match deed {
            Deed::Company => companies.push(state.add_company("acme")),
            Deed::User(company, role) => {
                if let Some(company) = pick(&companies, *company) {
                    keys.push(state.add_user_as(company, "bob", *role).access_key);
                }
            }
            Deed::Queue(company, hidden) => {
                if let Some(company) = pick(&companies, *company) {
                    let tags: &[&str] = if *hidden { &["k8s-glue"] } else { &[] };
                    queues.push(state.add_queue_with_tags(company, "queue", tags));
                }
            }
            Deed::Task(company, queue) => {
                if let Some(company) = pick(&companies, *company) {
                    let queue = queue.and_then(|queue| pick(&queues, queue));
                    state.add_task(company, "train", queue);
                }
            }
            Deed::RevokeKeys(index) => {
                if let Some(key) = pick(&keys, *index) {
                    state.revoke_keys(key);
                }
            }
            Deed::Deactivate(company) => {
                if let Some(company) = pick(&companies, *company) {
                    state.deactivate_company(company);
                }
            }
            Deed::TokenLife(seconds) => state.set_token_life(*seconds),
        }
    }
    state
}

proptest! {
    #[test]
    fn a_loaded_state_is_the_same(deeds in prop::collection::vec(deed(), 0..40)) {
        let dump = world(&deeds).dump();
        let text = dump.to_string();
        let read: Value = serde_json::from_str(&text).unwrap();
        let loaded = State::load(&read).unwrap();
        prop_assert_eq!(loaded.dump(), dump);
        // Both invent the same from here on: nothing was left out that the next identifiers hang on.
        let next = loaded.add_company("next");
        let again = State::load(&read).unwrap().add_company("next");
        prop_assert_eq!(next, again);
    }
}

#[tokio::test]
async fn everything_goes_over_to_another_server() {
    let one = World::new().await;
    let queue = one.state().queues()[0].id.clone();
    one.state().add_task(&one.company, "train", Some(&queue));
    one.send(
        "workers.register",
        &json!({"worker": "w", "queues": [queue]}),
    )
    .await
    .unwrap();
    let token = one.login().await;
    let (_, dump) = one.control(Method::GET, "state", &json!({})).await;

    let other = World::new().await;
    let (status, _) = other.control(Method::POST, "state", &dump).await;
    assert_eq!(status, 200);
    assert_eq!(other.state().dump(), dump);
    // Keys, tokens, tasks in queues and workers are those of the first.
    let other = World {
        keys: one.keys.clone(),
        ..other
    };
    assert_eq!(other.status_with(&token).await, 200);
    for endpoint in ["queues.get_all", "workers.get_all", "tasks.get_all"] {
        let data = async |world: &World| {
            let answer = world.send(endpoint, &json!({})).await.unwrap();
            let mut answer: Value = answer.json().await.unwrap();
            answer["data"].take()
        };
        assert_eq!(data(&one).await, data(&other).await, "{endpoint}");
    }
}

#[tokio::test]
async fn a_scroll_goes_on_in_another_server() {
    let one = World::new().await;
    one.state().add_queue(&one.company, "other");
    let scroll = async |world: &World, id: &Value| {
        let body = json!({"scroll_id": id, "size": 1});
        let answer = world.send("queues.get_all", &body).await.unwrap();
        let mut answer: Value = answer.json().await.unwrap();
        answer["data"].take()
    };
    let first = scroll(&one, &Value::Null).await;
    let other = World::new().await;
    other.state().restore(&one.state().dump()).unwrap();
    let keys = one.keys.clone();
    let next = scroll(&World { keys, ..other }, &first["scroll_id"]).await;
    assert_eq!(next["queues"][0]["name"], "other");
}

#[test]
fn a_mistake_leaves_the_world_as_it_is() {
    let state = State::new();
    state.add_company("acme");
    let before = state.dump();
    let mut wrong = before.clone();
    wrong["company"] = json!([]);
    assert!(state.restore(&wrong).is_err());
    assert_eq!(state.dump(), before);
}
