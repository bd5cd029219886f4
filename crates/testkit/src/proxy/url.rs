//! Points a URL to the proxy.

use std::net::SocketAddr;

/// Replaces `host:port`. User, password, database and parameters stay.
pub(super) fn with_authority(url: &str, addr: SocketAddr) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    // A password may contain an unencoded @, so the last one is the separator.
    let user = authority.rfind('@').map_or("", |at| &authority[..=at]);
    format!("{scheme}://{user}{addr}{path}")
}

#[cfg(test)]
mod tests {
    use super::with_authority;

    #[test]
    fn with_authority_replaces_only_host_and_port() {
        let addr = ([127, 0, 0, 1], 9).into();
        for (url, expected) in [
            (
                "postgresql://u:p@h:5432/db?a=b@c",
                "postgresql://u:p@127.0.0.1:9/db?a=b@c",
            ),
            ("postgres://h/db", "postgres://127.0.0.1:9/db"),
            ("postgres://u@[::1]:1", "postgres://u@127.0.0.1:9"),
            ("host=h port=1", "host=h port=1"),
        ] {
            assert_eq!(with_authority(url, addr), expected);
        }
    }
}
