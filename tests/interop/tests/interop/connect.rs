//! Kafka Connect, distributed and unmodified: a file source exactly once, a transform, a sink, a queue for what is
//! broken, and a source that is set back to its beginning.

use std::path::Path;

use rkafka_testkit::{Child, Cluster, eventually, on_both};

use crate::http::{free_port, request};
use crate::support::{has_java, headers_text, read_all, send_values, start_tool, text};

const DISTRIBUTED: &str = "org.apache.kafka.connect.cli.ConnectDistributed";

struct Worker {
    port: u16,
    _process: Child,
}

impl Worker {
    async fn start(cluster: &Cluster, folder: &Path) -> Self {
        let (port, name) = (free_port(), cluster.unique("connect"));
        let properties = folder.join("worker.properties");
        std::fs::write(
            &properties,
            format!(
                "bootstrap.servers={}\ngroup.id={name}\nlisteners=http://127.0.0.1:{port}\n\
                 key.converter=org.apache.kafka.connect.storage.StringConverter\n\
                 value.converter=org.apache.kafka.connect.json.JsonConverter\n\
                 config.storage.topic={name}-configs\nconfig.storage.replication.factor=1\n\
                 offset.storage.topic={name}-offsets\noffset.storage.replication.factor=1\n\
                 offset.storage.partitions=2\nstatus.storage.topic={name}-status\n\
                 status.storage.replication.factor=1\nstatus.storage.partitions=2\n\
                 exactly.once.source.support=enabled\noffset.flush.interval.ms=500\n\
                 scheduled.rebalance.max.delay.ms=0\n",
                cluster.bootstrap()
            ),
        )
        .expect("a file");
        let log = folder.join("worker.log");
        let process = start_tool(DISTRIBUTED, &[&properties.display().to_string()], &log).await;
        let worker = Self { port, _process: process };
        eventually("Connect", || async {
            match request(port, "GET", "/health", "").await {
                Ok((200, _)) => Ok(()),
                other => Err(format!("{other:?}\n{}", std::fs::read_to_string(&log).unwrap_or_default())),
            }
        })
        .await;
        worker
    }

    /// A request that must succeed, but for a conflict with a rebalance, after which it is sent again.
    async fn ask(&self, method: &str, path: &str, body: &str) -> String {
        eventually(&format!("{method} {path}"), || async {
            match request(self.port, method, path, body).await? {
                (200..=299, answer) => Ok(answer),
                (status, answer) => Err(format!("{status}: {answer}")),
            }
        })
        .await
    }

    async fn is_running(&self, connector: &str) {
        eventually(connector, || async {
            let status = self.ask("GET", &format!("/connectors/{connector}/status"), "").await;
            // The connector's state, and that of its one task.
            if status.matches("\"RUNNING\"").count() == 2 { Ok(()) } else { Err(status) }
        })
        .await;
    }
}

async fn lines_of(path: &Path, expected: &[String]) {
    eventually("the sink's file", || async {
        let found = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
        let lines: Vec<&str> = found.lines().collect();
        if lines == expected { Ok(()) } else { Err(format!("{} lines: {lines:?}", lines.len())) }
    })
    .await;
}

on_both! {
    async fn a_file_goes_through_connect(cluster: &Cluster) {
        if !has_java("connect::a_file_goes_through_connect").await {
            return;
        }
        let bootstrap = cluster.bootstrap();
        let folder = tempfile::tempdir().expect("a folder");
        let (input, output) = (folder.path().join("input"), folder.path().join("output"));
        let (topic, broken) = (cluster.topic("lines", 1, &[]).await, cluster.topic("broken", 1, &[]).await);
        let lines: Vec<String> = (0..50).map(|number| format!("line {number}")).collect();
        std::fs::write(&input, lines.join("\n") + "\n").expect("a file");

        let worker = Worker::start(cluster, folder.path()).await;
        let source = format!(
            r#"{{"name":"source","config":{{"connector.class":"FileStreamSource","tasks.max":"1","file":"{}",
            "topic":"{topic}","transforms":"wrap","transforms.wrap.type":"org.apache.kafka.connect.transforms.HoistField$Value",
            "transforms.wrap.field":"line","exactly.once.support":"required","transaction.boundary":"poll"}}}}"#,
            input.display());
        worker.ask("POST", "/connectors", &source).await;
        let sink = format!(
            r#"{{"name":"sink","config":{{"connector.class":"FileStreamSink","tasks.max":"1","file":"{}","topics":"{topic}",
            "transforms":"unwrap","transforms.unwrap.type":"org.apache.kafka.connect.transforms.ExtractField$Value",
            "transforms.unwrap.field":"line","consumer.override.isolation.level":"read_committed",
            "errors.tolerance":"all","errors.deadletterqueue.topic.name":"{broken}",
            "errors.deadletterqueue.topic.replication.factor":"1","errors.deadletterqueue.context.headers.enable":"true"}}}}"#,
            output.display());
        worker.ask("POST", "/connectors", &sink).await;
        worker.is_running("source").await;
        worker.is_running("sink").await;
        lines_of(&output, &lines).await;

        // What is no JSON goes aside, with the reason in its headers, and holds up nothing.
        send_values(&bootstrap, &topic, 1, ["{ this is no JSON".to_owned()].into_iter()).await;
        let aside = eventually("the broken record", || async {
            let records = read_all(&bootstrap, &broken, 1).await;
            if records.len() == 1 { Ok(records) } else { Err(format!("{} records", records.len())) }
        })
        .await;
        assert_eq!(text(aside[0].value()), Some("{ this is no JSON"));
        assert!(headers_text(&aside[0]).contains("__connect.errors.exception.class.name:"), "{:?}", aside[0]);

        // Stopped and set back, the source begins anew; the sink goes on.
        worker.ask("PUT", "/connectors/source/stop", "").await;
        eventually("the stop", || async {
            let status = worker.ask("GET", "/connectors/source/status", "").await;
            if status.contains("STOPPED") { Ok(()) } else { Err(status) }
        })
        .await;
        let offsets = worker.ask("GET", "/connectors/source/offsets", "").await;
        assert!(offsets.contains("\"position\""), "{offsets}");
        worker.ask("DELETE", "/connectors/source/offsets", "").await;
        assert_eq!(worker.ask("GET", "/connectors/source/offsets", "").await, r#"{"offsets":[]}"#);
        worker.ask("PUT", "/connectors/source/resume", "").await;
        let twice: Vec<String> = lines.iter().chain(&lines).cloned().collect();
        lines_of(&output, &twice).await;
    }
}
