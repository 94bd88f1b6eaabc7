//! Specs for the Container Device Interface: one file for each device, there as long as the device may be given to a container.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use tracing::warn;

use super::{
    nodes::{Node, Source},
    offer::Device,
};

/// Not NVIDIA's, whose own tools may have left specs of the same devices.
const KIND: &str = "mica.dev/gpu";

/// How the files begin.
const PREFIX: &str = "mica.dev-gpu_";

/// Name of a device for the container runtime.
pub(super) fn qualified(device: &str) -> String {
    format!("{KIND}={device}")
}

/// The files.
#[derive(Debug)]
pub(super) struct Specs {
    folder: PathBuf,
    nodes: Source,
    /// What is written, by id.
    written: BTreeMap<String, Device>,
    /// Of which devices files may be there; `None` before a predecessor's are removed.
    kept: Option<BTreeSet<String>>,
    /// What was last said to be wrong, by device.
    told: BTreeMap<String, String>,
}

impl Specs {
    pub(super) fn new(folder: PathBuf, nodes: Source) -> Self {
        Self {
            folder,
            nodes,
            written: BTreeMap::new(),
            kept: None,
            told: BTreeMap::new(),
        }
    }

    /// Writes the spec of a device, unless it is written so. Whether it is there in the end; why not is logged.
    pub(super) fn write(&mut self, device: &Device) -> bool {
        match self.try_write(device) {
            Ok(()) => {
                self.told.remove(&device.id);
                true
            }
            Err(problem) => {
                if self.told.get(&device.id) != Some(&problem) {
                    let device = &*device.id;
                    warn!(
                        device,
                        problem, "not offered: its CDI spec cannot be written"
                    );
                    self.told.insert(device.to_owned(), problem);
                }
                false
            }
        }
    }

    fn try_write(&mut self, device: &Device) -> Result<(), String> {
        if self.written.get(&device.id) == Some(device) {
            return Ok(());
        }
        let spec = spec(device, &self.nodes.of([device])?).to_string();
        let file = self.folder.join(format!("{PREFIX}{}.json", device.id));
        replace(&file, &spec)
            .map_err(|error| format!("{}: {error}; see --cdi-dir", file.display()))?;
        self.written.insert(device.id.clone(), device.clone());
        Ok(())
    }

    /// Removes the specs of all other devices, also those that a predecessor left.
    pub(super) fn keep_only(&mut self, devices: &BTreeSet<&str>) {
        let kept = devices.iter().map(|&device| device.to_owned()).collect();
        if self.kept.as_ref() == Some(&kept) {
            return;
        }
        self.kept = Some(kept);
        self.told.retain(|device, _| devices.contains(&**device));
        self.written.retain(|device, _| devices.contains(&**device));
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let ours = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
            let device = ours.and_then(|name| name.strip_suffix(".json"));
            if device.is_some_and(|device| !devices.contains(device))
                && let Err(error) = fs::remove_file(entry.path())
            {
                let file = entry.path();
                warn!(file = %file.display(), %error, "the CDI spec of a device that is gone is left");
            }
        }
    }
}

/// Names the nodes by their numbers, where these are known: the driver need not have made them.
fn spec(device: &Device, nodes: &[Node]) -> Value {
    let node = |node: &Node| {
        let mut fields = vec![("path", json!(node.path)), ("permissions", json!("rw"))];
        if node.host_path != node.path {
            fields.push(("hostPath", json!(node.host_path)));
        }
        if let Some((major, minor)) = node.numbers {
            fields.push(("type", json!("c")));
            fields.push(("major", json!(major)));
            fields.push(("minor", json!(minor)));
        }
        let fields = fields.into_iter();
        Value::Object(
            fields
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
        )
    };
    let nodes: Vec<_> = nodes.iter().map(node).collect();
    json!({
        "cdiVersion": "0.5.0",
        "kind": KIND,
        "devices": [{"name": device.id, "containerEdits": {"deviceNodes": nodes}}],
    })
}

/// The file is whole from its first moment on: the runtime reads whatever it finds with this ending.
fn replace(file: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    let new = file.with_extension("new");
    fs::write(&new, text)?;
    fs::rename(&new, file)
}

#[cfg(test)]
mod tests;
