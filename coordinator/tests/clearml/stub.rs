//! A server that gives one answer to everything but a login, and a worker of a ClearML server.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// What the stub's login gives.
pub(crate) const TOKEN: &str = "opaque-token";

/// A server that is not ClearML.
pub(crate) struct Stub {
    url: String,
    requests: Arc<Mutex<Vec<String>>>,
    _task: JoinSet<()>,
}

impl Stub {
    /// Answers logins with a token, and everything else as told.
    pub(crate) async fn start(status: &'static str, body: &'static str) -> Self {
        Self::listen(status, body, true).await
    }

    /// Answers everything as told.
    pub(crate) async fn start_without_login(status: &'static str, body: &'static str) -> Self {
        Self::listen(status, body, false).await
    }

    async fn listen(status: &'static str, body: &'static str, login: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&requests);
        let mut task = JoinSet::new();
        task.spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let request = read(&mut stream).await;
                let answer = if login && request.contains("auth.login") {
                    let data = json!({"meta": {"result_code": 200}, "data": {"token": TOKEN}});
                    answer("200 OK", &data.to_string())
                } else {
                    answer(status, body)
                };
                log.lock().unwrap().push(request);
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        Self {
            url,
            requests,
            _task: task,
        }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Head and body of all requests so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn answer(status: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
}

/// One request, whose body is JSON and so ends with a brace.
async fn read(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"}") {
        if stream.read_buf(&mut bytes).await.unwrap() == 0 {
            break;
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// Takes tasks from queues and ends them, as a ClearML worker does.
pub(crate) struct Worker {
    http: reqwest::Client,
    url: String,
    keys: clearml_sim::Credentials,
}

impl Worker {
    pub(crate) fn new(url: &str, keys: &clearml_sim::Credentials) -> Self {
        // The client under test has set up TLS already.
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let (url, keys) = (url.to_owned(), keys.clone());
        Self { http, url, keys }
    }

    async fn call(&self, endpoint: &str, body: Value) -> Value {
        let request = self.http.post(format!("{}/{endpoint}", self.url));
        let request = request.basic_auth(&self.keys.access_key, Some(&self.keys.secret_key));
        let response = request.json(&body).send().await.unwrap();
        let answer: Value = response.error_for_status().unwrap().json().await.unwrap();
        answer["data"].clone()
    }

    /// Takes the next task and starts it.
    pub(crate) async fn take(&self, queue: &str) -> String {
        let data = self
            .call("queues.get_next_task", json!({"queue": queue}))
            .await;
        let task = data["entry"]["task"].as_str().unwrap().to_owned();
        self.start(&task).await;
        task
    }

    pub(crate) async fn start(&self, task: &str) {
        self.call("tasks.started", json!({"task": task})).await;
    }

    pub(crate) async fn complete(&self, task: &str) {
        self.call("tasks.completed", json!({"task": task})).await;
    }

    pub(crate) async fn login(&self) -> String {
        let data = self.call("auth.login", json!({})).await;
        data["token"].as_str().unwrap().to_owned()
    }
}
