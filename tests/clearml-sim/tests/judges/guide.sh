# The curl commands with which ClearML's guide sets tenants up, word for word, in their order there.
#
# Source: "Multi-Tenant Service on Kubernetes" of ClearML's documentation (clearml-docs, multi_tenant_k8s.md, early 2025), sections
# "Tenant Configuration", "Install ClearML Agent Chart", "Override Options When Creating a New Tenant" and "Setting Server-Level or
# Tenant-level Features". The lines of the first seven end in two backslashes there too: see guide.rs.
#
# `## NAME` begins a command; what stands in <> is for the reader to fill in.

## variables
APISERVER_URL="https://api.<BASE_DOMAIN>"
APISERVER_KEY="<APISERVER_KEY>"
APISERVER_SECRET="<APISERVER_SECRET>"

## create a tenant
curl $APISERVER_URL/system.create_company \\
  -H "Content-Type: application/json" \\
  -u $APISERVER_KEY:$APISERVER_SECRET \\
  -d '{"name":"<TENANT_NAME>"}'

## list all companies
curl -u $APISERVER_KEY:$APISERVER_SECRET $APISERVER_URL/system.get_companies

## create an admin user
curl $APISERVER_URL/auth.create_user \\
  -H "Content-Type: application/json" \\
  -u $APISERVER_KEY:$APISERVER_SECRET \\
  -d '{"name":"<ADMIN_USER_NAME>","company":"<COMPANY_ID>","email":"<ADMIN_USER_EMAIL>","role":"admin"}'

## generate credentials
curl $APISERVER_URL/auth.create_credentials \\
  -H "Content-Type: application/json" \\
  -H "X-Clearml-Impersonate-As: <USER_ID>" \\
  -u $APISERVER_KEY:$APISERVER_SECRET

## create a whitelist
curl $APISERVER_URL/login.set_domains \\
  -H "Content-Type: application/json" \\
  -H "X-Clearml-Act-As: <USER_ID>" \\
  -u $APISERVER_KEY:$APISERVER_SECRET \\
  -d '{"domains":["<USERS_EMAIL_DOMAIN>"]}'

## create a queue
curl $APISERVER_URL/queues.create \\
  -H "Content-Type: application/json" \\
  -H "X-Clearml-Impersonate-As: 75557e2ab172405bbe153705e91d1782" \\
  -u $APISERVER_KEY:$APISERVER_SECRET \\
  -d '{"name":"default"}'

## create a tenant with features
curl $APISERVER_URL/system.create_company \
  -H "Content-Type: application/json" \
  -u $APISERVER_KEY:$APISERVER_SECRET \
  -d '{"name":"<TENANT_NAME>",
    "defaults": {
        "allowed_users": "10",
        "features": ["experiments"],
        "exclude_features": ["app_management", "applications", "user_management"] }}'

## enable features of a tenant
curl $APISERVER_URL/system.update_company_settings \
  -H "Content-Type: application/json" \
  -u $APISERVER_KEY:$APISERVER_SECRET \
  -d '{
    "company": "<company_id>",
    "features": ["sso_management", "user_management_advanced", ...]
  }'
