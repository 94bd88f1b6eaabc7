//! Faults, from Rust and over the control paths.

use std::time::{Duration, Instant};

use clearml_sim::{Fault, FaultRule};
use reqwest::{Method, StatusCode};
use rstest::rstest;
use serde_json::{Value, json};

use crate::world::World;

const GET: &str = "queues.get_all";

#[rstest]
#[case::busy(json!({"status": {"code": 429, "retry_after": 7}}), 429)]
#[case::down(json!({"status": {"code": 503}}), 503)]
#[case::refused(json!({"refuse": {"code": 500, "subcode": 102}}), 500)]
#[case::cut(json!("drop"), 0)]
#[case::cut_afterwards(json!("drop_afterwards"), 0)]
#[case::web_page(json!("web_page"), 200)]
#[case::expired(json!("expire_tokens"), 200)]
#[case::revoked(json!("revoke_keys"), 401)]
#[case::deleted(json!("deactivate_company"), 401)]
#[tokio::test]
async fn a_rule_is_set_over_the_program(#[case] fault: Value, #[case] status: u16) {
    let world = World::new().await;
    let rule = json!({"fault": fault, "endpoint": GET, "after": 1});
    let (code, _) = world.control(Method::POST, "faults", &rule).await;
    assert_eq!(code, StatusCode::OK);
    assert_eq!(
        world.status("queues.get_default").await,
        400,
        "another endpoint"
    );
    assert_eq!(world.status(GET).await, 200, "the one before");
    assert_eq!(world.status(GET).await, status);
}

#[tokio::test]
async fn an_error_page_says_when_to_come_back() {
    let world = World::new().await;
    let (code, retry_after) = (429, Some(7));
    world.state().inject(1, Fault::Status { code, retry_after });
    let answer = world.send(GET, &json!({})).await.unwrap();
    assert_eq!(answer.headers()["retry-after"], "7");
    assert!(answer.text().await.unwrap().starts_with("<html>"));
}

#[tokio::test]
async fn a_refusal_has_the_servers_form() {
    let world = World::new().await;
    let (code, subcode) = (500, 102);
    world.state().inject(1, Fault::Refuse { code, subcode });
    let answer = world.send("queues.create", &json!({"name": "other"})).await;
    let answer: Value = answer.unwrap().json().await.unwrap();
    let meta = &answer["meta"];
    assert_eq!(
        (&meta["result_code"], &meta["result_subcode"]),
        (&json!(500), &json!(102))
    );
    assert_eq!(meta["endpoint"]["name"], "queues.create");
    assert_eq!(world.state().queues().len(), 1, "nothing was done");
}

#[rstest]
#[case::before(Fault::Drop, 1)]
#[case::after_the_deed(Fault::DropAfterwards, 2)]
#[tokio::test]
async fn a_cut_line_hides_what_was_done(#[case] fault: Fault, #[case] queues: usize) {
    let world = World::new().await;
    world
        .state()
        .add_fault(FaultRule::new(fault).at("queues.create"));
    let created = world.send("queues.create", &json!({"name": "other"})).await;
    assert!(created.is_err());
    assert_eq!(world.state().queues().len(), queues);
    assert_eq!(world.state().requests().last().unwrap().status, 0);
}

#[tokio::test]
async fn a_slow_answer_comes_late_and_is_right() {
    let world = World::new().await;
    let millis = 120;
    world
        .state()
        .add_fault(FaultRule::new(Fault::Slow { millis }).at(GET));
    let start = Instant::now();
    assert_eq!(world.status(GET).await, 200);
    assert!(start.elapsed() >= Duration::from_millis(millis));
}

#[rstest]
#[case::expired(Fault::ExpireTokens, 401, 200)]
#[case::revoked(Fault::RevokeKeys, 200, 401)]
#[case::deleted(Fault::DeactivateCompany, 401, 401)]
#[tokio::test]
async fn proofs_of_identity_end_on_purpose(
    #[case] fault: Fault,
    #[case] with_token: u16,
    #[case] with_keys: u16,
) {
    let world = World::new().await;
    let token = world.login().await;
    assert_eq!(world.status_with(&token).await, 200);
    world.state().add_fault(FaultRule::new(fault).at(GET));
    assert_eq!(world.status_with(&token).await, with_token);
    assert_eq!(world.status_with(&token).await, with_token, "it stays so");
    assert_eq!(world.status("auth.login").await, with_keys);
}

#[tokio::test]
async fn a_company_is_deactivated_from_rust() {
    let world = World::new().await;
    world.state().deactivate_company(&world.company);
    assert_eq!(world.status(GET).await, 401);
}

#[tokio::test]
async fn rules_are_shown_and_forgotten() {
    let world = World::new().await;
    let rules = json!([{"fault": "drop", "times": 3}, {"fault": "web_page"}]);
    world.control(Method::POST, "faults", &rules).await;
    assert_eq!(world.status(GET).await, 0);
    let (_, shown) = world.control(Method::GET, "faults", &json!({})).await;
    let drop = json!({"fault": "drop", "endpoint": null, "after": 0, "times": 2});
    assert_eq!(shown[0], drop);
    assert_eq!(shown.as_array().unwrap().len(), 2);
    world.control(Method::DELETE, "faults", &json!({})).await;
    assert_eq!(world.status(GET).await, 200);
}

#[tokio::test]
async fn control_is_neither_logged_nor_hit_by_faults() {
    let world = World::new().await;
    world.status(GET).await;
    world.state().inject(1, Fault::Drop);
    let (_, log) = world.control(Method::GET, "requests", &json!({})).await;
    assert_eq!(log, json!([{"endpoint": GET, "status": 200}]));
    world.control(Method::DELETE, "requests", &json!({})).await;
    assert_eq!(world.state().requests(), []);
}

#[rstest]
#[case::wrong_rule(Method::POST, "faults", json!({"fault": "fire"}), 400)]
#[case::wrong_state(Method::POST, "state", json!({"companies": 1}), 400)]
#[case::wrong_method(Method::PUT, "state", json!({}), 405)]
#[case::wrong_path(Method::GET, "status", json!({}), 404)]
#[tokio::test]
async fn mistakes_are_refused(
    #[case] method: Method,
    #[case] path: &str,
    #[case] body: Value,
    #[case] status: u16,
) {
    let world = World::new().await;
    let (code, answer) = world.control(method, path, &body).await;
    assert_eq!(code.as_u16(), status);
    assert!(answer["error"].is_string());
    assert_eq!(world.status(GET).await, 200, "all is as it was");
}
