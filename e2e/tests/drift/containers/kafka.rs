//! Compose's Kafka settings, as the image makes properties of them, on a real broker.

use std::time::{Duration, Instant};

use stack::{Ended, KafkaTools, Lifetime, Process, Spec, Tools, port, shared};

use super::rendered::environment;
use super::services;

/// `KAFKA_LOG_DIRS` is `log.dirs`; what is meant for Java, not for Kafka, is left out.
fn properties() -> Vec<(String, String)> {
    let given = environment(&services()["kafka"]);
    let of_kafka = given.iter().filter_map(|(name, value)| Some((name.strip_prefix("KAFKA_")?, value)));
    let kept = of_kafka.filter(|(name, _)| *name != "HEAP_OPTS");
    kept.map(|(name, value)| (name.to_lowercase().replace('_', "."), value.clone())).collect()
}

fn java(tools: &KafkaTools, name: &str, args: &[&str]) -> Process {
    let spec = Spec::new(name, &tools.java, shared::scratch("kafka").join("log"));
    let spec = spec.env("CLASSPATH", &tools.class_path).args(["-Xmx256m", "-XX:TieredStopAtLevel=1"]).args(args);
    Process::spawn(&spec, Lifetime::Attached).expect("Java runs")
}

fn ends_well(process: &Process) -> bool {
    matches!(process.wait(Duration::from_secs(60)), Ok(Ended::Yes(Some(status))) if status.success())
}

#[test]
fn a_broker_takes_them_and_sends_clients_to_where_they_came_in() {
    let tools = Tools::find().kafka().expect("Kafka");
    let [inside, controller, outside] = [(); 3].map(|()| port::free().expect("a port"));
    let data = shared::scratch("kafka").join("data");
    let here = |value: &str| {
        let value = value.replace("://:", "://127.0.0.1:").replace("kafka:", "127.0.0.1:");
        let value = value.replace(":9092", &format!(":{inside}")).replace(":9093", &format!(":{controller}"));
        value.replace(":19092", &format!(":{outside}")).replace("/var/lib/kafka/data", &data.to_string_lossy())
    };
    let lines: String = properties().iter().map(|(name, value)| format!("{name}={}\n", here(value))).collect();
    let file = data.with_file_name("server.properties");
    std::fs::write(&file, &lines).expect("the properties");
    let file = file.to_string_lossy();
    let cluster = environment(&services()["kafka"])["CLUSTER_ID"].clone();
    let format = java(&tools, "format", &["kafka.tools.StorageTool", "format", "-t", &cluster, "-c", &file]);
    assert!(ends_well(&format), "{lines}\n{}", format.log_tail(20));

    let broker = java(&tools, "broker", &["kafka.Kafka", &file]);
    for (listener, advertised) in [(inside, inside), (outside, outside)] {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let at = format!("127.0.0.1:{listener}");
            let class = "org.apache.kafka.tools.BrokerApiVersionsCommand"; // what the image's health check runs
            let probe = java(&tools, "probe", &[class, "--bootstrap-server", &at]);
            let well = ends_well(&probe);
            let said = probe.log_tail(400);
            if well && said.contains(&format!("127.0.0.1:{advertised} (id: 1")) {
                break;
            }
            assert!(Instant::now() < until && broker.is_running(), "{said}\n{}", broker.log_tail(20));
        }
    }
    broker.kill().expect("the broker ends");
}
