//! What the agents of the Enterprise server do to tasks in other ways than those of the open-source server.

use clearml_sim::{Mode, Status};
use rstest::rstest;
use serde_json::json;

use crate::world::{Code, OK, World};

#[rstest]
#[case::enterprise(Mode::Enterprise, OK)]
#[case::open_source(Mode::Oss, (400, 706))]
#[tokio::test]
async fn a_taken_task_goes_into_another_queue_without_a_stop(
    #[case] mode: Mode,
    #[case] code: Code,
) {
    let world = World::of(mode).await;
    let (origin, pending) = (
        world.state().add_queue(&world.acme, "gpu"),
        world.state().add_queue(&world.acme, "pending"),
    );
    let task = world.state().add_task(&world.acme, "train", Some(&origin));
    let body = json!({"task": task, "queue": pending, "update_execution_queue": false});
    // While it waits, nowhere.
    assert_eq!(
        world.code(&world.user, "tasks.enqueue", body.clone()).await,
        (400, 706)
    );
    world
        .data(
            &world.user,
            "queues.get_next_task",
            json!({"queue": origin}),
        )
        .await;
    assert_eq!(world.code(&world.user, "tasks.enqueue", body).await, code);
    let task = world.state().task(&task).unwrap();
    assert_eq!(
        (task.status, task.execution.queue),
        (Status::Queued, Some(origin))
    );
}

#[rstest]
#[case::started("tasks.dequeue", json!({"new_status": "in_progress"}), Status::InProgress)]
#[case::put_back("tasks.dequeue", json!({}), Status::Created)]
#[case::stopped("tasks.stop", json!({}), Status::Stopped)]
#[tokio::test]
async fn it_leaves_that_queue_though_it_keeps_the_first(
    #[case] endpoint: &str,
    #[case] mut body: serde_json::Value,
    #[case] status: Status,
) {
    let world = World::new().await;
    let (origin, pending) = (
        world.state().add_queue(&world.acme, "gpu"),
        world.state().add_queue(&world.acme, "pending"),
    );
    let task = world.state().add_task(&world.acme, "train", Some(&origin));
    world
        .data(
            &world.user,
            "queues.get_next_task",
            json!({"queue": origin}),
        )
        .await;
    let enqueue = json!({"task": task, "queue": pending, "update_execution_queue": false});
    world.data(&world.user, "tasks.enqueue", enqueue).await;
    assert_eq!(world.state().queue(&pending).unwrap().entries.len(), 1);
    body["task"] = json!(task);
    world.data(&world.user, endpoint, body).await;
    assert!(world.state().queue(&pending).unwrap().entries.is_empty());
    assert_eq!(world.state().task(&task).unwrap().status, status);
}
