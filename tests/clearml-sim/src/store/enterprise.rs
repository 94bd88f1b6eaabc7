//! What the Enterprise edition knows of companies ("tenants"), beside what the open-source server knows.

use serde::{Deserialize, Serialize};

/// A company, as the tenant API sees it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tenant {
    /// False: softly deleted. Nobody of it gets in.
    pub(crate) active: bool,
}

impl Default for Tenant {
    fn default() -> Self {
        Self { active: true }
    }
}
