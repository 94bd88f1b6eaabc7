//! Who asks, and in whose name: tokens, cookies, headers.

use clearml_sim::Mode;
use rstest::rstest;
use serde_json::{Value, json};

use crate::world::{FORBIDDEN, OK, SECONDS_OF_A_DAY, World, claims, text};

#[tokio::test]
async fn the_servers_programs_cross_companies_unless_told_otherwise() {
    let world = World::new().await;
    let carol = world.create_user("carol@acme.example").await;
    world.state().add_queue(&world.acme, "gpu");
    let headers = [("X-Clearml-Act-As", carol.as_str())];
    let (code, data) = world
        .ask_as(&world.supervisor, &headers, "queues.get_all", json!({}))
        .await;
    assert_eq!(
        (code, data["queues"][0]["name"].as_str()),
        (OK, Some("gpu"))
    );
    // With the caller's role, or with the user's.
    let (code, _) = world
        .ask_as(
            &world.supervisor,
            &headers,
            "system.get_companies",
            json!({}),
        )
        .await;
    assert_eq!(code, OK);
    let headers = [("X-Clearml-Impersonate-As", carol.as_str())];
    let (code, _) = world
        .ask_as(
            &world.supervisor,
            &headers,
            "system.get_companies",
            json!({}),
        )
        .await;
    assert_eq!(code, FORBIDDEN);
    world
        .state()
        .set_enterprise(|enterprise| enterprise.system_crosses_companies = false);
    let (code, _) = world
        .ask_as(&world.supervisor, &headers, "queues.get_all", json!({}))
        .await;
    assert_eq!(code, (400, 6));
}

#[tokio::test]
async fn users_log_in_to_companies_that_they_joined() {
    let world = World::new().await;
    world.state().add_queue(&world.globex, "elsewhere");
    let headers = [("X-Clearml-Tenant", world.globex.as_str())];
    let login = async || {
        world
            .ask_as(&world.user, &headers, "auth.login", json!({}))
            .await
    };
    assert_eq!(login().await.0, FORBIDDEN);
    let me = world
        .data(&world.user, "users.get_current_user", json!({}))
        .await;
    world.state().join(&text(&me["user"]["id"]), &world.globex);
    let (code, data) = login().await;
    assert_eq!(code, OK);
    let claims = claims(&data["token"]);
    assert_eq!(
        (&claims["tenant"], &claims["identity"]["company"]),
        (&json!(world.globex), &json!(world.globex))
    );
    let url = format!("{}/queues.get_all", world.server.url());
    let request = world
        .http
        .post(url)
        .bearer_auth(data["token"].as_str().unwrap());
    let answer: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(answer["data"]["queues"][0]["name"], "elsewhere");
}

#[rstest]
#[case::open_source(Mode::Oss, "basic", "2.3.0", "2.34")]
#[case::enterprise(Mode::Enterprise, "advanced", "3.30.0", "2.37")]
#[tokio::test]
async fn tokens_tell_clients_what_server_it_is(
    #[case] mode: Mode,
    #[case] feature_set: &str,
    #[case] server: &str,
    #[case] api: &str,
) {
    let world = World::of(mode).await;
    let token = world.data(&world.user, "auth.login", json!({})).await;
    let claims = claims(&token["token"]);
    assert_eq!(claims["feature_set"], feature_set);
    assert_eq!(claims["server_version"], server);
    assert_eq!(claims["api_version"], api);
    let life = claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
    assert_eq!(life, 30 * SECONDS_OF_A_DAY);
    let info = world.data(&world.user, "server.info", json!({})).await;
    assert_eq!(
        (&info["version"], &info["api_version"]),
        (&json!(server), &json!(api))
    );
}

#[rstest]
#[case::forever(json!({}), None)]
#[case::as_long_as_it_asks(json!({"expiration_sec": 60}), Some(60))]
#[tokio::test]
async fn the_servers_programs_need_not_log_in_again(
    #[case] body: Value,
    #[case] life: Option<i64>,
) {
    let world = World::new().await;
    let token = world.data(&world.supervisor, "auth.login", body).await;
    let claims = claims(&token["token"]);
    let expires = claims.get("exp").and_then(Value::as_i64);
    let issued = claims["iat"].as_i64().unwrap();
    assert_eq!(expires.map(|expires| expires - issued), life);
}

#[tokio::test]
async fn a_browser_is_given_the_token_as_a_cookie() {
    let world = World::new().await;
    let cookie = async |endpoint, body| {
        let answer = world.send(&world.user, &[], endpoint, &body).await;
        let cookie = answer.headers().get("set-cookie");
        cookie.map(|cookie| cookie.to_str().unwrap().to_owned())
    };
    let given = cookie("auth.login", json!({})).await.unwrap();
    let pair = given.split(';').next().unwrap();
    let url = format!("{}/users.get_current_user", world.server.url());
    let ask = async || {
        let request = world.http.post(&url).header("Cookie", pair);
        request.send().await.unwrap().status()
    };
    assert_eq!(ask().await, 200);
    assert_eq!(
        cookie("auth.login", json!({"set_cookie": false})).await,
        None
    );
    assert_eq!(cookie("queues.get_all", json!({})).await, None);
    let gone = cookie("auth.logout", json!({})).await.unwrap();
    assert!(
        gone.starts_with("clearml_token_basic=;") && gone.contains("Max-Age=0"),
        "{gone}"
    );
    world.state().revoke_tokens();
    assert_eq!(ask().await, 401);
}
