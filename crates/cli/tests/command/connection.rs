//! Which database, and what is said when there is no way to it.

use pgherald_testkit::Postgres;

use super::support::{Scene, binary, blocking, pgherald};

#[tokio::test]
async fn the_command_line_goes_before_the_environment() {
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
async fn no_connection_is_one_line_a_hint_and_code_2() {
    let server = Postgres::builder().password("right").start().await.unwrap();
    let wrong = server.url().replace("right", "wrong");
    assert_ne!(wrong, server.url());
    let missing = server.url_for("missing");
    let cases = [
        (&*wrong, "password authentication failed"),
        (&*missing, "does not exist"),
        ("postgresql://postgres@127.0.0.1:1/postgres", "refused"),
        ("postgresql://postgres@127.0.0.1:x/postgres", "port"),
        ("nonsense", "nonsense"),
        (
            "postgresq://u:wrong@127.0.0.1/d",
            "\"postgresq\" is no scheme",
        ),
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
                "the password is told: {ran:?}"
            );
        }
    }
}

#[tokio::test]
async fn usage_errors_are_code_2_and_help_is_0() {
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
