//! `workers.cluster_…`

use serde_json::json;

use crate::world::{INVALID, World};

#[tokio::test]
async fn a_report_replaces_the_one_before_or_adds_to_it() {
    let world = World::new().await;
    let report = async |partial: bool, names: &[&str], gpus: u32| {
        let groups: Vec<_> = names
            .iter()
            .map(|name| json!({"name": name, "gpus": gpus}))
            .collect();
        let body = json!({
            "key": "east", "timestamp": 1_795_487_885_000_i64, "worker": "acme:glue", "partial": partial,
            "resource_groups": groups, "properties": {"max_gpus": gpus},
        });
        world
            .data(&world.user, "workers.cluster_report", body)
            .await;
        let cluster = world.tenant(&world.acme)["clusters"]["east"].clone();
        assert_eq!(cluster["properties"]["max_gpus"], gpus);
        cluster["resource_groups"].clone()
    };
    assert_eq!(
        report(false, &["a", "b"], 1).await,
        json!([{"name": "a", "gpus": 1}, {"name": "b", "gpus": 1}])
    );
    assert_eq!(
        report(true, &["b"], 2).await,
        json!([{"name": "a", "gpus": 1}, {"name": "b", "gpus": 2}])
    );
    assert_eq!(
        report(false, &["c"], 3).await,
        json!([{"name": "c", "gpus": 3}])
    );
    assert_eq!(world.tenant(&world.globex), json!(null), "another tenant's");
}

#[tokio::test]
async fn a_cluster_signs_off_once() {
    let world = World::new().await;
    let body = json!({"key": "east", "timestamp": 1});
    world
        .data(&world.user, "workers.cluster_report", body)
        .await;
    let body = json!({"key": "east"});
    world
        .data(&world.user, "workers.cluster_unregister", body.clone())
        .await;
    world
        .refused(&world.user, "workers.cluster_unregister", body, (400, 1003))
        .await;
}

#[tokio::test]
async fn a_report_has_a_key_and_a_time() {
    let world = World::new().await;
    for body in [
        json!({"timestamp": 1}),
        json!({"key": "east"}),
        json!({"key": "east", "timestamp": 1, "resource_groups": "a"}),
        json!({"key": "east", "timestamp": 1, "properties": {"max_gpus": "many"}}),
    ] {
        world
            .refused(&world.user, "workers.cluster_report", body, INVALID)
            .await;
    }
}
