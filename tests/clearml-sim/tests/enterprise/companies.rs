//! `system.*`, and what both APIs of tenants refuse.

use rstest::rstest;
use serde_json::{Value, json};

use crate::world::{BAD_DATA, Code, INVALID, NO_OBJECT, OK, TAKEN, World, text};

#[tokio::test]
async fn a_company_is_made_and_found_again() {
    let world = World::new().await;
    let keys = &world.supervisor;
    let body = json!({"name": "Initech", "defaults": {"allowed_users": "10", "cluster": "east"}});
    let made = world.data(keys, "system.create_company", body).await;
    let own: Vec<String> = world
        .state()
        .queues()
        .into_iter()
        .filter(|queue| queue.company == made["id"])
        .map(|queue| queue.id)
        .collect();
    assert_eq!(
        made["app_queues"],
        json!([{"id": own[0], "name": "applications"}])
    );
    for filter in [json!({"name": "initech"}), json!({"name_pattern": "^Ini"})] {
        let found = world.data(keys, "system.get_companies", filter).await;
        let row = json!({"id": made["id"], "name": "Initech", "active": true});
        assert_eq!(found, json!({"companies": [row]}));
    }
    let custom = json!({"name": "acme", "custom_data": {"users": true}});
    let found = world.data(keys, "system.get_companies", custom).await;
    assert_eq!(found["companies"][0]["users"], 2);
    let body = json!({"company": made["id"]});
    let info = world.data(keys, "system.company_info", body).await;
    assert_eq!(
        (
            &info["defaults"]["allowed_users"],
            &info["defaults"]["cluster"]
        ),
        (&json!(10), &json!("east"))
    );
}

#[tokio::test]
async fn settings_change_once() {
    let world = World::new().await;
    let keys = &world.supervisor;
    let body = json!({
        "company": world.acme,
        "features": ["queue_management"],
        "exclude_features": ["service_users"],
        "allowed_users": 7,
        "allowed_service_users": 3,
        "feature_set": "advanced",
        "max_running_apps": 2,
    });
    for updated in [1, 0] {
        let data = world
            .data(keys, "system.update_company_settings", body.clone())
            .await;
        assert_eq!(data, json!({"updated": updated}));
    }
    let info = world
        .data(keys, "system.company_info", json!({"company": world.acme}))
        .await;
    for field in [
        "features",
        "exclude_features",
        "allowed_users",
        "allowed_service_users",
        "feature_set",
        "max_running_apps",
    ] {
        assert_eq!(info["defaults"][field], body[field], "{field}");
    }
}

#[rstest]
#[case::short("system.create_company", json!({"name": "ab"}), BAD_DATA)]
#[case::nameless("system.create_company", json!({}), INVALID)]
#[case::many_users("system.create_company", json!({"name": "initech", "defaults": {"allowed_users": "ten"}}), INVALID)]
#[case::unknown_feature("system.create_company", json!({"name": "initech", "defaults": {"features": ["magic"]}}), INVALID)]
#[case::settings_of_nobody("system.update_company_settings", json!({"company": "nobody"}), NO_OBJECT)]
#[case::settings_of_whom("system.update_company_settings", json!({}), INVALID)]
#[case::info_of_nobody("system.company_info", json!({"company": "nobody"}), NO_OBJECT)]
#[case::short_tenant("tenants.create_tenant", json!({"name": "ab"}), BAD_DATA)]
#[case::broken_email("tenants.create_tenant", json!({"name": "initech", "admin_emails": ["nowhere"]}), BAD_DATA)]
#[case::email_twice("tenants.create_tenant", json!({"name": "initech", "admin_emails": ["a@b.io", "a@b.io"]}), TAKEN)]
#[case::broken_domain("tenants.create_tenant", json!({"name": "initech", "domain": "nowhere"}), BAD_DATA)]
#[case::delete_whom("tenants.delete_tenant", json!({"tenant": "nobody", "name": "acme"}), NO_OBJECT)]
#[tokio::test]
async fn mistakes_change_nothing(#[case] endpoint: &str, #[case] body: Value, #[case] code: Code) {
    let world = World::new().await;
    world.refused(&world.supervisor, endpoint, body, code).await;
}

#[rstest]
#[case::older("system.create_company")]
#[case::newer("tenants.create_tenant")]
#[tokio::test]
async fn names_are_unique_where_the_server_is_told_so(#[case] endpoint: &str) {
    let world = World::new().await;
    let body = json!({"name": "acme"});
    assert_eq!(
        world.code(&world.supervisor, endpoint, body.clone()).await,
        OK
    );
    world
        .state()
        .set_enterprise(|enterprise| enterprise.unique_names = true);
    world
        .refused(&world.supervisor, endpoint, body, TAKEN)
        .await;
    let rename = json!({"new_name": "globex"});
    world
        .refused(
            &world.admin,
            "organization.update_company_name",
            rename,
            TAKEN,
        )
        .await;
}

#[tokio::test]
async fn what_applications_may_is_kept() {
    let world = World::new().await;
    let access = json!({"admin_access_all": true, "allowed": "owner"});
    let body = json!({"company": world.acme, "app_instance_access": access});
    world
        .data(
            &world.supervisor,
            "system.update_company_app_instance_access",
            body,
        )
        .await;
    let own = json!({"company": world.acme});
    let kept = world
        .data(
            &world.supervisor,
            "system.get_company_app_instance_access",
            own.clone(),
        )
        .await;
    assert_eq!(kept["app_instance_access"], access);
    let wrong = json!({"company": world.acme, "app_instance_access": {"allowed": "nobody"}});
    world
        .refused(
            &world.supervisor,
            "system.update_company_app_instance_access",
            wrong,
            INVALID,
        )
        .await;

    let fields = json!({"cost": "number"});
    let body = json!({"company": world.acme, "fields": fields});
    world
        .data(
            &world.supervisor,
            "system.update_company_custom_events_config",
            body,
        )
        .await;
    let kept = world
        .data(
            &world.supervisor,
            "system.get_company_custom_events_config",
            own.clone(),
        )
        .await;
    assert_eq!(kept["fields"], fields);

    let sso = json!({"tenant": "t-1", "admin_groups": ["ops"]});
    let body = json!({"company": world.acme, "sso": sso});
    world
        .data(&world.supervisor, "system.update_company_sso_config", body)
        .await;
    let info = world
        .data(&world.supervisor, "system.company_info", own)
        .await;
    assert_eq!(info["defaults"]["sso"], sso);
}

#[tokio::test]
async fn features_in_defaults_count_where_the_server_takes_them() {
    let world = World::new().await;
    world
        .state()
        .set_enterprise(|enterprise| enterprise.features_in_defaults = false);
    let body = json!({"name": "initech", "defaults": {"exclude_features": ["service_users"]}});
    let made = world
        .data(&world.supervisor, "system.create_company", body)
        .await;
    assert_eq!(
        world.tenant(&text(&made["id"]))["settings"]["exclude_features"],
        json!([])
    );
}
