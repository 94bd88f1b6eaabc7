use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::Generation;

/// Who uses an instance, or a GPU as a whole, by every source. Only what is idle may be destroyed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Use {
    /// Processes that NVML shows on it, in ascending order.
    pub processes: Vec<u32>,
    /// Containers that the kubelet has given it to.
    pub containers: Vec<Container>,
    /// Pods that the coordinator keeps it for.
    pub reservations: Vec<Reservation>,
    /// Sources that do not tell. Each counts as a user.
    pub unknown: Vec<Silence>,
}

/// A container of a pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Container {
    /// Its pod.
    pub pod: Pod,
    /// Its name in the pod.
    pub name: String,
}

/// A pod, by its names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Pod {
    /// Its namespace.
    pub namespace: String,
    /// Its name in the namespace.
    pub name: String,
}

/// Keeps a slice for a pod that was released or bound, and that its kubelet has not yet admitted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Reservation {
    /// For whom.
    pub pod: Pod,
    /// The layout of the node by which the slice stands, as the coordinator knew it. For people.
    pub generation: Generation,
}

/// Where use is known from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The driver: processes.
    Nvml,
    /// The node's kubelet: devices of containers.
    Kubelet,
    /// The coordinator: reservations.
    Coordinator,
}

/// A source that does not tell, or whose last word is too old.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silence {
    /// Which.
    pub source: Source,
    /// For how long; `None` where that is not known, or would make the same report look new at every moment.
    pub age: Option<Duration>,
    /// What is wrong, for people.
    pub why: String,
}

impl Use {
    /// In use by processes alone; idle when there are none.
    #[must_use]
    pub fn by_processes(processes: impl IntoIterator<Item = u32>) -> Self {
        Self {
            processes: processes.into_iter().collect(),
            ..Self::default()
        }
    }

    /// Not told by one source.
    #[must_use]
    pub fn untold(source: Source, why: String) -> Self {
        Self {
            unknown: vec![Silence {
                source,
                age: None,
                why,
            }],
            ..Self::default()
        }
    }

    /// Whether every source was asked and none shows a user.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.is_unused() && self.unknown.is_empty()
    }

    /// Whether no source shows a user; some may not have told.
    #[must_use]
    pub fn is_unused(&self) -> bool {
        let Self {
            processes,
            containers,
            reservations,
            unknown: _,
        } = self;
        processes.is_empty() && containers.is_empty() && reservations.is_empty()
    }
}

/// `is idle`, or `is in use: …` with every user, or `may be in use: …` when some source does not tell and the others show nobody.
impl fmt::Display for Use {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_idle() {
            return f.write_str("is idle");
        }
        f.write_str(if self.is_unused() {
            "may be in use: "
        } else {
            "is in use: "
        })?;
        let processes = (!self.processes.is_empty()).then(|| processes(&self.processes));
        let containers = self
            .containers
            .iter()
            .map(|held| format!("{held} holds it"));
        let reservations = self.reservations.iter();
        let reservations = reservations.map(|kept| format!("it is kept for {kept}"));
        let unknown = self.unknown.iter().map(ToString::to_string);
        let parts: Vec<_> = processes
            .into_iter()
            .chain(containers)
            .chain(reservations)
            .chain(unknown)
            .collect();
        f.write_str(&parts.join(", "))
    }
}

/// `process 7 is on it`, `processes 7, 8 are on it`.
fn processes(pids: &[u32]) -> String {
    let words: Vec<_> = pids.iter().map(u32::to_string).collect();
    let words = words.join(", ");
    if let [_] = pids {
        format!("process {words} is on it")
    } else {
        format!("processes {words} are on it")
    }
}

impl fmt::Display for Pod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pod {}/{}", self.namespace, self.name)
    }
}

impl fmt::Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "container {} of {}", self.name, self.pod)
    }
}

impl fmt::Display for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (generation {})", self.pod, self.generation)
    }
}

impl Source {
    /// The word for labels: `nvml`, `kubelet`, `coordinator`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nvml => "nvml",
            Self::Kubelet => "kubelet",
            Self::Coordinator => "coordinator",
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nvml => "NVML",
            Self::Kubelet => "the kubelet",
            Self::Coordinator => "the coordinator",
        })
    }
}

impl fmt::Display for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, age, why } = self;
        match age {
            Some(age) => write!(
                f,
                "{source} has not answered for {} s: {why}",
                age.as_secs()
            ),
            None => write!(f, "{source} does not tell: {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_user_is_named() {
        let pod = |name: &str| Pod {
            namespace: "acme".to_owned(),
            name: name.to_owned(),
        };
        let mut used = Use::default();
        assert_eq!(used.to_string(), "is idle");
        used.unknown.push(Silence {
            source: Source::Kubelet,
            age: Some(Duration::from_millis(12_900)),
            why: "connection refused".to_owned(),
        });
        assert_eq!(
            used.to_string(),
            "may be in use: the kubelet has not answered for 12 s: connection refused"
        );
        assert!(used.is_unused() && !used.is_idle());
        used.processes = vec![7, 8];
        used.containers.push(Container {
            pod: pod("train"),
            name: "main".to_owned(),
        });
        used.reservations.push(Reservation {
            pod: pod("next"),
            generation: Generation(5),
        });
        assert_eq!(
            used.to_string(),
            "is in use: processes 7, 8 are on it, container main of pod acme/train holds it, it is kept for pod acme/next (generation 5), the kubelet has not answered for 12 s: connection refused"
        );
    }
}
