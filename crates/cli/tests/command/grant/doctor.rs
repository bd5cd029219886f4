//! `doctor` as each role.

use pgherald_testkit::Postgres;
use serde_json::Value;

use super::{CONSUMERS, SESSIONS, granted, installed, is_green};
use crate::doctor::wrong;
use crate::support::Scene;

/// Returns the findings of the check of rights.
async fn rights(role: &Scene) -> Vec<Value> {
    let mut found = wrong(role, &[]).await;
    found.retain(|finding| finding["check"] == "rights");
    found
}

#[tokio::test]
async fn doctor_reports_revoked_rights_and_grants_them() {
    let server = Postgres::start().await.unwrap();
    let scene = installed(&server).await;
    let revoked = [
        ("read", "USAGE", "SCHEMA pgherald"),
        ("read", "SELECT", "pgherald.outbox_retention"),
        ("read", "SELECT", "pgherald.consumer_group_status"),
        ("read", "SELECT", "SEQUENCE pgherald.outbox_id"),
        ("consume", "USAGE", "SCHEMA pgherald"),
        ("consume", "SELECT", "pgherald.outbox"),
        ("consume", "UPDATE", "pgherald.consumer_cursor"),
        ("consume", "DELETE", "pgherald.parked_event"),
        (
            "consume",
            "EXECUTE",
            "FUNCTION pgherald.trim_outbox(interval,bigint)",
        ),
    ];
    let reader = granted(&scene, "reader", "read").await;
    let app = granted(&scene, "App", "consume").await;
    for (purpose, privilege, object) in revoked {
        let (role, name) = match purpose {
            "read" => (&reader, "reader"),
            _ => (&app, "\"App\""),
        };
        scene
            .run(&format!("REVOKE {privilege} ON {object} FROM {name}"))
            .await;
        let found = rights(role).await;
        assert_eq!(found.len(), 1, "{found:#?}");
        assert_eq!(found[0]["result"], "failed", "{found:#?}");
        let text = found[0]["finding"].as_str().unwrap();
        assert!(
            text.ends_with(&format!("it lacks {privilege} on {object}")),
            "{text}"
        );
        let fix = found[0]["fix"].as_str().unwrap();
        assert_eq!(fix, format!("GRANT {privilege} ON {object} TO {name};"));
        scene.run(fix).await;
        is_green(role, &[SESSIONS, CONSUMERS]).await;
    }
}

#[tokio::test]
async fn doctor_reports_superfluous_rights_and_revokes_them() {
    let server = Postgres::start().await.unwrap();
    let scene = installed(&server).await;
    let reader = granted(&scene, "reader", "read").await;
    let app = granted(&scene, "app", "consume").await;
    scene
        .run("CREATE ROLE \"Big Team\"; GRANT \"Big Team\" TO reader, app")
        .await;
    let both = [
        (
            "UPDATE ON pgherald.outbox TO {}",
            "UPDATE on pgherald.outbox",
        ),
        (
            "INSERT, DELETE ON pgherald.outbox_2 TO {}",
            "INSERT, DELETE on pgherald.outbox_2",
        ),
        (
            "TRUNCATE, TRIGGER ON pgherald.consumer_slice TO {}",
            "TRIGGER, TRUNCATE on pgherald.consumer_slice",
        ),
        (
            "DELETE ON pgherald.consumer_group TO {}",
            "DELETE on pgherald.consumer_group",
        ),
        (
            "UPDATE (keep) ON pgherald.outbox_retention TO {}",
            "UPDATE on pgherald.outbox_retention",
        ),
        (
            "SELECT ON pgherald.server_run TO {}",
            "SELECT on pgherald.server_run",
        ),
        (
            "USAGE ON SEQUENCE pgherald.outbox_id TO {}",
            "USAGE on SEQUENCE pgherald.outbox_id",
        ),
        (
            "UPDATE ON SEQUENCE pgherald.outbox_clock TO {}",
            "UPDATE on SEQUENCE pgherald.outbox_clock",
        ),
        (
            "EXECUTE ON FUNCTION pgherald.begin_history() TO {}",
            "EXECUTE on FUNCTION pgherald.begin_history()",
        ),
        (
            "CREATE ON SCHEMA pgherald TO {}",
            "CREATE on SCHEMA pgherald",
        ),
        (
            "SELECT ON pgherald.outbox TO {} WITH GRANT OPTION",
            "GRANT OPTION FOR SELECT on pgherald.outbox",
        ),
    ];
    let only = |found: &[Value], part: &str| {
        assert_eq!(found.len(), 1, "{part}: {found:#?}");
        assert_eq!(found[0]["result"], "warning", "{found:#?}");
        let text = found[0]["finding"].as_str().unwrap();
        assert!(text.contains("has more rights than it needs"), "{text}");
        assert!(text.ends_with(part), "{part:?} in {text}");
        found[0]["fix"].as_str().unwrap().to_owned()
    };
    for (grant, part) in both {
        for (role, name, to) in [
            (&reader, "reader", "reader"),
            (&app, "app", "app"),
            (&reader, "PUBLIC", "reader"),
            (&app, "\"Big Team\"", "app"),
        ] {
            // PUBLIC cannot have a grant option.
            if name == "PUBLIC" && grant.contains("OPTION") {
                continue;
            }
            scene
                .run(&format!("GRANT {}", grant.replace("{}", name)))
                .await;
            let part = match name == to {
                true => part.to_owned(),
                false => format!("{part} through {name}"),
            };
            let fix = only(&rights(role).await, &part);
            scene.run(&fix).await;
            is_green(role, &[SESSIONS, CONSUMERS]).await;
        }
    }
    scene
        .run("GRANT UPDATE ON pgherald.parked_event TO reader")
        .await;
    let printed = scene
        .fine(&["grant", "reader", "--to", "read", "--commit"])
        .await;
    let revoke = "REVOKE UPDATE ON pgherald.parked_event FROM reader;";
    assert!(printed.contains(revoke), "{printed}");
    scene.run(revoke).await;
    let version = scene.value("SHOW server_version_num").await;
    if version.parse::<u32>().unwrap() >= 140_000 {
        scene.run("GRANT pg_read_all_data TO reader").await;
        is_green(&reader, &[SESSIONS, CONSUMERS]).await;
        scene.run("GRANT pg_write_all_data TO reader").await;
        for finding in rights(&reader).await {
            assert_eq!(finding["fix"], "REVOKE pg_write_all_data FROM reader;");
        }
        scene.run("REVOKE pg_write_all_data FROM reader").await;
        is_green(&reader, &[SESSIONS, CONSUMERS]).await;
    }
}
