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

async fn queues(url: &str, access_key: &str, secret_key: &str) -> Value {
    // Another test may have done it.
    rustls::crypto::ring::default_provider()
        .install_default()
        .ok();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = http.get(format!(
        "{url}/queues.get_all?only_fields[]=name&only_fields[]=entries"
    ));
    let answer = request
        .basic_auth(access_key, Some(secret_key))
        .send()
        .await
        .unwrap();
    let answer: Value = answer.json().await.unwrap();
    answer["data"]["queues"].clone()
}

#[tokio::test]
async fn starts_with_a_company_and_says_its_keys() {
    let mut program = Program::start(&[]);
    let url = program.line();
    let user = program.line();
    let [company, name, access_key, secret_key] = user.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{user}");
    };
    assert_eq!((company, name), ("clearml", "admin"));
    let queues = queues(&url, access_key, secret_key).await;
    assert_eq!(queues[0]["name"], "default");
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
    let mut program = Program::start(&["--seed-file", file.to_str().unwrap()]);
    let url = program.line();
    assert_eq!(program.line(), "acme alice ACCESS SECRET");
    let queues = queues(&url, "ACCESS", "SECRET").await;
    assert_eq!(queues[0]["name"], "gpu-fraction-0_50");
    assert_eq!(queues[0]["entries"].as_array().unwrap().len(), 1);
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
