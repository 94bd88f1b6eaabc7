//! Users, service accounts and their keys.

use clearml_sim::{Credentials, Mode, Role};
use rstest::rstest;
use serde_json::{Value, json};

use crate::world::{
    BAD_DATA, Code, FORBIDDEN, INVALID, NO_OBJECT, OK, SECONDS_OF_A_DAY, TAKEN, UNAUTHORIZED,
    World, claims, keys, text,
};

#[rstest]
#[case::nameless(json!({"email": "dave@acme.example"}), INVALID)]
#[case::no_address(json!({"name": "dave"}), INVALID)]
#[case::broken_address(json!({"name": "dave", "email": "dave"}), BAD_DATA)]
#[case::unknown_role(json!({"name": "dave", "email": "dave@acme.example", "role": "root"}), INVALID)]
#[case::internal(json!({"name": "dave", "email": "dave@acme.example", "internal": "true"}), FORBIDDEN)]
#[tokio::test]
async fn mistakes_make_no_user(#[case] mut body: Value, #[case] code: Code) {
    let world = World::new().await;
    body["company"] = json!(world.acme);
    world
        .refused(&world.admin, "auth.create_user", body, code)
        .await;
}

#[tokio::test]
async fn addresses_are_unique_in_the_server() {
    let world = World::new().await;
    let body =
        |company: &str| json!({"name": "dave", "company": company, "email": "dave@acme.example"});
    assert_eq!(
        world
            .code(&world.supervisor, "auth.create_user", body(&world.acme))
            .await,
        OK
    );
    for endpoint in ["auth.create_user", "auth.add_user"] {
        world
            .refused(&world.supervisor, endpoint, body(&world.globex), TAKEN)
            .await;
    }
}

#[tokio::test]
async fn administrators_keep_to_their_company() {
    let world = World::new().await;
    let body = json!({"name": "dave", "company": world.globex, "email": "dave@acme.example"});
    for endpoint in ["auth.create_user", "auth.add_user"] {
        world
            .refused(&world.admin, endpoint, body.clone(), NO_OBJECT)
            .await;
    }
    world
        .refused(&world.user, "auth.create_user", body.clone(), FORBIDDEN)
        .await;
    let made = world
        .data(&world.supervisor, "auth.create_user", body)
        .await;
    let stranger = json!({"user": made["id"], "role": "admin"});
    world
        .refused(&world.admin, "auth.edit_user", stranger.clone(), (400, 301))
        .await;
    world
        .refused(&world.admin, "users.set_role", stranger.clone(), (400, 301))
        .await;
    let deleted = world
        .data(&world.admin, "auth.delete_user", stranger.clone())
        .await;
    assert_eq!(deleted, json!({"deleted": false}));
    assert_eq!(
        world
            .data(&world.supervisor, "auth.delete_user", stranger)
            .await["deleted"],
        true
    );
}

#[rstest]
#[case(Mode::Enterprise, OK)]
#[case(Mode::Oss, INVALID)]
#[tokio::test]
async fn consumers_are_of_the_enterprise_server(#[case] mode: Mode, #[case] code: Code) {
    let world = World::of(mode).await;
    let body = json!({"name": "eve", "company": world.acme, "email": "e@acme.example", "role": "consumer"});
    assert_eq!(
        world
            .code(&world.supervisor, "auth.create_user", body)
            .await,
        code
    );
}

#[tokio::test]
async fn a_user_is_found_by_address() {
    let world = World::new().await;
    let carol = world.create_user("carol@acme.example").await;
    let body = json!({"emails": ["carol@acme.example", "nobody@acme.example"]});
    let found = world
        .data(&world.supervisor, "auth.get_users_info", body)
        .await;
    let users = found["users"].as_object().unwrap();
    assert_eq!(users.len(), 1);
    assert_eq!(users[&carol]["email"], "carol@acme.example");
    assert_eq!(users[&carol]["company"], world.acme);
}

#[tokio::test]
async fn addresses_are_for_administrators_who_ask() {
    let world = World::new().await;
    world.create_user("carol@acme.example").await;
    let all = json!({"name": "carol", "include_auth": true});
    let users = world.data(&world.admin, "users.get_all", all.clone()).await;
    assert_eq!(users["users"][0]["email"], "carol@acme.example");
    assert_eq!(users["users"][0]["role"], "user");
    let plain = world.data(&world.admin, "users.get_all", json!({})).await;
    assert!(!plain.to_string().contains("carol@"), "{plain}");
    world
        .refused(&world.user, "users.get_all", all.clone(), FORBIDDEN)
        .await;
    let oss = World::of(Mode::Oss).await;
    let users = oss
        .data(&oss.admin, "users.get_all", json!({"include_auth": true}))
        .await;
    assert_eq!(users["users"][0].get("role"), None);
}

#[tokio::test]
async fn added_users_come_with_a_secret() {
    let world = World::new().await;
    let body = json!({"name": "dave", "email": "dave@acme.example"});
    let made = world.data(&world.admin, "auth.add_user", body).await;
    let dave = Credentials {
        access_key: text(&made["id"]),
        secret_key: text(&made["secret"]),
    };
    let me = world.data(&dave, "users.get_current_user", json!({})).await;
    assert_eq!(me["user"]["company"]["id"], world.acme);
    let deleted = world
        .data(
            &world.admin,
            "auth.delete_user",
            json!({"user": made["id"]}),
        )
        .await;
    assert_eq!(deleted["deleted"], true);
    assert_eq!(
        world.code(&dave, "users.get_current_user", json!({})).await,
        UNAUTHORIZED
    );
}

#[tokio::test]
async fn a_service_account_has_keys_that_expire() {
    let world = World::new().await;
    let body = json!({"name": "agent", "allow_running_as_owner": true, "credentials_expiration_sec": SECONDS_OF_A_DAY});
    let made = world
        .data(&world.admin, "auth.create_service_user", body)
        .await;
    let agent = keys(&made["credentials"]);
    assert_eq!(made["credentials"]["label"], "agent");
    assert_eq!(world.code(&agent, "queues.get_all", json!({})).await, OK);
    let accounts = world
        .data(&world.admin, "users.get_service_users", json!({}))
        .await;
    assert_eq!(accounts["users"][0]["id"], made["id"]);
    assert_eq!(accounts["users"][0]["allow_running_as_owner"], true);
    let change = json!({"user": made["id"], "allow_running_as_owner": false});
    for updated in [1, 0] {
        let data = world
            .data(&world.admin, "users.update_service_user", change.clone())
            .await;
        assert_eq!(data["updated"], updated);
    }

    let body = json!({"access_key": agent.access_key});
    let found = world
        .data(&world.admin, "auth.locate_credentials", body)
        .await;
    assert_eq!(
        (&found["user"], &found["expire"]),
        (&made["id"], &made["credentials"]["expire"])
    );
    // The day passes.
    let mut dump = world.state().dump();
    dump["keys"][&agent.access_key]["expire"] = json!("2020-01-01T00:00:00+00:00");
    world.state().restore(&dump).unwrap();
    assert_eq!(
        world.code(&agent, "queues.get_all", json!({})).await,
        UNAUTHORIZED
    );
}

#[tokio::test]
async fn service_accounts_need_leave() {
    let world = World::new().await;
    let body = json!({"name": "agent", "role": "admin"});
    world
        .refused(
            &world.admin,
            "auth.create_service_user",
            body.clone(),
            INVALID,
        )
        .await;
    let leave = json!({"company": world.acme, "allow_service_user_admins": true});
    world
        .data(&world.supervisor, "system.update_company_settings", leave)
        .await;
    assert_eq!(
        world
            .code(&world.admin, "auth.create_service_user", body.clone())
            .await,
        OK
    );
    let without = json!({"company": world.acme, "exclude_features": ["service_users"]});
    world
        .data(&world.supervisor, "system.update_company_settings", without)
        .await;
    world
        .refused(&world.admin, "auth.create_service_user", body, (403, 1201))
        .await;
}

#[tokio::test]
async fn a_secret_is_shown_once_and_each_call_adds_keys() {
    let world = World::new().await;
    let create = json!({"label": "acme/agent"});
    let one = keys(
        &world
            .data(&world.user, "auth.create_credentials", create.clone())
            .await["credentials"],
    );
    let two = keys(
        &world
            .data(&world.user, "auth.create_credentials", create)
            .await["credentials"],
    );
    assert_ne!(one, two);
    assert_eq!(world.code(&one, "queues.get_all", json!({})).await, OK);
    for (who, endpoint, body) in [
        (&world.user, "auth.get_credentials", json!({})),
        (
            &world.admin,
            "auth.locate_credentials",
            json!({"access_key": one.access_key}),
        ),
        (
            &world.user,
            "auth.edit_credentials",
            json!({"access_key": one.access_key, "label": "x"}),
        ),
    ] {
        let shown = world.data(who, endpoint, body).await.to_string();
        assert!(
            !shown.contains(&one.secret_key) && !shown.contains(&two.secret_key),
            "{endpoint}: {shown}"
        );
    }
    let listed = world
        .data(&world.user, "auth.get_credentials", json!({}))
        .await;
    assert_eq!(listed["credentials"].as_array().unwrap().len(), 3);

    let revoke = json!({"access_key": one.access_key});
    world
        .refused(
            &world.admin,
            "auth.revoke_credentials",
            revoke.clone(),
            (400, 300),
        )
        .await;
    assert_eq!(
        world
            .data(&world.user, "auth.revoke_credentials", revoke)
            .await["revoked"],
        1
    );
    assert_eq!(
        world.code(&one, "queues.get_all", json!({})).await,
        UNAUTHORIZED
    );
    assert_eq!(world.code(&two, "queues.get_all", json!({})).await, OK);
}

#[tokio::test]
async fn roles_change_once() {
    let world = World::new().await;
    let carol = world.create_user("carol@acme.example").await;
    for (endpoint, body) in [
        (
            "auth.edit_user",
            json!({"user": carol, "role": "superuser"}),
        ),
        (
            "users.set_role",
            json!({"user": carol, "role": "annotator"}),
        ),
        ("users.set_admin", json!({"user": carol, "is_admin": true})),
    ] {
        for updated in [1, 0] {
            let data = world.data(&world.admin, endpoint, body.clone()).await;
            assert_eq!(data["updated"], updated, "{endpoint}");
        }
    }
    let body = json!({"user": carol});
    let token = world
        .data(&world.supervisor, "auth.get_token_for_user", body)
        .await;
    assert_eq!(claims(&token["token"])["identity"]["role"], "admin");
}

#[tokio::test]
async fn the_servers_own_users_are_protected() {
    let world = World::new().await;
    let root = world.state().add_user_as(&world.acme, "root", Role::Root);
    let me = world.data(&root, "users.get_current_user", json!({})).await;
    let body = json!({"user": me["user"]["id"], "role": "user"});
    world
        .refused(&world.admin, "auth.edit_user", body, (400, 301))
        .await;
    world
        .refused(&root, "auth.create_credentials", json!({}), (400, 301))
        .await;
    let listed = world
        .data(&world.admin, "users.get_all", json!({"name": "root"}))
        .await;
    assert_eq!(listed, json!({"users": []}));
}
