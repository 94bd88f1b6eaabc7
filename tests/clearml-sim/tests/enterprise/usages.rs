//! The part of `tenants.*` that measures.

use rstest::rstest;
use serde_json::{Value, json};

use crate::world::{Code, INVALID, NO_OBJECT, OK, World};

#[rstest]
#[case::whole(json!({"from_date": "2026-11-01", "to_date": "2026-11-30"}), OK)]
#[case::backwards(json!({"from_date": "2026-11-30", "to_date": "2026-11-01"}), INVALID)]
#[case::no_day(json!({"from_date": "1.11.2026"}), INVALID)]
#[case::nobody(json!({"tenant": "nobody"}), NO_OBJECT)]
#[tokio::test]
async fn usage_is_of_a_tenant_and_a_time(#[case] mut body: Value, #[case] code: Code) {
    let world = World::new().await;
    if body.get("tenant").is_none() {
        body["tenant"] = json!(world.acme);
    }
    assert_eq!(
        world
            .code(&world.supervisor, "tenants.get_tenant_usages", body)
            .await,
        code
    );
}

#[tokio::test]
async fn the_configuration_changes_once() {
    let world = World::new().await;
    let body = json!({"tenant": world.acme, "configuration": {"currency": "EUR"}});
    for updated in [1, 0] {
        let data = world
            .data(
                &world.supervisor,
                "tenants.edit_usage_configuration",
                body.clone(),
            )
            .await;
        assert_eq!(data["updated"], updated);
    }
    let kept = world
        .data(
            &world.supervisor,
            "tenants.get_usage_configuration",
            json!({"tenant": world.acme}),
        )
        .await;
    assert_eq!(kept["configuration"], body["configuration"]);
}

#[tokio::test]
async fn administrators_report_events_of_their_own_tenant() {
    let world = World::new().await;
    let event = |tenant: &str| json!({"id": "e1", "clearml_tenant": tenant, "timestamp_millis": 1});
    let body =
        json!({"template_key": "k", "events": [event(&world.acme), event(&world.globex), {}]});
    let told = world
        .data(&world.admin, "tenants.custom_events", body.clone())
        .await;
    assert_eq!(
        (&told["succeeded"], told["errors"].as_array().unwrap().len()),
        (&json!(1), 2)
    );
    assert_eq!(
        world.tenant(&world.acme)["events"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(
        world
            .data(&world.supervisor, "tenants.custom_events", body)
            .await["succeeded"],
        2
    );
}
