//! Who an agent is: a token of its service account, bound to its pod and so to its node, that the API server vouches for.

use std::sync::atomic::{AtomicBool, Ordering};

use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus, UserInfo},
    core::v1::Pod,
};
use kube::{Api, Client, api::PostParams};
use tokio::time::timeout;
use tonic::{Status, metadata::MetadataMap};

use super::REQUEST_TIMEOUT;

/// Whom the token is for.
const AUDIENCE: &str = "mica-coordinator";
/// The agents' service account.
const ACCOUNT: &str = "mica-agent";
const NODE_NAME: &str = "authentication.kubernetes.io/node-name";
const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";

/// Why an agent is not let in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// Another coordinator leads.
    #[error("this coordinator does not lead; try again")]
    NotLeading,
    /// Nothing to tell who it is.
    #[error("no token: start the agent with --token-file")]
    NoToken,
    /// The API server does not vouch for the token.
    #[error("the token does not hold: {0}")]
    BadToken(String),
    /// Somebody else's token.
    #[error("the token is of {0}, which is no agent of this installation")]
    WrongAccount(String),
    /// The token of an agent elsewhere.
    #[error("the token is of a pod on {of}, and the agent says that it is on {said}")]
    WrongNode {
        /// The node of the token's pod.
        of: String,
        /// The node that Hello names.
        said: String,
    },
    /// The API server was asked and did not say.
    #[error("the token cannot be reviewed now: {0}")]
    Unreviewed(String),
}

impl Refusal {
    /// Every value of the metric label `reason`.
    pub(crate) const REASONS: [&str; 6] = [
        "not_leading",
        "no_token",
        "bad_token",
        "wrong_account",
        "wrong_node",
        "unreviewed",
    ];

    /// The value of the metric label `reason`.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::NotLeading => "not_leading",
            Self::NoToken => "no_token",
            Self::BadToken(_) => "bad_token",
            Self::WrongAccount(_) => "wrong_account",
            Self::WrongNode { .. } => "wrong_node",
            Self::Unreviewed(_) => "unreviewed",
        }
    }
}

impl From<&Refusal> for Status {
    fn from(refusal: &Refusal) -> Self {
        let text = refusal.to_string();
        match refusal {
            Refusal::NotLeading | Refusal::Unreviewed(_) => Self::unavailable(text),
            Refusal::NoToken | Refusal::BadToken(_) => Self::unauthenticated(text),
            Refusal::WrongAccount(_) | Refusal::WrongNode { .. } => Self::permission_denied(text),
        }
    }
}

/// Lets agents in.
pub(crate) struct Doorkeeper {
    client: Client,
    namespace: String,
    leads: AtomicBool,
}

impl Doorkeeper {
    pub(crate) fn new(client: &Client, namespace: &str) -> Self {
        Self {
            client: client.clone(),
            namespace: namespace.to_owned(),
            leads: AtomicBool::new(false),
        }
    }

    /// This coordinator leads from now on.
    pub(crate) fn open(&self) {
        self.leads.store(true, Ordering::Release);
    }

    /// Whether this coordinator leads.
    pub(crate) fn is_open(&self) -> bool {
        self.leads.load(Ordering::Acquire)
    }

    /// The node whose agent has sent this metadata.
    pub(crate) async fn node(&self, metadata: &MetadataMap) -> Result<String, Refusal> {
        if !self.is_open() {
            return Err(Refusal::NotLeading);
        }
        let token = bearer(metadata).ok_or(Refusal::NoToken)?;
        let user = timeout(REQUEST_TIMEOUT, self.review(token))
            .await
            .map_err(|_| Refusal::Unreviewed("the API server does not answer".to_owned()))??;
        let name = user.username.clone().unwrap_or_default();
        if name != format!("system:serviceaccount:{}:{ACCOUNT}", self.namespace) {
            return Err(Refusal::WrongAccount(name));
        }
        if let Some(node) = extra(&user, NODE_NAME) {
            return Ok(node.to_owned());
        }
        self.node_of_pod(&user).await
    }

    async fn review(&self, token: &str) -> Result<UserInfo, Refusal> {
        let review = TokenReview {
            spec: TokenReviewSpec {
                token: Some(token.to_owned()),
                audiences: Some(vec![AUDIENCE.to_owned()]),
            },
            ..TokenReview::default()
        };
        let api: Api<TokenReview> = Api::all(self.client.clone());
        // The error may repeat what was sent; only what the API server says is passed on.
        let reviewed = api.create(&PostParams::default(), &review).await;
        match reviewed {
            Ok(review) => user(review.status.unwrap_or_default()),
            Err(kube::Error::Api(status)) => Err(Refusal::Unreviewed(status.reason.clone())),
            Err(_) => Err(Refusal::Unreviewed(
                "the API server cannot be reached".to_owned(),
            )),
        }
    }

    /// Before Kubernetes 1.32 a token names its pod alone.
    async fn node_of_pod(&self, user: &UserInfo) -> Result<String, Refusal> {
        let unbound =
            || Refusal::BadToken("it is bound to no pod; use a projected token".to_owned());
        let name = extra(user, POD_NAME).ok_or_else(unbound)?;
        let uid = extra(user, POD_UID).ok_or_else(unbound)?;
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let pod = timeout(REQUEST_TIMEOUT, pods.get_opt(name)).await;
        let unreviewed = || Refusal::Unreviewed(format!("pod {name} cannot be looked up"));
        let pod = pod.map_err(|_| unreviewed())?.map_err(|_| unreviewed())?;
        let pod = pod.filter(|pod| pod.metadata.uid.as_deref() == Some(uid));
        let node = pod.and_then(|pod| pod.spec?.node_name);
        node.ok_or_else(|| Refusal::BadToken(format!("its pod {name} is no more")))
    }
}

/// The user of a review.
fn user(status: TokenReviewStatus) -> Result<UserInfo, Refusal> {
    if status.authenticated != Some(true) {
        let why = status.error.unwrap_or_else(|| "it is unknown".to_owned());
        return Err(Refusal::BadToken(why));
    }
    // A server that knows no audiences leaves the list out: the token could then be for anybody.
    let audiences = status.audiences.unwrap_or_default();
    if !audiences.iter().any(|audience| audience == AUDIENCE) {
        return Err(Refusal::BadToken(format!("it is not for {AUDIENCE}")));
    }
    Ok(status.user.unwrap_or_default())
}

fn extra<'a>(user: &'a UserInfo, key: &str) -> Option<&'a str> {
    let values = user.extra.as_ref()?.get(key)?;
    values.first().map(String::as_str)
}

/// The token of `authorization: Bearer …`.
fn bearer(metadata: &MetadataMap) -> Option<&str> {
    let value = metadata.get("authorization")?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("Bearer abc", Some("abc"))]
    #[case("bearer  abc ", Some("abc"))]
    #[case("Bearer ", None)]
    #[case("Bearer", None)]
    #[case("Basic abc", None)]
    #[case("abc", None)]
    fn a_token_is_read_from_the_header(#[case] header: &str, #[case] token: Option<&str>) {
        let mut metadata = MetadataMap::new();
        metadata.insert("authorization", header.parse().unwrap());
        assert_eq!(bearer(&metadata), token);
    }

    #[test]
    fn a_review_must_name_the_audience() {
        let review = |authenticated, audiences: Option<&str>| TokenReviewStatus {
            authenticated: Some(authenticated),
            audiences: audiences.map(|audience| vec![audience.to_owned()]),
            ..TokenReviewStatus::default()
        };
        assert!(user(review(true, Some(AUDIENCE))).is_ok());
        for bad in [
            review(false, Some(AUDIENCE)),
            review(true, Some("https://kubernetes.default.svc")),
            review(true, None),
            TokenReviewStatus::default(),
        ] {
            let refusal = user(bad).unwrap_err();
            assert_eq!(refusal.reason(), "bad_token");
        }
    }

    #[test]
    fn every_reason_is_listed() {
        let all = [
            Refusal::NotLeading,
            Refusal::NoToken,
            Refusal::BadToken(String::new()),
            Refusal::WrongAccount(String::new()),
            Refusal::WrongNode {
                of: String::new(),
                said: String::new(),
            },
            Refusal::Unreviewed(String::new()),
        ];
        assert_eq!(all.map(|refusal| refusal.reason()), Refusal::REASONS);
    }
}
