//! Which pod and container a process runs in, from its control groups. Pure.

/// How long a container id is, in hexadecimal digits.
const ID: usize = 64;

/// UID of the pod and id of the container, from `/proc/PID/cgroup`.
///
/// Read are v1 and v2, and the names that the kubelet's two cgroup drivers give:
/// `/kubepods/burstable/pod<uid>/<id>` (cgroupfs) and
/// `/kubepods.slice/…/kubepods-burstable-pod<uid with _ for ->.slice/cri-containerd-<id>.scope` (systemd). Docker's
/// `/docker/<id>` is a container without pod.
pub(super) fn container(text: &str) -> (Option<String>, Option<String>) {
    // `number:controllers:path`, one line for v2, one per hierarchy for v1.
    let paths = text.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    let mut found = (None, None);
    for path in paths {
        for part in path.split('/') {
            found.0 = found.0.or_else(|| pod(part));
            found.1 = found.1.or_else(|| id(part));
        }
    }
    found
}

fn pod(part: &str) -> Option<String> {
    let name = part.strip_suffix(".slice").unwrap_or(part);
    let uid = match name.strip_prefix("pod") {
        Some(uid) => uid.to_owned(),
        None if name.starts_with("kubepods-") => name.rsplit_once("-pod")?.1.replace('_', "-"),
        None => return None,
    };
    // Of a static pod it is a hash without dashes.
    let fits = |letter: char| letter.is_ascii_hexdigit() || letter == '-';
    (uid.len() >= 32 && uid.chars().all(fits)).then_some(uid)
}

fn id(part: &str) -> Option<String> {
    let name = part.strip_suffix(".scope").unwrap_or(part);
    let id = name.rsplit_once('-').map_or(name, |(_, id)| id);
    let fits = id.len() == ID && id.chars().all(|letter| letter.is_ascii_hexdigit());
    fits.then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const UID: &str = "0f4a1c52-5d0b-4c9c-8f0a-1b2c3d4e5f60";
    const FLAT: &str = "0f4a1c52_5d0b_4c9c_8f0a_1b2c3d4e5f60";
    const HASH: &str = "d0b1c2d3e4f5061728394a5b6c7d8e9f";

    #[rstest]
    #[case::v2_systemd(
        "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podFLAT.slice/cri-containerd-ID.scope",
        Some(UID),
        true
    )]
    #[case::v2_systemd_guaranteed(
        "0::/kubepods.slice/kubepods-podFLAT.slice/crio-ID.scope",
        Some(UID),
        true
    )]
    #[case::v2_cgroupfs("0::/kubepods/besteffort/podUID/ID", Some(UID), true)]
    #[case::v2_from_a_container("0::/../../podUID/ID", Some(UID), true)]
    #[case::v1_systemd(
        "12:memory:/kubepods.slice/kubepods-podFLAT.slice/docker-ID.scope\n1:name=systemd:/kubepods.slice/kubepods-podFLAT.slice/docker-ID.scope",
        Some(UID),
        true
    )]
    #[case::v1_cgroupfs("11:devices:/kubepods/podUID/ID\n0::/", Some(UID), true)]
    #[case::static_pod("0::/kubepods/burstable/podHASH/ID", Some(HASH), true)]
    #[case::nested(
        "0::/system.slice/k3s.service/kubepods/burstable/podUID/ID",
        Some(UID),
        true
    )]
    #[case::docker("0::/docker/ID", None, true)]
    #[case::docker_systemd("0::/system.slice/docker-ID.scope", None, true)]
    #[case::service("0::/system.slice/nvidia-dcgm.service", None, false)]
    #[case::user("0::/user.slice/user-1000.slice/session-2.scope", None, false)]
    #[case::podman_is_no_pod("0::/machine.slice/podman.service", None, false)]
    #[case::nonsense("no colons here\n::\n", None, false)]
    #[case::empty("", None, false)]
    fn pods_and_containers_are_found(
        #[case] text: &str,
        #[case] uid: Option<&str>,
        #[case] in_container: bool,
    ) {
        let id = "9c".repeat(32);
        let text = text.replace("FLAT", FLAT).replace("UID", UID);
        let text = text.replace("HASH", HASH).replace("ID", &id);
        let expected = (uid.map(str::to_owned), in_container.then_some(id));
        assert_eq!(container(&text), expected);
    }
}
