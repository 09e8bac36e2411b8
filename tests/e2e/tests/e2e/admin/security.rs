use rkafka::admin::{
    AclBinding, AclBindingFilter, AclOperation, AclResourceType, ClientQuotaEntity, ClientQuotaFilter, ErrorCode,
    ErrorKind, QuotaMatch, ScramMechanism, UserScramCredentialAlteration,
};
use rkafka_testkit::on_both;

use super::{admin, code, comes};

on_both! {
    async fn without_an_authorizer_there_are_no_rules(cluster: &Cluster) {
        let admin = admin(cluster).await;
        let rule = AclBinding::allow("User:alice", AclOperation::Read, AclResourceType::Topic, "orders").prefixed();
        let made = admin.create_acls([&rule]).await.expect("an answer");
        assert_eq!(code(&made[&rule]), Some(ErrorCode::SecurityDisabled));
        assert_eq!(code(&admin.describe_acls(AclBindingFilter::any()).await), Some(ErrorCode::SecurityDisabled));
        let gone = admin.delete_acls([rule.clone()]).await.expect("an answer");
        assert_eq!(code(&gone[&rule.into()]), Some(ErrorCode::SecurityDisabled));
        let nameless = admin.describe_acls(AclBindingFilter::any().principal("alice")).await.expect_err("no type");
        assert_eq!(nameless.kind(), ErrorKind::Config);
    }
}

on_both! {
    async fn quotas_users_and_tokens(cluster: &Cluster) {
        let admin = admin(cluster).await;
        let user = cluster.unique("admin-user");
        let (both, all) = (
            ClientQuotaEntity::new().user(Some(&user)).client_id(Some("reader")),
            ClientQuotaEntity::new().user(Some(&user)).client_id(None),
        );
        let bad = ClientQuotaEntity::new().with("planet", Some("earth"));
        let set = [
            (both.clone(), [("producer_byte_rate", Some(1_000.0))]),
            (all.clone(), [("consumer_byte_rate", Some(2_000.0))]),
            (bad.clone(), [("consumer_byte_rate", Some(1.0))]),
        ];
        let answer = admin.alter_client_quotas(set.clone()).await;
        if !cluster.is_real() {
            let unsupported = |error: rkafka::admin::Error| assert_eq!(error.kind(), ErrorKind::UnsupportedVersion, "{error}");
            unsupported(answer.expect_err("not there"));
            unsupported(admin.describe_client_quotas(ClientQuotaFilter::all()).await.expect_err("not there"));
            unsupported(admin.describe_user_scram_credentials(None).await.expect_err("not there"));
            let set = UserScramCredentialAlteration::upsert(&user, ScramMechanism::Sha256, "secret");
            unsupported(admin.alter_user_scram_credentials([set]).await.expect_err("not there"));
            unsupported(admin.create_delegation_token().await.expect_err("not there"));
            unsupported(admin.renew_delegation_token("hmac").await.expect_err("not there"));
            unsupported(admin.expire_delegation_token("hmac").await.expect_err("not there"));
            return unsupported(admin.describe_delegation_token().await.expect_err("not there"));
        }
        let answer = answer.expect("an answer");
        assert!(answer[&both].is_ok() && answer[&all].is_ok() && answer[&bad].is_err(), "{answer:?}");
        let of_user = ClientQuotaFilter::all().component("user", QuotaMatch::Name(user.clone()));
        let find = async |filter: ClientQuotaFilter| admin.describe_client_quotas(filter).await.expect("quotas");
        let found = comes("the quotas", || admin.describe_client_quotas(of_user.clone()).into_future(), |found| found.len() == 2).await;
        assert_eq!((found[&both]["producer_byte_rate"], found[&all]["consumer_byte_rate"]), (1_000.0, 2_000.0));
        assert_eq!(find(of_user.clone().component("client-id", QuotaMatch::Default)).await.len(), 1);
        assert_eq!(find(of_user.clone().component("client-id", QuotaMatch::Any)).await.len(), 2);
        assert!(find(of_user.clone().strict(true)).await.is_empty(), "all have a client too");
        let unset = |validate| admin.alter_client_quotas([(both.clone(), [("producer_byte_rate", None::<f64>)])]).validate_only(validate);
        assert!(unset(true).await.expect("an answer")[&both].is_ok());
        assert_eq!(find(of_user.clone()).await.len(), 2, "only validated");
        assert!(unset(false).await.expect("an answer")[&both].is_ok());
        comes("one less", || admin.describe_client_quotas(of_user.clone()).into_future(), |found| found.len() == 1).await;

        let alterations = [
            UserScramCredentialAlteration::upsert(&user, ScramMechanism::Sha256, "secret"),
            UserScramCredentialAlteration::upsert("empty", ScramMechanism::Sha256, ""),
            UserScramCredentialAlteration::delete("no-such-user", ScramMechanism::Sha256),
        ];
        let altered = admin.alter_user_scram_credentials(alterations).await.expect("an answer");
        assert!(altered[&user].is_ok(), "{altered:?}");
        assert_eq!(code(&altered["empty"]), Some(ErrorCode::UnacceptableCredential));
        assert_eq!(code(&altered["no-such-user"]), Some(ErrorCode::ResourceNotFound));
        let twice = [ScramMechanism::Sha256, ScramMechanism::Sha512]
            .map(|mechanism| UserScramCredentialAlteration::upsert(&user, mechanism, "secret").with_iterations(8_192));
        let [_, other] = twice.clone();
        let refused = admin.alter_user_scram_credentials(twice).await.expect("an answer");
        assert_eq!(code(&refused[&user]), Some(ErrorCode::DuplicateResource));
        assert!(admin.alter_user_scram_credentials([other]).await.expect("an answer")[&user].is_ok());
        let users = || Some(vec![user.clone(), "no-such-user".to_owned()]);
        let told = comes("the user", || admin.describe_user_scram_credentials(users()).into_future(), |told| {
            told[&user].as_ref().is_ok_and(|infos| infos.len() == 2)
        }).await;
        let infos = told[&user].as_ref().expect("described");
        assert!(infos.iter().any(|one| one.mechanism == ScramMechanism::Sha512 && one.iterations == 8_192), "{infos:?}");
        assert_eq!(code(&told["no-such-user"]), Some(ErrorCode::ResourceNotFound));
        let gone = UserScramCredentialAlteration::delete(&user, ScramMechanism::Sha256);
        assert!(admin.alter_user_scram_credentials([gone]).await.expect("an answer")[&user].is_ok());

        // Nobody who has not said who they are gets a token.
        let refused = admin.create_delegation_token().await;
        assert_eq!(code(&refused), Some(ErrorCode::DelegationTokenRequestNotAllowed));
        assert_eq!(code(&admin.describe_delegation_token().await), Some(ErrorCode::DelegationTokenRequestNotAllowed));
        assert_eq!(code(&admin.renew_delegation_token("hmac").await), Some(ErrorCode::DelegationTokenRequestNotAllowed));
        assert_eq!(code(&admin.expire_delegation_token("hmac").await), Some(ErrorCode::DelegationTokenRequestNotAllowed));
    }
}
