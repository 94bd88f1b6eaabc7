//! The certificate of the coordinator: made by itself, kept in a Secret, its authority published in a `ConfigMap` for agents.
//!
//! Authority and certificate are made together, and the authority's key is forgotten at once: nobody can sign another certificate with it.
//! What is published holds the authorities before it too, since another replica may still show the certificate of one of them.

use std::collections::BTreeMap;

use anyhow::Context;
use jiff::{Timestamp, ToSpan, civil::Date, tz::TimeZone};
use k8s_openapi::{
    ByteString,
    api::core::v1::{ConfigMap, Secret},
};
use kube::{
    Api, Client,
    api::{ObjectMeta, Patch, PatchParams, PostParams},
};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use serde_json::json;
use tracing::info;

/// Name of the Secret.
const SECRET: &str = "mica-coordinator-tls";
/// Name of the `ConfigMap`.
const CONFIG_MAP: &str = "mica-coordinator-ca";
/// Annotation on the Secret: the names that the certificate is for.
const NAMES: &str = "mica.dev/names";
/// Annotation on the Secret: the day on which the certificate ends.
const EXPIRES: &str = "mica.dev/expires";
/// How long a certificate is good for.
const VALID_DAYS: i64 = 365;
/// So long before its end it is replaced.
const RENEWAL_DAYS: i64 = 60;
/// How many authorities are published: the newest, and those before it.
const AUTHORITIES: usize = 3;
/// Names of the Services by which agents call the coordinator, and the API server its webhook.
const SERVICES: [&str; 2] = ["mica-coordinator", "mica-admission"];
/// How a certificate ends in PEM form.
const PEM_END: &str = "-----END CERTIFICATE-----";

/// The certificate of the coordinator, as PEM.
pub(crate) struct Certificate {
    pub(crate) chain: Vec<u8>,
    pub(crate) key: Vec<u8>,
    ca: String,
    /// When a new one is due.
    pub(crate) renewal: Timestamp,
}

/// The certificate that is kept in the cluster; made when there is none, or when it is about to end.
pub(crate) async fn certificate(client: &Client, namespace: &str) -> anyhow::Result<Certificate> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let context =
        || format!("cannot keep the certificate in Secret {SECRET} of namespace {namespace}");
    // Another coordinator may be at it at the same moment; then its certificate is taken.
    for _ in 0..5 {
        let known = secrets.get_opt(SECRET).await.with_context(context)?;
        let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
        if let Some(certificate) = known
            .as_ref()
            .and_then(|secret| read(secret, namespace, today))
        {
            publish(client, namespace, &certificate.ca).await?;
            return Ok(certificate);
        }
        let secret = make(namespace, today, known.as_ref()).context("cannot make a certificate")?;
        let written = match known {
            None => secrets.create(&PostParams::default(), &secret).await,
            Some(known) => {
                let mut secret = secret;
                secret.metadata.resource_version = known.metadata.resource_version;
                secrets
                    .replace(SECRET, &PostParams::default(), &secret)
                    .await
            }
        };
        match written {
            Ok(_) => info!(secret = SECRET, "made a certificate"),
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => return Err(error).with_context(context),
        }
    }
    anyhow::bail!(
        "Secret {SECRET} of namespace {namespace} changes all the time; does something else write it?"
    )
}

/// The authorities of the certificate that is kept in the cluster, as PEM.
pub(super) async fn authority(client: &Client, namespace: &str) -> anyhow::Result<Vec<u8>> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let secret = secrets.get(SECRET).await;
    let secret = secret.with_context(|| format!("cannot read Secret {SECRET}"))?;
    let authority = secret.data.and_then(|mut data| data.remove("ca.crt"));
    let authority = authority.with_context(|| format!("Secret {SECRET} has no ca.crt"))?;
    Ok(authority.0)
}

/// What a Secret holds, unless it is not whole, is for other names, or a new one is due.
fn read(secret: &Secret, namespace: &str, today: Date) -> Option<Certificate> {
    let data = secret.data.as_ref()?;
    let annotations = secret.metadata.annotations.as_ref()?;
    if *annotations.get(NAMES)? != names(namespace).join(",") {
        return None;
    }
    let expires: Date = annotations.get(EXPIRES)?.parse().ok()?;
    let renewal = expires.checked_sub(RENEWAL_DAYS.days()).ok()?;
    if renewal <= today {
        return None;
    }
    Some(Certificate {
        chain: data.get("tls.crt")?.0.clone(),
        key: data.get("tls.key")?.0.clone(),
        ca: String::from_utf8(data.get("ca.crt")?.0.clone()).ok()?,
        renewal: renewal.to_zoned(TimeZone::UTC).ok()?.timestamp(),
    })
}

/// A Secret with a new certificate, in the place of the one before.
fn make(namespace: &str, today: Date, before: Option<&Secret>) -> anyhow::Result<Secret> {
    let expires = today.checked_add(VALID_DAYS.days())?;
    let dated = |mut params: CertificateParams, name: &str| {
        params.distinguished_name.push(DnType::CommonName, name);
        let date = |date: Date| {
            let month = u8::try_from(date.month()).unwrap_or(1);
            date_time_ymd(
                date.year().into(),
                month,
                u8::try_from(date.day()).unwrap_or(1),
            )
        };
        // Clocks differ: it is good from yesterday on.
        params.not_before = date(today.checked_sub(1.day()).unwrap_or(today));
        params.not_after = date(expires);
        params
    };
    let mut authority = dated(CertificateParams::default(), "Mica coordinator authority");
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let authority_key = KeyPair::generate()?;
    let ca = authority.self_signed(&authority_key)?.pem();

    let mut params = dated(CertificateParams::new(names(namespace))?, SERVICES[0]);
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &Issuer::new(authority, authority_key))?;

    let former = before.and_then(|secret| secret.data.as_ref()?.get("ca.crt"));
    let former = former.map_or_else(Default::default, |pem| String::from_utf8_lossy(&pem.0));
    let annotations = [
        (NAMES.to_owned(), names(namespace).join(",")),
        (EXPIRES.to_owned(), expires.to_string()),
    ];
    let data = [
        ("ca.crt", bundle(&ca, &former)),
        ("tls.crt", certificate.pem()),
        ("tls.key", key.serialize_pem()),
    ];
    Ok(Secret {
        metadata: ObjectMeta {
            name: Some(SECRET.to_owned()),
            annotations: Some(BTreeMap::from(annotations)),
            ..ObjectMeta::default()
        },
        type_: Some("kubernetes.io/tls".to_owned()),
        data: Some(
            data.into_iter()
                .map(|(name, pem)| (name.to_owned(), ByteString(pem.into_bytes())))
                .collect(),
        ),
        ..Secret::default()
    })
}

/// The newest authority, and as many of those before it as may still be in use.
fn bundle(newest: &str, former: &str) -> String {
    let former = former.split_inclusive(PEM_END);
    let former = former.filter(|pem| pem.ends_with(PEM_END));
    let all = std::iter::once(newest).chain(former).take(AUTHORITIES);
    all.flat_map(|pem| [pem.trim(), "\n"]).collect()
}

/// The names that the coordinator is called by.
fn names(namespace: &str) -> Vec<String> {
    let suffixes = ["", ".svc", ".svc.cluster.local"];
    let full = SERVICES.iter().flat_map(|service| {
        let full = |suffix| format!("{service}.{namespace}{suffix}");
        suffixes.map(full)
    });
    let short = [SERVICES[0], "localhost", "127.0.0.1"].map(str::to_owned);
    short.into_iter().chain(full).collect()
}

/// Lets agents know the authority.
async fn publish(client: &Client, namespace: &str, ca: &str) -> anyhow::Result<()> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let context = || {
        format!("cannot publish the authority in ConfigMap {CONFIG_MAP} of namespace {namespace}")
    };
    let known = maps.get_opt(CONFIG_MAP).await.with_context(context)?;
    let published = known.and_then(|map| map.data?.remove("ca.crt"));
    if published.as_deref() == Some(ca) {
        return Ok(());
    }
    let map = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": CONFIG_MAP},
        "data": {"ca.crt": ca},
    });
    let params = PatchParams::apply("mica-coordinator").force();
    maps.patch(CONFIG_MAP, &params, &Patch::Apply(map))
        .await
        .with_context(context)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn today() -> Date {
        Date::constant(2026, 3, 1)
    }

    fn new(before: Option<&Secret>) -> Secret {
        make("mica", today(), before).unwrap()
    }

    fn authorities(secret: &Secret) -> Vec<String> {
        let pem = String::from_utf8(secret.data.as_ref().unwrap()["ca.crt"].0.clone()).unwrap();
        let all = pem
            .split_inclusive(PEM_END)
            .map(|pem| pem.trim().to_owned());
        all.filter(|pem| !pem.is_empty()).collect()
    }

    #[test]
    fn a_certificate_is_used_until_sixty_days_before_its_end() {
        let secret = new(None);
        let on = |days: i64| {
            let day = today().checked_add(days.days()).unwrap();
            read(&secret, "mica", day)
        };
        assert!(on(0).is_some());
        assert!(on(VALID_DAYS - RENEWAL_DAYS - 1).is_some());
        assert!(on(VALID_DAYS - RENEWAL_DAYS).is_none());
    }

    #[test]
    fn a_secret_that_is_not_whole_or_for_other_names_is_replaced() {
        let mut secret = new(None);
        assert!(read(&secret, "elsewhere", today()).is_none());
        secret.data.as_mut().unwrap().remove("tls.key");
        assert!(read(&secret, "mica", today()).is_none());
        assert!(read(&Secret::default(), "mica", today()).is_none());
    }

    #[test]
    fn the_authorities_before_stay_known_for_two_renewals() {
        let mut secrets = vec![new(None)];
        for _ in 0..3 {
            let renewed = new(secrets.last());
            secrets.push(renewed);
        }
        let own = |secret: &Secret| authorities(secret).remove(0);
        let expected: Vec<_> = secrets.iter().skip(1).rev().map(own).collect();
        assert_eq!(authorities(&secrets[3]), expected);
        assert_eq!(
            authorities(&secrets[1]),
            [own(&secrets[1]), own(&secrets[0])]
        );
        // What somebody has written there by hand is no authority.
        let mut odd = new(None);
        odd.data.as_mut().unwrap().get_mut("ca.crt").unwrap().0 = b"\xff nonsense".to_vec();
        assert_eq!(authorities(&new(Some(&odd))).len(), 1);
    }

    #[test]
    fn it_is_made_for_every_name_of_the_services() {
        let names = names("ns");
        for name in [
            "mica-coordinator.ns.svc",
            "mica-coordinator.ns.svc.cluster.local",
            "mica-admission.ns.svc",
            "localhost",
        ] {
            assert!(names.iter().any(|it| it == name), "{name}");
        }
    }
}
