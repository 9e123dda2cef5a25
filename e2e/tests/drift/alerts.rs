//! The alerts: their unit tests pass, and fail once an alert is taken away or waits another time; each has a heading that
//! says what to do.

use std::path::Path;
use std::process::Command;

use stack::{Tools, folder, shared, workspace};

const RULES: &str = "rules/write-behind.yml";

/// A copy that a test may spoil.
fn copied() -> std::path::PathBuf {
    let copy = shared::scratch("rules");
    folder::copy(&workspace().join("grafana/prometheus"), &copy).expect("a copy");
    copy
}

/// Whether promtool is content, and what it says.
fn promtool(folder: &Path, args: &[&str]) -> (bool, String) {
    let program = Tools::find().promtool().expect("promtool");
    let output = Command::new(program).current_dir(folder).args(args).output().expect("promtool runs");
    (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

/// Each alert's own text.
fn alerts(text: &str) -> Vec<&str> {
    text.split("      - alert: ").skip(1).collect()
}

fn name(alert: &str) -> &str {
    alert.lines().next().expect("a name")
}

#[test]
fn promtool_takes_configuration_and_rules_and_the_unit_tests_pass() {
    let folder = copied();
    for args in [
        ["check", "config", "prometheus.yml"],
        ["check", "rules", RULES],
        ["test", "rules", "rules/tests/write-behind.yml"],
    ] {
        let (content, said) = promtool(&folder, &args);
        assert!(content, "promtool {args:?}:\n{said}");
    }
    let (_, said) = promtool(&folder, &["check", "config", "prometheus.yml"]);
    assert!(said.contains("1 rule files found"), "the configuration does not load the rules:\n{said}");
}

#[test]
fn the_unit_tests_notice_each_alert_that_is_gone_or_waits_another_time() {
    let folder = copied();
    let text = std::fs::read_to_string(folder.join(RULES)).expect("rules");
    let all = alerts(&text);
    assert!(all.len() >= 15, "{} alerts", all.len());
    // No alert rests on another, so that all are spoilt at once: promtool names each one that is noticed.
    let waiting = |change: fn(u32) -> u32| {
        let line = |line: &str| {
            let Some(waits) = line.strip_prefix("        for: ") else { return format!("{line}\n") };
            let (number, unit) = waits.split_at(waits.len() - 1);
            format!("        for: {}{unit}\n", change(number.parse().expect("a whole number")))
        };
        text.lines().map(line).collect::<String>()
    };
    for (fault, spoilt) in [
        ("gone", text.replace("- alert: ", "- alert: Another")),
        ("at once", waiting(|_| 0)),
        ("twice as late", waiting(|waits| 2 * waits)),
    ] {
        std::fs::write(folder.join(RULES), spoilt).expect("rules");
        let (content, said) = promtool(&folder, &["test", "rules", "rules/tests/write-behind.yml"]);
        assert!(!content, "no unit test notices that all alerts are {fault}");
        for alert in &all {
            let noticed = said.contains(&format!(r#"ALERTS{{alertname=\"{}\""#, name(alert)));
            assert!(noticed, "{}, {fault}: its unit test does not notice:\n{said}", name(alert));
        }
    }
}

#[test]
fn every_alert_says_how_bad_it_is_and_leads_to_its_heading() {
    let text = std::fs::read_to_string(workspace().join("grafana/prometheus").join(RULES)).expect("rules");
    let page = std::fs::read_to_string(workspace().join("docs/OBSERVABILITY.md")).expect("the page");
    let all = alerts(&text);
    for alert in &all {
        let name = name(alert);
        assert!(["severity: critical", "severity: warning"].iter().any(|one| alert.contains(one)), "{name}: severity");
        let runbook = format!("runbook_url: docs/OBSERVABILITY.md#{}\n", name.to_lowercase());
        for said in ["summary: ", "description: ", &runbook] {
            assert!(alert.contains(said), "{name} has no {said}");
        }
        assert!(page.contains(&format!("\n### {name}\n")), "docs/OBSERVABILITY.md has no heading {name}");
    }
    let headings = page.lines().filter_map(|line| line.strip_prefix("### WriteBehind"));
    for heading in headings {
        let known = all.iter().any(|alert| name(alert).strip_prefix("WriteBehind") == Some(heading));
        assert!(known, "docs/OBSERVABILITY.md explains WriteBehind{heading}, which is no alert");
    }
}
