//! Keeps a node's capability files as its state says.
//!
//! Files cannot change in one step with the state. A word of the shared file says which files are there; it is set after them.
//! Where it differs from the state, because a client was killed between the two, the next client or writer makes the files true.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::lock::Lock;
use super::{AT_CAPS, Store, StoreError, io_error};
use crate::caps::{self, CapFile};
use crate::state::Gpu;

/// What a file is called before it is whole.
const UNFINISHED: &str = ".new";

impl Store {
    fn all_gpus(&self) -> Vec<Arc<Gpu>> {
        (0..self.gpu_count())
            .filter_map(|index| self.gpu(index))
            .collect()
    }

    /// Whether the files are kept and are not as the state says; the word that is right.
    fn stale_caps(&self) -> Option<u64> {
        let driver = self.driver();
        if !driver.has_caps() {
            return None;
        }
        // Without a driver there are no files.
        let right = if driver.is_loaded() {
            caps::fingerprint(self.all_gpus().iter().map(Arc::as_ref)).max(2)
        } else {
            1
        };
        (self.words.load(AT_CAPS) != right).then_some(right)
    }

    /// Makes the files true, when the node has them.
    pub(super) fn show_caps(&self, _held: &Lock<'_>) -> Result<(), StoreError> {
        let Some(right) = self.stale_caps() else {
            return Ok(());
        };
        let gpus = self.all_gpus();
        let files = if self.driver().is_loaded() {
            caps::files(gpus.iter().map(Arc::as_ref))
        } else {
            std::collections::BTreeMap::new()
        };
        let dir = self.log.parent().unwrap_or(Path::new("."));
        let path = |path: &PathBuf| dir.join(path);
        for folder in caps::FOLDERS {
            let keep = |path: &Path| {
                let below = path.strip_prefix(dir).unwrap_or(path);
                files.contains_key(below)
            };
            let folder = dir.join(folder);
            sweep(&folder, &keep).map_err(io_error("clear", &folder))?;
        }
        for (file, content) in &files {
            let file = path(file);
            write(&file, content).map_err(io_error("write", &file))?;
        }
        self.words.store(AT_CAPS, right);
        Ok(())
    }

    /// Makes the files true that a client left behind which was killed.
    pub(crate) fn repair_caps(&self) -> Result<(), StoreError> {
        if self.stale_caps().is_some() {
            drop(Lock::take(self)?);
        }
        Ok(())
    }
}

/// Removes the files that are not to be kept, and folders that hold none; whether the folder is left.
fn sweep(folder: &Path, keep: &impl Fn(&Path) -> bool) -> io::Result<bool> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        entries => entries?,
    };
    let mut left = false;
    for entry in entries {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            left |= sweep(&path, keep)?;
        } else if keep(&path) {
            left = true;
        } else {
            fs::remove_file(&path)?;
        }
    }
    if !left {
        fs::remove_dir(folder)?;
    }
    Ok(left)
}

/// Writes a file that is not there yet; it is whole from its first moment on.
fn write(path: &Path, content: &CapFile) -> io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(UNFINISHED);
    fs::write(&unfinished, &content.text)?;
    fs::set_permissions(&unfinished, fs::Permissions::from_mode(content.mode))?;
    fs::rename(&unfinished, path)
}
