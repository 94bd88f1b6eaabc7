//! The order of checks: a request with several mistakes is told of the first.

use clearml_sim::{Credentials, Role};
use rstest::rstest;
use serde_json::Value;

use crate::world::World;

const NOBODY: &str = "00000000000000000000000000000000";

/// Who asks.
#[derive(Clone, Copy)]
enum Asker {
    Nobody,
    User,
    Root,
}

#[rstest]
#[case::endpoint(Asker::Nobody, "tenants.get_tenants", &[], "{", (404, 0))]
#[case::authentication(Asker::Nobody, "auth.create_user", &["Impersonate-As", "Act-As"], "{", (401, 20))]
#[case::role(Asker::User, "auth.create_user", &["Impersonate-As", "Act-As"], "{", (403, 20))]
#[case::headers(Asker::User, "queues.create", &["Impersonate-As", "Act-As"], "{", (400, 5))]
#[case::impersonation(Asker::User, "queues.create", &["Impersonate-As"], "{", (400, 6))]
#[case::unknown_user(Asker::Root, "queues.create", &["Act-As"], "{", (400, 6))]
#[case::body(Asker::Root, "queues.create", &[], "{", (400, 0))]
#[case::fields(Asker::Root, "queues.create", &[], "{}", (400, 12))]
#[case::values(Asker::Root, "queues.create", &[], r#"{"name": "ab"}"#, (400, 800))]
#[tokio::test]
async fn the_first_mistake_counts(
    #[case] asker: Asker,
    #[case] endpoint: &str,
    #[case] headers: &[&str],
    #[case] body: &'static str,
    #[case] expected: (u64, u64),
) {
    let world = World::new().await;
    let root = world
        .state()
        .add_user_as(&world.company, "root", Role::Root);
    let keys = match asker {
        Asker::Nobody => None,
        Asker::User => Some(&world.keys),
        Asker::Root => Some(&root),
    };
    let named: Vec<(&str, &str)> = headers.iter().map(|header| (*header, NOBODY)).collect();
    assert_eq!(ask(&world, keys, endpoint, &named, body).await, expected);
}

#[tokio::test]
async fn the_role_of_the_other_counts_too() {
    let world = World::new().await;
    let (root, user) = (Role::Root, Role::User);
    let root = world.state().add_user_as(&world.company, "root", root);
    let keys = Credentials {
        access_key: "ACCESS".to_owned(),
        secret_key: "SECRET".to_owned(),
    };
    let user = world
        .state()
        .add_user_with_keys(&world.company, "bob", user, &keys);
    for (header, expected) in [("Impersonate-As", (403, 20)), ("Act-As", (400, 0))] {
        let headers = [(header, user.as_str())];
        let found = ask(&world, Some(&root), "auth.create_user", &headers, "{").await;
        assert_eq!(found, expected, "{header}");
    }
}

async fn ask(
    world: &World,
    keys: Option<&Credentials>,
    endpoint: &str,
    headers: &[(&str, &str)],
    body: &'static str,
) -> (u64, u64) {
    let url = format!("{}/{endpoint}", world.server.url());
    let mut request = world.http.post(url).body(body);
    if let Some(keys) = keys {
        request = request.basic_auth(&keys.access_key, Some(&keys.secret_key));
    }
    for (header, value) in headers {
        request = request.header(format!("X-Clearml-{header}"), *value);
    }
    let answer: Value = request.send().await.unwrap().json().await.unwrap();
    let number = |field: &str| answer["meta"][field].as_u64().unwrap();
    (number("result_code"), number("result_subcode"))
}

#[tokio::test]
async fn both_halves_of_the_keys_count() {
    let world = World::new().await;
    let code = async |access_key: &str, secret_key: &str| {
        let keys = Credentials {
            access_key: access_key.to_owned(),
            secret_key: secret_key.to_owned(),
        };
        ask(&world, Some(&keys), "queues.get_all", &[], "{}").await
    };
    let (access, secret) = (&*world.keys.access_key, &*world.keys.secret_key);
    assert_eq!(code(access, secret).await, (200, 0));
    for (access, secret) in [(access, "other"), (access, ""), ("other", secret)] {
        assert_eq!(code(access, secret).await, (401, 22));
    }
}

#[rstest]
#[case::too_old("v2.3/queues.get_all", (404, 0))]
#[case::oldest("v2.4/queues.get_all", (200, 0))]
#[case::none("queues.get_all", (200, 0))]
#[case::newer_than_the_server("v9.99/queues.get_all", (200, 0))]
#[tokio::test]
async fn endpoints_begin_with_a_version(#[case] path: &str, #[case] expected: (u64, u64)) {
    let world = World::new().await;
    let found = ask(&world, Some(&world.keys), path, &[], "{}").await;
    assert_eq!(found, expected);
}
