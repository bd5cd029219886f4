//! Benches and `main` functions start a server without a runtime.

use pgherald_testkit::Postgres;

#[test]
fn starts_without_a_runtime() {
    let server = Postgres::builder().start_blocking().unwrap();
    let socket = std::net::TcpStream::connect((server.host(), server.port()));
    assert!(socket.is_ok());
}
