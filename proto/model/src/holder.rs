use std::fmt;

use serde::{Deserialize, Serialize};

/// A process that has a GPU open.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Holder {
    /// Process id, as the node's own processes see it.
    pub pid: u32,
    /// Name of its program, without arguments: those may hold secrets. Empty when it is not known.
    pub command: String,
    /// UID of its pod, when it runs in one.
    pub pod_uid: Option<String>,
    /// Id of its container, when it runs in one.
    pub container_id: Option<String>,
}

impl Holder {
    /// One of which nothing but its id is known.
    #[must_use]
    pub fn process(pid: u32) -> Self {
        Self {
            pid,
            ..Self::default()
        }
    }
}

/// `dcgm-exporter (pid 812, pod 5e0c…, container 93d1…)`, or `pid 812`.
impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            pid,
            command,
            pod_uid,
            container_id,
        } = self;
        if !command.is_empty() {
            write!(f, "{command} (")?;
        }
        write!(f, "pid {pid}")?;
        if let Some(uid) = pod_uid {
            write!(f, ", pod {uid}")?;
        }
        if let Some(id) = container_id {
            // As much of it as container tools print.
            let short: String = id.chars().take(12).collect();
            write!(f, ", container {short}")?;
        }
        if !command.is_empty() {
            f.write_str(")")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_is_known() {
        assert_eq!(Holder::process(7).to_string(), "pid 7");
        let known = Holder {
            pid: 812,
            command: "dcgm-exporter".to_owned(),
            pod_uid: Some("5e0c".to_owned()),
            container_id: Some("93d1aaaabbbbcccc".to_owned()),
        };
        assert_eq!(
            known.to_string(),
            "dcgm-exporter (pid 812, pod 5e0c, container 93d1aaaabbbb)"
        );
    }
}
