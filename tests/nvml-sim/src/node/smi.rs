//! The node's `nvidia-smi`: a script that runs the program of this crate.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::{NodeError, io_error};
use crate::library;

/// The program that it runs.
const PROGRAM: &str = "nvml-sim";

pub(super) fn path(dir: &Path) -> PathBuf {
    dir.join("bin").join("nvidia-smi")
}

/// Writes it. The program need not be built yet: the script names where it will be, and says so when it is not there.
pub(super) fn write(dir: &Path) -> Result<(), NodeError> {
    let path = path(dir);
    let folder = dir.join("bin");
    fs::create_dir_all(&folder).map_err(io_error("create", &folder))?;
    let program = program().to_string_lossy().replace('\'', "'\\''");
    let script = format!(
        "#!/bin/sh\n\
         # nvidia-smi of the simulated node whose folder this lies in.\n\
         program='{program}'\n\
         [ -x \"$program\" ] || {{ echo \"nvidia-smi: no $program; build it with: cargo build -p nvml-sim\" >&2; exit 12; }}\n\
         exec \"$program\" nvidia-smi \"$(dirname \"$0\")/..\" \"$@\"\n"
    );
    fs::write(&path, script).map_err(io_error("write", &path))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).map_err(io_error("write", &path))
}

/// The program beside the one that runs, or where cargo puts it.
fn program() -> PathBuf {
    let near = library::near_this_program();
    let there = |folder: &PathBuf| folder.join(PROGRAM).is_file();
    let folder = near
        .iter()
        .find(|folder| there(folder))
        .or(near.last())
        .cloned()
        .unwrap_or_default();
    folder.join(PROGRAM)
}
