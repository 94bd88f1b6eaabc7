//! The curl commands of ClearML's guide (`guide.sh`), run by bash and curl against the Enterprise edition.
//!
//! Where a command of the guide is itself wrong, it is run as it stands to show what the server answers, and then mended.

use std::collections::BTreeMap;

use clearml_sim::{Mode, Role, Server, State};
use reqwest::Client;
use serde_json::{Value, json};

use crate::programs::{program, run, serve};

/// The id of somebody's user, left in the guide by mistake.
const STRANGER: &str = "75557e2ab172405bbe153705e91d1782";

struct Reader {
    state: State,
    server: Server,
    home: tempfile::TempDir,
    /// Commands by name.
    commands: BTreeMap<String, String>,
    /// What the reader filled in so far, by placeholder.
    filled: BTreeMap<&'static str, String>,
}

impl Reader {
    /// The guide's server: names of companies are unique, and a user of role system has its keys.
    async fn new() -> Self {
        let state = State::with_mode(Mode::Enterprise);
        state.set_enterprise(|enterprise| enterprise.unique_names = true);
        let company = state.add_company("clearml");
        let keys = state.add_user_as(&company, "supervisor", Role::System);
        let server = serve(&state).await;
        let commands = include_str!("guide.sh").split("\n## ").skip(1);
        let commands = commands.map(|command| {
            let (name, text) = command.split_once('\n').unwrap();
            (name.to_owned(), text.trim_end().to_owned())
        });
        Self {
            home: tempfile::tempdir().unwrap(),
            commands: commands.collect(),
            filled: BTreeMap::from([
                ("https://api.<BASE_DOMAIN>", server.url().to_owned()),
                ("<APISERVER_KEY>", keys.access_key),
                ("<APISERVER_SECRET>", keys.secret_key),
            ]),
            state,
            server,
        }
    }

    fn fill(&mut self, placeholder: &'static str, value: &str) {
        self.filled.insert(placeholder, value.to_owned());
    }

    /// The command with its line ends mended: two backslashes end the command, one continues it.
    fn mended(&self, name: &str) -> String {
        self.commands[name].replace("\\\\\n", "\\\n")
    }

    /// Runs a text of the guide in bash and returns the envelope of the answer.
    async fn run(&self, text: &str) -> Value {
        let script = format!("{}\n{text}\n", self.commands["variables"]);
        let script = self
            .filled
            .iter()
            .fold(script, |script, (from, to)| script.replace(from, to));
        assert!(!script.contains('<'), "not filled in: {text}");
        let file = self.home.path().join("command.sh");
        std::fs::write(&file, script).unwrap();
        let output = run(program("bash", self.home.path()).arg(&file)).await;
        let said = String::from_utf8_lossy(&output.stdout);
        // What follows the answer is curl's and bash's.
        let mut answers = serde_json::Deserializer::from_str(&said).into_iter();
        answers.next().and_then(Result::ok).unwrap_or_else(|| {
            panic!(
                "{text}\nsaid {said}{}",
                String::from_utf8_lossy(&output.stderr)
            )
        })
    }

    /// Runs a text that has to succeed, and returns the data.
    async fn data(&self, name: &str, text: &str) -> Value {
        let answer = self.run(text).await;
        assert_eq!(code(&answer), (200, 0), "{name}: {answer}");
        println!("{name}: 200");
        answer["data"].clone()
    }

    /// Runs a text that has to be refused, without a trace.
    async fn refused(&self, name: &str, why: &str, text: &str, expected: (u64, u64)) {
        let before = self.contents();
        let answer = self.run(text).await;
        let message = &answer["meta"]["result_msg"];
        assert_eq!(code(&answer), expected, "{name}: {answer}");
        assert_eq!(self.contents(), before, "{name}");
        println!(
            "{name}, {why}: {}/{} {message}, and nothing was changed",
            expected.0, expected.1
        );
    }

    /// What the server knows that commands change.
    fn contents(&self) -> Value {
        let dump = self.state.dump();
        json!([
            dump["companies"],
            dump["users"],
            dump["queues"],
            dump["tenants"]
        ])
    }

    /// What the server knows of a tenant.
    fn tenant(&self, id: &str) -> Value {
        self.state.dump()["tenants"][id].clone()
    }

    /// Asks with keys that the guide had made.
    async fn ask(&self, endpoint: &str, keys: &Value) -> Value {
        let http = Client::builder().no_proxy().build().unwrap();
        let (access, secret) = (&keys["access_key"], &keys["secret_key"]);
        let request = http
            .post(format!("{}/{endpoint}", self.server.url()))
            .json(&json!({}));
        let request = request.basic_auth(access.as_str().unwrap(), secret.as_str());
        request.send().await.unwrap().json().await.unwrap()
    }
}

fn code(answer: &Value) -> (u64, u64) {
    let number = |field: &str| answer["meta"][field].as_u64().unwrap();
    (number("result_code"), number("result_subcode"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// The keys are the tenant administrator's, shown once, and no more.
async fn judge_keys(reader: &Reader, keys: &Value, user: &str) {
    let me = reader.ask("users.get_current_user", keys).await["data"]["user"].clone();
    assert_eq!(
        (&me["id"], &me["company"]["name"], &me["role"]),
        (&json!(user), &json!("acme"), &json!("admin"))
    );
    let shown = reader.ask("auth.get_credentials", keys).await.to_string();
    assert!(
        shown.contains(text(&keys["access_key"])) && !shown.contains(text(&keys["secret_key"]))
    );
    println!("  they are those of the tenant's administrator, and the secret is not shown again");
    let denied = reader.ask("system.get_companies", keys).await;
    assert_eq!(code(&denied), (403, 20), "{denied}");
    println!(
        "  they do not reach the other companies, though the guide says that an administrator's keys do: 403/20"
    );
}

#[tokio::test]
#[ignore = "needs curl: make test installs it"]
async fn the_guides_commands_set_up_a_tenant() {
    rustls::crypto::ring::default_provider()
        .install_default()
        .ok();
    let mut reader = Reader::new().await;
    for (placeholder, value) in [
        ("<TENANT_NAME>", "acme"),
        ("<ADMIN_USER_NAME>", "Alice"),
        ("<ADMIN_USER_EMAIL>", "alice@acme.example"),
        ("<USERS_EMAIL_DOMAIN>", "acme.example"),
    ] {
        reader.fill(placeholder, value);
    }

    let name = "create a tenant";
    let as_it_stands = reader.commands[name].clone();
    let why = "with its doubled backslashes, which send the address alone";
    reader.refused(name, why, &as_it_stands, (401, 20)).await;
    let tenant = text(&reader.data(name, &reader.mended(name)).await["id"]).to_owned();
    reader.fill("<COMPANY_ID>", &tenant);
    reader
        .refused(name, "again", &reader.mended(name), (400, 801))
        .await;

    let name = "list all companies";
    let listed = reader.data(name, &reader.commands[name]).await;
    let rows = listed["companies"].as_array().unwrap();
    let names: Vec<&str> = rows.iter().map(|row| text(&row["name"])).collect();
    assert_eq!(names, ["clearml", "acme"]);

    let name = "create an admin user";
    let user = text(&reader.data(name, &reader.mended(name)).await["id"]).to_owned();
    reader.fill("<USER_ID>", &user);
    reader
        .refused(name, "again", &reader.mended(name), (400, 801))
        .await;

    let name = "generate credentials";
    let data = reader.data(name, &reader.mended(name)).await;
    judge_keys(&reader, &data["credentials"], &user).await;

    let name = "create a whitelist";
    reader.data(name, &reader.mended(name)).await;
    assert_eq!(reader.tenant(&tenant)["domains"], json!(["acme.example"]));
    println!("  the tenant has the domain");

    let name = "create a queue";
    reader
        .refused(
            name,
            "for the user id that stands there",
            &reader.mended(name),
            (400, 6),
        )
        .await;
    reader
        .data(name, &reader.mended(name).replace(STRANGER, &user))
        .await;
    let made = reader.state.queues().pop().unwrap();
    assert_eq!(
        (made.name.as_str(), made.company.as_str()),
        ("default", tenant.as_str())
    );
    println!("  the queue is the tenant's");
}

#[tokio::test]
#[ignore = "needs curl: make test installs it"]
async fn the_guides_commands_choose_features() {
    let mut reader = Reader::new().await;
    reader.fill("<TENANT_NAME>", "acme");

    let name = "create a tenant with features";
    let tenant = text(&reader.data(name, &reader.commands[name]).await["id"]).to_owned();
    reader.fill("<company_id>", &tenant);
    let settings = &reader.tenant(&tenant)["settings"];
    assert_eq!(settings["features"], json!(["experiments"]));
    assert_eq!(
        settings["exclude_features"],
        json!(["app_management", "applications", "user_management"])
    );
    assert_eq!(settings["allowed_users"], 10);
    println!("  the features are kept, and the number that the guide writes as text");

    let name = "enable features of a tenant";
    let as_it_stands = reader.commands[name].clone();
    reader
        .refused(name, "with its three dots", &as_it_stands, (400, 0))
        .await;
    let mended = as_it_stands.replace(", ...", "");
    assert_eq!(reader.data(name, &mended).await["updated"], 1);
    let settings = &reader.tenant(&tenant)["settings"];
    assert_eq!(
        settings["features"],
        json!(["sso_management", "user_management_advanced"])
    );
    assert_eq!(reader.data(name, &mended).await["updated"], 0);
    println!("  the features are replaced; the same again changes nothing");
}
