use serde::{Deserialize, Serialize};

/// Requests that are alike: each wants one slice of any accepted profile.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DemandClass {
    /// Names the class in the report, e.g. `tenant/queue`. Unique.
    pub id: String,
    /// Names of the profiles that do, preferred first, e.g. `3g.20gb`. The plan goes by weight, operations and room, which favours
    /// small slices; the order is for the reader.
    pub accept: Vec<String>,
    /// What serving one request is worth. Weights are compared by their sums: a request for a large slice should weigh as much
    /// more as it takes more room, or seven small ones displace it.
    pub weight: u64,
    /// How many requests wait.
    pub count: u32,
}

/// All that waits for a slice. Order says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Demand {
    /// The classes.
    pub classes: Vec<DemandClass>,
}
