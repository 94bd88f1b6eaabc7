//! What no recording shows: the life of a task to its end, paging, compression, companies, and faults on purpose.

#![cfg(test)]

use std::{net::SocketAddr, time::Duration};

use clearml_sim::{Credentials, Fault, Server, State, Status};
use reqwest::{Client, StatusCode};
use rstest::rstest;
use serde_json::{Value, json};

struct World {
    server: Server,
    http: Client,
    company: String,
    keys: Credentials,
    queue: String,
}

impl World {
    async fn new() -> Self {
        let state = State::new();
        let company = state.add_company("acme");
        let keys = state.add_user(&company, "worker");
        let queue = state.add_queue(&company, "gpu-fraction-0_50");
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = Server::start(address, state).await.unwrap();
        Self {
            server,
            http: client(),
            company,
            keys,
            queue,
        }
    }

    fn state(&self) -> &State {
        self.server.state()
    }

    async fn send(&self, endpoint: &str, body: &Value) -> reqwest::Result<reqwest::Response> {
        self.http
            .post(format!("{}/{endpoint}", self.server.url()))
            .basic_auth(&self.keys.access_key, Some(&self.keys.secret_key))
            .json(body)
            .send()
            .await
    }

    /// The whole envelope.
    async fn call(&self, endpoint: &str, body: Value) -> Value {
        let response = self.send(endpoint, &body).await.unwrap();
        response.json().await.unwrap()
    }

    async fn data(&self, endpoint: &str, body: Value) -> Value {
        let envelope = self.call(endpoint, body).await;
        assert_eq!(
            envelope["meta"]["result_code"], 200,
            "{endpoint}: {envelope}"
        );
        envelope["data"].clone()
    }

    async fn login(&self) -> String {
        let data = self.data("auth.login", json!({})).await;
        data["token"].as_str().unwrap().to_owned()
    }

    async fn status_with_token(&self, token: &str) -> StatusCode {
        let request = self
            .http
            .post(format!("{}/queues.get_all", self.server.url()));
        request.bearer_auth(token).send().await.unwrap().status()
    }

    fn task(&self, id: &str) -> clearml_sim::Task {
        self.state().task(id).unwrap()
    }
}

fn client() -> Client {
    // Another test may have done it.
    rustls::crypto::ring::default_provider()
        .install_default()
        .ok();
    Client::builder().no_proxy().build().unwrap()
}

#[rstest]
#[case::well("tasks.completed", Status::Completed)]
#[case::badly("tasks.failed", Status::Failed)]
#[case::early("tasks.stopped", Status::Stopped)]
#[case::by_order("tasks.stop", Status::Stopped)]
#[tokio::test]
async fn a_task_lives_and_ends(#[case] end: &str, #[case] last: Status) {
    let world = World::new().await;
    let created = world
        .data("tasks.create", json!({"name": "train", "type": "training"}))
        .await;
    let id = created["id"].as_str().unwrap();
    assert_eq!(world.task(id).status, Status::Created);

    world
        .data("tasks.enqueue", json!({"task": id, "queue": world.queue}))
        .await;
    assert_eq!(world.task(id).status, Status::Queued);
    assert_eq!(
        world.state().queue(&world.queue).unwrap().entries[0].task,
        id
    );

    let next = world
        .data("queues.get_next_task", json!({"queue": world.queue}))
        .await;
    assert_eq!(next["entry"]["task"], id);
    assert_eq!(world.task(id).status, Status::Queued);
    assert_eq!(
        world.task(id).execution.queue.as_deref(),
        Some(world.queue.as_str())
    );
    assert!(
        world
            .state()
            .queue(&world.queue)
            .unwrap()
            .entries
            .is_empty()
    );

    let running = json!({"status": ["in_progress"], "only_fields": ["id", "execution.queue"]});
    assert_eq!(
        world.data("tasks.get_all", running.clone()).await,
        json!({"tasks": []})
    );
    let started = world.data("tasks.started", json!({"task": id})).await;
    assert_eq!(started["started"], 1);
    let row = json!({"id": id, "execution": {"queue": world.queue}});
    assert_eq!(
        world.data("tasks.get_all", running).await,
        json!({"tasks": [row]})
    );

    world.data(end, json!({"task": id})).await;
    assert_eq!(world.task(id).status, last);
}

#[tokio::test]
async fn a_task_at_work_is_asked_to_stop() {
    let world = World::new().await;
    let id = world
        .state()
        .add_task(&world.company, "train", Some(&world.queue));
    world
        .data("queues.get_next_task", json!({"queue": world.queue}))
        .await;
    world.data("tasks.started", json!({"task": id})).await;
    let report = json!({"worker": "w", "timestamp": 1, "task": id});
    world.data("workers.status_report", report).await;
    world.data("tasks.stop", json!({"task": id})).await;
    let task = world.task(&id);
    assert_eq!(
        (task.status, task.status_message.as_str()),
        (Status::InProgress, "stopping")
    );
    assert_eq!(task.last_worker.as_deref(), Some("w"));
}

#[tokio::test]
async fn a_task_leaves_its_queue_again() {
    let world = World::new().await;
    let id = world
        .state()
        .add_task(&world.company, "train", Some(&world.queue));
    let data = world.data("tasks.dequeue", json!({"task": id})).await;
    assert_eq!(data["dequeued"], 1);
    assert_eq!(world.task(&id).status, Status::Created);
    assert!(
        world
            .state()
            .queue(&world.queue)
            .unwrap()
            .entries
            .is_empty()
    );
    let again = world.call("tasks.dequeue", json!({"task": id})).await;
    assert_eq!(again["meta"]["result_subcode"], 110);
}

#[rstest]
#[case::created_cannot_complete(&[], "tasks.completed", 110)]
#[case::queued_cannot_fail(&["tasks.enqueue"], "tasks.failed", 110)]
#[case::running_cannot_wait(&["tasks.started"], "tasks.enqueue", 110)]
#[case::waits_already(&["tasks.enqueue"], "tasks.enqueue", 706)]
#[tokio::test]
async fn a_task_keeps_to_its_life(
    #[case] before: &[&str],
    #[case] then: &str,
    #[case] subcode: u32,
) {
    let world = World::new().await;
    let id = world.state().add_task(&world.company, "train", None);
    let body = json!({"task": id, "queue": world.queue});
    for endpoint in before {
        world.data(endpoint, body.clone()).await;
    }
    let answer = world.call(then, body).await;
    assert_eq!(answer["meta"]["result_code"], 400);
    assert_eq!(answer["meta"]["result_subcode"], subcode, "{answer}");
}

#[tokio::test]
async fn companies_do_not_see_each_other() {
    let world = World::new().await;
    let other = world.state().add_company("other");
    let queue = world.state().add_queue(&other, "gpu-fraction-0_50");
    let task = world.state().add_task(&other, "secret", Some(&queue));
    for (endpoint, body, subcode) in [
        ("queues.get_by_id", json!({"queue": queue}), 701),
        ("queues.get_next_task", json!({"queue": queue}), 701),
        ("queues.delete", json!({"queue": queue, "force": true}), 701),
        (
            "queues.remove_task",
            json!({"queue": queue, "task": task}),
            703,
        ),
        ("tasks.get_by_id", json!({"task": task}), 101),
        ("tasks.started", json!({"task": task}), 101),
        (
            "workers.register",
            json!({"worker": "w", "queues": [queue]}),
            701,
        ),
    ] {
        let answer = world.call(endpoint, body).await;
        assert_eq!(
            answer["meta"]["result_subcode"], subcode,
            "{endpoint}: {answer}"
        );
    }
    let tasks = world.data("tasks.get_all", json!({"id": [task]})).await;
    assert_eq!(tasks, json!({"tasks": []}));
}

#[tokio::test]
async fn listings_end_after_500_rows() {
    let world = World::new().await;
    for index in 0..505 {
        world
            .state()
            .add_queue(&world.company, &format!("bulk-{index:04}"));
    }
    let count = async |body: Value| {
        let data = world.data("queues.get_all", body).await;
        data["queues"].as_array().unwrap().len()
    };
    assert_eq!(count(json!({})).await, 500);
    assert_eq!(count(json!({"page": 0, "page_size": 1000})).await, 500);
    assert_eq!(count(json!({"page": 1})).await, 6);
    assert_eq!(
        count(json!({"page": 1, "page_size": 500, "order_by": ["name"]})).await,
        6
    );
    assert_eq!(count(json!({"page": 2})).await, 0);
    for (body, field) in [
        (json!({"page_size": 0}), "page_size must be >0"),
        (json!({"page": -1}), "page must be >=0"),
    ] {
        let answer = world.call("queues.get_all", body).await;
        assert_eq!(answer["meta"]["result_subcode"], 12);
        assert!(
            answer["meta"]["result_msg"]
                .as_str()
                .unwrap()
                .contains(field),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn long_answers_are_compressed_for_those_who_can_read_it() {
    let world = World::new().await;
    world.state().add_queue(&world.company, "gpu-fraction-1_00");
    // One that does not unpack, and so hides nothing.
    let http = Client::builder().no_proxy().no_gzip().build().unwrap();
    for (endpoint, wanted, encoding) in [
        ("queues.get_all", "identity", None),
        ("queues.get_all", "gzip, deflate", Some("gzip")),
        ("debug.ping", "gzip, deflate", None),
    ] {
        let response = http
            .get(format!("{}/{endpoint}", world.server.url()))
            .basic_auth(&world.keys.access_key, Some(&world.keys.secret_key))
            .header("Accept-Encoding", wanted)
            .send()
            .await
            .unwrap();
        let header = response.headers().get("content-encoding");
        let found = header.map(|value| value.to_str().unwrap());
        assert_eq!(found, encoding, "{endpoint} {wanted}");
    }
}

#[tokio::test]
async fn tokens_end() {
    let world = World::new().await;
    let token = world.login().await;
    assert_eq!(world.status_with_token(&token).await, 200);
    assert_eq!(world.status_with_token(&format!("{token}x")).await, 401);
    world.state().expire_tokens();
    assert_eq!(world.status_with_token(&token).await, 401);

    let token = world.login().await;
    assert_eq!(world.status_with_token(&token).await, 200);
    world.state().revoke_tokens();
    assert_eq!(world.status_with_token(&token).await, 401);

    let token = world.data("auth.login", json!({"expiration_sec": 0})).await;
    assert_eq!(
        world
            .status_with_token(token["token"].as_str().unwrap())
            .await,
        401
    );

    world.state().revoke_keys(&world.keys.access_key);
    let answer = world.call("auth.login", json!({})).await;
    assert_eq!(answer["meta"]["result_subcode"], 22);
}

#[tokio::test]
async fn fails_as_often_as_it_is_told() {
    let world = World::new().await;
    let state = world.state();
    state.fail_next(2, 503);
    let (code, retry_after) = (429, Some(7));
    state.inject(1, Fault::Status { code, retry_after });
    let mut found = Vec::new();
    for _ in 0..4 {
        let response = world.send("debug.ping", &json!({})).await.unwrap();
        found.push(response.status().as_u16());
        if response.status() == 429 {
            assert_eq!(response.headers()["retry-after"], "7");
        }
    }
    assert_eq!(found, [503, 503, 429, 200]);
    let logged: Vec<u16> = state
        .requests()
        .iter()
        .map(|request| request.status)
        .collect();
    assert_eq!(logged, found);
    assert_eq!(state.requests()[0].endpoint, "debug.ping");
    state.forget_requests();
    assert!(state.requests().is_empty());
}

#[rstest]
#[case::before(Fault::Drop, 0)]
#[case::after_the_deed(Fault::DropAfterwards, 1)]
#[tokio::test]
async fn cuts_connections(#[case] fault: Fault, #[case] tasks: usize) {
    let world = World::new().await;
    world.state().inject(1, fault);
    let body = json!({"name": "train", "type": "training"});
    world.send("tasks.create", &body).await.unwrap_err();
    assert_eq!(world.state().tasks().len(), tasks);
    assert_eq!(world.state().requests()[0].status, 0);
    world.data("tasks.create", body).await;
}

#[tokio::test]
async fn answers_late_when_told() {
    let world = World::new().await;
    let delay = Duration::from_millis(50);
    world.state().set_delay(delay);
    let started = std::time::Instant::now();
    world.data("debug.ping", json!({})).await;
    assert!(started.elapsed() >= delay);
}

#[tokio::test]
async fn closes_connections_when_it_stops() {
    let world = World::new().await;
    world.data("debug.ping", json!({})).await;
    let url = world.server.url().to_owned();
    world.server.shutdown().await.unwrap();
    world
        .http
        .get(format!("{url}/debug.ping"))
        .send()
        .await
        .unwrap_err();
}
