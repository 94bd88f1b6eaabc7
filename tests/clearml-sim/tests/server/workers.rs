//! Workers: whom a listing has.

use serde_json::json;

use crate::world::World;

/// Lets an hour and more pass since the worker was heard of.
fn silence(world: &World, worker: &str) {
    let mut dump = world.state().dump();
    let workers = dump["workers"].as_array_mut().unwrap();
    let row = workers
        .iter_mut()
        .find(|row| row[1]["name"] == worker)
        .unwrap();
    row[1]["last_activity"] = json!("2020-01-01T00:00:00+00:00");
    world.state().restore(&dump).unwrap();
}

#[tokio::test]
async fn silent_workers_are_not_listed() {
    let world = World::new().await;
    let count = async |body| {
        world.data("workers.get_all", body).await["workers"]
            .as_array()
            .unwrap()
            .len()
    };
    world
        .data(
            "workers.register",
            json!({"worker": "patient", "timeout": 1_000_000_000}),
        )
        .await;
    world
        .data(
            "workers.register",
            json!({"worker": "brief", "timeout": 600}),
        )
        .await;
    assert_eq!(count(json!({})).await, 2);
    silence(&world, "brief");
    assert_eq!(
        count(json!({"last_seen": 0})).await,
        1,
        "over its own timeout"
    );
    silence(&world, "patient");
    assert_eq!(count(json!({})).await, 0, "not seen for an hour");
    assert_eq!(count(json!({"last_seen": 0})).await, 1, "however long ago");
    world
        .data(
            "workers.status_report",
            json!({"worker": "brief", "timestamp": 1}),
        )
        .await;
    assert_eq!(count(json!({})).await, 1, "a sign of life");
}

#[tokio::test]
async fn workers_are_chosen_by_tags_and_name() {
    let world = World::new().await;
    world
        .data(
            "workers.register",
            json!({"worker": "node-a:gpu0", "tags": ["a"], "system_tags": ["x"]}),
        )
        .await;
    world
        .data(
            "workers.register",
            json!({"worker": "node-b:gpu0", "tags": ["b"]}),
        )
        .await;
    for (body, expected) in [
        (json!({"tags": ["a"]}), &["node-a:gpu0"][..]),
        (json!({"tags": ["-a"]}), &["node-b:gpu0"]),
        (json!({"system_tags": ["x"]}), &["node-a:gpu0"]),
        (json!({"worker_pattern": "^node-b"}), &["node-b:gpu0"]),
        (
            json!({"worker_pattern": "gpu0"}),
            &["node-a:gpu0", "node-b:gpu0"],
        ),
    ] {
        let data = world.data("workers.get_all", body).await;
        let names: Vec<&str> = data["workers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row["id"].as_str().unwrap())
            .collect();
        assert_eq!(names, expected);
    }
}

#[tokio::test]
async fn keys_tell_which_worker_used_them_last() {
    let world = World::new().await;
    let url = format!("{}/queues.get_all", world.server.url());
    for (header, worker) in [("X-Clearml-Worker", "new"), ("X-Trains-Worker", "old")] {
        let request = world.http.get(&url);
        let request = request.basic_auth(&world.keys.access_key, Some(&world.keys.secret_key));
        request.header(header, worker).send().await.unwrap();
        let dump = world.state().dump();
        assert_eq!(
            dump["keys"][&world.keys.access_key]["last_used_from"],
            worker
        );
    }
}
