//! Queues: order, and what becomes of the tasks in them.

use clearml_sim::Status;
use serde_json::json;

use crate::world::World;

#[tokio::test]
async fn first_in_first_out_unless_moved() {
    let world = World::new().await;
    let [one, two, three] = ["one", "two", "three"].map(|name| {
        world
            .state()
            .add_task(&world.company, name, Some(&world.queue))
    });
    let pop = async |only: Option<&str>| {
        let body = json!({"queue": world.queue, "task": only, "get_task_info": true});
        world.data("queues.get_next_task", body).await
    };
    let front = json!({"queue": world.queue, "task": three});
    world.data("queues.move_task_to_front", front).await;
    assert_eq!(pop(Some(&one)).await, json!({}), "another is next");
    let next = pop(Some(&three)).await;
    assert_eq!(
        (&next["entry"]["task"], &next["task_info"]["company"]),
        (&json!(three), &json!(world.company))
    );
    assert_eq!(pop(None).await["entry"]["task"], one);
    assert_eq!(pop(None).await["entry"]["task"], two);
    assert_eq!(pop(None).await, json!({}));
}

#[tokio::test]
async fn a_task_that_was_stopped_and_taken_waits_again() {
    let world = World::new().await;
    let task = world.state().add_task(&world.company, "train", None);
    world
        .data("tasks.stop", json!({"task": task, "force": true}))
        .await;
    world
        .data(
            "queues.add_task",
            json!({"queue": world.queue, "task": task}),
        )
        .await;
    world
        .data("queues.get_next_task", json!({"queue": world.queue}))
        .await;
    assert_eq!(world.task(&task).status, Status::Queued);
}

#[tokio::test]
async fn tasks_of_a_queue_that_goes_are_what_they_were() {
    for endpoint in ["queues.delete", "queues.clear_queue"] {
        let world = World::new().await;
        let task = world.state().add_task(&world.company, "train", None);
        world
            .data("tasks.stop", json!({"task": task, "force": true}))
            .await;
        world
            .data("tasks.enqueue", json!({"task": task, "queue": world.queue}))
            .await;
        let body = json!({"queue": world.queue});
        if endpoint == "queues.delete" {
            let refused = world.call(endpoint, body).await;
            assert_eq!(refused["meta"]["result_subcode"], 702);
        }
        world
            .data(endpoint, json!({"queue": world.queue, "force": true}))
            .await;
        let task = world.task(&task);
        assert_eq!(
            (task.status, task.execution.queue),
            (Status::Stopped, None),
            "{endpoint}"
        );
    }
}

#[tokio::test]
async fn the_default_queue_is_the_only_one_of_the_company_with_the_tag() {
    let world = World::new().await;
    let subcode = async || {
        world.call("queues.get_default", json!({})).await["meta"]["result_subcode"].clone()
    };
    let other = world.state().add_company("other");
    world
        .state()
        .add_queue_with_tags(&other, "theirs", &["default"]);
    assert_eq!(subcode().await, 707);
    world
        .state()
        .add_queue_with_tags(&world.company, "one", &["default"]);
    assert_eq!(subcode().await, 0);
    world
        .state()
        .add_queue_with_tags(&world.company, "two", &["default"]);
    assert_eq!(subcode().await, 708);
}
