//! The program `clearml-sim`.

#![cfg(test)]

use std::{
    io::{BufRead as _, BufReader, Lines},
    process::{Child, ChildStdout, Command, Stdio},
};

use serde_json::Value;

/// A running program, killed at the end.
struct Program {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Program {
    fn start(args: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_clearml-sim"))
            .args(args)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    fn line(&mut self) -> String {
        self.lines.next().unwrap().unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

async fn send(url: &str, keys: (&str, &str), endpoint: &str) -> reqwest::Response {
    // Another test may have done it.
    rustls::crypto::ring::default_provider()
        .install_default()
        .ok();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = http.get(format!("{url}/{endpoint}"));
    let request = request.basic_auth(keys.0, Some(keys.1));
    request.send().await.unwrap()
}

async fn status(url: &str, keys: (&str, &str), endpoint: &str) -> u16 {
    send(url, keys, endpoint).await.status().as_u16()
}

/// The data of an answer.
async fn ask(url: &str, keys: (&str, &str), endpoint: &str) -> Value {
    let answer: Value = send(url, keys, endpoint).await.json().await.unwrap();
    answer["data"].clone()
}

/// The words of a line about a user.
fn words(line: &str) -> [&str; 4] {
    line.split(' ').collect::<Vec<_>>().try_into().unwrap()
}

#[tokio::test]
async fn starts_with_a_company_and_says_its_keys() {
    let mut program = Program::start(&[]);
    let url = program.line();
    let user = program.line();
    let [company, name, access_key, secret_key] = words(&user);
    assert_eq!((company, name), ("clearml", "admin"));
    let data = ask(&url, (access_key, secret_key), "queues.get_all").await;
    assert_eq!(data["queues"][0]["name"], "default");
}

#[tokio::test]
async fn starts_as_the_enterprise_server() {
    let mut program = Program::start(&["--mode", "enterprise"]);
    let url = program.line();
    let lines = [program.line(), program.line()];
    let [admin, supervisor] = [words(&lines[0]), words(&lines[1])];
    assert_eq!((admin[1], supervisor[1]), ("admin", "supervisor"));
    let keys = (supervisor[2], supervisor[3]);
    let data = ask(&url, keys, "system.get_companies").await;
    let own = "d1bd92a3b039400cbafc60a7a5b1e52b";
    assert_eq!(data["companies"][0]["id"], own);
    let tenants = ask(&url, keys, "tenants.get_tenants").await;
    assert_eq!(tenants["tenants"][0]["default_company"], true);
}

#[tokio::test]
async fn starts_with_what_a_file_says() {
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("seed.json");
    let readme = include_str!("../README.md");
    let seed = readme
        .split("```json")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    std::fs::write(&file, seed).unwrap();
    let file = file.to_str().unwrap();
    let mut program = Program::start(&["--mode", "enterprise", "--seed-file", file]);
    let url = program.line();
    assert_eq!(program.line(), "acme alice ACCESS SECRET");
    let keys = ("ACCESS", "SECRET");
    let queues = ask(&url, keys, "queues.get_all").await["queues"].clone();
    assert_eq!(queues[0]["name"], "gpu-fraction-0_50");
    assert_eq!(queues[0]["entries"].as_array().unwrap().len(), 1);
    // It says so of the API of tenants.
    let (older, newer) = ("system.get_companies", "tenants.get_tenants");
    assert_eq!(status(&url, keys, older).await, 403);
    assert_eq!(status(&url, keys, newer).await, 404);
}

#[test]
fn refuses_a_file_with_a_mistake() {
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("wrong.json");
    std::fs::write(&file, r#"{"companies": [], "tenants": []}"#).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_clearml-sim"))
        .arg("--seed-file")
        .arg(&file)
        .output()
        .unwrap();
    assert!(!output.status.success());
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        text.contains("wrong.json") && text.contains("tenants"),
        "{text}"
    );
}
