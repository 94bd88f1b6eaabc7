//! The configuration file: what is read, and the exact message for each mistake.

#![cfg(test)]

use std::fs;
use std::path::Path;
use std::time::Duration;

use mica_coordinator::config::Config;
use rstest::rstest;
use secrecy::ExposeSecret;
use tempfile::TempDir;

const SECRET: &str = "s3cr3t-of-acme";

/// A folder with the configuration and the key files that the tests name.
fn folder(yaml: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let files = [
        ("mica.yaml", yaml),
        ("access", "ACCESS\n"),
        ("secret", &format!("  {SECRET}\n")),
        ("empty", " \n"),
        ("two-lines", "one\ntwo\n"),
        ("spaced", "key = value\n"),
        ("large", &"x".repeat(5000)),
    ];
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

/// The message for a configuration that is wrong, with the folder cut out.
fn message(yaml: &str) -> String {
    let folder = folder(yaml);
    let error = Config::load(&folder.path().join("mica.yaml")).unwrap_err();
    let message = format!("{:#}", anyhow::Error::new(error));
    message.replace(&format!("{}/", folder.path().display()), "")
}

fn load(yaml: &str) -> Config {
    let folder = folder(yaml);
    Config::load(&folder.path().join("mica.yaml")).unwrap_or_else(|error| panic!("{error}"))
}

/// A good file, with the parts that a test changes.
fn with(clearml: &str, tenant: &str, credentials: &str, queue: &str) -> String {
    format!(
        "clearml: {{{clearml}}}\n\
         tenants:\n\
         - {tenant}\n  \
           credentials: {{{credentials}}}\n  \
           queues:\n  \
           - {{{queue}}}\n"
    )
}

const CLEARML: &str = "url: 'http://127.0.0.1:8008'";
const TENANT: &str = "name: acme";
const KEYS: &str = "accessKeyFile: access, secretKeyFile: secret";
const QUEUE: &str = "name: fraction, profiles: [3g.20gb]";

#[test]
fn everything_is_read() {
    let config = load(
        "
clearml:
  url: https://clearml.example/api/
  pollInterval: 500ms
tenants:
  - name: acme
    credentials: {accessKeyFile: access, secretKeyFile: secret}
    queues:
      - {name: gpu-fraction-0_50, profiles: [3g.20gb, 3g.40gb], maxRunning: 4, priority: 3}
      - {name: gpu-fraction-0_13, profiles: [1g.5gb+me, 1g.24gb-me, 1g.24gb+gfx, 2g.48gb+me.all]}
",
    );
    assert_eq!(config.clearml.url, "https://clearml.example/api");
    assert_eq!(config.clearml.poll_interval, Duration::from_millis(500));
    let [tenant] = config.tenants.as_slice() else {
        panic!("{:?}", config.tenants)
    };
    assert_eq!(tenant.name, "acme");
    assert_eq!(tenant.credentials.access_key, "ACCESS");
    assert_eq!(tenant.credentials.secret_key.expose_secret(), SECRET);
    let [half, eighth] = tenant.queues.as_slice() else {
        panic!("{:?}", tenant.queues)
    };
    assert_eq!(half.name, "gpu-fraction-0_50");
    assert_eq!(half.profiles, ["3g.20gb", "3g.40gb"]);
    assert_eq!((half.max_running, half.priority), (Some(4), 3));
    assert_eq!((eighth.max_running, eighth.priority), (None, 0));
    assert_eq!(eighth.profiles.len(), 4);
}

#[test]
fn what_is_left_out_has_a_default() {
    for (clearml, queue) in [("", ""), (", pollInterval: ", ", maxRunning: , priority: ")] {
        let config = load(&with(
            &format!("{CLEARML}{clearml}"),
            TENANT,
            KEYS,
            &format!("{QUEUE}{queue}"),
        ));
        assert_eq!(config.clearml.poll_interval, Duration::from_secs(5));
        let queue = &config.tenants[0].queues[0];
        assert_eq!((queue.max_running, queue.priority), (None, 0));
    }
}

#[test]
fn words_that_yaml_might_take_for_something_else_are_names() {
    for name in ["yes", "007", "0x1g"] {
        let queue = format!("name: {name}, profiles: [3g.20gb]");
        let config = load(&with(CLEARML, TENANT, KEYS, &queue));
        assert_eq!(config.tenants[0].queues[0].name, name);
    }
}

#[test]
fn anchors_save_typing() {
    let config = load(
        "
clearml: {url: 'http://127.0.0.1:8008'}
tenants:
  - {name: a, credentials: &keys {accessKeyFile: access, secretKeyFile: secret}, queues: &queues [{name: half, profiles: [3g.20gb]}]}
  - {name: b, credentials: *keys, queues: *queues}
",
    );
    assert_eq!(config.tenants[0].queues, config.tenants[1].queues);
}

#[test]
fn the_secret_is_in_no_debug_output() {
    let config = load(&with(CLEARML, TENANT, KEYS, QUEUE));
    let debug = format!("{config:?}");
    assert!(debug.contains("ACCESS"), "{debug}");
    assert!(!debug.contains(SECRET), "{debug}");
}

#[rstest]
#[case::relative(
    "url: clearml.example",
    "1:16: clearml.url: \"clearml.example\" is not a URL (relative URL without a base); write it as http://HOST:PORT or https://HOST:PORT"
)]
#[case::scheme(
    "url: 'ftp://clearml.example'",
    "1:16: clearml.url: \"ftp://clearml.example\" has the scheme \"ftp\"; write it as http://HOST:PORT or https://HOST:PORT"
)]
#[case::no_scheme(
    "url: 'clearml:8008'",
    "1:16: clearml.url: \"clearml:8008\" has the scheme \"clearml\"; write it as http://HOST:PORT or https://HOST:PORT"
)]
#[case::password(
    "url: 'http://user:pw@host'",
    "1:16: clearml.url: a URL with a user or password in it; leave them out, keys belong in the files under `credentials`"
)]
#[case::password_in_no_url(
    "url: 'http://user:pw@:99999'",
    "1:16: clearml.url: not a URL (empty host); write it as http://HOST:PORT or https://HOST:PORT"
)]
#[case::query(
    "url: 'http://host/?a=b'",
    "1:16: clearml.url: \"http://host/?a=b\" has something behind its path; leave out what begins with '?' or '#'"
)]
#[case::missing(
    "pollInterval: 5s",
    "1:10: clearml.url: missing; this field is required"
)]
#[case::list(
    "url: [a]",
    "1:16: clearml.url: a list; write a text here, in quotes if need be"
)]
#[case::no_unit(
    "url: 'http://h', pollInterval: 5",
    "1:42: clearml.pollInterval: \"5\" is not a time; write it as 5s or 500ms"
)]
#[case::word(
    "url: 'http://h', pollInterval: soon",
    "1:42: clearml.pollInterval: \"soon\" is not a time; write it as 5s or 500ms"
)]
#[case::short(
    "url: 'http://h', pollInterval: 99ms",
    "1:42: clearml.pollInterval: \"99ms\" is out of range; write a time between 100ms and 1h, e.g. 5s"
)]
#[case::long(
    "url: 'http://h', pollInterval: 61m",
    "1:42: clearml.pollInterval: \"61m\" is out of range; write a time between 100ms and 1h, e.g. 5s"
)]
#[case::backwards(
    "url: 'http://h', pollInterval: -5s",
    "1:42: clearml.pollInterval: \"-5s\" is out of range; write a time between 100ms and 1h, e.g. 5s"
)]
#[case::near_field(
    "url: 'http://h', poll_interval: 5s",
    "1:28: clearml.poll_interval: unknown field; did you mean pollInterval?"
)]
#[case::far_field(
    "url: 'http://h', color: red",
    "1:28: clearml.color: unknown field; the fields here are url, pollInterval"
)]
#[case::twice(
    "url: 'http://h', url: 'http://i'",
    "1:28: clearml.url: given twice; leave one out"
)]
fn mistakes_in_clearml(#[case] clearml: &str, #[case] expected: &str) {
    let yaml = with(clearml, TENANT, KEYS, QUEUE);
    assert_eq!(message(&yaml), format!("mica.yaml:{expected}"));
}

#[rstest]
#[case::capitals(
    "name: Acme_1",
    "3:9: tenants[0].name: \"Acme_1\" is not a name: at most 63 lower-case letters, digits and '-', beginning and ending with a letter or digit; e.g. \"acme-1\""
)]
#[case::nothing_left(
    "name: '_'",
    "3:9: tenants[0].name: \"_\" is not a name: at most 63 lower-case letters, digits and '-', beginning and ending with a letter or digit; e.g. \"acme\""
)]
#[case::number("name: 12", "3:9: tenants[0].name: a number; put it in quotes: \"12\"")]
fn mistakes_in_tenant(#[case] tenant: &str, #[case] expected: &str) {
    let yaml = with(CLEARML, tenant, KEYS, QUEUE);
    assert_eq!(message(&yaml), format!("mica.yaml:{expected}"));
}

#[rstest]
#[case::not_there(
    "accessKeyFile: nowhere, secretKeyFile: secret",
    "4:32: tenants[0].credentials.accessKeyFile: nowhere cannot be read (No such file or directory (os error 2)); put the key into this file"
)]
#[case::folder(
    "accessKeyFile: ., secretKeyFile: secret",
    "4:32: tenants[0].credentials.accessKeyFile: . cannot be read (Is a directory (os error 21)); put the key into this file"
)]
#[case::empty(
    "accessKeyFile: access, secretKeyFile: empty",
    "4:55: tenants[0].credentials.secretKeyFile: empty is empty; put the key into this file"
)]
#[case::two_lines(
    "accessKeyFile: access, secretKeyFile: two-lines",
    "4:55: tenants[0].credentials.secretKeyFile: two-lines has more than one line; it must hold the key and nothing else"
)]
#[case::spaced(
    "accessKeyFile: spaced, secretKeyFile: secret",
    "4:32: tenants[0].credentials.accessKeyFile: spaced has space within the key; it must hold the key and nothing else"
)]
#[case::large(
    "accessKeyFile: large, secretKeyFile: secret",
    "4:32: tenants[0].credentials.accessKeyFile: large is longer than any key; it must hold the key and nothing else"
)]
#[case::inline(
    "accessKey: A, secretKeyFile: secret",
    "4:16: tenants[0].credentials.accessKeyFile: missing; this field is required\n4:17: tenants[0].credentials.accessKey: unknown field; the fields here are accessKeyFile, secretKeyFile"
)]
fn mistakes_in_credentials(#[case] keys: &str, #[case] expected: &str) {
    let yaml = with(CLEARML, TENANT, keys, QUEUE);
    assert_eq!(lines(&message(&yaml)), expected);
}

#[rstest]
#[case::typo(
    "3x.20gb",
    "\"3x.20gb\" is not a MIG profile; write SLICESg.MEMORYgb as `nvidia-smi mig -lgip` shows it, e.g. \"3g.20gb\" or \"1g.5gb+me\""
)]
#[case::prefix(
    "mig-3g.20gb",
    "\"mig-3g.20gb\" is not a MIG profile; write \"3g.20gb\""
)]
#[case::resource(
    "nvidia.com/mig-1g.5gb.me",
    "\"nvidia.com/mig-1g.5gb.me\" is not a MIG profile; write \"1g.5gb+me\""
)]
#[case::device(
    "MIG 3g.20gb",
    "\"MIG 3g.20gb\" is not a MIG profile; write \"3g.20gb\""
)]
#[case::compute("1c.3g.20gb", "\"1c.3g.20gb\" is not a MIG profile; write \"3g.20gb\"")]
#[case::capitals("3G.20GB", "\"3G.20GB\" is not a MIG profile; write \"3g.20gb\"")]
#[case::number(
    "19",
    "\"19\" is not a MIG profile; write SLICESg.MEMORYgb as `nvidia-smi mig -lgip` shows it, e.g. \"3g.20gb\" or \"1g.5gb+me\""
)]
#[case::variant(
    "1g.5gb+you",
    "\"1g.5gb+you\" is not a MIG profile; write SLICESg.MEMORYgb as `nvidia-smi mig -lgip` shows it, e.g. \"3g.20gb\" or \"1g.5gb+me\""
)]
#[case::zero(
    "0g.5gb",
    "\"0g.5gb\" is not a MIG profile; write SLICESg.MEMORYgb as `nvidia-smi mig -lgip` shows it, e.g. \"3g.20gb\" or \"1g.5gb+me\""
)]
fn mistakes_in_profile(#[case] profile: &str, #[case] expected: &str) {
    let queue = format!("name: fraction, profiles: [{profile}]");
    let yaml = with(CLEARML, TENANT, KEYS, &queue);
    assert_eq!(
        message(&yaml),
        format!("mica.yaml:6:33: tenants[0].queues[0].profiles[0]: {expected}")
    );
}

#[rstest]
#[case::short(
    "name: ab, profiles: [3g.20gb]",
    "6:12: tenants[0].queues[0].name: \"ab\" is too short: ClearML's queue names have at least 3 characters; copy the name from ClearML"
)]
#[case::spaced(
    "name: ' half', profiles: [3g.20gb]",
    "6:12: tenants[0].queues[0].name: \" half\" has space around it; write \"half\""
)]
#[case::no_profiles(
    "name: half",
    "6:5: tenants[0].queues[0].profiles: missing; this field is required"
)]
#[case::empty_profiles(
    "name: half, profiles: []",
    "6:28: tenants[0].queues[0].profiles: an empty list; name at least one"
)]
#[case::one_profile(
    "name: half, profiles: 3g.20gb",
    "6:28: tenants[0].queues[0].profiles: a text; write a list: [A, B] or one \"- A\" a line"
)]
#[case::repeated_profile(
    "name: half, profiles: [3g.20gb, 3g.20gb]",
    "6:38: tenants[0].queues[0].profiles[1]: \"3g.20gb\" is there already as tenants[0].queues[0].profiles[0]; leave one out"
)]
#[case::priority(
    "name: half, profiles: [3g.20gb], priority: 4",
    "6:49: tenants[0].queues[0].priority: 4; write a whole number from 0 to 3 (a higher one is served first)"
)]
#[case::max_running(
    "name: half, profiles: [3g.20gb], maxRunning: 0",
    "6:51: tenants[0].queues[0].maxRunning: 0; write a whole number from 1 to 4294967295 (leave it out for no limit)"
)]
#[case::negative(
    "name: half, profiles: [3g.20gb], maxRunning: -1",
    "6:51: tenants[0].queues[0].maxRunning: -1; write a whole number from 1 to 4294967295 (leave it out for no limit)"
)]
#[case::word(
    "name: half, profiles: [3g.20gb], maxRunning: many",
    "6:51: tenants[0].queues[0].maxRunning: \"many\"; write a whole number from 1 to 4294967295 (leave it out for no limit)"
)]
fn mistakes_in_queue(#[case] queue: &str, #[case] expected: &str) {
    let yaml = with(CLEARML, TENANT, KEYS, queue);
    assert_eq!(message(&yaml), format!("mica.yaml:{expected}"));
}

#[rstest]
#[case::nothing(
    "",
    "mica.yaml:1:1: empty; write a mapping with the fields clearml, tenants"
)]
#[case::comment(
    "# nothing\n",
    "mica.yaml:2:1: empty; write a mapping with the fields clearml, tenants"
)]
#[case::text(
    "hello",
    "mica.yaml:1:1: a text; write a mapping with the fields clearml, tenants"
)]
#[case::syntax(
    "clearml: [\ntenants: }",
    "mica.yaml:1:10: not valid YAML: mismatched bracket '[' closed by '}'"
)]
#[case::tab("clearml:\n\turl: a", "mica.yaml:2:2: not valid YAML: tabs disallowed")]
#[case::two_documents("a: 1\n---\nb: 2\n", "mica.yaml:3:1: not valid YAML: ")]
#[case::bottomless(&"[".repeat(5000), "mica.yaml:1:256: not valid YAML: ")]
fn whole_file(#[case] yaml: &str, #[case] expected: &str) {
    let message = message(yaml);
    assert!(message.starts_with(expected), "{message}");
    assert!(message.lines().count() == 1, "{message}");
}

#[test]
fn all_mistakes_are_told_at_once_in_the_order_of_the_file() {
    let yaml = "\
clearml:
  url: clearml:8008
  pollInterval: 5
tenants:
  - name: acme
    credentials: {accessKeyFile: access, secretKeyFile: nowhere}
    qeues: []
  - name: acme
    credentials: {accessKeyFile: access, secretKeyFile: secret}
    queues:
      - {name: half, profiles: [mig-3g.20gb, 7x]}
      - {name: half, profiles: [3g.20gb], priority: high}
";
    assert_eq!(
        message(yaml),
        "the configuration has 8 mistakes
  mica.yaml:2:8: clearml.url: \"clearml:8008\" has the scheme \"clearml\"; write it as http://HOST:PORT or https://HOST:PORT
  mica.yaml:3:17: clearml.pollInterval: \"5\" is not a time; write it as 5s or 500ms
  mica.yaml:5:5: tenants[0].queues: missing; this field is required
  mica.yaml:6:57: tenants[0].credentials.secretKeyFile: nowhere cannot be read (No such file or directory (os error 2)); put the key into this file
  mica.yaml:7:5: tenants[0].qeues: unknown field; did you mean queues?
  mica.yaml:11:33: tenants[1].queues[0].profiles[0]: \"mig-3g.20gb\" is not a MIG profile; write \"3g.20gb\"
  mica.yaml:11:46: tenants[1].queues[0].profiles[1]: \"7x\" is not a MIG profile; write SLICESg.MEMORYgb as `nvidia-smi mig -lgip` shows it, e.g. \"3g.20gb\" or \"1g.5gb+me\"
  mica.yaml:12:53: tenants[1].queues[1].priority: \"high\"; write a whole number from 0 to 3 (a higher one is served first)"
    );
}

#[test]
fn repeated_names_are_refused() {
    let tenant = "{name: acme, credentials: {accessKeyFile: access, secretKeyFile: secret}, queues: [{name: half, profiles: [3g.20gb]}, {name: half, profiles: [7g.40gb]}]}";
    let yaml = format!("clearml: {{url: 'http://h'}}\ntenants:\n- {tenant}\n- {tenant}\n");
    assert_eq!(
        lines(&message(&yaml)),
        "\
3:121: tenants[0].queues[1]: \"half\" is there already as tenants[0].queues[0]; give each its own name
4:3: tenants[1]: \"acme\" is there already as tenants[0]; give each its own name
4:121: tenants[1].queues[1]: \"half\" is there already as tenants[1].queues[0]; give each its own name"
    );
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = Config::load(Path::new("/nowhere/mica.yaml")).unwrap_err();
    assert_eq!(
        format!("{:#}", anyhow::Error::new(error)),
        "failed to read the configuration /nowhere/mica.yaml; name the right file with --config: No such file or directory (os error 2)"
    );
}

/// The mistakes without heading, indentation and file.
fn lines(message: &str) -> String {
    message
        .lines()
        .filter_map(|line| line.trim().strip_prefix("mica.yaml:"))
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn the_example_is_good() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/standalone/mica.yaml");
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("acme")).unwrap();
    for key in ["acme/access_key", "acme/secret_key"] {
        fs::write(folder.path().join(key), "key").unwrap();
    }
    let copy = folder.path().join("mica.yaml");
    fs::copy(example, &copy).unwrap();
    let config = Config::load(&copy).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(config.tenants[0].queues.len(), 2);
}
