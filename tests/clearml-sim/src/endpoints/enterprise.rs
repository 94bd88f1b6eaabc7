//! Endpoints that only the Enterprise server has.
//!
//! Its published reference does not say from which version of the API each is there: here every version has them.

use super::{Act, Endpoint, Handler, Who};
use crate::{
    identity::Role::{Admin, Root, System},
    path::Version,
    services::{
        accounts, clusters, login_routing, resources, service_users, system, tenants, usages,
    },
};

const SERVER: Who = Who::Only(&[System, Root]);
const ADMINS: Who = Who::Only(&[System, Root, Admin]);

const fn to(who: Who, name: &'static str, handler: Handler) -> Endpoint {
    Endpoint {
        name,
        min_version: Version(1, 0),
        oss: Who::Nobody,
        enterprise: who,
        act: Act::Closed(handler),
    }
}

pub(super) const ENDPOINTS: &[Endpoint] = &[
    to(SERVER, "system.create_company", system::create_company),
    to(SERVER, "system.get_companies", system::get_companies),
    to(SERVER, "system.company_info", system::company_info),
    to(
        SERVER,
        "system.update_company_settings",
        system::update_company_settings,
    ),
    to(
        SERVER,
        "system.update_company_sso_config",
        system::update_company_sso_config,
    ),
    to(
        SERVER,
        "system.get_company_app_instance_access",
        system::get_company_app_instance_access,
    ),
    to(
        SERVER,
        "system.update_company_app_instance_access",
        system::update_company_app_instance_access,
    ),
    to(
        SERVER,
        "system.get_company_custom_events_config",
        system::get_company_custom_events_config,
    ),
    to(
        SERVER,
        "system.update_company_custom_events_config",
        system::update_company_custom_events_config,
    ),
    to(SERVER, "tenants.create_tenant", tenants::create_tenant),
    to(SERVER, "tenants.get_tenants", tenants::get_tenants),
    to(
        SERVER,
        "tenants.add_tenant_admin_credentials",
        tenants::add_tenant_admin_credentials,
    ),
    to(
        SERVER,
        "tenants.get_tenant_resources",
        tenants::get_tenant_resources,
    ),
    to(SERVER, "tenants.delete_tenant", tenants::delete_tenant),
    to(SERVER, "tenants.get_tenant_info", tenants::get_tenant_info),
    to(
        SERVER,
        "tenants.get_tenant_usages",
        usages::get_tenant_usages,
    ),
    to(
        SERVER,
        "tenants.get_multitenant_usages",
        usages::get_multitenant_usages,
    ),
    to(
        SERVER,
        "tenants.get_resource_usages",
        usages::get_resource_usages,
    ),
    to(
        SERVER,
        "tenants.get_resource_history",
        usages::get_resource_history,
    ),
    to(
        SERVER,
        "tenants.get_usage_configuration",
        usages::get_usage_configuration,
    ),
    to(
        SERVER,
        "tenants.edit_usage_configuration",
        usages::edit_usage_configuration,
    ),
    to(ADMINS, "tenants.custom_events", usages::custom_events),
    to(ADMINS, "login.set_domains", login_routing::set_domains),
    to(ADMINS, "login.get_settings", login_routing::get_settings),
    to(
        ADMINS,
        "login.add_whitelist_entries",
        login_routing::add_whitelist_entries,
    ),
    to(
        ADMINS,
        "login.remove_whitelist_entries",
        login_routing::remove_whitelist_entries,
    ),
    to(SERVER, "login.get_whitelist", login_routing::get_whitelist),
    to(ADMINS, "auth.add_user", accounts::add_user),
    to(
        ADMINS,
        "auth.create_service_user",
        accounts::create_service_user,
    ),
    to(ADMINS, "auth.delete_user", accounts::delete_user),
    to(
        ADMINS,
        "auth.locate_credentials",
        accounts::locate_credentials,
    ),
    to(SERVER, "auth.get_users_info", accounts::get_users_info),
    to(
        ADMINS,
        "users.get_service_users",
        service_users::get_service_users,
    ),
    to(
        ADMINS,
        "users.update_service_user",
        service_users::update_service_user,
    ),
    to(ADMINS, "users.set_role", service_users::set_role),
    to(ADMINS, "users.set_admin", service_users::set_admin),
    to(
        ADMINS,
        "organization.update_company_name",
        service_users::update_company_name,
    ),
    to(ADMINS, "resources.create_policy", resources::create_policy),
    to(
        ADMINS,
        "resources.connect_policy_profile",
        resources::connect_policy_profile,
    ),
    to(
        ADMINS,
        "resources.disconnect_policy_profile",
        resources::disconnect_policy_profile,
    ),
    to(ADMINS, "resources.delete_policy", resources::delete_policy),
    to(ADMINS, "resources.move_policy", resources::move_policy),
    to(
        ADMINS,
        "resources.enable_policy_manager",
        resources::enable_policy_manager,
    ),
    to(
        ADMINS,
        "resources.publish_resource_configuration",
        resources::publish_resource_configuration,
    ),
    to(
        ADMINS,
        "resources.reset_resource_configuration",
        resources::reset_resource_configuration,
    ),
    to(
        Who::Users,
        "resources.get_policies",
        resources::get_policies,
    ),
    to(
        Who::Users,
        "resources.get_policy_data",
        resources::get_policy_data,
    ),
    to(
        Who::Users,
        "resources.get_resource_configuration",
        resources::get_resource_configuration,
    ),
    to(
        Who::Users,
        "resources.get_resource_pools",
        resources::get_resource_pools,
    ),
    to(
        Who::Users,
        "resources.get_resource_profiles",
        resources::get_resource_profiles,
    ),
    to(
        Who::Users,
        "workers.cluster_report",
        clusters::cluster_report,
    ),
    to(
        Who::Users,
        "workers.cluster_unregister",
        clusters::cluster_unregister,
    ),
];
