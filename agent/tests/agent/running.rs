//! The program `mica-agent` as a child of the test.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    net::TcpStream,
    os::unix::process::ExitStatusExt as _,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use serde_json::Value;

use crate::node::{SimNode, wait_until};

pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mica-agent"));
    command.stdin(Stdio::null());
    // Whatever kubelet this machine has.
    command.env("MICA_AGENT_POD_RESOURCES_SOCKET", "none");
    command.env("MICA_AGENT_DEVICE_PLUGIN_DIR", "none");
    command
}

/// A running `mica-agent run`, killed when dropped.
pub(crate) struct Running {
    pub(crate) child: Child,
    log: PathBuf,
    ready: PathBuf,
}

impl Running {
    pub(crate) fn start(node: &SimNode, coordinator: &str) -> Self {
        Self::with(node, coordinator, &[])
    }

    /// With these arguments more.
    pub(crate) fn with(node: &SimNode, coordinator: &str, more: &[&str]) -> Self {
        let file = |name: &str| node.directory.path().join(name);
        let (log, ready) = (file("log"), file("ready"));
        fs::remove_file(&ready).unwrap_or_default();
        let child = program()
            .args(["--log-format", "json", "run", "--node", "node-1"])
            .args(["--coordinator", coordinator, "--http", "127.0.0.1:0"])
            .env("MICA_AGENT_POLL_INTERVAL", "10ms")
            .arg("--nvml-library")
            .arg(node.node.library())
            .arg("--state-dir")
            .arg(file("state"))
            .arg("--ready-file")
            .arg(&ready)
            .args(more)
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Self { child, log, ready }
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Waits until it serves; says where.
    pub(crate) fn http(&self) -> String {
        wait_until("the agent serves", || self.ready.exists());
        let ready: Value = serde_json::from_slice(&fs::read(&self.ready).unwrap()).unwrap();
        ready["http"].as_str().unwrap().to_owned()
    }

    /// Waits until it serves, and gets a page from it.
    pub(crate) fn get(&self, path: &str) -> String {
        get(&self.http(), path)
    }

    /// Waits until it has been killed by somebody else.
    pub(crate) fn killed(&mut self) {
        wait_until("the agent is killed", || {
            self.child.try_wait().unwrap().is_some()
        });
        assert_eq!(
            self.child.wait().unwrap().signal(),
            Some(9),
            "{}",
            self.log()
        );
    }

    /// Sends a signal and waits for the end.
    pub(crate) fn end(mut self, signal: &str) -> Option<i32> {
        let kill = format!("kill -{signal} {}", self.child.id());
        assert!(
            Command::new("sh")
                .args(["-c", &kill])
                .status()
                .unwrap()
                .success()
        );
        wait_until("the agent ends", || {
            self.child.try_wait().unwrap().is_some()
        });
        self.child.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().unwrap_or_default();
        self.child.wait().unwrap();
    }
}

/// Gets a page over HTTP, with its head.
pub(crate) fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
