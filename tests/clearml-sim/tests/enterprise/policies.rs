//! `resources.*`

use clearml_sim::{Configuration, Pool, Profile};
use rstest::rstest;
use serde_json::{Value, json};

use crate::world::{Code, FORBIDDEN, INVALID, NO_OBJECT, TAKEN, World, text};

/// A policy with a limit of one unit, and a queue through it to a profile that costs one.
async fn connected(world: &World) -> (String, String) {
    let draft = Configuration {
        pools: vec![Pool {
            id: "pool".to_owned(),
            name: "gpus".to_owned(),
            resources: 4.0,
        }],
        profiles: vec![Profile {
            id: "half".to_owned(),
            name: "half a GPU".to_owned(),
            cost: 1.0,
            pool_links: vec!["pool".to_owned()],
        }],
    };
    world.state().draft_resources(&world.acme, draft);
    let body = json!({"name": "research", "user_group": "users", "reservation": 1, "limit": 1});
    let policy = world
        .data(&world.admin, "resources.create_policy", body)
        .await;
    let connect = json!({"policy": policy["id"], "profile": "half", "queue_name": "half", "display_name": "Half"});
    // A draft does not count.
    world
        .refused(
            &world.admin,
            "resources.connect_policy_profile",
            connect.clone(),
            NO_OBJECT,
        )
        .await;
    world
        .data(
            &world.admin,
            "resources.publish_resource_configuration",
            json!({}),
        )
        .await;
    let queue = world
        .data(
            &world.admin,
            "resources.connect_policy_profile",
            connect.clone(),
        )
        .await;
    world
        .refused(
            &world.admin,
            "resources.connect_policy_profile",
            connect,
            TAKEN,
        )
        .await;
    (text(&policy["id"]), text(&queue["queue"]))
}

#[tokio::test]
async fn a_policy_holds_back_what_is_over_its_limit() {
    let world = World::new().await;
    let (policy, queue) = connected(&world).await;
    let tasks =
        ["one", "two", "three"].map(|name| world.state().add_task(&world.acme, name, Some(&queue)));
    let pop = async || {
        let next = world
            .data(&world.user, "queues.get_next_task", json!({"queue": queue}))
            .await;
        next["entry"]["task"].as_str().map(str::to_owned)
    };
    let reason = |task: &str| world.state().task(task).unwrap().status_reason;
    // The manager is off.
    assert_eq!(pop().await.as_deref(), Some(&*tasks[0]));
    assert_eq!(reason(&tasks[0]), "");
    let enable = json!({"enable": true});
    assert_eq!(
        world
            .data(&world.admin, "resources.enable_policy_manager", enable)
            .await["updated"],
        1
    );
    assert_eq!(pop().await, None);
    assert_eq!(reason(&tasks[1]), "pushed back by policy manager");
    let shown = world
        .data(&world.user, "resources.get_policies", json!({}))
        .await;
    let shown = &shown["policies"][0];
    assert_eq!(
        (&shown["id"], &shown["usage"], &shown["limit"]),
        (&json!(policy), &json!(1.0), &json!(1.0))
    );
    let pools = world
        .data(&world.user, "resources.get_resource_pools", json!({}))
        .await;
    assert_eq!(pools["pools"][0]["usage"], 1.0);
    let profiles = world
        .data(&world.user, "resources.get_resource_profiles", json!({}))
        .await;
    let profile = &profiles["profiles"][0];
    assert_eq!(
        (&profile["queued_jobs"], &profile["running_jobs"]),
        (&json!(2), &json!(1))
    );

    // What it held ends, and the next may go.
    world
        .data(&world.user, "tasks.started", json!({"task": tasks[0]}))
        .await;
    assert_eq!(pop().await, None);
    world
        .data(&world.user, "tasks.completed", json!({"task": tasks[0]}))
        .await;
    assert_eq!(pop().await.as_deref(), Some(&*tasks[1]));
    assert_eq!(reason(&tasks[1]), "allocated by policy manager");
}

#[tokio::test]
async fn queues_go_with_their_policy() {
    let world = World::new().await;
    let (policy, queue) = connected(&world).await;
    let task = world.state().add_task(&world.acme, "train", Some(&queue));
    let data = world
        .data(
            &world.user,
            "resources.get_policy_data",
            json!({"policy": policy}),
        )
        .await;
    assert_eq!(data["queues"], json!([{"id": queue, "profile": "half"}]));
    let deleted = world
        .data(
            &world.admin,
            "resources.delete_policy",
            json!({"id": policy}),
        )
        .await;
    assert_eq!(deleted, json!({"deleted": 1, "deleted_queues": [queue]}));
    assert!(world.state().queue(&queue).is_none());
    assert_eq!(
        world.state().task(&task).unwrap().status,
        clearml_sim::Status::Created
    );
    world
        .refused(
            &world.admin,
            "resources.delete_policy",
            json!({"id": policy}),
            NO_OBJECT,
        )
        .await;
}

#[tokio::test]
async fn a_queue_is_disconnected() {
    let world = World::new().await;
    let (_, queue) = connected(&world).await;
    let body = json!({"queue": queue});
    world
        .data(
            &world.admin,
            "resources.disconnect_policy_profile",
            body.clone(),
        )
        .await;
    assert!(world.state().queue(&queue).is_none());
    world
        .refused(
            &world.admin,
            "resources.disconnect_policy_profile",
            body,
            (400, 701),
        )
        .await;
}

#[tokio::test]
async fn policies_have_an_order() {
    let world = World::new().await;
    let mut ids = Vec::new();
    for name in ["one", "two", "three"] {
        let body = json!({"name": name, "user_group": "users"});
        ids.push(
            world
                .data(&world.admin, "resources.create_policy", body)
                .await["id"]
                .clone(),
        );
    }
    let body = json!({"policy": ids[2], "position": 0});
    world
        .data(&world.admin, "resources.move_policy", body)
        .await;
    let listed = world
        .data(&world.user, "resources.get_policies", json!({}))
        .await;
    let names: Vec<String> = listed["policies"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| text(&row["name"]))
        .collect();
    assert_eq!(names, ["three", "one", "two"]);
}

#[tokio::test]
async fn a_draft_is_published_or_taken_back() {
    let world = World::new().await;
    connected(&world).await;
    let configuration = async || {
        world
            .data(
                &world.user,
                "resources.get_resource_configuration",
                json!({}),
            )
            .await
    };
    let before = configuration().await;
    assert_eq!(before["published"], true);
    world
        .state()
        .draft_resources(&world.acme, Configuration::default());
    assert_eq!(configuration().await["published"], false);
    world
        .data(
            &world.admin,
            "resources.reset_resource_configuration",
            json!({}),
        )
        .await;
    assert_eq!(configuration().await, before);
}

#[rstest]
#[case::nameless(json!({"user_group": "users"}), INVALID)]
#[case::groupless(json!({"name": "research"}), INVALID)]
#[case::negative(json!({"name": "research", "user_group": "users", "limit": -1}), INVALID)]
#[case::limit_below(json!({"name": "research", "user_group": "users", "limit": 1, "reservation": 2}), INVALID)]
#[case::same_name(json!({"name": "taken", "user_group": "users"}), TAKEN)]
#[tokio::test]
async fn mistakes_make_no_policy(#[case] body: Value, #[case] code: Code) {
    let world = World::new().await;
    let taken = json!({"name": "taken", "user_group": "users"});
    world
        .data(&world.admin, "resources.create_policy", taken.clone())
        .await;
    world
        .refused(&world.admin, "resources.create_policy", body, code)
        .await;
    world
        .refused(&world.user, "resources.create_policy", taken, FORBIDDEN)
        .await;
}

#[tokio::test]
async fn policies_need_the_feature() {
    let world = World::new().await;
    let without = json!({"company": world.acme, "exclude_features": ["resource_policy"]});
    world
        .data(&world.supervisor, "system.update_company_settings", without)
        .await;
    world
        .refused(
            &world.user,
            "resources.get_policies",
            json!({}),
            (403, 1201),
        )
        .await;
}
