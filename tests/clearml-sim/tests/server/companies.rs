//! Companies do not see each other.

use serde_json::json;

use crate::world::World;

#[tokio::test]
async fn companies_do_not_see_each_other() {
    let world = World::new().await;
    let other = world.state().add_company("other");
    let queue = world.state().add_queue(&other, "gpu-fraction-0_50");
    let task = world.state().add_task(&other, "secret", Some(&queue));
    for (endpoint, body, subcode) in [
        ("queues.get_by_id", json!({"queue": queue}), 701),
        ("queues.get_next_task", json!({"queue": queue}), 701),
        ("queues.delete", json!({"queue": queue, "force": true}), 701),
        (
            "queues.remove_task",
            json!({"queue": queue, "task": task}),
            703,
        ),
        ("tasks.get_by_id", json!({"task": task}), 101),
        ("tasks.started", json!({"task": task}), 101),
        (
            "workers.register",
            json!({"worker": "w", "queues": [queue]}),
            701,
        ),
    ] {
        let answer = world.call(endpoint, body).await;
        assert_eq!(
            answer["meta"]["result_subcode"], subcode,
            "{endpoint}: {answer}"
        );
    }
    let tasks = world.data("tasks.get_all", json!({"id": [task]})).await;
    assert_eq!(tasks, json!({"tasks": []}));
}

#[tokio::test]
async fn companies_do_not_change_each_other() {
    let world = World::new().await;
    let other = world.state().add_company("other");
    let theirs = world.state().add_queue(&other, "theirs");
    let task = world.state().add_task(&other, "secret", Some(&theirs));
    let before = world.task(&task);
    // A queue takes any identifier, as the real server's does; the task of another company stays as it is.
    let body = json!({"queue": world.queue, "task": task, "update_execution_queue": true});
    world.data("queues.add_task", body).await;
    let body = json!({"worker": "w", "timestamp": 1, "task": task});
    world.data("workers.status_report", body).await;
    let event = world
        .call("events.add_batch", json!({"task": task, "type": "log"}))
        .await;
    assert_eq!(event["meta"]["result_subcode"], 101);
    let after = world.task(&task);
    assert_eq!(after.execution.queue, before.execution.queue);
    assert_eq!(after.last_update, before.last_update);
}

#[tokio::test]
async fn names_of_queues_are_unique_in_a_company_alone() {
    let world = World::new().await;
    let other = world.state().add_company("other");
    world.state().add_queue(&other, "theirs");
    world.data("queues.create", json!({"name": "theirs"})).await;
    for (endpoint, body) in [
        ("queues.create", json!({"name": "theirs"})),
        (
            "queues.update",
            json!({"queue": world.queue, "name": "theirs"}),
        ),
    ] {
        let again = world.call(endpoint, body).await;
        assert_eq!(again["meta"]["result_subcode"], 801, "{endpoint}");
    }
}

#[tokio::test]
async fn workers_and_users_are_those_of_the_company() {
    let world = World::new().await;
    let other = world.state().add_company("other");
    let keys = world.state().add_user(&other, "stranger");
    let strangers = World { keys, ..world };
    strangers
        .data("workers.register", json!({"worker": "theirs"}))
        .await;
    let keys = strangers.state().add_user(&strangers.company, "other");
    let world = World { keys, ..strangers };
    world
        .data("workers.register", json!({"worker": "ours"}))
        .await;
    let workers = world.data("workers.get_all", json!({})).await;
    assert_eq!(workers["workers"].as_array().unwrap().len(), 1);
    assert_eq!(workers["workers"][0]["id"], "ours");
    assert_eq!(world.data("workers.get_count", json!({})).await["count"], 1);
    let users = world
        .data("users.get_all", json!({"name": "stranger"}))
        .await;
    assert_eq!(users, json!({"users": []}));
}
