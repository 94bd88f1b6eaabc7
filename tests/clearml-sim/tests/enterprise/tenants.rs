//! `system.*` and `tenants.*`

use clearml_sim::{Mode, TenantApi};
use rstest::rstest;
use serde_json::{Value, json};

use crate::world::{
    BAD_DATA, Code, FORBIDDEN, INVALID, MISSING, NO_OBJECT, OK, TAKEN, UNAUTHORIZED, World, keys,
    text,
};

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

#[rstest]
#[case::both(TenantApi::Both, OK, OK)]
#[case::older(TenantApi::System, OK, MISSING)]
#[case::newer(TenantApi::Tenants, MISSING, OK)]
#[tokio::test]
async fn a_server_has_one_api_of_tenants_or_both(
    #[case] api: TenantApi,
    #[case] system: Code,
    #[case] tenants: Code,
) {
    let world = World::new().await;
    world
        .state()
        .set_enterprise(|enterprise| enterprise.tenant_api = api);
    let code = async |endpoint| world.code(&world.supervisor, endpoint, json!({})).await;
    assert_eq!(code("system.get_companies").await, system);
    assert_eq!(code("tenants.get_tenants").await, tenants);
}

#[rstest]
#[case("system.get_companies")]
#[case("tenants.get_tenants")]
#[case("login.set_domains")]
#[case("auth.create_service_user")]
#[case("resources.get_policies")]
#[case("workers.cluster_report")]
#[tokio::test]
async fn the_open_source_server_has_none_of_it(#[case] endpoint: &str) {
    let world = World::of(Mode::Oss).await;
    assert_eq!(
        world.code(&world.supervisor, endpoint, json!({})).await,
        MISSING
    );
}

#[rstest]
#[case("system.get_companies")]
#[case("system.update_company_settings")]
#[case("tenants.create_tenant")]
#[case("tenants.delete_tenant")]
#[case("auth.get_users_info")]
#[case("login.get_whitelist")]
#[tokio::test]
async fn tenants_are_not_for_their_administrators(#[case] endpoint: &str) {
    let world = World::new().await;
    for keys in [&world.admin, &world.user] {
        world.refused(keys, endpoint, json!({}), FORBIDDEN).await;
    }
}

#[tokio::test]
async fn a_tenant_comes_with_all_it_needs() {
    let world = World::new().await;
    let body = json!({
        "name": "initech",
        "admin_emails": ["peter@initech.example"],
        "domain": "initech.example",
        "max_users": 2,
    });
    let made = world
        .data(&world.supervisor, "tenants.create_tenant", body)
        .await;
    let admin = keys(&made["credentials"]);
    let me = world
        .data(&admin, "users.get_current_user", json!({}))
        .await;
    assert_eq!(
        (&me["user"]["company"]["id"], &me["user"]["role"]),
        (&made["id"], &json!("admin"))
    );
    let settings = world.data(&admin, "login.get_settings", json!({})).await;
    assert_eq!(settings["domains"], json!(["initech.example"]));
    let shown = world
        .data(&admin, "auth.get_credentials", json!({}))
        .await
        .to_string();
    assert!(
        shown.contains(&admin.access_key) && !shown.contains(&admin.secret_key),
        "{shown}"
    );

    let tenants = world
        .data(&world.supervisor, "tenants.get_tenants", json!({}))
        .await;
    let rows = tenants["tenants"].as_array().unwrap();
    let row = json!({
        "id": made["id"],
        "name": "initech",
        "admin_emails": ["peter@initech.example"],
        "default_company": false,
    });
    assert!(rows.contains(&row), "{rows:?}");
    let defaults = rows.iter().filter(|row| row["default_company"] == true);
    assert_eq!(defaults.count(), 1);

    // Another key for the same administrator; the first stays good.
    let body = json!({"tenant": made["id"]});
    let more = world
        .data(
            &world.supervisor,
            "tenants.add_tenant_admin_credentials",
            body,
        )
        .await;
    for keys in [admin, keys(&more["credentials"])] {
        assert_eq!(world.code(&keys, "debug.ping", json!({})).await, OK);
        let again = world.data(&keys, "users.get_current_user", json!({})).await;
        assert_eq!(again["user"]["id"], me["user"]["id"]);
    }
}

#[tokio::test]
async fn a_tenant_is_made_whole_or_not_at_all() {
    let world = World::new().await;
    world.create_user("carol@acme.example").await;
    let body =
        json!({"name": "initech", "admin_emails": ["peter@initech.example", "carol@acme.example"]});
    world
        .refused(&world.supervisor, "tenants.create_tenant", body, TAKEN)
        .await;
}

#[tokio::test]
async fn a_tenant_has_as_many_users_as_it_may() {
    let world = World::new().await;
    let limits = json!({"company": world.acme, "allowed_users": 3, "allowed_service_users": 1});
    world
        .data(&world.supervisor, "system.update_company_settings", limits)
        .await;
    world.create_user("carol@acme.example").await;
    let body = json!({"name": "dave", "company": world.acme, "email": "dave@acme.example"});
    world
        .refused(&world.admin, "auth.create_user", body, (400, 1200))
        .await;
    let body = json!({"name": "robot"});
    assert_eq!(
        world
            .code(&world.admin, "auth.create_service_user", body.clone())
            .await,
        OK
    );
    world
        .refused(&world.admin, "auth.create_service_user", body, (400, 1200))
        .await;
    let info = world
        .data(
            &world.supervisor,
            "tenants.get_tenant_info",
            json!({"tenant": world.acme}),
        )
        .await;
    assert_eq!(
        info["tenant"]["users"],
        json!({"active": 3, "pending": 0, "max_allowed": 3})
    );
    assert_eq!(
        info["tenant"]["service_users"],
        json!({"active": 1, "max_allowed": 1})
    );
}

#[tokio::test]
async fn a_tenant_is_deleted_softly() {
    let world = World::new().await;
    let supervisor = &world.supervisor;
    let queue = world.state().add_queue(&world.acme, "gpu");
    let task = world.state().add_task(&world.acme, "train", Some(&queue));
    world
        .data(&world.user, "tasks.started", json!({"task": task}))
        .await;
    let delete = json!({"tenant": world.acme, "name": "acme"});
    let wrong = json!({"tenant": world.acme, "name": "globex", "force": true});
    world
        .refused(supervisor, "tenants.delete_tenant", wrong, (400, 1203))
        .await;
    world
        .refused(
            supervisor,
            "tenants.delete_tenant",
            delete.clone(),
            (400, 1202),
        )
        .await;
    let resources = json!({"tenant": world.acme});
    let before = world
        .data(supervisor, "tenants.get_tenant_resources", resources)
        .await;
    assert_eq!(
        (&before["running"]["tasks"], &before["totals"]["tasks"]),
        (&json!(1), &json!(1))
    );
    let mut forced = delete;
    forced["force"] = json!(true);
    assert_eq!(
        world
            .data(supervisor, "tenants.delete_tenant", forced)
            .await,
        before
    );

    let found = world
        .data(supervisor, "system.get_companies", json!({"name": "acme"}))
        .await;
    assert_eq!(found["companies"][0]["active"], false);
    let tenants = world
        .data(supervisor, "tenants.get_tenants", json!({}))
        .await;
    let ids: Vec<String> = tenants["tenants"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| text(&row["id"]))
        .collect();
    assert!(ids.contains(&world.globex) && !ids.contains(&world.acme));
    // Nobody of it gets in, in whatever way.
    assert_eq!(
        world.code(&world.admin, "queues.get_all", json!({})).await,
        UNAUTHORIZED
    );
    let me = world.state().dump()["users"][1][0].clone();
    let as_admin = [("X-Clearml-Act-As", me.as_str().unwrap())];
    let (code, _) = world
        .ask_as(supervisor, &as_admin, "queues.get_all", json!({}))
        .await;
    assert_eq!(code, UNAUTHORIZED);
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
