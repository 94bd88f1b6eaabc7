//! The ClearML client, against the simulated server and against servers that are not ClearML.

#![cfg(test)]

#[path = "clearml/stub.rs"]
mod stub;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use clearml_sim::{Fault, Server, State};
use mica_coordinator::{
    clearml::{Client, Error},
    config::Credentials,
};
use rstest::rstest;

use self::stub::Stub;

/// Long enough for two or three attempts.
const SHORT: Duration = Duration::from_millis(500);

/// A server with one company, and a client of it.
struct World {
    server: Server,
    company: String,
    keys: clearml_sim::Credentials,
    client: Client,
}

impl World {
    async fn new() -> Self {
        let state = State::new();
        let company = state.add_company("acme");
        let keys = state.add_user(&company, "mica");
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = Server::start(address, state).await.unwrap();
        let client = client(server.url(), &keys.access_key, &keys.secret_key);
        Self {
            server,
            company,
            keys,
            client,
        }
    }

    fn state(&self) -> &State {
        self.server.state()
    }

    /// What was asked so far: the last word of the endpoint and the status.
    fn asked(&self) -> Vec<(String, u16)> {
        let requests = self.state().requests().into_iter();
        requests
            .map(|request| {
                let word = request.endpoint.rsplit('.').next().unwrap().to_owned();
                (word, request.status)
            })
            .collect()
    }

    fn logins(&self) -> usize {
        let asked = self.asked();
        asked.iter().filter(|(word, _)| word == "login").count()
    }
}

fn client(url: &str, access_key: &str, secret_key: &str) -> Client {
    Client::new(url, credentials(access_key, secret_key)).unwrap()
}

fn credentials(access_key: &str, secret_key: &str) -> Credentials {
    Credentials {
        access_key: access_key.to_owned(),
        secret_key: secret_key.to_owned().into(),
    }
}

fn asked(list: &[(&str, u16)]) -> Vec<(String, u16)> {
    list.iter()
        .map(|(word, status)| ((*word).to_owned(), *status))
        .collect()
}

/// An error with its causes, as people see it.
fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[tokio::test]
async fn sees_what_waits() {
    let world = World::new().await;
    let state = world.state();
    let half = state.add_queue(&world.company, "gpu-fraction-0_50");
    let whole = state.add_queue(&world.company, "gpu-fraction-1_00");
    let other = state.add_company("other");
    let theirs = state.add_queue(&other, "gpu-fraction-0_50");
    state.add_task(&other, "theirs", Some(&theirs));
    let scheduler = state.add_queue_with_tags(&world.company, "k8s_scheduler", &["k8s-glue"]);
    state.add_task(&world.company, "has a pod", Some(&scheduler));
    let tasks =
        ["one", "two", "three"].map(|name| state.add_task(&world.company, name, Some(&half)));

    let backlog = world.client.backlog().await.unwrap();
    let found: BTreeMap<&str, _> = backlog
        .iter()
        .map(|queue| (queue.name.as_str(), queue))
        .collect();
    assert_eq!(found.len(), 2, "{backlog:?}");
    let queue = found["gpu-fraction-0_50"];
    assert_eq!(queue.id, half);
    let waiting: Vec<&str> = queue
        .entries
        .iter()
        .map(|entry| entry.task.as_str())
        .collect();
    assert_eq!(waiting, tasks);
    let added = state.queue(&half).unwrap().entries[0].added;
    assert_eq!(queue.entries[0].added, added.0);
    assert_eq!(found["gpu-fraction-1_00"].id, whole);
    assert!(found["gpu-fraction-1_00"].entries.is_empty());
    assert_eq!(world.asked(), asked(&[("login", 200), ("get_all", 200)]));
}

#[tokio::test]
async fn sees_what_runs() {
    let world = World::new().await;
    let state = world.state();
    let half = state.add_queue(&world.company, "gpu-fraction-0_50");
    let whole = state.add_queue(&world.company, "gpu-fraction-1_00");
    let worker = stub::Worker::new(world.server.url(), &world.keys);
    for queue in [&half, &half, &half, &whole] {
        state.add_task(&world.company, "task", Some(queue));
    }
    assert_eq!(world.client.running().await.unwrap(), BTreeMap::new());
    let first = worker.take(&half).await;
    worker.take(&half).await;
    worker.take(&whole).await;
    let by_hand = state.add_task(&world.company, "by hand", None);
    worker.start(&by_hand).await;
    let expected = BTreeMap::from([(half.clone(), 2), (whole.clone(), 1)]);
    assert_eq!(world.client.running().await.unwrap(), expected);
    worker.complete(&first).await;
    let expected = BTreeMap::from([(half, 1), (whole, 1)]);
    assert_eq!(world.client.running().await.unwrap(), expected);
}

#[tokio::test]
async fn reads_all_pages() {
    let world = World::new().await;
    let state = world.state();
    for index in 0..1001 {
        let queue = state.add_queue(&world.company, &format!("queue-{index}"));
        state.add_task(&world.company, "task", Some(&queue));
    }
    let backlog = world.client.backlog().await.unwrap();
    assert_eq!(backlog.len(), 1001);
    assert!(backlog.iter().all(|queue| queue.entries.len() == 1));
    assert!(backlog.is_sorted_by(|one, other| one.id < other.id));
    let pages = [
        ("login", 200),
        ("get_all", 200),
        ("get_all", 200),
        ("get_all", 200),
    ];
    assert_eq!(world.asked(), asked(&pages));
}

#[tokio::test]
async fn asks_once_more_when_the_last_page_is_full() {
    let world = World::new().await;
    for index in 0..500 {
        world
            .state()
            .add_queue(&world.company, &format!("queue-{index}"));
    }
    assert_eq!(world.client.backlog().await.unwrap().len(), 500);
    assert_eq!(
        world.asked(),
        asked(&[("login", 200), ("get_all", 200), ("get_all", 200)])
    );
}

#[tokio::test]
async fn logs_in_once() {
    let world = World::new().await;
    let (one, other) = tokio::join!(world.client.backlog(), world.client.running());
    one.unwrap();
    other.unwrap();
    world.client.backlog().await.unwrap();
    assert_eq!(world.logins(), 1);
}

#[tokio::test]
async fn logs_in_again_before_the_token_expires() {
    let world = World::new().await;
    world.state().set_token_life(3);
    world.client.backlog().await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while world.logins() < 2 {
        assert!(Instant::now() < deadline, "it never logs in again");
        world.client.backlog().await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Nothing was refused on the way.
    assert!(world.asked().iter().all(|(_, status)| *status == 200));
}

#[rstest]
#[case::expired(State::expire_tokens)]
#[case::revoked(State::revoke_tokens)]
#[tokio::test]
async fn logs_in_again_when_the_token_is_refused(#[case] end: fn(&State)) {
    let world = World::new().await;
    world.client.backlog().await.unwrap();
    world.state().forget_requests();
    end(world.state());
    world.client.backlog().await.unwrap();
    let expected = [("get_all", 401), ("login", 200), ("get_all", 200)];
    assert_eq!(world.asked(), asked(&expected));
}

#[tokio::test]
async fn says_which_keys_are_wrong() {
    let world = World::new().await;
    let client = client(world.server.url(), &world.keys.access_key, "wrong-secret");
    let error = client.backlog().await.unwrap_err();
    assert_eq!(error.category(), "unauthorized");
    assert!(
        matches!(error, Error::Unauthorized { subcode: 22, .. }),
        "{error:?}"
    );
    let text = error.to_string();
    for part in [
        world.server.url(),
        &world.keys.access_key,
        "401/22",
        "secretKeyFile",
    ] {
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(world.asked(), asked(&[("login", 401)]));
}

#[tokio::test]
async fn says_that_keys_were_taken_away() {
    let world = World::new().await;
    world.client.backlog().await.unwrap();
    world.state().revoke_keys(&world.keys.access_key);
    world.state().revoke_tokens();
    let error = world.client.backlog().await.unwrap_err();
    assert_eq!(error.category(), "unauthorized");
}

#[rstest]
#[case::busy(Fault::Status { code: 429, retry_after: None })]
#[case::bad_gateway(Fault::Status { code: 502, retry_after: None })]
#[case::down(Fault::Status { code: 503, retry_after: None })]
#[case::too_slow(Fault::Status { code: 504, retry_after: None })]
#[case::over_the_limit(Fault::Status { code: 509, retry_after: None })]
#[case::cut(Fault::Drop)]
#[case::cut_afterwards(Fault::DropAfterwards)]
#[tokio::test]
async fn asks_again_after_a_fault(#[case] fault: Fault) {
    let world = World::new().await;
    world.state().inject(2, fault);
    world.client.backlog().await.unwrap();
    world.state().inject(2, fault);
    world.client.backlog().await.unwrap();
    let good = world
        .asked()
        .iter()
        .filter(|(_, status)| *status == 200)
        .count();
    assert!(good >= 3, "{:?}", world.asked());
}

#[tokio::test]
async fn waits_as_long_as_the_server_wants() {
    let world = World::new().await;
    let (code, retry_after) = (429, Some(1));
    world.state().inject(1, Fault::Status { code, retry_after });
    let started = Instant::now();
    world.client.backlog().await.unwrap();
    assert!(started.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn does_not_wait_longer_than_it_has_patience() {
    let world = World::new().await;
    let (code, retry_after) = (503, Some(3600));
    world.state().inject(1, Fault::Status { code, retry_after });
    let error = world.client.backlog().await.unwrap_err();
    assert_eq!(error.category(), "unavailable");
    assert_eq!(world.asked(), asked(&[("login", 503)]));
}

#[rstest]
#[case::down(Fault::Status { code: 503, retry_after: None }, "unavailable")]
#[case::cut(Fault::Drop, "unreachable")]
#[tokio::test]
async fn gives_up(#[case] fault: Fault, #[case] category: &str) {
    let world = World::new().await;
    let client = world.client.with_patience(SHORT);
    client.backlog().await.unwrap();
    world.server.state().forget_requests();
    world.server.state().inject(1000, fault);
    let started = Instant::now();
    let error = client.backlog().await.unwrap_err();
    assert_eq!(error.category(), category, "{error:?}");
    assert!(started.elapsed() < 4 * SHORT);
    assert!(world.server.state().requests().len() >= 2);
    // And is as good as new afterwards.
    world.server.state().heal();
    client.backlog().await.unwrap();
}

#[tokio::test]
async fn gives_up_on_a_server_that_does_not_answer() {
    let world = World::new().await;
    let client = world.client.with_patience(SHORT);
    world.server.state().set_delay(Duration::from_secs(60));
    let started = Instant::now();
    let error = client.backlog().await.unwrap_err();
    assert_eq!(error.category(), "unreachable");
    assert!(started.elapsed() < 4 * SHORT);
}

#[tokio::test]
async fn says_that_nobody_listens() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let client = client(&url, "key", "secret").with_patience(SHORT);
    let error = client.backlog().await.unwrap_err();
    assert_eq!(error.category(), "unreachable");
    let text = chain(&error);
    assert!(
        text.contains(&url) && text.contains("refused") && text.contains("clearml.url"),
        "{text}"
    );
}

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
