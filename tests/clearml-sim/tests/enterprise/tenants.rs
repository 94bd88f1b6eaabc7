//! `tenants.*`, and which server has which API of tenants.

use clearml_sim::{Mode, TenantApi};
use rstest::rstest;
use serde_json::json;

use crate::world::{Code, FORBIDDEN, MISSING, OK, TAKEN, UNAUTHORIZED, World, keys, text};

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
async fn a_tenant_goes_over_to_another_server_whole() {
    let one = World::new().await;
    one.state()
        .set_enterprise(|enterprise| enterprise.unique_names = true);
    let domains = json!({"domains": ["acme.example"]});
    one.data(&one.admin, "login.set_domains", domains).await;
    let settings = json!({"company": one.acme, "features": ["pipelines"], "allowed_users": 2});
    one.data(&one.supervisor, "system.update_company_settings", settings)
        .await;
    let policy = json!({"name": "research", "user_group": "users", "limit": 2});
    one.data(&one.admin, "resources.create_policy", policy)
        .await;

    let other = World::new().await;
    other.state().restore(&one.state().dump()).unwrap();
    for (keys, endpoint, body) in [
        (&one.admin, "login.get_settings", json!({})),
        (
            &one.supervisor,
            "system.company_info",
            json!({"company": one.acme}),
        ),
        (&one.admin, "resources.get_policies", json!({})),
    ] {
        let shown = other.data(keys, endpoint, body.clone()).await;
        assert_eq!(shown, one.data(keys, endpoint, body).await, "{endpoint}");
        assert_ne!(shown, json!({}), "{endpoint}");
    }
    let again = json!({"name": "acme"});
    other
        .refused(&one.supervisor, "system.create_company", again, TAKEN)
        .await;
}
