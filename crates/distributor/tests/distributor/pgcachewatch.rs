//! PGCacheWatch 0.4.2's own client. `PGHERALD_PYTHON` names a Python in which it is installed; see `CONTRIBUTING.md`. Without it,
//! the test only prints a notice.

use pgherald_distributor::Limits;

use crate::support::Scene;

#[actix_web::test]
async fn its_client_receives_every_event_in_order_right_after_connect() {
    let Some(python) = std::env::var_os("PGHERALD_PYTHON") else {
        eprintln!("not tested: PGHERALD_PYTHON is not set");
        return;
    };
    let scene = Scene::new(Limits::default()).await;
    let mut command = std::process::Command::new(python);
    command
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/distributor/client.py"
        ))
        .arg(&scene.database)
        .arg(format!("ws://127.0.0.1:{}/pgpubsub/", scene.port))
        .arg("100");
    let output = actix_web::rt::task::spawn_blocking(move || command.output());
    let output = output.await.unwrap().unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert!(shown.ends_with("100 repetitions, 2000 events\n"), "{shown}");
    scene.clients(0).await;
    scene.end().await;
}
