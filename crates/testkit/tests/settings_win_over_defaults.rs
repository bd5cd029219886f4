//! The caller's settings override the defaults of the test kit.

mod support;

use pgherald_testkit::Postgres;

#[tokio::test]
async fn settings_win_over_defaults() {
    let server = Postgres::builder()
        .setting("max_connections", "17")
        .setting("app.motto", r"it's a \ motto")
        .start()
        .await
        .unwrap();
    let (client, _connection) = support::connect(&server.url()).await;
    for (name, expected) in [("max_connections", "17"), ("app.motto", r"it's a \ motto")] {
        let row = client
            .query_one("select current_setting($1)", &[&name])
            .await
            .unwrap();
        assert_eq!(row.get::<_, String>(0), expected);
    }
}

#[tokio::test]
async fn error_of_an_invalid_setting_includes_the_log() {
    let error = Postgres::builder()
        .setting("max_connections", "many")
        .start()
        .await
        .unwrap_err();
    let message = error.to_string();
    assert!(message.contains("ended while starting"), "{message}");
    assert!(
        message.contains("invalid value for parameter \"max_connections\""),
        "{message}"
    );
}
