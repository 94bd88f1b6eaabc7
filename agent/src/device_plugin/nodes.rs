//! Device nodes of the driver: which ones a container needs, and their numbers.

use std::{fs, path::PathBuf};

use super::offer::Device;

/// Nodes that everybody needs who computes, and which are not there on every machine.
const COMMON: [(&str, &str, u32); 4] = [
    ("/dev/nvidiactl", "nvidia", 255),
    ("/dev/nvidia-uvm", "nvidia-uvm", 0),
    ("/dev/nvidia-uvm-tools", "nvidia-uvm", 1),
    ("/dev/nvidia-modeset", "nvidia", 254),
];

/// Where device nodes and their numbers are seen.
#[derive(Clone, Debug)]
pub(super) struct Source {
    /// The node's `/proc`.
    pub(super) proc: PathBuf,
    /// What the node's `/dev` is below.
    pub(super) dev_root: PathBuf,
}

/// A device node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    /// Its path in a container.
    pub(super) path: String,
    /// Its path on the node.
    pub(super) host_path: String,
    /// Its numbers; the driver may not have made the node itself. `None` where the kernel does not list the driver.
    pub(super) numbers: Option<(u32, u32)>,
}

impl Source {
    /// What containers need to use `devices`: the common nodes that there are, and of each device its GPU's and its capabilities'. `Err`
    /// names what cannot be told.
    pub(super) fn of<'a>(
        &self,
        devices: impl IntoIterator<Item = &'a Device>,
    ) -> Result<Vec<Node>, String> {
        let majors = fs::read_to_string(self.proc.join("devices")).unwrap_or_default();
        let node = |path: &str, driver: &str, minor: u32| Node {
            path: path.to_owned(),
            host_path: self
                .dev_root
                .join(path.trim_start_matches('/'))
                .display()
                .to_string(),
            numbers: major(&majors, driver).map(|major| (major, minor)),
        };
        let common = COMMON.map(|(path, driver, minor)| node(path, driver, minor));
        let there = common
            .into_iter()
            .filter(|node| fs::exists(&node.host_path).unwrap_or(false));
        let mut nodes: Vec<_> = there.collect();
        for device in devices {
            let minor = device.minor.ok_or_else(|| {
                format!(
                    "the driver does not tell the device node of GPU {}",
                    device.gpu
                )
            })?;
            let gpu = node(&format!("/dev/nvidia{minor}"), "nvidia", minor);
            if !nodes.contains(&gpu) {
                nodes.push(gpu);
            }
            for cap in self.capabilities(device, minor)? {
                let path = format!("/dev/nvidia-caps/nvidia-cap{cap}");
                nodes.push(node(&path, "nvidia-caps", cap));
            }
        }
        Ok(nodes)
    }

    /// Minor numbers of the capabilities to use a slice: of its GPU instance and of its compute instance.
    fn capabilities(&self, device: &Device, minor: u32) -> Result<Vec<u32>, String> {
        let Some((gi, ci)) = device.mig else {
            return Ok(Vec::new());
        };
        let file = self.proc.join("driver/nvidia-caps/mig-minors");
        let minors = fs::read_to_string(&file)
            .map_err(|error| format!("cannot read {}: {error}", file.display()))?;
        let names = [
            format!("gpu{minor}/gi{gi}/access"),
            format!("gpu{minor}/gi{gi}/ci{ci}/access"),
        ];
        let cap = |name: &String| {
            capability(&minors, name)
                .ok_or_else(|| format!("{} does not list {name}", file.display()))
        };
        names.iter().map(cap).collect()
    }
}

/// Minor number of a capability, from a text of lines `gpu0/gi1/access 12`.
fn capability(minors: &str, name: &str) -> Option<u32> {
    minors.lines().find_map(|line| {
        let (known, minor) = line.split_once(' ')?;
        minor.trim().parse().ok().filter(|_| known == name)
    })
}

/// Major number of a driver, from a text as `/proc/devices` has it: lines `195 nvidia`, formerly `195 nvidia-frontend`.
fn major(devices: &str, driver: &str) -> Option<u32> {
    let characters = devices.split("Block devices:").next()?;
    characters.lines().find_map(|line| {
        let (major, name) = line.trim().split_once(' ')?;
        let same = name == driver || (driver == "nvidia" && name == "nvidia-frontend");
        major.parse().ok().filter(|_| same)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_whole_names() {
        let minors = "config 1\nmonitor 2\ngpu0/gi1/access 12\ngpu0/gi1/ci0/access 13\ngpu0/gi11/access 102\n";
        assert_eq!(capability(minors, "gpu0/gi1/access"), Some(12));
        assert_eq!(capability(minors, "gpu0/gi1/ci0/access"), Some(13));
        assert_eq!(capability(minors, "gpu0/gi11/access"), Some(102));
        assert_eq!(capability(minors, "gpu0/gi2/access"), None);
        assert_eq!(capability("", "gpu0/gi2/access"), None);
        let devices = "Character devices:\n  1 mem\n195 nvidia-frontend\n235 nvidia-caps\n509 nvidia-uvm\n\nBlock devices:\n  7 nvidia\n";
        assert_eq!(major(devices, "nvidia"), Some(195));
        assert_eq!(major(devices, "nvidia-caps"), Some(235));
        assert_eq!(major(devices, "nvidia-uvm"), Some(509));
        assert_eq!(major("Block devices:\n  7 nvidia\n", "nvidia"), None);
    }
}
