use rkafka::admin::{ConfigChange, ConfigResource, ConfigResourceType, ConfigSource, ConfigType, ErrorCode};
use rkafka_testkit::on_both;

use super::{admin, code, comes};

on_both! {
    async fn settings_are_described_and_changed(cluster: &Cluster) {
        let admin = admin(cluster).await;
        let topic = ConfigResource::topic(cluster.topic("admin-configs", 1, &[("retention.ms", "3600000")]).await);
        let missing = ConfigResource::topic("no-such-topic");
        let broker = ConfigResource::broker(1);
        let described = admin.describe_configs([&topic, &missing, &broker]).include_synonyms(true)
            .include_documentation(true).await.expect("an answer");
        assert_eq!(code(&described[&missing]), Some(ErrorCode::UnknownTopicOrPartition));
        let entries = described[&topic].as_ref().expect("described");
        let retention = entries.iter().find(|entry| entry.name == "retention.ms").expect("a setting");
        assert_eq!((retention.value.as_deref(), retention.source, retention.kind),
            (Some("3600000"), ConfigSource::Topic, Some(ConfigType::Long)));
        let synonyms: Vec<_> = retention.synonyms.iter().map(|one| (one.name.as_str(), one.source)).collect();
        assert_eq!(synonyms[0], ("retention.ms", ConfigSource::Topic));
        assert!(retention.documentation.as_ref().is_some_and(|text| !text.is_empty()));
        let entries = described[&broker].as_ref().expect("described");
        assert!(entries.iter().any(|entry| entry.name == "log.segment.bytes"), "{entries:?}");

        let change = |name: &str, change| (topic.clone(), vec![(name.to_owned(), change)]);
        let set = [
            change("retention.ms", ConfigChange::Delete),
            change("cleanup.policy", ConfigChange::Append("compact".into())),
            change("max.message.bytes", ConfigChange::Set("123456".into())),
            (missing.clone(), vec![("retention.ms".to_owned(), ConfigChange::Delete)]),
        ];
        let checked = admin.incremental_alter_configs(set.clone()).validate_only(true).await.expect("an answer");
        assert!(checked[&topic].is_ok() && checked[&missing].is_err(), "{checked:?}");
        let changed = admin.incremental_alter_configs(set).await.expect("an answer");
        assert!(changed[&topic].is_ok(), "{changed:?}");
        assert_eq!(code(&changed[&missing]), Some(ErrorCode::UnknownTopicOrPartition));
        let now = comes("the new settings", || admin.describe_configs([&topic]).into_future(), |all| {
            all[&topic].as_ref().is_ok_and(|entries| {
                entries.iter().any(|one| one.name == "max.message.bytes" && one.value.as_deref() == Some("123456"))
            })
        }).await;
        let now = now[&topic].as_ref().expect("described");
        let value = |name: &str| now.iter().find(|entry| entry.name == name).map(|one| (one.value.clone(), one.source));
        assert_eq!(value("cleanup.policy"), Some((Some("delete,compact".into()), ConfigSource::Topic)));
        assert_ne!(value("retention.ms").expect("a default").1, ConfigSource::Topic);
        let wrong = admin.incremental_alter_configs([change("retention.ms", ConfigChange::Set("soon".into()))]).await;
        assert_eq!(code(&wrong.expect("an answer")[&topic]), Some(ErrorCode::InvalidConfig));

        // Subscriptions to metrics and groups have settings too, and are there as soon as they have one.
        let metrics = ConfigResource::client_metrics(cluster.unique("admin-metrics"));
        let group = ConfigResource::group(cluster.unique("admin-group"));
        let set = [
            (metrics.clone(), [("interval.ms", ConfigChange::Set("1000".into()))]),
            (group.clone(), [("consumer.session.timeout.ms", ConfigChange::Set("50000".into()))]),
        ];
        let changed = admin.incremental_alter_configs(set).await.expect("an answer");
        assert!(changed.values().all(Result::is_ok), "{changed:?}");
        let listed = comes("what has settings", || admin.list_config_resources([]).into_future(), |listed| {
            listed.contains(&metrics) && listed.contains(&group)
        }).await;
        assert!(listed.contains(&topic) && listed.contains(&broker), "{listed:?}");
        let only = admin.list_config_resources([ConfigResourceType::ClientMetrics]).await.expect("listed");
        assert!(only.contains(&metrics) && !only.contains(&topic), "{only:?}");
        let told = admin.describe_configs([&metrics, &group]).await.expect("described");
        let source = |resource| told[resource].as_ref().expect("described").iter()
            .find(|one| ["interval.ms", "consumer.session.timeout.ms"].contains(&one.name.as_str()))
            .map(|one| one.source);
        assert_eq!((source(&metrics), source(&group)), (Some(ConfigSource::ClientMetrics), Some(ConfigSource::Group)));
        let unset = [(metrics.clone(), [("interval.ms", ConfigChange::Delete)])];
        assert!(admin.incremental_alter_configs(unset).await.expect("an answer")[&metrics].is_ok());
    }
}
