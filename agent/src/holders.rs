//! Who holds a GPU: the processes that have its device node open.
//!
//! NVML shows only processes with a context. A monitoring daemon has none, and yet MIG mode of an Ampere GPU cannot change, nor any GPU
//! be reset, while it has the device open. So the open files of all processes are looked through. That costs a look at each of them,
//! and is done only while it matters.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use mica_model::Holder;

mod cgroup;

/// Where the processes of the node are seen.
#[derive(Clone, Debug)]
pub struct Processes {
    /// The node's `/proc`; in a container one that shows all processes of the node, with their ids as the node has them.
    root: PathBuf,
    /// The agent itself holds every GPU, and lets go when it must.
    own: u32,
}

impl Processes {
    /// Those below this `/proc`.
    #[must_use]
    pub fn below(root: PathBuf) -> Self {
        // In another `/proc` than its own the agent has another id.
        let link = fs::read_link(root.join("self")).ok();
        let own = link.and_then(|link| link.to_str()?.parse().ok());
        Self {
            root,
            own: own.unwrap_or_else(std::process::id),
        }
    }

    /// The processes that have `/dev/nvidia<minor>` open, by minor number, in ascending order of pid. What cannot be looked into,
    /// without the rights or because it has just ended, is left out.
    #[must_use]
    pub fn holders(&self, minors: &[u32]) -> BTreeMap<u32, Vec<Holder>> {
        let mut found: BTreeMap<u32, Vec<Holder>> = BTreeMap::new();
        if minors.is_empty() {
            return found;
        }
        for pid in self.pids() {
            for minor in self.held(pid, minors) {
                found.entry(minor).or_default().push(self.named(pid));
            }
        }
        found
    }

    /// A process with what can be said of it.
    #[must_use]
    pub fn named(&self, pid: u32) -> Holder {
        let of = |file: &str| fs::read_to_string(self.root.join(pid.to_string()).join(file));
        let command = of("comm").unwrap_or_default();
        let container = of("cgroup").map(|text| cgroup::container(&text));
        let (pod_uid, container_id) = container.unwrap_or_default();
        Holder {
            pid,
            command: printable(&command),
            pod_uid,
            container_id,
        }
    }

    fn pids(&self) -> Vec<u32> {
        let entries = fs::read_dir(&self.root).into_iter().flatten().flatten();
        let pid = |entry: fs::DirEntry| entry.file_name().to_str()?.parse().ok();
        let mut pids: Vec<u32> = entries.filter_map(pid).collect();
        pids.retain(|&pid| pid != self.own);
        pids.sort_unstable();
        pids
    }

    /// Those of `minors` whose node a process has open.
    fn held(&self, pid: u32, minors: &[u32]) -> Vec<u32> {
        let folder = self.root.join(pid.to_string()).join("fd");
        let files = fs::read_dir(folder).into_iter().flatten().flatten();
        let mut held: Vec<_> = files
            .filter_map(|file| fs::read_link(file.path()).ok())
            .filter_map(|target| minor(&target))
            .filter(|minor| minors.contains(minor))
            .collect();
        held.sort_unstable();
        held.dedup();
        held
    }
}

/// Minor number of the GPU whose device node this is: `/dev/nvidia3`, also below another root, as where the driver comes in a container.
fn minor(target: &Path) -> Option<u32> {
    let text = target.to_str()?;
    // The node is made anew when the driver is loaded anew; who holds the former one still holds the GPU.
    let path = Path::new(text.strip_suffix(" (deleted)").unwrap_or(text));
    let in_dev = path.parent()?.file_name()? == "dev";
    let number = path.file_name()?.to_str()?.strip_prefix("nvidia")?;
    let digits = number.bytes().all(|byte| byte.is_ascii_digit());
    number.parse().ok().filter(|_| in_dev && digits)
}

/// A process may call itself anything; what would break a line or a terminal is left out.
fn printable(name: &str) -> String {
    name.chars().filter(|letter| !letter.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("/dev/nvidia0", Some(0))]
    #[case("/dev/nvidia12", Some(12))]
    #[case("/run/nvidia/driver/dev/nvidia3", Some(3))]
    #[case("/dev/nvidia1 (deleted)", Some(1))]
    #[case("/dev/nvidiactl", None)]
    #[case("/dev/nvidia", None)]
    #[case("/dev/nvidia+1", None)]
    #[case("/dev/nvidia-uvm", None)]
    #[case("/dev/nvidia-caps/nvidia-cap1", None)]
    #[case("/home/somebody/nvidia0", None)]
    #[case("socket:[1234]", None)]
    fn device_nodes_are_known_by_their_path(#[case] target: &str, #[case] expected: Option<u32>) {
        assert_eq!(minor(Path::new(target)), expected);
    }

    /// A `/proc` with one process.
    fn process(root: &Path, pid: u32, comm: &str, cgroup: &str, open: &[&str]) {
        let folder = root.join(pid.to_string());
        fs::create_dir_all(folder.join("fd")).unwrap();
        fs::write(folder.join("comm"), format!("{comm}\n")).unwrap();
        fs::write(folder.join("cgroup"), cgroup).unwrap();
        fs::write(folder.join("cmdline"), "x\0--password=secret\0").unwrap();
        for (number, target) in open.iter().enumerate() {
            symlink(target, folder.join("fd").join(number.to_string())).unwrap();
        }
    }

    #[test]
    fn who_has_the_node_open_is_named_without_arguments() {
        let proc = tempfile::tempdir().unwrap();
        let root = proc.path();
        let uid = "0f4a1c52-5d0b-4c9c-8f0a-1b2c3d4e5f60";
        let id = "a".repeat(64);
        let in_pod = format!("0::/kubepods/besteffort/pod{uid}/{id}\n");
        process(
            root,
            30,
            "dcgm-exporter",
            &in_pod,
            &["/dev/null", "/dev/nvidia0", "/dev/nvidia0"],
        );
        process(
            root,
            7,
            "nv-hostengine",
            "0::/system.slice/dcgm.service\n",
            &["/dev/nvidia1", "/dev/nvidia0"],
        );
        process(root, 8, "bash", "0::/\n", &["/dev/nvidiactl"]);
        process(root, 9, "mica-agent", "0::/\n", &["/dev/nvidia0"]);
        symlink("9", root.join("self")).unwrap();
        fs::create_dir(root.join("10")).unwrap();
        fs::create_dir(root.join("sys")).unwrap();
        let processes = Processes::below(root.to_owned());
        let found = processes.holders(&[0]);
        assert_eq!(found.keys().collect::<Vec<_>>(), [&0]);
        let texts: Vec<_> = found[&0].iter().map(ToString::to_string).collect();
        let expected = [
            "nv-hostengine (pid 7)".to_owned(),
            format!("dcgm-exporter (pid 30, pod {uid}, container aaaaaaaaaaaa)"),
        ];
        assert_eq!(texts, expected);
        assert_eq!(processes.holders(&[0, 1]).len(), 2);
        assert!(processes.holders(&[2]).is_empty());
    }

    #[test]
    fn what_cannot_be_looked_into_is_no_error() {
        let nowhere = Processes::below(PathBuf::from("/no/such/proc"));
        assert!(nowhere.holders(&[0]).is_empty());
        assert_eq!(nowhere.named(1), Holder::process(1));
        assert_eq!(printable("a\u{1b}[2Jb\n"), "a[2Jb");
    }
}
