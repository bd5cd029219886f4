//! The settings of the connection, and the errors if it fails.

use pgherald_testkit::Postgres;

use super::support::{Scene, binary, blocking, pgherald};

#[tokio::test]
async fn command_line_overrides_environment() {
    let scene = Scene::new("CREATE TABLE here (id int PRIMARY KEY)").await;
    let (url, base) = (scene.url.clone(), scene.url.clone());
    let config: tokio_postgres::Config = base.parse().unwrap();
    let database = config.get_dbname().unwrap().to_owned();
    let port = config.get_ports()[0].to_string();
    let user = config.get_user().unwrap().to_owned();
    let runs = blocking(move || {
        let mut by_url = binary();
        by_url.env("DATABASE_URL", &url);
        let mut by_variables = binary();
        by_variables
            .env("PGHOST", "127.0.0.1")
            .env("PGPORT", port)
            .env("PGUSER", user)
            .env("PGDATABASE", database);
        let mut by_option = binary();
        by_option
            .env("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
            .args(["--database-url", &url]);
        [by_url, by_variables, by_option]
            .map(|mut command| command.args(["install", "here"]).output().unwrap())
    });
    for output in runs.await {
        assert!(output.status.success(), "{output:?}");
    }
}

#[tokio::test]
async fn failed_connection_reports_one_line_a_hint_and_exit_code_2() {
    let server = Postgres::builder().password("right").start().await.unwrap();
    let wrong = server.url().replace("right", "wrong");
    assert_ne!(wrong, server.url());
    let missing = server.url_for("missing");
    let cases = [
        (&*wrong, "password authentication failed"),
        (&*missing, "does not exist"),
        ("postgresql://postgres@127.0.0.1:1/postgres", "refused"),
        ("postgresql://postgres@127.0.0.1:x/postgres", "port"),
        ("nonsense", "must be a URL"),
        (
            "postgresq://u:wrong@127.0.0.1/d",
            "unknown scheme \"postgresq\"",
        ),
        (" ", "empty"),
        (
            "postgres//u:wrong@127.0.0.1/d?sslmode=disable",
            "must be a URL",
        ),
        ("postgresql://u:x@127.0.0.1/wrong@h/d", "percent-encoded"),
    ];
    for (url, cause) in cases {
        let commands: [&[&str]; 5] = [
            &["install", "users"],
            &["watch"],
            &["doctor"],
            &["status"],
            &["group", "pause", "g"],
        ];
        for arguments in commands {
            let ran = pgherald(&[&["--database-url", url], arguments].concat()).await;
            assert_eq!(
                (ran.code, &*ran.stdout),
                (2, ""),
                "{url} {arguments:?}: {ran:?}"
            );
            let lines: Vec<_> = ran.stderr.lines().collect();
            assert!(
                lines.len() == 2 && lines[0].contains(cause),
                "{url} {arguments:?}: {ran:?}"
            );
            assert!(lines[1].starts_with("hint: "), "{ran:?}");
            assert!(
                !ran.stderr.contains("wrong") || !url.contains("wrong"),
                "the password is shown: {ran:?}"
            );
        }
    }
}

#[tokio::test]
async fn unsupported_connection_settings_are_refused() {
    let scene = Scene::new("").await;
    let url = scene.url.clone();
    let outputs = blocking(move || {
        let mut runs = Vec::new();
        for (name, value) in [
            ("PGSERVICE", "shop"),
            ("PGREQUIREAUTH", "scram-sha-256"),
            ("PGREQUIREPEER", "postgres"),
            ("PGSSLCERTMODE", "require"),
        ] {
            let mut command = binary();
            command.env(name, value).arg("status");
            runs.push((name, command));
        }
        use std::os::unix::ffi::OsStrExt;
        let no_text = std::ffi::OsStr::from_bytes(b"\xff");
        for name in ["PGHOST", "DATABASE_URL"] {
            let mut command = binary();
            command.env(name, no_text).arg("status");
            runs.push((name, command));
        }
        let mut empty = binary();
        empty
            .env("DATABASE_URL", &url)
            .args(["status", "--database-url", ""]);
        runs.push(("--database-url", empty));
        let mut demo = binary();
        demo.args(["demo", "--database-url", &url]);
        runs.push(("--database-url", demo));
        runs.into_iter()
            .map(|(name, mut command)| (name, command.output().unwrap()))
            .collect::<Vec<_>>()
    });
    for (name, output) in outputs.await {
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            (output.status.code(), output.stdout.len()),
            (Some(2), 0),
            "{name}: {stderr}"
        );
        assert!(stderr.contains(name), "{stderr}");
    }
}

#[tokio::test]
async fn server_errors_have_hints() {
    let server = Postgres::builder().password("right").start().await.unwrap();
    let scene = Scene::on(&server, "CREATE TABLE users (id int PRIMARY KEY)").await;
    let (url, database) = (
        scene.url.clone(),
        scene.value("SELECT quote_ident(current_database())").await,
    );
    scene.run(&format!("CREATE ROLE guest LOGIN PASSWORD 'right'; REVOKE CONNECT ON DATABASE {database} FROM PUBLIC")).await;
    let no_password = url.replace(":right", "");
    let guest = url.replace("postgres:", "guest:");
    let elsewhere = server.create_database().await.unwrap();
    let guest_elsewhere = elsewhere.replace("postgres:", "guest:");
    let crowd = elsewhere.replace("postgres:", "crowd:");
    scene
        .run("CREATE ROLE crowd LOGIN PASSWORD 'right' CONNECTION LIMIT 0")
        .await;
    scene
        .run("CREATE DATABASE closed ALLOW_CONNECTIONS false")
        .await;
    let closed = server.url_for("closed");
    let special = url.replace(":right@", ":ri@ght@");
    assert!(
        no_password != url && guest != url && special != url,
        "{url}"
    );
    let read_only = "-c default_transaction_read_only=on";
    let cases: [(&str, &str, &[&str], i32, &str); 9] = [
        (
            &no_password,
            "",
            &["status"],
            2,
            "PGPASSWORD, or a line host:port:database:user:password",
        ),
        (&guest, "", &["status"], 2, "GRANT CONNECT ON DATABASE"),
        (
            &guest_elsewhere,
            "-c session_replication_role=replica",
            &["status"],
            2,
            "remove settings that this role may not change from PGOPTIONS",
        ),
        (&closed, "", &["status"], 2, "ALLOW_CONNECTIONS true"),
        (&crowd, "", &["status"], 2, "CONNECTION LIMIT"),
        (
            &url,
            "-c no_such_setting=1",
            &["status"],
            2,
            "correct PGOPTIONS",
        ),
        (
            &url,
            read_only,
            &["install", "users", "--commit"],
            1,
            "default_transaction_read_only=off",
        ),
        (
            &url,
            "-c statement_timeout=1",
            &["status"],
            1,
            "statement_timeout=0",
        ),
        (&special, "", &["status"], 2, "@ in a password as %40"),
    ];
    for (url, options, arguments, code, hint) in cases {
        let (url, arguments) = (
            url.to_owned(),
            arguments
                .iter()
                .map(|one| (*one).to_owned())
                .collect::<Vec<_>>(),
        );
        let options = options.to_owned();
        let output = blocking(move || {
            let mut command = binary();
            command.env("HOME", "/nowhere").env("PGOPTIONS", options);
            command
                .args(["--database-url", &url])
                .args(arguments)
                .output()
                .unwrap()
        })
        .await;
        let stderr = String::from_utf8(output.stderr).unwrap();
        // A run may finish within the limit of one millisecond.
        if output.status.success() && hint.starts_with("statement_timeout") {
            continue;
        }
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        let hint_line = stderr.lines().nth(1).unwrap_or_default();
        assert!(
            hint_line.starts_with("hint: ") && hint_line.contains(hint),
            "{stderr}"
        );
        assert!(!stderr.contains("ght@"), "the password is shown: {stderr}");
    }
}

#[tokio::test]
async fn stray_connection_strings_are_not_printed() {
    let scene = Scene::new("").await;
    for arguments in [
        &["doctor", "postgres://u:w0rd@h/d"][..],
        &["postgres://u:w0rd@h/d"],
        &["status", "--databaseurl=postgres://u:w0rd@h/d"],
        &["install", "postgres://u:w0rd@h/d"],
        &["uninstall", "postgres://u:w0rd@h/d", "--commit"],
        &["watch", "postgres://u:w0rd@h/d"],
        &["doctor", "host=h password=w0rd dbname=d"],
        &["u:w0rd@h/d", "doctor"],
        &["PGPASSWORD=w0rd", "doctor"],
        &["uninstall", "u:w0rd@h/d"],
        &["install", "host=h password = w0rd"],
    ] {
        let ran = scene.pgherald(arguments).await;
        assert_eq!((ran.code, &*ran.stdout), (2, ""), "{arguments:?}: {ran:?}");
        assert!(
            !ran.stderr.contains("w0rd")
                && ran
                    .stderr
                    .contains("hint: give the database as --database-url"),
            "{ran:?}"
        );
    }
    // Other mistakes are reported as usual although --database-url has a connection string.
    let ran = scene.pgherald(&["instal", "users"]).await;
    assert!(
        ran.code == 2 && ran.stderr.contains("unrecognized subcommand 'instal'"),
        "{ran:?}"
    );
}

#[tokio::test]
async fn usage_errors_exit_with_2_and_help_with_0() {
    for arguments in [
        &["install"][..],
        &["uninstall"],
        &["nothing"],
        &[],
        &["group", "seek", "g"],
    ] {
        let ran = pgherald(arguments).await;
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(
            ran.stdout.is_empty() && ran.stderr.contains("Usage: pgherald"),
            "{ran:?}"
        );
    }
    for arguments in [
        &["--help"][..],
        &["watch", "--help"],
        &["--version"],
        &["completions", "bash"],
    ] {
        let ran = pgherald(arguments).await;
        assert_eq!((ran.code, &*ran.stderr), (0, ""), "{ran:?}");
        assert!(!ran.stdout.contains('\u{1b}'));
    }
    assert!(pgherald(&["--help"]).await.stdout.contains("Exit codes"));
}
