//! `demo`.

use super::consumers::interrupt;
use super::support::{Running, binary, blocking, pgherald};

#[tokio::test]
async fn demo_enriches_users_and_removes_its_server_on_ctrl_c() {
    let mut command = binary();
    command.arg("demo");
    let mut demo = Running::of(command);
    let line = demo
        .line(|line| line.contains("export DATABASE_URL="))
        .await;
    let url = line
        .trim()
        .trim_start_matches("export DATABASE_URL=")
        .to_owned();
    demo.line(|line| line.starts_with("registered  user 1: "))
        .await;
    demo.line(|line| line == "enriched    user 1: company1.example, after 1 attempt")
        .await;
    let ran = pgherald(&["--database-url", &url, "status"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.contains("\nenrich-users  "), "{ran:?}");
    let consumer = "\nconsumer  pgherald consumer enrich-users  ";
    assert!(ran.stdout.contains(consumer), "{ran:?}");
    // The commands that the demo suggests.
    let ran = pgherald(&["--database-url", &url, "group", "pause", "enrich-users"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let ran = pgherald(&["--database-url", &url, "group", "resume", "enrich-users"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    demo.line(|line| line.starts_with("failed      user 4, attempt 1: the service answered 503"))
        .await;
    demo.line(|line| line == "enriched    user 4: company4.example, after 2 attempts")
        .await;
    interrupt(&demo);
    assert_eq!(demo.code().await, 0);
    demo.line(|line| line.contains("The server and its data were removed"))
        .await;
    let ran = pgherald(&["--database-url", &url, "status"]).await;
    assert_eq!(ran.code, 2, "{ran:?}");
}

#[tokio::test]
async fn demo_without_postgresql_reports_what_to_install() {
    let output = blocking(|| {
        let mut command = binary();
        command
            .arg("demo")
            .env("PGHERALD_PG_BIN", "/nowhere")
            .output()
            .unwrap()
    })
    .await;
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("/nowhere") && stderr.contains("\nhint: install PostgreSQL's server"),
        "{stderr}"
    );
}
