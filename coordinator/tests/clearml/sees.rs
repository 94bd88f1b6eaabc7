//! What the client sees of queues and tasks.

use std::collections::BTreeMap;

use super::{
    stub::Worker,
    world::{World, asked},
};

#[tokio::test]
async fn sees_what_waits() {
    let world = World::new().await;
    let state = world.state();
    let half = state.add_queue(&world.company, "gpu-fraction-0_50");
    let whole = state.add_queue(&world.company, "gpu-fraction-1_00");
    let other = state.add_company("other");
    let theirs = state.add_queue(&other, "gpu-fraction-0_50");
    state.add_task(&other, "theirs", Some(&theirs));
    let scheduler = state.add_queue_with_tags(&world.company, "k8s_scheduler", &["k8s-glue"]);
    state.add_task(&world.company, "has a pod", Some(&scheduler));
    let tasks =
        ["one", "two", "three"].map(|name| state.add_task(&world.company, name, Some(&half)));

    let backlog = world.client.backlog().await.unwrap();
    let found: BTreeMap<&str, _> = backlog
        .iter()
        .map(|queue| (queue.name.as_str(), queue))
        .collect();
    assert_eq!(found.len(), 2, "{backlog:?}");
    let queue = found["gpu-fraction-0_50"];
    assert_eq!(queue.id, half);
    let waiting: Vec<&str> = queue
        .entries
        .iter()
        .map(|entry| entry.task.as_str())
        .collect();
    assert_eq!(waiting, tasks);
    let added = state.queue(&half).unwrap().entries[0].added;
    assert_eq!(queue.entries[0].added, added.0);
    assert_eq!(found["gpu-fraction-1_00"].id, whole);
    assert!(found["gpu-fraction-1_00"].entries.is_empty());
    assert_eq!(world.asked(), asked(&[("login", 200), ("get_all", 200)]));
}

#[tokio::test]
async fn sees_what_runs() {
    let world = World::new().await;
    let state = world.state();
    let half = state.add_queue(&world.company, "gpu-fraction-0_50");
    let whole = state.add_queue(&world.company, "gpu-fraction-1_00");
    let worker = Worker::new(world.server.url(), &world.keys);
    for queue in [&half, &half, &half, &whole] {
        state.add_task(&world.company, "task", Some(queue));
    }
    assert_eq!(world.client.running().await.unwrap(), BTreeMap::new());
    let first = worker.take(&half).await;
    worker.take(&half).await;
    worker.take(&whole).await;
    let by_hand = state.add_task(&world.company, "by hand", None);
    worker.start(&by_hand).await;
    let expected = BTreeMap::from([(half.clone(), 2), (whole.clone(), 1)]);
    assert_eq!(world.client.running().await.unwrap(), expected);
    worker.complete(&first).await;
    let expected = BTreeMap::from([(half, 1), (whole, 1)]);
    assert_eq!(world.client.running().await.unwrap(), expected);
}

#[tokio::test]
async fn reads_all_pages() {
    let world = World::new().await;
    let state = world.state();
    for index in 0..1001 {
        let queue = state.add_queue(&world.company, &format!("queue-{index}"));
        state.add_task(&world.company, "task", Some(&queue));
    }
    let backlog = world.client.backlog().await.unwrap();
    assert_eq!(backlog.len(), 1001);
    assert!(backlog.iter().all(|queue| queue.entries.len() == 1));
    assert!(backlog.is_sorted_by(|one, other| one.id < other.id));
    let pages = [
        ("login", 200),
        ("get_all", 200),
        ("get_all", 200),
        ("get_all", 200),
    ];
    assert_eq!(world.asked(), asked(&pages));
}

#[tokio::test]
async fn asks_once_more_when_the_last_page_is_full() {
    let world = World::new().await;
    for index in 0..500 {
        world
            .state()
            .add_queue(&world.company, &format!("queue-{index}"));
    }
    assert_eq!(world.client.backlog().await.unwrap().len(), 500);
    assert_eq!(
        world.asked(),
        asked(&[("login", 200), ("get_all", 200), ("get_all", 200)])
    );
}
