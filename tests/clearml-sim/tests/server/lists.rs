//! Listings: pages, scrolls, projection, filters.

use serde_json::{Value, json};

use crate::world::World;

#[tokio::test]
async fn listings_end_after_500_rows() {
    let world = World::new().await;
    for index in 0..505 {
        world
            .state()
            .add_queue(&world.company, &format!("bulk-{index:04}"));
    }
    let count = async |body: Value| {
        let data = world.data("queues.get_all", body).await;
        data["queues"].as_array().unwrap().len()
    };
    assert_eq!(count(json!({})).await, 500);
    assert_eq!(count(json!({"page": 0, "page_size": 1000})).await, 500);
    assert_eq!(count(json!({"page": 1})).await, 6);
    assert_eq!(
        count(json!({"page": 1, "page_size": 500, "order_by": ["name"]})).await,
        6
    );
    assert_eq!(count(json!({"page": 2})).await, 0);
    for (body, field) in [
        (json!({"page_size": 0}), "page_size must be >0"),
        (json!({"page": -1}), "page must be >=0"),
    ] {
        let answer = world.call("queues.get_all", body).await;
        assert_eq!(answer["meta"]["result_subcode"], 12);
        assert!(
            answer["meta"]["result_msg"]
                .as_str()
                .unwrap()
                .contains(field),
            "{answer}"
        );
    }
}

/// The names of the queues in an answer.
fn names(data: &Value) -> Vec<&str> {
    let rows = data["queues"].as_array().unwrap();
    rows.iter()
        .map(|row| row["name"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn a_scroll_goes_on_where_it_was() {
    let world = World::new().await;
    for name in ["aaa", "bbb", "ccc", "ddd"] {
        world.state().add_queue(&world.company, name);
    }
    let ask = async |scroll: &Value, refresh: bool| {
        let body = json!({"scroll_id": scroll, "size": 2, "order_by": ["name"], "refresh_scroll": refresh});
        world.data("queues.get_all", body).await
    };
    let first = ask(&Value::Null, false).await;
    let scroll = &first["scroll_id"];
    assert_eq!(names(&first), ["aaa", "bbb"]);
    assert_eq!(names(&ask(scroll, false).await), ["ccc", "ddd"]);
    assert_eq!(names(&ask(scroll, false).await), ["gpu-fraction-0_50"]);
    assert_eq!(names(&ask(scroll, false).await), [""; 0]);
    assert_eq!(
        names(&ask(scroll, true).await),
        ["aaa", "bbb"],
        "from the start"
    );
    let unknown = world
        .call("queues.get_all", json!({"scroll_id": "nope"}))
        .await;
    assert_eq!(unknown["meta"]["result_subcode"], 1104);
}

#[tokio::test]
async fn entries_are_cut_where_one_asks_for_it() {
    let world = World::new().await;
    let tasks = ["one", "two", "three"].map(|name| {
        world
            .state()
            .add_task(&world.company, name, Some(&world.queue))
    });
    let entries = |queue: &Value| {
        let entries = queue["entries"].as_array().unwrap().iter();
        let tasks = entries.map(|entry| entry["task"].as_str().unwrap().to_owned());
        tasks.collect::<Vec<_>>()
    };
    let cut = json!({"max_task_entries": 2, "queue": world.queue});
    let all = world.data("queues.get_all", cut.clone()).await;
    assert_eq!(entries(&all["queues"][0]), tasks[..2]);
    let one = world.data("queues.get_by_id", cut).await;
    assert_eq!(entries(&one["queue"]), tasks[..2]);
    let whole = world.data("queues.get_all", json!({})).await;
    assert_eq!(entries(&whole["queues"][0]), tasks);
}

#[tokio::test]
async fn hidden_queues_are_shown_to_those_who_ask() {
    let world = World::new().await;
    let hidden = world
        .state()
        .add_queue_with_tags(&world.company, "k8s_scheduler", &["k8s-glue"]);
    for (body, shown) in [
        (json!({}), false),
        (json!({"search_hidden": true}), true),
        (json!({"name": "k8s"}), true),
        (json!({"id": [hidden]}), true),
        (json!({"system_tags": ["k8s-glue"]}), false),
    ] {
        for endpoint in ["queues.get_all", "queues.get_all_ex"] {
            let data = world.data(endpoint, body.clone()).await;
            assert_eq!(
                names(&data).contains(&"k8s_scheduler"),
                shown,
                "{endpoint} {body}"
            );
        }
    }
}

#[tokio::test]
async fn projections_hold_for_one_listing_and_not_for_the_other() {
    let world = World::new().await;
    let body = json!({"only_fields": ["name"]});
    let keys = async |endpoint| {
        let data = world.data(endpoint, body.clone()).await;
        data["queues"][0].as_object().unwrap().len()
    };
    assert_eq!(keys("queues.get_all").await, 1);
    assert!(keys("queues.get_all_ex").await > 5);
}

#[tokio::test]
async fn metadata_is_a_list_for_old_clients() {
    let world = World::new().await;
    let metadata = json!({"team": {"key": "team", "type": "str", "value": "a"}});
    let body = json!({"queue": world.queue, "metadata": metadata});
    world.data("queues.update", body.clone()).await;
    let new = world.data("v2.13/queues.get_by_id", body.clone()).await;
    assert_eq!(new["queue"]["metadata"], metadata);
    let old = world.data("v2.12/queues.get_by_id", body).await;
    assert_eq!(old["queue"]["metadata"], json!([metadata["team"]]));
}
