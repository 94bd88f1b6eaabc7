//! Child processes that are started again when they die, as a kubelet would.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::process::{Child, Command};

/// A program to keep running.
#[derive(Clone, Debug)]
pub struct Spec {
    /// What it is called; also names its files `NAME.log`, `NAME.pid` and `NAME.ready`.
    pub name: String,
    /// The program.
    pub program: PathBuf,
    /// Its arguments, to which `--ready-file` is added.
    pub args: Vec<String>,
}

/// A running program. Killed when dropped.
#[derive(Debug)]
pub struct Service {
    spec: Spec,
    dir: PathBuf,
    child: Child,
    restarts: u32,
    peak_kib: u64,
}

/// How long a program may take until it says that it is ready.
const START_TIMEOUT: Duration = Duration::from_secs(20);

impl Service {
    /// Starts the program with its files in `dir`, and waits until it is ready.
    ///
    /// # Errors
    /// When it does not start or does not become ready; quotes the end of its log.
    pub async fn start(spec: Spec, dir: &Path) -> anyhow::Result<Self> {
        let child = spawn(&spec, dir)?;
        let mut service = Self {
            spec,
            dir: dir.to_owned(),
            child,
            restarts: 0,
            peak_kib: 0,
        };
        service.wait_ready().await?;
        Ok(service)
    }

    /// What the program is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// How often it was started again.
    #[must_use]
    pub fn restarts(&self) -> u32 {
        self.restarts
    }

    /// Process id; `None` when it has just died.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// The address the program wrote to its ready file under this key, `http` or `grpc`.
    ///
    /// # Errors
    /// When the file or the key is not there.
    pub fn address(&self, key: &str) -> anyhow::Result<String> {
        let path = self.file("ready");
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let ready: serde_json::Value = serde_json::from_str(&text)?;
        let address = ready.get(key).and_then(serde_json::Value::as_str);
        Ok(address
            .with_context(|| format!("{} has no {key}: {text}", path.display()))?
            .to_owned())
    }

    /// Looks after the program: notes its memory, and starts it again when it has died. Returns how it had died.
    ///
    /// # Errors
    /// When it cannot be started again.
    pub fn look_after(&mut self) -> anyhow::Result<Option<String>> {
        let Some(status) = self.child.try_wait()? else {
            self.peak_kib = self.peak_kib.max(self.resident_kib().unwrap_or(0));
            return Ok(None);
        };
        self.restarts += 1;
        self.child = spawn(&self.spec, &self.dir)?;
        Ok(Some(status.to_string()))
    }

    /// Largest resident memory seen, KiB, over all starts.
    #[must_use]
    pub fn peak_kib(&self) -> u64 {
        self.peak_kib
    }

    /// Ends the program: SIGTERM, and SIGKILL when that does not help within five seconds. Returns how it ended.
    ///
    /// # Errors
    /// When the program cannot be waited for.
    pub async fn stop(mut self) -> anyhow::Result<std::process::ExitStatus> {
        if let Some(pid) = self.child.id() {
            Command::new("kill")
                .args(["-TERM", &pid.to_string()])
                .status()
                .await?;
        }
        if let Ok(status) = tokio::time::timeout(Duration::from_secs(5), self.child.wait()).await {
            return Ok(status?);
        }
        self.child.kill().await?;
        Ok(self.child.wait().await?)
    }

    async fn wait_ready(&mut self) -> anyhow::Result<()> {
        let ready = self.file("ready");
        let deadline = Instant::now() + START_TIMEOUT;
        while !ready.exists() {
            if let Some(status) = self.child.try_wait()? {
                bail!(
                    "{} ended at start: {status}\n{}",
                    self.spec.name,
                    self.log_tail()
                );
            }
            if Instant::now() > deadline {
                bail!(
                    "{} is not ready after {START_TIMEOUT:?}\n{}",
                    self.spec.name,
                    self.log_tail()
                );
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// The last lines of the program's log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let log = std::fs::read_to_string(self.file("log")).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines
            .get(lines.len().saturating_sub(15)..)
            .unwrap_or_default()
            .join("\n")
    }

    fn file(&self, extension: &str) -> PathBuf {
        file(&self.dir, &self.spec.name, extension)
    }

    /// Resident memory by the kernel's account: `VmRSS` of `/proc/PID/status`, KiB.
    fn resident_kib(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()?)).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.split_whitespace().next()?.parse().ok()
    }
}

fn file(dir: &Path, name: &str, extension: &str) -> PathBuf {
    dir.join(format!("{name}.{extension}"))
}

fn spawn(spec: &Spec, dir: &Path) -> anyhow::Result<Child> {
    let ready = file(dir, &spec.name, "ready");
    match std::fs::remove_file(&ready) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let log = File::options()
        .create(true)
        .append(true)
        .open(file(dir, &spec.name, "log"))?;
    let mut command = Command::new(&spec.program);
    command.args(&spec.args).arg("--ready-file").arg(&ready);
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .kill_on_drop(true);
    let child = command
        .spawn()
        .with_context(|| format!("{}", spec.program.display()))?;
    std::fs::write(
        file(dir, &spec.name, "pid"),
        child.id().unwrap_or_default().to_string(),
    )?;
    Ok(child)
}
