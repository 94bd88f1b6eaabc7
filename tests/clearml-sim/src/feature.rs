//! Features that a company has or lacks, in the Enterprise edition.

use serde::{Deserialize, Serialize};

use crate::{body::Body, error::ApiError};

macro_rules! features {
    ($($variant:ident $name:literal),* $(,)?) => {
        /// A feature of the Enterprise edition, named as its published reference does.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[non_exhaustive]
        #[expect(missing_docs, reason = "the names say what they are")]
        pub enum Feature {
            $(#[serde(rename = $name)] $variant,)*
        }

        impl Feature {
            /// All that the reference names.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// As the API writes it.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

features! {
    UserManagement "user_management",
    UserManagementAdvanced "user_management_advanced",
    Permissions "permissions",
    Applications "applications",
    Experiments "experiments",
    Queues "queues",
    QueueManagement "queue_management",
    DataManagement "data_management",
    ConfigVault "config_vault",
    AppManagement "app_management",
    Pipelines "pipelines",
    Reports "reports",
    ShowDashboard "show_dashboard",
    ShowModelView "show_model_view",
    ShowProjects "show_projects",
    ResourceDashboard "resource_dashboard",
    SsoManagement "sso_management",
    ServiceUsers "service_users",
    ResourcePolicy "resource_policy",
    ShowDatasets "show_datasets",
    ShowOrchestration "show_orchestration",
    ModelServing "model_serving",
    ShowAppGateways "show_app_gateways",
    ProjectWorkloads "project_workloads",
    TenantUsages "tenant_usages",
}

impl Feature {
    /// The features in a field of a request; `None`: it has no such field.
    pub(crate) fn list(body: &Body, field: &str) -> Result<Option<Vec<Self>>, ApiError> {
        if body.get(field).is_none() {
            return Ok(None);
        }
        let names = body.list(field)?;
        let features = names.into_iter().map(|name| {
            let found = Self::ALL.iter().find(|feature| feature.name() == name);
            found
                .copied()
                .ok_or_else(|| ApiError::field(field, &format!("Value {name} is not valid choice")))
        });
        features.collect::<Result<_, _>>().map(Some)
    }
}
