//! Servers that are not ClearML, addresses that are none, and secrets that stay secret.

use clearml_sim::Fault;
use mica_coordinator::clearml::Client;
use rstest::rstest;

use super::{
    stub::{self, Stub},
    world::{SHORT, World, chain, client, credentials},
};

#[rstest]
#[case::web_page(
    "200 OK",
    "<html>",
    "protocol",
    "HTTP 200 with a web page; check that clearml.url"
)]
#[case::web_page_not_found(
    "404 Not Found",
    " <!doctype html>",
    "protocol",
    "HTTP 404 with a web page"
)]
#[case::no_json("200 OK", "hello", "protocol", "not JSON")]
#[case::empty("200 OK", "", "protocol", "not JSON")]
#[case::other_json("200 OK", r#"{"kind": "Status"}"#, "protocol", "missing field")]
#[case::moved(
    "301 Moved Permanently\r\nLocation: https://api.example.com/",
    "",
    "protocol",
    "redirects to https://api.example.com/"
)]
#[case::other_data(
    "200 OK",
    r#"{"meta": {"result_code": 200}, "data": {"queues": 5}}"#,
    "protocol",
    "another form: invalid type"
)]
#[case::unknown_endpoint(
    "404 Not Found",
    r#"{"meta": {"result_code": 404, "result_msg": "Unable to find endpoint"}, "data": {}}"#,
    "api",
    "refuses queues.get_all: Unable to find endpoint (404/0)"
)]
#[case::broken(
    "500 Error",
    r#"{"meta": {"result_code": 500, "result_subcode": 100, "result_msg": "Data error"}}"#,
    "api",
    "Data error (500/100)"
)]
#[case::proxy_wants_to_know_who(
    "401 Unauthorized",
    "<html>",
    "unauthorized",
    "unauthorized (401/0)"
)]
#[tokio::test]
async fn says_what_is_not_clearml(
    #[case] status: &'static str,
    #[case] body: &'static str,
    #[case] category: &str,
    #[case] part: &str,
) {
    let stub = Stub::start(status, body).await;
    let client = client(stub.url(), "key", "secret").with_patience(SHORT);
    let error = client.backlog().await.unwrap_err();
    let text = chain(&error);
    assert_eq!(error.category(), category, "{text}");
    assert!(text.contains(part), "{text}");
}

#[tokio::test]
async fn says_who_it_is_and_what_it_wants() {
    let stub = Stub::start(
        "200 OK",
        r#"{"meta": {"result_code": 200}, "data": {"queues": []}}"#,
    )
    .await;
    client(stub.url(), "key", "secret").backlog().await.unwrap();
    let requests = stub.requests();
    assert_eq!(requests.len(), 2);
    let version = env!("CARGO_PKG_VERSION");
    for request in &requests {
        let head = request.to_lowercase();
        assert!(
            head.contains(&format!("user-agent: mica/{version}\r\n")),
            "{request}"
        );
        assert!(head.contains("accept-encoding: gzip\r\n"), "{request}");
    }
    assert!(requests[0].starts_with("POST /v2.14/auth.login HTTP/1.1\r\n"));
    // key:secret
    assert!(
        requests[0].contains("Basic a2V5OnNlY3JldA=="),
        "{}",
        requests[0]
    );
    assert!(requests[1].starts_with("POST /v2.14/queues.get_all HTTP/1.1\r\n"));
    assert!(
        requests[1].contains(&format!("Bearer {}", stub::TOKEN)),
        "{}",
        requests[1]
    );
    for part in [
        r#""search_hidden":true"#,
        r#""order_by":["id"]"#,
        r#""page":0"#,
        r#""page_size":500"#,
    ] {
        assert!(requests[1].contains(part), "{}", requests[1]);
    }
}

#[rstest]
#[case("127.0.0.1:8008", "URL")]
#[case("", "URL")]
#[case("ftp://127.0.0.1", "neither http nor https")]
#[case("http://user:hunter2@127.0.0.1", "user name or password")]
#[case("http://127.0.0.1/?key=hunter2", "? or #")]
fn refuses_what_is_no_address(#[case] url: &str, #[case] part: &str) {
    let error = Client::new(url, credentials("key", "secret")).unwrap_err();
    assert_eq!(error.category(), "url");
    let text = format!("{error} {error:?}");
    assert!(
        text.contains(part) && text.contains("clearml.url"),
        "{text}"
    );
    assert!(!text.contains("hunter2"), "{text}");
}

/// Neither the secret key nor a token is in anything that is shown.
#[tokio::test]
async fn keeps_secrets() {
    let secret = "hunter2-is-a-secret";
    let world = World::new().await;
    let good = world.client.with_patience(SHORT);
    good.backlog().await.unwrap();
    let token = stub::Worker::new(world.server.url(), &world.keys)
        .login()
        .await;
    let mut shown = vec![format!("{good:?}")];
    let mut errors = Vec::new();

    errors.push(
        client(world.server.url(), "key", secret)
            .backlog()
            .await
            .unwrap_err(),
    );
    world.server.state().inject(1000, Fault::Drop);
    errors.push(good.backlog().await.unwrap_err());
    world.server.state().heal();
    world.server.state().fail_next(1000, 503);
    errors.push(good.backlog().await.unwrap_err());
    for (status, body) in [
        (
            "200 OK",
            r#"{"meta": {"result_code": 200}, "data": "eyJ-a-token"}"#,
        ),
        ("200 OK", r#""eyJ-a-token""#),
        ("200 OK", r#"{"meta": "eyJ-a-token"}"#),
    ] {
        let stub = Stub::start_without_login(status, body).await;
        errors.push(
            client(stub.url(), "key", secret)
                .backlog()
                .await
                .unwrap_err(),
        );
    }
    for error in &errors {
        shown.push(format!("{error:?} {error:#?} {}", chain(error)));
    }
    let header = token.split('.').next().unwrap();
    for text in &shown {
        for hidden in [secret, &world.keys.secret_key, header, "eyJ"] {
            assert!(!text.contains(hidden), "{hidden} in {text}");
        }
    }
}
