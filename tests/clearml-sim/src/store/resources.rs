//! Resource policies of the Enterprise edition: shares of pools of workers, for groups of users.

use serde::{Deserialize, Serialize};

/// What a company has of them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Resources {
    /// Whether tasks go through the policies.
    pub(crate) enabled: bool,
    pub(crate) policies: Vec<Policy>,
    pub(crate) connections: Vec<Connection>,
    /// What counts.
    pub(crate) published: Configuration,
    /// What was changed and does not count yet.
    pub(crate) draft: Configuration,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Policy {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) description: String,
    /// Group of users it is for.
    pub(crate) user_group: String,
    /// Kept free for it, in units of resource.
    pub(crate) reservation: f64,
    /// Never more than this, in units of resource; `None`: no limit.
    pub(crate) limit: Option<f64>,
}

/// A queue through which a policy's users reach a profile.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Connection {
    pub(crate) queue: String,
    pub(crate) policy: String,
    pub(crate) profile: String,
}

/// Pools of resources, and profiles of what tasks take from them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Configuration {
    /// Pools.
    #[serde(default)]
    pub pools: Vec<Pool>,
    /// Profiles.
    #[serde(default)]
    pub profiles: Vec<Profile>,
}

/// Resources of one kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pool {
    /// Identifier.
    pub id: String,
    /// Name.
    pub name: String,
    /// Units of resource it has.
    #[serde(default)]
    pub resources: f64,
}

/// What a task takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Identifier.
    pub id: String,
    /// Name.
    pub name: String,
    /// Units of resource for one task.
    #[serde(default = "one", rename = "profile_cost")]
    pub cost: f64,
    /// Pools that it takes them from, best first.
    #[serde(default)]
    pub pool_links: Vec<String>,
}

fn one() -> f64 {
    1.0
}
