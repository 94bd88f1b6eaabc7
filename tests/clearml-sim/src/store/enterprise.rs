//! How the Enterprise edition behaves, and what it knows of companies ("tenants") beside what the open-source server knows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    date::Date, error::ApiError, feature::Feature, identity::Role, store::resources::Resources,
};

/// Which API of tenants the server has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum TenantApi {
    /// Only the older `system.*` (servers from 3.21 on).
    System,
    /// Only the newer `tenants.*`.
    Tenants,
    /// Both (servers from 3.30 on).
    #[default]
    Both,
}

impl TenantApi {
    pub(crate) fn has(self, endpoint: &str) -> bool {
        match self {
            Self::System => !endpoint.starts_with("tenants."),
            Self::Tenants => !endpoint.starts_with("system."),
            Self::Both => true,
        }
    }
}

/// How the Enterprise server behaves where its published reference says nothing.
///
/// The defaults are assumptions, each with its reason. A client should get along with any of these behaviours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
#[expect(
    clippy::struct_excessive_bools,
    reason = "switches that know nothing of each other"
)]
pub struct Enterprise {
    /// Which API of tenants it has.
    pub tenant_api: TenantApi,
    /// Whether names of companies are unique, the server's setting `apiserver.company.unique_names`. False, as there.
    pub unique_names: bool,
    /// Whether one domain may belong to two companies. True: the documentation warns of "unstable behavior" instead of an error.
    pub shared_domains: bool,
    /// Whether role system may act in the name of users of other companies. True: the guide does so.
    pub system_crosses_companies: bool,
    /// Whether `system.create_company` takes `features` and `exclude_features` inside `defaults`. True: the guide sends them,
    /// though the reference has neither. False: they are ignored, as fields that nobody asks for are.
    pub features_in_defaults: bool,
    /// Features that every company has unless it excludes them. All: "by default all users have all features".
    pub features: Vec<Feature>,
    /// Names of the queues that the server makes in a new company. One, of a name that is made up: the reference has the list
    /// `app_queues` but no names, and the guide makes the queue `default` by hand.
    pub app_queues: Vec<String>,
    /// A company of this name exists. 400/801, as for all that is unique in the open-source server.
    pub name_taken: Refusal,
    /// Another company has this domain. 400/801, likewise.
    pub domain_taken: Refusal,
    /// The company has all the users that it may have. 400/1200 is made up.
    pub user_limit: Refusal,
    /// The company lacks the feature. 403/1201 is made up.
    pub feature_off: Refusal,
    /// `tenants.delete_tenant` while something runs. 400/1202 is made up.
    pub tenant_in_use: Refusal,
    /// `tenants.delete_tenant` with the name of another. 400/1203 is made up.
    pub name_mismatch: Refusal,
    /// The user's company was softly deleted. 401/22, as for keys that are not known.
    pub inactive: Refusal,
}

/// An error of the API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    /// HTTP status and `result_code`.
    pub code: u16,
    /// `result_subcode`.
    pub subcode: u32,
    /// Beginning of `result_msg`.
    pub message: String,
}

impl Refusal {
    fn new(code: u16, subcode: u32, message: &str) -> Self {
        let message = message.to_owned();
        Self {
            code,
            subcode,
            message,
        }
    }

    pub(crate) fn error(&self, pairs: &[(&str, &str)]) -> ApiError {
        ApiError::new(self.code, self.subcode, &*self.message).with(pairs)
    }
}

const UNIQUE: &str = "Value combination already exists (unique field already contains this value)";

impl Default for Enterprise {
    fn default() -> Self {
        Self {
            tenant_api: TenantApi::default(),
            unique_names: false,
            shared_domains: true,
            system_crosses_companies: true,
            features_in_defaults: true,
            features: Feature::ALL.to_vec(),
            app_queues: vec!["applications".to_owned()],
            name_taken: Refusal::new(400, 801, UNIQUE),
            domain_taken: Refusal::new(400, 801, UNIQUE),
            user_limit: Refusal::new(400, 1200, "Maximum number of users reached"),
            feature_off: Refusal::new(403, 1201, "Feature is not enabled for the company"),
            tenant_in_use: Refusal::new(400, 1202, "Tenant has running resources"),
            name_mismatch: Refusal::new(400, 1203, "Tenant name does not match"),
            inactive: Refusal::new(
                401,
                22,
                "Unauthorized (invalid credentials) (failed to locate provided credentials)",
            ),
        }
    }
}

/// A company, as the tenant APIs see it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tenant {
    /// False: softly deleted. Nobody of it gets in.
    pub(crate) active: bool,
    pub(crate) settings: Settings,
    /// What `create_company` was given as `cluster`, `kibana_space` and `sso`, and later `update_company_sso_config`.
    pub(crate) defaults: Map<String, Value>,
    /// Who may see instances of applications, as it was sent.
    pub(crate) app_instance_access: Value,
    /// Fields of custom events, as they were sent.
    pub(crate) custom_events: Value,
    /// How usage is counted, as it was sent.
    pub(crate) usage_configuration: Map<String, Value>,
    /// E-mail domains whose users may log in.
    pub(crate) domains: Vec<String>,
    /// E-mail addresses that may log in once, and become users then.
    pub(crate) whitelist: Vec<Invitation>,
    pub(crate) resources: Resources,
    /// By key: what agents reported of their clusters.
    pub(crate) clusters: BTreeMap<String, Cluster>,
    /// What the metering service was told, oldest first.
    pub(crate) events: Vec<Value>,
}

/// The last report of a cluster.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cluster {
    /// The agent that reports.
    pub(crate) worker: Option<String>,
    /// When, as it says, in milliseconds since 1970.
    pub(crate) timestamp: i64,
    /// How long it counts, in seconds.
    pub(crate) timeout: i64,
    /// When it came.
    pub(crate) reported: Date,
    pub(crate) resource_groups: Vec<Value>,
    pub(crate) properties: Map<String, Value>,
}

impl Default for Tenant {
    fn default() -> Self {
        Self {
            active: true,
            settings: Settings::default(),
            defaults: Map::new(),
            app_instance_access: Value::Object(Map::new()),
            custom_events: Value::Object(Map::new()),
            usage_configuration: Map::new(),
            domains: Vec::new(),
            whitelist: Vec::new(),
            resources: Resources::default(),
            clusters: BTreeMap::new(),
            events: Vec::new(),
        }
    }
}

impl Tenant {
    /// Whether the company has a feature, of those of the server and its own.
    pub(crate) fn has(&self, feature: Feature, of_server: &[Feature]) -> bool {
        let settings = &self.settings;
        (of_server.contains(&feature) || settings.features.contains(&feature))
            && !settings.exclude_features.contains(&feature)
    }
}

/// `system.update_company_settings`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    pub(crate) features: Vec<Feature>,
    pub(crate) exclude_features: Vec<Feature>,
    /// `None`: as many as one likes.
    pub(crate) allowed_users: Option<i64>,
    /// `None`: as many as one likes.
    pub(crate) allowed_service_users: Option<i64>,
    pub(crate) allow_service_user_admins: bool,
    /// Settings without a meaning here, as they were sent.
    pub(crate) other: BTreeMap<String, Value>,
}

/// An e-mail address that may log in and has not done so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Invitation {
    pub(crate) email: String,
    pub(crate) role: Role,
    pub(crate) created: Date,
}
