//! `docker-compose.yml`, the Dockerfile and their settings, as compose itself renders them and as far as that goes without
//! a container engine: against the repository, the programs and each other.

mod accounts;
mod choice;
mod dockerfile;
mod kafka;
mod rendered;
mod valkey;

use std::collections::BTreeSet;

use e2e::system::binary;
use rendered::{environment, example, refusal, services, strings, variables};
use serde_json::Value;
use stack::workspace;

fn file(name: &str) -> String {
    std::fs::read_to_string(workspace().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// What a program's help says of the environment: each setting with its default.
fn known(program: &str, args: &[&str]) -> Vec<(String, String)> {
    let mut asked = std::process::Command::new(binary(program));
    // The publisher's flags come from the schemas.
    let help = asked.args(args).arg("--help").current_dir(workspace()).output().expect("a built program");
    let text = String::from_utf8_lossy(&help.stdout).split_whitespace().collect::<Vec<_>>().join(" ");
    let entries = text.split("[env: ").skip(1).map(|entry| {
        let name = entry.split(['=', ']']).next().unwrap_or_default().to_owned();
        let default = entry.split_once("] [default: ").filter(|(before, _)| !before.contains(']'));
        (name, default.and_then(|(_, rest)| rest.split(']').next()).unwrap_or_default().to_owned())
    });
    let found: Vec<_> = entries.collect();
    assert!(!found.is_empty(), "{program} {args:?} --help names no setting");
    found
}

/// How the program of a service of ours is asked for its help.
const OURS: [(&str, &str, &[&str]); 4] = [
    ("migrate", "persister", &["migrate"]),
    ("persister", "persister", &["run"]),
    ("ingest", "ingest", &[]),
    ("publisher", "publisher", &[]),
];

#[test]
fn ports_are_on_the_loopback_and_those_of_the_stack_of_processes() {
    let mut published = 0;
    for (name, service) in services() {
        for port in service["ports"].as_array().into_iter().flatten() {
            assert_eq!(port["host_ip"], "127.0.0.1", "{name}: {port}");
            published += 1;
        }
    }
    let stack = known("stack", &["up"]);
    let ports: Vec<_> = example().into_iter().filter(|(name, _)| name.ends_with("_PORT")).collect();
    assert_eq!(published, ports.len(), "each published port has its setting");
    for (name, default) in ports.iter().filter(|(name, _)| name != "GRAFANA_PORT") {
        assert!(stack.contains(&(name.clone(), default.clone())), "{name}={default} is not what `stack up` has");
    }
}

#[test]
fn images_are_pinned() {
    for (name, service) in services() {
        let image = service["image"].as_str().unwrap_or_default();
        let tag = image.rsplit_once(':').map(|(_, tag)| tag).unwrap_or_default();
        assert!(tag.contains(|c: char| c.is_ascii_digit()) && !tag.contains("latest"), "{name}: {image}");
        if service["build"].is_object() {
            assert_eq!(tag, env!("CARGO_PKG_VERSION"), "{name}: {image} is of another version than the workspace");
        }
    }
    let kafka = services()["kafka"]["image"].as_str().unwrap_or_default().rsplit(':').next().unwrap_or_default();
    assert!(file("crates/stack/packages.sh").contains(&format!("\nkafka_version={kafka} ")), "tests run another Kafka");
}

#[test]
fn our_programs_know_every_setting_that_they_are_given() {
    for (service, program, args) in OURS {
        let known = known(program, args);
        for name in environment(&services()[service]).keys() {
            assert!(known.iter().any(|(it, _)| it == name), "{service} is given {name}, which it does not know");
        }
    }
}

/// As `--check-config` of the program has it, with the settings of image and compose file.
#[test]
fn ingest_asks_nobody_who_they_are_only_where_compose_says_so_and_its_port_is_on_the_loopback() {
    let checked = |without: &str| {
        let image = dockerfile::environment("ingest").into_iter();
        let given = image.chain(environment(&services()["ingest"])).filter(|(name, _)| name != without);
        let mut asked = std::process::Command::new(binary("ingest"));
        asked.arg("--check-config").env_clear().envs(given).env("SCHEMAS_DIR", workspace().join("schemas"));
        let output = asked.output().expect("a built program");
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (sound, said) = checked("");
    assert!(sound, "compose's ingest does not start: {said}");
    let (sound, said) = checked("NO_AUTH");
    assert!(!sound && said.contains("give --api-keys"), "an image alone is open to everybody: {said}");
    let ports = services()["ingest"]["ports"].as_array().expect("ports");
    assert!(ports.iter().all(|port| port["host_ip"] == "127.0.0.1"), "open to everybody, and published: {ports:?}");
}

#[test]
fn every_variable_stands_in_the_example_with_its_default_and_the_reverse() {
    let used = variables();
    let example: BTreeSet<_> = example().into_iter().collect();
    assert_eq!(used, example);
    for (name, default) in &used {
        let secret = name.ends_with("PASSWORD");
        assert_eq!(secret, default.is_empty(), "{name}: a password has no default, everything else has one");
    }
}

#[test]
fn a_missing_password_is_named_with_the_remedy() {
    for (name, _) in example().into_iter().filter(|(_, default)| default.is_empty()) {
        let said = refusal(&name);
        assert!(said.contains(&name) && said.contains("make .env"), "{name}: {said}");
    }
}

#[test]
fn no_secret_is_written_down() {
    let given = rendered::secrets();
    for (name, service) in services() {
        for (key, value) in environment(service) {
            let secret =
                ["PASSWORD", "SECRET", "TOKEN", "AUTH"].iter().any(|word| key.contains(word)) && key != "NO_AUTH";
            assert!(!secret || given.contains(&value), "{name}: {key} is not a setting");
        }
    }
    let all = rendered::compose();
    let texts = strings(all);
    let urls = texts.iter().filter_map(|text| text.split_once("://")?.1.split_once('@')?.0.split_once(':'));
    let passwords: Vec<_> = urls.map(|(_, password)| password.to_owned()).collect();
    assert!(
        passwords.len() >= 5 && passwords.iter().all(|it| given.contains(it)),
        "a password in a URL: {passwords:?}"
    );
    let users = all["configs"]["valkey-users"]["content"].as_str().unwrap_or_default();
    let passwords: Vec<_> = users.split_whitespace().filter_map(|word| word.strip_prefix('>')).collect();
    assert_eq!(passwords, [rendered::secret("REDIS_PASSWORD")], "{users}");
}

#[test]
fn a_service_is_healthy_or_ends_and_whoever_needs_it_waits_for_that() {
    let one_shot = |service: &Value| service["restart"] == "no";
    let mut awaited = BTreeSet::new();
    for (name, service) in services() {
        let built = service["build"]["target"].as_str().map(dockerfile::stage).unwrap_or_default();
        let probed = service["healthcheck"]["test"].is_array() || built.iter().any(|it| it.starts_with("HEALTHCHECK"));
        assert!(probed || one_shot(service), "{name} has no health check");
        for (needed, how) in service["depends_on"].as_object().into_iter().flatten() {
            let ends = one_shot(&services()[needed]);
            let wanted = if ends { "service_completed_successfully" } else { "service_healthy" };
            assert_eq!(how["condition"], wanted, "{name} depends on {needed}");
            awaited.insert(needed.clone());
        }
    }
    // `up --wait` takes the end of a container for a failure unless another waits for it.
    for (name, service) in services().iter().filter(|(_, it)| one_shot(it) && it["profiles"].is_null()) {
        assert!(awaited.contains(name), "nobody waits for the end of {name}: {service}");
    }
}

#[test]
fn our_containers_may_write_nothing_and_become_nothing() {
    for (name, service) in services() {
        assert!(service["mem_limit"].is_string(), "{name} has no bound of its memory");
        assert!(service["restart"].is_string(), "{name} has no restart policy");
        assert_eq!(service["security_opt"], serde_json::json!(["no-new-privileges:true"]), "{name}");
        if service["build"].is_object() {
            assert_eq!(service["read_only"], true, "{name}");
            assert_eq!(service["cap_drop"], serde_json::json!(["ALL"]), "{name}");
        }
    }
}

#[test]
fn mounted_paths_exist_and_only_migrate_may_write_to_one() {
    let mut mounted = Vec::new();
    for (name, service) in services() {
        for volume in service["volumes"].as_array().into_iter().flatten().filter(|volume| volume["type"] == "bind") {
            let source = volume["source"].as_str().unwrap_or_default();
            assert!(std::path::Path::new(source).exists(), "{name} mounts {source}");
            assert_eq!(volume["read_only"] == true, name != "migrate", "{name}: {source}");
            mounted.push(source.to_owned());
        }
    }
    for entry in std::fs::read_dir(workspace().join("grafana/prometheus")).expect("Prometheus' configuration") {
        let entry = entry.expect("an entry").path();
        assert!(mounted.iter().any(|source| entry.ends_with(source)), "{} is not mounted", entry.display());
    }
}

#[test]
fn prometheus_asks_each_service_where_its_image_listens() {
    for (job, target) in [("ingest", "ingest"), ("persister", "persister")] {
        let listen = dockerfile::environment(target).into_iter().find(|(name, _)| name == "ADMIN_LISTEN");
        let port = listen.as_ref().and_then(|(_, address)| address.rsplit(':').next()).unwrap_or_default();
        let targets: Value =
            serde_json::from_str(&file(&format!("deploy/prometheus/targets/{job}.json"))).expect("JSON");
        assert_eq!(targets[0]["targets"], serde_json::json!([format!("{target}:{port}")]));
        assert!(file("grafana/prometheus/prometheus.yml").contains(&format!("[targets/{job}*.json]")));
    }
}

/// All the seconds that stand in the code of an orderly stop, which is more than such a stop can take.
#[test]
fn a_stop_may_take_longer_than_all_budgets_together() {
    // How every process ends, and how long lanes may drain.
    let (process, settings) = (file("crates/service/src/process.rs"), file("persister/src/settings.rs"));
    let ends = process.split("from_secs(").skip(1);
    let drain_ms = settings.split("\"DRAIN_DEADLINE_MS\", default_value = \"").nth(1).unwrap_or_default();
    let drain_ms = drain_ms.split('"').next().and_then(|digits| digits.parse::<u64>().ok()).expect("a default");
    for (name, sources, drain) in
        [("ingest", "ingest/src/app.rs", 0), ("persister", "persister/src/commands/run.rs", drain_ms / 1000)]
    {
        let text = file(sources);
        let number =
            |rest: &str| rest.split(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse::<u64>().ok());
        let budgets = text.split("from_secs(").skip(1).chain(text.split("_SECONDS: u64 = ").skip(1));
        let needed = budgets.filter_map(number).sum::<u64>() + ends.clone().filter_map(number).sum::<u64>() + drain;
        let grace = rendered::seconds(&services()[name]["stop_grace_period"]);
        assert!(needed >= 20 && grace > needed, "{name} is killed after {grace} s, its budgets are {needed} s");
    }
}
