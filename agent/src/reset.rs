//! Resetting one GPU. NVML has no call for it; `nvidia-smi`, which comes with the driver, can.

use std::{ffi::OsString, process::Stdio, time::Duration};

use tokio::{process::Command, time::timeout};

/// A reset takes seconds. One that takes longer hangs.
const DEADLINE: Duration = Duration::from_secs(60);

/// What `nvidia-smi` ends with when the GPU does not offer what is asked for, and when the GPU has fallen off the bus.
const NO_RESET: [i32; 2] = [3, 15];

/// Why a GPU was not reset.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// This GPU cannot be reset from here; only a reboot starts it anew.
    #[error("the GPU cannot be reset from here: {0}")]
    Impossible(String),
    /// It did not work this time.
    #[error("{0}")]
    Failed(String),
}

/// Resets a GPU and waits for the end. Who has the GPU open must have let go, this process too.
pub fn reset(nvidia_smi: &OsString, uuid: &str) -> Result<(), Error> {
    let name = nvidia_smi.display();
    let failed = |what: String| Error::Failed(format!("{name} --gpu-reset -i {uuid}: {what}"));
    // For this one wait: standard library processes have no deadline.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| failed(error.to_string()))?;
    let run = async {
        let mut command = Command::new(nvidia_smi);
        command
            .args(["--gpu-reset", "-i", uuid])
            .stdin(Stdio::null());
        timeout(DEADLINE, command.kill_on_drop(true).output()).await
    };
    let output = runtime
        .block_on(run)
        .map_err(|_| failed(format!("not done within {} s", DEADLINE.as_secs())))?
        .map_err(|error| {
            failed(format!(
                "cannot be run: {error}; name the program with --nvidia-smi"
            ))
        })?;
    if output.status.success() {
        return Ok(());
    }
    // nvidia-smi complains on either.
    let said = [output.stderr, output.stdout].concat();
    let said = said_in_one_line(&said);
    let impossible = output
        .status
        .code()
        .is_some_and(|code| NO_RESET.contains(&code))
        || said.to_lowercase().contains("not supported");
    if impossible {
        Err(Error::Impossible(said))
    } else {
        Err(failed(format!("{}: {said}", output.status)))
    }
}

/// What a program printed, in one line of bounded length.
fn said_in_one_line(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let lines: Vec<_> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let plain = |letter: &char| !letter.is_control();
    lines.join("; ").chars().filter(plain).take(300).collect()
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

    use super::*;

    fn script(folder: &Path, body: &str) -> OsString {
        let path = folder.join("nvidia-smi");
        fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path.into()
    }

    #[test]
    fn one_gpu_is_named_and_what_goes_wrong_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let run = |body: &str| reset(&script(folder.path(), body), "GPU-1");
        assert_eq!(run(r#"[ "$*" = "--gpu-reset -i GPU-1" ]"#), Ok(()));
        let Err(Error::Failed(text)) =
            run("echo 'in use by'; echo ' another client' >&2; exit 255")
        else {
            panic!("it did not fail");
        };
        assert!(text.contains("another client; in use by"), "{text}");
        for body in [
            "echo no; exit 3",
            "echo 'Resetting GPU is not supported.'; exit 1",
        ] {
            let result = run(body);
            assert!(matches!(result, Err(Error::Impossible(_))), "{result:?}");
        }
        let missing = folder.path().join("no-such-program").into_os_string();
        let text = reset(&missing, "GPU-1").unwrap_err().to_string();
        assert!(text.contains("--nvidia-smi"), "{text}");
    }
}
