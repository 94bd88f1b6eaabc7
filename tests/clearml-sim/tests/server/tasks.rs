//! The life of a task.

use clearml_sim::Status;
use rstest::rstest;
use serde_json::json;

use crate::world::World;

#[rstest]
#[case::well("tasks.completed", Status::Completed)]
#[case::badly("tasks.failed", Status::Failed)]
#[case::early("tasks.stopped", Status::Stopped)]
#[case::by_order("tasks.stop", Status::Stopped)]
#[tokio::test]
async fn a_task_lives_and_ends(#[case] end: &str, #[case] last: Status) {
    let world = World::new().await;
    let created = world
        .data("tasks.create", json!({"name": "train", "type": "training"}))
        .await;
    let id = created["id"].as_str().unwrap();
    assert_eq!(world.task(id).status, Status::Created);

    world
        .data("tasks.enqueue", json!({"task": id, "queue": world.queue}))
        .await;
    assert_eq!(world.task(id).status, Status::Queued);
    assert_eq!(
        world.state().queue(&world.queue).unwrap().entries[0].task,
        id
    );

    let next = world
        .data("queues.get_next_task", json!({"queue": world.queue}))
        .await;
    assert_eq!(next["entry"]["task"], id);
    assert_eq!(world.task(id).status, Status::Queued);
    assert_eq!(
        world.task(id).execution.queue.as_deref(),
        Some(world.queue.as_str())
    );
    assert!(
        world
            .state()
            .queue(&world.queue)
            .unwrap()
            .entries
            .is_empty()
    );

    let running = json!({"status": ["in_progress"], "only_fields": ["id", "execution.queue"]});
    assert_eq!(
        world.data("tasks.get_all", running.clone()).await,
        json!({"tasks": []})
    );
    let started = world.data("tasks.started", json!({"task": id})).await;
    assert_eq!(started["started"], 1);
    let row = json!({"id": id, "execution": {"queue": world.queue}});
    assert_eq!(
        world.data("tasks.get_all", running).await,
        json!({"tasks": [row]})
    );

    world.data(end, json!({"task": id})).await;
    assert_eq!(world.task(id).status, last);
}

#[tokio::test]
async fn a_task_at_work_is_asked_to_stop() {
    let world = World::new().await;
    let id = world
        .state()
        .add_task(&world.company, "train", Some(&world.queue));
    world
        .data("queues.get_next_task", json!({"queue": world.queue}))
        .await;
    world.data("tasks.started", json!({"task": id})).await;
    let report = json!({"worker": "w", "timestamp": 1, "task": id});
    world.data("workers.status_report", report).await;
    world.data("tasks.stop", json!({"task": id})).await;
    let task = world.task(&id);
    assert_eq!(
        (task.status, task.status_message.as_str()),
        (Status::InProgress, "stopping")
    );
    assert_eq!(task.last_worker.as_deref(), Some("w"));
}

#[tokio::test]
async fn a_task_leaves_its_queue_again() {
    let world = World::new().await;
    let id = world
        .state()
        .add_task(&world.company, "train", Some(&world.queue));
    let data = world.data("tasks.dequeue", json!({"task": id})).await;
    assert_eq!(data["dequeued"], 1);
    assert_eq!(world.task(&id).status, Status::Created);
    assert!(
        world
            .state()
            .queue(&world.queue)
            .unwrap()
            .entries
            .is_empty()
    );
    let again = world.call("tasks.dequeue", json!({"task": id})).await;
    assert_eq!(again["meta"]["result_subcode"], 110);
}

#[rstest]
#[case::created_cannot_complete(&[], "tasks.completed", 110)]
#[case::queued_cannot_fail(&["tasks.enqueue"], "tasks.failed", 110)]
#[case::running_cannot_wait(&["tasks.started"], "tasks.enqueue", 110)]
#[case::waits_already(&["tasks.enqueue"], "tasks.enqueue", 706)]
#[tokio::test]
async fn a_task_keeps_to_its_life(
    #[case] before: &[&str],
    #[case] then: &str,
    #[case] subcode: u32,
) {
    let world = World::new().await;
    let id = world.state().add_task(&world.company, "train", None);
    let body = json!({"task": id, "queue": world.queue});
    for endpoint in before {
        world.data(endpoint, body.clone()).await;
    }
    let answer = world.call(then, body).await;
    assert_eq!(answer["meta"]["result_code"], 400);
    assert_eq!(answer["meta"]["result_subcode"], subcode, "{answer}");
}

#[tokio::test]
async fn programs_leave_notes_on_a_task_that_waits() {
    let world = World::new().await;
    let queue = Some(world.queue.as_str());
    let id = world.state().add_task(&world.company, "train", queue);
    let note = json!({"task": id, "status_message": "K8S glue status: Unschedulable"});
    world.data("tasks.update", note).await;
    let hyperparams = json!([{"section": "properties", "name": "k8s-queue", "value": "gpu"}]);
    let property = json!({"task": id, "hyperparams": hyperparams});
    world.data("tasks.edit_hyper_params", property).await;
    let task = world.task(&id);
    assert_eq!(task.status_message, "K8S glue status: Unschedulable");
    assert_eq!(task.status, Status::Queued);
    let property = &task.other["hyperparams"]["properties"]["k8s-queue"];
    assert_eq!(property["value"], "gpu");
    // What it is to do does not change any more.
    let hyperparams = json!([{"section": "Args", "name": "rate", "value": "1"}]);
    for (endpoint, body) in [
        ("tasks.edit", json!({"task": id, "script": {}})),
        (
            "tasks.edit_hyper_params",
            json!({"task": id, "hyperparams": hyperparams}),
        ),
    ] {
        let refused = world.call(endpoint, body).await;
        assert_eq!(refused["meta"]["result_subcode"], 110, "{endpoint}");
    }
}
