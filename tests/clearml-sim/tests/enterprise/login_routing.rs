//! `login.*`: which e-mail addresses lead to which tenant.

use rstest::rstest;
use serde_json::{Value, json};

use crate::world::{BAD_DATA, Code, FORBIDDEN, INVALID, OK, TAKEN, World};

#[tokio::test]
async fn domains_replace_those_before() {
    let world = World::new().await;
    let set = async |domains: Value| {
        let code = world
            .code(
                &world.admin,
                "login.set_domains",
                json!({"domains": domains}),
            )
            .await;
        assert_eq!(code, OK);
        let settings = world
            .data(&world.admin, "login.get_settings", json!({}))
            .await;
        settings["domains"].clone()
    };
    assert_eq!(
        set(json!(["acme.example", "acme.test"])).await,
        json!(["acme.example", "acme.test"])
    );
    assert_eq!(set(json!(["ACME.io", "acme.io"])).await, json!(["acme.io"]));
    assert_eq!(set(json!([])).await, json!([]));
}

#[rstest]
#[case::absent(json!({}), INVALID)]
#[case::broken(json!({"domains": ["acme.io", "no domain"]}), BAD_DATA)]
#[tokio::test]
async fn mistakes_leave_the_domains(#[case] body: Value, #[case] code: Code) {
    let world = World::new().await;
    world
        .data(
            &world.admin,
            "login.set_domains",
            json!({"domains": ["acme.example"]}),
        )
        .await;
    world
        .refused(&world.admin, "login.set_domains", body, code)
        .await;
    world
        .refused(
            &world.user,
            "login.set_domains",
            json!({"domains": []}),
            FORBIDDEN,
        )
        .await;
}

#[tokio::test]
async fn one_domain_may_have_two_tenants_unless_told_otherwise() {
    let world = World::new().await;
    let body = json!({"domains": ["acme.example"]});
    world
        .data(&world.admin, "login.set_domains", body.clone())
        .await;
    let create = |name: &str| json!({"name": name, "domain": "acme.example"});
    let made = world
        .data(
            &world.supervisor,
            "tenants.create_tenant",
            create("initech"),
        )
        .await;
    let found = world
        .data(
            &world.supervisor,
            "login.get_whitelist",
            json!({"domain": "ACME.example"}),
        )
        .await;
    let owners = json!([{"id": world.acme, "name": "acme"}, {"id": made["id"], "name": "initech"}]);
    assert_eq!(found["companies"], owners);
    world
        .state()
        .set_enterprise(|enterprise| enterprise.shared_domains = false);
    world
        .refused(
            &world.supervisor,
            "tenants.create_tenant",
            create("initrode"),
            TAKEN,
        )
        .await;
    world
        .refused(&world.admin, "login.set_domains", body, TAKEN)
        .await;
}

#[tokio::test]
async fn addresses_are_invited_until_they_come() {
    let world = World::new().await;
    let carol = "carol@acme.example";
    world.create_user(carol).await;
    let emails =
        json!({"emails": ["dave@other.example", "dave@other.example", carol], "is_admin": true});
    let added = world
        .data(&world.admin, "login.add_whitelist_entries", emails.clone())
        .await;
    assert_eq!(added, json!({"added": ["dave@other.example"]}));
    assert_eq!(
        world
            .data(&world.admin, "login.add_whitelist_entries", emails)
            .await["added"],
        json!([])
    );
    let settings = world
        .data(&world.admin, "login.get_settings", json!({}))
        .await;
    let entry = &settings["whitelist_entries"][0];
    assert_eq!(
        (&entry["email"], &entry["role"]),
        (&json!("dave@other.example"), &json!("admin"))
    );
    let found = world
        .data(
            &world.supervisor,
            "login.get_whitelist",
            json!({"email": "dave@other.example"}),
        )
        .await;
    assert_eq!(found["companies"][0]["id"], world.acme);
    let emails = json!({"emails": ["dave@other.example", carol]});
    for removed in [json!(["dave@other.example"]), json!([])] {
        let data = world
            .data(
                &world.admin,
                "login.remove_whitelist_entries",
                emails.clone(),
            )
            .await;
        assert_eq!(data, json!({"removed": removed}));
    }
}
